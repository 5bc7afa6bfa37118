"""This gateway's measurements of each provider on each subject, and a circuit breaker.

Nothing a node claims counts here. Quality falls with every failure and rises with every success. After some failures in
a row the circuit opens: the node gets no calls for a while, then a single one as a trial.
"""

from dataclasses import dataclass, field

from ledger.core.values.atoms import PPM

TRIPS_AFTER = 3
FIRST_PAUSE_MS = 500
LONGEST_PAUSE_MS = 30_000
NEAR_MS = (10, 30, 80)
"""Upper bounds of the classes of round trip, in ms. A longer one has no class."""
WEIGHT = 32
"""A call moves the quality by 1/WEIGHT of its distance to 0 or 1."""
KEPT = 63
"""Latencies kept for the median."""


@dataclass(slots=True)
class Health:
    """One provider on one subject. Times are ms since the epoch."""

    quality_ppm: int = PPM
    latency_ms: int = 0
    round_trip_ms: int = 0
    calls: int = 0
    errors: int = 0
    overclaims: int = 0
    open_calls: int = 0
    failures_in_a_row: int = 0
    paused_until: int = 0
    trial: bool = False
    _latencies: list[int] = field(default_factory=list)

    def usable(self, now: int) -> bool:
        """False while the circuit is open. After its pause, true for one trial call at a time."""
        if self.failures_in_a_row < TRIPS_AFTER:
            return True
        return now >= self.paused_until and not self.trial

    def begin(self) -> None:
        self.open_calls += 1
        if self.failures_in_a_row >= TRIPS_AFTER:
            self.trial = True

    @property
    def near(self) -> int | None:
        """The class of its round trip, in ms: the lowest while nothing is measured, None above the last class."""
        return next((bound for bound in NEAR_MS if self.round_trip_ms <= bound), None)

    def succeeded(self, took_ms: int, overclaimed: bool, round_trip_ms: int | None = None) -> None:
        """A call was served; `took_ms` until its first byte. The shortest round trip counts; where none can be
        measured, as through a tunnel, the quickest answer is its upper bound.
        """
        seen = max(1, took_ms if round_trip_ms is None else round_trip_ms)
        self.round_trip_ms = min(self.round_trip_ms or seen, seen)
        self.open_calls -= 1
        self.calls += 1
        self.failures_in_a_row = 0
        self.trial = False
        self.overclaims += overclaimed
        self._judge(not overclaimed)
        self._latencies.append(took_ms)
        if len(self._latencies) >= KEPT or self.latency_ms == 0:
            self.latency_ms = sorted(self._latencies)[len(self._latencies) // 2]
            self._latencies = self._latencies[-KEPT // 2 :]

    def failed(self, now: int) -> None:
        """A call failed: no answer, or a bad one."""
        self.open_calls -= 1
        self.calls += 1
        self.errors += 1
        self.failures_in_a_row += 1
        self.trial = False
        self._judge(False)
        if self.failures_in_a_row >= TRIPS_AFTER:
            doublings = min(self.failures_in_a_row - TRIPS_AFTER, 10)
            self.paused_until = now + min(FIRST_PAUSE_MS << doublings, LONGEST_PAUSE_MS)

    def forgotten(self) -> None:
        """A call ended that shows nothing about the node: the consumer left, or sent a bad request."""
        self.open_calls -= 1
        self.trial = False

    def _judge(self, good: bool) -> None:
        gap = (PPM if good else 0) - self.quality_ppm
        self.quality_ppm += -(-gap // WEIGHT) if good else gap // WEIGHT
