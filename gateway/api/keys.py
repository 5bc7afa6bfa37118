"""API keys: make one behind a voucher, list, change, rotate and revoke them."""

import hashlib
import secrets
from dataclasses import replace
from typing import Any

import orjson
from fastapi import APIRouter
from sqlmodel import Session

from gateway.api.dependencies import Asking, Here
from gateway.api.schemas import KeyBody, KeyLimits
from gateway.clock import now_ms
from gateway.errors import Refusal
from gateway.payment.auth import PREFIX, Caller, accept, read_voucher
from ledger.core.accounts.permissions import ApiKey
from ledger.core.values import atoms
from ledger.core.values.ids import Lane, to_hex
from ledger.store.access import keys

router = APIRouter(prefix="/v1", tags=["keys"])


@router.post("/keys", status_code=201)
async def make_key(body: KeyBody, gateway: Here) -> dict[str, Any]:
    """Make an API key that spends what the voucher allows. The key is shown once; only its hash is kept."""
    voucher, signature = read_voucher(orjson.dumps(body.voucher.model_dump()))
    secret, hashed = _new_secret()
    key = ApiKey(
        hash=hashed,
        id=_key_id(hashed),
        consumer=voucher.account,
        label=body.label,
        created_at=now_ms(),
        expires_at=body.expires_at,
        budget=atoms.parse(body.budget, "budget") if body.budget is not None else None,
        rate=body.rate,
        models=tuple(body.models) if body.models is not None else None,
    )

    def make(session: Session) -> None:
        known = accept(session, gateway.domain, gateway.lane, voucher, signature)
        if voucher.cum_max < known or (
            voucher.cum_max == known and keys.of_consumer(session, gateway.lane, voucher.account)
        ):
            raise Refusal(
                409,
                "voucher_not_larger",
                f"a voucher of {known} atoms is on record and may have been seen by others: sign one above it,"
                " or make the key with POST /v1/keys/rotate and a key you have",
                facts={"cum_max": str(known)},
            )
        keys.add(session, gateway.lane, key)

    await gateway.db(make)
    return {"key": secret, **_shown_key(key)}


@router.post("/keys/rotate", status_code=201)
async def rotate_key(gateway: Here, caller: Asking) -> dict[str, Any]:
    """Replace the key of this request by a new one with the same limits and the rest of its budget."""
    old = caller.key
    assert old is not None, "the route admits API keys only"
    secret, hashed = _new_secret()
    now = now_ms()

    def rotate(session: Session) -> ApiKey:
        stored = keys.by_hash(session, gateway.lane, old.hash)
        assert stored is not None
        left = None if stored.budget is None else max(0, stored.budget - stored.spent)
        made = replace(stored, hash=hashed, id=_key_id(hashed), created_at=now, revoked_at=None, budget=left, spent=0)
        keys.revoke(session, gateway.lane, old.hash, now)
        keys.add(session, gateway.lane, made)
        return made

    made = await gateway.db(rotate)
    gateway.authenticator.forget(old.hash)
    return {"key": secret, **_shown_key(made)}


@router.get("/keys")
async def list_keys(gateway: Here, caller: Asking) -> dict[str, Any]:
    """All keys of the caller's account, without their secrets."""
    found = await gateway.db(lambda session: keys.of_consumer(session, gateway.lane, caller.consumer))
    return {"object": "list", "data": [_shown_key(key) for key in found]}


@router.patch("/keys/{key_id}")
async def change_key(key_id: str, body: KeyLimits, gateway: Here, caller: Asking) -> dict[str, Any]:
    """Change a key's label, budget, rate, models or expiry. Fields left out stay as they are."""

    def change(session: Session) -> ApiKey:
        key = _find(session, gateway.lane, caller, key_id)
        values: dict[str, Any] = body.model_dump(exclude_unset=True)
        if values.get("budget") is not None:
            values["budget"] = atoms.parse(values["budget"], "budget")
        if values:
            keys.change(session, gateway.lane, key.hash, values)
        return _find(session, gateway.lane, caller, key_id)

    key = await gateway.db(change)
    gateway.authenticator.forget(key.hash)
    return _shown_key(key)


@router.delete("/keys/{key_id}")
async def revoke_key(key_id: str, gateway: Here, caller: Asking) -> dict[str, Any]:
    """Revoke a key. This gateway refuses it at once, the others within GATEWAY_KEY_SECONDS."""

    def revoke(session: Session) -> ApiKey:
        key = _find(session, gateway.lane, caller, key_id)
        keys.revoke(session, gateway.lane, key.hash, now_ms())
        return key

    key = await gateway.db(revoke)
    gateway.authenticator.forget(key.hash)
    return {"id": key.id, "object": "key", "deleted": True}


def _find(session: Session, lane: Lane, caller: Caller, key_id: str) -> ApiKey:
    key = keys.by_id(session, lane, caller.consumer, key_id)
    if key is None:
        raise Refusal(404, "no_such_key", f"there is no key {key_id!r}")
    return key


def _new_secret() -> tuple[str, bytes]:
    """A key's secret, and the hash by which it is stored."""
    secret = PREFIX + secrets.token_urlsafe(32).encode()
    return secret.decode(), hashlib.sha256(secret).digest()


def _key_id(hashed: bytes) -> str:
    return "key_" + hashed.hex()[:16]


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
