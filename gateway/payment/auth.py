"""Who calls: an API key behind a voucher, or a voucher with the call. Everything else is refused before any work."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import orjson
from sqlalchemy import Engine
from sqlmodel import Session

from gateway.database import transact
from gateway.errors import Refusal
from ledger.core.values.atoms import parse
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, address
from ledger.core.values.typed_data import Domain, Voucher, recover, signing_digest, voucher_hash
from ledger.store.access import keys, vouchers
from ledger.store.access.keys import ApiKey

PREFIX = b"tw_"
MINUTE_MS = 60_000
KNOWN_KEYS = 100_000


@dataclass(frozen=True, slots=True)
class Caller:
    """An admitted consumer, and the key it came with. `budget` is that key's hash if it has a budget of its own."""

    consumer: Address
    key: ApiKey | None = None
    budget: bytes | None = None


@dataclass(slots=True)
class _Known:
    """A key we have looked up: what it was, when, and how many calls its rate still allows."""

    caller: Caller
    seen_at: int
    tokens: float
    filled_at: int


class Authenticator:
    """Admits callers. Keys are looked up again every `fresh_ms`, so a key revoked elsewhere closes within that time."""

    def __init__(self, engine: Engine, lane: int, domain: Domain, fresh_ms: int) -> None:
        self._engine = engine
        self._lane = lane
        self._domain = domain
        self._fresh_ms = fresh_ms
        self._known: dict[bytes, _Known] = {}
        self._looking: dict[bytes, asyncio.Task[_Known]] = {}

    async def admit(self, headers: Mapping[bytes, bytes], now: int) -> Caller:
        """The caller these headers name. Refused with 401 or 429."""
        secret = headers.get(b"authorization", b"")
        if secret[:10].lower() == b"bearer " + PREFIX:
            return await self._by_key(secret[7:].strip(), now)
        voucher = headers.get(b"tollway-voucher")
        if voucher is not None:
            return await self.by_voucher(voucher, replay=b"idempotency-key" in headers)
        raise Refusal(
            401,
            "missing_key",
            "send `Authorization: Bearer tw_...` (make a key with POST /v1/keys), or a Tollway-Voucher header",
        )

    def forget(self, hashed: bytes) -> None:
        """Look this key up again before it opens anything."""
        self._known.pop(hashed, None)
        self._looking.pop(hashed, None)

    async def _by_key(self, secret: bytes, now: int) -> Caller:
        hashed = hashlib.sha256(secret).digest()
        known = self._known.get(hashed)
        if known is None or now - known.seen_at >= self._fresh_ms:
            known = await self._looked_up(hashed, known, now)
        key = known.caller.key
        assert key is not None
        if key.expires_at is not None or key.revoked_at is not None:
            refused = key.refusal(now)
            if refused is not None:
                raise Refusal(401, "invalid_api_key", refused)
        if key.rate is not None:
            self._throttle(known, key.rate, now)
        return known.caller

    async def _looked_up(self, hashed: bytes, known: _Known | None, now: int) -> _Known:
        """What one look finds, for every call that comes while it is under way: a look costs more than a call."""
        looking = self._looking.get(hashed)
        if looking is None:
            looking = self._looking[hashed] = asyncio.create_task(self._look_up(hashed, known, now))
            looking.add_done_callback(lambda ended: self._keep(hashed, ended))
        return await asyncio.shield(looking)

    async def _look_up(self, hashed: bytes, known: _Known | None, now: int) -> _Known:
        key = await transact(self._engine, lambda session: keys.by_hash(session, hashed))
        if key is None:
            raise Refusal(401, "invalid_api_key", "there is no such key; make one with POST /v1/keys")
        caller = Caller(key.consumer, key, hashed if key.budget is not None else None)
        tokens = known.tokens if known is not None else float(key.rate or 0)
        return _Known(caller, now, tokens, known.filled_at if known is not None else now)

    def _keep(self, hashed: bytes, looking: asyncio.Task[_Known]) -> None:
        """Remember what a look found, unless the key was to be forgotten meanwhile."""
        if self._looking.get(hashed) is not looking:
            return
        del self._looking[hashed]
        if looking.cancelled() or looking.exception() is not None:
            return
        if len(self._known) >= KNOWN_KEYS:
            self._known.clear()
        self._known[hashed] = looking.result()

    @staticmethod
    def _throttle(known: _Known, rate: int, now: int) -> None:
        """A bucket that holds a minute's calls and fills evenly. Per gateway process."""
        known.tokens = min(float(rate), known.tokens + (now - known.filled_at) * rate / MINUTE_MS)
        known.filled_at = now
        if known.tokens < 1:
            wait = int((1 - known.tokens) * 60 / rate) + 1
            raise Refusal(429, "rate_limited", f"this key may make {rate} calls a minute", retry_after=wait)
        known.tokens -= 1

    async def by_voucher(self, text: bytes, replay: bool = False) -> Caller:
        """The account that signed a voucher larger than any before: a voucher seen by others opens nothing again.

        `replay` allows the highest one once more, for the same call sent again.
        """
        voucher, signature = read_voucher(text)
        known = await transact(
            self._engine, lambda session: accept(session, self._domain, self._lane, voucher, signature)
        )
        if voucher.cum_max < known or (voucher.cum_max == known and not replay):
            raise Refusal(
                401,
                "voucher_not_larger",
                f"each voucher must allow more than the one before: sign one above {known}",
                facts={"cum_max": str(known)},
            )
        return Caller(voucher.account)


def read_voucher(text: bytes) -> tuple[Voucher, bytes]:
    """A voucher and its signature from JSON: lane, account, cum_max (decimal string), signature."""
    try:
        row = orjson.loads(text)
        voucher = Voucher(int(row["lane"]), address(row["account"]), parse(row["cum_max"], "cum_max"))
        return voucher, bytes.fromhex(row["signature"].removeprefix("0x"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"a voucher is JSON with lane, account, cum_max and signature: {error}"
        raise Refusal(400, "invalid_voucher", message) from error


def accept(session: Session, domain: Domain, lane: int, voucher: Voucher, signature: bytes) -> int:
    """Check a voucher's lane and signature and keep it. Returns the highest there was before."""
    if voucher.lane != lane:
        raise Refusal(400, "invalid_voucher", f"this gateway serves lane {lane}, not {voucher.lane}", param="lane")
    try:
        signer = recover(signing_digest(domain, voucher_hash(voucher)), signature)
    except Rejected as rejected:
        raise Refusal(401, "invalid_voucher", rejected.message) from rejected
    if signer != voucher.account and not vouchers.is_session_key(session, voucher.account, signer):
        raise Refusal(401, "invalid_voucher", "the voucher is signed by neither the account nor a session key of it")
    known = vouchers.highest(session, lane, voucher.account)
    if voucher.cum_max > known:
        vouchers.raise_to(session, voucher, signature)
    return known


def check_model(caller: Caller, name: str, identity: str) -> None:
    """Refuse a model the key is not for."""
    if caller.key is not None and caller.key.models is not None and not {name, identity} & {*caller.key.models}:
        raise Refusal(403, "model_not_allowed", f"this key may not call {name}", param="model")
