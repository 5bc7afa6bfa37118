"""Lineage: every ancestor of a model is paid once of each call, at the maximum of each term it was granted.

A child freezes its parents' terms when it is registered, so a parent cannot raise them later. A model inserted between
an ancestor and its descendant never lowers what the ancestor gets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ledger.core.values.atoms import Ppm, ppm
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import Digest
from ledger.core.values.meters import NO_RATES, Rates, asks_by_unit, check_rates

MAX_PARENTS = 4
MAX_ANCESTORS = 10
MAX_ANCESTORS_PPM = 500_000


@dataclass(frozen=True, slots=True)
class Royalty:
    """An ancestor's royalty on every descendant's call: a ratio of the price, and a floor per meter."""

    ratio_ppm: Ppm = 0
    floor: Rates = NO_RATES

    def __post_init__(self) -> None:
        ppm(self.ratio_ppm, "royalty_ppm")
        check_rates(self.floor)

    def __or__(self, other: Royalty) -> Royalty:
        """The maximum of each term, of what each meter's units pay."""
        ours, theirs = asks_by_unit(self.floor), asks_by_unit(other.floor)
        meters = sorted(dict(self.floor) | dict(other.floor))
        floor = tuple((meter, max(ours[meter] or 0, theirs[meter] or 0)) for meter in meters)
        return Royalty(max(self.ratio_ppm, other.ratio_ppm), floor)


@dataclass(frozen=True, slots=True)
class Parent:
    """One parent of a model, with the terms frozen at registration."""

    model: Digest
    royalty: Royalty


def ancestors(model: Digest, parents: Mapping[Digest, Sequence[Parent]]) -> dict[Digest, Royalty]:
    """Every ancestor of `model` with what it takes, in order of id.

    `parents` has the parents of the model and of each of its ancestors. Rejected for a cycle, an unknown ancestor, more
    than 4 parents or 10 ancestors, or ratios above 500,000 ppm together.
    """
    best: dict[Digest, Royalty] = {}
    done: set[Digest] = set()
    _visit(model, parents, best, done, ())
    together = sum(royalty.ratio_ppm for royalty in best.values())
    if together > MAX_ANCESTORS_PPM:
        raise Rejected(f"royalty stack of {together} ppm is above {MAX_ANCESTORS_PPM}", ratios_ppm=together)
    return dict(sorted(best.items()))


def _visit(
    model: Digest,
    parents: Mapping[Digest, Sequence[Parent]],
    best: dict[Digest, Royalty],
    done: set[Digest],
    path: tuple[Digest, ...],
) -> None:
    if model in path:
        raise Rejected(f"lineage cycle at 0x{model.hex()}", model=model.hex())
    if model in done:
        return
    if model not in parents:
        raise Rejected(f"unknown ancestor 0x{model.hex()}", model=model.hex())
    if len(parents[model]) > MAX_PARENTS:
        raise Rejected(f"a model has at most {MAX_PARENTS} parents, not {len(parents[model])}", model=model.hex())
    for parent in parents[model]:
        best[parent.model] = best.get(parent.model, parent.royalty) | parent.royalty
        if len(best) > MAX_ANCESTORS:
            raise Rejected(f"more than {MAX_ANCESTORS} ancestors", model=model.hex())
        _visit(parent.model, parents, best, done, (*path, model))
    done.add(model)
