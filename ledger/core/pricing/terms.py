"""The payees of a call's terms, line by line. One rule for every gateway; an auditor can repeat it.

    owner       the model's owner in this epoch, on its bid                        Rejected without one
    ancestors   the owner of each ancestor, on the royalty frozen at registration
    delivery    of those who may deliver it, who asks least for a typical call     no line if none of them bids
    compute     the provider, on its bid; of a capsule the operator, on its bid to run workflows
    weaver      a capsule's weaver, on its bid or on what the capsule says; its co-weavers on what the capsule says
    gateway     the operator, on its bid for its lane                              root calls only
    protocol    the treasury, on 2 % of the price                                  root calls only

No line is there without the word of who bears it: a provider's is drawn for the consumer, within its largest price, and
who delivers a model is its owner, or whom the owner named in its document. A stranger's bid enters no price.

A workflow's sub-call has the same terms without the gateway's and the protocol's line: its root call pays those.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ledger.core.catalog import lineage
from ledger.core.catalog.bids import Bid, Line, Role, Terms, ordered
from ledger.core.catalog.capsules import Capsule
from ledger.core.catalog.lineage import Parent, Registration
from ledger.core.catalog.models import Model
from ledger.core.pricing import caps
from ledger.core.pricing.epochs import BidInForce, Book
from ledger.core.pricing.price import fixed
from ledger.core.pricing.routing import collateralised
from ledger.core.values.atoms import Atoms
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest, Lane, cid, lane_subject
from ledger.core.values.meters import Meter, Units

TYPICAL_CALL = Units(call=1, input_token=1_000, output_token=1_000, ms=1_000, byte=1_000_000)
"""The call by which offers are compared when the request names no meters."""
LONGEST_CALL = Units(*(1 if meter is Meter.call else 2**20 if meter.scale == 1 else 2**31 for meter in Meter))
"""More than any call uses. A provider whose price for it is none, because it passes 2^63-1 atoms, cannot be asked: the
error would be the call's, whoever serves it.
"""


@dataclass(frozen=True, slots=True)
class Operator:
    """The calls' lane, and the payee of the protocol's share. `kappa`: stake per unit of capacity, in atoms.

    On a private grid there is no chain: every model counts as registered and every provider as staked.
    """

    address: Address
    lane: Lane
    treasury: Address
    kappa: Atoms
    private: bool


@dataclass(frozen=True)
class Market:
    """The inputs of terms in one epoch: the book, published documents, registered owners and active stakes.

    `registered` has the Registry's models; `owners` those whose owner is paid in this epoch.
    """

    operator: Operator
    book: Book
    published: Mapping[Digest, Model | Capsule]
    registered: Mapping[Digest, Registration]
    owners: Mapping[Digest, Address]
    stakes: Mapping[Address, Atoms]

    @cached_property
    def parents(self) -> dict[Digest, Sequence[Parent]]:
        """The parents of everything published."""
        return {key: one.parents for key, one in self.published.items()}

    def operator_bid(self, role: Role) -> Bid | None:
        """The operator's bid for its lane: as its gateway, or to run workflows (compute)."""
        return self.book.bid(lane_subject(self.operator.lane), role, self.operator.address)


@dataclass(frozen=True, slots=True)
class CallTerms:
    """The terms of a call by itself, and as a workflow's sub-call."""

    root: Terms
    sub: Terms


def model_lines(market: Market, model: Model) -> list[Line]:
    """The lines of a model that do not depend on its provider: owner, ancestors, delivery.

    The owner comes first. Rejected when the document's owner did not register the model with these parents, its owner
    now has no bid, an ancestor is not published, or a ratio is above its cap.
    """
    ancestors = _ancestors(market, model.id)
    owner = _owners_line(market, model.id, _owner_of_model(market, model), model.owner_role)
    if owner is None:
        raise Rejected(f"the owner of {model.name} has no bid in this epoch")
    caps.route(owner, ancestors, [])
    return [owner, *ancestors, *_delivery(market, model, owner.party)]


