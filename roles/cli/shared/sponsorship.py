"""Sponsorship: an owner's commission for curators and its bids for slots in discovery, both paid from its own share."""

import time
from typing import Annotated, Any

from typer import Argument, Option

from ledger.core.catalog.bids import Role
from ledger.core.values.ids import cid, did
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
        promotion: dict[str, Any] | None = None
        if slot is not None:
            bid = amounts.parse(slot)
            cap = amounts.parse(daily) if daily else 100 * bid
            promotion = {"bid": str(bid), "daily_cap": str(cap), "tasks": task or []}
        signed = sign_offer(role, subject, curation, promotion)
        output.confirm(f"offer this as {role.name} of {subject} for {OFFER_EPOCHS} epochs?")
        output.show(here().gateway.post("/v1/offers", signed))


def sign_offer(role: Role, subject: str, curation: dict[str, int], promotion: dict[str, Any] | None) -> dict[str, Any]:
    """An offer document of this wallet with a commission and a slot's bid, signed."""
    context, lane = here(), here().lane
    epoch, chain = int(lane["epoch"]), int(lane["chain_id"])
    document: dict[str, Any] = {
        "schema": "tollway/offer/1",
        "subject": cid(context.resolve(subject)),
        "party": did(chain, context.account),
        "role": role.name,
        "bid": {"ratio_ppm": 0, "ask": {}},
        "curation": curation,
        "valid_from_epoch": epoch,
        "expires_epoch": epoch + OFFER_EPOCHS,
        "nonce": int(time.time() * 1000),
        "chain_id": chain,
        **({"promotion": promotion} if promotion else {}),
    }
    return signing.offer(context.signer, context.domain, document)
