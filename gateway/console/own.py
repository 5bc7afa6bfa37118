"""Pages of one's own: activity, keys, webhooks, money, wallet; and the operator's. They are the same for everybody.
Their scripts ask the JSON routes with the reader's key, which stays in the browser's tab, or by its wallet's signature.
Neither comes here in a page's request.
"""

from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from sqlmodel import Session

from gateway.api.dependencies import Here
from gateway.console import rendering
from gateway.console.rendering import Page
from gateway.context import Gateway
from ledger.core.accounts.webhooks import CHOICES, Kind
from ledger.core.values.ids import to_hex
from ledger.store.settlement import batches

WEBHOOK_EVENTS: Final = {
    Kind.balance_low: "my balance is low",
    Kind.budget_reached: "a key's budget is used up",
    Kind.batch_final: "a batch that pays me is final",
    Kind.claim_paid: "a claim of mine was paid",
    Kind.challenge_opened: "a batch of the lane is challenged (its operator)",
    Kind.alarm_sounded: "an alarm of the lane begins (its operator)",
}
"""What a webhook may be told of, in words."""

router = APIRouter(route_class=Page, include_in_schema=False)


@router.get("/activity")
async def activity(gateway: Here) -> HTMLResponse:
    """The reader's calls: what each cost, by model, key and day."""
    return rendering.page(rendering.render("activity.html", gateway, section="activity"))


@router.get("/keys")
async def keys(gateway: Here) -> HTMLResponse:
    """The reader's keys: made, rotated and revoked."""
    return rendering.page(rendering.render("keys.html", gateway, section="keys"))


@router.get("/webhooks")
async def webhooks(gateway: Here) -> HTMLResponse:
    """Where the reader's account is told what happens: made, tried and deleted, and what was sent."""
    events = [(kind.value, WEBHOOK_EVENTS[kind]) for kind in CHOICES]
    return rendering.page(rendering.render("webhooks.html", gateway, section="webhooks", events=events))


@router.get("/money")
async def money(gateway: Here) -> HTMLResponse:
    """The reader's balance and earnings."""
    return rendering.page(rendering.render("money.html", gateway, section="money", private=gateway.private))


@router.get("/wallet")
async def wallet(gateway: Here) -> HTMLResponse:
    """What an account does with its browser's wallet: keys, deposits, exits, claims."""
    return rendering.page(rendering.render("wallet.html", gateway, section="wallet"))


@router.get("/operator")
async def operator(gateway: Here) -> HTMLResponse:
    """How the lane stands, and for its operator, what is wrong with it."""

    def render(session: Session) -> str:
        return rendering.render("operator.html", gateway, section="operator", **_operator(session, gateway))

    return rendering.page(await gateway.aside(render))


def _operator(session: Session, gateway: Gateway) -> dict[str, Any]:
    state = gateway.lane_state
    newest = batches.newest(session, gateway.lane, None, 1)
    return {
        "refused": gateway.refusal(),
        "is_log_well": gateway.receipt_log.healthy,
        "draining": gateway.draining,
        "lane": to_hex(gateway.lane),
        "operator": to_hex(gateway.operator),
        "signer": to_hex(gateway.signer.address),
        "epoch": gateway.catalog.epoch,
        "open_calls": gateway.open_calls,
        "stake": state.at_stake,
        "terms": state.terms,
        "private": gateway.private,
        "newest": newest[0] if newest else None,
        "final": batches.last_final(session, gateway.lane),
    }
