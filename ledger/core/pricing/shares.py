"""Shares of many receipts: who spent, who earned, and in which role. Posting, closing and audits use this page.

A share follows from a receipt and its terms. A receipt that does not cost what its terms say is Rejected. `split` says
for a chunk what `price.of_receipt` says for one receipt. It uses the kernels and their compiler, so code that reads one
receipt at a time must not import this page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ledger.core.catalog.bids import Role, Terms, decode, terms_id
from ledger.core.kernels.jit import I64, U8, U64
from ledger.core.kernels.split import OK, Table, build_table
from ledger.core.kernels.split import split_amounts as split_amounts
from ledger.core.kernels.totals import add_by_group, group_rows
from ledger.core.kernels.totals import add_by_slot as add_amounts
from ledger.core.pricing.price import of_receipt, payees
from ledger.core.receipts.record import Records, receipt_of
from ledger.core.values.atoms import MAX_ATOMS, Atoms
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest


@dataclass(frozen=True, slots=True)
class Shares:
    """The debits and credits of a set of receipts. Both sides sum to `charged`."""

    spent: Mapping[tuple[Address, Address], Atoms]
    earned: Mapping[tuple[Address, Role], Atoms]
    charged: Atoms


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """A chunk's shares: row i of `amounts` is what receipt i pays the payees of its terms.

    `terms` has each receipt's index in `table` and `names`; `slots` has payee and role of each slot of the table.
    """

    names: Sequence[Digest]
    table: Table
    slots: Sequence[tuple[Address, Role]]
    terms: I64
    charges: U64
    amounts: U64

    def without(self, rows: I64) -> Split:
        """The same shares, but for these receipts, which are charged to nobody."""
        if not len(rows):
            return self
        charges, amounts = self.charges.copy(), self.amounts.copy()
        charges[rows], amounts[rows] = 0, 0
        return replace(self, charges=charges, amounts=amounts)

    def earned(self) -> dict[tuple[Address, Role], Atoms]:
        """Each payee's earnings in each role, without zeros."""
        totals = np.zeros(len(self.slots), np.uint64)
        add_amounts(self.table, self.terms, self.amounts, totals)
        return {who: amount for who, amount in zip(self.slots, totals.tolist(), strict=True) if amount}


def exact_total(amounts: U64) -> Atoms:
    """The sum of a column of u64. The high and low halves are summed apart, so that it does not wrap."""
    low = int((amounts & np.uint64(0xFFFFFFFF)).sum(dtype=np.uint64))
    return (int((amounts >> np.uint64(32)).sum(dtype=np.uint64)) << 32) + low


def add_up(records: Records, bodies: Mapping[Digest, bytes]) -> Shares:
    """The shares of these records (RECEIPT_DTYPE), by consumer and gateway, and by payee and role.

    `bodies` are the encoded terms by id. Raises Rejected for a receipt whose price or charge its terms do not give.
    """
    parts = split(records, bodies)
    spent = {
        (Address(who[:20]), Address(who[20:])): amount
        for who, amount in totals_by(np.concatenate([records["consumer"], records["gateway"]], axis=1), parts.charges)
        if amount
    }
    return Shares(spent, parts.earned(), sum(spent.values()))


def split(records: Records, bodies: Mapping[Digest, bytes]) -> Split:
    """Split every receipt by its terms. Rejected at the first that does not cost what they say, when terms are missing
    or do not have their id, and when the charges sum above 2^63-1.
    """
    numbers, firsts = group_rows(records["terms"])
    names = [Digest(records["terms"][first].tobytes()) for first in firsts]
    known = [_terms(name, bodies) for name in names]
    table, slots = build_table(known)
    width = max((len(payees(terms)) for terms in known), default=0)
    charges, prices = _u64(records["charge"]), _u64(records["price"])
    amounts, status = np.zeros((len(records), width), np.uint64), np.zeros(len(records), np.int64)
    units, subcall_totals = _u64(records["units"]), _u64(records["subcall_total"])
    if split_amounts(table, numbers, units, subcall_totals, prices.copy(), charges.copy(), amounts, status):
        for wrong in np.flatnonzero(status != OK).tolist():
            due = of_receipt(receipt_of(records[wrong]), known[numbers[wrong]])
            amounts[wrong, : len(due)] = due
    if exact_total(charges) > MAX_ATOMS:
        raise Rejected("the charges of a chunk pass 2^63-1 atoms")
    return Split(names, table, slots, numbers, charges, amounts)


def totals_by(rows: U8, amounts: U64) -> list[tuple[bytes, Atoms]]:
    """For (n, width) bytes: the sum of the amounts of equal rows, in order of first appearance."""
    numbers, firsts = group_rows(rows)
    totals = np.zeros(len(firsts), np.uint64)
    add_by_group(numbers, amounts, totals)
    return [(rows[first].tobytes(), total) for first, total in zip(firsts.tolist(), totals.tolist(), strict=True)]


def _terms(name: Digest, bodies: Mapping[Digest, bytes]) -> Terms:
    if name not in bodies:
        raise Rejected(f"the terms 0x{name.hex()} are missing", terms=name.hex())
    return _decoded(name, bodies[name])


@lru_cache(4096)
def _decoded(name: Digest, body: bytes) -> Terms:
    """Terms from their bytes. Cached: most terms of a chunk were in the chunk before."""
    if terms_id(body) != name:
        raise Rejected(f"the terms on record as 0x{name.hex()} have another id", terms=name.hex())
    return decode(body)


def _u64(column: npt.NDArray[np.void]) -> U64:
    return np.ascontiguousarray(column, np.uint64)
