"""Referrals and sponsored slots: who referred a call, or which slot led to it, and what its sponsor pays for that.

Nothing here changes a price. A call with a curator's token, or the first one after a sponsored slot was shown, is
settled on the same terms with a deduction beside them. A window counts a consumer's referred calls from the receipt
log; a call that is not charged gives its place in the window back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Engine

from gateway.catalog.catalog import Entry, ModelEntry
from gateway.database import transact
from gateway.errors import Refusal
from ledger.core.pricing import commissions, eligibility
from ledger.core.pricing import promotion as slots
from ledger.core.pricing.commissions import Referral, Sponsor, Sponsorship
from ledger.core.pricing.price import Tariff, compile_terms
from ledger.core.pricing.promotion import DAY_MS, WINDOW_MS, Bidder, Impression, Slot
from ledger.core.values.atoms import PPM, Atoms
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import ZERO_ADDRESS, Address, Digest, Lane
from ledger.core.values.typed_data import Domain
from ledger.flows import receipt_log
from ledger.store.receipts import referrals as counted

HEADER = b"tollway-referral"
KEPT = 100_000
"""The most windows and impressions remembered. An impression that is forgotten is a slot that is not charged."""
Pair = tuple[Address, Digest]
"""A consumer and a subject."""


@dataclass(slots=True)
class ReferralContext:
    """The cause of a call: a referral, a shown slot, or both. Kept until it is known whether the call was charged."""

    referrals: Referrals
    pair: Pair
    sponsorship: Sponsorship
    referral: Referral | None
    impression: Impression | None
    now: int

    async def terms(self, plain: Tariff) -> Tariff:
        """The same terms with the deduction beside them, stored. The plain ones where the sponsor has no line."""
        sponsor = commissions.sponsor_of(plain.terms, self.sponsorship)
        if sponsor is None:
            return plain
        promotion, surface = (self.impression.price, self.impression.surface) if self.impression else (0, ZERO_ADDRESS)
        deduction = commissions.deduction(
            plain.terms, sponsor, self.referral, promotion, surface, self.referrals.treasury
        )
        reduced = compile_terms(replace(plain.terms, deduction=deduction))
        await self.referrals.store(reduced)
        return reduced

    def end(self, charged: bool) -> None:
        """The call is over. Charged, it has used its place in the window and the slot; else both are given back."""
        if charged:
            if self.impression is not None:
                self.referrals.count_spent(self.pair[1], self.impression.price, self.now)
            return
        if self.referral is not None and self.pair in self.referrals.referred:
            self.referrals.referred[self.pair] -= 1
        if self.impression is not None:
            self.referrals.shown.setdefault(self.pair, self.impression)


class Referrals:
    """A gateway's memory: calls counted in each window, slots shown, and the cost of each sponsor's slots today.

    All of it but the slots shown is in the ledger, so forgetting it costs no sponsor anything.
    """

    def __init__(self, engine: Engine, lane: Lane, domain: Domain, treasury: Address) -> None:
        self.treasury = treasury
        self._engine, self._lane = engine, lane
        self._domain = domain
        self.referred: OrderedDict[Pair, int] = OrderedDict()
        self.shown: OrderedDict[Pair, Impression] = OrderedDict()
        self._spent: dict[Digest, tuple[int, Atoms]] = {}
        self._stored: set[Digest] = set()

    async def find(
        self, consumer: Address, entry: Entry, headers: Mapping[bytes, bytes], now: int
    ) -> ReferralContext | None:
        """The cause of this call, or None. Refused when its token is forged; a true token may still earn nothing."""
        token = headers.get(HEADER)
        pair = (consumer, entry.id)
        impression = self.shown.pop(pair, None)
        if token is None and impression is None:
            return None
        sponsorship = entry.sponsorship
        referral = await self._referral(token, pair, sponsorship, now) if token is not None else None
        if impression is not None and sponsorship is not None:
            bought = await self._buys(pair, now)
            if not slots.sells(impression, bought, now):
                impression = None
        if sponsorship is None or (referral is None and impression is None):
            return None
        return ReferralContext(self, pair, sponsorship, referral, impression, now)

    async def auction(
        self, scored: Sequence[tuple[ModelEntry, Atoms]], task: str, consumer: Address | None, now: int
    ) -> list[Slot]:
        """The slots to show for a task above these entries, each with its effective price. A consumer who buys from a
        sponsor already is not shown its slot.
        """
        sponsored = [
            (entry, entry.sponsorship, score)
            for entry, score in scored
            if entry.sponsorship is not None and task in entry.sponsorship.slot_tasks
        ]
        best = min((score for *_, score in sponsored), default=0)
        bidders = []
        for entry, sponsorship, score in sponsored:
            if not sponsorship.slot_bid or (consumer is not None and await self._buys((consumer, entry.id), now)):
                continue
            left = max(0, sponsorship.slot_daily_cap - await self._spent_today(entry.id, now))
            relevance = PPM * (best + 1) // (score + 1)
            quality = max((one.health.quality_ppm for one in eligibility.alive(entry.candidates)), default=0)
            bidders.append(Bidder(entry.id, sponsorship.slot_bid, left, relevance, quality))
        return slots.auction(bidders)

    def show(self, consumer: Address, slot: Slot, surface: Address, now: int) -> None:
        """Remember that a consumer was shown a slot. Only the first showing in a window counts."""
        pair = (consumer, slot.subject)
        before = self.shown.get(pair)
        if before is None or now >= before.shown_at + WINDOW_MS:
            self.shown[pair] = Impression(slot.price, surface, now)
            while len(self.shown) > KEPT:
                self.shown.popitem(last=False)

    async def store(self, reduced: Tariff) -> None:
        """Store terms before a receipt names them."""
        if reduced.id not in self._stored:
            await transact(self._engine, lambda session: receipt_log.store_terms(session, [reduced.body]))
            if len(self._stored) >= KEPT:
                self._stored.clear()
            self._stored.add(reduced.id)

    def count_spent(self, subject: Digest, price: Atoms, now: int) -> None:
        """A slot was sold: count its price among the day's."""
        day, spent = self._spent.get(subject, (0, 0))
        today = now // DAY_MS
        self._spent[subject] = (today, price + (spent if day == today else 0))

    async def _referral(self, token: bytes, pair: Pair, sponsorship: Sponsorship | None, now: int) -> Referral | None:
        try:
            referral = commissions.read(token.decode("latin-1"), self._domain)
        except Rejected as rejected:
            raise Refusal(400, "invalid_referral", rejected.message, param="Tollway-Referral") from rejected
        consumer, subject = pair
        sponsor = Sponsor(0, sponsorship.offer_ppm, sponsorship.window_calls) if sponsorship else None
        if sponsor is None or commissions.idle(referral, subject, consumer, sponsor, now):
            return None
        if pair not in self.referred:
            before = await transact(
                self._engine, lambda session: counted.referred_calls(session, self._lane, consumer, subject)
            )
            self.referred.setdefault(pair, before)
            while len(self.referred) > KEPT:
                self.referred.popitem(last=False)
        if self.referred[pair] >= commissions.window(referral, sponsor):
            return None
        self.referred[pair] += 1
        return referral

    async def _buys(self, pair: Pair, now: int) -> bool:
        since = max(0, now - WINDOW_MS)
        return await transact(self._engine, lambda session: counted.bought_since(session, self._lane, *pair, since))

    async def _spent_today(self, subject: Digest, now: int) -> Atoms:
        today = now // DAY_MS
        known = self._spent.get(subject)
        if known is None or known[0] != today:
            spent = await transact(
                self._engine, lambda session: counted.promoted_since(session, self._lane, subject, today * DAY_MS)
            )
            self._spent[subject] = known = (today, spent)
        return known[1]
