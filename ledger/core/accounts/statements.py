"""Statements: what a party spent and earned, call by call, and why. Recomputed from receipts and their terms.

A receipt pays the lines of its terms; each is an `Item`. A party's statement holds the items of the receipts whose
consumer it is, and the items that pay it. No statement is stored: the public batch files are enough to make it again.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from ledger.core.accounts.postings import Transaction, effect
from ledger.core.catalog.bids import Role, Terms
from ledger.core.pricing.price import fixed, of_receipt, payees
from ledger.core.receipts.receipt import Receipt
from ledger.core.values.atoms import Atoms, ceil_div
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest
from ledger.core.values.meters import NO_RATES, Rates, quoted

DEDUCTIONS = ("curator", "surface", "treasury")
"""The three amounts after the lines, in the order of `price.payees`."""


class Side(Enum):
    """Whether the party of the statement spent or earned an item."""

    spent = "spent"
    earned = "earned"


class Stage(Enum):
    """The state of an item's money."""

    logged = "logged"
    posted = "posted"
    built = "built"
    on_chain = "on_chain"
    final = "final"
    claimed = "claimed"


@dataclass(frozen=True, slots=True)
class Item:
    """The payment of one line of one receipt, and the bid it follows from.

    `fixed` is what the bid's rates make of the receipt's units. `deduction` names a part of a sponsor's line; it is
    empty for a line of the terms.
    """

    receipt: Receipt
    payee: Address
    role: Role
    subject: Digest
    ratio_ppm: int
    asks: Rates
    fixed: Atoms
    amount: Atoms
    deduction: str = ""

    @property
    def why(self) -> str:
        """The reason of the amount, in one line."""
        if self.deduction:
            return f"{self.deduction}'s part of the sponsor's line"
        share = ceil_div(self.ratio_ppm * self.receipt.price, 10**6)
        parts = [f"{self.ratio_ppm} ppm of {self.receipt.price} = {share}"] if self.ratio_ppm else []
        rates = ", ".join(f"{meter} {rate}" for meter, rate in quoted(self.asks).items())
        parts += [f"{rates} on the units = {self.fixed}"] if rates else []
        due = share + self.fixed
        if self.amount > due:
            parts.append(f"and the rest of the list price = {self.amount - due}")
        elif self.amount < due:
            parts.append(f"less what it gives away = {due - self.amount}")
        return "; ".join(parts) or "nothing asked"


@dataclass(frozen=True, slots=True)
class Row:
    """An item on a statement, the state of its money, and its batch (0: none yet)."""

    item: Item
    side: Side
    stage: Stage
    batch: int = 0


@dataclass(frozen=True, slots=True)
class Movement:
    """The change of one of the party's accounts by a transaction that is not a charge, in atoms (negative: took)."""

    transaction: Transaction
    account: str
    grown: int


def items(receipt: Receipt, terms: Terms) -> list[Item]:
    """Every line of a receipt, in the order of its terms. The amounts sum to its charge.

    Raises Rejected when the receipt does not cost what its terms say.
    """
    amounts = of_receipt(receipt, terms)
    made = []
    for place, ((payee, role), amount) in enumerate(zip(payees(terms), amounts, strict=True)):
        own = terms.lines[place] if place < len(terms.lines) else None
        ratio, asks = (own.ratio_ppm, own.asks) if own else (0, NO_RATES)
        deduction = "" if own else DEDUCTIONS[place - len(terms.lines)]
        made.append(
            Item(receipt, payee, role, terms.subject, ratio, asks, fixed(asks, receipt.units), amount, deduction)
        )
    return made


def of_party(lines: Iterable[Item], party: Address, roles: frozenset[str]) -> list[tuple[Item, Side]]:
    """The items that a party spent or earned. `roles` empty means all; `consumer` is what it spent.

    Items of 0 atoms are left out on the earning side only: a consumer sees which payees took nothing.
    """
    found = []
    for item in lines:
        if item.receipt.consumer == party and (not roles or "consumer" in roles):
            found.append((item, Side.spent))
        if item.payee == party and item.amount and (not roles or item.role.name in roles):
            found.append((item, Side.earned))
    return found


def totals(rows: Iterable[Row]) -> dict[tuple[Side, Role, Digest], tuple[int, Atoms]]:
    """The number of items and the sum of their atoms, by side, role and subject."""
    counts: Counter[tuple[Side, Role, Digest]] = Counter()
    sums: Counter[tuple[Side, Role, Digest]] = Counter()
    for row in rows:
        key = row.side, row.item.role, row.item.subject
        counts[key] += 1
        sums[key] += row.item.amount
    return {key: (counts[key], sums[key]) for key in sorted(counts, key=lambda k: (k[0].value, k[1], k[2]))}


def movements(transaction: Transaction, names: frozenset[str]) -> list[Movement]:
    """The changes of a transaction's accounts that are in `names`. All of them grow on the credit side."""
    touched = effect(transaction.postings)
    return [
        Movement(transaction, name, entries.credits - entries.debits)
        for name, entries in touched.items()
        if name in names and entries.credits != entries.debits
    ]


def roles_of(text: str) -> frozenset[str]:
    """Roles from their names with commas between. Empty means all; an unknown name is Rejected."""
    known = ["consumer", *Role.__members__]
    asked = frozenset(filter(None, text.split(",")))
    for name in asked:
        if name not in known:
            raise Rejected(f"there is no role {name!r}: there are {', '.join(known)}", role=name)
    return asked
