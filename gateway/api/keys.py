"""API keys: make one behind a voucher or with a key that may, list, change, rotate and revoke them."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path
from sqlmodel import Session

from gateway.api.dependencies import Anybody, Asking, Here
from gateway.api.schemas import answers
from gateway.api.schemas.bodies import NO_NUL, KeyBody, KeyLimits
from gateway.api.schemas.openapi import Typed
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.payment.auth import PREFIX, Caller, accept, read_voucher, require
from ledger.core.accounts import budgets, permissions
from ledger.core.accounts.budgets import DAY_MS, Budget, Period, day_at, days_of
from ledger.core.accounts.permissions import (
    MAX_DEPTH,
    MAX_SUB_KEYS,
    Act,
    ApiKey,
    Asker,
    Right,
    Standing,
    Subject,
    standing,
)
from ledger.core.values import atoms
from ledger.core.values.atoms import Atoms
from ledger.core.values.ids import Address, to_hex
from ledger.store.access import keys

router = APIRouter(prefix="/v1", tags=["keys"], route_class=Typed)
KeyId = Annotated[str, Path(pattern=NO_NUL)]


@router.post("/keys", status_code=201, response_model=answers.NewKey)
async def make_key(body: KeyBody, gateway: Here, caller: Anybody) -> dict[str, Any]:
    """Make an API key: behind a voucher that allows more than the account's last one, or as the account or a key with
    `manage`. A key with `delegate` makes sub-keys, within its own limits. The key is shown once; its hash is kept.
    """
    secret, hashed = _new_secret()

    def make(session: Session) -> dict[str, Any]:
        if body.voucher is not None:
            voucher, signature = read_voucher(orjson.dumps(body.voucher.model_dump()))
            accept(session, gateway.domain, gateway.lane, voucher, signature)
            key = _key(body, hashed, voucher.account)
        else:
            asking = stored_again(session, gateway, caller) if caller is not None else None
            whose = asking.consumer if asking is not None else gateway.operator
            key = _key(body, hashed, whose)
            if asking is not None and asking.key is not None and _is_limited(asking.key):
                key = _sub_key(session, gateway, asking, key)
            else:
                require(asking, Act.make_key, Subject(whose))
        keys.add(session, gateway.lane, key)
        return _shown_key(session, gateway, key)

    return {"key": secret, **await gateway.aside(make)}


@router.post("/keys/rotate", status_code=201, response_model=answers.NewKey)
async def rotate_key(gateway: Here, caller: Asking) -> dict[str, Any]:
    """Replace the secret of this request's key. Its id, limits, spending and sub-keys stay."""
    old = caller.key
    if old is None:
        raise Refusal(400, "no_key", "send the request with the key that is to be rotated")
    require(caller, Act.rotate_key, _subject(old))
    secret, hashed = _new_secret()

    def rotate(session: Session) -> dict[str, Any] | None:
        if not keys.rotate(session, gateway.lane, old.id, old.hash, hashed):
            return None
        return _shown_key(session, gateway, _find(session, gateway, caller, old.id))

    made = await gateway.aside(rotate)
    gateway.authenticator.forget(old.hash)
    if made is None:
        raise Refusal(401, "invalid_api_key", "this key was rotated or revoked")
    return {"key": secret, **made}


@router.get("/keys", response_model=answers.Keys)
async def list_keys(gateway: Here, caller: Asking) -> dict[str, Any]:
    """The keys that the caller may see, without their secrets: all of the account, or the caller's key and those that
    it made.
    """
    below = None if permissions.may(caller.asker, Act.read_account, Subject(caller.consumer)) else caller.key_id

    def read(session: Session) -> list[dict[str, Any]]:
        today = _today(gateway)
        found = keys.of_consumer(session, gateway.lane, caller.consumer, below, today)
        may = partial(permissions.may, caller.asker, Act.read_key)
        return [_shown(key, spent, today) for key, spent in found if may(_subject(key))]

    return {"object": "list", "data": await gateway.aside(read)}


