"""Referrals and sponsored slots: who referred a call, or which slot led to it, and what its sponsor pays for that.

Nothing here changes a price. A call with a curator's token, or the first one after a sponsored slot was shown, is
settled on the same terms with a deduction beside them. Windows and daily caps are budgets of all gateways of the lane
(`ledger.store.receipts.referral_budgets`); a call that is not charged gives back what it took.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

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
from ledger.core.values.errors import Rejected, TollwayError
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_ADDRESS, Address, Digest, Lane, to_hex
from ledger.core.values.meters import Units
from ledger.core.values.typed_data import Domain
from ledger.flows import receipt_log
from ledger.store.receipts import referral_budgets as budgets
from ledger.store.receipts import referrals as counted
from ledger.store.receipts.referral_budgets import Claim

log = logging.getLogger("tollway.calls")

HEADER = b"tollway-referral"
KEPT = 100_000
"""The most impressions remembered. One that is forgotten is a slot that is not charged."""
Pair = tuple[Address, Digest]
"""A consumer and a subject."""


@dataclass(slots=True)
class ReferralContext:
    """The cause of a call: a referral, a shown slot, or both. Kept until it is known whether the call was charged.

    `sponsorship` is the subject's owner's. `taken` are the budgets that the call has claimed of; `paid` those out of
    which its terms pay: if it is charged, they stay used.
    """

    referrals: Referrals
    call: Digest
    pair: Pair
    sponsorship: Sponsorship | None
    now: int
    referral: Referral | None = None
    impression: Impression | None = None
    taken: list[Digest] = field(default_factory=list)
    paid: set[Digest] = field(default_factory=set)
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
        if deduction.curator != ZERO_ADDRESS:
            self.paid.add(window_of(self.pair))
        if self.sold and self.impression is not None:
            self.paid.add(day_of(self.pair[1], self.impression.sponsorship, self.now))
        reduced = compile_terms(replace(plain.terms, deduction=deduction))
        await self.referrals.store(reduced)
        return reduced

    @property
    def paid_by(self) -> str:
        """Who pays for the slot, in which role; "" if it is not sold."""
        return paid_by(self.impression.sponsorship) if self.impression is not None and self.sold else ""

    def end(self, charged: bool) -> None:
        """The call is over. Charged, it has used its place in the window and the slot; else both are given back."""
        if self.impression is not None and not charged:
            self.referrals.shown.setdefault(self.pair, self.impression)
        self.referrals.end(self, self.paid if charged else ())


def paid_by(order: Sponsorship) -> str:
    """A sponsor as the note beside a receipt names it."""
    return f"{to_hex(order.party)}/{order.role.name}"


def window_of(pair: Pair) -> Digest:
    """The budget of a consumer's referred calls of a subject."""
    return keccak256(b"window", *pair)


def sale_to(pair: Pair) -> Digest:
    """The budget of a consumer's first sale of a subject: one, while it is under way. Then its receipt says so."""
    return keccak256(b"sale", *pair)


