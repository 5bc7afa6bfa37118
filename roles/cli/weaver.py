"""`tollway weaver`: publish workflows of several models as one, and earn on each run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ledger.core.catalog.bids import Role
from ledger.core.catalog.capsules import Capsule, Policy
from ledger.core.catalog.capsules import capsule as read_capsule
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import cid, did, to_hex
from ledger.core.values.meters import quoted
from roles.audit import verification
from roles.cli import amounts, output
from roles.cli.context import Group, here
from roles.cli.shared import bundles, calls, drawing, names, publication
from roles.cli.shared.payees import bidding_commands, payee_commands, staking_commands
from roles.cli.shared.sponsorship import sponsor_command
from roles.wallet import deposits, transactions

app = Group("Publish workflows of several models as one, and earn on each run.")

staking_commands(app, "it pays finished sub-calls when an all-or-nothing run fails")
bidding_commands(app, Role.weaver)
payee_commands(app)
sponsor_command(app, Role.weaver)


@app.verb("bond")
def bond(amount: Annotated[str, typer.Argument(help="12.5 (AIC) or 1500atoms.")]) -> None:
    """Stand for your all-or-nothing workflows: a deposit that pays finished sub-calls when a run fails."""
    atoms = amounts.typed(amount)
    output.confirm(f"deposit {amounts.said(atoms)} of {here().wallet} to stand for its workflows?")
    said = deposits.deposit(atoms, 60)
    _, _, ceiling = deposits.make_key(None, "bond")
    output.tell({"bond": amounts.said(ceiling), "added": amounts.said(atoms), "status": said["status"]})


@app.verb("publish")
def publish(
    path: Annotated[Path, typer.Argument(help="capsule.json; models may be written as @org/name.")],
    use: Annotated[list[str] | None, typer.Option("--use", help="NAME=@org/name for a `model:NAME` in it.")] = None,
) -> None:
    """Publish a workflow and its glue under your name. Names of models are pinned to what they mean now."""
    bundle = bundles.read(path, did(transactions.chain_id(), here().account), resolve, uses(use or []))
    document = bundle.document
    woven = read_capsule(document)
    output.remark("\n".join(drawing.draw(woven)))
    output.confirm(f"publish {woven.name}, taking {amounts.percent(woven.bid.ratio_ppm)} of each run?")
    for module in bundle.modules:
        here().gateway.send("/v1/documents", module, "application/wasm")
    output.tell(publication.publish(document))
    if woven.policy is Policy.all_or_nothing:
        output.remark("it promises all or nothing: your deposit must stand for it (tollway weaver bond AMOUNT)")


@app.verb("show")
def show(capsule: Annotated[str, typer.Argument(help="@org/name, an id, or a capsule.json.")]) -> None:
    """Draw a workflow: what runs after what, and what it may cost."""
    woven = fetch(capsule)
    if output.speech.json:
        output.tell(woven.document)
        return
    for line in drawing.draw(woven):
        output.console().print(line, markup=False)
    output.tell(
        {
            "id": cid(woven.id),
            "weaver": to_hex(woven.weaver),
            "takes": amounts.percent(woven.bid.ratio_ppm),
            "and": quoted(woven.bid.asks) or None,
            "when_it_fails": woven.policy.value,
        }
    )


@app.verb("run")
def run(
    capsule: Annotated[str, typer.Argument(help="@org/name or an id.")],
    text: Annotated[str, typer.Argument(help="What the consumer says.")],
    stream: Annotated[bool, typer.Option("--stream", help="Print as it comes.")] = False,
) -> None:
    """Run a workflow as a consumer would, pay for it, and see who got what of it."""
    context = here()
    said = calls.chat(context, capsule, text, stream=stream, max_tokens=256, headers={}, seconds=120)
    steps = said.pop("nodes", [])
    output.tell(said)
    if steps:
        output.tabulate([{name: row.get(name, "") for name in ("node", "status", "ms", "price")} for row in steps])
    if "receipt" in said:
        verification.show(context.gateway, str(said["receipt"]))


def uses(words: list[str]) -> dict[str, str]:
    """What placeholders stand for, from NAME=@org/name words."""
    found = {}
    for word in words:
        name, equals, model = word.partition("=")
        if not equals or not model:
            raise Rejected(f"{word!r} says nothing: write NAME=@org/name", use=word)
        found[f"model:{name}"] = model
    return found


def resolve(name: str) -> str:
    """The id a name stands for now."""
    return cid(names.resolve(here().gateway, name))


def fetch(text: str) -> Capsule:
    """A capsule from a file, or from the gateway."""
    path = Path(text)
    if path.suffix == ".json" and path.exists():
        return read_capsule(bundles.sketch(path))
    subject = names.resolve(here().gateway, text)
    return read_capsule(here().gateway.get(f"/v1/documents/{cid(subject)}"))
