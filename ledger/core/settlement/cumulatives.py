"""Cumulative amounts by index: what each payee was ever paid, or each consumer ever debited, in one lane.

Indexes are the Registry's (payees) or the lane's (consumers). An index with amount 0 is absent; its leaf is the zero
word. Amounts never fall.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ledger.core.kernels.jit import I64, U8, U64, as_i64
from ledger.core.kernels.sum_tree import Levels, account_leaves
from ledger.core.pricing.shares import exact_total
from ledger.core.values.atoms import MAX_ATOMS, Atoms
from ledger.core.values.errors import Conflict, Rejected
from ledger.core.values.ids import Address, Lane, to_hex
from ledger.core.values.sum_tree import Word

ROW_DTYPE = np.dtype([("index", ">u4"), ("account", "u1", (20,)), ("amount", ">u8")])
"""32 bytes: a row in a batch file."""


@dataclass(frozen=True, slots=True, eq=False)
class Cumulatives:
    """Parallel columns: `indexes` ascending, `accounts` (n, 20), `amounts` above 0."""

    indexes: I64
    accounts: U8
    amounts: U64

    @classmethod
    def of(cls, rows: Iterable[tuple[int, Address, Atoms]]) -> Cumulatives:
        """Build from (index, account, amount) in any order. Rejected when an index occurs twice."""
        present = sorted(row for row in rows if row[2])
        if len({index for index, _, _ in present}) != len(present):
            raise Rejected("an index occurs twice")
        accounts = np.frombuffer(b"".join(account for _, account, _ in present), np.uint8).reshape(-1, 20)
        return cls(as_i64(row[0] for row in present), accounts, np.array([row[2] for row in present], np.uint64))

    def __len__(self) -> int:
        return len(self.indexes)

    @property
    def last_index(self) -> int:
        """The highest index; 0 if there is none."""
        return int(self.indexes[-1]) if len(self) else 0

    @property
    def total(self) -> Atoms:
        return exact_total(self.amounts)

    def rows(self) -> list[tuple[int, Address, Atoms]]:
        """(index, account, amount) by index."""
        accounts = (Address(row.tobytes()) for row in self.accounts)
        return list(zip(self.indexes.tolist(), accounts, self.amounts.tolist(), strict=True))

    def amount(self, index: int) -> Atoms:
        """The amount at an index; 0 if absent."""
        at = int(np.searchsorted(self.indexes, index))
        return int(self.amounts[at]) if at < len(self) and self.indexes[at] == index else 0

    def plus(self, added: Mapping[int, tuple[Address, Atoms]]) -> Cumulatives:
        """Add the amounts of a batch. Raises Conflict when an index belongs to another account."""
        fresh = sorted(index for index, (_, amount) in added.items() if amount)
        where = np.searchsorted(self.indexes, as_i64(fresh))
        known = [at < len(self) and int(self.indexes[at]) == index for index, at in zip(fresh, where, strict=True)]
        new = [(at, index) for index, at, is_known in zip(fresh, where.tolist(), known, strict=True) if not is_known]
        slots = [at for at, _ in new]
        indexes = np.insert(self.indexes, slots, as_i64(index for _, index in new))
        fresh_accounts = np.frombuffer(b"".join(added[i][0] for _, i in new), np.uint8).reshape(-1, 20)
        accounts = np.insert(self.accounts, slots, fresh_accounts, axis=0)
        amounts = np.insert(self.amounts, slots, np.zeros(len(new), np.uint64))
        for index, at in zip(fresh, np.searchsorted(indexes, as_i64(fresh)).tolist(), strict=True):
            account, amount = added[index]
            if accounts[at].tobytes() != account:
                raise Conflict(f"index {index} belongs to {to_hex(accounts[at].tobytes())}, not {to_hex(account)}")
            if int(amounts[at]) + amount > MAX_ATOMS:
                raise Rejected(f"{to_hex(account)} would exceed 2^63-1 atoms", account=to_hex(account))
            amounts[at] += np.uint64(amount)
        return Cumulatives(indexes, accounts, amounts)

    def tree(self, tag: int, lane: Lane) -> Levels:
        """The payout (tag 1) or debit (tag 2) tree of a lane."""
        return Levels.build(self.leaves(tag, lane))

    def leaves(self, tag: int, lane: Lane) -> U8:
        """One leaf per index up to the last; the zero word where absent."""
        return account_leaves(tag, lane, self.indexes, self.accounts, self.amounts.astype(np.int64))

    def changed(self, tag: int, lane: Lane, indexes: Iterable[int]) -> dict[int, Word]:
        """The leaves at some indexes, for a tree in a store."""
        wanted = as_i64(sorted(indexes))
        at = np.searchsorted(self.indexes, wanted)
        leaves = account_leaves(tag, lane, wanted, self.accounts[at], self.amounts[at].astype(np.int64))
        return {index: leaves[index].tobytes() for index in wanted.tolist()}

    def pack(self) -> bytes:
        """Encode as rows of ROW_DTYPE, by index."""
        table = np.empty(len(self), ROW_DTYPE)
        table["index"], table["account"], table["amount"] = self.indexes, self.accounts, self.amounts
        return table.tobytes()

    @classmethod
    def unpack(cls, table: npt.NDArray[np.void]) -> Cumulatives:
        """Decode rows, the inverse of `pack`. Rejected unless indexes ascend and amounts are 1 to 2^63-1."""
        indexes, amounts = table["index"].astype(np.int64), table["amount"].astype(np.uint64)
        if len(table) and (np.any(np.diff(indexes) <= 0) or np.any((amounts == 0) | (amounts > np.uint64(MAX_ATOMS)))):
            raise Rejected("cumulative rows must ascend by index and have amounts from 1 to 2^63-1")
        return cls(indexes, np.ascontiguousarray(table["account"]), amounts)


NOTHING = Cumulatives.of(())
"""The state before a lane's first batch."""
