"""Referrals and sponsored slots: who referred a call, or which slot led to it, and what its sponsor pays for that.

Nothing here changes a price. A call with a curator's token, or the first one after a sponsored slot was shown, is
settled on the same terms with a deduction beside them. A window counts a consumer's referred calls from the receipt
log; a call that is not charged gives its place in the window back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Engine
from sqlmodel import Session

from gateway.catalog.catalog import Entry
from gateway.database import transact, transact_aside
from gateway.errors import Refusal
from ledger.core.catalog.bids import Role
from ledger.core.pricing import commissions
from ledger.core.pricing import promotion as slots
from ledger.core.pricing.commissions import Referral, Sponsor, Sponsorship
from ledger.core.pricing.price import Tariff, compile_terms
from ledger.core.pricing.promotion import DAY_MS, WINDOW_MS, Bidder, Impression, Slot
from ledger.core.values.atoms import PPM, Atoms
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import ZERO_ADDRESS, Address, Digest, Lane, to_hex
from ledger.core.values.meters import Units
from ledger.core.values.typed_data import Domain
from ledger.flows import receipt_log
from ledger.store.receipts import referrals as counted

HEADER = b"tollway-referral"
KEPT = 100_000
"""The most windows and impressions remembered. An impression that is forgotten is a slot that is not charged."""
Pair = tuple[Address, Digest]
"""A consumer and a subject."""
Transact = Callable[[Engine, Callable[[Session], Any]], Awaitable[Any]]
"""Asks the database for a call, or aside of calls."""


@dataclass(slots=True)
class ReferralContext:
    """The cause of a call: a referral, a shown slot, or both. Kept until it is known whether the call was charged.

    `sponsorship` is the subject's owner's. `sold`: the terms of the call charge the slot.
    """

    referrals: Referrals
    pair: Pair
    sponsorship: Sponsorship | None
    referral: Referral | None
    impression: Impression | None
    now: int
    sold: bool = False

    async def terms(self, plain: Tariff, units: Units, subcall_total: Atoms = 0) -> Tariff:
        """The same terms with the deduction beside them, stored, for a call that used these units. The plain ones where
        no line of them sponsors it.
        """
        amounts = plain.charge(units, subcall_total).amounts
        deduction = slots.deduction(
            plain.terms, amounts, self.sponsorship, self.referral, self.impression, self.referrals.treasury
        )
        if deduction is None:
            return plain
        self.sold = deduction.surface != ZERO_ADDRESS
        reduced = compile_terms(replace(plain.terms, deduction=deduction))
        await self.referrals.store(reduced)
        return reduced

    @property
    def paid_by(self) -> str:
        """Who pays for the slot, in which role; "" if it is not sold."""
        return paid_by(self.impression.sponsorship) if self.impression is not None and self.sold else ""

    def end(self, charged: bool) -> None:
        """The call is over. Charged, it has used its place in the window and the slot; else both are given back."""
        if self.impression is not None and not (charged and self.sold):
            self.referrals.give_back(self.pair[1], self.impression, self.now)
        if charged:
            return
        if self.referral is not None and self.pair in self.referrals.referred:
            self.referrals.referred[self.pair] -= 1
        if self.impression is not None:
            self.referrals.shown.setdefault(self.pair, self.impression)


def paid_by(order: Sponsorship) -> str:
    """A sponsor as the note beside a receipt names it."""
    return f"{to_hex(order.party)}/{order.role.name}"


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
        self._spent: dict[tuple[Digest, str], tuple[int, Atoms]] = {}
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
        owner, referral = entry.sponsorship, None
        if token is not None:
            referral = await self._count(self._read(token), pair, owner, now)
        if impression is not None and not await self._is_sold(impression, pair, now):
            impression = None
        if impression is not None and referral is None and impression.sponsorship.role is Role.curator:
            referral = await self._count(_own_referral(impression, entry.id), pair, owner, now)
        if referral is None and impression is None:
            return None
        return ReferralContext(self, pair, owner, referral, impression, now)

    async def auction(
        self, bids: Sequence[tuple[Bidder, Sponsorship]], consumer: Address | None, now: int
    ) -> list[Slot]:
        """The slots to show for these bids. A consumer who buys a subject already is not shown its slot, nor a curator
        its own.
        """
        bidders = []
        for bidder, order in sorted(bids, key=lambda one: -one[0].rank)[: slots.MAX_BIDDERS]:
            if order.role is not Role.curator or order.party != consumer:
                spent = await self._spent_today(bidder.subject, paid_by(order), now, transact_aside)
                bidders.append(bidder._replace(left=max(0, order.slot_daily_cap - spent)))
        while True:
            shown, bought = slots.auction(bidders), []
            for slot in shown:
                if consumer is not None and await self._buys((consumer, slot.subject), now, transact_aside):
                    bought.append(slot.subject)
            if not bought:
                return shown
            bidders = [one for one in bidders if one.subject not in bought]

    def show(self, consumer: Address, slot: Slot, entry: Entry, surface: Address, now: int) -> None:
        """Remember that a consumer was shown a slot. Only the first showing in a window counts."""
        pair = (consumer, slot.subject)
        before = self.shown.get(pair)
        if before is None or now >= before.shown_at + WINDOW_MS:
            order = next(one for one in entry.orders if (one.party, one.role) == (slot.sponsor, slot.role))
            self.shown[pair] = Impression(slot.price, surface, now, order)
            while len(self.shown) > KEPT:
                self.shown.popitem(last=False)

    async def store(self, reduced: Tariff) -> None:
        """Store terms before a receipt names them."""
        if reduced.id not in self._stored:
            await transact(self._engine, lambda session: receipt_log.store_terms(session, [reduced.body]))
            if len(self._stored) >= KEPT:
                self._stored.clear()
            self._stored.add(reduced.id)

    def give_back(self, subject: Digest, impression: Impression, now: int) -> None:
        """A slot was not sold after all: its price is not among the day's."""
        key = (subject, paid_by(impression.sponsorship))
        day, spent = self._spent.get(key, (0, 0))
        if day == now // DAY_MS:
            self._spent[key] = (day, max(0, spent - impression.price))

    async def _is_sold(self, impression: Impression, pair: Pair, now: int) -> bool:
        """Whether this call buys what was shown, within what its sponsor pays in a day. Its price is counted among the
        day's at once, so that calls at the same time do not pass the sponsor's cap together.
        """
        if not slots.sells(impression, await self._buys(pair, now), now):
            return False
        order, subject = impression.sponsorship, pair[1]
        spent = impression.price + await self._spent_today(subject, paid_by(order), now)
        if spent > order.slot_daily_cap:
            return False
        self._spent[subject, paid_by(order)] = (now // DAY_MS, spent)
        return True

    def _read(self, token: bytes) -> Referral:
        try:
            return commissions.read(token.decode("latin-1"), self._domain)
        except Rejected as rejected:
            raise Refusal(400, "invalid_referral", rejected.message, param="Tollway-Referral") from rejected

    async def _count(
        self, referral: Referral, pair: Pair, sponsorship: Sponsorship | None, now: int
    ) -> Referral | None:
        """A referral that earns something on this call, which takes its place in the window; else None."""
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

    async def _buys(self, pair: Pair, now: int, run: Transact = transact) -> bool:
        since = max(0, now - WINDOW_MS)
        bought: bool = await run(self._engine, lambda session: counted.bought_since(session, self._lane, *pair, since))
        return bought

    async def _spent_today(self, subject: Digest, payer: str, now: int, run: Transact = transact) -> Atoms:
        today, key = now // DAY_MS, (subject, payer)
        known = self._spent.get(key)
        if known is None or known[0] != today:
            spent = await run(
                self._engine, lambda session: counted.promoted_since(session, self._lane, key, today * DAY_MS)
            )
            known = self._spent.get(key)
            if len(self._spent) >= KEPT:
                self._spent.clear()
            if known is None or known[0] != today:  # or a call counted meanwhile
                self._spent[key] = known = (today, spent)
        return known[1]


def _own_referral(impression: Impression, subject: Digest) -> Referral:
    """A curator's slot refers the call that it sells: the curator keeps the whole commission, and pays out of it."""
    until = impression.shown_at + WINDOW_MS
    return Referral(impression.sponsorship.party, subject, PPM, commissions.LONGEST_WINDOW, until)
