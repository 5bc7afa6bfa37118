"""Sponsorship: an owner's commission for curators and its bids for slots in discovery, both paid from its own share."""

from typing import Annotated

from typer import Argument, Option

from ledger.core.catalog.bids import Role
from ledger.core.values.documents import Document
from roles.cli import amounts, output
from roles.cli.context import Group, here
from roles.wallet import signing

OFFER_EPOCHS = 24


def add_sponsoring(app: Group, role: Role) -> None:
    @app.command("sponsor")
    def sponsor(
        subject: Annotated[str, Argument(help="Your model or capsule: @org/name, or its id.")],
        curators: Annotated[str, Option(help="Commission for curators, in % of your own share; at most 90%.")] = "0%",
        window: Annotated[int, Option(help="Commission is paid on a consumer's first WINDOW paid calls.")] = 1_000,
        slot: Annotated[str | None, Option(help="The most to pay per sale from a slot: 400atoms.")] = None,
        daily: Annotated[str | None, Option(help="Daily budget for slots; default: 100 x --slot.")] = None,
        task: Annotated[list[str] | None, Option(help="Show the slot for this task. Repeat it for more.")] = None,
    ) -> None:
        """Pay curators a commission, and bid for sponsored slots in discovery. You pay only for calls they bring."""
        curation = {"offer_ppm": amounts.parse_ratio(curators), "window_calls": window}
        parts: Document = {"bid": {"ratio_ppm": 0, "ask": {}}, "curation": curation}
        if slot is not None:
            bid = amounts.parse(slot)
            cap = amounts.parse(daily) if daily else 100 * bid
            parts["promotion"] = {"bid": str(bid), "daily_cap": str(cap), "tasks": task or []}
        signed = signing.offer(here(), here().resolve(subject), role, OFFER_EPOCHS, parts)
        output.confirm(f"offer this as {role.name} of {subject} for {OFFER_EPOCHS} epochs?")
        output.show(here().gateway.post("/v1/offers", signed))
