"""Twin of `ledger.core.pricing.price` and `deductions`: the amounts of many receipts, ten millions a second.

Receipts are taken in the order given (a sort by terms costs more than it saves), so whatever the terms fix is divided
in advance, in `tables`, and looked up in place: to slice it out for each receipt took a third of its time. Nothing
passes 2^63: what could is answered TOO_LARGE, and the plain page decides. That is above 2^58 atoms, a quarter of all
there are.
"""

from __future__ import annotations

import numpy as np

from ledger.core.kernels.jit import I64, U64, kernel
from ledger.core.kernels.tables import REACH, SHIFT, Table

OK, WRONG_PRICE, WRONG_CHARGE, TOO_LARGE, INFEASIBLE = 0, 1, 2, 3, 4

_PPM = np.uint64(10**6)
_BILLION = np.uint64(10**9)
_THOUSAND = np.uint64(10**3)
_CAP = np.uint64(900_000)
_SURFACE = np.uint64(700_000)
_SHIFT = np.uint64(SHIFT)
ROUND_UP = np.uint64(-(-999_999 * 2**SHIFT // 10**6))
"""Added to a share of a rest, in 2^-43, it rounds up what is then rounded down."""
_REACH = np.uint64(REACH)
_HALF, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
_ZERO, _ONE, _FOUR = np.uint64(0), np.uint64(1), np.uint64(4)


@kernel
def split(table: Table, terms: I64, units: U64, passed: U64, price: U64, charge: U64, amounts: U64, status: I64) -> int:
    """What every payee gets of every receipt: row i of `amounts`, in the order of `pricing.payees`.

    `price` and `charge` are overwritten by what is due; `status` says OK, or how a receipt differs. `amounts` must be
    as wide as the widest terms; what is beyond a receipt's payees is left alone. Returns how many are not OK.
    """
    faults = 0
    meters, parts, takes = np.zeros((3, 6), np.uint64), np.zeros(64, np.uint64), np.zeros(64, np.uint64)
    for i in range(len(terms)):
        one = np.uint64(terms[i])
        count = table.line_start[one + _ONE] - table.line_start[one]
        _scale(units[i], meters)
        sound = passed[i] <= _REACH
        for k in range(count):
            amounts[i, k] = parts[k] = _ZERO
        for k in range(table.ask_start[one], table.ask_start[one + _ONE]):
            meter, line = table.meter[k], table.ask_line[k]
            sound = sound and meters[2, meter] <= table.reach[k]
            amounts[i, line] += table.ask[k] * meters[0, meter] + table.whole[k] * meters[1, meter]
            parts[line] += table.part[k] * meters[1, meter]
        asked = passed[i]
        for k in range(count):
            amounts[i, k] += (parts[k] + _BILLION - _ONE) // _BILLION
            asked += amounts[i, k]
        if not sound:
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
        owed = due - passed[i]
        if listed:
            amounts[i, table.seller[one]] += due - total
        if table.sponsor[one] >= 0:
            owed -= _deduction(table, one, np.uint64(table.sponsor[one]), count, amounts[i])
        verdict = WRONG_PRICE if due != price[i] else WRONG_CHARGE if owed != charge[i] else OK
        price[i], charge[i], status[i] = due, owed, verdict
        faults += verdict != OK
    return faults


@kernel
def _scale(units: U64, meters: U64) -> None:
    """Units of the six meters as whole scales, the rest, and scales rounded up. The divisors are constants."""
    for meter in range(6):
        scale = _THOUSAND if meter == 3 else _BILLION if meter == 4 else _PPM
        whole = units[meter] // scale if meter else units[meter]
        rest = units[meter] - whole * scale if meter else _ZERO
        meters[0, meter], meters[1, meter], meters[2, meter] = whole, rest, whole + (_ONE if rest else _ZERO)


@kernel
def _upper_half(left: np.uint64, right: np.uint64) -> np.uint64:
    """floor(left * right / 2^64)."""
    left_low, left_high, right_low, right_high = left & _LOW, left >> _HALF, right & _LOW, right >> _HALF
    one, other = left_high * right_low, left_low * right_high
    middle = (left_low * right_low >> _HALF) + (one & _LOW) + (other & _LOW)
    return left_high * right_high + (one >> _HALF) + (other >> _HALF) + (middle >> _HALF)


@kernel
def _deduction(table: Table, terms: np.uint64, sponsor: np.uint64, count: np.uint64, amounts: U64) -> np.uint64:
    """Take the sponsor's line apart; returns the consumer's rebate."""
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
    """floor(whole * ppm / 10^6) without passing 2^63."""
    millions = whole // _PPM
    return millions * ppm + (whole - millions * _PPM) * ppm // _PPM
