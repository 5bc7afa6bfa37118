"""What a payee's calls would have paid, had it asked more or less: replayed by the rule that priced them.

    asks' = asks * (1 + change), rounded up        ratio' = ratio * (1 + change), rounded down
    E(change) = sum over calls of what the payee's lines get at these bids, of the same units
    X(change) = E(change) * odds(change) / odds(0), rounded down, for calls that are drawn

E is exact for the calls that were made. X guesses that the same calls are drawn again, among the rivals of now: it is
E where nothing is drawn (a maker's ratio, a model that nobody else serves). Neither knows who would have called more.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from ledger.core.catalog.bids import Line, Role, Terms
from ledger.core.pricing import routing
from ledger.core.pricing.price import Tariff, compile_terms, payees
from ledger.core.values.atoms import PPM, Atoms, ceil_div
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest
from ledger.core.values.meters import Units

CHANGES_PPM: Final = (-300_000, -200_000, -100_000, -50_000, 0, 50_000, 100_000, 200_000, 300_000)
"""The changes that are shown: 30 % less to 30 % more."""


class Call(NamedTuple):
    """A charged call as its receipt shows it to everybody."""

    terms: Terms
    units: Units
    subcall_total: Atoms


class Earned(NamedTuple):
    """What a payee got for a subject in a role."""

    subject: Digest
    role: Role


class Point(NamedTuple):
    """A change of what is asked, what the same calls would have paid, and what is expected with the draw's odds; of
    `left_out` calls, which the price rule forbids at this change, nothing.
    """

    change_ppm: int
    earned: Atoms
    expected: Atoms
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Replay:
    """Calls of a payee at some change. `left_out` are calls that the price rule forbids at these bids."""

    earned: Mapping[Earned, Atoms]
    calls: Mapping[Earned, int]
    left_out: int = 0

    @property
    def total(self) -> Atoms:
        """The atoms of all subjects and roles."""
        return sum(self.earned.values())


Odds = Callable[[Digest, int], tuple[int, int]]
"""Of a subject at a change: the payee's weight in the draw, and the weight of all. (1, 1) where nothing is drawn."""


def changed(line: Line, change_ppm: int) -> Line:
    """A line that asks so much more, or less if below 0. An ask above 0 stays above 0."""
    factor = PPM + change_ppm
    asks = tuple((meter, ceil_div(ask * factor, PPM)) for meter, ask in line.asks)
    return replace(line, ratio_ppm=min(PPM, line.ratio_ppm * factor // PPM), asks=asks)


def asking(terms: Terms, payee: Address, change_ppm: int) -> Terms | None:
    """Terms in which the payee's lines ask so much more or less; None where a cap forbids it."""
    if not change_ppm:
        return terms
    try:
        return replace(
            terms, lines=tuple(changed(one, change_ppm) if one.party == payee else one for one in terms.lines)
        )
    except Rejected:
        return None


def replay(calls: Iterable[Call], payee: Address, change_ppm: int = 0) -> Replay:
    """What these calls pay the payee, by subject and role, had it asked so much more or less."""
    earned: dict[Earned, Atoms] = {}
    counts: dict[Earned, int] = {}
    tariffs: dict[Terms, Tariff | None] = {}
    left_out = 0
    for terms, units, subcall_total in calls:
        if terms not in tariffs:
            wanted = asking(terms, payee, change_ppm)
            tariffs[terms] = compile_terms(wanted) if wanted is not None else None
        tariff = tariffs[terms]
        try:
            amounts = tariff.charge(units, subcall_total).amounts if tariff is not None else None
        except Rejected:  # a list price below what the others get, or a price above 2^63-1
            amounts = None
        if tariff is None or amounts is None:
            left_out += 1
            continue
        for (who, role), amount in zip(payees(tariff.terms), amounts, strict=True):
            if who == payee:
                name = Earned(terms.subject, role)
                earned[name] = earned.get(name, 0) + amount
                counts[name] = counts.get(name, 0) + 1
    return Replay(earned, counts, left_out)


def points(calls: Iterable[Call], payee: Address, odds: Odds) -> list[Point]:
    """A point for each of CHANGES_PPM, in their order."""
    known = list(calls)
    return [_point(replay(known, payee, change), change, odds) for change in CHANGES_PPM]


def _point(found: Replay, change_ppm: int, odds: Odds) -> Point:
    expected = 0
    for (subject, role), amount in found.earned.items():
        if role is Role.compute:
            mine, every = odds(subject, change_ppm)
            mine_now, every_now = odds(subject, 0)
            if mine_now and every:
                amount = amount * mine * every_now // (every * mine_now)
        expected += amount
    return Point(change_ppm, found.total, expected, found.left_out)


def drawn(own: routing.Candidate, rivals: Iterable[routing.Candidate]) -> tuple[int, int]:
    """The weight of a candidate in a draw, and of all."""
    weights = routing.odds([own, *rivals])
    return weights[0], sum(weights)
