"""Sponsoring: an owner's offer to curators, and its bids for slots in discovery. Both come out of its own line."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from ledger.core.catalog.bids import Role
from ledger.core.values.ids import cid, did
from roles.cli import amounts, output
from roles.cli.context import Group, here
from roles.cli.shared import names
from roles.wallet import signing

OFFER_EPOCHS = 24
CAP = "90%"


def sponsor_command(app: Group, role: Role) -> None:
    """Add `sponsor` to an owner's group."""

    @app.verb("sponsor")
    def sponsor(
        subject: Annotated[str, typer.Argument(help="Your model or capsule: @org/name, or its id.")],
        curators: Annotated[str, typer.Option(help="Of your line, to who refers a call: at most 90%.")] = "0%",
        window: Annotated[int, typer.Option(help="For a consumer's first so many paid calls.")] = 1_000,
        slot: Annotated[
            str | None, typer.Option(help="The most a sale from a sponsored row may take, in atoms.")
        ] = None,
        daily: Annotated[str | None, typer.Option(help="And the most of all of them in a day.")] = None,
        task: Annotated[list[str] | None, typer.Option(help="Show it for this task. Repeat it.")] = None,
    ) -> None:
        """Offer curators a commission, and bid for sponsored slots. Nothing is paid but out of calls they brought."""
        made = offer(role, subject, amounts.ratio(curators), window, slot, daily, task or [])
        output.confirm(f"offer this as {role.name} of {subject} for {OFFER_EPOCHS} epochs?")
        output.tell(here().gateway.post("/v1/offers", made))


def offer(
    role: Role, subject: str, offer_ppm: int, window: int, slot: str | None, daily: str | None, tasks: list[str]
) -> dict[str, Any]:
    """The signed offer. A slot's bid is never above what a day may cost."""
    context, lane = here(), here().lane
    epoch, chain = int(lane["epoch"]), int(lane["chain_id"])
    document: dict[str, Any] = {
        "schema": "tollway/offer/1",
        "subject": cid(names.resolve(context.gateway, subject)),
        "party": did(chain, context.account),
        "role": role.name,
        "bid": {"ratio_ppm": 0, "ask": {}},
        "curation": {"offer_ppm": offer_ppm, "window_calls": window},
        "valid_from_epoch": epoch,
        "expires_epoch": epoch + OFFER_EPOCHS,
        "nonce": int(time.time() * 1000),
        "chain_id": chain,
    }
    if slot is not None:
        bid = amounts.typed(slot)
        cap = amounts.typed(daily) if daily else 100 * bid
        document["promotion"] = {"bid": str(bid), "daily_cap": str(cap), "tasks": tasks}
    return signing.offer(context.signer, context.domain, document)
