"""Webhooks of an account: make, list, change, try and delete them, and what they were sent."""

import os
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from sqlmodel import Session

from gateway.api.dependencies import Asking, Here
from gateway.api.keys import stored_again
from gateway.api.network import check_reachable
from gateway.api.schemas import answers
from gateway.api.schemas.bodies import NO_NUL, WebhookBody, WebhookChange, WebhookEvent
from gateway.api.schemas.openapi import Typed
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import NodeFailed, Refusal
from gateway.payment.auth import Caller, require
from gateway.webhooks import targets
from ledger.core.accounts import accounts
from ledger.core.accounts import webhooks as rules
from ledger.core.accounts.permissions import Act, Subject
from ledger.core.accounts.webhooks import MAX_WEBHOOKS, OF_OPERATORS, TESTS_A_MINUTE, Kind, Webhook
from ledger.core.catalog.bids import Role
from ledger.core.values import atoms
from ledger.core.values.atoms import Atoms
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, to_hex
from ledger.store.access import webhooks as store
from ledger.store.access.webhooks import Message
from ledger.store.money import postings

router = APIRouter(prefix="/v1", tags=["webhooks"], route_class=Typed)
HookId = Annotated[str, Path(pattern=NO_NUL, max_length=64)]


@router.post("/webhooks", status_code=201, response_model=answers.NewWebhook)
async def make_webhook(body: WebhookBody, gateway: Here, caller: Asking, request: Request) -> dict[str, Any]:
    """Make a webhook: messages about the chosen events go to its URL, signed as Standard Webhooks says. Its secret is
    shown once. For the account, or a key of it with `manage`.
    """
    _require(caller)
    kinds = _kinds(gateway, caller.consumer, body.events)
    threshold = _threshold(kinds, body.threshold)
    await _check_url(gateway, body.url, request)
    account, name = caller.consumer, "hook_" + os.urandom(12).hex()
    secret, nonce, encrypted = targets.new_secret(gateway.settings.secret, gateway.lane, account, name)
    hook = Webhook(name, account, body.url, kinds, threshold, nonce, encrypted, now_ms())

    def make(session: Session) -> dict[str, Any]:
        _require(stored_again(session, gateway, caller))
        if not _is_known(session, gateway, account):
            message = "this account has paid nothing in and earned nothing: there is nothing to tell it. Deposit first"
            raise Refusal(403, "unknown_account", message)
        if not store.add(session, gateway.lane, hook):
            raise Refusal(409, "too_many_webhooks", f"an account has at most {MAX_WEBHOOKS} webhooks: delete one")
        return _shown(hook)

    return await gateway.aside(make) | {"secret": secret}


@router.get("/webhooks", response_model=answers.Webhooks)
async def list_webhooks(gateway: Here, caller: Asking) -> dict[str, Any]:
    """The account's webhooks, without their secrets."""
    _require(caller)
    found = await gateway.aside(lambda session: store.of_account(session, gateway.lane, caller.consumer))
    return {"object": "list", "data": [_shown(hook) for hook in found]}


@router.patch("/webhooks/{hook_id}", response_model=answers.Webhook)
async def change_webhook(
    hook_id: HookId, body: WebhookChange, gateway: Here, caller: Asking, request: Request
) -> dict[str, Any]:
    """Change where a webhook leads, what it is about, or whether it is sent to. Its secret stays."""
    _require(caller)
    if body.url is not None:
        await _check_url(gateway, body.url, request)

    def change(session: Session) -> dict[str, Any]:
        hook = _find(session, gateway, caller, hook_id)
        kinds = _kinds(gateway, caller.consumer, body.events) if body.events is not None else hook.kinds
        kept = str(hook.threshold) if hook.threshold is not None else None
        threshold = _threshold(kinds, body.threshold if body.threshold is not None else kept)
        values: dict[str, Any] = {"kinds": kinds, "threshold": threshold}
        if body.url is not None:
            values |= {"url": body.url, "failing_since": None, "rests_until": 0}
        if body.enabled is True:
            values |= {"disabled_at": None, "disabled_because": None, "failing_since": None, "rests_until": 0}
        elif body.enabled is False and hook.disabled_at is None:
            values |= {"disabled_at": now_ms(), "disabled_because": "its owner disabled it"}
        store.change(session, gateway.lane, hook.id, values)
        return _shown(_find(session, gateway, caller, hook_id))

    return await gateway.aside(change)


@router.delete("/webhooks/{hook_id}", response_model=answers.RemovedWebhook)
async def delete_webhook(hook_id: HookId, gateway: Here, caller: Asking) -> dict[str, Any]:
    """Delete a webhook with the messages that wait for it."""
    _require(caller)
    await gateway.aside(
        lambda session: store.remove(session, gateway.lane, _find(session, gateway, caller, hook_id).id)
    )
    return {"id": hook_id, "object": "webhook", "deleted": True}


