"""What a gateway tells Prometheus. Nothing is ever billed from these."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ledger.core.receipts import EndReason, Receipt


class Metrics:
    """Counters and gauges of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter("tollway_calls", "Calls by how they ended", ["end"], registry=self.registry)
        self.charged = Counter("tollway_charged_atoms", "Atoms charged", registry=self.registry)
        self.refusals = Counter("tollway_refusals", "Refused calls by code", ["code"], registry=self.registry)
        self.node_failures = Counter(
            "tollway_node_failures", "Attempts that failed, by kind", ["kind"], registry=self.registry
        )
        self.unpaid = Counter(
            "tollway_unpaid_atoms", "Served nodes of failed workflows no bond paid", registry=self.registry
        )
        self.tokens = Counter("tollway_tokens", "Tokens billed", ["direction"], registry=self.registry)
        self.seconds = Histogram(
            "tollway_call_seconds",
            "Time from request to the last byte",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=self.registry,
        )
        self.open_calls = Gauge("tollway_open_calls", "Calls under way", registry=self.registry)
        self.held = Gauge("tollway_held_atoms", "Atoms held by open calls", registry=self.registry)
        self.journal_groups = Gauge("tollway_journal_groups", "Group commits written", registry=self.registry)
        self.journal_receipts = Gauge("tollway_journal_bundles", "Bundles written", registry=self.registry)
        self.journal_up = Gauge("tollway_journal_up", "1 while the journal can be written", registry=self.registry)
        self.epoch = Gauge("tollway_epoch", "The epoch of the book in force", registry=self.registry)
        self._ends = {end: self.calls.labels(end) for end in (*EndReason.__members__, "released", "refused")}
        self._tokens = self.tokens.labels("input"), self.tokens.labels("output")

    def ended(self, end: str, receipts: Sequence[Receipt], took_ms: int) -> None:
        """Count a call that is over. Tokens are counted where they were used, not again at a workflow's root."""
        self._ends[end].inc()
        self.seconds.observe(took_ms / 1000)
        for receipt in receipts:
            self.charged.inc(receipt.charge)
            if not receipt.passed:
                self._tokens[0].inc(receipt.input_tokens)
                self._tokens[1].inc(receipt.output_tokens)
