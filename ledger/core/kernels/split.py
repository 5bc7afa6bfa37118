"""Twin of `ledger.core.pricing` and `carves`: the amounts of many receipts, millions a second.

Receipts are taken in the order given (a sort by terms costs more than it saves: memory is the limit), and terms are
looked up when they change. Every product stays below 2^63: a ratio is applied to a price's millions and rest apart, an
ask to the whole scales and the rest of its units apart. What could still pass 2^63 is answered TOO_LARGE, and the plain
page decides.
"""

from __future__ import annotations

import numpy as np

from ledger.core.kernels.jit import I64, U64, kernel
from ledger.core.kernels.tables import Table

OK, WRONG_PRICE, WRONG_CHARGE, TOO_LARGE, INFEASIBLE = 0, 1, 2, 3, 4

_MAX = np.uint64(2**63 - 1)
_MAX_MILLIONS = np.uint64((2**63 - 1) // 10**6)
_PPM = np.uint64(10**6)
_PPM_LESS_ONE = np.uint64(10**6 - 1)
_BILLION = np.uint64(10**9)
_THOUSAND = np.uint64(10**3)
_CAP = np.uint64(900_000)
_SURFACE = np.uint64(700_000)
_SMALL = np.uint64(2**31)
_ZERO, _ONE = np.uint64(0), np.uint64(1)


@kernel
def split(table: Table, terms: I64, units: U64, passed: U64, price: U64, charge: U64, amounts: U64, status: I64) -> int:
    """What every payee gets of every receipt: row i of `amounts`, in the order of `pricing.payees`.

    `price` and `charge` are overwritten by what is due; `status` says OK, or how a receipt differs. `amounts` must be
    as wide as the widest terms; what is beyond a receipt's payees is left alone. Returns how many are not OK.
    """
    faults, current, count, asks, valued = 0, -1, 0, 0, 0
    quotients, remainders, fixed = np.zeros(6, np.uint64), np.zeros(6, np.uint64), np.zeros(64, np.uint64)
    ratio, ratio_line = np.zeros(64, np.uint64), np.zeros(64, np.int64)
    rest_ppm, list_price, listed, sponsor, seller = _PPM, _ZERO, False, -1, 0
    meter, ask_line, ask, whole, part = table.meter, table.ask_line, table.ask, table.whole, table.part
    for i in range(len(terms)):
        if terms[i] != current:
            current = terms[i]
            first_line, count = table.line_start[current], table.line_start[current + 1] - table.line_start[current]
            first_ask, last_ask = table.ask_start[first_line], table.ask_start[first_line + count]
            asks = last_ask - first_ask
            meter, ask_line = table.meter[first_ask:last_ask], table.ask_line[first_ask:last_ask]
            ask, whole = table.ask[first_ask:last_ask], table.whole[first_ask:last_ask]
            part = table.part[first_ask:last_ask]
            valued = 0
            for k in range(count):
                if table.ratio[first_line + k] != _ZERO:
                    ratio[valued], ratio_line[valued] = table.ratio[first_line + k], k
                    valued += 1
            rest_ppm, sponsor, seller = _PPM - table.ratios[current], table.sponsor[current], table.seller[current]
            listed, list_price = table.list_price[current] >= 0, np.uint64(table.list_price[current])
        row = amounts[i]
        _scale(units[i], quotients, remainders)
        asked, sound = passed[i], passed[i] <= _MAX
        for k in range(count):
            row[k] = _ZERO
            fixed[k] = _ZERO
        for k in range(asks):
            scales, line = quotients[meter[k]], ask_line[k]
            if (scales >= _SMALL or ask[k] >= _SMALL) and scales != _ZERO and ask[k] > _MAX // scales:
                sound = False
                break
            row[line] += ask[k] * scales
            sound = sound and row[line] <= _MAX
            row[line] += whole[k] * remainders[meter[k]]
            sound = sound and row[line] <= _MAX
            fixed[line] += part[k] * remainders[meter[k]]
        for k in range(count):
            row[k] += (fixed[k] + _BILLION - _ONE) // _BILLION
            asked += row[k]
            sound = sound and row[k] <= _MAX and asked <= _MAX
        due, total = list_price, asked
        if sound and not listed:
            millions = asked // rest_ppm
            sound = millions <= _MAX_MILLIONS
            due = millions * _PPM + (asked - millions * rest_ppm) * _PPM // rest_ppm
        while sound:
            sound = due <= _MAX
            millions = due // _PPM
            rest = due - millions * _PPM
            total = asked
            for k in range(valued):
                total += ratio[k] * millions + (ratio[k] * rest + _PPM_LESS_ONE) // _PPM
            if listed or total == due:
                break
            due = total
        verdict = OK
        if not sound:
            verdict = TOO_LARGE
        elif total > due:
            verdict = INFEASIBLE
        else:
            millions = due // _PPM
            rest = due - millions * _PPM
            for k in range(valued):
                row[ratio_line[k]] += ratio[k] * millions + (ratio[k] * rest + _PPM_LESS_ONE) // _PPM
            row[seller] += due - total
            owed = due - passed[i]
            if sponsor >= 0:
                owed -= _carve(table, current, sponsor, count, row)
            verdict = WRONG_PRICE if due != price[i] else WRONG_CHARGE if owed != charge[i] else OK
            price[i], charge[i] = due, owed
        status[i] = verdict
        faults += verdict != OK
    return faults


@kernel
def _scale(units: U64, quotients: U64, remainders: U64) -> None:
    """Units of the six meters as whole scales and the rest. The divisors are constants, so nothing is divided."""
    quotients[0] = units[0]
    for meter in (1, 2, 5):
        quotients[meter] = units[meter] // _PPM
        remainders[meter] = units[meter] - quotients[meter] * _PPM
    quotients[3] = units[3] // _THOUSAND
    remainders[3] = units[3] - quotients[3] * _THOUSAND
    quotients[4] = units[4] // _BILLION
    remainders[4] = units[4] - quotients[4] * _BILLION


@kernel
def _carve(table: Table, terms: int, sponsor: int, count: int, amounts: U64) -> np.uint64:
    """Take the sponsor's line apart; returns the consumer's rebate."""
    line = amounts[sponsor]
    cap = _share(line, _CAP)
    commission = min(_share(line, table.offer[terms]), cap) if table.referred[terms] else _ZERO
    curator = _share(commission, table.keep[terms])
    promotion = min(table.promotion[terms], cap - commission) if table.shown[terms] else _ZERO
    surface = _share(promotion, _SURFACE)
    amounts[sponsor] = line - commission - promotion
    amounts[count], amounts[count + 1], amounts[count + 2] = curator, surface, promotion - surface
    return commission - curator


@kernel
def _share(whole: np.uint64, ppm: np.uint64) -> np.uint64:
    """floor(whole * ppm / 10^6) without passing 2^63."""
    millions = whole // _PPM
    return millions * ppm + (whole - millions * _PPM) * ppm // _PPM


@kernel
def add_up(table: Table, terms: I64, amounts: U64, earned: U64) -> None:
    """Add every receipt's amounts to the totals of their slots."""
    for i in range(len(terms)):
        start = table.slot_start[terms[i]]
        for k in range(table.slot_start[terms[i] + 1] - start):
            earned[table.slot[start + k]] += amounts[i, k]


@kernel
def runs_of(
    table: Table, terms: I64, amounts: U64, owner: I64, first_place: int, length: int, scratch: U64, rows: U64
) -> int:
    """What each run of `length` receipts pays each payee, as rows (run, payee index, amount). Returns how many rows.

    `owner` maps a slot to its payee's index; `first_place` begins a run. `scratch` has one zero per payee index, and is
    zero again afterwards; a payee that a run pays nothing has no row.
    """
    touched = np.zeros(length * amounts.shape[1], np.int64)
    count = 0
    for begin in range(0, len(terms), length):
        marks = 0
        for i in range(begin, min(begin + length, len(terms))):
            start = table.slot_start[terms[i]]
            for k in range(table.slot_start[terms[i] + 1] - start):
                if amounts[i, k] != _ZERO:
                    payee = owner[table.slot[start + k]]
                    if scratch[payee] == _ZERO:
                        touched[marks] = payee
                        marks += 1
                    scratch[payee] += amounts[i, k]
        for mark in range(marks):
            payee = touched[mark]
            rows[count, 0], rows[count, 1], rows[count, 2] = (first_place + begin) // length, payee, scratch[payee]
            scratch[payee] = _ZERO
            count += 1
    return count


@kernel
def run_totals(groups: I64, amounts: U64, first_place: int, length: int, touched: I64, scratch: U64, rows: U64) -> int:
    """What each run adds to each group, as rows (run, group, amount). `touched`, `scratch`: one place a group."""
    count = 0
    for begin in range(0, len(groups), length):
        marks = 0
        for i in range(begin, min(begin + length, len(groups))):
            if amounts[i] != _ZERO:
                if scratch[groups[i]] == _ZERO:
                    touched[marks] = groups[i]
                    marks += 1
                scratch[groups[i]] += amounts[i]
        for mark in range(marks):
            one = touched[mark]
            rows[count, 0], rows[count, 1], rows[count, 2] = (first_place + begin) // length, one, scratch[one]
            scratch[one] = _ZERO
            count += 1
    return count


@kernel
def accumulate(groups: I64, amounts: U64, totals: U64) -> None:
    """Add each amount to its group's total."""
    for i in range(len(groups)):
        totals[groups[i]] += amounts[i]
