"""What is known of a lane's state, for the rules of `core.settlement.troubles`: read from the database alone."""

from collections.abc import Iterable

from sqlmodel import Session

from ledger.core.settlement.batches import Status
from ledger.core.settlement.troubles import Facts
from ledger.core.values.ids import Address, Lane
from ledger.store.access import channels, deposits, permits, webhooks
from ledger.store.chain import chain_time
from ledger.store.receipts import call_locks, receipts, segments, watermarks
from ledger.store.settlement import batches, challenges


def read(session: Session, lane: Lane, batch_ms: int, now: int) -> Facts:
    """What the database says of a lane. `now` is the wall clock's, in ms. The stake and the chain are not in it."""
    at, marks = chain_time.now(session, now), watermarks.of_lane(session, lane)

    def oldest(next_ones: Iterable[tuple[Address, int]]) -> int:
        found = (receipts.by_seq(session, lane, gateway, seq + 1) for gateway, seq in next_ones)
        return max((at - one.receipt.ended_at for one in found if one is not None), default=0)

    built = batches.with_status(session, lane, Status.built, Status.signed)
    asked, untried = deposits.oldest_waiting(session, lane), webhooks.oldest_untried(session, lane)
    indexed_at = chain_time.indexed_at(session)
    return Facts(
        batch_ms,
        unposted=oldest((mark.gateway, mark.posted_seq) for mark in marks),
        unbatched=oldest((mark.gateway, mark.batched_seq) for mark in marks if mark.batched_seq < mark.posted_seq),
        uncommitted=now - built[0].built_at if built else 0,
        undeposited=now - asked if asked is not None else 0,
        unsent=now - untried if untried is not None else 0,
        indexed=now - indexed_at if indexed_at is not None else 0,
        silent=tuple(call_locks.ages(session, lane).items()),
        quarantined=tuple(segments.quarantined(session, lane)),
        unsettled=sum(one.charged or 0 for one in permits.in_debt(session, lane)) + channels.lost(session, lane),
        questions=len(challenges.unanswered(session, lane)),
    )
