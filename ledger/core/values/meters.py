"""The six meters of a call's use, in a fixed order, and the scale of each one's rates."""

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple, TypeAlias

from ledger.core.values.atoms import MAX_ATOMS, atoms, parse
from ledger.core.values.errors import Rejected


class Meter(IntEnum):
    """The order of the meters everywhere: in tuples, records and terms, and on chain."""

    call = 0
    input_token = 1
    output_token = 2
    ms = 3
    byte = 4
    fuel = 5


SCALES = (1, 10**6, 10**6, 10**3, 10**9, 10**6)
"""Units that one rate buys: a million tokens or fuel, 1000 ms, a gigabyte, one call."""

Rates: TypeAlias = tuple[int, int, int, int, int, int]
"""Atoms per scale of each meter, in meter order."""

NO_RATES: Rates = (0, 0, 0, 0, 0, 0)


class Units(NamedTuple):
    """Measured use, in meter order."""

    call: int = 0
    input_token: int = 0
    output_token: int = 0
    ms: int = 0
    byte: int = 0
    fuel: int = 0


def units(measured: Mapping[str, object]) -> Units:
    """Units from a mapping of meter names to whole numbers. Unknown meters and floats are Rejected."""
    _check_names(measured)
    return Units(*(atoms(measured.get(meter.name, 0), meter.name) for meter in Meter))


def rates(quoted: Mapping[str, object]) -> Rates:
    """Rates from JSON: meter names to decimal strings of atoms. Absent meters are 0."""
    _check_names(quoted)
    a, b, c, d, e, f = (parse(quoted.get(meter.name, "0"), meter.name) for meter in Meter)
    return a, b, c, d, e, f


def quoted(asks: Rates) -> dict[str, str]:
    """Rates as JSON, the inverse of `rates`. Zero rates are left out."""
    return {meter.name: str(asks[meter]) for meter in Meter if asks[meter]}


def check_rates(asks: Rates) -> None:
    """Rejected unless `asks` are six whole numbers of atoms."""
    if len(asks) != len(Meter) or not all(type(ask) is int and 0 <= ask <= MAX_ATOMS for ask in asks):
        raise Rejected(f"asks must be six whole numbers of atoms in meter order, not {asks!r}", field="ask")


def _check_names(mapping: Mapping[str, object]) -> None:
    for name in mapping:
        if name not in Meter.__members__:
            raise Rejected(f"unknown meter {name!r}; the meters are {', '.join(Meter.__members__)}", field=name)
