"""Amounts and ratios on the command line: the settlement token, atoms, percent, ppm. Never a float."""

import re
from typing import Annotated

from typer import Argument

from ledger.core.values import meters
from ledger.core.values.atoms import MAX_ATOMS, MAX_DECIMALS, Atoms, Currency
from ledger.core.values.atoms import format_ratio as format_ratio
from ledger.core.values.errors import Rejected
from ledger.core.values.meters import Meter, Rates, rates
from roles.wallet.context import Context, current

FORM = "12.5, in the settlement token, or 1500atoms"
Amount = Annotated[str, Argument(help=f"{FORM}.")]

METERS = ", ".join(Meter.__members__)
SCALES = {Meter.ms: "second", Meter.byte: "GB", Meter.fuel: "million fuel"}
MAX_DIGITS = 19
_AMOUNT = re.compile(rf"([0-9]+)(?:\.([0-9]{{1,{MAX_DECIMALS}}}))?\s*([A-Za-z][A-Za-z0-9.]{{0,11}})?")
_RATIO = re.compile(r"([0-9]+)(?:\.([0-9]{1,4}))?%|([0-9]+)(?:ppm)?")


def parse(text: str) -> Atoms:
    """Atoms from `12`, `12.5`, `12.5USDC` (all in the settlement token) or `1500atoms`. Anything else is Rejected."""
    match = _AMOUNT.fullmatch(text.strip().replace("_", ""))
    unit = (match[3] or "").lower() if match else ""
    in_atoms = unit in ("atoms", "a")
    if match is None or (in_atoms and match[2]):
        raise Rejected(f"{text!r} is not an amount: write {FORM}", amount=text)
    if len(match[1]) > MAX_DIGITS:
        raise _too_large(text)
    atoms = int(match[1]) if in_atoms else _whole(text, unit, match)
    if atoms > MAX_ATOMS:
        raise _too_large(text)
    return atoms


def _whole(text: str, unit: str, match: re.Match[str]) -> Atoms:
    """Atoms of an amount in the settlement token. Rejected when it is in another token, or finer than an atom."""
    currency, part = _currency(), match[2] or ""
    if unit not in ("", currency.symbol.lower()):
        raise Rejected(f"{text!r} is not an amount in {currency.symbol}, which settles here: write {FORM}", amount=text)
    if len(part) > currency.decimals:
        least = f"{currency.symbol} has {currency.decimals} decimals"
        raise Rejected(f"{text!r} is not an amount: {least}, so write {FORM}", amount=text)
    return int(match[1] + part.ljust(currency.decimals, "0"))


def _too_large(text: str) -> Rejected:
    return Rejected(f"{text[:40]!r} is more than the largest possible amount, {MAX_ATOMS} atoms", amount=text)


def parse_some(text: str) -> Atoms:
    """Atoms of an amount that must be more than 0."""
    atoms = parse(text)
    if not atoms:
        raise Rejected("the amount is 0: it must be more than 0", amount=text)
    return atoms


def typed(atoms: Atoms) -> str:
    """An amount as it can be typed: `12.5` in the settlement token, or `1500atoms`."""
    currency = _currency()
    return f"{atoms}atoms" if atoms < _least(currency) else _short(currency.decimal(atoms))


def format(atoms: Atoms) -> str:
    """`12.5 USDC`; amounts under 0.0001 in atoms, so that only zero reads as zero."""
    currency = _currency()
    if 0 < atoms < _least(currency):
        return f"{atoms:,} atoms"
    whole, point, part = currency.decimal(atoms).partition(".")
    return f"{_short(f'{int(whole):,}{point}{part}')} {currency.symbol}"


def _currency() -> Currency:
    """What amounts are in, by the command that runs."""
    return (current.get() or Context()).currency


def _least(currency: Currency) -> Atoms:
    """From here on an amount is said in whole tokens."""
    return int(10 ** max(0, currency.decimals - 4))


def _short(decimal: str) -> str:
    return decimal.rstrip("0").rstrip(".") if "." in decimal else decimal


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