@router.post("/webhooks/{hook_id}/test", status_code=202, response_model=answers.WebhookMessage)
async def try_webhook(hook_id: HookId, gateway: Here, caller: Asking) -> dict[str, Any]:
    """Send a webhook a message of type `test`. `GET /v1/webhooks/{id}/messages` says whether it arrived."""
    _require(caller)

    def write(session: Session) -> Message:
        now, hook = now_ms(), _find(session, gateway, caller, hook_id)
        if hook.disabled_at is not None:
            raise Refusal(409, "webhook_disabled", "this webhook is disabled: enable it, then try it")
        if store.count_tests(session, gateway.lane, hook.id, now - rules.MINUTE) >= TESTS_A_MINUTE:
            message = f"a webhook is tried at most {TESTS_A_MINUTE} times a minute"
            raise Refusal(429, "rate_limited", message, retry_after=60)
        store.change(session, gateway.lane, hook.id, {"rests_until": 0})  # who tries it has repaired it
        return store.write_to(session, gateway.lane, hook, rules.trial(gateway.lane, hook, os.urandom(16)), now)

    return _shown_message(await gateway.aside(write))


@router.get("/webhooks/{hook_id}/messages", response_model=answers.WebhookMessages)
async def list_messages(
    hook_id: HookId, gateway: Here, caller: Asking, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> dict[str, Any]:
    """What a webhook was sent in the last 30 days, and what waits for it, the newest first."""
    _require(caller)

    def read(session: Session) -> list[Message]:
        return store.recent(session, gateway.lane, _find(session, gateway, caller, hook_id).id, limit)

    return {"object": "list", "data": [_shown_message(one) for one in await gateway.aside(read)]}


def _require(caller: Caller) -> None:
    require(caller, Act.change_webhooks, Subject(caller.consumer))


def _find(session: Session, gateway: Gateway, caller: Caller, hook_id: str) -> Webhook:
    """A webhook of the caller's account, while the caller may still. Others' are as if they were not there."""
    _require(stored_again(session, gateway, caller))
    hook = store.by_id(session, gateway.lane, caller.consumer, hook_id)
    if hook is None:
        raise Refusal(404, "no_such_webhook", f"there is no webhook {hook_id!r} of yours")
    return hook


def _kinds(gateway: Gateway, account: Address, events: Sequence[WebhookEvent]) -> tuple[Kind, ...]:
    """The events that were chosen, each once. Refused for those of the lane, unless its operator asks."""
    kinds = tuple(sorted({Kind(one) for one in events}))
    theirs = sorted(OF_OPERATORS & set(kinds))
    if theirs and account != gateway.operator:
        raise Refusal(403, "not_allowed", f"{theirs[0]} is for the lane's operator alone", param="events")
    return kinds


def _threshold(kinds: tuple[Kind, ...], amount: str | None) -> Atoms | None:
    """The threshold of a low balance, which goes with its event."""
    if Kind.balance_low not in kinds:
        return None
    threshold = atoms.parse(amount, "threshold") if amount is not None else 0
    if threshold == 0:
        message = "balance.low needs a threshold above 0, in atoms: it is told when less than this can be spent"
        raise Refusal(400, "invalid_request", message, param="threshold")
    return threshold


async def _check_url(gateway: Gateway, url: str, request: Request) -> None:
    """Refused unless messages may go there, as its host's name says now. It is looked up again for each attempt."""
    target = targets.parse(url, gateway.outbox.pool.guard)
    try:
        await check_reachable(gateway, target, request, "url")
    except NodeFailed as error:
        raise Refusal(400, "invalid_url", f"the host {target.host!r} cannot be resolved", param="url") from error
    except Rejected as error:
        raise Refusal(400, "invalid_url", error.message, param="url") from error


def _is_known(session: Session, gateway: Gateway, account: Address) -> bool:
    """Whether an account ever had money here, or is the operator's. Everybody can make accounts without end."""
    names = [accounts.available(account), accounts.claimable(account), *(accounts.accrued(account, r) for r in Role)]
    return account == gateway.operator or any(postings.is_used(session, gateway.lane, name) for name in names)


def _shown(hook: Webhook) -> dict[str, Any]:
    return {
        "id": hook.id,
        "object": "webhook",
        "account": to_hex(hook.account),
        "url": hook.url,
        "events": list(hook.kinds),
        "threshold": str(hook.threshold) if hook.threshold is not None else None,
        "enabled": hook.disabled_at is None,
        "disabled_because": hook.disabled_because,
        "failing_since": hook.failing_since,
        "created_at": hook.created_at,
    }


def _shown_message(one: Message) -> dict[str, Any]:
    names = ("id", "status", "attempts", "answer", "error", "created_at", "next_at", "ended_at", "body")
    return {"object": "webhook.message", "event": one.kind, **{name: getattr(one, name) for name in names}}
