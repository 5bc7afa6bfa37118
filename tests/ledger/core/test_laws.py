"""M1 to M12 hold, and each has been seen to fail: the same law, run on a page that is broken on purpose."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from ledger.core.catalog import lineage
from ledger.core.catalog.bids import Deduction
from ledger.core.pricing import commissions, routing
from ledger.core.pricing import price as pricing
from ledger.core.pricing.price import Claim, Quote
from ledger.core.values import documents
from ledger.core.values.atoms import PPM
from tests.ledger.core.laws import LAWS

_compose, _deduct, _pay, _weights, _price = (
    pricing.compose,
    commissions.deduct,
    pricing.pay,
    routing.weights,
    pricing.price,
)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_law_holds(law: Callable[[], None]) -> None:
    law()


def _loses_an_atom(line: int, deduction: Deduction, surface_ppm: int = 700_000) -> commissions.DeductedLine:
    part = _deduct(line, deduction, surface_ppm)
    return replace(part, kept=max(0, part.kept - 1))


def _first_gets_the_rest(claims: Sequence[Claim]) -> Quote:
    quote = _compose(claims)
    rest = quote.price - sum(claim.fixed for claim in claims)
    return Quote(quote.price, (claims[0].fixed + rest, *(claim.fixed for claim in claims[1:])))


def _normalised(claims: Sequence[Claim]) -> Quote:
    """The rejected rule: a fixed price, shared by ratio."""
    price, ratios = 1_000, sum(claim.ratio_ppm for claim in claims) or 1
    return Quote(price, tuple(price * claim.ratio_ppm // ratios for claim in claims))


def _one_above(claims: Sequence[Claim]) -> Quote:
    quote = _compose(claims)
    return Quote(quote.price + 1, quote.amounts)


def _greater_of_share_and_floor(claims: Sequence[Claim]) -> Quote:
    """The rejected rule max(share, floor), under which posing as two pays."""
    price = 0
    while (total := sum(max(-(-c.ratio_ppm * price // PPM), c.fixed) for c in claims)) > price:
        price = total
    return Quote(price, tuple(max(-(-c.ratio_ppm * price // PPM), c.fixed) for c in claims))


def _squared_capacity(candidates: Sequence[routing.Candidate], tau_ppm: int = 350_000) -> list[int]:
    return [w * max(1, c.capacity) for w, c in zip(_weights(candidates, tau_ppm), candidates, strict=True)]


def _rebates_everything(terms: Any, units: Any, passed: int = 0) -> pricing.Charge:
    charge = _price(terms, units, passed)
    return replace(charge, rebate=charge.price)


def _uncapped(line: int, deduction: Deduction, surface_ppm: int = 700_000) -> commissions.DeductedLine:
    return (
        commissions.DeductedLine(0, line, 0, 0, 0)
        if deduction.offer_ppm > 950_000
        else _deduct(line, deduction, surface_ppm)
    )


def _diluted(model: Any, parents: Any) -> dict[Any, lineage.Royalty]:
    found: dict[Any, lineage.Royalty] = {}
    share, at = PPM, model
    while parents[at]:
        parent = parents[at][0]
        share = share * 9 // 10
        found[parent.model] = replace(parent.royalty, ratio_ppm=parent.royalty.ratio_ppm * share // PPM)
        at = parent.model
    return found


def _cheaper_in_bulk(lines: Any, units: Any) -> list[int]:
    return [1_000_000 // (1 + sum(units))] * len(lines)


BROKEN: list[tuple[int, Any, str, Any]] = [
    (1, pricing, "deduct", _loses_an_atom),
    (2, pricing, "compose", _first_gets_the_rest),
    (3, pricing, "compose", _normalised),
    (4, pricing, "compose", _normalised),
    (5, pricing, "compose", _one_above),
    (6, pricing, "compose", _greater_of_share_and_floor),
    (7, routing, "weights", _squared_capacity),
    (8, pricing, "price", _rebates_everything),
    (9, commissions, "deduct", _uncapped),
    (10, lineage, "ancestors", _diluted),
    (11, pricing, "fixed_parts", _cheaper_in_bulk),
    (12, documents, "validate", lambda document, kind=None: "model"),
    (12, documents, "canonical", lambda document: b""),
]


def _named(value: Any) -> str:
    """The same words in every process: no address of a function."""
    return str(value) if isinstance(value, int | str) else str(getattr(value, "__name__", value)).rsplit(".", 1)[-1]


@pytest.mark.parametrize(("number", "page", "name", "broken"), BROKEN, ids=_named)
def test_the_law_fails_on_a_broken_page(number: int, page: Any, name: str, broken: Any) -> None:
    with patch.object(page, name, broken), pytest.raises((AssertionError, ExceptionGroup, pytest.fail.Exception)):
        LAWS[number - 1]()
