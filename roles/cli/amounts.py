"""Money as people type and read it: AIC with up to nine decimals, exact, never a float."""

from __future__ import annotations

import re

from ledger.core.values.atoms import MAX_ATOMS, Atoms
from ledger.core.values.errors import Rejected
from ledger.core.values.meters import Meter, Rates

DECIMALS = 9
_TYPED = re.compile(r"(\d+)(?:\.(\d{1,9}))?\s*(AIC|aic|atoms|a)?")


def typed(text: str) -> Atoms:
    """Atoms from `12`, `12.5`, `12.5AIC` (all in AIC) or `1500atoms`. Anything else is Rejected."""
    match = _TYPED.fullmatch(text.strip().replace("_", ""))
    if match is None or (match[3] in ("atoms", "a") and match[2]):
        raise Rejected(f"{text!r} is no amount: write 12.5 (AIC, up to 9 decimals) or 1500atoms", amount=text)
    whole, part, unit = int(match[1]), (match[2] or "").ljust(DECIMALS, "0"), match[3]
    atoms = whole if unit in ("atoms", "a") else whole * 10**DECIMALS + int(part)
    if atoms > MAX_ATOMS:
        raise Rejected(f"{text!r} is above what can exist", amount=text)
    return atoms


def said(atoms: Atoms) -> str:
    """`12.5 AIC`; small amounts in atoms, so that nothing reads as zero that is not."""
    if 0 < atoms < 10 ** (DECIMALS - 4):
        return f"{atoms:,} atoms"
    whole, part = divmod(atoms, 10**DECIMALS)
    return f"{whole:,}.{part:09d}".rstrip("0").rstrip(".") + " AIC"


def asks(texts: list[str]) -> Rates:
    """Rates from `meter=atoms` words, such as `call=200 output_token=4000` (tokens and fuel per million, ms per second,
    bytes per gigabyte)."""
    values = [0] * len(Meter)
    for text in texts:
        name, equals, rate = text.partition("=")
        if name not in Meter.__members__ or not equals or not rate.isdecimal():
            known = ", ".join(Meter.__members__)
            raise Rejected(f"{text!r} is no ask: write METER=ATOMS, with a meter of {known}", ask=text)
        values[Meter[name]] = int(rate)
    a, b, c, d, e, f = values
    return a, b, c, d, e, f


def ratio(text: str) -> int:
    """Ppm from `30%`, `0.5%` or `300000ppm` (or just the number of ppm)."""
    match = re.fullmatch(r"(\d+)(?:\.(\d{1,4}))?%|(\d+)(?:ppm)?", text.strip())
    if match is None:
        raise Rejected(f"{text!r} is no ratio: write 12.5% or 125000ppm", ratio=text)
    ppm = int(match[3]) if match[3] else int(match[1]) * 10_000 + int((match[2] or "").ljust(4, "0"))
    if ppm > 1_000_000:
        raise Rejected(f"{text!r} is above 100%", ratio=text)
    return ppm


def percent(ppm: int) -> str:
    """`12.5%` from 125000 ppm."""
    return f"{ppm // 10_000}.{ppm % 10_000:04d}".rstrip("0").rstrip(".") + "%"
