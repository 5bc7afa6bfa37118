"""Transactions sent for others, at the operator's gas: deposits that consumers signed, payees' places, claims.

None can move money elsewhere than its owner said: an authorization names its lane and account, a claim pays the payee
in the leaf.
"""

from collections.abc import Iterable, Iterator, Sequence

from sqlmodel import Session

from ledger.chain.calls import Authorization, Calls
from ledger.chain.rpc import MAX_GAS
from ledger.core.settlement.transactions import Call, Status, Transmission, finalize_purpose, may_try_again
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_ADDRESS, Address, to_hex
from ledger.store.access import deposits
from ledger.store.access.deposits import DepositRequest
from ledger.store.chain import chain_time, lanes, parties
from ledger.store.settlement import batches, proofs, transactions, tree_nodes
from ledger.store.settlement import batches as batch_store

GAS_PER_ROW = 32_000
"""What one row of a range claim costs at most: its slot, its first token balance, its log."""
CLAIM_ROWS = MAX_GAS * 9 // 10 // GAS_PER_ROW


def send_deposits(session: Session, calls: Calls, sender: Address, now: int) -> int:
    """Intend the deposits consumers asked for. Returns how many."""
    made = 0
    for asked in deposits.requested(session):
        if _intend(session, _purpose(asked), sender, _call(calls, asked), now):
            deposits.set_status(session, asked.id, "sent")
            made += 1
    return made


def follow_deposits(session: Session) -> int:
    """Note the outcome of sent deposits: credited once their block is indexed, failed in the contract's words."""
    clock, done = chain_time.get(session), 0
    for asked in deposits.sent(session):
        _, sent = transactions.latest(session, _purpose(asked))
        if sent is None or sent.status is Status.lost:
            deposits.set_status(session, asked.id, "requested")
        elif sent.status is Status.failed:
            deposits.set_status(session, asked.id, "failed", sent.error)
        elif sent.status is Status.confirmed and clock and sent.block is not None and sent.block <= clock.number:
            deposits.set_status(session, asked.id, "credited")
        else:
            continue
        done += 1
    return done


def register_payees(session: Session, calls: Calls, sender: Address, payees: Iterable[Address], now: int) -> int:
    """Intend a place for payees that have earned and have none. Returns how many were not intended before."""
    made = 0
    for payee in payees:
        if parties.index_of(session, payee) is None:
            call = calls.register_payee(payee)
            made += _intend(session, f"register {to_hex(payee)}", sender, call, now)
    return made


def claim(session: Session, calls: Calls, sender: Address, lane: int, now: int) -> int:
    """Intend claims for every payee of the last final batch with something to claim, in transactions below the cap.

    None while another batch is about to become the last: a proof counts against the last one only, and a late claim
    costs gas for nothing. The sweep after it claims before it finalizes anything else: a payee waits for one batch at
    most.
    """
    final = batches.with_status(session, lane, batch_store.Status.final)
    if not final or _finalizes(session, lane):
        return 0
    batch, paid = final[-1], lanes.claimed(session, lane)
    cumulative = dict(tree_nodes.leaves(session, lane, tree_nodes.PAYOUT, batch.number))
    names = parties.by_index(session)
    due = sorted(index for index, amount in cumulative.items() if amount > paid.get(index, 0))
    made = 0
    for start, count in _neighbours(due):
        height, siblings = proofs.payout_range(session, batch, start, count)
        rows = [
            (names[index], cumulative[index]) if index in cumulative else (ZERO_ADDRESS, 0)
            for index in range(start, start + count)
        ]
        call = calls.claim_range(lane, start, height, rows, siblings)
        made += _intend(session, f"claim {lane} {batch.number} {start}", sender, call, now)
    return made


def _finalizes(session: Session, lane: int) -> bool:
    """True while a transaction of ours that may make a batch final is under way, and not indexed."""
    if batches.with_status(session, lane, batch_store.Status.signed):  # its commit may finalize an older one
        return True
    posted = batches.with_status(session, lane, batch_store.Status.posted)
    _, sent = transactions.latest(session, finalize_purpose(lane, posted[0].number)) if posted else (0, None)
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


def _call(calls: Calls, asked: DepositRequest) -> Call:
    relay = calls.deposit_with_authorization if asked.kind == "authorization" else calls.deposit_from_inbox
    signed = Authorization(
        asked.lane, asked.account, asked.amount, asked.valid_after, asked.valid_before, bytes(asked.salt)
    )
    return relay(signed, asked.signature)


def _purpose(asked: DepositRequest) -> str:
    return f"deposit {to_hex(asked.id)}"


def _intend(session: Session, purpose: str, sender: Address, call: Call, now: int) -> bool:
    """Intend a purpose, or intend it again when its last try came to nothing. False while one is under way."""
    tries, last = transactions.latest(session, purpose)
    if not may_try_again(last, tries, now):
        return False
    name = f"{purpose} {tries}"
    return transactions.intend(
        session, Transmission(keccak256(name.encode()), name, sender, *call, Status.intended, now)
    )
