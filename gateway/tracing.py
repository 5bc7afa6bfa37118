"""OpenTelemetry spans of calls, by the GenAI conventions. They hold no prompts, and nothing is billed from them.

They go to a collector as OTLP over HTTP, configured by OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT,
OTEL_SERVICE_NAME, ...). Without the collector spans are lost, never calls.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ledger.core.receipts.receipt import Receipt
from ledger.core.values.ids import to_hex
from ledger.core.values.meters import coarse

OPERATIONS = {"/v1/chat/completions": "chat", "/v1/completions": "text_completion", "/v1/embeddings": "embeddings"}


class Tracing:
    """Makes spans. Made only when tracing is on: importing OpenTelemetry is slow."""

    def __init__(self) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        service = {SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", "tollway-gateway")}
        self._provider = TracerProvider(resource=Resource(service))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("tollway.gateway")

    @contextmanager
    def call(self, path: str) -> Iterator[Any]:
        operation = OPERATIONS.get(path, "inference")
        with self._tracer.start_as_current_span(operation) as span:
            span.set_attribute("gen_ai.operation.name", operation)
            span.set_attribute("gen_ai.provider.name", "tollway")
            yield span

    @staticmethod
    def finish(span: Any, model: str, receipt: Receipt | None) -> None:
        """Add the model and the receipt's facts to a call's span."""
        span.update_name(f"{span.name.split(' ')[0]} {model}" if model else span.name)
        span.set_attribute("gen_ai.request.model", model)
        if receipt is not None:
            span.set_attribute("gen_ai.usage.input_tokens", coarse(receipt.units).input_token)
            span.set_attribute("gen_ai.usage.output_tokens", coarse(receipt.units).output_token)
            span.set_attribute("tollway.call", to_hex(receipt.call_id))
            span.set_attribute("tollway.end", receipt.end.name)

    def close(self) -> None:
        """Send the spans that wait."""
        self._provider.shutdown()
