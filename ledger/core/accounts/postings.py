"""Double entry: transactions of balanced postings, named by their cause.

A posting moves atoms from a debit account to a credit account, so every transaction balances by construction. The same
cause gives the same id; the same id with another digest is a Conflict (law L6).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from ledger.core.accounts.accounts import Side, side
from ledger.core.values.atoms import MAX_ATOMS, Atoms, atoms
from ledger.core.values.errors import Conflict, Rejected
from ledger.core.values.hashes import Digest, keccak256
from ledger.core.values.ids import Lane, to_hex

MIN_ATOMS = 1


class Kind(Enum):
    """The movements of the ledger. A booked one is never updated or deleted."""

    deposit = "deposit"
    lease = "lease"
    release = "release"
    charge = "charge"
    bar = "bar"
    charge_again = "charge_again"
    settle = "settle"
    claim = "claim"
    request_withdrawal = "request_withdrawal"
    withdraw = "withdraw"
    correct = "correct"


@dataclass(frozen=True, slots=True)
class Posting:
    """`amount` atoms, at least one, from the `debit` account to the `credit` account."""

    debit: str
    credit: str
    amount: Atoms

    def __post_init__(self) -> None:
        if atoms(self.amount) < MIN_ATOMS:
            raise Rejected("a posting moves at least one atom", debit=self.debit, credit=self.credit)
        if self.debit == self.credit:
            raise Rejected(f"a posting has two accounts, not {self.debit} twice", account=self.debit)


@dataclass(frozen=True, slots=True)
class Transaction:
    """Postings between accounts of one lane that are booked together, because of `cause`.

    `reverses` is the transaction that a correction undoes.
    """

    lane: Lane
    kind: Kind
    cause: bytes
    postings: tuple[Posting, ...]
    at: int
    reverses: Digest | None = None

    @property
    def id(self) -> Digest:
        """Derived from lane, kind and cause only, so that one event is never booked twice."""
        return transaction_id(self.lane, self.kind, self.cause)

    @property
    def digest(self) -> Digest:
        """A hash of everything but the time: equal for a repetition, different for a Conflict."""
        rows = (f"{p.debit}\t{p.credit}\t{p.amount}\n" for p in self.postings)
        undone = self.reverses.hex() if self.reverses else ""
        return keccak256(f"{self.kind.value}\n{undone}\n{''.join(rows)}".encode())


class Balance(NamedTuple):
    """The sums of all debits and of all credits of an account."""

    debits: Atoms = 0
    credits: Atoms = 0


def transaction_id(lane: Lane, kind: Kind, cause: bytes) -> Digest:
    """The id of the one transaction of this kind that a cause can make in a lane."""
    return keccak256(lane, kind.value.encode(), b"\0", cause)


def effect(postings: Iterable[Posting]) -> dict[str, Balance]:
    """Each account's change by the postings, in order of the accounts' names (the order of locking)."""
    debits: dict[str, int] = {}
    credits: dict[str, int] = {}
    for posting in postings:
        debits[posting.debit] = debits.get(posting.debit, 0) + posting.amount
        credits[posting.credit] = credits.get(posting.credit, 0) + posting.amount
    return {name: Balance(debits.get(name, 0), credits.get(name, 0)) for name in sorted({*debits, *credits})}


def balance(name: str, entries: Balance) -> int:
    """An account's balance on the side on which it grows. Negative means overdrawn."""
    grown = entries.debits - entries.credits
    return grown if side(name) is Side.debit else -grown


def check_balance(name: str, entries: Balance, transaction: Transaction) -> None:
    """Law L1: Rejected if the transaction leaves this account overdrawn, or with more than 2^63-1 atoms on a side."""
    left = balance(name, entries)
    if left < 0:
        raise Rejected(
            f"{name} is short by {-left} atoms for {transaction.kind.value}",
            account=name,
            short_by=-left,
            transaction=to_hex(transaction.id),
        )
    if max(entries) > MAX_ATOMS:
        raise Rejected(f"{name} would pass 2^63-1 atoms", account=name)


def repeated(known: Digest, transaction: Transaction) -> None:
    """Check a repetition. Conflict unless `known`, the digest on record, is this transaction's."""
    if known != transaction.digest:
        raise Conflict(
            f"{transaction.kind.value} 0x{transaction.id.hex()} is on record with other content",
            transaction=transaction.id.hex(),
            kind=transaction.kind.value,
        )
