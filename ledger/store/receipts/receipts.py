"""Receipts, read back as gateways wrote them: one at a time as values, or by the hundred thousand as records.

The kernels are imported where they are used: a gateway reads receipts and does not need numba.
A row holds the record, the digest and the signature. The server joins the rows of a chunk, so that two values come over
the wire and no loop runs over rows; a batch file takes the first of them unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import msgspec
import numpy as np
import numpy.typing as npt
from sqlalchemy import and_, func, literal
from sqlmodel import Session, col, select

from ledger.core.receipts.receipt import Receipt, unpack
from ledger.core.receipts.record import Records
from ledger.core.settlement.header import Range
from ledger.core.values.ids import Address, Digest, Lane
from ledger.store.receipts.tables import ReceiptRow
from ledger.store.session import connection_of

if TYPE_CHECKING:
    from ledger.core.kernels.records import SignedRecords

_READ = (
    "SELECT string_agg(record || signature, NULL), string_agg(digest, NULL) FROM (SELECT record, digest, signature "
    "FROM receipts WHERE lane = %s AND gateway = %s AND seq BETWEEN %s AND %s ORDER BY seq) r"
)
_NEWEST = "SELECT coalesce(max(seq), 0) FROM receipts WHERE lane = %s AND gateway = %s"
LOOKED_THROUGH = 10_000
"""Receipts of a consumer that are looked through for those of one key: a note has no index."""
AT_ONCE = 512
"""Receipts the server joins at once: 190 kB. For four times as many it maps new pages every time, which costs more than
all the rest."""


class Signed(msgspec.Struct, frozen=True):
    """A receipt with its digest, its signature, and what the gateway noted beside it."""

    receipt: Receipt
    digest: Digest
    signature: bytes
    extra: bytes | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive receipts: signed records, and their digests (n x 32) beside them."""

    signed: SignedRecords
    digests: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.signed)

    @property
    def records(self) -> Records:
        """The receipts without their signatures."""
        return self.signed.records

    def part(self, start: int, stop: int) -> Chunk:
        """Receipts [start, stop) of the chunk, counted from 0."""
        return Chunk(self.signed.part(start, stop), self.digests[start:stop])

    @property
    def first(self) -> int:
        """Sequence number of the first receipt; the chunk must not be empty."""
        return int(self.records["seq"][0])

    @property
    def last(self) -> int:
        return int(self.records["seq"][-1])

    @property
    def charged(self) -> int:
        """The sum of all charges, exact."""
        from ledger.core.pricing.shares import exact_total

        return exact_total(self.records["charge"].astype(np.uint64))

    def terms_ids(self) -> set[Digest]:
        from ledger.core.kernels.totals import group_rows

        named = self.records["terms"]
        return {Digest(named[first].tobytes()) for first in group_rows(named)[1].tolist()}

    def first_altered(self) -> int | None:
        """The place in the chunk of the first receipt whose fields do not hash to its digest, if any."""
        from ledger.core.kernels.receipt_hashes import struct_hashes

        hashes = struct_hashes(self.records)
        if np.array_equal(hashes, self.digests):
            return None
        return int(np.argmax((hashes != self.digests).any(axis=1)))


def chunk(session: Session, lane: Lane, gateway: Address, first: int, last: int) -> Chunk:
    """Receipts first..last of a gateway, in order; fewer if the log has gaps, which the caller must notice."""
    from ledger.core.kernels.records import SignedRecords

    bodies: list[bytes] = []
    hashes: list[bytes] = []
    writer = (bytes(lane), bytes(gateway))
    with connection_of(session).cursor(binary=True) as cursor:
        last = min(last, cast(tuple[int], cursor.execute(_NEWEST, writer).fetchone())[0])
        for start in range(first, last + 1, AT_ONCE):
            found = cursor.execute(_READ, (*writer, start, min(start + AT_ONCE - 1, last))).fetchone()
            if found is None or found[0] is None:
                break
            body, some = cast(tuple[bytes, bytes], found)
            bodies.append(body)
            hashes.append(some)
    digests = np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32)
    return Chunk(SignedRecords.read(np.frombuffer(b"".join(bodies), np.uint8), len(digests)), digests)


def restore(session: Session, restored: Chunk) -> None:
    """Write receipts back that a database lost, as they are published: what a gateway noted beside them is gone."""
    statement = "COPY receipts (seq, charge, ended_at, digest, signature, record) FROM STDIN"
    rows, signed = restored.records, restored.signed
    with connection_of(session).cursor() as cursor, cursor.copy(statement) as copy:
        for place in range(len(restored)):
            seq, charge, ended = (int(rows[name][place]) for name in ("seq", "charge", "ended_at"))
            one = restored.digests[place].tobytes(), signed.signature(place), signed.record(place)
            copy.write_row((seq, charge, ended, *one))


def by_call(session: Session, lane: Lane, call: Digest) -> Signed | None:
    """The receipt of a call, if it was charged."""
    row = session.exec(select(ReceiptRow).filter_by(lane=lane, call_id=call)).first()
    return _signed(row) if row else None


