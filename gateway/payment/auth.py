"""Authenticates callers: by an API key, by a voucher sent with the call, or by the account's signature of the request.

What an authenticated caller may do is `core.accounts.permissions`; `require` is where routes ask it.
"""

import asyncio
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass

import orjson
from sqlalchemy import Engine
from sqlmodel import Session

from gateway.clock import steady_ms
from gateway.database import transact, transact_aside
from gateway.errors import Refusal
from ledger.core.accounts import accounts, permissions
from ledger.core.accounts.budgets import Allowance, day_at, models
from ledger.core.accounts.permissions import Act, ApiKey, Asker, Subject
from ledger.core.values.atoms import parse
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import NO_KEY, Address, Digest, Lane, address, call_id, to_hex
from ledger.core.values.typed_data import Domain, Voucher, recover, request_hash, signing_digest, voucher_hash
from ledger.store.access import keys, signed_requests, vouchers
from ledger.store.access.vouchers import Opened
from ledger.store.chain import parties
from ledger.store.money import postings

PREFIX = b"tw_"
MINUTE_MS = 60_000
KNOWN_KEYS = 100_000
FRESH_MS = 60_000
"""A signed request is good for this long before and after the time it names."""
RATE_HEADERS = tuple(b"x-ratelimit-%b-requests" % what for what in (b"limit", b"remaining", b"reset"))
SAFE = frozenset(("GET", "HEAD"))
"""Methods that change nothing: such a request may be sent again while its signature is fresh."""


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated consumer, its key if it used one, and the keys that one descends from, its maker first.

    `budget` is what its calls are taken of if the key, or one it descends from, has a budget; `dated` when one of those
    has a period, `models` those that have one of their own.
    """

    consumer: Address
    key: ApiKey | None = None
    ancestors: tuple[ApiKey, ...] = ()
    budget: Allowance | None = None
    dated: bool = False
    models: frozenset[str] = frozenset()
    limited: bool = False
    """The key, or one it descends from, has a rate."""

    @property
    def asker(self) -> Asker:
        return Asker(self.consumer, self.key)

    @property
    def key_id(self) -> str:
        return self.key.id if self.key is not None else NO_KEY

    def allowance(self, model: str, now: int) -> Allowance | None:
        """What a call of a model is taken of that is held at `now` (ms, the network's clock); None without a budget.

        A model's budget is for all versions of its name, however the call names it.
        """
        if self.budget is None or not (self.dated or self.models):
            return self.budget
        name, version, _ = model[1:].partition("@")
        family = f"@{name}" if version else model
        return Allowance(self.budget.line, day_at(now) if self.dated else 0, family if family in self.models else "")

    def may_call(self, name: str, asked: str) -> bool:
        """Whether its key, if it has one, may call a model."""
        return self.key is None or permissions.may_call((self.key, *self.ancestors), name, asked)


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as an account signed it: its method, the digest of all of it, and the header with the signature."""

    method: str
    digest: Digest
    header: bytes


def require(caller: Caller | None, act: Act, subject: Subject, hidden: Refusal | None = None) -> None:
    """Refuse what a caller, None for a stranger, may not do. `hidden` is said instead where the subject's existence is
    not theirs to know.
    """
    if permissions.may(caller.asker if caller is not None else None, act, subject):
        return
    if hidden is not None:
        raise hidden
    if caller is None:
        raise _missing()
    right = "its account's signature or a key with `manage`" if act is not Act.make_sub_key else "a key with `delegate`"
    raise Refusal(403, "not_allowed", f"{act.name.replace('_', ' ')} of {to_hex(subject.account)} needs {right}")


def _missing() -> Refusal:
    message = (
        "send `Authorization: Bearer tw_...` (make a key with POST /v1/keys), a Tollway-Voucher header, or, "
        "as an account, a Tollway-Account header"
    )
    return Refusal(401, "missing_key", message)


@dataclass(slots=True)
class _Known:
    """A key as it was at `seen_at` (steady ms), with those it descends from (`line`)."""

    caller: Caller
    line: tuple[ApiKey, ...]
    seen_at: int


@dataclass(slots=True)
class _Bucket:
    """How many calls a key's rate still allows (`tokens`, as of `filled_at`, in steady ms)."""

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
        self._buckets: dict[str, _Bucket] = {}
        self._used: dict[str, int] = {}

    async def admit(self, headers: Mapping[bytes, bytes], now: int) -> Caller:
        """The caller of a request with these headers, by its key. Refused with 401, or 429 above the key's rate."""
        secret = headers.get(b"authorization", b"")
        if secret[:10].lower() != b"bearer " + PREFIX:
            raise _missing()
        return await self._by_key(secret[7:].strip(), now)

    async def known(self, headers: Mapping[bytes, bytes], now: int) -> Caller | None:
        """The caller whose key these headers show, None if they show none, for what no rate counts."""
        secret = headers.get(b"authorization", b"")
        if secret[:10].lower() != b"bearer " + PREFIX:
            return None
        return (await self._by_hash(hashlib.sha256(secret[7:].strip()).digest(), now)).caller

    def knows(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether these headers show a key that was good lately."""
        return hashlib.sha256(headers.get(b"authorization", b"")[7:].strip()).digest() in self._known

    async def admit_call(self, headers: Mapping[bytes, bytes], path: str, now: int) -> tuple[Caller, Digest, bool]:
        """The caller of a paid request, by its key or voucher; the call's id; and whether its answer is kept, because
        the call can be sent again by the same name.
        """
        given, voucher = idempotency_key(headers), headers.get(b"tollway-voucher")
        if voucher is not None and b"authorization" not in headers:
            return await self._by_voucher(voucher, path, given)
        caller = await self.admit(headers, now)
        identity = call_id(self._lane, caller.consumer, caller.key_id, path, given or os.urandom(16))
        return caller, identity, given is not None

    def count(self, caller: Caller, calls: int) -> None:
        """Count so many more calls of a caller against its rate, if it has one. Refused with 429 when it allows fewer
        now.
        """
        if caller.limited and caller.key is not None:
            self._throttle((caller.key, *caller.ancestors), steady_ms(), calls)

    def forget(self, *hashes: bytes) -> None:
        """Read these keys again before their next use, and those that descend of them: all keys of a line."""
        for hashed in hashes:
            self._known.pop(hashed, None)
            self._looking.pop(hashed, None)

    async def _by_key(self, secret: bytes, now: int) -> Caller:
        known = await self._by_hash(hashlib.sha256(secret).digest(), now)
        if known.caller.limited:
            self._throttle(known.line, steady_ms())
        self._used[known.line[0].id] = now
        return known.caller

    async def _by_hash(self, hashed: bytes, now: int) -> _Known:
        """A key that is good now. Refused otherwise."""
        at = steady_ms()
        known = self._known.get(hashed)
        if known is None or at - known.seen_at >= self._fresh_ms:
            known = await self._looked_up(hashed, at)
        refused = permissions.refusal(known.line, now)
        if refused is not None:
            raise Refusal(401, "invalid_api_key", refused)
        return known

    def used(self) -> dict[str, int]:
        """The keys that were used since this was asked last, and when (ms)."""
        used, self._used = self._used, {}
        return used

    async def _looked_up(self, hashed: bytes, at: int) -> _Known:
        """Read a key once for all calls that arrive meanwhile: the read costs more than a call."""
        looking = self._looking.get(hashed)
        if looking is None:
            looking = self._looking[hashed] = asyncio.create_task(self._look_up(hashed, at))
            looking.add_done_callback(lambda ended: self._keep(hashed, ended))
        return await asyncio.shield(looking)

    async def _look_up(self, hashed: bytes, at: int) -> _Known:
        def read(session: Session) -> tuple[ApiKey, tuple[ApiKey, ...]] | None:
            key = keys.by_hash(session, self._lane, hashed)
            return (key, keys.ancestors(session, self._lane, key)) if key is not None else None

        found = await transact(self._engine, read)
        if found is None:
            raise Refusal(401, "invalid_api_key", "there is no such key; make one with POST /v1/keys")
        key, ancestors = found
        line = (key, *ancestors)
        budgets = [one for each in line for one in each.budgets]
        bounded = budgets or any(one.budget is not None for one in line)
        budget = Allowance((*key.made_by, key.id)) if bounded else None
        dated = any(one.period is not None for one in budgets)
        limited = any(one.rate is not None for one in line)
        return _Known(Caller(key.consumer, key, ancestors, budget, dated, models(budgets), limited), line, at)

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

    def rate_headers(self, caller: Caller) -> list[tuple[bytes, bytes]]:
        """What a limited caller's rate still allows, as OpenAI's clients read it: of its line's keys, the one that
        allows least.
        """
        assert caller.key is not None
        at, line = steady_ms(), (caller.key, *caller.ancestors)
        limited = [(self._bucket(key, key.rate, at).tokens, key.rate) for key in line if key.rate is not None]
        return _rate_headers(*min(limited))

    def _throttle(self, line: tuple[ApiKey, ...], at: int, calls: int = 1) -> None:
        """Limit a key's calls, and those of its sub-keys with them, by a token bucket that holds one minute's calls.

        Each gateway process has its own.
        """
        limited = [(self._bucket(key, key.rate, at), key.rate) for key in line if key.rate is not None]
        for bucket, rate in limited:
            if bucket.tokens < calls:
                wait = int((calls - bucket.tokens) * 60 / rate) + 1
                message = f"this key may make {rate} calls a minute"
                message += f", and this makes {calls} more at once" if calls > 1 else ""
                refused = Refusal(429, "rate_limited", message, retry_after=wait)
                refused.headers += _rate_headers(bucket.tokens, rate)
                raise refused
        for bucket, _ in limited:
            bucket.tokens -= calls

    def _bucket(self, key: ApiKey, rate: int, at: int) -> _Bucket:
        """A key's bucket, filled up to now. A change of the key does not fill it."""
        bucket = self._buckets.get(key.id)
        if bucket is None:
            if len(self._buckets) >= KNOWN_KEYS:  # those that are full say nothing
                self._buckets = {name: one for name, one in self._buckets.items() if at - one.filled_at < MINUTE_MS}
            bucket = self._buckets[key.id] = _Bucket(float(rate), at)
        bucket.tokens = min(float(rate), bucket.tokens + (at - bucket.filled_at) * rate / MINUTE_MS)
        bucket.filled_at = at
        return bucket

    async def _by_voucher(self, text: bytes, path: str, given: bytes | None) -> tuple[Caller, Digest, bool]:
        """The account of a voucher, which opens one call: without an Idempotency-Key the voucher names it."""
        voucher, signature = read_voucher(text)
        name = given if given is not None else b"voucher:%d" % voucher.cum_max
        identity = call_id(self._lane, voucher.account, NO_KEY, path, name)
        await transact(
            self._engine, lambda session: check(session, self._domain, self._lane, voucher, signature, identity)
        )
        return Caller(voucher.account), identity, True

    async def open_by_voucher(self, text: bytes, opens: Opened) -> None:
        """Store a voucher with the request that it opens: whoever sees it cannot open the call with another body, if it
        is released.
        """
        voucher, signature = read_voucher(text)
        await transact(
            self._engine, lambda session: accept(session, self._domain, self._lane, voucher, signature, opens)
        )

    async def by_signature(self, request: SignedRequest, now: int) -> Caller:
        """The account that signed this very request lately. A request that changes something is taken once."""
        try:
            row = orjson.loads(request.header)
            account, at = address(row["account"]), int(row["at"])
            signature = bytes.fromhex(row["signature"].removeprefix("0x"))
            hashed = request_hash(self._lane, account, request.digest, at)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, Rejected) as error:
            message = f"Tollway-Account is JSON with account, at (ms) and signature: {error}"
            raise Refusal(400, "invalid_signature", message) from error
        if abs(now - at) >= FRESH_MS:
            raise Refusal(401, "invalid_signature", "the request was not signed in this minute: look at the clock")
        try:
            signer = recover(signing_digest(self._domain, hashed), signature)
        except Rejected as rejected:
            raise Refusal(401, "invalid_signature", rejected.message) from rejected

        def check(session: Session) -> None:
            if signer not in parties.signers_of(session, account):
                raise Refusal(
                    401, "invalid_signature", "neither the account nor a session key of it signed this request"
                )
            if request.method not in SAFE and not signed_requests.take(
                session, self._lane, hashed, at + 2 * FRESH_MS, now
            ):
                raise Refusal(409, "sent_before", "this signed request was sent before: sign it again")

        await transact_aside(self._engine, check)  # no call is signed so
        return Caller(account)


def _rate_headers(left: float, rate: int) -> list[tuple[bytes, bytes]]:
    said = (rate, int(left), f"{(rate - left) * 60 / rate:.3f}s")
    return [(name, str(value).encode()) for name, value in zip(RATE_HEADERS, said, strict=True)]


def idempotency_key(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The Idempotency-Key of a request, if it has one."""
    key = headers.get(b"idempotency-key")
    if key is not None and not 0 < len(key) <= 255:
        raise Refusal(400, "invalid_request", "an Idempotency-Key has 1 to 255 bytes", param="Idempotency-Key")
    return key


def read_voucher(text: bytes) -> tuple[Voucher, bytes]:
    """A voucher and its signature from JSON: lane, account, cum_max (decimal string), signature."""
    try:
        row = orjson.loads(text)
        voucher = Voucher(address(row["lane"]), address(row["account"]), parse(row["cum_max"], "cum_max"))
        return voucher, bytes.fromhex(row["signature"].removeprefix("0x"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"a voucher is JSON with lane, account, cum_max and signature: {error}"
        raise Refusal(400, "invalid_voucher", message) from error


def check(
    session: Session, domain: Domain, lane: Lane, voucher: Voucher, signature: bytes, call: Digest | None = None
) -> Address:
    """Check a voucher's lane and signature, for a call or, with None, an API key. Returns its signer.

    Refused unless it allows more than any before it, so that a voucher that others saw is worth nothing; or it opened
    this very call, which is sent again. So is one of an account that never had a deposit: anybody can sign it. On a
    private grid such an account may make a key, for which its operator credits it then.
    """
    if voucher.lane != lane:
        said = f"this gateway serves lane {to_hex(lane)}, not {to_hex(voucher.lane)}"
        raise Refusal(400, "invalid_voucher", said, param="lane")
    try:
        signer = recover(signing_digest(domain, voucher_hash(voucher)), signature)
    except Rejected as rejected:
        raise Refusal(401, "invalid_voucher", rejected.message) from rejected
    if signer not in parties.signers_of(session, voucher.account):
        raise Refusal(401, "invalid_voucher", "the voucher is signed by neither the account nor a session key of it")
    with_deposit = postings.is_used(session, lane, accounts.available(voucher.account))
    if not with_deposit and (call is not None or domain.chain_id):
        said = f"{to_hex(voucher.account)} has no deposit in this lane yet"
        raise Refusal(402, "insufficient_balance", said, facts={"available": "0", "short_of": "deposit"})
    known, opened = vouchers.highest(session, lane, voucher.account)
    if voucher.cum_max < known or (voucher.cum_max == known and (opened is None or opened.call != call)):
        raise _not_larger(known)
    return signer


def accept(
    session: Session, domain: Domain, lane: Lane, voucher: Voucher, signature: bytes, opens: Opened | None = None
) -> None:
    """Check a voucher, and store it with the call that it opens, None for an API key. One that opened this very request
    is taken again.
    """
    signer = check(session, domain, lane, voucher, signature, opens.call if opens is not None else None)
    if vouchers.raise_to(session, voucher, signer, signature, opens):
        return
    known, opened = vouchers.highest(session, lane, voucher.account)
    if voucher.cum_max != known or opens is None or opened != opens:
        raise _not_larger(known)


def _not_larger(known: int) -> Refusal:
    said = f"a voucher of {known} atoms is on record and may have been seen by others: sign one above it"
    return Refusal(401, "voucher_not_larger", said, facts={"cum_max": str(known)})
