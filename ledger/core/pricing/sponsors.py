"""Who may sponsor what: an order names a line that its party earns, and says nothing that could have no effect.

    owner (maker, OEM, weaver)    commissions of curators, and slots        out of its line
    provider, deliverer           slots                                     out of its line, on the calls that it serves
    curator                       slots                                     out of the commission that the owner offers

An order that is refused is told what to type instead. One that is taken is repeated back (`said`), with its end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ledger.core.catalog.bids import Role, Terms
from ledger.core.catalog.models import Offer
from ledger.core.pricing import commissions
from ledger.core.pricing.commissions import CAP_PPM, Sponsorship
from ledger.core.pricing.promotion import MAX_ORDERS, RESERVE
from ledger.core.values.atoms import Atoms, format_ratio
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, to_hex

MAX_TASKS, MAX_TASK = 16, 64
"""Tasks of an order, and characters of one: a workflow's are its weaver's own words."""
MAX_WINDOW_CALLS = 1_000_000_000
OWNERS = (Role.maker, Role.oem, Role.weaver)
COMMANDS: Mapping[Role, str] = {
    Role.maker: "maker sponsor",
    Role.oem: "oem sponsor",
    Role.weaver: "weaver sponsor",
    Role.curator: "curator sponsor",
    Role.compute: "provider sponsor",
    Role.delivery: "provider sponsor --delivery",
}
"""The command of each role that can sponsor."""
BIDS: Mapping[Role, str] = {
    Role.compute: "tollway provider bid",
    Role.delivery: "once its owner has named you, tollway provider deliver",
}
"""How who is paid for a resource comes to its line."""


@dataclass(frozen=True, slots=True)
class Promoted:
    """What an order is for, as it stands now. `tasks` is None for a workflow: its weaver says what it is for.

    `owner_roles` are those in which its owner has a line; `bidders` bid to serve it (compute), or bid to deliver it and
    may. `curated`: its owner offers curators a commission.
    """

    name: str
    tasks: frozenset[str] | None
    owner: Address
    owner_roles: frozenset[Role]
    bidders: Mapping[Role, frozenset[Address]] = field(default_factory=dict)
    curated: bool = False


def check(order: Sponsorship, promoted: Promoted) -> None:
    """Rejected unless the order is for a line of its party's own, within its caps, and can have an effect."""
    _check_line(order, promoted)
    check_caps(order)
    unknown = sorted(order.slot_tasks - promoted.tasks) if promoted.tasks is not None else []
    if unknown:
        known = " ".join(f"--task {task}" for task in sorted(promoted.tasks or ()))
        raise Rejected(f"{promoted.name} does not do {unknown[0]!r}, so it would never be shown for it: {known}")


def check_caps(order: Sponsorship) -> None:
    """What can be said of an order without knowing what it is for."""
    if order.offer_ppm > CAP_PPM:
        raise Rejected(f"curators get at most 90% of your share, not {format_ratio(order.offer_ppm)}: --curators 90%")
    if order.offer_ppm and order.role not in OWNERS:
        raise Rejected(f"only an owner pays curators, not who is its {order.role.name}: order a slot, with --slot")
    if order.offer_ppm and not 1 <= order.window_calls <= MAX_WINDOW_CALLS:
        raise Rejected(f"a commission is paid on 1 to {MAX_WINDOW_CALLS} calls of a consumer: --window 1000")
    if order.slot_bid or order.slot_daily_cap or order.slot_tasks:
        _check_slot(order)


