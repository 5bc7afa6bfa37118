"""Authenticates callers: by an API key behind a voucher, or by a voucher sent with the call."""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import orjson
from sqlalchemy import Engine
from sqlmodel import Session

from gateway.database import transact
from gateway.errors import Refusal
from ledger.core.accounts import permissions
from ledger.core.accounts.permissions import ApiKey
from ledger.core.values.atoms import parse
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Lane, address, to_hex
from ledger.core.values.typed_data import Domain, Voucher, recover, signing_digest, voucher_hash
from ledger.store.access import keys, vouchers
from ledger.store.chain import parties

PREFIX = b"tw_"
MINUTE_MS = 60_000
KNOWN_KEYS = 100_000


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated consumer, and its key if it used one. `budget` is the key's hash if the key has a budget."""

    consumer: Address
    key: ApiKey | None = None
    budget: bytes | None = None


@dataclass(slots=True)
class _Known:
    """A key as it was at `seen_at`, and how many calls its rate still allows (`tokens`, as of `filled_at`)."""

    caller: Caller
    seen_at: int
    tokens: float
    filled_at: int


class Authenticator:
    """Authenticates callers. A key is read again after `fresh_ms`, so a key revoked elsewhere is refused by then."""

    def __init__(self, engine: Engine, lane: Lane, domain: Domain, fresh_ms: int) -> None:
        self._engine = engine
        self._lane = lane
        self._domain = domain
        self._fresh_ms = fresh_ms
        self._known: dict[bytes, _Known] = {}
        self._looking: dict[bytes, asyncio.Task[_Known]] = {}

    async def admit(self, headers: Mapping[bytes, bytes], now: int) -> Caller:
        """The caller of a request with these headers. Refused with 401, or 429 above the key's rate."""
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

    def knows(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether these headers show a key that was good lately."""
        return hashlib.sha256(headers.get(b"authorization", b"")[7:].strip()).digest() in self._known

    def forget(self, hashed: bytes) -> None:
        """Read this key again before its next use."""
        self._known.pop(hashed, None)
        self._looking.pop(hashed, None)

    async def _by_key(self, secret: bytes, now: int) -> Caller:
        hashed = hashlib.sha256(secret).digest()
        known = self._known.get(hashed)
        if known is None or now - known.seen_at >= self._fresh_ms:
            known = await self._looked_up(hashed, known, now)
        key = known.caller.key
        assert key is not None
        refused = permissions.refusal(key, now)
        if refused is not None:
            raise Refusal(401, "invalid_api_key", refused)
        if key.rate is not None:
            self._throttle(known, key.rate, now)
        return known.caller

    async def _looked_up(self, hashed: bytes, known: _Known | None, now: int) -> _Known:
        """Read a key once for all calls that arrive meanwhile: the read costs more than a call."""
        looking = self._looking.get(hashed)
        if looking is None:
            looking = self._looking[hashed] = asyncio.create_task(self._look_up(hashed, known, now))
            looking.add_done_callback(lambda ended: self._keep(hashed, ended))
        return await asyncio.shield(looking)

    async def _look_up(self, hashed: bytes, known: _Known | None, now: int) -> _Known:
        key = await transact(self._engine, lambda session: keys.by_hash(session, self._lane, hashed))
        if key is None:
            raise Refusal(401, "invalid_api_key", "there is no such key; make one with POST /v1/keys")
        caller = Caller(key.consumer, key, hashed if key.budget is not None else None)
        tokens = known.tokens if known is not None else float(key.rate or 0)
        return _Known(caller, now, tokens, known.filled_at if known is not None else now)

    def _keep(self, hashed: bytes, looking: asyncio.Task[_Known]) -> None:
        """Remember a key that was read, unless `forget` was called meanwhile."""
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
        """Limit a key's calls by a token bucket that holds one minute's calls. Each gateway process has its own."""
        known.tokens = min(float(rate), known.tokens + (now - known.filled_at) * rate / MINUTE_MS)
        known.filled_at = now
        if known.tokens < 1:
            wait = int((1 - known.tokens) * 60 / rate) + 1
            raise Refusal(429, "rate_limited", f"this key may make {rate} calls a minute", retry_after=wait)
        known.tokens -= 1

    async def by_voucher(self, text: bytes, replay: bool = False) -> Caller:
        """The account of a voucher that allows more than any before it, so that a copied voucher is worth nothing.

        `replay` also allows the highest one, for a call that is sent again.
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
        voucher = Voucher(address(row["lane"]), address(row["account"]), parse(row["cum_max"], "cum_max"))
        return voucher, bytes.fromhex(row["signature"].removeprefix("0x"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"a voucher is JSON with lane, account, cum_max and signature: {error}"
        raise Refusal(400, "invalid_voucher", message) from error


def accept(session: Session, domain: Domain, lane: Lane, voucher: Voucher, signature: bytes) -> int:
    """Check a voucher's lane and signature and store it. Returns the `cum_max` of the highest one before it."""
    if voucher.lane != lane:
        said = f"this gateway serves lane {to_hex(lane)}, not {to_hex(voucher.lane)}"
        raise Refusal(400, "invalid_voucher", said, param="lane")
    try:
        signer = recover(signing_digest(domain, voucher_hash(voucher)), signature)
    except Rejected as rejected:
        raise Refusal(401, "invalid_voucher", rejected.message) from rejected
    if signer not in parties.signers_of(session, voucher.account):
        raise Refusal(401, "invalid_voucher", "the voucher is signed by neither the account nor a session key of it")
    known, _ = vouchers.highest(session, lane, voucher.account)
    if voucher.cum_max > known:
        vouchers.raise_to(session, voucher, signer, signature)
    return known
