"""Settlement as one would write it in an afternoon: sign, send, and take the node's word for it.

Planted to show what the simulation sees: a lost answer commits twice, a dropped broadcast never, a reorganisation is
never noticed.
"""

from __future__ import annotations

from sqlmodel import Session

from ledger.core.accounts import movements
from ledger.core.settlement.batches import Status
from ledger.core.settlement.header import EMPTY_HEADER, NO_BATCH
from ledger.store.money import postings
from ledger.store.settlement import batches
from tests.chaos.weather import LANE, SENDER, WINDOW, SimCalls, SimChain


def commit(s: Session, chain: SimChain, now: int) -> None:
    """Send the oldest batch with the next nonce; when the node has taken it, it is posted, and its payees are paid."""
    waiting = batches.with_status(s, LANE, Status.built)
    if not waiting:
        return
    batch = waiting[0]
    target, data = SimCalls().commit(LANE, batch.header, NO_BATCH, EMPTY_HEADER)
    raw, _ = chain.sign((target, data), chain.nonces(SENDER), 100_000, chain.fee())
    chain.send_raw(raw)
    cause = movements.batch_cause(LANE, batch.number, batch.header.id)
    settled = movements.settle(LANE, cause, batches.earned(s, LANE, batch.number), now)
    postings.book(s, settled)
    batches.set_posted(s, batch, batch.number, (now, now + WINDOW * 1_000), settled.id)
