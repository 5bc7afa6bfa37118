"""`sponsor`: orders to curators and for slots, of every role that earns a line; signed, and no transaction.

The gateway repeats an order that it takes in plain words, with its end (`core.pricing.sponsors`). It refuses one over a
cap, or for what is not one's own.
"""

from typing import Annotated

from typer import Argument, Option

from ledger.core.catalog.bids import Role
from ledger.core.pricing import commissions, sponsors
from ledger.core.pricing.promotion import RESERVE
from ledger.core.values.documents import Document
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import ZERO_ADDRESS
from roles.cli import amounts, output
from roles.cli.context import Group, here
from roles.cli.shared.payees import Window
from roles.wallet import signing

ORDER_EPOCHS = 24
"""The epochs in which an order is in force."""
SALES_A_DAY = 100
"""Sales that the daily budget pays, if it is not said."""

SHOWN = ("order", "withdrawn", "expires_epoch")
"""What is shown of a gateway's answer to an order."""

Promoted = Annotated[str, Argument(help="A model or capsule: @org/name, or its id.")]
Slot = Annotated[
    str | None, Option(help=f"The most to pay for a sale from a slot, such as 400atoms; at least {RESERVE}atoms.")
]
Daily = Annotated[
    str | None, Option(help=f"The most to pay for slots in a day (UTC); default: {SALES_A_DAY} x --slot.")
]
Task = Annotated[list[str] | None, Option(help="Show the slot for this task; default: all of the model. Repeat it.")]
End = Annotated[bool, Option("--end", help="End the order you have. What it has shown may still sell for a day.")]


def add_owners_order(app: Group, role: Role) -> None:
    """Add `sponsor` for who owns what it promotes."""

    @app.command("sponsor")
    def sponsor(  # noqa: PLR0913
        subject: Promoted,
        curators: Annotated[
            str | None, Option(help="Commission for curators, in % of your own share; at most 90%.")
        ] = None,
        window: Window = 1_000,
        slot: Slot = None,
        daily: Daily = None,
        task: Task = None,
        end: End = False,
    ) -> None:
        """Pay curators a commission, and bid for sponsored slots in discovery. You pay only for calls they bring.

        It takes the place of your order before it. It is for what you own; of your share you keep at least a tenth.
        Without --curators, curators of a workflow get what its capsule says.
        """
        parts: Document = {}
        if curators is not None or end:
            parts["curation"] = {"offer_ppm": amounts.parse_ratio(curators or "0%"), "window_calls": window}
        if slot is not None and not end:
            parts |= slots(subject, slot, daily, task)
        place(subject, role, parts, end=end)


def add_providers_order(app: Group) -> None:
    """Add `sponsor` for who serves or delivers what it promotes."""

    @app.command("sponsor")
    def sponsor(
        subject: Promoted,
        slot: Slot = None,
        daily: Daily = None,
        task: Task = None,
        delivery: Annotated[bool, Option("--delivery", help="As who delivers it, not as who serves it.")] = False,
        end: End = False,
    ) -> None:
        """Bid for sponsored slots of a model that you serve or deliver. You pay only for sales that you earn on."""
        place(subject, Role.delivery if delivery else Role.compute, slots(subject, slot, daily, task), end=end)


def add_curators_order(app: Group) -> None:
    """Add `sponsor` for who recommends what it promotes."""

    @app.command("sponsor")
    def sponsor(subject: Promoted, slot: Slot = None, daily: Daily = None, task: Task = None, end: End = False) -> None:
        """Bid for sponsored slots of a model whose owner pays curators. A sale from a slot is referred by you.

        You pay for it out of your commission on it, of which you keep at least a tenth.
        """
        place(subject, Role.curator, slots(subject, slot, daily, task), end=end)


def slots(subject: str, slot: str | None, daily: str | None, tasks: list[str] | None) -> Document:
    """The part of an order that is for slots. An order that ends one needs no slot."""
    bid = amounts.parse_some(slot) if slot is not None else 0
    cap = amounts.parse_some(daily) if daily is not None else SALES_A_DAY * bid
    known: list[str] = tasks or here().gateway.get(f"/v1/models/{subject}").get("tasks", [])
    return {"promotion": {"bid": str(bid), "daily_cap": str(cap), "tasks": known}}


def place(name: str, role: Role, parts: Document, *, end: bool) -> None:
    """Sign an order, or the end of one, and show how the gateway understood it."""
    said: Document = {"role": role.name, **parts}
    if not end:
        order = commissions.sponsorship(ZERO_ADDRESS, said)  # before a wallet or a gateway is asked for
        if order is None or (order.slot_tasks and not order.slot_bid):
            raise Rejected(f"this order offers nothing: say what a sale is worth to you, --slot {RESERVE}atoms or more")
        sponsors.check_caps(order)
    subject = here().resolve(name)
    output.confirm(f"{'end' if end else 'place'} this order as {role.name} of {name}?")
    fields: Document = {"bid": {"ratio_ppm": 0, "ask": {}}, **parts, **({"withdrawn": True} if end else {})}
    taken = here().gateway.post("/v1/offers", signing.offer(here(), subject, role, ORDER_EPOCHS, fields))
    output.show({"subject": name, "role": role.name, **{key: taken[key] for key in SHOWN if key in taken}})
