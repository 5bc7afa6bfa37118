"""Sponsored slots: at most three labelled rows of a discovery answer, sold by second price, paid by the sale alone.

    worth    = min(bid, most)                                  most: what the sponsor's own line can pay of the call
    rank     = worth * relevance * quality * odds              odds: the part of first sales that the sponsor pays for
    price_k  = max(ceil(next rank / (relevance * quality * odds)), ceil(reserve / odds)), never above its worth

The next rank is the best one below that would take the place: of the next row, or of another sponsor of the same
subject. With nobody below, the reserve alone counts.

Whoever earns a line of a subject can promote it out of that line: its owner (maker, OEM or weaver), a provider, the
deliverer; a curator out of its commission. A slot is charged on the consumer's first paid call of the subject within a
day of being shown, if its sponsor's line is in that call's terms; being shown or clicked costs nothing. A consumer that
already buys the subject is not shown the slot.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from ledger.core.catalog.bids import Deduction, Role, Terms
from ledger.core.pricing import commissions
from ledger.core.pricing.commissions import CAP_PPM, Referral, Sponsorship
from ledger.core.values.atoms import MAX_ATOMS, PPM, Atoms, Ppm, ceil_div
from ledger.core.values.ids import Address, Digest

MAX_SLOTS = 3
MAX_ORDERS = 16
"""Orders for slots of one subject that are looked at beside its owner's, the highest bids first: as many of curators as
of who has a line of it.
"""
MAX_BIDDERS = 64
"""Bids that are looked at for one answer, the highest ranks first: what each has paid today is looked up."""
WINDOW_MS = 24 * 3_600_000
DAY_MS = 24 * 3_600_000
RESERVE: Atoms = 10
"""What a sold slot costs at least: a sponsor that is alone pays it."""


class Bidder(NamedTuple):
    """A sponsor's bid for a slot. Relevance, quality and odds are measured, not declared.

    `left` is what its daily cap leaves; a bidder that cannot pay its own bid is not shown. `most` is what its line can
    pay of the call that the consumer expects: a bid above it counts for no more. `odds_ppm` are below 10^6 for a
    provider: it pays for the sales that it serves.
    """

    subject: Digest
    bid: Atoms
    left: Atoms
    relevance_ppm: Ppm
    quality_ppm: Ppm
    sponsor: Address = Address(bytes(20))
    role: Role = Role.maker
    most: Atoms = MAX_ATOMS
    odds_ppm: Ppm = PPM

    @property
    def worth(self) -> Atoms:
        return min(self.bid, self.most)

    @property
    def weight(self) -> int:
        return self.relevance_ppm * self.quality_ppm * self.odds_ppm

    @property
    def rank(self) -> int:
        return self.worth * self.weight

    def least(self, reserve: Atoms) -> Atoms:
        """What it pays at least for a sale, so that its slot brings the reserve on average."""
        return ceil_div(reserve * PPM, self.odds_ppm)

    def pays(self, reserve: Atoms = RESERVE) -> bool:
        """Whether its line and its bid cover what it pays at least, and it has a place in the ranks at all."""
        return bool(self.weight) and self.worth >= max(self.least(reserve), 1)


class Slot(NamedTuple):
    """A row to show, who pays if it sells, and how much."""

    subject: Digest
    price: Atoms
    sponsor: Address = Address(bytes(20))
    role: Role = Role.maker


class Impression(NamedTuple):
    """A slot as it was shown to one consumer: its price, on which surface, when (ms), and whose order it is of."""

    price: Atoms
    surface: Address
    shown_at: int
    sponsorship: Sponsorship


def auction(bidders: Sequence[Bidder], reserve: Atoms = RESERVE, slots: int = MAX_SLOTS) -> list[Slot]:
    """The rows to show, best first, each at the least bid that keeps its place. One row per subject.

    A sponsor with several orders for a subject counts once, by its best. Of two equal ranks the lower ids come first.
    """
    best: dict[tuple[Digest, Address], Bidder] = {}
    for one in bidders:
        if not one.pays(reserve) or one.left < one.worth:
            continue
        known = best.get((one.subject, one.sponsor))
        if known is None or one.rank > known.rank:
            best[one.subject, one.sponsor] = one
    ranked = sorted(best.values(), key=lambda one: (-one.rank, one.subject, one.sponsor))
    rows: dict[Digest, list[Bidder]] = {}
    for one in ranked:
        rows.setdefault(one.subject, []).append(one)
    shown = list(rows.values())
    return [
        Slot(row[0].subject, _price(row[0], row[1:2] + [below[0] for below in shown[place + 1 : place + 2]], reserve),
             row[0].sponsor, row[0].role)
        for place, row in enumerate(shown[:slots])
    ]  # fmt: skip


def most_of(own: Atoms) -> Atoms:
    """The most that a sponsor pays for a slot, of its line; a curator of its commission. It keeps a tenth at least."""
    return own * CAP_PPM // PPM


def sells(impression: Impression | None, bought_since: bool, now: int) -> Atoms:
    """The charge of a slot on this call: its price on the first paid call within the window, otherwise 0.

    `bought_since`: whether the consumer has already paid for the subject since the window began.
    """
    if impression is None or bought_since or not impression.shown_at <= now < impression.shown_at + WINDOW_MS:
        return 0
    return impression.price


def deduction(
    terms: Terms, amounts: Sequence[Atoms], owner: Sponsorship | None, referral: Referral | None,
    impression: Impression | None, treasury: Address,
) -> Deduction | None:  # fmt: skip
    """What is deducted from one line of a call: a curator's commission, the price of a slot, or both. None for neither.

    `amounts` are those of the lines. A referral goes first: it is the owner's line that pays it, so another's slot is
    not sold by that call. A curator's slot takes nothing more of the owner's line than its commission.
    """
    paying = owner if referral is not None or impression is None else impression.sponsorship
    sponsor = commissions.sponsor_of(terms, paying) if paying is not None else None
    if sponsor is None:
        return None
    plain = Deduction(sponsor.line, treasury=treasury)
    if referral is not None:
        plain = replace(plain, curator=referral.curator, offer_ppm=sponsor.offer_ppm, keep_ppm=referral.keep_ppm)
    if impression is None:
        return plain
    whose = (impression.sponsorship.party, impression.sponsorship.role)
    shown = replace(plain, promotion=impression.price, surface=impression.surface)
    if referral is None or (owner is not None and whose == (owner.party, owner.role)):
        return shown
    if whose != (referral.curator, Role.curator):
        return plain
    return _of_commission(shown, amounts[sponsor.line]) or plain


def _of_commission(shown: Deduction, line: Atoms) -> Deduction | None:
    """A deduction whose slot its curator pays, for a sponsor's line of this amount. None when it has too little.

        promotion  = min(price, floor(0.9 * what the curator keeps))
        offer      = floor((commission - promotion) * 10^6 / line)       rounded down: the owner gives no more
        keep       = floor((rest - rebate) * 10^6 / rest)                rounded down: to the consumer

    `rest` is the commission at that offer, `rebate` the consumer's part of the whole one.
    """
    commission = commissions.commission(line, shown.offer_ppm)
    kept = commission * shown.keep_ppm // PPM
    promotion = min(shown.promotion, most_of(kept))
    if not promotion:
        return None
    offer_ppm = (commission - promotion) * PPM // line
    rest = commissions.commission(line, offer_ppm)
    keep_ppm = max(0, rest - (commission - kept)) * PPM // rest if rest else PPM
    return replace(shown, offer_ppm=offer_ppm, keep_ppm=keep_ppm, promotion=promotion)


def _price(bidder: Bidder, below: Sequence[Bidder], reserve: Atoms) -> Atoms:
    least = max((ceil_div(one.rank, bidder.weight) for one in below), default=0)
    return min(bidder.worth, max(least, bidder.least(reserve)))
