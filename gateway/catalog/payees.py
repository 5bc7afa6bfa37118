"""What anybody may know of a payee: earnings in public batches, claims, stake, what was measured of its providers, and
what the same calls would have paid at other asks.

Whoever asks chooses the payee, so one reading is bounded (`MOST`), one at a time is made, and it is kept a while.
`tollway provider what-if` replays all public batch files on its user's machine.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Final

from sqlmodel import Session

from gateway.call import routing as routes
from gateway.catalog.catalog import Candidate, Catalog, Entry, ModelEntry
from gateway.catalog.prices import typical_price_of
from gateway.context import Gateway
from ledger.core.accounts import accounts
from ledger.core.accounts.postings import Balance
from ledger.core.catalog.bids import Role, decode
from ledger.core.pricing import eligibility, what_if
from ledger.core.pricing.price import compile_terms
from ledger.core.pricing.what_if import Call, Earned, Odds, Point
from ledger.core.settlement.batches import Status
from ledger.core.values.ids import Address, Digest
from ledger.store.chain import parties
from ledger.store.chain.parties import Stake
from ledger.store.money import postings
from ledger.store.settlement import batches, payees, proofs
from ledger.store.settlement.payees import Bounds, Paid

MOST: Final = Bounds(batches=1_000, receipts=10_000, found=1_000)
"""Batches whose sums are shown; receipts that are looked through, and replayed. A thousand take a tenth of a second of
a thread."""
WEEK_SECONDS: Final = 7 * 86_400
KEPT_SECONDS: Final = 30.0
KEPT: Final = 64
"""Payees whose readings are kept."""


@dataclass(frozen=True, slots=True)
class Record:
    """A payee's public record. `settled` is what final batches paid it in all, `waits` what each batch that is public
    and not final pays it. Calls are those of the last week's batches, from the newest back; `whole` says that all of
    them were replayed. Times are ms.
    """

    payee: Address
    index: int | None
    settled: int
    claimed: int
    paid: tuple[Paid, ...]
    stake: Stake | None
    calls: int
    first: int | None
    last: int | None
    whole: bool
    earned: Mapping[Earned, int]
    counts: Mapping[Earned, int]
    points: tuple[Point, ...]

    @property
    def claimable(self) -> int:
        """Final and not claimed. A claim that the ledger has seen counts, final or not."""
        return max(0, self.settled - self.claimed)

    @property
    def waits(self) -> list[Paid]:
        """What waits for the end of its batch's window, newest first."""
        return [one for one in self.paid if one.status is not Status.final]


class Payees:
    """Records that are read once for all who ask within KEPT_SECONDS, one after the other. A failure is not kept."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Address, tuple[float, Record]] = OrderedDict()
        self._turn = asyncio.Lock()

    async def read(self, gateway: Gateway, payee: Address) -> Record:
        """A payee's record as it is, or was a moment ago."""
        found = self._known(payee)
        if found is not None:
            return found
        async with self._turn:
            found = self._known(payee)
            if found is None:
                catalog = gateway.catalog
                now = gateway.now_ms() // 1_000
                found = await gateway.aside(lambda session: record(session, gateway, catalog, payee, now))
                self._kept[payee] = monotonic(), found
                self._kept.move_to_end(payee)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
        return found

    def _known(self, payee: Address) -> Record | None:
        at, found = self._kept.get(payee, (0.0, None))
        return found if found is not None and monotonic() - at < KEPT_SECONDS else None


def record(session: Session, gateway: Gateway, catalog: Catalog, payee: Address, now: int) -> Record:
    """A payee's record. `now` is in seconds of the network's time."""
    lane = gateway.lane
    paid = payees.paid(session, lane, payee, MOST.batches)
    final = batches.last_final(session, lane)
    proof = proofs.payout(session, final, payee) if final is not None else None
    name = accounts.claimable(payee)
    claimed = postings.entries(session, lane, name).get(name, Balance()).debits if paid or proof else 0
    recent = dict.fromkeys(one.number for one in paid if one.closed_at >= now - WEEK_SECONDS)
    found = payees.receipts(session, lane, payee, recent, MOST)
    calls = [Call(decode(body), receipt.units, receipt.subcall_total) for receipt, body in found.found]
    ended = [receipt.ended_at for receipt, _ in found.found]
    was = what_if.replay(calls, payee)
    return Record(
        payee=payee,
        index=parties.index_of(session, payee, lane),
        settled=proof.cumulative if proof is not None else 0,
        claimed=claimed,
        paid=tuple(paid),
        stake=parties.stake_of(session, payee),
        calls=len(calls),
        first=min(ended, default=None),
        last=max(ended, default=None),
        whole=found.whole,
        earned=was.earned,
        counts=was.calls,
        points=tuple(what_if.points(calls, payee, odds_in(catalog, payee))) if calls else (),
    )


def served_by(catalog: Catalog, payee: Address) -> list[tuple[ModelEntry, Candidate]]:
    """The models that a payee provides now, for everybody."""
    models = (entry for entry in catalog.by_id.values() if isinstance(entry, ModelEntry))
    return [(entry, one) for entry in models for one in entry.candidates if one.provider == payee]


def odds_in(catalog: Catalog, payee: Address) -> Odds:
    """The odds of a payee among the providers that can be called now, by the price of a typical call."""
    known: dict[tuple[Digest, int], tuple[int, int]] = {}

    def odds(subject: Digest, change_ppm: int) -> tuple[int, int]:
        if (subject, change_ppm) not in known:
            known[subject, change_ppm] = _odds(catalog.by_id.get(subject), payee, change_ppm)
        return known[subject, change_ppm]

    return odds


def _odds(entry: Entry | None, payee: Address, change_ppm: int) -> tuple[int, int]:
    alive = eligibility.alive(entry.candidates) if isinstance(entry, ModelEntry) else []
    own = next((one for one in alive if one.provider == payee), None)
    if own is None or len(alive) == 1:
        return 1, 1
    wanted = what_if.asking(own.tariff.terms, payee, change_ppm)
    if wanted is None:
        return 0, 1
    rivals = [routes.as_seen(one, typical_price_of(one.tariff)) for one in alive if one is not own]
    return what_if.drawn(routes.as_seen(own, typical_price_of(compile_terms(wanted))), rivals)


def by_epoch(paid: tuple[Paid, ...]) -> dict[tuple[int, Role], int]:
    """What was earned in each epoch and role, the newest epoch first."""
    sums: dict[tuple[int, Role], int] = {}
    for one in paid:
        sums[one.epoch, one.role] = sums.get((one.epoch, one.role), 0) + one.amount
    return dict(sorted(sums.items(), key=lambda row: (-row[0][0], row[0][1])))
