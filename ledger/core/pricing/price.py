"""The priced-ratio rule: how bids become a price, and a price becomes shares.

    F_i      = ceil(sum over meters of ask * units / scale)     summed exactly, rounded up once per line; units of a
                                                                finer meter without an ask pay the coarser one's
    pay_i(P) = ceil(ratio_i * P / 10^6) + F_i
    P*       = least natural P with sum_i pay_i(P) <= P

The sum of pay_i(P*) is P* exactly, so there is no dust and no rule for a remainder. `kernels.split` says the same for
millions of receipts; a property test holds the two equal. Terms are compiled once (`compile_terms`), so that pricing a
call does not look at meters that a line does not ask for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from ledger.core.catalog.bids import MAX_RATIOS_PPM, Role, Terms, encode, terms_id
from ledger.core.pricing.commissions import deduct
from ledger.core.receipts.receipt import Receipt
from ledger.core.values.atoms import MAX_ATOMS, PPM, Atoms, Ppm, ceil_div
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import Digest
from ledger.core.values.ids import Address
from ledger.core.values.meters import Meter, Rates, Units, asks_by_unit, coarse

_COMMON = max(meter.scale for meter in Meter)

Weights: TypeAlias = tuple[tuple[int, int], ...]
"""The meters whose units a line charges for, each with what they pay at the common scale of 10^9 units."""


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

    `price` includes the prices of the sub-calls, which have receipts of their own; `rebate` is the part of a curator's
    commission that the consumer does not pay.
    """

    price: Atoms
    charge: Atoms
    rebate: Atoms
    amounts: tuple[Atoms, ...]


@dataclass(frozen=True, slots=True)
class Tariff:
    """Terms compiled for pricing, with their id and bytes.

    `asks` are in the order of the lines; `nonzero_asks` and `ratios` leave out lines without asks, or without a ratio.
    `dearest` has each line's asks if every unit ends in the finer meter that pays most. `metered` are the meters that
    any line asks for.
    """

    terms: Terms
    id: Digest
    body: bytes
    asks: tuple[Weights, ...]
    nonzero_asks: tuple[Weights, ...]
    dearest: tuple[Weights, ...]
    ratios: tuple[Ppm, ...]
    metered: frozenset[int]
    composed: bool

    def price(self, units: Units, subcall_total: Atoms = 0) -> tuple[Atoms, Atoms]:
        """Price and charge of these units, without the amounts of the lines. Rejected above 2^63-1 atoms."""
        if not self.composed:
            due = self.charge(units, subcall_total)
            return due.price, due.charge
        price = least_price(self.ratios, sum(fixed_parts(self.nonzero_asks, units)) + subcall_total)
        return price, price - subcall_total

    def hold(self, most: Units, subcall_total: Atoms = 0) -> Atoms:
        """The price if each of these units ends, for each line, in the dearest meter it may be counted in.

        At least the price of any use within `most`, whichever finer meters its units turn out to be in.
        """
        fixed = fixed_parts(self.dearest, coarse(most))
        if self.composed:
            return least_price(self.ratios, sum(fixed) + subcall_total)
        return self._quote(fixed, subcall_total).price

    def claims(self, units: Units) -> list[Claim]:
        """Each line's claim on a call with these units, in the order of the lines."""
        return self._claims(fixed_parts(self.asks, units))

    def charge(self, units: Units, subcall_total: Atoms = 0) -> Charge:
        """The charge of these units, with what each payee gets. The sub-calls are one more claim of ratio 0."""
        terms = self.terms
        quote = self._quote(fixed_parts(self.asks, units), subcall_total)
        amounts = list(quote.amounts[:-1])
        rebate = 0
        if terms.deduction is not None:
            part = deduct(amounts[terms.deduction.sponsor], terms.deduction)
            amounts[terms.deduction.sponsor] = part.kept
            amounts += [part.curator, part.surface, part.treasury]
            rebate = part.rebate
        charge = quote.price - subcall_total - rebate
        assert sum(amounts) == charge, "amounts must sum to the charge"
        return Charge(quote.price, charge, rebate, tuple(amounts))

    def _quote(self, fixed: Sequence[Atoms], subcall_total: Atoms) -> Quote:
        claims, terms = [*self._claims(fixed), Claim(0, subcall_total)], self.terms
        return compose(claims) if terms.list_price is None else list_at(claims, terms.list_price, terms.seller)

    def _claims(self, fixed: Sequence[Atoms]) -> list[Claim]:
        return list(map(Claim, (line.ratio_ppm for line in self.terms.lines), fixed))


