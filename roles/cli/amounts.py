"""Amounts and ratios on the command line: AIC with up to nine decimals, atoms, percent, ppm. Never a float."""

import re
from typing import Annotated

from typer import Argument

from ledger.core.values import meters
from ledger.core.values.atoms import DECIMALS, MAX_ATOMS, Atoms
from ledger.core.values.atoms import format_ratio as format_ratio
from ledger.core.values.errors import Rejected
from ledger.core.values.meters import Meter, Rates, rates

Amount = Annotated[str, Argument(help="12.5 (AIC) or 1500atoms.")]

METERS = ", ".join(Meter.__members__)
SCALES = {Meter.ms: "second", Meter.byte: "GB", Meter.fuel: "million fuel"}
MAX_DIGITS = 19
_AMOUNT = re.compile(r"([0-9]+)(?:\.([0-9]{1,9}))?\s*(AIC|aic|atoms|a)?")
_RATIO = re.compile(r"([0-9]+)(?:\.([0-9]{1,4}))?%|([0-9]+)(?:ppm)?")


def parse(text: str) -> Atoms:
    """Atoms from `12`, `12.5`, `12.5AIC` (all in AIC) or `1500atoms`. Anything else is Rejected."""
    match = _AMOUNT.fullmatch(text.strip().replace("_", ""))
    if match is None or (match[3] in ("atoms", "a") and match[2]):
        raise Rejected(f"{text!r} is not an amount: write 12.5 (AIC, up to 9 decimals) or 1500atoms", amount=text)
    if len(match[1]) > MAX_DIGITS:
        raise Rejected(f"{text[:40]!r} is more than the largest possible amount, {MAX_ATOMS} atoms", amount=text)
    whole, part, unit = int(match[1]), (match[2] or "").ljust(DECIMALS, "0"), match[3]
    atoms = whole if unit in ("atoms", "a") else whole * 10**DECIMALS + int(part)
    if atoms > MAX_ATOMS:
        raise Rejected(f"{text!r} is more than the largest possible amount, {MAX_ATOMS} atoms", amount=text)
    return atoms


def parse_some(text: str) -> Atoms:
    """Atoms of an amount that must be more than 0."""
    atoms = parse(text)
    if not atoms:
        raise Rejected("the amount is 0: it must be more than 0", amount=text)
    return atoms


def typed(atoms: Atoms) -> str:
    """An amount as it can be typed: `12.5` in AIC, or `1500atoms`."""
    whole, part = divmod(atoms, 10**DECIMALS)
    return f"{whole}.{part:09d}".rstrip("0").rstrip(".") if atoms >= 10 ** (DECIMALS - 4) else f"{atoms}atoms"


def format(atoms: Atoms) -> str:
    """`12.5 AIC`; amounts under 0.0001 AIC in atoms, so that only zero reads as zero."""
    if 0 < atoms < 10 ** (DECIMALS - 4):
        return f"{atoms:,} atoms"
    whole, part = divmod(atoms, 10**DECIMALS)
    return f"{whole:,}.{part:09d}".rstrip("0").rstrip(".") + " AIC"


def format_ask(rate: tuple[int, Atoms]) -> str:
    """`4,000 atoms per million output tokens`, from an ask (or a price) of a meter for its scale."""
    number, atoms = rate
    return f"{format(atoms)} per {format_scale(meters.METERS[number])}"


def format_scale(meter: Meter) -> str:
    """What one ask of a meter buys: `call`, `million output tokens`, `second`, `GB`."""
    if meter in SCALES:
        return SCALES[meter]
    name = meter.name.replace("_", " ")
    return f"million {name}s" if meter.scale == 10**6 else name


def parse_asks(texts: list[str]) -> Rates:
    """Rates from METER=ATOMS words, such as `call=200 output_token=4000`. Their scales: see `Meter`."""
    return rates({name: str(rate) for name, rate in _by_meter(texts, "ask", "ATOMS").items()})


def parse_units(texts: list[str]) -> dict[str, int]:
    return _by_meter(texts, "use", "UNITS")


def _by_meter(texts: list[str], what: str, unit: str) -> dict[str, int]:
    numbers = {}
    for text in texts:
        name, equals, number = text.partition("=")
        is_number = number.isascii() and number.isdecimal() and len(number) < MAX_DIGITS
        if name not in Meter.__members__ or not equals or not is_number:
            raise Rejected(
                f"{text!r} is not a valid {what}: write METER={unit}, with a meter of {METERS}", **{what: text}
            )
        numbers[name] = int(number)
    return numbers


def parse_ratio(text: str) -> int:
    """Ppm from `30%`, `0.5%`, `300000ppm`, or a bare number of ppm."""
    match = _RATIO.fullmatch(text.strip())
    if match is None:
        raise Rejected(f"{text!r} is not a ratio: write 12.5% or 125000ppm", ratio=text)
    long = len(match[3] or match[1]) > MAX_DIGITS
    ppm = 0 if long else int(match[3]) if match[3] else int(match[1]) * 10_000 + int((match[2] or "").ljust(4, "0"))
    if long or ppm > 1_000_000:
        raise Rejected(f"{text!r} is above 100%", ratio=text)
    return ppm
