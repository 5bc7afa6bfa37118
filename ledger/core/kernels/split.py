"""Twin of `pricing.price` and `pricing.commissions`: prices and amounts of many receipts, ten million a second.

Receipts come in any order; sorting by terms costs more than it saves. So whatever depends on the terms alone is divided
in advance, in `Table`, and looked up in place; slicing it out per receipt took a third of the time. Nothing exceeds
2^63: a receipt that could is TOO_LARGE, and the plain module prices it. That begins above 2^58 atoms, a quarter of the
supply.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ledger.core.catalog.bids import MAX_LINES, Role, Terms
from ledger.core.kernels.jit import I64, U64, as_i64, kernel
from ledger.core.pricing.commissions import CAP_PPM, SURFACE_PPM
from ledger.core.pricing.price import payees
from ledger.core.values.atoms import PPM, Atoms
from ledger.core.values.ids import ZERO_ADDRESS, Address
from ledger.core.values.meters import MAX_UNITS, Meter, Rates

SHIFT = 43
"""A ratio is also stored as `share` = ceil(ratio * 2^43 / 10^6), so that one multiplication and one shift apply it:
for 0 <= n < 10^6, ceil(ratio * n / 10^6) = floor((share * n + ceil(0.999999 * 2^43)) / 2^43). The two roundings add
less than 10^6 / 2^43 + 1 / 2^43 < 10^-6, and a fraction that is not whole is a multiple of 10^-6.
"""
REACH = 2**58
"""If the lines of a receipt ask for at most this many atoms, and its sub-calls cost at most as many, no sum in the
kernel exceeds 2^63: a price is at most ten times the sum of the asks."""
OK, WRONG_PRICE, WRONG_CHARGE, TOO_LARGE, INFEASIBLE = 0, 1, 2, 3, 4

_PPM = np.uint64(10**6)
_BILLION = np.uint64(10**9)
_THOUSAND = np.uint64(10**3)
_CAP = np.uint64(CAP_PPM)
_SURFACE = np.uint64(SURFACE_PPM)
_SHIFT = np.uint64(SHIFT)
ROUND_UP = np.uint64(-(-999_999 * 2**SHIFT // 10**6))
"""ceil(0.999999 * 2^43): added before the shift, it turns rounding down into rounding up."""
_REACH = np.uint64(REACH)
_HALF, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
_ZERO, _ONE, _FOUR = np.uint64(0), np.uint64(1), np.uint64(4)
_MAX_UNITS = np.uint64(MAX_UNITS)
_SCALES = (1, 10**3, 10**6, 10**9)
"""The scales of the meters. The kernel divides by constants, so that no division runs."""
_MAX_GROUPS = MAX_LINES * len(Meter)


class Table(NamedTuple):
    """Encoded terms as columns: all terms, all their lines, all non-zero asks. `*_start` is where each one begins.

    The units that an ask charges for are a group of meters: its own, and the finer ones that its line has no ask for.
    Lines share the groups of their terms. `scale` is a place in _SCALES, `group` counts from the terms' first group.
    An ask is stored whole, and as quotient and remainder by its scale, the remainder in billionths:
    ask * units / scale = ask * (units // scale) + whole * (units % scale) + part * (units % scale) / 10^9.
    `reach` is the most scales of its group for which all asks of the terms together stay within REACH.
    `start` = floor(2^60 * 10^6 / (10^6 - sum of ratios)): the sum of the asks times it is the first guess of the price.
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
    group_start: U64
    scale: I64
    meter_start: U64
    meter: U64
    ask_start: U64
    ask_line: U64
    group: U64
    ask: U64
    whole: U64
    part: U64
    reach: U64
    slot: I64


def build_table(all_terms: Sequence[Terms]) -> tuple[Table, list[tuple[Address, Role]]]:
    """The table of these terms, and the meaning of its slots: every (payee, role) that any of them pays."""
    slots: dict[tuple[Address, Role], int] = {}
    deductions = [terms.deduction for terms in all_terms]
    ratios = [[(at, line.ratio_ppm) for at, line in enumerate(terms.lines) if line.ratio_ppm] for terms in all_terms]
    asks = [[(at, *one) for at, line in enumerate(terms.lines) for one in _charged(line.asks)] for terms in all_terms]
    groups = [list(dict.fromkeys(meters for _, meters, _ in row)) for row in asks]
    whole_groups = [meters for row in groups for meters in row]
    flat = [(ask, meters[0].scale) for row in asks for _, meters, ask in row]
    paid = [payees(terms) for terms in all_terms]
    table = Table(
        line_start=_starts(len(terms.lines) for terms in all_terms).astype(np.uint64),
        slot_start=_starts(len(row) for row in paid),
        start=_u64((PPM << 60) // (PPM - sum(ratio for _, ratio in row)) for row in ratios),
        list_price=as_i64(-1 if terms.list_price is None else terms.list_price for terms in all_terms),
        seller=_u64(terms.seller for terms in all_terms),
        sponsor=as_i64(deduction.sponsor if deduction else -1 for deduction in deductions),
        offer=_u64(deduction.offer_ppm if deduction else 0 for deduction in deductions),
        keep=_u64(deduction.keep_ppm if deduction else 0 for deduction in deductions),
        promotion=_u64(deduction.promotion if deduction else 0 for deduction in deductions),
        referred=as_i64(deduction is not None and deduction.curator != ZERO_ADDRESS for deduction in deductions),
        shown=as_i64(deduction is not None and deduction.surface != ZERO_ADDRESS for deduction in deductions),
        ratio_start=_starts(map(len, ratios)).astype(np.uint64),
        ratio_line=_u64(at for row in ratios for at, _ in row),
        ratio=_u64(ratio for row in ratios for _, ratio in row),
        share=_u64(-(-(ratio << SHIFT) // PPM) for row in ratios for _, ratio in row),
        group_start=_starts(map(len, groups)).astype(np.uint64),
        scale=as_i64(_SCALES.index(meters[0].scale) for meters in whole_groups),
        meter_start=_starts(map(len, whole_groups)).astype(np.uint64),
        meter=_u64(meter for meters in whole_groups for meter in meters),
        ask_start=_starts(map(len, asks)).astype(np.uint64),
        ask_line=_u64(at for row in asks for at, _, _ in row),
        group=_u64(known.index(meters) for row, known in zip(asks, groups, strict=True) for _, meters, _ in row),
        ask=_u64(ask for ask, _ in flat),
        whole=_u64(ask // scale for ask, scale in flat),
        part=_u64(ask % scale * (10**9 // scale) for ask, scale in flat),
        reach=_u64(REACH // (ask * len(row)) for row in asks for _, _, ask in row),
        slot=as_i64(slots.setdefault(who, len(slots)) for row in paid for who in row),
    )
    return table, list(slots)


def _charged(asks: Rates) -> list[tuple[tuple[Meter, ...], Atoms]]:
    """The asks above 0, each with the meters whose units pay it."""
    own = {meter for meter, _ in asks}
    paying = [meter if meter in own else meter.coarse for meter in Meter]
    return [(tuple(unit for unit in Meter if paying[unit] == meter), ask) for meter, ask in asks if ask]


def _starts(counts: Iterable[int]) -> I64:
    return np.cumsum(as_i64((0, *counts)))


def _u64(values: Iterable[int]) -> U64:
    return np.array(list(values), np.uint64)


@kernel
def split_amounts(
    table: Table, terms: I64, units: U64, subcalls: U64, price: U64, charge: U64, amounts: U64, status: I64
) -> int:
    """Compute the amount of every payee of every receipt: row i of `amounts`, in the order of `price.payees`.

    `price` and `charge` are overwritten by the due ones. `status` is OK, or the way in which a receipt differs.
    `amounts` must be as wide as the widest terms; columns beyond a receipt's payees stay unchanged. Returns the number
    of receipts that are not OK.
    """
    faults = 0
    used = np.zeros((3, _MAX_GROUPS), np.uint64)
    parts, takes = np.zeros(MAX_LINES, np.uint64), np.zeros(MAX_LINES, np.uint64)
    for i in range(len(terms)):
        one = np.uint64(terms[i])
        count = table.line_start[one + _ONE] - table.line_start[one]
        sound = _scale_units(table, one, units[i], used)
        asked, fits = _add_asks(table, one, i, count, subcalls[i], used, parts, amounts)
        if not (sound and fits):
            status[i] = TOO_LARGE
            faults += 1
            continue
        first, last = table.ratio_start[one], table.ratio_start[one + _ONE]
        listed = table.list_price[one] >= 0
        due = np.uint64(table.list_price[one]) if listed else _upper_half(asked << _FOUR, table.start[one])
        while True:
            millions = due // _PPM
            rest = due - millions * _PPM
            total = asked
            for k in range(first, last):
                takes[k - first] = table.ratio[k] * millions + ((table.share[k] * rest + ROUND_UP) >> _SHIFT)
                total += takes[k - first]
            if listed or total == due:
                break
            due = total
        if total > due:
            status[i] = INFEASIBLE
            faults += 1
            continue
        for k in range(first, last):
            amounts[i, table.ratio_line[k]] += takes[k - first]
        owed = due - subcalls[i]
        if listed:
            amounts[i, table.seller[one]] += due - total
        if table.sponsor[one] >= 0:
            owed -= _deduction(table, one, np.uint64(table.sponsor[one]), count, amounts[i])
        verdict = WRONG_PRICE if due != price[i] else WRONG_CHARGE if owed != charge[i] else OK
        price[i], charge[i], status[i] = due, owed, verdict
        faults += verdict != OK
    return faults


@kernel
def _add_asks(
    table: Table, terms: np.uint64, i: int, count: np.uint64, subcalls: np.uint64, used: U64, parts: U64, amounts: U64
) -> tuple[np.uint64, np.bool_]:
    """Fill row i with what each line asks, rounded up. Returns the sum with `subcalls`, and whether all fit REACH."""
    sound = subcalls <= _REACH
    for k in range(count):
        amounts[i, k] = parts[k] = _ZERO
    for k in range(table.ask_start[terms], table.ask_start[terms + _ONE]):
        group, line = table.group[k], table.ask_line[k]
        sound = sound and used[2, group] <= table.reach[k]
        amounts[i, line] += table.ask[k] * used[0, group] + table.whole[k] * used[1, group]
        parts[line] += table.part[k] * used[1, group]
    asked = subcalls
    for k in range(count):
        amounts[i, k] += (parts[k] + _BILLION - _ONE) // _BILLION
        asked += amounts[i, k]
    return asked, sound


@kernel
def _scale_units(table: Table, terms: np.uint64, units: U64, used: U64) -> bool:
    """Each group's units as whole scales, the rest, and scales rounded up. Returns whether all counts are in range."""
    sound = True
    first = table.group_start[terms]
    for k in range(first, table.group_start[terms + _ONE]):
        count = _ZERO
        for at in range(table.meter_start[k], table.meter_start[k + _ONE]):
            sound = sound and units[table.meter[at]] <= _MAX_UNITS
            count += units[table.meter[at]]
        scale = table.scale[k]
        if scale == 2:
            whole = count // _PPM
            rest = count - whole * _PPM
        elif scale == 0:
            whole, rest = count, _ZERO
        elif scale == 3:
            whole = count // _BILLION
            rest = count - whole * _BILLION
        else:
            whole = count // _THOUSAND
            rest = count - whole * _THOUSAND
        used[0, k - first], used[1, k - first], used[2, k - first] = whole, rest, whole + (_ONE if rest else _ZERO)
    return sound


@kernel
def _upper_half(left: np.uint64, right: np.uint64) -> np.uint64:
    """floor(left * right / 2^64)."""
    left_low, left_high, right_low, right_high = left & _LOW, left >> _HALF, right & _LOW, right >> _HALF
    one, other = left_high * right_low, left_low * right_high
    middle = (left_low * right_low >> _HALF) + (one & _LOW) + (other & _LOW)
    return left_high * right_high + (one >> _HALF) + (other >> _HALF) + (middle >> _HALF)


@kernel
def _deduction(table: Table, terms: np.uint64, sponsor: np.uint64, count: np.uint64, amounts: U64) -> np.uint64:
    """Divide the sponsor's line as `commissions.deduct` does. Returns the consumer's rebate."""
    line = amounts[sponsor]
    cap = _share(line, _CAP)
    commission = min(_share(line, table.offer[terms]), cap) if table.referred[terms] else _ZERO
    curator = _share(commission, table.keep[terms])
    promotion = min(table.promotion[terms], cap - commission) if table.shown[terms] else _ZERO
    surface = _share(promotion, _SURFACE)
    amounts[sponsor] = line - commission - promotion
    amounts[count], amounts[count + _ONE], amounts[count + _ONE + _ONE] = curator, surface, promotion - surface
    return commission - curator


@kernel
def _share(whole: np.uint64, ppm: np.uint64) -> np.uint64:
    """floor(whole * ppm / 10^6) without exceeding 2^63."""
    millions = whole // _PPM
    return millions * ppm + (whole - millions * _PPM) * ppm // _PPM
