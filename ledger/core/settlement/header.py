"""A batch's header, as Settlement hashes it, and the gateways tree that it commits to.

    header id = the first 24 bytes of keccak256(abi.encode(header)), ten words

A receipt's place in its batch follows from the gateways tree: the sum of the counts of lower-numbered gateways, plus
seq - first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_DIGEST, Address, Digest, Lane, to_hex
from ledger.core.values.sum_tree import ZERO, SparseTree, Word, amount, gateway_leaf, height_for
from ledger.core.values.typed_data import word

HeaderId: TypeAlias = bytes
"""24 bytes: how the chain, the next header and every proof name a header."""
NO_HEADER: HeaderId = bytes(24)
"""The `prev` of the first batch of a lane."""
NO_BATCH = 0
"""The `finalizeId` that finalizes nothing."""
RUN = 16
"""Receipts per run: as many as a contract can price again in one transaction, whatever their terms."""
BLOCK = 10
"""The height of a block of receipts: proofs read one or two blocks of them, and kept tree nodes from there on."""
MAX_CALLS = 1 << 24
"""Receipts of one batch."""


class Heights(NamedTuple):
    """The levels of a header's trees, in the order of its bytes. A lines tree has `parties + runs` levels."""

    receipts: int = 0
    payouts: int = 0
    debits: int = 0
    gateways: int = 0
    parties: int = 0
    runs: int = 0

    @property
    def lines(self) -> int:
        return self.parties + self.runs

    @property
    def packed(self) -> int:
        """As a header holds them: a byte each, the first lowest."""
        return int.from_bytes(bytes(self), "little")

    @classmethod
    def unpack(cls, packed: int) -> "Heights":
        return cls(*packed.to_bytes(len(cls._fields), "little"))


def heights_for(calls: int, payees: int, consumers: int, gateways: int) -> Heights:
    """The least heights that hold so many calls, and these highest indexes and gateway number."""
    payouts = height_for(payees + 1)
    return Heights(
        receipts=height_for(calls),
        payouts=payouts,
        debits=height_for(consumers + 1),
        gateways=height_for(gateways + 1),
        parties=payouts,
        runs=height_for(-(-calls // RUN)),
    )


@dataclass(frozen=True, slots=True)
class Header:
    """An operator's commitment to a batch. Roots are words of sum trees; their low 64 bits are totals.

    `closed_at` is in seconds of the chain's clock. `era` is the lane's: every fall and every escape begins another.
    """

    prev: HeaderId
    era: int
    closed_at: int
    heights: Heights
    receipts_root: Word
    payout_root: Word
    debit_root: Word
    lines_root: Word
    gateways_root: Word
    data_ref: Digest

    @property
    def id(self) -> HeaderId:
        """The name of the header on chain, and in the next one."""
        roots = (self.receipts_root, self.payout_root, self.debit_root, self.lines_root, self.gateways_root)
        numbers = (word(self.era), word(self.closed_at), word(self.heights.packed))
        return bytes(keccak256(self.prev, bytes(8), *numbers, *roots, self.data_ref)[:24])

    @property
    def calls(self) -> int:
        """The receipts of the batch."""
        return amount(self.gateways_root)

    @property
    def rounds(self) -> int:
        """The questions that open its longest path, eight levels each."""
        h = self.heights
        return -(-max(h.receipts, h.payouts, h.debits, h.gateways, h.lines) // 8)


EMPTY_HEADER = Header(NO_HEADER, 0, 0, Heights(), ZERO, ZERO, ZERO, ZERO, ZERO, ZERO_DIGEST)
"""For calls that take a header and do not use it."""


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """Receipts [first, first + count) of the gateway whose key has this number in the lane.

    Idle: count 0, and `first` is the next to come.
    """

    number: int
    gateway: Address
    first: int
    count: int

    @property
    def last(self) -> int:
        """The sequence number of the last receipt; first - 1 if there is none."""
        return self.first + self.count - 1


def gateways_tree(lane: Lane, ranges: Iterable[Range]) -> SparseTree:
    """The tree of every gateway the lane ever used, each at its number, so that skipping a receipt shows. A file
    may name any number, so only the paths to gateways are in memory.

    Rejected when a number or a gateway occurs twice, or a number or a first receipt is below 1.
    """
    rows = sorted(ranges)
    numbers, gateways = {row.number for row in rows}, {row.gateway for row in rows}
    if len(numbers) < len(rows) or len(gateways) < len(rows) or not all(row.number > 0 < row.first for row in rows):
        raise Rejected("a gateways tree has each gateway once, numbered from 1, with receipts numbered from 1")
    leaves = {row.number: gateway_leaf(lane, row.number, row.gateway, row.first, row.count) for row in rows}
    return SparseTree.build(leaves, height_for(max(numbers, default=0) + 1))


def gaps(before: Iterable[Range], now: Iterable[Range]) -> list[tuple[Address, int, int | None]]:
    """Gateways whose receipts do not continue from batch to batch: (gateway, expected first, found first, if any)."""
    expected = {row.gateway: row.last + 1 for row in before}
    found = {row.gateway: row.first for row in now}
    rows = ((gateway, expected.get(gateway, 1), found.get(gateway)) for gateway in sorted({*expected, *found}))
    return [row for row in rows if row[1] != row[2]]


def name_at(ranges: Sequence[Range], place: int) -> tuple[Address, int]:
    """The gateway and number of the receipt at a place: the inverse of `place_of`."""
    left = place
    for row in sorted(ranges):
        if left < row.count:
            return row.gateway, row.first + left
        left -= row.count
    raise Rejected(f"a batch of {place - left} receipts has no place {place}", place=place)


def place_of(ranges: Sequence[Range], gateway: Address, seq: int) -> int:
    """A receipt's place in the batch, from 0. Rejected when the batch does not contain it."""
    before = 0
    for row in sorted(ranges):
        if row.gateway == gateway and row.first <= seq <= row.last:
            return before + seq - row.first
        before += row.count
    raise Rejected(f"receipt {seq} of gateway {to_hex(gateway)} is not in this batch", seq=seq)