@lru_cache(4096)
def compile_terms(terms: Terms) -> Tariff:
    """Compile terms. The last 4,096 are kept: an auditor prices millions of receipts on a few terms."""
    body = encode(terms)
    asks = tuple(_weigh(asks_by_unit(line.asks)) for line in terms.lines)
    return Tariff(
        terms=terms,
        id=terms_id(body),
        body=body,
        asks=asks,
        nonzero_asks=tuple(line for line in asks if line),
        dearest=tuple(_weigh(_dearest(line.asks)) for line in terms.lines),
        ratios=tuple(line.ratio_ppm for line in terms.lines if line.ratio_ppm),
        metered=frozenset(meter for line in terms.lines for meter, ask in line.asks if ask),
        composed=terms.list_price is None and terms.deduction is None,
    )


def price(terms: Terms, units: Units, subcall_total: Atoms = 0) -> Charge:
    """Price one call: these terms, these units, and what its sub-calls cost."""
    return compile_terms(terms).charge(units, subcall_total)


def fixed(asks: Rates, units: Units) -> Atoms:
    """F: what these rates make of these units, exact, rounded up once."""
    return fixed_parts((_weigh(asks_by_unit(asks)),), units)[0]


def fixed_parts(lines: Sequence[Weights], units: Units) -> list[Atoms]:
    """F of each line."""
    parts = []
    for line in lines:
        weighed = 0
        for meter, weight in line:
            weighed += weight * units[meter]
        parts.append(-(-weighed // _COMMON))
    return parts


def least_price(ratios: Sequence[Ppm], asked: Atoms) -> Atoms:
    """P*: the least price that covers `asked` and every ratio of itself, each rounded up. Rejected above 2^63-1.

    The ratios sum to less than 10^6. Source: least fixed point of a monotone map (Knaster-Tarski), iterated from below;
    MECHANISM, priced-ratio rule.
    """
    price = asked * PPM // (PPM - sum(ratios))  # the real-valued solution, floored: never above the least fixed point
    while True:
        total = asked
        for ratio in ratios:
            total -= -ratio * price // PPM
        if total == price:
            break
        assert total > price, "the start was above the least fixed point"
        price = total
    if price > MAX_ATOMS:
        raise Rejected(f"a price of {price} atoms is above 2^63-1", price=str(price))
    return price


def pay(claim: Claim, price: Atoms) -> Atoms:
    """A claim's amount at a price. Rounds up."""
    return ceil_div(claim.ratio_ppm * price, PPM) + claim.fixed


def compose(claims: Sequence[Claim]) -> Quote:
    """The least price at which every claim gets what it bid, and what each gets.

    Raises Rejected if the ratios sum above 900,000 ppm or the price would pass 2^63-1.
    """
    price = least_price(_ratios(claims), sum(claim.fixed for claim in claims))
    return Quote(price, tuple(pay(claim, price) for claim in claims))


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


def of_receipt(receipt: Receipt, terms: Terms) -> tuple[Atoms, ...]:
    """Each payee's amount of one receipt; Rejected if the receipt does not cost what its terms say."""
    due = price(terms, receipt.units, receipt.subcall_total)
    if (due.price, due.charge) != (receipt.price, receipt.charge):
        raise Rejected(
            f"receipt {receipt.seq} says price {receipt.price}, charge {receipt.charge}; "
            f"its terms give {due.price} and {due.charge}",
            seq=receipt.seq,
            gateway=receipt.gateway.hex(),
        )
    return due.amounts


def payees(terms: Terms) -> tuple[tuple[Address, Role], ...]:
    """The payee and role of each amount of a Charge: the lines, then curator, surface and treasury."""
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


def _weigh(asks: Sequence[int | None]) -> Weights:
    return tuple((meter, ask * (_COMMON // meter.scale)) for meter, ask in zip(Meter, asks, strict=True) if ask)


def _dearest(asks: Rates) -> list[int | None]:
    """For each coarse meter the most that a unit pays in it or in a finer one; None for the finer ones."""
    dearest: list[int | None] = [None] * len(Meter)
    for meter, ask in zip(Meter, asks_by_unit(asks), strict=True):
        if ask is not None:
            dearest[meter.coarse] = max(ask, dearest[meter.coarse] or 0)
    return dearest


def _ratios(claims: Sequence[Claim]) -> list[Ppm]:
    ratios = [claim.ratio_ppm for claim in claims if claim.ratio_ppm]
    if sum(ratios) > MAX_RATIOS_PPM:
        raise Rejected(f"ratio sum above cap: {sum(ratios)} > {MAX_RATIOS_PPM} ppm", ratios_ppm=sum(ratios))
    return ratios
