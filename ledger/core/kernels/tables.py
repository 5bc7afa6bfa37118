"""Terms as arrays: what the split kernel looks up for each receipt, with everything divided in advance that can be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ledger.core.bids import Role, Terms
from ledger.core.ids import ZERO_ADDRESS, Address
from ledger.core.kernels.jit import I64, U64
from ledger.core.meters import SCALES
from ledger.core.pricing import payees


class Table(NamedTuple):
    """Terms in a row, their lines in a row, the lines' non-zero asks in a row; `*_start` says where each begins.

    An ask is kept whole, and as quotient and remainder by its scale, the remainder in billionths:
    ask * units / scale = ask * (units // scale) + whole * (units % scale) + part * (units % scale) / 10^9.
    """

    line_start: I64
    slot_start: I64
    ratios: U64
    list_price: I64
    seller: I64
    sponsor: I64
    offer: U64
    keep: U64
    promotion: U64
    referred: I64
    shown: I64
    ratio: U64
    ask_start: I64
    ask_line: I64
    meter: I64
    ask: U64
    whole: U64
    part: U64
    slot: I64


def build(all_terms: Sequence[Terms]) -> tuple[Table, list[tuple[Address, Role]]]:
    """The table of these terms, and what its slots stand for: every (payee, role) any of them pays."""
    slots: dict[tuple[Address, Role], int] = {}
    carves = [terms.carve for terms in all_terms]
    lines = [line for terms in all_terms for line in terms.lines]
    asks = [[(meter, ask) for meter, ask in enumerate(line.asks) if ask] for line in lines]
    flat = [(meter, ask, SCALES[meter]) for row in asks for meter, ask in row]
    paid = [payees(terms) for terms in all_terms]
    table = Table(
        line_start=_starts([len(terms.lines) for terms in all_terms]),
        slot_start=_starts([len(row) for row in paid]),
        ratios=_u64(sum(line.ratio_ppm for line in terms.lines) for terms in all_terms),
        list_price=_i64(-1 if terms.list_price is None else terms.list_price for terms in all_terms),
        seller=_i64(terms.seller for terms in all_terms),
        sponsor=_i64(carve.sponsor if carve else -1 for carve in carves),
        offer=_u64(carve.offer_ppm if carve else 0 for carve in carves),
        keep=_u64(carve.keep_ppm if carve else 0 for carve in carves),
        promotion=_u64(carve.promotion if carve else 0 for carve in carves),
        referred=_i64(carve is not None and carve.curator != ZERO_ADDRESS for carve in carves),
        shown=_i64(carve is not None and carve.surface != ZERO_ADDRESS for carve in carves),
        ratio=_u64(line.ratio_ppm for line in lines),
        ask_start=_starts([len(row) for row in asks]),
        ask_line=_i64(
            place for terms in all_terms for place, line in enumerate(terms.lines) for ask in line.asks if ask
        ),
        meter=_i64(meter for meter, _, _ in flat),
        ask=_u64(ask for _, ask, _ in flat),
        whole=_u64(ask // scale for _, ask, scale in flat),
        part=_u64(ask % scale * (10**9 // scale) for _, ask, scale in flat),
        slot=_i64(slots.setdefault(who, len(slots)) for row in paid for who in row),
    )
    return table, list(slots)


def _starts(counts: list[int]) -> I64:
    return np.cumsum(np.array([0, *counts], np.int64))


def _i64(values: object) -> I64:
    return np.array(list(values), np.int64)  # type: ignore[call-overload]


def _u64(values: object) -> U64:
    return np.array(list(values), np.uint64)  # type: ignore[call-overload]