def day_of(subject: Digest, order: Sponsorship, now: int) -> Digest:
    """The budget of a sponsor's slots of a subject on the day of `now` (ms)."""
    return keccak256(b"day", subject, paid_by(order).encode(), (now // DAY_MS).to_bytes(8, "big"))


class Referrals:
    """A gateway's memory of the slots shown. Windows and daily caps are the lane's, in the database: all gateways
    together keep to them. A call without a referral or a slot writes nothing there.

    A claim of a call that is neither charged nor given back ends after `longest_ms`.
    """

    def __init__(self, engine: Engine, lane: Lane, domain: Domain, treasury: Address, longest_ms: int) -> None:
        self.treasury = treasury
        self._engine, self._lane = engine, lane
        self._domain = domain
        self._longest_ms = longest_ms
        self.shown: OrderedDict[Pair, Impression] = OrderedDict()
        self._stored: set[Digest] = set()
        self._ending: dict[Digest, asyncio.Task[None]] = {}

    async def find(
        self, call: Digest, consumer: Address, entry: Entry, headers: Mapping[bytes, bytes], now: int
    ) -> ReferralContext | None:
        """The cause of this call, or None. Refused when its token is forged; a true token may still earn nothing."""
        token, pair = headers.get(HEADER), (consumer, entry.id)
        referral = self._read(token) if token is not None else None
        shown = self.shown.pop(pair, None)
        if referral is None and shown is None:
            return None
        if call in self._ending:  # the same call again
            await self._ending[call]
        cause = ReferralContext(self, call, pair, entry.sponsorship, now)
        try:
            if referral is not None and await self._counts(cause, referral):
                cause.referral = referral
            if shown is not None and await self._sells(cause, shown):
                cause.impression = shown
                if cause.referral is None and shown.sponsorship.role is Role.curator:
                    own = _own_referral(shown, entry.id)
                    cause.referral = own if await self._counts(cause, own) else None
        except BaseException:
            if shown is not None:
                self.shown.setdefault(pair, shown)
            self.end(cause, ())
            raise
        if cause.referral is None and cause.impression is None:
            self.end(cause, ())
            return None
        return cause

    def end(self, cause: ReferralContext, paid: Collection[Digest]) -> None:
        """End a call's claims, those that it `paid` out of as used. No answer waits for it."""
        if cause.taken:
            task = self._ending[cause.call] = asyncio.create_task(self._end(cause, frozenset(paid)))
            task.add_done_callback(lambda _: self._ending.pop(cause.call, None))

    async def close(self) -> None:
        """Wait until the claims of the calls that are over have ended."""
        await asyncio.gather(*self._ending.values())

    async def _end(self, cause: ReferralContext, paid: Collection[Digest]) -> None:
        """Each in a transaction of its own, so that no two calls wait for each other's."""
        for budget in dict.fromkeys(cause.taken):
            end = partial(budgets.end, lane=self._lane, budget=budget, call=cause.call, paid=budget in paid)
            try:
                await transact(self._engine, end)
            except TollwayError as error:
                log.warning("referral_not_ended", extra={"reason": error.message})

    async def auction(
        self, bids: Sequence[tuple[Bidder, Sponsorship]], consumer: Address | None, now: int
    ) -> list[Slot]:
        """The slots to show for these bids. A consumer who buys a subject already is not shown its slot, nor a curator
        its own.
        """
        able = [one for one in bids if one[1].role is not Role.curator or one[1].party != consumer]
        able = sorted(able, key=lambda one: -one[0].rank)[: slots.MAX_BIDDERS]
        if not able:
            return []
        days = [day_of(bidder.subject, order, now) for bidder, order in able]
        spent = await transact_aside(self._engine, lambda session: budgets.used(session, self._lane, days))
        bidders = [
            bidder._replace(left=max(0, order.slot_daily_cap - spent.get(day, 0)))
            for (bidder, order), day in zip(able, days, strict=True)
        ]
        while True:
            shown, bought = slots.auction(bidders), []
            for slot in shown:
                if consumer is not None and await self._buys((consumer, slot.subject), now):
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

    async def _sells(self, cause: ReferralContext, shown: Impression) -> bool:
        """Whether this call buys what was shown: it is the consumer's first, which no other gateway makes meanwhile,
        and within what its sponsor pays in a day.
        """
        pair, now, order = cause.pair, cause.now, shown.sponsorship
        since, subject = max(0, now - WINDOW_MS), cause.pair[1]
        today = now // DAY_MS * DAY_MS
        first = self._claim(cause, sale_to(pair), 1, 1)
        day = self._claim(cause, day_of(subject, order, now), shown.price, order.slot_daily_cap)

        def work(session: Session) -> bool:
            if not budgets.take(session, first, lambda: 0, now):
                return False
            if not slots.sells(shown, counted.bought_since(session, self._lane, *pair, since), now):
                return False
            paid = (subject, paid_by(order))
            return budgets.take(session, day, lambda: counted.promoted_since(session, self._lane, paid, today), now)

        sold: bool = await transact(self._engine, work)
        return sold

    def _read(self, token: bytes) -> Referral:
        try:
            return commissions.read(token.decode("latin-1"), self._domain)
        except Rejected as rejected:
            raise Refusal(400, "invalid_referral", rejected.message, param="Tollway-Referral") from rejected

    async def _counts(self, cause: ReferralContext, referral: Referral) -> bool:
        """Whether a referral earns something on this call, which takes its place in the window."""
        (consumer, subject), sponsorship, now = cause.pair, cause.sponsorship, cause.now
        sponsor = Sponsor(0, sponsorship.offer_ppm, sponsorship.window_calls) if sponsorship else None
        if sponsor is None or commissions.idle(referral, subject, consumer, sponsor, now):
            return False
        claim = self._claim(cause, window_of(cause.pair), 1, commissions.window(referral, sponsor))

        def work(session: Session) -> bool:
            before = partial(counted.referred_calls, session, self._lane, consumer, subject)
            return budgets.take(session, claim, before, now)

        counts: bool = await transact(self._engine, work)
        return counts

    def _claim(self, cause: ReferralContext, budget: Digest, amount: Atoms, most: Atoms) -> Claim:
        """A claim of a call, which ends with it: also when nobody hears whether it was made."""
        cause.taken.append(budget)
        return Claim(self._lane, cause.call, budget, amount, most, cause.now + self._longest_ms)

    async def _buys(self, pair: Pair, now: int) -> bool:
        since = max(0, now - WINDOW_MS)
        bought: bool = await transact_aside(
            self._engine, lambda session: counted.bought_since(session, self._lane, *pair, since)
        )
        return bought


def _own_referral(impression: Impression, subject: Digest) -> Referral:
    """A curator's slot refers the call that it sells: the curator keeps the whole commission, and pays out of it."""
    until = impression.shown_at + WINDOW_MS
    return Referral(impression.sponsorship.party, subject, PPM, commissions.LONGEST_WINDOW, until)
