"""Meters: the units that a call's use is counted in, how many an ask buys, and where a line without an ask counts them.

A unit is counted in one meter only: a cached token is not also an input token. CONTRIBUTING says how to add a meter.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping
from enum import IntEnum
from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, ClassVar, Self, TypeAlias

from ledger.core.values.atoms import MAX_ATOMS, parse
from ledger.core.values.errors import Rejected

MAX_UNITS = 2**40 - 1
"""The most units a receipt may count in one meter."""


class Meter(IntEnum):
    """The meters, in the order of units, records and terms, and on chain.

    A row is the meter's number, the units that one ask buys (its scale), and, for a finer meter, the number of the
    coarser one. A line without an ask for the finer meter counts its units in the coarser one.
    """

    scale: int
    coarse: int
    """The coarser meter's number; the meter's own if there is none."""

    def __new__(cls, number: int, scale: int, coarse: int | None = None) -> Self:
        """A row of the table."""
        meter = int.__new__(cls, number)
        meter._value_ = number
        meter.scale, meter.coarse = scale, number if coarse is None else coarse
        return meter

    call = 0, 1
    input_token = 1, 10**6
    cached_input_token = 2, 10**6, 1
    cache_write_token = 3, 10**6, 1
    output_token = 4, 10**6
    reasoning_token = 5, 10**6, 4
    input_audio_token = 6, 10**6, 1
    output_audio_token = 7, 10**6, 4
    input_image = 8, 1
    output_image = 9, 1
    search = 10, 1
    input_character = 11, 10**6
    ms = 12, 10**3
    byte = 13, 10**9
    fuel = 14, 10**6


METERS = tuple(Meter)
"""The meters by number."""
FINER = tuple((meter, METERS[meter.coarse]) for meter in METERS if meter.coarse != meter)
"""The finer meters, each with its coarser one."""
in_finer_meters: Callable[["Units"], tuple[int, ...]] = itemgetter(*(finer for finer, _ in FINER))
"""The counts in finer meters. Mostly there are none: who asks that first does not walk through the meters."""

Rates: TypeAlias = tuple[tuple[int, int], ...]
"""Asks as (meter, atoms per scale), meters ascending. An ask of 0 is an ask: its units are free."""

NO_RATES: Rates = ()

if TYPE_CHECKING:

    class Units(tuple[int, ...]):
        """Measured use: one count a meter, in meter order."""

        _fields: ClassVar[tuple[str, ...]]

        def __new__(cls, *counts: int, **named: int) -> Self: ...
        def __getattr__(self, meter: str) -> int: ...
        def _replace(self, **named: int) -> Self: ...
        def _asdict(self) -> dict[str, int]: ...

else:  # made from the table, which a type checker cannot follow
    Units = namedtuple("Units", Meter.__members__, defaults=[0] * len(Meter))


def units(measured: Mapping[str, object]) -> Units:
    """Units from a mapping of meter names to whole numbers. Unknown meters and other numbers are Rejected."""
    for name, count in measured.items():
        _meter(name)
        if type(count) is not int or not 0 <= count <= MAX_UNITS:
            raise Rejected(f"{name} must be a whole number of units up to 2^40-1, not {count!r}", field=name)
    return Units(**measured)  # type: ignore[arg-type]


def by_meter(counts: Mapping[Meter, int]) -> Units:
    """Units from counts of some meters; the others are 0."""
    return Units(*[counts.get(meter, 0) for meter in METERS])


def used(measured: Units) -> dict[str, int]:
    """The counts above 0, by meter name. The inverse of `units`."""
    return {meter.name: measured[meter] for meter in Meter if measured[meter]}


def counted(measured: Units) -> list[tuple[int, int]]:
    """The counts above 0 as (meter, count): as they are signed and stored. Rejected above 2^40-1."""
    if min(measured) < 0 or max(measured) > MAX_UNITS:
        raise Rejected("units are whole numbers up to 2^40-1", units=list(measured))
    return [(meter, count) for meter, count in enumerate(measured) if count]


def coarse(measured: Units) -> Units:
    """The same units without finer meters: each counted in its coarser meter."""
    if not any(in_finer_meters(measured)):
        return measured
    counts = list(measured)
    for finer, coarser in FINER:
        counts[coarser] += counts[finer]
        counts[finer] = 0
    return Units(*counts)


def rates(quoted: Mapping[str, object]) -> Rates:
    """Rates from JSON: meter names to decimal strings of atoms. An absent meter has no ask."""
    return tuple(sorted((_meter(name), parse(ask, name)) for name, ask in quoted.items()))


def quoted(asks: Rates) -> dict[str, str]:
    """Rates as JSON, the inverse of `rates`."""
    return {METERS[meter].name: str(ask) for meter, ask in asks}


def asks_by_unit(asks: Rates) -> list[int | None]:
    """For each meter the ask that its units pay: its own, else its coarser meter's. None: not counted."""
    own = dict(asks)
    return [own.get(meter, own.get(meter.coarse)) for meter in Meter]


def distinct(prices: Mapping[Meter, int]) -> dict[Meter, int]:
    """The prices that are worth telling: of something, and not the same as the coarser meter's."""
    return {
        meter: price
        for meter, price in prices.items()
        if price and (meter.coarse == meter or prices.get(METERS[meter.coarse]) != price)
    }


def check_rates(asks: Rates) -> None:
    """Rejected unless `asks` are (meter, atoms) pairs, meters ascending."""
    try:
        known = all(meter in Meter.__members__.values() and type(ask) is int for meter, ask in asks)
        sound = known and all(0 <= ask <= MAX_ATOMS for _, ask in asks)
    except (TypeError, ValueError):
        sound = False
    if not sound or any(one >= other for (one, _), (other, _) in pairwise(asks)):
        raise Rejected(f"asks are (meter, atoms) pairs, meters ascending, not {asks!r}", field="ask")


def _meter(name: str) -> Meter:
    if name not in Meter.__members__:
        raise Rejected(f"unknown meter {name!r}; the meters are {', '.join(Meter.__members__)}", field=name)
    return Meter[name]
