"""Closing a batch: from receipts, in chunks and by place, to a batch file, a header and new cumulatives.

Memory grows with receipts: half a byte of tree for each, and 16 bytes per payee of a run of 16 (32 while they are
sorted).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ledger.core.catalog.bids import Role
from ledger.core.kernels.jit import I64, U8, U64
from ledger.core.kernels.receipt_hashes import struct_hashes
from ledger.core.kernels.records import SignedRecords
from ledger.core.kernels.sum_tree import RootBuilder, SparseRootBuilder, line_leaves, receipt_leaves
from ledger.core.kernels.totals import add_by_group, add_runs, group_rows
from ledger.core.pricing import shares
from ledger.core.receipts.record import Records
from ledger.core.settlement import header
from ledger.core.settlement.batch_file import (
    Opening,
    Roots,
    Sink,
    header_of,
    heights_of,
    write_head,
    write_receipts,
    write_tail,
)
from ledger.core.settlement.cumulatives import Cumulatives
from ledger.core.settlement.header import RUN, Header, Heights
from ledger.core.values.atoms import MAX_ATOMS, Atoms
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.hashes import Sha256
from ledger.core.values.ids import Address, Digest, Lane, to_hex
from ledger.core.values.sum_tree import DEBIT_TAG, INDEX_END, PAYOUT_TAG, Word
from ledger.core.values.typed_data import Mandate

LINES_AT_ONCE = 1 << 16
_LOW = np.uint64(0xFFFFFFFF)
_SIX = np.uint64(6)

Indexes = Mapping[Address, int]


@dataclass(frozen=True, slots=True, eq=False)
class Closed:
    """A closed batch. `earned` is what it pays; `payout_changes` and `debit_changes` are its new leaves by index."""

    header: Header
    payouts: Cumulatives
    debits: Cumulatives
    earned: Mapping[tuple[Address, Role], Atoms]
    charged: Atoms
    payout_changes: Mapping[int, Word]
    debit_changes: Mapping[int, Word]
    mandates: Sequence[Mandate]
    receipt_nodes: Mapping[tuple[int, int], Word]
    """The receipts tree from the top of its blocks to below its root, by level and index."""


class Trees:
    """The receipts tree, the lines tree and the totals of a batch, for closing and for audits."""

    def __init__(self, lane: Lane, payee_index: Indexes, consumer_index: Indexes, barred: Sequence[int] = ()) -> None:
        """`barred` are the places of receipts that are charged to nobody, ascending."""
        self._barred = np.array(barred, np.int64)
        self._lane, self._payee_index, self._consumer_index = lane, payee_index, consumer_index
        self._totals = np.zeros(max([0, *payee_index.values()]) + 1, np.uint64)
        self._receipts = RootBuilder()
        self._lines: list[tuple[U64, U64]] = []
        self.earned: Counter[tuple[Address, Role]] = Counter()
        self.terms: set[Digest] = set()
        self._debited: Counter[Address] = Counter()

    def add(self, records: Records, bodies: Mapping[Digest, bytes], digests: U8 | None = None) -> shares.Split:
        """Add the next receipts: whole runs, except in the last chunk. Rejected when a price or charge is wrong.

        `digests` (n, 32) are their struct hashes, if known already.
        """
        barred = self._barred_of(len(records))
        parts = shares.split(records, bodies).without(barred)
        self.terms.update(parts.names)
        self.earned.update(parts.earned())
        consumers, firsts = group_rows(records["consumer"])
        accounts = [Address(records["consumer"][first].tobytes()) for first in firsts]
        hashes = struct_hashes(records) if digests is None else digests
        leaves = receipt_leaves(self._lane, hashes, parts.charges.astype(np.int64))
        leaves[barred] = 0
        self._add_lines(parts.terms, self._payees_of(parts), parts.amounts)
        self._debit(accounts, consumers, parts.charges)
        self._receipts.add(leaves)
        return parts

    def receipts_root(self) -> Digest:
        """The root over all receipts so far; the zero word if there are none."""
        return Digest(self._receipts.root())

    def receipt_nodes(self) -> dict[tuple[int, int], Word]:
        """The tree nodes above blocks of receipts, below the root, by level and index."""
        return self._receipts.below_root(header.BLOCK)

    def lines_root(self, heights: Heights) -> Digest:
        """The root over `lines` in a tree of these heights. Its sum is what the receipts charge."""
        tree, runs = SparseRootBuilder(heights.lines), np.uint64(heights.runs)
        keys, amounts = self._all_lines()
        positions = keys >> np.uint64(32) << runs | keys & _LOW
        order = np.argsort(positions, kind="stable")
        for some in _slices(order, positions):
            here = positions[some]
            parties, run = here >> runs, here & (np.uint64(1) << runs) - np.uint64(1)
            paid = amounts[some].astype(np.int64)
            tree.add(here, line_leaves(self._lane, parties.astype(np.int64), run.astype(np.int64), paid))
        return Digest(tree.root())

    def lines(self) -> list[tuple[int, int, Atoms]]:
        """Rows (payee's index, run, amount), sorted, without zero amounts."""
        keys, amounts = (column.tolist() for column in self._all_lines())
        return sorted((key >> 32, key & 0xFFFFFFFF, amount) for key, amount in zip(keys, amounts, strict=True))

    def payouts(self) -> dict[int, tuple[Address, Atoms]]:
        """The batch's additions to each payee, by index. Raises Unavailable when a payee has no index yet."""
        added: dict[int, tuple[Address, Atoms]] = {}
        for (payee, _), amount in self.earned.items():
            index = _index(self._payee_index, payee, "payee")
            added[index] = (payee, added.get(index, (payee, 0))[1] + amount)
        return added

    def debited(self) -> dict[int, tuple[Address, Atoms]]:
        """The batch's additions to each consumer's debit, by index. Raises Unavailable as `payouts` does."""
        return {
            _index(self._consumer_index, account, "consumer"): (account, total)
            for account, total in self._debited.items()
        }

    @property
    def charged(self) -> Atoms:
        """The sum of all charges so far."""
        return sum(self._debited.values())

    def _all_lines(self) -> tuple[U64, U64]:
        """Keys (party << 32 | run) and amounts, in the order of the chunks."""
        nothing = np.empty(0, np.uint64)
        keys = np.concatenate([nothing, *(keys for keys, _ in self._lines)])
        return keys, np.concatenate([nothing, *(amounts for _, amounts in self._lines)])

    def _payees_of(self, parts: shares.Split) -> I64:
        """The index of each payee of each of the chunk's terms."""
        index = np.zeros(len(parts.slots), np.int64)
        for at, (payee, role) in enumerate(parts.slots):
            if self.earned.get((payee, role)):
                index[at] = _index(self._payee_index, payee, "payee")
        starts = parts.table.slot_start
        owners = np.zeros((len(starts) - 1, parts.amounts.shape[1]), np.int64)
        owners[np.arange(owners.shape[1]) < np.diff(starts)[:, None]] = index[parts.table.slot]
        return owners

    def _barred_of(self, count: int) -> I64:
        """Which of the next receipts are barred."""
        first = self._receipts.size
        begin, end = np.searchsorted(self._barred, [first, first + count]).tolist()
        return self._barred[begin:end] - first

    def _debit(self, accounts: list[Address], consumers: I64, charges: U64) -> None:
        """Add the charges to the debits. Raises Unavailable when a consumer has no index yet."""
        totals = np.zeros(len(accounts), np.uint64)
        add_by_group(consumers, charges, totals)
        for consumer, total in zip(accounts, totals.tolist(), strict=True):
            if total:
                self._debited[consumer] += total
                _index(self._consumer_index, consumer, "consumer")

    def _add_lines(self, rows: I64, owners: I64, amounts: U64) -> None:
        lines = np.empty((int(np.count_nonzero(amounts)), 3), np.uint64)
        lines = lines[: add_runs(rows, owners, amounts, self._receipts.size, RUN, self._totals, lines)]
        self._lines.append((lines[:, 1] << np.uint64(32) | lines[:, 0], lines[:, 2].copy()))


def _slices(order: I64, positions: U64) -> Iterator[I64]:
    """The order of the lines in slices that do not part a run of 64 positions."""
    begin = 0
    while begin < len(order):
        end = min(begin + LINES_AT_ONCE, len(order))
        while end < len(order) and positions[order[end]] >> _SIX == positions[order[end - 1]] >> _SIX:
            end += 1
        yield order[begin:end]
        begin = end


class Writer:
    """Writes one batch file. Receipts come in chunks, by place: multiples of 64, except in the last chunk."""

    def __init__(
        self,
        sink: Sink,
        opening: Opening,
        payouts: Cumulatives,
        debits: Cumulatives,
        payee_index: Indexes,
        consumer_index: Indexes,
    ) -> None:
        """`payouts` and `debits` are those after the previous batch. The indexes must cover all parties of this one."""
        self._hash = Sha256()
        self._sink, self._opening = sink, opening
        self._payouts, self._debits = payouts, debits
        self._trees = Trees(opening.lane, payee_index, consumer_index, opening.barred)
        self._terms: dict[Digest, bytes] = {}
        self._order = ReceiptOrder(opening)
        write_head(self, opening)

    def write(self, data: bytes | memoryview, /) -> None:
        """Write bytes to the sink and into the file's hash."""
        self._hash.update(data)
        self._sink.write(data)

    def add(self, signed: SignedRecords, bodies: Mapping[Digest, bytes], digests: U8 | None = None) -> None:
        """Add the next receipts and their signatures. `bodies` holds at least their terms, by id.

        `digests` (n, 32) are the receipts' struct hashes, if posting has checked them already. The rows must not change
        before the next call: a thread still reads them.
        """
        self._order.check(signed.records)
        parts = self._trees.add(signed.records, bodies, digests)
        self._terms.update((name, bodies[name]) for name in parts.names)
        write_receipts(self, signed)

    def close(self, vouchers: Mapping[int, Mandate]) -> Closed:
        """Finish the file. Rejected when receipts are missing. Raises Unavailable when a party has no index yet.

        `vouchers` are those of the consumers that signed one, by index: the file shows those that a debit rests on.
        """
        self._order.check_end()
        earned, debited = self._trees.payouts(), self._trees.debited()
        payouts, debits = self._payouts.plus(earned), self._debits.plus(debited)
        if payouts.total != debits.total or payouts.total > MAX_ATOMS:
            raise Rejected(f"payouts of {payouts.total} atoms do not match debits of {debits.total}")
        lane, heights = self._opening.lane, heights_of(self._opening, payouts, debits)
        roots = Roots(
            self._trees.receipts_root(),
            Digest(payouts.tree(PAYOUT_TAG, lane).root),
            Digest(debits.tree(DEBIT_TAG, lane).root),
            self._trees.lines_root(heights),
        )
        mandates = [vouchers[index] for index in sorted(debited) if index in vouchers]
        write_tail(self, self._terms, payouts, debits, mandates, roots)
        return Closed(
            header=header_of(self._opening, roots, heights, self._hash.digest()),
            payouts=payouts,
            debits=debits,
            earned=dict(self._trees.earned),
            charged=self._trees.charged,
            payout_changes=payouts.changed(PAYOUT_TAG, lane, earned),
            debit_changes=debits.changed(DEBIT_TAG, lane, debited),
            mandates=mandates,
            receipt_nodes=self._trees.receipt_nodes(),
        )


class ReceiptOrder:
    """Checks that receipts come by place: of this lane, gateways by their number, without gaps in `seq`."""

    def __init__(self, opening: Opening) -> None:
        self._lane = opening.lane
        self._expected = [(row.gateway, row.first, row.count) for row in sorted(opening.ranges) if row.count]
        self._at = 0

    def check(self, records: Records) -> None:
        """Check the next receipts. Rejected at the first that is not the expected one."""
        begin = 0
        while begin < len(records):
            if self._at == len(self._expected):
                raise Rejected(f"{len(records) - begin} receipts more than the receipt logs hold")
            gateway, first, count = self._expected[self._at]
            part = records[begin : begin + count]
            wanted = np.arange(first, first + len(part), dtype=np.uint64)
            ours = part["gateway"] == np.frombuffer(gateway, np.uint8)
            here = part["lane"] == np.frombuffer(self._lane, np.uint8)
            right = part["seq"] == wanted
            if not (right.all() and ours.all() and here.all()):
                wrong = int(np.argmin(right & ours.all(axis=1) & here.all(axis=1)))
                raise Rejected(
                    f"receipt {first + wrong} of gateway {to_hex(gateway)} in lane {to_hex(self._lane)} is expected "
                    f"here, not {int(part['seq'][wrong])} of {to_hex(part['gateway'][wrong].tobytes())} "
                    f"in lane {to_hex(part['lane'][wrong].tobytes())}",
                    seq=first + wrong,
                )
            begin += len(part)
            self._expected[self._at] = (gateway, first + len(part), count - len(part))
            self._at += count == len(part)

    def check_end(self) -> None:
        """Rejected when receipts are missing."""
        if self._at < len(self._expected):
            gateway, first, count = self._expected[self._at]
            raise Rejected(f"{count} receipts from {first} of gateway {to_hex(gateway)} are missing", seq=first)


def _index(indexes: Indexes, account: Address, what: str) -> int:
    if not 0 < indexes.get(account, 0) < INDEX_END:
        raise Unavailable(f"{what} {to_hex(account)} has no index yet", **{what: to_hex(account)})
    return indexes[account]
