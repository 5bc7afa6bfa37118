"""Prometheus metrics of one gateway process. Nothing is billed from them.

Labels come from what the gateway knows: names in its catalog, addresses of providers it has asked, its own routes and
codes, never from what somebody sent. Models and providers have series of their own up to the bounds in `bounds`, in the
order in which they are first asked to serve; all later ones are counted together as "other". A refused call gives a
model no series, because it costs nothing.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterator, Mapping
from itertools import accumulate
from math import inf
from time import monotonic
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway import bounds
from ledger.core.receipts.receipt import Receipt
from ledger.core.values.ids import Address, to_hex
from ledger.core.values.meters import METERS, Meter

T = TypeVar("T", bound=Hashable)

BUCKETS_MS = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000)
OTHER = "other"
OTHERS = Address(OTHER.encode())
"""Stands for all providers that have no series of their own."""
_INPUT = tuple(meter for meter in METERS if meter.coarse == Meter.input_token)
_OUTPUT = tuple(meter for meter in METERS if meter.coarse == Meter.output_token)


class Durations:
    """How often something took how long: a histogram as plain numbers."""

    __slots__ = ("_counts", "_total_ms")

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS_MS) + 1)
        self._total_ms = 0.0

    def add(self, took_ms: float) -> None:
        self._counts[bisect_left(BUCKETS_MS, took_ms)] += 1
        self._total_ms += took_ms

    def show(self, family: HistogramMetricFamily, *labels: str) -> None:
        """Add a sample to a metric in seconds."""
        limits = (*(str(limit / 1000) for limit in BUCKETS_MS), "+Inf")
        buckets = list(zip(limits, accumulate(self._counts), strict=True))
        family.add_metric(labels, buckets, self._total_ms / 1000)


class Names(Generic[T]):
    """The first `most` names that are asked for; `other` stands for all that come later."""

    def __init__(self, most: int, other: T) -> None:
        self.known: set[T] = set()
        self._most, self._other = most, other

    def find(self, name: T) -> T:
        return name if name in self.known else self._other

    def take(self, name: T) -> T:
        """The same, and the name is known from now on if there is room for it."""
        if len(self.known) < self._most:
            self.known.add(name)
        return self.find(name)


class Metrics(Collector):
    """Counters, gauges and histograms. What every call counts is kept as plain numbers and shown to Prometheus on
    request: the client library's own counters take a lock and check labels each time, a twentieth of a call's CPU.
    """

    def __init__(self) -> None:
        self.models = Names(bounds.METERED_MODELS, OTHER)
        self._providers = Names[Address | None](bounds.METERED_PROVIDERS, OTHERS)
        self._calls: dict[tuple[str, str, str], int] = {}
        self._took: dict[str, Durations] = {}
        self._first_token: dict[str, Durations] = {}
        self._served: dict[tuple[str, Address | None], list[int]] = {}
        self.loop_lag = Durations()
        self.receipt_log_delay = Durations()
        self.receipt_log_groups = 0
        self._text, self._text_at, self._making = b"", -inf, asyncio.Lock()
        self.text_seconds = 1.0
        """The text is made at most this often: it may have some thousand lines, and everybody may ask for it."""
        self.registry = registry = CollectorRegistry()
        registry.register(self)
        self.refusals = Counter("tollway_refusals", "Refused calls by code", ["code"], registry=registry)
        self._node_failures = Counter(
            "tollway_node_failures", "Attempts that did not serve, by kind", ["kind", "provider"], registry=registry
        )
        self._probes = Counter("tollway_probes", "Probes of nodes by result", ["result", "provider"], registry=registry)
        self._webhooks = Counter(
            "tollway_webhook_attempts", "Attempts to send a message to a webhook", ["result"], registry=registry
        )
        self.open_calls = Gauge("tollway_open_calls", "Open calls", registry=registry)
        self.held = Gauge("tollway_held_atoms", "Atoms held by open calls", registry=registry)
        self.receipt_log_up = Gauge("tollway_receipt_log_up", "1 while it can be written", registry=registry)
        self.at_stake = Gauge(
            "tollway_at_stake_atoms", "Atoms charged and not final, or leased to gateways", registry=registry
        )
        self.at_stake_limit = Gauge(
            "tollway_at_stake_limit_atoms", "Atoms the lane's bond covers; 0: a private grid", registry=registry
        )
        self.epoch = Gauge("tollway_epoch", "Epoch of the book in force", registry=registry)
        self._model_providers = Gauge(
            "tollway_model_providers", "Providers of a called model that may be asked", ["model"], registry=registry
        )

    def ended(self, endpoint: str, model: str, end: str, took_ms: int) -> None:
        """Count an ended call. `model` is empty when it was refused before that was known."""
        key = (endpoint, self.models.find(model) if model else model, end)
        self._calls[key] = self._calls.get(key, 0) + 1
        took = self._took.get(endpoint)
        if took is None:
            took = self._took[endpoint] = Durations()
        took.add(took_ms)

    def charged(self, model: str, provider: Address | None, receipt: Receipt) -> None:
        """Count a durable receipt. A workflow has no provider; its tokens are counted at its steps."""
        counts = self._served.get((model, provider)) or self._counts_of(model, provider)
        counts[0] += 1
        counts[1] += receipt.charge
        if not receipt.subcalls:
            units = receipt.units
            for meter in _INPUT:
                counts[2] += units[meter]
            for meter in _OUTPUT:
                counts[3] += units[meter]

    def first_token(self, model: str, took_ms: int) -> None:
        """Count a stream that was charged, by the time from its request to its first token."""
        name = self.models.find(model)
        took = self._first_token.get(name)
        if took is None:
            took = self._first_token[name] = Durations()
        took.add(took_ms)

    def failed(self, model: str, provider: Address, kind: str) -> None:
        """Count an attempt that did not serve."""
        self._counts_of(model, provider)
        self._node_failures.labels(kind, _label(self._providers.find(provider))).inc()

    def probed(self, provider: Address, result: str) -> None:
        self._probes.labels(result, _label(self._providers.take(provider))).inc()

    def webhook_attempted(self, result: str) -> None:
        """Count an attempt to send a message to a webhook: delivered or failed."""
        self._webhooks.labels(result).inc()

    def show_providers(self, providers: Mapping[str, int]) -> None:
        """Show how many providers each model has, and forget those that are not named any more."""
        self._model_providers.clear()
        for model, count in providers.items():
            self._model_providers.labels(model).set(count)

    async def text(self, measure: Callable[[], None]) -> bytes:
        """All of it in Prometheus' text format, after `measure` has set the gauges. It is made in a thread, and again
        after `text_seconds`.
        """
        async with self._making:
            if monotonic() - self._text_at >= self.text_seconds:
                measure()
                self._text = await asyncio.to_thread(generate_latest, self.registry)
                self._text_at = monotonic()
            return self._text

    def collect(self) -> Iterator[Metric]:
        calls = CounterMetricFamily("tollway_calls", "Calls by how they ended", labels=["endpoint", "model", "end"])
        for key, count in list(self._calls.items()):
            calls.add_metric(key, count)
        yield calls
        yield from self._collect_served()
        yield _histogram("tollway_call_seconds", "Time from request to the last byte", "endpoint", self._took)
        yield _histogram(
            "tollway_first_token_seconds", "Time from request to a stream's first token", "model", self._first_token
        )
        yield _histogram("tollway_loop_lag_seconds", "Delay of a periodic job's own wake-up", "", {"": self.loop_lag})
        yield _histogram(
            "tollway_receipt_log_delay_seconds",
            "Time from a call's end until its receipts are durable",
            "",
            {"": self.receipt_log_delay},
        )
        yield CounterMetricFamily("tollway_receipt_log_groups", "Group commits", value=self.receipt_log_groups)

    def _collect_served(self) -> Iterator[Metric]:
        by = ["model", "provider"]
        receipts = CounterMetricFamily("tollway_receipts", "Durable receipts", labels=by)
        charged = CounterMetricFamily("tollway_charged_atoms", "Atoms charged", labels=by)
        tokens = CounterMetricFamily("tollway_tokens", "Tokens billed", labels=[*by, "direction"])
        for (model, address), counts in list(self._served.items()):
            labels = [model, _label(address)]
            receipts.add_metric(labels, counts[0])
            charged.add_metric(labels, counts[1])
            tokens.add_metric([*labels, "input"], counts[2])
            tokens.add_metric([*labels, "output"], counts[3])
        yield from (receipts, charged, tokens)

    def _counts_of(self, model: str, provider: Address | None) -> list[int]:
        """Receipts, atoms, input and output tokens of a provider on a model."""
        pair = (self.models.take(model), self._providers.take(provider))
        if pair not in self._served and len(self._served) >= bounds.METERED_PAIRS:
            pair = (OTHER, OTHERS)
        return self._served.setdefault(pair, [0, 0, 0, 0])


def _label(provider: Address | None) -> str:
    if provider is None:
        return ""
    return OTHER if provider == OTHERS else to_hex(provider)


def _histogram(name: str, description: str, label: str, durations: Mapping[str, Durations]) -> Metric:
    """A histogram in seconds by one label, or, with an empty one, without labels."""
    family = HistogramMetricFamily(name, description, labels=[label] if label else [])
    for value, one in list(durations.items()):
        one.show(family, *([value] if label else ()))
    return family
