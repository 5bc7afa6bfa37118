"""Idempotency: a call that is sent again is answered again and never charged again.

Answers are kept in memory only, and only for calls with an Idempotency-Key: prompts and answers reach no disk. When an
answer is gone the receipt still exists, so the call is refused and not made twice.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from gateway.errors import Refusal
from gateway.upstream.http import Reply
from ledger.core.values.ids import Digest, to_hex
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


@dataclass(slots=True)
class _Entry:
    fingerprint: bytes
    stored: StoredResponse | None = None


class Answers:
    """Keyed calls under way, and the answers of those that ended, oldest first, up to `keep_bytes` in all."""

    def __init__(self, keep_bytes: int = 64 * 2**20, one_bytes: int = 4 * 2**20) -> None:
        self._entries: OrderedDict[Digest, _Entry] = OrderedDict()
        self._keep_bytes = keep_bytes
        self._one_bytes = one_bytes
        self._bytes = 0

    def begin(self, call_id: Digest, fingerprint: bytes) -> StoredResponse | None:
        """Start a keyed call. Returns the kept answer if it has ended; 409 while it runs, or for another request."""
        entry = self._entries.get(call_id)
        if entry is None:
            self._entries[call_id] = _Entry(fingerprint)
            return None
        if entry.fingerprint != fingerprint:
            raise mismatch(call_id)
        if entry.stored is None:
            raise Refusal(
                409,
                "in_progress",
                "a call with this Idempotency-Key is under way",
                retry_after=1,
                facts={"call": to_hex(call_id)},
            )
        return entry.stored

    def finish(self, call_id: Digest, stored: StoredResponse) -> None:
        """Keep the answer of a call that was charged."""
        entry = self._entries.get(call_id)
        if entry is None:
            return
        if len(stored.body) > self._one_bytes:
            self.abandon(call_id)
            return
        entry.stored = stored
        self._bytes += len(stored.body)
        while self._bytes > self._keep_bytes:
            oldest = next((key for key, one in self._entries.items() if one.stored is not None), None)
            if oldest is None:
                return
            self.abandon(oldest)

    def abandon(self, call_id: Digest) -> None:
        """Forget a call that was not charged, or whose answer is not kept. It may be sent again; the ledger decides."""
        entry = self._entries.pop(call_id, None)
        if entry is not None and entry.stored is not None:
            self._bytes -= len(entry.stored.body)


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


def answer_headers(reply: Reply, signed: Signed) -> Headers:
    """The headers of a node's whole answer, and its receipt. No byte of the node's own head is passed on."""
    length = reply.headers.get(b"inference-header-content-length")
    headers = (
        JSON
        if length is None or not length.isdigit()
        else [*BINARY, (b"inference-header-content-length", b"%d" % int(length))]
    )
    return [*headers, NO_SNIFFING, *receipt_headers(signed)]