@router.patch("/keys/{key_id}", response_model=answers.Key)
async def change_key(key_id: KeyId, body: KeyLimits, gateway: Here, caller: Asking) -> dict[str, Any]:
    """Change a key's label, budgets, rate, models, rights or expiry. Fields left out stay as they are. A key without
    `manage` can change itself alone, and only tighten its limits.
    """

    def change(session: Session) -> tuple[dict[str, Any], list[bytes]]:
        asking = stored_again(session, gateway, caller)
        key = _find(session, gateway, asking, key_id)
        values = _values(body)
        looser = permissions.loosened(key, replace(key, **values))
        if looser is not None and not permissions.may(asking.asker, Act.change_key, _subject(key)):
            raise Refusal(403, "not_allowed", f"this key may only tighten its own limits, not {looser}", param=looser)
        require(asking, Act.tighten_key, _subject(key))
        if values:
            keys.change(session, gateway.lane, key.id, values)
        shown = _shown_key(session, gateway, _find(session, gateway, caller, key_id))
        return shown, keys.hashes(session, gateway.lane, key.id)

    shown, hashes = await gateway.aside(change)
    gateway.authenticator.forget(*hashes)
    return shown


@router.delete("/keys/{key_id}", response_model=answers.Revoked)
async def revoke_key(key_id: KeyId, gateway: Here, caller: Asking) -> dict[str, Any]:
    """Revoke a key and its sub-keys. This gateway refuses them at once, the others within GATEWAY_KEY_SECONDS."""

    def revoke(session: Session) -> tuple[ApiKey, list[bytes]]:
        asking = stored_again(session, gateway, caller)
        key = _find(session, gateway, asking, key_id)
        require(asking, Act.revoke_key, _subject(key))
        return key, keys.revoke(session, gateway.lane, key.id, now_ms())

    key, hashes = await gateway.aside(revoke)
    gateway.authenticator.forget(*hashes)
    return {"id": key.id, "object": "key", "deleted": True}


def _subject(key: ApiKey) -> Subject:
    return Subject(key.consumer, key.id, key.made_by)


def _find(session: Session, gateway: Gateway, caller: Caller, key_id: str) -> ApiKey:
    """A key that the caller may see. Others are as if they were not there."""
    key = keys.by_id(session, gateway.lane, caller.consumer, key_id)
    missing = Refusal(404, "no_such_key", f"there is no key {key_id!r}")
    if key is None:
        raise missing
    require(caller, Act.read_key, _subject(key), missing)
    return key


def stored_again(session: Session, gateway: Gateway, caller: Caller) -> Caller:
    """The caller as it is stored now. A key that was revoked a moment ago, elsewhere, must change nothing."""
    if caller.key is None:
        return caller
    key = keys.by_id(session, gateway.lane, caller.consumer, caller.key.id)
    assert key is not None, "keys are never deleted"
    ancestors = keys.ancestors(session, gateway.lane, key)
    refused = permissions.refusal((key, *ancestors), now_ms())
    if refused is None and key.hash != caller.key.hash:
        refused = "this key was rotated"
    if refused is not None:
        raise Refusal(401, "invalid_api_key", refused)
    return replace(caller, key=key, ancestors=ancestors)


def _is_limited(key: ApiKey) -> bool:
    """Whether a key asks for itself, not for its account: the keys that it makes are sub-keys."""
    return standing(Asker(key.consumer, key), _subject(key)) is Standing.itself


