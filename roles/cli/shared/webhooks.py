"""`tollway webhook`: be told at a URL of yours of a low balance, a reached budget, a final batch, a paid claim."""

import time
from typing import Annotated, Any

from typer import Argument, Option

from ledger.core.accounts.webhooks import CHOICES, Kind
from ledger.core.values.errors import Rejected
from roles.cli import amounts, output
from roles.cli.context import Group, here
from roles.cli.shared.cells import utc
from roles.client.gateway import Json, segment

app = Group(
    "Be told at a URL of yours what happens to your account: signed messages, as Standard Webhooks says, sent again "
    "until they arrive."
)
WAIT_SECONDS, LOOK_SECONDS = 15.0, 0.5

Id = Annotated[str, Argument(metavar="ID", help="A webhook's id, from `webhook list`.")]
Events = Annotated[
    list[str] | None, Option("--event", help=f"What to be told of: {', '.join(CHOICES)}. Repeat it.", metavar="EVENT")
]
Threshold = Annotated[
    str | None, Option(help=f"For balance.low: told when less can be spent, {amounts.FORM}.", metavar="AMOUNT")
]


@app.command("make")
def make(
    url: Annotated[str, Argument(help="Where messages go, https. http only for an address that the operator allows.")],
    event: Events = None,
    threshold: Threshold = None,
) -> None:
    """Make a webhook. Its secret is shown once: your receiver checks the messages' signatures with it.

    Without --event it is told of final batches and paid claims; with --threshold of a low balance, too.

    Example: tollway webhook make https://example.com/tollway --threshold 5 -w alice
    """
    events = _events(event) or [Kind.batch_final, Kind.claim_paid]
    if threshold is not None and Kind.balance_low not in events:
        events.append(Kind.balance_low)
    body = {"url": url, "events": events, "threshold": _atoms(threshold)}
    made = here().account_gateway.post("/v1/webhooks", body)
    output.show(made if output.mode.json else {**_row(made), "secret": made["secret"]})
    output.note(f"keep the secret, it is shown this once; then try it: tollway webhook test {made['id']}")


@app.command("list")
def show() -> None:
    """List the account's webhooks."""
    found = here().account_gateway.get("/v1/webhooks")["data"]
    rows = found if output.mode.json else [_row(one) for one in found]
    output.show_table(rows, empty="no webhooks yet: tollway webhook make URL")


@app.command("change")
def change(
    webhook: Id,
    url: Annotated[str | None, Option(help="Where messages go from now on.")] = None,
    event: Events = None,
    threshold: Threshold = None,
    enable: Annotated[
        bool | None, Option("--enable/--disable", help="Send to it again, or no more.", show_default=False)
    ] = None,
) -> None:
    """Change a webhook, or send to it again after it was disabled. What is left out stays; --event names all of them.

    Example: tollway webhook change hook_1f9a --enable -w alice
    """
    named = {"url": url, "events": _events(event) or None, "threshold": _atoms(threshold), "enabled": enable}
    body = {name: value for name, value in named.items() if value is not None}
    if not body:
        raise Rejected("nothing to change: name --url, --event, --threshold, --enable or --disable")
    changed = here().account_gateway.patch(f"/v1/webhooks/{segment(webhook)}", body)
    output.show(changed if output.mode.json else _row(changed))


@app.command("delete")
def delete(webhook: Id) -> None:
    """Delete a webhook, with the messages that wait for it."""
    output.show(here().account_gateway.delete(f"/v1/webhooks/{segment(webhook)}"))


@app.command("test")
def test(webhook: Id) -> None:
    """Send a webhook a message of type `test`, and show how its receiver answered.

    Example: tollway webhook test hook_1f9a -w alice
    """
    path, gateway = f"/v1/webhooks/{segment(webhook)}", here().account_gateway
    sent, until = gateway.post(f"{path}/test", {}), time.monotonic() + WAIT_SECONDS
    while not sent["attempts"] and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        sent = next((one for one in gateway.get(f"{path}/messages")["data"] if one["id"] == sent["id"]), sent)
    output.show(sent if output.mode.json else _message(sent))
    if sent["status"] != "delivered":
        output.note(f"look again: tollway webhook messages {webhook}")


@app.command("messages")
def messages(
    webhook: Id, limit: Annotated[int, Option(help="How many, the newest first.", min=1, max=100)] = 20
) -> None:
    """List what a webhook was sent, with its receiver's answer, and what is sent again, and when."""
    found = here().account_gateway.get(f"/v1/webhooks/{segment(webhook)}/messages", limit=limit)["data"]
    rows = found if output.mode.json else [_message(one) for one in found]
    output.show_table(rows, empty=f"no messages yet: tollway webhook test {webhook}")


def _events(named: list[str] | None) -> list[str]:
    """The events that were named. Rejected with all names when one is unknown."""
    unknown = next((one for one in named or [] if one not in CHOICES), None)
    if unknown is not None:
        raise Rejected(f"{unknown!r} is no event: --event {', '.join(CHOICES)}", event=unknown)
    return list(named or [])


def _atoms(amount: str | None) -> str | None:
    return str(amounts.parse(amount)) if amount is not None else None


def _row(hook: Json) -> dict[str, Any]:
    state = "enabled" if hook["enabled"] else f"disabled: {hook['disabled_because']}"
    if hook["enabled"] and hook["failing_since"]:
        state = f"fails since {utc(hook['failing_since'])}"
    threshold = amounts.format(int(hook["threshold"])) if hook["threshold"] is not None else "-"
    facts = {"id": hook["id"], "url": hook["url"], "events": ", ".join(hook["events"])}
    return facts | {"threshold": threshold, "state": state}


def _message(one: Json) -> dict[str, Any]:
    after = one["error"] or ""
    if one["next_at"] and one["attempts"]:
        after += f"; again at {utc(one['next_at'])}"
    facts = {"id": one["id"], "event": one["event"], "made": utc(one["created_at"]), "status": one["status"]}
    return facts | {"attempts": one["attempts"], "answer": one["answer"] or "-", "error": after or "-"}
