"""The first page: the network now. What was charged and paid is read from public batches, which everybody can add up.

Consumers are one block: no page shows a list or a sum by account of those who pay.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from math import inf
from time import monotonic
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from sqlmodel import Session

from gateway.api.dependencies import Here
from gateway.catalog.catalog import ModelEntry
from gateway.console import drawing, rendering
from gateway.console.drawing import Drawing
from gateway.console.rendering import Page
from gateway.context import Gateway
from gateway.workflow import plan as planning
from ledger.core.catalog.bids import Role
from ledger.core.pricing.eligibility import TIERS
from ledger.core.values.ids import Address, to_hex
from ledger.store.settlement import batches, challenges
from ledger.store.settlement.batches import Batch, BatchSums

CONSUMERS: Final = "consumers"
OTHERS: Final = "others"
PARTIES: Final = 12
"""Payees with a block of their own; the others have one together."""
SUMS_READ: Final = 500
"""Sums by payee and role that are drawn: the largest."""
NEWEST: Final = 8
"""Batches listed."""
KEPT_SECONDS: Final = 5.0
"""How long what was read is shown to all who ask: a day may have many batches, and everybody may look."""


class Period(Enum):
    """How far back the drawing of flows goes."""

    hour = "hour"
    day = "day"

    @property
    def seconds(self) -> int:
        return 3_600 if self is Period.hour else 86_400


@dataclass(frozen=True, slots=True)
class Network:
    """What the database says of the network now."""

    day: BatchSums
    chosen: BatchSums
    paid: Mapping[tuple[Address, Role], int]
    newest: tuple[Batch, ...]
    questions: int
    """Challenges that wait for an answer."""


class Overview:
    """What the first page shows, read at most once in KEPT_SECONDS for each period: who asks while it is read waits for
    the same reading. A failure is not kept.
    """

    def __init__(self) -> None:
        self._read: dict[Period, tuple[float, asyncio.Task[Network]]] = {}

    async def read(self, gateway: Gateway, period: Period) -> Network:
        """The network as it is, or was a few seconds ago."""
        at, reading = self._read.get(period, (-inf, None))
        if reading is None or (reading.done() and (_failed(reading) or monotonic() - at > KEPT_SECONDS)):
            reading = asyncio.create_task(self._ask(gateway, period))
            self._read[period] = monotonic(), reading
        return await asyncio.shield(reading)

    async def _ask(self, gateway: Gateway, period: Period) -> Network:
        now = gateway.now_ms() // 1_000
        return await gateway.aside(lambda session: _network(session, gateway, now, period))


router = APIRouter(route_class=Page, include_in_schema=False)


@router.get("/")
async def overview(
    request: Request, gateway: Here, of: Annotated[Period, Query(description="the last hour or day")] = Period.day
) -> HTMLResponse:
    """The network now."""
    kept: Overview = request.app.state.overview
    network = await kept.read(gateway, of)

    def render(session: Session) -> str:
        return rendering.render("overview.html", gateway, section="overview", **_shown(gateway, network, of))

    return rendering.page(await gateway.aside(render))


def _failed(reading: asyncio.Task[Network]) -> bool:
    return reading.cancelled() or reading.exception() is not None


def _network(session: Session, gateway: Gateway, now: int, period: Period) -> Network:
    since = now - period.seconds
    return Network(
        batches.published_since(session, gateway.lane, now - Period.day.seconds),
        batches.published_since(session, gateway.lane, since),
        batches.paid_since(session, gateway.lane, since, SUMS_READ),
        tuple(batches.newest(session, gateway.lane, None, NEWEST)),
        len(challenges.unanswered(session, gateway.lane)),
    )


def _shown(gateway: Gateway, network: Network, period: Period) -> dict[str, Any]:
    scope = planning.anywhere(gateway, gateway.catalog)
    ready = [entry for entry in gateway.catalog.by_id.values() if not planning.why_not(scope, entry)]
    models = [entry for entry in ready if isinstance(entry, ModelEntry)]
    tier_of = {one.provider: one.tier for entry in models for one in entry.candidates if one.health.usable}
    tiers = Counter(tier_of.values())
    refused, stake = gateway.refusal(), gateway.lane_state.at_stake
    rows = flows(network.paid)
    return {
        "period": period.value,
        "network": network,
        "models": len(models),
        "capsules": len(ready) - len(models),
        "providers": len(tier_of),
        "tiers": {tier: tiers[tier] for tier in TIERS},
        "operator": to_hex(gateway.operator),
        "stake": stake,
        "bond": gateway.lane_state.terms.bond if gateway.lane_state.terms else None,
        "private": gateway.private,
        "refused": refused,
        "flows": rows,
        "drawing": drawn(rows) if rows else None,
    }


def flows(paid: Mapping[tuple[Address, Role], int]) -> list[tuple[str, str, int]]:
    """Role, payee and atoms, the largest first; payees without a block of their own are `others`."""
    by_payee: Counter[str] = Counter()
    for (payee, _), amount in paid.items():
        by_payee[to_hex(payee)] += amount
    block = drawing.largest(by_payee, PARTIES, OTHERS)
    found: Counter[tuple[str, str]] = Counter()
    for (payee, role), amount in paid.items():
        found[role.name, block[to_hex(payee)]] += amount
    return [(role, payee, amount) for (role, payee), amount in sorted(found.items(), key=lambda row: (-row[1], row[0]))]


def drawn(rows: list[tuple[str, str, int]]) -> Drawing:
    """Consumers, roles and payees with the flows between them. Roles are in the order of their numbers."""
    by_role: Counter[str] = Counter()
    by_payee: Counter[str] = Counter()
    for role, payee, amount in rows:
        by_role[role] += amount
        by_payee[payee] += amount
    roles = [role.name for role in Role if by_role[role.name]]
    payees = sorted(by_payee, key=lambda one: (one == OTHERS, -by_payee[one], one))
    paid = [(CONSUMERS, role, by_role[role]) for role in roles]
    place = {payee: at for at, payee in enumerate(payees)}
    shares = sorted(rows, key=lambda row: (roles.index(row[0]), place[row[1]]))
    return drawing.sankey([[CONSUMERS], roles, payees], [*paid, *shares])
