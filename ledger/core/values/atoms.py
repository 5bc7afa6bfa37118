"""Money in whole atoms, ratios in whole ppm; every sum of atoms fits a signed 64-bit integer."""

import re
from dataclasses import dataclass
from typing import TypeAlias

from ledger.core.values.errors import Rejected

Atoms: TypeAlias = int
Ppm: TypeAlias = int

MAX_ATOMS = 2**63 - 1
PPM = 1_000_000
MAX_DECIMALS = 9
"""Of a token that can settle: 64 bits then count enough of it."""


@dataclass(frozen=True, slots=True)
class Currency:
    """A settlement token as people read it: its symbol and its decimal places, the last of which is an atom."""

    symbol: str
    decimals: int

    @property
    def one(self) -> Atoms:
        """The atoms of one whole."""
        return int(10**self.decimals)

    def decimal(self, amount: Atoms) -> str:
        """`-12.500000000` of an amount, with all its places."""
        whole, part = divmod(abs(amount), self.one)
        return f"{'-' * (amount < 0)}{whole}" + (f".{part:0{self.decimals}d}" if self.decimals else "")


AIC = Currency("AIC", 9)
"""The token of a chain that chose no other, and what a private grid counts in."""

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


def atoms(value: object, what: str = "amount") -> Atoms:
    """`value`, if it is a whole number of atoms from 0 to 2^63-1. Rejected otherwise: floats, bools, strings."""
    if type(value) is not int or not 0 <= value <= MAX_ATOMS:
        raise Rejected(f"{what} must be a whole number of atoms from 0 to 2^63-1, not {value!r}", field=what)
    return value


def parse(text: object, what: str = "amount") -> Atoms:
    """Parse atoms from JSON: a decimal string without sign, point or leading zero."""
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text):
        raise Rejected(f'{what} must be a decimal string of atoms such as "1500", not {text!r}', field=what)
    return atoms(int(text), what)


def ppm(value: object, what: str = "ratio_ppm") -> Ppm:
    """`value`, if it is a whole number of parts per million, 0 to 1,000,000."""
    if type(value) is not int or not 0 <= value <= PPM:
        raise Rejected(f"{what} must be a whole number of ppm from 0 to 1000000, not {value!r}", field=what)
    return value


def format_ratio(ratio_ppm: Ppm) -> str:
    """`12.5%` from 125000 ppm."""
    return f"{ratio_ppm // 10_000}.{ratio_ppm % 10_000:04d}".rstrip("0").rstrip(".") + "%"


def ceil_div(numerator: int, denominator: int) -> int:
    """ceil(numerator / denominator)."""
    return -(-numerator // denominator)
