"""Values of an answer as a person reads them: amounts with units, times as dates, addresses by names of wallets.

This is the one place that says so, by the names that answers use. JSON answers are exact, and are not touched.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ledger.core.values.errors import TollwayError
from ledger.core.values.ids import to_hex
from ledger.core.values.meters import Meter, distinct
from roles.cli import amounts
from roles.wallet import keystore

Fact = Any
"""A JSON value. An amount is a decimal string of atoms, a count is a number."""
# fmt: off
AMOUNTS = frozenset((
    "amount", "available", "balance", "bond", "budget", "charge", "charged", "claimable", "claimed", "claimed_ever",
    "collected", "cost", "cumulative", "daily_cap", "deposited", "due", "earned", "expected", "fixed", "held",
    "hold", "in_no_account", "lane_holds", "lane_owes", "leased", "list_price", "max_price", "more_than_now", "net",
    "owed", "paid", "price", "price_change_in_all", "promotion", "settled", "settled_ever", "shortfall",
    "spendable", "spent", "subcall_total", "that_role_earned", "this_bid_would_have_earned", "total", "unsettled",
    "voucher", "withdrawing",
))
# fmt: on
RATES = frozenset(("ask", "asks", "floor", "pricing"))
"""Objects of atoms by meter, each for the meter's scale."""
UNITS = frozenset(("units", "claimed", "meters"))
"""Objects of counts by meter."""
# fmt: off
TIMES = frozenset((
    "built_at", "created_at", "ended_at", "ended_at_ms", "expires_at", "final_at", "free_at", "posted_at",
    "revoked_at", "since", "started", "time", "until", "until_ms", "valid_until_ms",
))
# fmt: on
FIRST_MS = 10**11
"""A time from here on is in ms; one before it, which would be in 1973, in seconds."""
NO_DATE_MS = 253_402_300_800_000
"""The year 10000, which no date has."""
PPM = "_ppm"
SIZES = {"size_bytes": 1, "memory_mb": 2**20}
"""Sizes, and the bytes of their unit."""
DID = "did:pkh:eip155:"


def label(name: str) -> str:
    """The name of a field in words."""
    if name in SIZES:
        return name.partition("_")[0]
    return name.removesuffix(PPM).removesuffix("_ms" if name in TIMES else PPM).replace("_", " ")


def text(name: str, value: Fact, known: Mapping[str, str]) -> str:
    """One value in words. `known` are names of addresses."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ("", {}, []):
        return "-" if value is None else ""
    if isinstance(value, Mapping):
        return _object(name, value, known)
    if isinstance(value, list | tuple):
        return ", ".join(text(name, one, known) for one in value)
    return _number(name, value) if isinstance(value, int) else _said(name, str(value), known)


def wallets() -> dict[str, str]:
    """The names of this home's wallets, by address."""
    try:
        return {to_hex(keystore.address_of(name)): name for name in keystore.names()}
    except TollwayError:  # a file there that is no wallet hides no answer
        return {}


def utc(moment: int) -> str:
    """A time in UTC, to the second, from ms since the epoch."""
    return datetime.fromtimestamp(moment // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def size(count: int) -> str:
    """So many bytes, in a unit that leaves few digits: a kB has 1,024."""
    units = ("bytes", "kB", "MB", "GB", "TB")
    place = min(max(count.bit_length() - 1, 0) // 10, len(units) - 1)
    return f"{count / 1024**place:,.1f}".removesuffix(".0") + f" {units[place]}"


def is_number(value: Fact) -> bool:
    """Whether a column of such values is set to the right."""
    return isinstance(value, int) or (isinstance(value, str) and value.lstrip("-").isdecimal())


def rates(pricing: Mapping[str, str]) -> list[str]:
    """Prices by meter, each with its unit: those that cost something, and are not the same as their coarser meter's."""
    prices = {Meter[name]: int(price) for name, price in pricing.items() if name in Meter.__members__}
    return [amounts.format_ask(row) for row in distinct(prices).items()]


def used(units: Mapping[str, int]) -> str:
    """Counts by meter: `1 call, 12 input tokens`."""
    return ", ".join(f"{count:,} {name.replace('_', ' ')}{'s' * (count != 1)}" for name, count in units.items())


def _object(name: str, value: Mapping[str, Fact], known: Mapping[str, str]) -> str:
    if name in RATES and all(str(amount).isdecimal() for amount in value.values()):
        return ", ".join(rates({key: str(amount) for key, amount in value.items()})) or "free"
    if name in UNITS and all(type(count) is int for count in value.values()):
        return used(value)
    return ", ".join(f"{label(key)} {text(key, item, known)}" for key, item in value.items())


def _number(name: str, value: int) -> str:
    if name in TIMES and 0 < value < NO_DATE_MS:
        return utc(value if value >= FIRST_MS else value * 1000)
    if name in SIZES:
        return size(value * SIZES[name])
    return "-" * (value < 0) + amounts.format_ratio(abs(value)) if name.endswith(PPM) else f"{value:,}"


def _said(name: str, value: str, known: Mapping[str, str]) -> str:
    if name in AMOUNTS and value.lstrip("-").isdecimal():
        return "-" * value.startswith("-") + amounts.format(int(value.lstrip("-")))
    if value.startswith(("0x", DID)) and name != "address":
        return known.get(value.rpartition(":")[2].lower(), value)
    return value


def lines(facts: Mapping[str, Fact], known: Mapping[str, str], depth: int = 0) -> list[tuple[str, str]]:
    """The rows of a block: a name and a value each. What is inside something stands below it, further in."""
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        inside = _inside(name, value)
        rows.append(("  " * depth + label(name), "" if inside else text(name, value, known)))
        for one in inside:
            rows += lines(one, known, depth + 1)
    return rows


def _inside(name: str, value: Fact) -> Sequence[Mapping[str, Fact]]:
    """The objects that a value holds, unless they are said in a line."""
    if isinstance(value, Mapping):
        return [] if name in RATES | UNITS else [value]
    several = value if isinstance(value, list | tuple) else []
    return [one for one in several if isinstance(one, Mapping)]