def _check_line(order: Sponsorship, promoted: Promoted) -> None:
    name, role, mine = promoted.name, order.role, order.party == promoted.owner
    owners = ", ".join(f"tollway {COMMANDS[one]} {name}" for one in sorted(promoted.owner_roles))
    if role not in COMMANDS:
        raise Rejected(f"a {role.name} sponsors nothing: {', '.join(one.name for one in COMMANDS)} can")
    if role in OWNERS and not mine:
        raise Rejected(
            f"{name} is of {to_hex(promoted.owner)}, not yours to promote as its {role.name}. Whoever serves it has "
            f"tollway provider sponsor {name}, and who recommends it tollway curator sponsor {name}"
        )
    if role in OWNERS and role not in promoted.owner_roles:
        raise Rejected(f"you have no line as {role.name} of {name}: {owners}")
    if role in BIDS and order.party not in promoted.bidders.get(role, ()):
        raise Rejected(
            f"you have no bid as {role.name} of {name} that counts, so no line that could pay: "
            f"{BIDS[role]} {name} --ask"
        )
    if role is Role.curator and mine:
        raise Rejected(f"{name} is yours, and a curator cannot refer itself: {owners}")
    if role is Role.curator and not promoted.curated:
        raise Rejected(
            f"nobody pays curators of {name}, so you have no commission that could pay a slot: its owner offers one "
            f"with {owners} --curators 20%"
        )


def _check_slot(order: Sponsorship) -> None:
    bid, daily, tasks = order.slot_bid, order.slot_daily_cap, order.slot_tasks
    if bid < RESERVE:
        remedy = f"--slot {RESERVE}atoms"
        raise Rejected(f"a sale from a slot costs at least {RESERVE} atoms, its reserve, not {bid}: {remedy}")
    if daily < bid:
        raise Rejected(f"a daily budget of {daily} atoms does not pay one sale at {bid}: --daily {bid}atoms")
    if not 1 <= len(tasks) <= MAX_TASKS or not all(1 <= len(task) <= MAX_TASK for task in tasks):
        many = f"1 to {MAX_TASKS} tasks, each of at most {MAX_TASK} characters"
        raise Rejected(f"a slot is shown for {many}: --task text-generation")


def standing(owner: Sponsorship | None, others: Sequence[Sponsorship]) -> tuple[Sponsorship, ...]:
    """The orders for slots of one subject that count, the highest bids first: of its owner, and of the others. A
    curator's counts while the owner pays curators.
    """
    paid = [one for one in others if one.role is not Role.curator or _pays(owner, one.party)]
    wanted = [one for one in (owner, *paid) if one is not None and one.slot_bid]
    return tuple(sorted(wanted, key=lambda one: (-one.slot_bid, one.party, one.role))[:MAX_ORDERS])


def own(order: Sponsorship, owner: Sponsorship | None, terms: Terms, amounts: Sequence[Atoms]) -> Atoms:
    """What an order's party has of a call with these terms and amounts: its line, or a curator's commission."""
    paying = owner if order.role is Role.curator else order
    sponsor = commissions.sponsor_of(terms, paying) if paying is not None else None
    if sponsor is None:
        return 0
    line = amounts[sponsor.line]
    return commissions.commission(line, sponsor.offer_ppm) if order.role is Role.curator else line


def _pays(owner: Sponsorship | None, curator: Address) -> bool:
    return owner is not None and owner.offer_ppm > 0 and owner.party != curator


def said(order: Sponsorship, name: str, end: str) -> str:
    """An accepted order in plain words: what it pays, to whom, out of what, and its end."""
    parts = []
    if order.offer_ppm:
        share, calls = format_ratio(order.offer_ppm), order.window_calls
        parts.append(
            f"curators get {share} of your share of a consumer's first {calls} paid calls, if they referred it"
        )
    if order.slot_bid:
        source = "commission" if order.role is Role.curator else "share"
        served = ", if you serve it," if order.role is Role.compute else ""
        parts.append(
            f"for the first paid call of a consumer that a slot brought{served} you pay {RESERVE} to {order.slot_bid} "
            f"atoms, at most 90% of your {source} of it, and at most {order.slot_daily_cap} atoms a day (UTC); it is "
            f"shown for {', '.join(sorted(order.slot_tasks))}"
        )
    return f"as {order.role.name} of {name}: {'; '.join(parts)}. It ends at {end}"


def is_order(offer: Offer) -> bool:
    """Whether an offer is an order to curators or for slots. One that also says where it serves is not published."""
    return "curation" in offer.document or "promotion" in offer.document
