"""OpenTelemetry spans of calls, by the GenAI conventions. Never billed from, never with a prompt in them.

Where spans go is the environment's to say (OTEL_EXPORTER_...); without a provider set up they go nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ledger.core.ids import to_hex
from ledger.core.receipts import Receipt

OPERATIONS = {"/v1/chat/completions": "chat", "/v1/completions": "text_completion", "/v1/embeddings": "embeddings"}


class Tracing:
    """Makes spans when it is on, and costs nothing when it is off."""

    def __init__(self, on: bool) -> None:
        self.on = on
        self._tracer: Any = None
        if on:
            from opentelemetry import trace

            self._tracer = trace.get_tracer("tollway.gateway")

    @contextmanager
    def call(self, path: str) -> Iterator[Any]:
        """A span around one call."""
        operation = OPERATIONS.get(path, "inference")
        with self._tracer.start_as_current_span(operation) as span:
            span.set_attribute("gen_ai.operation.name", operation)
            span.set_attribute("gen_ai.provider.name", "tollway")
            yield span

    @staticmethod
    def told(span: Any, model: str, receipt: Receipt | None) -> None:
        """What a call was and used."""
        span.update_name(f"{span.name.split(' ')[0]} {model}" if model else span.name)
        span.set_attribute("gen_ai.request.model", model)
        if receipt is not None:
            span.set_attribute("gen_ai.usage.input_tokens", receipt.input_tokens)
            span.set_attribute("gen_ai.usage.output_tokens", receipt.output_tokens)
            span.set_attribute("tollway.call", to_hex(receipt.call_id))
            span.set_attribute("tollway.end", receipt.end.name)
