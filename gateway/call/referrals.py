"""Referring and showing: whose word, or whose slot, brought a call, and what its sponsor gives away for it.

Nothing here changes a price. A call with a curator's token, or the first one after a sponsored slot was shown, is
settled on the same terms with a carve beside them. Windows are counted from the journal; a call that is not charged
gives its place in the window back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.call.referral_state import KEPT, Place, ReferralState
from gateway.catalog.catalog import Entry
from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.payment.auth import Caller
from ledger.core.pricing import commissions
from ledger.core.pricing import promotion as slots
from ledger.core.pricing.commissions import Referral, Sponsor, Sponsorship
from ledger.core.pricing.price import Tariff, compile_terms
from ledger.core.pricing.promotion import DAY_MS, WINDOW_MS, Bidder, Impression, Slot
from ledger.core.values.atoms import Atoms
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest, address
from ledger.flows import receipt_log
from ledger.store.receipts import referrals as counted

HEADER, SURFACE = b"tollway-referral", b"tollway-surface"


@dataclass(slots=True)
class ReferralContext:
    """A call that somebody brought: the carve it is settled with, until it is known whether it was charged."""

    gateway: Gateway
    place: Place
    sponsorship: Sponsorship
    referral: Referral | None
    impression: Impression | None
    now: int

    async def terms(self, plain: Tariff) -> Tariff:
        """The same terms with the carve beside them, stored. The plain ones where the sponsor has no line."""
        line = sponsor_line(plain, self.sponsorship)
        if line is None:
            return plain
        sponsor = Sponsor(line, self.sponsorship.offer_ppm, self.sponsorship.window_calls)
        promotion, surface = (self.impression.price, self.impression.surface) if self.impression else (0, bytes(20))
        deduction = commissions.deduction(
            plain.terms, sponsor, self.referral, promotion, Address(surface), self.gateway.treasury
        )
        made = compile_terms(replace(plain.terms, deduction=deduction))
        referral_state = self.gateway.referral_state
        if made.id not in referral_state.stored:
            await self.gateway.db(lambda session: receipt_log.store_terms(session, [made.body]))
            referral_state.stored.add(made.id)
        return made

    def end(self, charged: bool) -> None:
        """The call is over: charged, it has used its place; otherwise the place, or the slot, is there again."""
        referral_state = self.gateway.referral_state
        if charged:
            if self.impression is not None:
                day, spent = _today(referral_state, self.place[1], self.now)
                referral_state.spent[self.place[1]] = (day, spent + self.impression.price)
            return
        if self.referral is not None and self.place in referral_state.referred:
            referral_state.referred[self.place] -= 1
        if self.impression is not None:
            referral_state.shown.setdefault(self.place, self.impression)


async def referral(
    gateway: Gateway, caller: Caller, entry: Entry, headers: Mapping[bytes, bytes], now: int
) -> ReferralContext | None:
    """Who brought this call, or None. Refused when its token is forged; a true one may still earn nothing."""
    token = headers.get(HEADER)
    place = (caller.consumer, entry.id)
    impression = gateway.referral_state.shown.pop(place, None)
    if token is None and impression is None:
        return None
    sponsorship = entry.sponsorship
    referral = await _referral(gateway, token, place, sponsorship, now) if token is not None else None
    if impression is not None and sponsorship is not None:
        since = max(0, now - WINDOW_MS)
        bought = await gateway.db(lambda session: counted.bought_since(session, *place, since))
        if not slots.sells(impression, bought, now):
            impression = None
    if sponsorship is None or (referral is None and impression is None):
        return None
    return ReferralContext(gateway, place, sponsorship, referral, impression, now)


def sponsor_line(tariff: Tariff, sponsorship: Sponsorship) -> int | None:
    """Which line of the terms pays: the sponsor's own, in its role."""
    for index, line in enumerate(tariff.terms.lines):
        if (line.party, line.role) == (sponsorship.party, sponsorship.role):
            return index
    return None


def surface_of(headers: Mapping[str, str], gateway: Gateway) -> Address:
    """Who shows a discovery answer: the `Tollway-Surface` the request names, else this gateway's operator."""
    named = headers.get(SURFACE.decode())
    return address(named) if named else gateway.operator


async def loader(
    gateway: Gateway, entries: Mapping[Digest, tuple[Entry, int]], caller: Caller | None, now: int
) -> list[Slot]:
    """The slots to show above these entries (each with its effective price). One who buys already is shown nothing."""
    best = min((score for _, score in entries.values()), default=0)
    bidders = []
    for subject, (entry, score) in entries.items():
        sponsorship = entry.sponsorship
        if sponsorship is None or not sponsorship.slot_bid:
            continue
        if caller is not None and await _buys(gateway, caller.consumer, subject, now):
            continue
        left = max(0, sponsorship.slot_daily_cap - await _spent(gateway, subject, now))
        relevance = 1_000_000 * (best + 1) // (score + 1)
        bidders.append(Bidder(subject, sponsorship.slot_bid, left, relevance, quality(entry)))
    return slots.auction(bidders)


def quality(entry: Entry) -> int:
    """The measured quality of the best of an entry's providers."""
    return max((one.health.quality_ppm for one in getattr(entry, "candidates", ())), default=1_000_000)


async def _referral(
    gateway: Gateway, token: bytes, place: Place, sponsorship: Sponsorship | None, now: int
) -> Referral | None:
    try:
        referral = commissions.read(token.decode("latin-1"), gateway.domain)
    except Rejected as rejected:
        raise Refusal(400, "invalid_referral", rejected.message, param="Tollway-Referral") from rejected
    consumer, subject = place
    sponsor = Sponsor(0, sponsorship.offer_ppm, sponsorship.window_calls) if sponsorship else None
    if sponsor is None or commissions.idle(referral, subject, consumer, sponsor, now):
        return None
    referral_state = gateway.referral_state
    if place not in referral_state.referred:
        before = await gateway.db(lambda session: counted.referred_calls(session, consumer, subject))
        referral_state.referred.setdefault(place, before)
        while len(referral_state.referred) > KEPT:
            referral_state.referred.popitem(last=False)
    if referral_state.referred[place] >= commissions.window(referral, sponsor):
        return None
    referral_state.referred[place] += 1
    return referral


async def _buys(gateway: Gateway, consumer: Address, subject: Digest, now: int) -> bool:
    since = max(0, now - WINDOW_MS)
    return await gateway.db(lambda session: counted.bought_since(session, consumer, subject, since))


async def _spent(gateway: Gateway, subject: Digest, now: int) -> Atoms:
    day = now // DAY_MS
    known = gateway.referral_state.spent.get(subject)
    if known is None or known[0] != day:
        spent = await gateway.db(lambda session: counted.promoted_since(session, subject, day * DAY_MS))
        gateway.referral_state.spent[subject] = (day, spent)
    return gateway.referral_state.spent[subject][1]


def _today(referral_state: ReferralState, subject: Digest, now: int) -> tuple[int, Atoms]:
    day, spent = referral_state.spent.get(subject, (now // DAY_MS, 0))
    return (day, spent) if day == now // DAY_MS else (now // DAY_MS, 0)
