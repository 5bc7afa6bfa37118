"""Terms as arrays: what the split kernel looks up for each receipt, with everything divided in advance that can be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ledger.core.catalog.bids import Role, Terms
from ledger.core.kernels.jit import I64, U64
from ledger.core.pricing.price import payees
from ledger.core.values.atoms import PPM
from ledger.core.values.ids import ZERO_ADDRESS, Address
from ledger.core.values.meters import SCALES

SHIFT = 43
"""A ratio is also kept as `share`, in 2^-43 and rounded up, so that it is applied by a multiplication and a shift:
for 0 <= n < 10^6, ceil(ratio * n / 10^6) = floor((share * n + ceil(0.999999 * 2^43)) / 2^43), since what the two
roundings add stays under 10^6 / 2^43 + 1 / 2^43 < 10^-6, and a fraction that is not whole is a multiple of 10^-6.
"""
REACH = 2**58
"""Lines that ask for no more atoms than this, and sub-calls that cost no more, never take the kernel past 2^63: a price
is at most ten times what is asked."""


class Table(NamedTuple):
    """Terms in a row, their lines in a row, the lines' non-zero asks in a row; `*_start` says where each begins.

    An ask is kept whole, and as quotient and remainder by its scale, the remainder in billionths:
    ask * units / scale = ask * (units // scale) + whole * (units % scale) + part * (units % scale) / 10^9.
    `reach` is how many scales of its meter it may meet if all asks of the terms together are to stay within REACH.
    `start` is 10^6 / (10^6 - ratios) in 2^-60, rounded down: times what is asked, it is where the price is looked for.
    """

    line_start: U64
    slot_start: I64
    start: U64
    list_price: I64
    seller: U64
    sponsor: I64
    offer: U64
    keep: U64
    promotion: U64
    referred: I64
    shown: I64
    ratio_start: U64
    ratio_line: U64
    ratio: U64
    share: U64
    ask_start: U64
    ask_line: U64
    meter: U64
    ask: U64
    whole: U64
    part: U64
    reach: U64
    slot: I64


def build(all_terms: Sequence[Terms]) -> tuple[Table, list[tuple[Address, Role]]]:
    """The table of these terms, and what its slots stand for: every (payee, role) any of them pays."""
    slots: dict[tuple[Address, Role], int] = {}
    deductions = [terms.deduction for terms in all_terms]
    ratios = [[(at, line.ratio_ppm) for at, line in enumerate(terms.lines) if line.ratio_ppm] for terms in all_terms]
    asks = [
        [(at, meter, ask) for at, line in enumerate(terms.lines) for meter, ask in enumerate(line.asks) if ask]
        for terms in all_terms
    ]
    flat = [(ask, SCALES[meter]) for row in asks for _, meter, ask in row]
    paid = [payees(terms) for terms in all_terms]
    table = Table(
        line_start=_starts(len(terms.lines) for terms in all_terms).astype(np.uint64),
        slot_start=_starts(len(row) for row in paid),
        start=_u64((PPM << 60) // (PPM - sum(ratio for _, ratio in row)) for row in ratios),
        list_price=_i64(-1 if terms.list_price is None else terms.list_price for terms in all_terms),
        seller=_u64(terms.seller for terms in all_terms),
        sponsor=_i64(deduction.sponsor if deduction else -1 for deduction in deductions),
        offer=_u64(deduction.offer_ppm if deduction else 0 for deduction in deductions),
        keep=_u64(deduction.keep_ppm if deduction else 0 for deduction in deductions),
        promotion=_u64(deduction.promotion if deduction else 0 for deduction in deductions),
        referred=_i64(deduction is not None and deduction.curator != ZERO_ADDRESS for deduction in deductions),
        shown=_i64(deduction is not None and deduction.surface != ZERO_ADDRESS for deduction in deductions),
        ratio_start=_starts(map(len, ratios)).astype(np.uint64),
        ratio_line=_u64(at for row in ratios for at, _ in row),
        ratio=_u64(ratio for row in ratios for _, ratio in row),
        share=_u64(-(-(ratio << SHIFT) // PPM) for row in ratios for _, ratio in row),
        ask_start=_starts(map(len, asks)).astype(np.uint64),
        ask_line=_u64(at for row in asks for at, _, _ in row),
        meter=_u64(meter for row in asks for _, meter, _ in row),
        ask=_u64(ask for ask, _ in flat),
        whole=_u64(ask // scale for ask, scale in flat),
        part=_u64(ask % scale * (10**9 // scale) for ask, scale in flat),
        reach=_u64(REACH // (ask * len(row)) for row in asks for _, _, ask in row),
        slot=_i64(slots.setdefault(who, len(slots)) for row in paid for who in row),
    )
    return table, list(slots)


def _starts(counts: Iterable[int]) -> I64:
    return np.cumsum(_i64((0, *counts)))


def _i64(values: Iterable[int]) -> I64:
    return np.array(list(values), np.int64)


def _u64(values: Iterable[int]) -> U64:
    return np.array(list(values), np.uint64)
