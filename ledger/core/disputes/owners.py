"""The lines of a model's owner and of its ancestors' owners, held against Registry and book: twin of `LineageProofs`.

    owner       at its bid as maker or OEM, if one is in force; else no line
    ancestors   each at the maximum of each term over what its descendants in the lineage were granted

What was granted stands on chain as a digest. Where the bytes of a royalty are not known, the whole lineage cannot be
shown; then each ancestor must have a line that pays at least each royalty that is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.core.catalog.bids import Bid, Line, Role, Terms
from ledger.core.catalog.lineage import MAX_ANCESTORS, Royalty
from ledger.core.disputes import proofs
from ledger.core.disputes.facts import Content, Facts, Owned, bid_in_force
from ledger.core.disputes.proofs import Arguments
from ledger.core.settlement.events import NamedParent
from ledger.core.values.ids import Digest

MOST_SHOWN = MAX_ANCESTORS + 2
"""Models of a lineage that a proof shows at most: so many are too many, whatever the rest."""
_OWNED = (Role.maker, Role.oem)


@dataclass(frozen=True, slots=True)
class Fault:
    """A proof about terms: what follows the receipt and its terms, and the lie in words."""

    function: str
    arguments: Arguments
    why: str


@dataclass(frozen=True, slots=True)
class _Kin:
    """A model in a lineage, and how it was reached: places in the lineage, each with the parent that leads on."""

    id: Digest
    lineage: Digest
    parents: tuple[NamedParent, ...]
    owner: Owned
    path: tuple[tuple[int, int], ...]


def find_fault(terms: Terms, epoch: int, facts: Facts) -> Fault | None:
    """The first lie of terms about owners and ancestors that can be proven. None without the bids."""
    content = facts.models.content_at(terms.subject, epoch)
    if facts.bids is None or content is None:
        return None
    kin, lawful = _lineage(terms.subject, content, epoch, facts)
    royalties = [[facts.models.royalties.get(parent.terms) for parent in one.parents] for one in kin]
    shown = {one.id for one in kin}
    is_open = all(
        royalty is not None or parent.id not in shown
        for one, row in zip(kin, royalties, strict=True)
        for parent, royalty in zip(one.parents, row, strict=True)
    )
    subject = (content.number, content.terms)
    if not is_open:
        return _unpaid(terms, subject, kin, royalties, facts)
    if lawful and _are_right(terms, epoch, kin, royalties, facts):
        return None
    rows = [
        (one.id, one.owner.number, [tuple(parent) for parent in one.parents], [r.body if r else b"" for r in row])
        for one, row in zip(kin, royalties, strict=True)
    ]
    bids = [_shown(terms, role, kin[0].owner, epoch, facts) for role in _OWNED]
    why = "the lines of makers and OEMs are not those that Registry and book say"
    return Fault("proveBadOwners", (subject, rows, *bids), why)


def find_weavers_fault(terms: Terms, epoch: int, facts: Facts) -> tuple[int, Owned] | None:
    """The line of an owner that bid as weaver and has no line of that bid; and its change of ownership."""
    owner = facts.models.owner_at(terms.subject, epoch)
    bid = _bid_of(terms, Role.weaver, owner, epoch, facts)
    if bid is None or Line(owner.owner, Role.weaver, bid.ratio_ppm, bid.asks) in terms.lines:
        return None
    own = [at for at, line in enumerate(terms.lines) if (line.role, line.party) == (Role.weaver, owner.owner)]
    return (own[0], owner) if own else None


def _lineage(subject: Digest, content: Content, epoch: int, facts: Facts) -> tuple[list[_Kin], bool]:
    """A model and its ancestors, each after one that names it, as many as a proof shows. False if none may serve it."""
    models = facts.models
    kin = [_Kin(subject, content.lineage, models.parents[content.lineage], models.owner_at(subject, epoch), ())]
    places, lawful = {subject: 0}, True
    for at, child in enumerate(kin):  # grows while it is read
        for step, parent in enumerate(child.parents):
            if parent.id in places:
                lawful = lawful and kin[places[parent.id]].lineage == parent.lineage
            elif len(kin) < MOST_SHOWN:
                places[parent.id] = len(kin)
                owner, path = models.owner_at(parent.id, epoch), (*child.path, (at, step))
                kin.append(_Kin(parent.id, parent.lineage, models.parents[parent.lineage], owner, path))
    return kin, lawful and len(kin) < MOST_SHOWN


def _are_right(
    terms: Terms, epoch: int, kin: Sequence[_Kin], royalties: Sequence[Sequence[Royalty | None]], facts: Facts
) -> bool:
    """Whether the lines of makers and OEMs are exactly those due. A royalty of nothing may have a line."""
    dues = {one.id: Royalty() for one in kin}
    for one, row in zip(kin, royalties, strict=True):
        for parent, royalty in zip(one.parents, row, strict=True):
            assert royalty is not None, "the lineage is open"
            dues[parent.id] |= royalty
    rest = [line for line in terms.lines if line.role in _OWNED]
    for one in kin[1:]:
        due = dues[one.id]
        line = Line(one.owner.owner, Role.oem if one.parents else Role.maker, due.ratio_ppm, due.floor)
        if line in rest:
            rest.remove(line)
        elif not due.is_nothing:
            return False
    owner = kin[0].owner
    bids = [(role, _bid_of(terms, role, owner, epoch, facts)) for role in _OWNED]
    lines = [Line(owner.owner, role, bid.ratio_ppm, bid.asks) for role, bid in bids if bid is not None]
    return rest in [[line] for line in lines] if lines else not rest


def _unpaid(
    terms: Terms,
    subject: Arguments,
    kin: Sequence[_Kin],
    royalties: Sequence[Sequence[Royalty | None]],
    facts: Facts,
) -> Fault | None:
    """A known royalty that no line of the ancestor's owner pays, by the path that leads to it."""
    owners = {one.id: one.owner for one in kin}
    for at, child in enumerate(kin):
        for step, (parent, royalty) in enumerate(zip(child.parents, royalties[at], strict=True)):
            if royalty is None or royalty.is_nothing or parent.id not in owners:
                continue
            owner = owners[parent.id]
            paid = (line for line in terms.lines if line.party == owner.owner and line.role in _OWNED)
            if any(Royalty(line.ratio_ppm, line.asks).covers(royalty) for line in paid):
                continue
            path = (*child.path, (at, step))
            rows = [[tuple(one) for one in kin[place].parents] for place, _ in path]
            why = "an ancestor's owner has no line that pays what it was granted"
            steps = [way for _, way in path]
            return Fault("proveMissingRoyalty", (subject, rows, steps, royalty.body, owner.number), why)
    return None


def _bid_of(terms: Terms, role: Role, owner: Owned, epoch: int, facts: Facts) -> Bid | None:
    return bid_in_force((facts.bids or {}).get((terms.subject, role, owner.owner), ()), role, epoch)


def _shown(terms: Terms, role: Role, owner: Owned, epoch: int, facts: Facts) -> Arguments:
    history = (facts.bids or {}).get((terms.subject, role, owner.owner), ())
    return proofs.bid_shown(history, role, epoch)
