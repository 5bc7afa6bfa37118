"""API keys behind vouchers: made, listed, changed, rotated, revoked."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

import orjson
from fastapi import APIRouter
from pydantic import Field
from sqlmodel import Session

from gateway.api.accounts import Amount, HexAddress, Strict
from gateway.api.requests import MAX_INT, Asking, Here
from gateway.clock import now_ms
from gateway.errors import Refusal
from gateway.payment.auth import PREFIX, accept, read_voucher
from ledger.core.accounts.permissions import ApiKey
from ledger.core.values import atoms
from ledger.core.values.ids import to_hex
from ledger.store.access import keys

router = APIRouter(prefix="/v1", tags=["keys"])


class VoucherBody(Strict):
    """A signed voucher: the most the lane may ever debit the account."""

    lane: int = Field(ge=0, lt=2**32)
    account: HexAddress
    cum_max: Amount
    signature: str = Field(pattern="^0x[0-9a-fA-F]{130}$")


class KeyLimits(Strict):
    """What a key may be used for. `rate` is calls a minute."""

    label: str = Field(default="", max_length=200)
    budget: Amount | None = None
    rate: int | None = Field(default=None, ge=1, le=10**6)
    models: list[str] | None = Field(default=None, max_length=1000)
    expires_at: int | None = Field(default=None, ge=0, le=MAX_INT, description="ms since the epoch")


class KeyBody(KeyLimits):
    """A new key, behind a voucher."""

    voucher: VoucherBody


@router.post("/keys", status_code=201)
async def make_key(body: KeyBody, gateway: Here) -> dict[str, Any]:
    """Make an API key that spends what the voucher allows. The key is shown once; only its hash is kept."""
    voucher, signature = read_voucher(orjson.dumps(body.voucher.model_dump()))
    secret = (PREFIX + secrets.token_urlsafe(32).encode()).decode()
    hashed = hashlib.sha256(secret.encode()).digest()
    key = _key(hashed, voucher.account, body, now_ms())

    def make(session: Session) -> int:
        known = accept(session, gateway.domain, gateway.lane, voucher, signature)
        if voucher.cum_max >= known and (voucher.cum_max > known or not keys.of_consumer(session, voucher.account)):
            keys.add(session, key)
        return known

    known = await gateway.db(make)
    if await gateway.db(lambda session: keys.by_hash(session, hashed)) is None:
        raise Refusal(
            409,
            "voucher_not_larger",
            f"a voucher of {known} atoms is on record and may have been seen by others: sign one above it,"
            " or make the key with POST /v1/keys/rotate and a key you have",
            facts={"cum_max": str(known)},
        )
    return {"key": secret, **_shown_key(key)}


@router.post("/keys/rotate", status_code=201)
async def rotate_key(gateway: Here, caller: Asking) -> dict[str, Any]:
    """A new key with this key's limits and what is left of its budget; this one is revoked."""
    old = caller.key
    assert old is not None, "only a key gets here"
    secret = (PREFIX + secrets.token_urlsafe(32).encode()).decode()
    hashed, now = hashlib.sha256(secret.encode()).digest(), now_ms()

    def rotate(session: Session) -> ApiKey:
        stored = keys.by_hash(session, old.hash)
        assert stored is not None
        budget = None if stored.budget is None else max(0, stored.budget - stored.spent)
        limits = stored.expires_at, None, budget, stored.rate, stored.models
        made = ApiKey(hashed, _key_id(hashed), stored.consumer, stored.label, now, *limits)
        keys.revoke(session, old.hash, now)
        keys.add(session, made)
        return made

    made = await gateway.db(rotate)
    gateway.authenticator.forget(old.hash)
    return {"key": secret, **_shown_key(made)}


@router.get("/keys")
async def list_keys(gateway: Here, caller: Asking) -> dict[str, Any]:
    """All keys of the caller's account, without their secrets."""
    found = await gateway.db(lambda session: keys.of_consumer(session, caller.consumer))
    return {"object": "list", "data": [_shown_key(key) for key in found]}


@router.patch("/keys/{key_id}")
async def change_key(key_id: str, body: KeyLimits, gateway: Here, caller: Asking) -> dict[str, Any]:
    """Change a key's label, budget, rate, models or expiry. What is left out stays."""

    def change(session: Session) -> ApiKey | None:
        key = keys.by_id(session, caller.consumer, key_id)
        if key is None:
            return None
        values: dict[str, Any] = body.model_dump(exclude_unset=True)
        if values.get("budget") is not None:
            values["budget"] = atoms.parse(values["budget"], "budget")
        if values:
            keys.change(session, key.hash, values)
        return keys.by_id(session, caller.consumer, key_id)

    key = await gateway.db(change)
    if key is None:
        raise Refusal(404, "no_such_key", f"there is no key {key_id!r}")
    gateway.authenticator.forget(key.hash)
    return _shown_key(key)


@router.delete("/keys/{key_id}")
async def revoke_key(key_id: str, gateway: Here, caller: Asking) -> dict[str, Any]:
    """Revoke a key. It opens nothing here at once, and nowhere within GATEWAY_KEY_SECONDS."""

    def revoke(session: Session) -> ApiKey | None:
        key = keys.by_id(session, caller.consumer, key_id)
        if key is not None:
            keys.revoke(session, key.hash, now_ms())
        return key

    key = await gateway.db(revoke)
    if key is None:
        raise Refusal(404, "no_such_key", f"there is no key {key_id!r}")
    gateway.authenticator.forget(key.hash)
    return {"id": key.id, "object": "key", "deleted": True}


def _key_id(hashed: bytes) -> str:
    return "key_" + hashed.hex()[:16]


def _key(hashed: bytes, account: Any, body: KeyLimits, now: int) -> ApiKey:
    budget = atoms.parse(body.budget, "budget") if body.budget is not None else None
    models = tuple(body.models) if body.models is not None else None
    return ApiKey(hashed, _key_id(hashed), account, body.label, now, body.expires_at, None, budget, body.rate, models)


def _shown_key(key: ApiKey) -> dict[str, Any]:
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
        "rate": key.rate,
        "models": list(key.models) if key.models is not None else None,
    }
