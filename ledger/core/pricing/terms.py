"""The payees of a call's terms, line by line. One rule for every gateway; an auditor can repeat it.

    owner       the model's owner, on its bid of this epoch                        Rejected without one
    ancestors   the owner of each ancestor, on the royalty frozen at registration
    delivery    the deliverer whose asks make the least of a typical call          no line if nobody bids
    compute     the provider, on its bid; of a capsule the operator, on its bid to run workflows
    weaver      a capsule's weaver, on its bid or on what the capsule says; its co-weavers on what the capsule says
    gateway     the operator, on its bid for its lane                              root calls only
    protocol    the treasury, on 2 % of the price                                  root calls only

A workflow's sub-call has the same terms without the gateway's and the protocol's line: its root call pays those.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ledger.core.catalog import lineage
from ledger.core.catalog.bids import Bid, Line, Role, Terms, ordered
from ledger.core.catalog.capsules import Capsule
from ledger.core.catalog.lineage import Parent
from ledger.core.catalog.models import Model
from ledger.core.pricing import caps
from ledger.core.pricing.epochs import BidInForce, Book
from ledger.core.pricing.price import fixed
from ledger.core.pricing.routing import collateralised
from ledger.core.values.atoms import Atoms
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest, Lane, cid, lane_subject
from ledger.core.values.meters import Units

TYPICAL_CALL = Units(call=1, input_token=1_000, output_token=1_000, ms=1_000, byte=1_000_000)
"""The call by which offers are compared when the request names no meters."""


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

    `next_owners` are the owners once every change that is registered counts.
    """

    operator: Operator
    book: Book
    published: Mapping[Digest, Model | Capsule]
    owners: Mapping[Digest, Address]
    stakes: Mapping[Address, Atoms]
    next_owners: Mapping[Digest, Address] = field(default_factory=dict)

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

    Rejected when its owner is not the registered one or has no bid, an ancestor is not published, or a ratio is above
    its cap.
    """
    _check_owner(market, model)
    roles = (Role.oem, Role.maker) if model.owner_role is Role.oem else (Role.maker, Role.oem)
    bids = ((role, market.book.bid(model.id, role, model.owner)) for role in roles)
    owner = next((_line(model.owner, role, bid) for role, bid in bids if bid is not None), None)
    if owner is None:
        raise Rejected(f"the owner of {model.name} has no bid in this epoch")
    ancestors = _ancestors(market, model.id)
    caps.route(owner, ancestors, [])
    return [owner, *ancestors, *_delivery(market, model.id)]


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

    Rejected when its weaver neither registered it nor bids, an ancestor is not published, or a ratio is above its cap.
    """
    bid = market.book.bid(capsule.id, Role.weaver, capsule.weaver)
    owners = (
        market.owners.get(capsule.id),
        market.next_owners.get(capsule.id),
    )  # a document's own ratio needs no epoch
    if not market.operator.private and capsule.weaver not in owners and bid is None:
        raise Rejected(f"{capsule.name} is not registered by its weaver on the chain")
    weaver = _line(capsule.weaver, Role.weaver, bid or capsule.bid)
    lines = [weaver, *(Line(party, Role.weaver, ratio) for party, ratio in capsule.co_weavers)]
    caps.workflow(lines)
    lines += _ancestors(market, capsule.id)
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


def _check_owner(market: Market, model: Model) -> None:
    """Rejected unless the model is registered, on a chain, to the owner its document names, in this epoch."""
    if market.operator.private or market.owners.get(model.id) == model.owner:
        return
    if market.next_owners.get(model.id) == model.owner:
        raise Rejected(f"{model.name} was registered in this epoch: it can be called from the next one on")
    raise Rejected(f"{model.name} is not registered by its owner on the chain")


def _ancestors(market: Market, subject: Digest) -> list[Line]:
    lines = []
    for key, royalty in lineage.ancestors(subject, market.parents).items():
        ancestor = market.published.get(key)
        if not isinstance(ancestor, Model):
            raise Rejected(f"the ancestor {cid(key)} is not published")
        owner = market.owners.get(key, ancestor.owner)
        lines.append(Line(owner, ancestor.owner_role, royalty.ratio_ppm, royalty.floor))
    return lines


def _delivery(market: Market, subject: Digest) -> list[Line]:
    rows = market.book.bidders(subject, Role.delivery)
    cheapest = min(
        rows, key=lambda row: (fixed(row.bid.asks, TYPICAL_CALL), row.bid.ratio_ppm, row.party), default=None
    )
    return [_line(cheapest.party, Role.delivery, cheapest.bid)] if cheapest is not None else []


def _line(party: Address, role: Role, bid: Bid) -> Line:
    return Line(party, role, bid.ratio_ppm, bid.asks)