def by_calls(session: Session, lane: Lane, calls: Sequence[Digest]) -> dict[Digest, Signed]:
    """The receipts of those of these calls that were charged."""
    query = select(ReceiptRow).filter_by(lane=lane).where(col(ReceiptRow.call_id).in_(calls))
    return {Digest(row.call_id): _signed(row) for row in session.exec(query)}


def by_seq(session: Session, lane: Lane, gateway: Address, seq: int) -> Signed | None:
    """The receipt with a sequence number of a gateway."""
    row = session.get(ReceiptRow, (lane, gateway, seq))
    return _signed(row) if row else None


def leaves(session: Session, lane: Lane, gateway: Address, first: int, last: int) -> list[tuple[Digest, int]]:
    """Digest and charge of receipts first..last of a gateway, in order."""
    query = select(ReceiptRow.digest, ReceiptRow.charge).filter_by(lane=lane, gateway=gateway)
    rows = session.exec(query.where(col(ReceiptRow.seq).between(first, last)).order_by(col(ReceiptRow.seq)))
    return [(Digest(bytes(hashed)), charge) for hashed, charge in rows]


def signed_records(session: Session, lane: Lane, gateway: Address, first: int, last: int) -> list[bytes]:
    """Receipts first..last of a gateway, in order, as a batch file has them: the record and its signature."""
    query = select(ReceiptRow.record, ReceiptRow.signature).filter_by(lane=lane, gateway=gateway)
    rows = session.exec(query.where(col(ReceiptRow.seq).between(first, last)).order_by(col(ReceiptRow.seq)))
    return [bytes(record) + bytes(signature) for record, signature in rows]


def last_end(session: Session, lane: Lane, ranges: Iterable[Range], at: int) -> int:
    """When the last of these receipts ended, but not before `at`; in ms."""
    for row in ranges:
        if row.count:
            query = select(func.max(ReceiptRow.ended_at)).filter_by(lane=lane, gateway=row.gateway)
            later = query.where(col(ReceiptRow.seq).between(row.first, row.last), col(ReceiptRow.ended_at) > at)
            at = session.exec(later).one() or at
    return at


def children(session: Session, lane: Lane, parent: Digest) -> list[Signed]:
    """The receipts of a workflow's direct sub-calls. They are among the receipts right before it that it counts."""
    root = session.exec(select(ReceiptRow).filter_by(lane=lane, call_id=parent)).first()
    if root is None:
        return []
    near = select(ReceiptRow).filter_by(lane=lane, gateway=root.gateway, parent=parent)
    first = root.seq - unpack(bytes(root.record)).subcalls
    near = near.where(col(ReceiptRow.seq) >= first, col(ReceiptRow.seq) < root.seq)
    return [_signed(row) for row in session.exec(near.order_by(col(ReceiptRow.seq)))]


def of_consumer(
    session: Session, lane: Lane, consumer: Address, before: int | None = None, limit: int = 100
) -> list[Signed]:
    """A consumer's latest receipts, newest first; `before` (ms) pages back."""
    query = select(ReceiptRow).filter_by(lane=lane, consumer=consumer)
    if before is not None:
        query = query.where(col(ReceiptRow.ended_at) < before)
    rows: Sequence[ReceiptRow] = session.exec(query.order_by(col(ReceiptRow.ended_at).desc()).limit(limit)).all()
    return [_signed(row) for row in rows]


def of_key(
    session: Session, lane: Lane, call_of: tuple[Address, str], before: int | None, limit: int
) -> tuple[list[Signed], int | None]:
    """The latest receipts of calls by one key of a consumer, and before when (ms) to look for more, if there may be
    more: at most LOOKED_THROUGH of the consumer's are looked through at once.
    """
    consumer, key_id = call_of
    noted = func.position(literal(f'"key":"{key_id}"'.encode()).op("IN")(col(ReceiptRow.extra))) > 0
    latest = select(ReceiptRow.gateway, ReceiptRow.seq, ReceiptRow.ended_at, noted.label("noted"))
    latest = latest.where(col(ReceiptRow.lane) == lane, col(ReceiptRow.consumer) == consumer)
    if before is not None:
        latest = latest.where(col(ReceiptRow.ended_at) < before)
    looked = latest.order_by(col(ReceiptRow.ended_at).desc()).limit(LOOKED_THROUGH).subquery()
    its = and_(col(ReceiptRow.gateway) == looked.c.gateway, col(ReceiptRow.seq) == looked.c.seq, looked.c.noted)
    newest = select(ReceiptRow).join(looked, its).where(col(ReceiptRow.lane) == lane)
    found = [_signed(row) for row in session.exec(newest.order_by(col(ReceiptRow.ended_at).desc()).limit(limit))]
    if len(found) == limit:
        return found, found[-1].receipt.ended_at
    count, oldest = session.exec(select(func.count(), func.min(looked.c.ended_at)).select_from(looked)).one()
    return found, oldest if count == LOOKED_THROUGH else None


def _signed(row: ReceiptRow) -> Signed:
    return Signed(unpack(bytes(row.record)), Digest(row.digest), row.signature, row.extra)
