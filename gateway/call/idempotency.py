"""Idempotency: a call that is sent again is answered again and never charged again.

Answers are kept in memory only, and only for calls with an Idempotency-Key: prompts and answers reach no disk. When an
answer is gone the receipt still exists, so the call is refused and not made twice. That no other gateway makes it
meanwhile is what `call_locks` is for.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from gateway import bounds
from gateway.errors import Refusal
from ledger.core.values.ids import Address, Digest, to_hex
from ledger.store.receipts.receipts import Signed

Headers = list[tuple[bytes, bytes]]
JSON: Headers = [(b"content-type", b"application/json")]
BINARY: Headers = [(b"content-type", b"application/octet-stream")]
NO_SNIFFING = (b"x-content-type-options", b"nosniff")
RECEIPT_HEADERS = (b"tollway-receipt", b"tollway-charge", b"tollway-seq", b"tollway-signature")


class StoredResponse(msgspec.Struct, frozen=True):
    """A whole answer, or all that was sent of a stream."""

    status: int
    headers: Headers
    body: bytes


class _Kept(NamedTuple):
    """An answer, whose it is, the fingerprint of its request, and the bytes it takes."""

    consumer: Address
    fingerprint: bytes
    stored: StoredResponse
    size: int


class Answers:
    """Keyed calls under way, and the answers of those that ended, as many as bounds allow: beyond, the oldest goes of
    the consumer that has most, so that nobody's many long answers take the place of others'.
    """

    def __init__(self) -> None:
        self._running: dict[Digest, bytes] = {}
        """Their fingerprints."""
        self._kept: dict[Digest, _Kept] = {}
        self._calls: dict[Address, dict[Digest, None]] = {}
        """Those with a kept answer, oldest first, by consumer."""
        self._sizes = Counter[Address]()
        self._bytes = 0

    def begin(self, call_id: Digest, fingerprint: bytes) -> StoredResponse | None:
        """Start a keyed call. Returns the kept answer if it has ended; 409 while it runs, or for another request."""
        kept = self._kept.get(call_id)
        known = kept.fingerprint if kept is not None else self._running.get(call_id)
        if known is None:
            self._running[call_id] = fingerprint
            return None
        if known != fingerprint:
            raise mismatch(call_id)
        if kept is None:
            raise in_progress(call_id)
        return kept.stored

    def finish(self, call_id: Digest, consumer: Address, stored: StoredResponse) -> None:
        """Keep the answer of a call that was charged, unless it is too long."""
        fingerprint = self._running.pop(call_id, None)
        size = len(stored.body) + sum(len(name) + len(value) for name, value in stored.headers)
        if fingerprint is None or size > bounds.KEPT_ANSWER_BYTES:
            return
        self._kept[call_id] = _Kept(consumer, fingerprint, stored, size)
        self._calls.setdefault(consumer, {})[call_id] = None
        self._sizes[consumer] += size
        self._bytes += size
        while self._bytes > bounds.KEPT_BYTES:
            longest = max(self._sizes, key=self._sizes.__getitem__)
            self._forget(next(iter(self._calls[longest])))
        while len(self._kept) > bounds.KEPT_ANSWERS:
            most = max(self._calls, key=lambda one: len(self._calls[one]))
            self._forget(next(iter(self._calls[most])))

    def abandon(self, call_id: Digest) -> None:
        """Forget a call that was not charged, or its answer. It may be sent again; the ledger decides."""
        self._running.pop(call_id, None)
        if call_id in self._kept:
            self._forget(call_id)

    def _forget(self, call_id: Digest) -> None:
        kept = self._kept.pop(call_id)
        calls = self._calls[kept.consumer]
        del calls[call_id]
        self._sizes[kept.consumer] -= kept.size
        self._bytes -= kept.size
        if not calls:
            del self._calls[kept.consumer], self._sizes[kept.consumer]


def in_progress(call_id: Digest) -> Refusal:
    """The refusal of a call that is sent again while it runs, at this gateway or another one."""
    said = "a call with this Idempotency-Key is under way"
    return Refusal(409, "in_progress", said, retry_after=1, facts={"call": to_hex(call_id)})


def mismatch(call_id: Digest) -> Refusal:
    """The refusal of another request with a key that was used."""
    return Refusal(
        409,
        "idempotency_mismatch",
        "this Idempotency-Key was used for another request",
        facts={"call": to_hex(call_id)},
    )


def receipt_facts(signed: Sequence[Signed]) -> dict[str, str]:
    """An answer's receipts: the last one is the root, the charge is all that the consumer pays."""
    receipt = signed[-1].receipt
    return {
        "receipt": to_hex(receipt.call_id),
        "charge": str(sum([one.receipt.charge for one in signed])),
        "seq": f"{to_hex(receipt.gateway)}-{receipt.seq}",
        "signature": to_hex(signed[-1].signature),
    }


def receipt_headers(*signed: Signed) -> Headers:
    return list(zip(RECEIPT_HEADERS, map(str.encode, receipt_facts(signed).values()), strict=True))


def answer_headers(content: Headers, signed: Signed) -> Headers:
    """The headers of a node's whole answer, by what its `content` is, and its receipt."""
    return [*content, NO_SNIFFING, *receipt_headers(signed)]
