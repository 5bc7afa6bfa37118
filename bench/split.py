"""Split: receipts a second, one thread, by the kernel and by the page of Python integers it is the twin of.

A million receipts over a hundred terms of seven lines (maker, OEM, compute, delivery, weaver, gateway, protocol), units
as a chat call has them, in random order of terms. The kernel prices each again, compares, and gives all amounts.
"""

from __future__ import annotations

import argparse
from random import Random

import numpy as np
import numpy.typing as npt

from bench.report import best, save, table
from ledger.core.catalog.bids import Line, Role, Terms, encode, terms_id
from ledger.core.kernels import split
from ledger.core.kernels.totals import add_by_slot
from ledger.core.pricing import price as pricing
from ledger.core.pricing.shares import add_up
from ledger.core.receipts.record import RECEIPT_DTYPE
from ledger.core.values.ids import Address, Digest
from ledger.core.values.meters import Meter, Units
from tests.rates import asks


def some_terms(number: int) -> Terms:
    """Seven lines, as a workflow's call has them."""
    party = [Address(bytes((role,)) * 19 + bytes((number % 7,))) for role in range(8)]
    lines = (
        Line(party[1], Role.maker, 120_000, asks(output_token=800_000)),
        Line(party[2], Role.oem, 100_000),
        Line(party[3], Role.compute, 0, asks(input_token=100_000_000, output_token=400_000_000 + number)),
        Line(party[4], Role.delivery, 0, asks(byte=10**9)),
        Line(party[6], Role.weaver, 50_000),
        Line(party[7], Role.gateway, 10_000),
        Line(party[0], Role.protocol, 20_000),
    )
    return Terms(Digest(number.to_bytes(32, "big")), lines)


def some_units(count: int, chance: np.random.Generator) -> npt.NDArray[np.uint64]:
    """Units of chat calls: a call, tokens in and out, bytes."""
    units = np.zeros((count, len(Meter)), np.uint64)
    units[:, Meter.call] = 1
    units[:, Meter.input_token] = chance.integers(1, 4_000, count)
    units[:, Meter.output_token] = chance.integers(1, 2_000, count)
    units[:, Meter.byte] = chance.integers(1, 10**6, count)
    return units


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--receipts", type=int, default=1_000_000)
    count = parser.parse_args().receipts
    chance = np.random.default_rng(1)
    known = [some_terms(number) for number in range(100)]
    table_, slots = split.build_table(known)
    chosen = chance.integers(0, 100, count)
    units = some_units(count, chance)
    subcalls, price, charge = (np.zeros(count, np.uint64) for _ in range(3))
    amounts, status = np.zeros((count, 7), np.uint64), np.zeros(count, np.int64)
    arguments = (table_, chosen, units, subcalls, price, charge, amounts, status)
    split.split_amounts(*arguments)  # compiles, and fills in the due prices: from now on every receipt is right
    assert split.split_amounts(*arguments) == 0
    ours = count / best(lambda: split.split_amounts(*arguments), 5)

    totals = np.zeros(len(slots), np.uint64)
    with_totals = count / best(
        lambda: (split.split_amounts(*arguments), add_by_slot(table_, chosen, amounts, totals)), 5
    )

    records = np.zeros(count, RECEIPT_DTYPE)
    names = np.frombuffer(b"".join(terms_id(encode(terms)) for terms in known), np.uint8).reshape(-1, 32)
    records["terms"], records["units"], records["price"], records["charge"] = names[chosen], units, price, charge
    records["consumer"][:, 0] = chance.integers(0, 200, count)
    bodies = {terms_id(encode(terms)): encode(terms) for terms in known}
    add_up(records[:1000], bodies)
    whole = count / best(lambda: add_up(records, bodies))

    few = Random(1).sample(range(count), min(count, 20_000))
    values = [(known[chosen[i]], Units(*units[i].tolist())) for i in few]
    assert [pricing.price(*one).amounts for one in values[:500]] == [tuple(amounts[i].tolist()) for i in few[:500]]
    python = len(values) / best(lambda: [pricing.price(*one) for one in values])
    claims = [pricing.compile_terms(terms).claims(used) for terms, used in values]
    rule = len(values) / best(lambda: [pricing.compose(one) for one in claims])

    rates = {
        "kernel: price, compare, amounts": ours,
        "kernel + totals per payee": with_totals,
        "shares.add_up from decoded records": whole,
        "Python integers, the rule alone": rule,
        "Python integers, pricing.price": python,
    }
    table(f"split, {count:,} receipts of 7 lines, one thread", "receipts/s", rates, "kernel: price, compare, amounts")
    facts = {
        "split_receipts_per_s": round(ours),
        "split_with_totals_per_s": round(with_totals),
        "split_from_records_per_s": round(whole),
        "split_python_per_s": round(python),
        "split_ratio_to_python": round(ours / python, 1),
    }
    save("split", facts)


if __name__ == "__main__":
    main()
