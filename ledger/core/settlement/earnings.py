"""Who earned what in a batch, from its file alone: by payee, role, model and epoch.

Each receipt is split by its terms, as the batch's closing did it. The amounts of a payee add up to what its cumulative
payout grew by from the batch before (`growth`), and the receipts hash to the file's receipts root.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ledger.core.catalog.bids import Role, decode
from ledger.core.kernels.receipt_hashes import struct_hashes
from ledger.core.kernels.sum_tree import RootBuilder, receipt_leaves
from ledger.core.kernels.totals import add_by_group, group_rows
from ledger.core.pricing import shares
from ledger.core.pricing.price import payees
from ledger.core.settlement.batch_file import BatchFile
from ledger.core.settlement.cumulatives import NOTHING, Cumulatives
from ledger.core.values.atoms import Atoms
from ledger.core.values.ids import Address, Digest

CHUNK = 1 << 16
"""Receipts that are decoded at a time: a multiple of 64, as the tree wants them."""


class Source(NamedTuple):
    """Where earnings come from: a payee's role in receipts of one model or workflow in one epoch."""

    payee: Address
    role: Role
    subject: Digest
    epoch: int


@dataclass(frozen=True, slots=True)
class Earnings:
    """What a batch pays, by source and without zeros, and the root that its receipts hash to."""

    amounts: Mapping[Source, Atoms]
    receipts_root: Digest

    @property
    def by_payee(self) -> dict[Address, Atoms]:
        """What the batch adds to each payee's cumulative payout."""
        totals: Counter[Address] = Counter()
        for source, amount in self.amounts.items():
            totals[source.payee] += amount
        return dict(totals)


def of_file(file: BatchFile) -> Earnings:
    """The earnings of a batch. Rejected at a receipt that does not cost what its terms say. One pass; memory is that of
    a chunk.
    """
    amounts: Counter[Source] = Counter()
    tree, barred = RootBuilder(), np.array(file.opening.barred, np.int64)
    for first in range(0, len(file.signed), CHUNK):
        records = file.signed.part(first, first + CHUNK).records
        begin, end = np.searchsorted(barred, [first, first + len(records)]).tolist()
        left_out = barred[begin:end] - first
        parts = shares.split(records, file.terms).without(left_out)
        leaves = receipt_leaves(file.opening.lane, struct_hashes(records), parts.charges.astype(np.int64))
        leaves[left_out] = 0
        tree.add(leaves)
        keys = np.column_stack([parts.terms.astype(">u8"), records["epoch"]]).astype(">u8")
        groups, firsts = group_rows(np.ascontiguousarray(keys).view(np.uint8).reshape(len(keys), -1))
        sources = [
            (decode(file.terms[parts.names[term]]), epoch)
            for term, epoch in zip(parts.terms[firsts].tolist(), records["epoch"][firsts].tolist(), strict=True)
        ]
        for column in range(parts.amounts.shape[1]):
            totals = np.zeros(len(firsts), np.uint64)
            add_by_group(groups, np.ascontiguousarray(parts.amounts[:, column]), totals)
            for (terms, epoch), total in zip(sources, totals.tolist(), strict=True):
                if total:
                    payee, role = payees(terms)[column]
                    amounts[Source(Address(payee), role, terms.subject, epoch)] += total
    return Earnings(dict(amounts), Digest(tree.root()))


def growth(file: BatchFile, before: Cumulatives = NOTHING) -> dict[Address, Atoms]:
    """What each payee's cumulative payout grew by since `before`, the payouts of the batch before; without zeros."""
    known = {index: amount for index, _, amount in before.rows()}
    grown = {account: amount - known.get(index, 0) for index, account, amount in file.payouts.rows()}
    return {account: amount for account, amount in grown.items() if amount}
