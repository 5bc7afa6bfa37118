"""Public batch files. A file is a function of stored rows, so it is written when asked for and not stored."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from sqlmodel import Session

from ledger.core.kernels.records import SignedRecords
from ledger.core.settlement.batch_file import Opening, Sink
from ledger.core.settlement.closing import Closed, Writer
from ledger.core.settlement.cumulatives import Cumulatives
from ledger.core.settlement.header import Range
from ledger.core.values.errors import Conflict
from ledger.core.values.ids import Address, Digest, Lane, to_hex
from ledger.core.values.typed_data import Domain, Mandate
from ledger.store.chain import lanes, parties
from ledger.store.receipts import receipts, terms
from ledger.store.receipts.receipts import Chunk
from ledger.store.settlement import batches, tree_nodes
from ledger.store.settlement.batches import Batch

READ_CALLS = 1 << 16
"""Receipts read at a time: about 25 MB, and up to twice as much where many gateways have few."""


ALIGNED = 64
"""Receipts of a chunk are a multiple of this, except in the last."""

Piece = tuple[Chunk, dict[Digest, bytes]]
"""Consecutive receipts of a batch, and the bodies of their terms."""


class Discard:
    """A sink that drops all bytes, when only the header and the hash are wanted."""

    def write(self, data: bytes | memoryview, /) -> None:
        """Drop the bytes."""


def write(
    session: Session,
    sink: Sink,
    opening: Opening,
    before: int,
    mandates: Mapping[Address, tuple[int, bytes]],
    *,
    hash_again: bool = False,
) -> Closed:
    """Write the file of a batch that follows batch `before` (0: none). Memory is bounded; the work is one pass.

    `mandates` are the vouchers of consumers: the most to debit, and the signature.
    Posting checked every digest against its receipt; `hash_again` does so once more.
    Raises Unavailable when a payee or a consumer has no index yet.
    """
    payees, consumers = parties.by_index(session, opening.lane), lanes.by_index(session, opening.lane)
    paid = tree_nodes.leaves(session, opening.lane, tree_nodes.PAYOUT, before)
    owed = tree_nodes.leaves(session, opening.lane, tree_nodes.DEBIT, before)
    writer = Writer(
        sink,
        opening,
        Cumulatives.of((index, payees[index], amount) for index, amount in paid),
        Cumulatives.of((index, consumers[index], amount) for index, amount in owed),
        {payee: index for index, payee in payees.items()},
        {account: index for index, account in consumers.items()},
    )
    with _ahead(pieces(session, opening.lane, opening.ranges)) as coming:
        for chunk, bodies in coming:
            writer.add(chunk.signed, bodies, None if hash_again else chunk.digests)
    return writer.close(
        {index: Mandate(index, *mandates[account]) for index, account in consumers.items() if account in mandates}
    )


def write_again(session: Session, sink: Sink, domain: Domain, batch: Batch) -> Closed:
    """Write the file of a batch that was closed before. A Conflict if it does not come to the committed content."""
    header = batch.header
    before = batches.by_header(session, batch.lane, header.prev)
    opening = Opening(
        domain=domain,
        lane=batch.lane,
        number=batch.number,
        epoch=batch.epoch,
        era=header.era,
        closed_at=header.closed_at,
        prev=header.prev,
        book_root=batch.book_root,
        ranges=tuple(batches.ranges(session, batch.lane, batch.number)),
        barred=batch.barred,
    )
    mandates = batches.mandates(session, batch.lane, batch.number)
    closed = write(session, sink, opening, before.number if before else 0, mandates, hash_again=True)
    if closed.header != header:
        raise Conflict(
            f"batch {batch.number} of lane {to_hex(batch.lane)} no longer comes to its header", number=batch.number
        )
    return closed


def pieces(session: Session, lane: Lane, ranges: Sequence[Range]) -> Iterator[Piece]:
    """The batch's receipts in order, a chunk at a time with its terms; all but the last are multiples of 64."""
    for chunk in _whole_runs(session, lane, ranges):
        yield chunk, terms.get(session, chunk.terms_ids())


def _whole_runs(session: Session, lane: Lane, ranges: Sequence[Range]) -> Iterator[Chunk]:
    held: list[Chunk] = []
    for row in sorted(ranges):
        for first in range(row.first, row.last + 1, READ_CALLS):
            if sum(map(len, held)) >= READ_CALLS:
                joined = _joined(held)
                whole = len(joined) // ALIGNED * ALIGNED
                yield joined.part(0, whole)
                held = [joined.part(whole, len(joined))]
            last = min(first + READ_CALLS - 1, row.last)
            held.append(receipts.chunk(session, lane, row.gateway, first, last))
    if any(map(len, held)):
        yield _joined(held)


@contextmanager
def _ahead(some: Iterator[Piece]) -> Iterator[Iterator[Piece]]:
    """The pieces; a thread reads each while the one before is worked on.

    Only the thread uses the session until the block ends.
    """
    with ThreadPoolExecutor(1, "ahead") as thread:

        def each() -> Iterator[Piece]:
            coming = thread.submit(next, some, None)
            while (piece := coming.result()) is not None:
                coming = thread.submit(next, some, None)
                yield piece

        yield each()


def _joined(pieces: Sequence[Chunk]) -> Chunk:
    some = [piece for piece in pieces if len(piece)]
    if len(some) == 1:  # the common case: nothing is copied
        return some[0]
    signed = SignedRecords.join([piece.signed for piece in some])
    return Chunk(signed, np.concatenate([piece.digests for piece in some]))
