"""Claims: register payees that have earned, and claim for them what a final batch pays them.

A claim pays the payee in the leaf and nobody else.
"""

from collections.abc import Iterable, Iterator, Sequence

from sqlmodel import Session

from ledger.chain.calls import Calls
from ledger.chain.rpc import MAX_GAS
from ledger.core.settlement.batches import Status as BatchStatus
from ledger.core.settlement.transactions import Status, finalize_purpose
from ledger.core.values.ids import ZERO_ADDRESS, Address, Lane, to_hex
from ledger.store.chain import lanes, parties
from ledger.store.settlement import batches, proofs, transactions, tree_nodes

GAS_PER_ROW = 32_000
"""The most that one row of a range claim costs: its slot, its first token balance, its log."""
CLAIM_ROWS = MAX_GAS * 9 // 10 // GAS_PER_ROW


def register_payees(
    session: Session, lane: Lane, calls: Calls, sender: Address, payees: Iterable[Address], now: int
) -> int:
    """Intend a place for payees that have earned and have none. Returns how many were not intended before."""
    made = 0
    for payee in payees:
        if parties.index_of(session, payee) is None:
            call = calls.register_payee(payee)
            made += bool(transactions.intend_again(session, lane, f"register {to_hex(payee)}", sender, call, now))
    return made


def claim(session: Session, calls: Calls, sender: Address, lane: Lane, now: int) -> int:
    """Intend claims for every payee of the last final batch with something to claim, in transactions below the cap.

    None while another batch is about to become the last: a proof counts against the last one only, and a late claim
    costs gas for nothing. The sweep after it claims before it finalizes anything else: a payee waits for one batch at
    most.
    """
    final = batches.with_status(session, lane, BatchStatus.final)
    if not final or _finalizes(session, lane):
        return 0
    batch, paid = final[-1], lanes.claimed(session, lane)
    cumulative = dict(tree_nodes.leaves(session, lane, tree_nodes.PAYOUT, batch.number))
    names = parties.by_index(session)
    due = sorted(index for index, amount in cumulative.items() if amount > paid.get(index, 0))
    made = 0
    for start, count in _neighbours(due):
        siblings = proofs.payout_range(session, batch, start, count)
        rows = [
            (names[index], cumulative[index]) if index in cumulative else (ZERO_ADDRESS, 0)
            for index in range(start, start + count)
        ]
        call = calls.claim_range(lane, start, rows, siblings)
        made += bool(
            transactions.intend_again(session, lane, f"claim {to_hex(lane)} {batch.number} {start}", sender, call, now)
        )
    return made


def _finalizes(session: Session, lane: Lane) -> bool:
    """True while a transaction of ours that may make a batch final is under way, and not indexed."""
    if batches.with_status(session, lane, BatchStatus.signed):  # its commit may finalize an older one
        return True
    posted = batches.with_status(session, lane, BatchStatus.posted)
    _, sent = transactions.latest(session, lane, finalize_purpose(lane, posted[0].number)) if posted else (0, None)
    return sent is not None and sent.status not in (Status.failed, Status.lost)


def _neighbours(due: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Cut indices into runs (start, count) of at most CLAIM_ROWS positions."""
    at = 0
    while at < len(due):
        start, last = due[at], due[at]
        while at < len(due) and due[at] < start + CLAIM_ROWS:
            last = due[at]
            at += 1
        yield start, last - start + 1