def _sub_key(session: Session, gateway: Gateway, asking: Caller, wanted: ApiKey) -> ApiKey:
    """The key that a key with `delegate` makes. Refused when it is not within what that key has now."""
    parent = asking.key
    assert parent is not None, "a key asks"
    require(asking, Act.make_sub_key, _subject(parent))
    below = keys.count_below(session, gateway.lane, parent.id)
    if len(parent.made_by) >= MAX_DEPTH:
        raise Refusal(403, "too_deep", f"keys make sub-keys {MAX_DEPTH} deep, and this one is at the bottom")
    if below >= MAX_SUB_KEYS:
        raise Refusal(409, "too_many_keys", f"this key has {below} sub-keys that are not revoked: revoke some")
    outer = permissions.left((parent, *asking.ancestors))
    made = permissions.sub_key(outer, wanted)
    looser = permissions.loosened(outer, made)
    if looser is not None:
        raise Refusal(403, "not_allowed", f"a sub-key's {looser} must be within what its key has left", param=looser)
    return made


def _key(body: KeyBody, hashed: bytes, consumer: Address) -> ApiKey:
    return ApiKey(hash=hashed, id=_key_id(hashed), consumer=consumer, created_at=now_ms(), **_values(body, every=True))


def _values(body: KeyLimits, *, every: bool = False) -> dict[str, Any]:
    """A key's label, limits and rights as the request names them; with `every` also those it leaves out."""
    values: dict[str, Any] = body.model_dump(exclude_unset=not every, exclude={"voucher"})
    if values.get("budget") is not None:
        values["budget"] = atoms.parse(values["budget"], "budget")
    if "budgets" in values:
        values["budgets"] = tuple(
            Budget(atoms.parse(one["amount"], "budgets"), one["period"] and Period(one["period"]), one["model"])
            for one in values["budgets"]
        )
        budgets.check(values["budgets"])
    if values.get("models") is not None:
        values["models"] = tuple(values["models"])
    if "rights" in values:
        values["rights"] = tuple(sorted({Right(name) for name in values["rights"]}))
    return values


def _new_secret() -> tuple[str, bytes]:
    """A key's secret, and the hash by which it is stored."""
    secret = PREFIX + secrets.token_urlsafe(32).encode()
    return secret.decode(), hashlib.sha256(secret).digest()


def _key_id(hashed: bytes) -> str:
    return "key_" + hashed.hex()[:16]


def _shown_key(session: Session, gateway: Gateway, key: ApiKey) -> dict[str, Any]:
    today = _today(gateway)
    return _shown(key, keys.spending(session, gateway.lane, key, today), today)


def _today(gateway: Gateway) -> int:
    """The day by the network's clock, of which what was spent is shown."""
    return day_at(now_ms() + gateway.lane_state.clock_ms)


def _shown(key: ApiKey, spent: Sequence[Atoms], today: int) -> dict[str, Any]:
    """A key as it is shown: its limits, and what it and its sub-keys have `spent` of its budgets, now."""
    return {
        "id": key.id,
        "object": "key",
        "label": key.label,
        "account": to_hex(key.consumer),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "budget": str(key.budget) if key.budget is not None else None,
        "spent": str(key.spent) if key.budget is not None else None,
        "left": str(max(0, key.budget - key.spent)) if key.budget is not None else None,
        "budgets": [_shown_budget(one, gone, today) for one, gone in zip(key.budgets, spent, strict=True)],
        "last_used_at": key.last_used_at,
        "rate": key.rate,
        "models": list(key.models) if key.models is not None else None,
        "rights": [right.value for right in key.rights],
        "made_by": list(key.made_by),
        "realm": key.realm,
    }


def _shown_budget(budget: Budget, spent: Atoms, today: int) -> dict[str, Any]:
    """A budget with what is left of it in its period, which is [starts_at, resets_at)."""
    start, end = days_of(budget.period, today)
    whole = budget.period is None
    return {
        "amount": str(budget.amount),
        "period": budget.period,
        "model": budget.model,
        "spent": str(spent),
        "left": str(max(0, budget.amount - spent)),
        "starts_at": None if whole else start * DAY_MS,
        "resets_at": None if whole else end * DAY_MS,
    }
