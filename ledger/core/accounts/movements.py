"""The eleven movements of the ledger. Each makes one balanced transaction of its cause; it decides and saves nothing.

deposit             custody -> available            a Deposited log
lease               available -> leased             a lease's id
release             leased -> available             the lease's end
charge              leased -> accrued               a chunk of a gateway's receipts
bar                 accrued -> available            receipts that a batch may not charge
charge_again        available -> accrued            such receipts, once a batch must charge them after all
settle              accrued -> claimable            a posted batch
claim               claimable -> custody            a Claimed log
request_withdrawal  available -> withdrawing        a WithdrawRequested log
withdraw            withdrawing -> custody          a Withdrawn log; what was not paid out returns to available
correct             the reverse of a named transaction
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ledger.core.accounts.accounts import CUSTODY, accrued, available, claimable, leased, withdrawing
from ledger.core.accounts.postings import Kind, Posting, Transaction
from ledger.core.catalog.bids import Role
from ledger.core.values.atoms import Atoms
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Lane


@dataclass(frozen=True, slots=True)
class Refund:
    """What barred receipts took: by the account of their consumer that it goes back to, and whom they paid."""

    spent: Mapping[str, Atoms]
    earned: Mapping[tuple[Address, Role], Atoms]


def deposit(lane: Lane, cause: bytes, consumer: Address, amount: Atoms, at: int) -> Transaction:
    """Tokens arrived in the contract for a consumer. Cause: the log's id."""
    return Transaction(lane, Kind.deposit, cause, (Posting(CUSTODY, available(consumer), amount),), at)


def lease(lane: Lane, cause: bytes, consumer: Address, gateway: Address, amount: Atoms, at: int) -> Transaction:
    """A gateway may spend a part of a deposit. Cause: the lease's id."""
    return Transaction(lane, Kind.lease, cause, (Posting(available(consumer), leased(consumer, gateway), amount),), at)


def release(lane: Lane, cause: bytes, consumer: Address, gateway: Address, amount: Atoms, at: int) -> Transaction:
    """The unspent part of a lease returns. Cause: the lease's id, and a number if it shrinks more than once."""
    return Transaction(
        lane, Kind.release, cause, (Posting(leased(consumer, gateway), available(consumer), amount),), at
    )


def charge(
    lane: Lane,
    cause: bytes,
    spent: Mapping[tuple[Address, Address], Atoms],
    earned: Mapping[tuple[Address, Role], Atoms],
    at: int,
) -> Transaction:
    """A chunk of receipts: what was spent (by consumer and gateway) and earned (by payee and role). The sums are equal.

    Cause: the gateway, first and last seq of the chunk.
    """
    debits = {leased(consumer, gateway): amount for (consumer, gateway), amount in spent.items() if amount}
    credits = {accrued(payee, role): amount for (payee, role), amount in earned.items() if amount}
    return Transaction(lane, Kind.charge, cause, _matched(debits, credits), at)


def bar(lane: Lane, cause: bytes, refund: Refund, at: int) -> Transaction:
    """Receipts are barred. Cause: the batch that leaves them out, or the log of the exit."""
    return Transaction(lane, Kind.bar, cause, _matched(_accrued(refund), dict(refund.spent)), at)


def charge_again(lane: Lane, cause: bytes, refund: Refund, at: int) -> Transaction:
    """The reverse of `bar`: the batch fell that barred these receipts. Cause: the batch that holds them."""
    return Transaction(lane, Kind.charge_again, cause, _matched(dict(refund.spent), _accrued(refund)), at)


def settle(lane: Lane, cause: bytes, earned: Mapping[tuple[Address, Role], Atoms], at: int) -> Transaction:
    """A batch was posted: what it pays leaves the accrued accounts. Cause: `batch_cause`."""
    postings = (Posting(accrued(payee, role), claimable(payee), n) for (payee, role), n in earned.items() if n)
    return Transaction(lane, Kind.settle, cause, tuple(sorted(postings, key=lambda one: one.debit)), at)


def claim(lane: Lane, cause: bytes, payee: Address, amount: Atoms, at: int) -> Transaction:
    """A payee's money left the contract. Cause: the log's id."""
    return Transaction(lane, Kind.claim, cause, (Posting(claimable(payee), CUSTODY, amount),), at)


def request_withdrawal(lane: Lane, cause: bytes, consumer: Address, amount: Atoms, at: int) -> Transaction:
    """A consumer asked to withdraw: what is available now can no longer be spent. Cause: the log's id."""
    return Transaction(
        lane, Kind.request_withdrawal, cause, (Posting(available(consumer), withdrawing(consumer), amount),), at
    )


def withdraw(lane: Lane, cause: bytes, consumer: Address, amount: Atoms, returned: Atoms, at: int) -> Transaction:
    """A consumer's money left the contract; `returned` was set aside, but not paid out. Cause: the log's id."""
    paid = [Posting(withdrawing(consumer), CUSTODY, amount)] if amount else []
    back = [Posting(withdrawing(consumer), available(consumer), returned)] if returned else []
    return Transaction(lane, Kind.withdraw, cause, (*paid, *back), at)


def correct(transaction: Transaction, at: int) -> Transaction:
    """The reverse of a transaction, posting by posting, last first. Cause: the id of that transaction."""
    if transaction.kind is Kind.correct:
        raise Rejected("a correction is not corrected: book the movement again", transaction=transaction.id.hex())
    undone = tuple(Posting(p.credit, p.debit, p.amount) for p in reversed(transaction.postings))
    return Transaction(transaction.lane, Kind.correct, transaction.id, undone, at, reverses=transaction.id)


def chunk_cause(gateway: Address, first: int, last: int) -> bytes:
    """The cause of a charge: the receipts `first` to `last` of one gateway."""
    return gateway + first.to_bytes(8, "big") + last.to_bytes(8, "big")


def parse_chunk_cause(cause: bytes) -> tuple[Address, int, int]:
    """The inverse of `chunk_cause`."""
    if len(cause) != 36:
        raise Rejected(f"the cause of a charge is 36 bytes, not {len(cause)}")
    return Address(cause[:20]), int.from_bytes(cause[20:28], "big"), int.from_bytes(cause[28:], "big")


def batch_cause(lane: Lane, number: int, header: bytes) -> bytes:
    """The cause of a settle: one batch of a lane with its header's id, so that a batch built again is another cause."""
    return lane + number.to_bytes(8, "big") + header


def log_cause(chain_id: int, transaction: bytes, index: int) -> bytes:
    """The cause of a transaction that a confirmed chain log brings."""
    return chain_id.to_bytes(8, "big") + transaction + index.to_bytes(4, "big")


def _accrued(refund: Refund) -> dict[str, Atoms]:
    return {accrued(payee, role): amount for (payee, role), amount in refund.earned.items()}


def _matched(debits: dict[str, Atoms], credits: dict[str, Atoms]) -> tuple[Posting, ...]:
    """Postings that carry both sides, in order of name: at most one fewer than there are accounts."""
    if sum(debits.values()) != sum(credits.values()):
        raise Rejected(f"a charge takes {sum(debits.values())} atoms and gives {sum(credits.values())}")
    postings: list[Posting] = []
    givers, takers = sorted(debits.items()), sorted(credits.items())
    while givers:
        (giver, give), (taker, take) = givers[0], takers[0]
        amount = min(give, take)
        postings.append(Posting(giver, taker, amount))
        givers[:1] = [(giver, give - amount)] if give > amount else []
        takers[:1] = [(taker, take - amount)] if take > amount else []
    return tuple(postings)