def deliverers(model: Model, owner: Address) -> frozenset[Address]:
    """Whose bids to deliver a model count: its owner's in the epoch, and those of whom its document names. So an owner
    that asks less than they do takes the line, also one that bought the model with its document.
    """
    return model.deliverers | {owner}


def is_on_sale(market: Market, subject: Digest) -> bool:
    """Whether by this epoch's book calls are sold: the owner bids, and of a model also a provider.

    A workflow whose document is here needs no bid.
    """
    known = market.published.get(subject)
    if isinstance(known, Capsule):
        return True
    owner = known.owner if known is not None and market.operator.private else market.owners.get(subject)
    if owner is None:
        return False
    if market.book.bid(subject, Role.weaver, owner) is not None:
        return True
    return _owners_line(market, subject, owner, Role.maker) is not None and bool(
        market.book.bidders(subject, Role.compute)
    )


def of_provider(market: Market, model: Model, lines: Sequence[Line], provider: BidInForce) -> CallTerms:
    """The terms of a model's call that this provider serves. `lines` are `model_lines`."""
    caps.bid(Role.compute, provider.bid)
    return _call_terms(market, model.id, [*lines, _line(provider.party, Role.compute, provider.bid)])


def capacity(market: Market, provider: Address, declared: int) -> int:
    """The calls at once that a provider counts for: what it declares, but no more than its stake covers.

    Rejected if that is none.
    """
    if not market.operator.private:
        declared = collateralised(market.stakes.get(provider, 0), market.operator.kappa, declared)
    if declared < 1:
        raise Rejected(f"0x{provider.hex()} has no stake to cover a call")
    return declared


def of_capsule(market: Market, capsule: Capsule) -> CallTerms:
    """The terms of a workflow's root call. With a list price the weaver is the seller of record.

    Rejected when its weaver neither registered it nor bids, somebody else registered it, it names parents whose terms
    the Registry did not compare, an ancestor is not published, or a ratio is above its cap.
    """
    ancestors = _ancestors(market, capsule.id)
    party = weaver_of(market, capsule)
    bid = market.book.bid(capsule.id, Role.weaver, party)
    if not market.operator.private and capsule.id not in market.registered and (bid is None or capsule.parents):
        raise Rejected(f"{capsule.name} is not registered by its weaver on the chain")
    weaver = _line(party, Role.weaver, bid or capsule.bid)
    lines = [weaver, *(Line(party, Role.weaver, ratio) for party, ratio in capsule.co_weavers)]
    owner = _owners_line(market, capsule.id, party, Role.maker)
    if owner is not None and market.owners.get(capsule.id) == party:  # the Registry's owner has a line if it bids
        caps.route(owner, ancestors, [])
        lines.append(owner)
    return _workflow_terms(market, capsule, lines, ancestors)


def of_draft(market: Market, capsule: Capsule) -> CallTerms:
    """The terms that a workflow has once its weaver publishes it as it is. Rejected when a ratio is above its cap, or
    it names parents, which only the Registry compares.
    """
    if capsule.parents:
        raise Rejected(f"{capsule.name} names parents, whose terms the Registry compares when it is published")
    weaver = _line(capsule.weaver, Role.weaver, capsule.bid)
    co_weavers = [Line(party, Role.weaver, ratio) for party, ratio in capsule.co_weavers]
    return _workflow_terms(market, capsule, [weaver, *co_weavers], [])


def _workflow_terms(market: Market, capsule: Capsule, lines: list[Line], ancestors: Sequence[Line]) -> CallTerms:
    """The terms of a workflow with these lines, the first of which is its weaver's."""
    weaver = lines[0]
    caps.workflow(lines)
    lines += ancestors
    host = market.operator_bid(Role.compute)
    if host is not None:
        lines.append(_line(market.operator.address, Role.compute, host))
    return _call_terms(market, capsule.id, lines, capsule.list_price, weaver)


