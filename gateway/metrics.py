"""Prometheus metrics of one gateway process. Nothing is billed from them."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ledger.core.receipts.receipt import EndReason
from ledger.core.values.meters import coarse
from ledger.store.receipts.receipts import Signed

BUCKETS_MS = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000)


class Metrics(Collector):
    """Counters and gauges. What every call counts is kept as plain numbers and shown to Prometheus on request: the
    client library's own counters take a lock and check labels each time, a twentieth of a call's CPU.
    """

    def __init__(self) -> None:
        self._ends = dict.fromkeys((*EndReason.__members__, "released", "refused"), 0)
        self._charged = 0
        self._tokens = [0, 0]
        self._took = [0] * (len(BUCKETS_MS) + 1)
        self._took_ms = 0
        self.registry = registry = CollectorRegistry()
        registry.register(self)
        self.refusals = Counter("tollway_refusals", "Refused calls by code", ["code"], registry=registry)
        self.node_failures = Counter(
            "tollway_node_failures", "Attempts that did not serve, by kind", ["kind"], registry=registry
        )
        self.open_calls = Gauge("tollway_open_calls", "Open calls", registry=registry)
        self.held = Gauge("tollway_held_atoms", "Atoms held by open calls", registry=registry)
        self.receipt_log_groups = Gauge("tollway_receipt_log_groups", "Group commits written", registry=registry)
        self.receipt_log_bundles = Gauge(
            "tollway_receipt_log_bundles", "Calls whose receipts are written", registry=registry
        )
        self.receipt_log_up = Gauge("tollway_receipt_log_up", "1 while it can be written", registry=registry)
        self.at_stake = Gauge(
            "tollway_at_stake_atoms", "Atoms charged and not final, or leased to gateways", registry=registry
        )
        self.at_stake_limit = Gauge(
            "tollway_at_stake_limit_atoms", "Atoms the lane's bond covers; 0: a private grid", registry=registry
        )
        self.epoch = Gauge("tollway_epoch", "Epoch of the book in force", registry=registry)

    def ended(self, end: str, signed: Sequence[Signed], took_ms: int) -> None:
        """Count an ended call. A workflow's tokens are counted at its steps, not again at its root."""
        self._ends[end] += 1
        self._took[bisect_left(BUCKETS_MS, took_ms)] += 1
        self._took_ms += took_ms
        for receipt in (one.receipt for one in signed):
            self._charged += receipt.charge
            if not receipt.subcalls:
                units = coarse(receipt.units)
                self._tokens[0] += units.input_token
                self._tokens[1] += units.output_token

    def collect(self) -> Iterator[Metric]:
        calls = CounterMetricFamily("tollway_calls", "Calls by how they ended", labels=["end"])
        for end, count in self._ends.items():
            calls.add_metric([end], count)
        tokens = CounterMetricFamily("tollway_tokens", "Tokens billed", labels=["direction"])
        for direction, count in zip(("input", "output"), self._tokens, strict=True):
            tokens.add_metric([direction], count)
        limits = (*(str(limit / 1000) for limit in BUCKETS_MS), "+Inf")
        buckets = list(zip(limits, accumulate(self._took), strict=True))
        yield from (calls, tokens, CounterMetricFamily("tollway_charged_atoms", "Atoms charged", value=self._charged))
        description = "Time from request to the last byte"
        yield HistogramMetricFamily(
            "tollway_call_seconds", description, buckets=buckets, sum_value=self._took_ms / 1000
        )
