"""What the listed cost: one scale of each meter by itself, and a typical call, by the terms of those who serve now."""

from collections.abc import Mapping

from gateway.catalog.catalog import CapsuleEntry, Entry
from ledger.core.pricing import eligibility
from ledger.core.pricing.price import Tariff
from ledger.core.pricing.terms import TYPICAL_CALL
from ledger.core.values.atoms import Atoms
from ledger.core.values.ids import Digest
from ledger.core.values.meters import Meter, by_meter

Prices = Mapping[Meter, Atoms]
"""The price of one scale of each meter by itself, in atoms: a million tokens, a second, a gigabyte."""
MOST_PRICED = 10_000
_priced: dict[Digest, tuple[Atoms, Prices]] = {}
"""The prices of terms by their id, and of a typical call: they never change."""


def of_entry(entry: Entry) -> Prices | None:
    """The prices of the provider that can be called now with the least price of a typical call; None for a workflow
    that has no price of its own, and where nobody serves.
    """
    if isinstance(entry, CapsuleEntry):
        listed = entry.capsule.list_price
        return None if listed is None or entry.tariff is None else {Meter.call: listed}
    offered = [_prices(one.tariff) for one in eligibility.alive(entry.candidates)]
    return min(offered, key=lambda one: one[0])[1] if offered else None


def typical_price(entry: Entry) -> Atoms | None:
    """The least price of a typical call, of the providers that can be called now; of a workflow its list price."""
    if isinstance(entry, CapsuleEntry):
        return entry.capsule.list_price if entry.tariff is not None else None
    return min((typical_price_of(one.tariff) for one in eligibility.alive(entry.candidates)), default=None)


def typical_price_of(tariff: Tariff) -> Atoms:
    """The price of a typical call by a provider's terms."""
    return _prices(tariff)[0]


def of_terms(tariff: Tariff) -> Prices:
    """The prices of a provider's terms."""
    return _prices(tariff)[1]


def _prices(tariff: Tariff) -> tuple[Atoms, Prices]:
    """The price of a typical call by these terms, and their prices."""
    known = _priced.get(tariff.id)
    if known is None:
        if len(_priced) >= MOST_PRICED:
            _priced.clear()
        said = {meter: tariff.price(by_meter({meter: meter.scale}))[0] for meter in Meter}
        known = _priced[tariff.id] = tariff.price(TYPICAL_CALL)[0], said
    return known
