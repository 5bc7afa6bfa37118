"""Terms made ready for the hot path: the same price as `core.pricing`, without looking at lines that ask nothing.

A property test holds the two equal. Listed and carved terms, which are rare, are left to the plain page.
"""

from __future__ import annotations

from dataclasses import dataclass

from ledger.core.catalog.bids import MAX_RATIOS_PPM, Terms, encode, terms_id
from ledger.core.pricing import price as pricing
from ledger.core.values.atoms import MAX_ATOMS, PPM
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import Digest
from ledger.core.values.meters import SCALES, Units

_COMMON = max(SCALES)


@dataclass(frozen=True, slots=True)
class Tariff:
    """Terms, their id and bytes, and their prices."""

    terms: Terms
    id: Digest
    body: bytes
    ratios: tuple[int, ...]
    asks: tuple[tuple[tuple[int, int], ...], ...]
    plain: bool
    metered: frozenset[int]
    """The meters any line asks for."""

    def price(self, units: Units, passed: int = 0) -> tuple[int, int]:
        """Price and charge of these units. Rejected above 2^63-1 atoms."""
        if not self.plain:
            charge = pricing.price(self.terms, units, passed)
            return charge.price, charge.charge
        asked = passed
        for line in self.asks:
            weighed = 0
            for meter, weight in line:
                weighed += weight * units[meter]
            asked -= -weighed // _COMMON
        price = asked
        if self.ratios:
            price = asked * PPM // (PPM - sum(self.ratios))
            while True:
                total = asked
                for ratio in self.ratios:
                    total -= -ratio * price // PPM
                if total == price:
                    break
                price = total
        if price > MAX_ATOMS:
            raise Rejected(f"a price of {price} atoms is above 2^63-1", price=str(price))
        return price, price - passed


def tariff(terms: Terms) -> Tariff:
    """Make terms ready."""
    body = encode(terms)
    asks = tuple(
        tuple((meter, ask * (_COMMON // SCALES[meter])) for meter, ask in enumerate(line.asks) if ask)
        for line in terms.lines
    )
    ratios = tuple(line.ratio_ppm for line in terms.lines if line.ratio_ppm)
    assert sum(ratios) <= MAX_RATIOS_PPM, "terms check their ratios"
    return Tariff(
        terms,
        terms_id(body),
        body,
        ratios,
        tuple(line for line in asks if line),
        terms.list_price is None and terms.deduction is None,
        frozenset(meter for line in asks for meter, _ in line),
    )