def _call_terms(
    market: Market, subject: Digest, lines: list[Line], list_price: Atoms | None = None, seller: Line | None = None
) -> CallTerms:
    whole = ordered([*lines, *_root_lines(market)])
    place = whole.index(seller) if seller is not None and list_price is not None else 0
    return CallTerms(Terms(subject, whole, list_price, place), Terms(subject, ordered(lines)))


def _root_lines(market: Market) -> list[Line]:
    """The lines of a root call only: the protocol's, and the gateway's if its operator bids."""
    lines = [Line(market.operator.treasury, Role.protocol, caps.PROTOCOL_PPM)]
    bid = market.operator_bid(Role.gateway)
    if bid is not None:
        caps.bid(Role.gateway, bid)
        lines.append(_line(market.operator.address, Role.gateway, bid))
    return lines


def weaver_of(market: Market, capsule: Capsule) -> Address:
    """Who is paid as a workflow's weaver in this epoch: its owner by the Registry, if it is registered by then."""
    return _owner(market, capsule, capsule.weaver) or capsule.weaver


def _owner_of_model(market: Market, model: Model) -> Address:
    if market.operator.private:
        return model.owner
    owner = _owner(market, model, model.owner)
    if owner is None and model.id in market.registered:
        raise Rejected(f"{model.name} was registered in this epoch: it can be called from the next one on")
    if owner is None:
        raise Rejected(f"{model.name} is not registered by its owner on the chain")
    return owner


def _owner(market: Market, subject: Model | Capsule, author: Address) -> Address | None:
    """Who owns a model or capsule in this epoch by the Registry; None if it is not registered by then.

    Who is given or buys one that its author registered is paid from a later epoch on. Rejected when another account
    registered it, or with other parents: no terms would be right. So too while the registration before the last one
    holds, which may have named others.
    """
    known = market.registered.get(subject.id)
    if known is None:
        return None
    if known.by != author:
        raise Rejected(f"{subject.name} is not registered by its owner on the chain: another account registered it")
    if known.lineage != lineage.parents_hash(subject.id, market.parents):
        raise Rejected(f"{subject.name} is registered with other parents, or other terms of theirs, than it names")
    owner = market.owners.get(subject.id)
    if known.first <= market.book.epoch:
        return owner
    if owner is not None:
        raise Rejected(f"{subject.name} was registered again in this epoch: it can be called from the next one on")
    return None


def _owners_line(market: Market, subject: Digest, owner: Address, first: Role) -> Line | None:
    """The owner's line, on its bid as maker or OEM: in its first role if it bids in both."""
    for role in (first, Role.oem if first is Role.maker else Role.maker):
        bid = market.book.bid(subject, role, owner)
        if bid is not None:
            return _line(owner, role, bid)
    return None


def _ancestors(market: Market, subject: Digest) -> list[Line]:
    lines = []
    for key, royalty in lineage.ancestors(subject, market.parents).items():
        ancestor = market.published.get(key)
        if not isinstance(ancestor, Model):
            raise Rejected(f"the ancestor {cid(key)} is not published")
        owner = market.owners.get(key, ancestor.owner)
        lines.append(Line(owner, ancestor.owner_role, royalty.ratio_ppm, royalty.floor))
    return lines


def _delivery(market: Market, model: Model, owner: Address) -> list[Line]:
    may = deliverers(model, owner)
    rows = [row for row in market.book.bidders(model.id, Role.delivery) if row.party in may]
    cheapest = min(
        rows, key=lambda row: (fixed(row.bid.asks, TYPICAL_CALL), row.bid.ratio_ppm, row.party), default=None
    )
    return [_line(cheapest.party, Role.delivery, cheapest.bid)] if cheapest is not None else []


def _line(party: Address, role: Role, bid: Bid) -> Line:
    return Line(party, role, bid.ratio_ppm, bid.asks)
