"""The priced-ratio rule: how bids become a price, and a price becomes shares.

    F_i      = ceil(sum over meters of ask * units / scale)     summed exactly, rounded up once per line
    pay_i(P) = ceil(ratio_i * P / 10^6) + F_i
    P*       = least natural P with sum_i pay_i(P) <= P

The sum of pay_i(P*) is P* exactly, so there is no dust and no rule for a remainder. `kernels.split` says the same for
millions of receipts; a property test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ledger.core.catalog.bids import MAX_RATIOS_PPM, Line, Role, Terms
from ledger.core.pricing.commissions import deduct
from ledger.core.receipts.receipt import Receipt
from ledger.core.values.atoms import MAX_ATOMS, PPM, Atoms, Ppm, ceil_div
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address
from ledger.core.values.meters import SCALES, Rates, Units

_COMMON = max(SCALES)
_WEIGHTS = tuple(_COMMON // scale for scale in SCALES)


class Claim(NamedTuple):
    """A line as the rule sees it: a ratio of the price, and atoms for this call."""

    ratio_ppm: Ppm
    fixed: Atoms


class Quote(NamedTuple):
    """A price, and one amount per claim in the order given. They sum to the price."""

    price: Atoms
    amounts: tuple[Atoms, ...]


@dataclass(frozen=True, slots=True)
class Charge:
    """A priced call. `amounts` pair with `payees(terms)` and sum to `charge`, what the consumer pays for this receipt.

    `price` includes the sub-calls' prices (`passed`), which have receipts of their own; `rebate` is the part of a
    curator's commission that the consumer does not pay.
    """

    price: Atoms
    charge: Atoms
    rebate: Atoms
    amounts: tuple[Atoms, ...]


def fixed(asks: Rates, units: Units) -> Atoms:
    """F: what these rates make of these units, exact, rounded up once. Rejected above 2^63-1."""
    atoms = ceil_div(sum(a * u * w for a, u, w in zip(asks, units, _WEIGHTS, strict=True)), _COMMON)
    if atoms > MAX_ATOMS:
        raise Rejected(f"a line's fixed part of {atoms} atoms is above 2^63-1", fixed=atoms)
    return atoms


def pay(claim: Claim, price: Atoms) -> Atoms:
    """What a claim gets of a price. Rounds up."""
    return ceil_div(claim.ratio_ppm * price, PPM) + claim.fixed


def compose(claims: Sequence[Claim]) -> Quote:
    """The least price at which every claim gets what it bid, and what each gets.

    Raises Rejected if the ratios sum above 900,000 ppm or the price would pass 2^63-1.
    Source: least fixed point of a monotone map (Knaster-Tarski), iterated from below; MECHANISM, priced-ratio rule.
    """
    asked, ratios = sum(claim.fixed for claim in claims), _ratios(claims)
    price = asked * PPM // (PPM - ratios)  # the real-valued solution, floored: never above the least fixed point
    while True:
        amounts = tuple(pay(claim, price) for claim in claims)
        total = sum(amounts)
        if total > MAX_ATOMS:
            raise Rejected(f"a price of {total} atoms or more is above 2^63-1", price=total)
        if total == price:
            return Quote(price, amounts)
        assert total > price, "the start was above the least fixed point"
        price = total


def list_at(claims: Sequence[Claim], price: Atoms, seller: int) -> Quote:
    """A price posted by the seller of record: the others get their pay of it, the seller the rest.

    Raises Rejected if the rest is under the seller's own pay.
    """
    _ratios(claims)
    amounts = [pay(claim, price) for claim in claims]
    rest = price - (sum(amounts) - amounts[seller])
    if rest < amounts[seller]:
        raise Rejected(
            f"list price too low: residual {rest} < reserve {amounts[seller]}",
            list_price=price,
            residual=rest,
            reserve=amounts[seller],
        )
    amounts[seller] = rest
    return Quote(price, tuple(amounts))


def price(terms: Terms, units: Units, passed: Atoms = 0) -> Charge:
    """Price one call: these terms, these units, and `passed` atoms of sub-calls as one more line of ratio 0."""
    claims = [*(Claim(line.ratio_ppm, fixed(line.asks, units)) for line in terms.lines), Claim(0, passed)]
    quote = compose(claims) if terms.list_price is None else list_at(claims, terms.list_price, terms.seller)
    amounts = list(quote.amounts[:-1])
    rebate = 0
    if terms.deduction is not None:
        part = deduct(amounts[terms.deduction.sponsor], terms.deduction)
        amounts[terms.deduction.sponsor] = part.kept
        amounts += [part.curator, part.surface, part.treasury]
        rebate = part.rebate
    charge = quote.price - passed - rebate
    assert sum(amounts) == charge, "amounts must sum to the charge"
    return Charge(quote.price, charge, rebate, tuple(amounts))


def of_receipt(receipt: Receipt, terms: Terms) -> tuple[Atoms, ...]:
    """What each payee of the terms gets of one receipt; Rejected if the receipt does not cost what they say."""
    due = price(terms, receipt.units, receipt.passed)
    if (due.price, due.charge) != (receipt.price, receipt.charge):
        raise Rejected(
            f"receipt {receipt.seq} says price {receipt.price}, charge {receipt.charge}; "
            f"its terms give {due.price} and {due.charge}",
            seq=receipt.seq,
            gateway=receipt.gateway.hex(),
        )
    return due.amounts


def payees(terms: Terms) -> tuple[tuple[Address, Role], ...]:
    """Who gets each amount of a Charge, and why: the lines, then the carve's curator, surface and treasury."""
    lines = tuple((line.party, line.role) for line in terms.lines)
    deduction = terms.deduction
    if deduction is None:
        return lines
    return (
        *lines,
        (deduction.curator, Role.curator),
        (deduction.surface, Role.curator),
        (deduction.treasury, Role.protocol),
    )


def explain(line: Line, units: Units) -> Claim:
    """The claim a line makes on these units, for statements and quotes."""
    return Claim(line.ratio_ppm, fixed(line.asks, units))


def _ratios(claims: Sequence[Claim]) -> Ppm:
    ratios = sum(claim.ratio_ppm for claim in claims)
    if ratios > MAX_RATIOS_PPM:
        raise Rejected(f"ratio sum above cap: {ratios} > {MAX_RATIOS_PPM} ppm", ratios_ppm=ratios)
    return ratios
