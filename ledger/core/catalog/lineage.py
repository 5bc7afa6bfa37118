"""Lineage: every ancestor of a model is paid once of each call, at the maximum of each term it was granted.

A child freezes its parents' terms when it is registered, so a parent cannot raise them later. A model inserted between
an ancestor and its descendant never lowers what the ancestor gets.

The Registry has the digest of what a model grants, so that a proof can show it: keccak256 of `ratioPpm u24 | asks`, as
in a line of terms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ledger.core.catalog.bids import encode_asks
from ledger.core.values.atoms import Ppm, ppm
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import Digest, keccak256
from ledger.core.values.ids import Address, cid
from ledger.core.values.meters import NO_RATES, Rates, asks_by_unit, check_rates, quoted
from ledger.core.values.typed_data import word

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

    def covers(self, due: Royalty) -> bool:
        """Whether it pays at least as much as another, whatever the units."""
        pairs = zip(asks_by_unit(self.floor), asks_by_unit(due.floor), strict=True)
        return self.ratio_ppm >= due.ratio_ppm and all((ask or 0) >= (floor or 0) for ask, floor in pairs)

    @property
    def is_nothing(self) -> bool:
        """Whether it pays nothing, whatever the units."""
        return not self.ratio_ppm and not any(ask for _, ask in self.floor)

    @property
    def body(self) -> bytes:
        """What a proof shows of it."""
        return self.ratio_ppm.to_bytes(3, "big") + encode_asks(self.floor)

    @property
    def digest(self) -> Digest:
        """The terms that the Registry has of a model that grants it."""
        return keccak256(self.body)


@dataclass(frozen=True, slots=True)
class Parent:
    """One parent of a model, with the terms frozen at registration."""

    model: Digest
    royalty: Royalty


@dataclass(frozen=True, slots=True)
class Registration:
    """How a model stands in the Registry: who registered it, with which parents, in force from epoch `first` on.

    `lineage` is the hash of its parents. An earlier commitment can replace it for a day; a new owner does not.
    """

    by: Address
    lineage: Digest
    first: int


def check_granted(parent: Parent, granted: Royalty | None) -> None:
    """Rejected unless a child froze at least what its parent grants itself now. None: it offers no terms."""
    if granted is None:
        raise Rejected(f"{cid(parent.model)} offers no terms to descendants: ask its maker", field="$.lineage")
    if not parent.royalty.covers(granted):
        raise Rejected(
            f"{cid(parent.model)} grants itself {granted.ratio_ppm} ppm and a floor of {quoted(granted.floor)}; this "
            f"document freezes {parent.royalty.ratio_ppm} ppm and {quoted(parent.royalty.floor)}",
            field="$.lineage",
        )


def parents_hash(model: Digest, parents: Mapping[Digest, Sequence[Parent]]) -> Digest:
    """The hash of a model's parents, as the Registry has it: of each one's id, its own parents' hash, and its terms.

    `parents` has those of the model and of each of its ancestors.
    """
    known: dict[Digest, Digest] = {}

    def of(child: Digest) -> Digest:
        if child not in known:
            rows = [word(part) for one in parents[child] for part in (one.model, of(one.model), one.royalty.digest)]
            known[child] = keccak256(word(32), word(len(parents[child])), *rows)  # abi.encode of a list
        return known[child]

    return of(model)


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
