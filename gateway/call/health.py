"""This gateway's measurements of each provider on each subject: who is tried last, and who is not tried at all.

Nothing a node claims counts here, and no consumer can harm a node for another. A node that does not serve a call is
tried last for that consumer for a while. The quality moves, and the circuit opens, only by our own probes, and when the
node cannot be reached or is silent for two consumers. A probe that is answered closes the circuit.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from gateway.errors import NodeFailed
from ledger.core.values.atoms import PPM
from ledger.core.values.ids import Address, Digest

Pair = tuple[Address, Digest]
"""A provider and a subject."""

PROBE_MS = 10_000
"""The least time between two probes of a node."""
DAY_MS = 86_400_000
MOST_A_DAY_ATOMS = 100_000
"""The most that the operator pays a provider for probes in a day (UTC)."""
MARK_MS = 60_000
"""How long a node is tried last for a consumer whose call it did not serve."""
MARKS = 256
"""The most consumers a node is tried last for; beyond, the oldest mark is forgotten."""
SHORTEST_BUSY_MS, LONGEST_BUSY_MS = 1_000, 30_000
NEAR_MS = (10, 30, 80)
"""Upper bounds of the classes of round trip, in ms. A longer one has no class."""
WEIGHT = 32
"""A probe moves the quality by 1/WEIGHT of its distance to 0 or 1."""
KEPT = 63
"""Latencies kept for the median."""
MISSED = frozenset(("unreachable", "timeout"))
"""Failures that no request causes: what two consumers see of them is true for all."""


class Tunnel(Protocol):
    """The way to a party behind NAT. `round_trip_ms` is None while no tunnel of it is open at any gateway."""

    @property
    def round_trip_ms(self) -> int | None: ...


@dataclass(slots=True)
class Health:
    """One provider on one subject. Times are ms of the steady clock, 0 for never."""

    quality_ppm: int = PPM
    latency_ms: int = 0
    connect_ms: int = 0
    """The shortest round trip of a connection to it. Through a tunnel, `tunnel` measures it by pings."""
    tunnel: Tunnel | None = None
    calls: int = 0
    errors: int = 0
    refusals: int = 0
    overclaims: int = 0
    paused_until: int = 0
    """The time of the next probe while the circuit is open; 0 while it is closed."""
    busy_until: int = 0
    probed_at: int = 0
    answered_at: int = 0
    """When it last answered a probe."""
    marks: dict[Address, int] = field(default_factory=dict)
    """Until when it is tried last, by consumer."""
    _missed: tuple[Address, int] | None = None
    """The consumer that missed it last, and when."""
    _busy_ms: int = 0
    _busy_again: int = 0
    """The time from which "busy" counts as said again."""
    _latencies: list[int] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """False while the circuit is open, or no tunnel to it. The time of the next probe does not close the circuit,
        only its answer does.
        """
        return self.paused_until == 0 and self.is_connected

    @property
    def is_connected(self) -> bool:
        """False while it is behind NAT and has no tunnel open."""
        return self.tunnel is None or self.tunnel.round_trip_ms is not None

    @property
    def round_trip_ms(self) -> int:
        """The round trip to it, 0 while nothing is measured. No answer of a model moves it."""
        return self.connect_ms if self.tunnel is None else self.tunnel.round_trip_ms or 0

    @property
    def measured_ppm(self) -> int | None:
        """Its quality; None while no call and no probe has said anything of it."""
        seen = self.calls or self.answered_at or self.latency_ms or self.quality_ppm != PPM
        return self.quality_ppm if seen else None

    def is_last(self, consumer: Address | None, now: int) -> bool:
        """Whether it is tried after all others: it is busy, or did not serve this consumer lately."""
        return self.busy_until > now or (consumer is not None and self.marks.get(consumer, 0) > now)

    @property
    def wants_probe(self) -> bool:
        """Whether only another probe can make it whole again."""
        return self.paused_until != 0 or self.quality_ppm < PPM

    @property
    def near(self) -> int | None:
        """The class of its round trip, in ms: the lowest while nothing is measured, None above the last class."""
        return next((bound for bound in NEAR_MS if self.round_trip_ms <= bound), None)

    def succeeded(self, took_ms: int, overclaimed: bool, round_trip_ms: int | None = None) -> None:
        """A call was served; `took_ms` until its first byte. The shortest round trip of a connection counts."""
        if round_trip_ms is not None:
            self.connect_ms = min(self.connect_ms or round_trip_ms, round_trip_ms)
        self.calls += 1
        self._missed = None
        self._busy_ms = 0
        if overclaimed:
            self.overclaims += 1
            self._judge(False)
        self._latencies.append(took_ms)
        if len(self._latencies) >= KEPT or self.latency_ms == 0:
            self.latency_ms = sorted(self._latencies)[len(self._latencies) // 2]
            self._latencies = self._latencies[-KEPT // 2 :]

    def failed(self, consumer: Address, failure: NodeFailed, now: int) -> None:
        """A call of this consumer is over, and this node failed it, refused it, or was busy."""
        if failure.kind == "busy":
            self._was_busy(consumer, failure.retry_after, now)
            return
        self.calls += 1
        self.refusals += failure.kind == "refused"
        self.errors += failure.kind != "refused"
        self._mark(consumer, now + MARK_MS)
        if failure.kind in MISSED:
            self._was_missed(consumer, failure.kind, now)

    def probe_passed(self, now: int) -> None:
        self._judge(True)
        self.probe_answered(now)

    def probe_answered(self, now: int) -> None:
        """A probe was answered with a refusal, which may be the probe's own fault: the node is there."""
        self.answered_at, self.paused_until, self.busy_until = now, 0, 0
        self._missed, self._busy_ms = None, 0

    def probe_failed(self, now: int) -> None:
        self._judge(False)
        self.answered_at, self.paused_until = 0, now + PROBE_MS

    def _mark(self, consumer: Address, until: int) -> None:
        self.marks.pop(consumer, None)
        self.marks[consumer] = until
        if len(self.marks) > MARKS:
            del self.marks[next(iter(self.marks))]

    def _was_busy(self, consumer: Address, retry_after: int, now: int) -> None:
        """Out of the draw for what it says, twice as long each time. A node that answers probes is so for one consumer
        alone: else a consumer that makes it say "busy" would keep the others from it.
        """
        if now >= self._busy_again:  # what a burst is answered counts once
            self._busy_ms = min(max(2 * self._busy_ms, 1_000 * retry_after, SHORTEST_BUSY_MS), LONGEST_BUSY_MS)
            self._busy_again = now + self._busy_ms
        until = now + self._busy_ms
        self._mark(consumer, max(until, self.marks.get(consumer, 0)))
        if not self._is_answering(now):
            self.busy_until = max(until, self.busy_until)

    def _was_missed(self, consumer: Address, kind: str, now: int) -> None:
        """A second consumer opens the circuit. Silence may be the requests' fault where probes are answered."""
        before, self._missed = self._missed, (consumer, now)
        second = before is not None and before[0] != consumer and now - before[1] < MARK_MS
        if second and not self.paused_until and (kind == "unreachable" or not self._is_answering(now)):
            self.probe_failed(now)

    def _is_answering(self, now: int) -> bool:
        return self.answered_at != 0 and now - self.answered_at < PROBE_MS

    def _judge(self, good: bool) -> None:
        gap = (PPM if good else 0) - self.quality_ppm
        self.quality_ppm += -(-gap // WEIGHT) if good else gap // WEIGHT


class Unwell:
    """The nodes that wait for a probe, and from when on (steady ms). Each is probed at most once in `PROBE_MS`."""

    def __init__(self) -> None:
        self._due: dict[Pair, int] = {}
        self._day, self._paid = 0, dict[Address, int]()
        self.probes: dict[asyncio.Task[None], Address] = {}
        """Those under way, and whom they probe."""

    def add(self, node: Pair, health: Health) -> None:
        self._due.setdefault(node, health.probed_at + PROBE_MS)

    def may_pay(self, provider: Address, atoms: int, now: int) -> bool:
        """Whether the operator still pays so much for a probe of this provider today, the day of the date `now`. If so
        it is counted.
        """
        if now // DAY_MS != self._day:
            self._day, self._paid = now // DAY_MS, {}
        paid = self._paid.get(provider, 0) + atoms
        if paid > MOST_A_DAY_ATOMS:
            return False
        self._paid[provider] = paid
        return True

    def take(self, now: int, most: int) -> list[Pair]:
        """At most `most` nodes to probe now, of each provider one at a time. They do not wait any more."""
        busy, due = set(self.probes.values()), list[Pair]()
        for node, at in self._due.items():
            if len(due) >= most:
                break
            if at <= now and node[0] not in busy:
                busy.add(node[0])
                due.append(node)
        for node in due:
            del self._due[node]
        return due
