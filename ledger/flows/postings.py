"""Posting: receipts become money. A chunk of receipts is one balanced transaction and one step of the watermark.

A receipt's shares are a function of it and its terms, so nothing is stored for each receipt. A segment that does not
check out (a gap, another digest or sum, a wrong price) is quarantined whole: posting of its gateway stops there until a
person looks, and other gateways go on.
"""

from collections.abc import Sequence

from sqlmodel import Session

from ledger.core.accounts import movements
from ledger.core.pricing import shares
from ledger.core.receipts import segments, subcalls
from ledger.core.receipts.segments import Segment
from ledger.core.values.errors import Conflict, Rejected
from ledger.core.values.ids import Address, Digest, Lane
from ledger.store.money import postings
from ledger.store.receipts import receipts, terms, watermarks
from ledger.store.receipts import segments as segment_store
from ledger.store.receipts.receipts import Chunk
from ledger.store.receipts.watermarks import Watermark


def due(session: Session, lane: Lane) -> list[Address]:
    """Gateways of a lane with receipts to post, the longest queue first."""
    return [gateway for gateway, _ in segment_store.pending(session, lane)]


def post_chunk(session: Session, lane: Lane, gateway: Address, limit: int, now: int) -> int:
    """Post the next segments of a gateway, about `limit` receipts, as one transaction. Returns how many receipts.

    0 when there is nothing to post, another worker is at it, or the next segment is quarantined.
    """
    mark = watermarks.take(session, lane, gateway)
    if mark is None:
        return 0
    queue = segment_store.after(session, lane, gateway, mark.posted_seq, limit)
    if not queue or _is_quarantined(session, lane, gateway, mark.posted_seq + 1):
        return 0
    try:
        chunk = receipts.chunk(session, lane, gateway, mark.posted_seq + 1, queue[-1].last)
    except Rejected as malformed:
        return _one_by_one(session, mark, queue, malformed, limit, now)
    sound, fault = _sound(session, mark, queue, chunk)
    if not sound:
        segment_store.quarantine(session, lane, queue[0], fault, now)
        return 0
    chunk = chunk.part(0, sound[-1].last - mark.posted_seq)
    try:
        added = shares.add_up(chunk.records, terms.get(session, chunk.terms_ids()))
    except (Rejected, Conflict) as error:
        return _one_by_one(session, mark, sound, error, limit, now)
    cause = movements.chunk_cause(gateway, sound[0].first, sound[-1].last)
    if added.charged:
        postings.book(session, movements.charge(lane, cause, added.spent, added.earned, now))
    watermarks.advance_posted(session, lane, gateway, sound[-1].last)
    return len(chunk)


def _sound(session: Session, mark: Watermark, queue: Sequence[Segment], chunk: Chunk) -> tuple[list[Segment], str]:
    """The leading segments that check out, and what is wrong with the next one."""
    before, posted = segment_store.before(session, mark.lane, mark.gateway, queue[0].first), mark.posted_seq
    previous = before.digest if before else Digest(bytes(32))
    good: list[Segment] = []
    at, wrong = posted, chunk.first_altered()  # all are hashed at once
    for segment in queue:
        part = chunk.part(segment.first - posted - 1, segment.last - posted)
        fault = _fault(segment, at, previous, part, None if wrong is None else wrong - (segment.first - posted - 1))
        if fault:
            return good, fault
        good.append(segment)
        at, previous = segment.last, segment.digest
    return good, ""


def _fault(segment: Segment, at: int, previous: Digest, part: Chunk, altered: int | None) -> str:
    """The fault of a segment that should follow receipt `at`; empty when it has none.

    `altered` is which receipt of `part`, counted from 0, is the first that does not hash to its digest, if any.
    """
    if segment.first != at + 1:
        return f"segment starts at {segment.first}, after receipt {at}"
    if segment.previous != previous:
        return "segment does not follow the one before it"
    if not part or len(part) != segment.count or part.first != segment.first or part.last != segment.last:
        return f"segment says {segment.count} receipts, the log has {len(part)}"
    if part.charged != segment.total:
        return f"segment says {segment.total} atoms, its receipts charge {part.charged}"
    relinked = segments.link(segment.gateway, segment.first, part.digests.tobytes(), segment.total, previous)
    if relinked.digest != segment.digest:
        return "segment's digest is not that of its receipts"
    if altered is not None and 0 <= altered < segment.count:
        return f"receipt {segment.first + altered} is not what its digest says"
    try:
        subcalls.check(part.records)
    except Rejected as rejected:
        return rejected.message
    return ""


def _one_by_one(
    session: Session, mark: Watermark, queue: Sequence[Segment], error: Rejected | Conflict, limit: int, now: int
) -> int:
    """Find the segment of a malformed or wrongly priced receipt by posting fewer; quarantine it when it is the next."""
    if len(queue) == 1:
        segment_store.quarantine(session, mark.lane, queue[0], error.message, now)
        return 0
    return post_chunk(session, mark.lane, mark.gateway, min(limit - 1, queue[-2].last - queue[0].first + 1), now)


def _is_quarantined(session: Session, lane: Lane, gateway: Address, first: int) -> bool:
    return any(g == gateway and at == first for g, at, _ in segment_store.quarantined(session, lane))
