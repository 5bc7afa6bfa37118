"""OpenTelemetry spans of calls. They hold nothing that a consumer or a node wrote, and nothing is billed from them.

A request is a SERVER span by the HTTP conventions, without `url.path`, which may hold a name that somebody typed. In it
each call of a model, with all its attempts, is a CLIENT span by the GenAI conventions, and a workflow an INTERNAL one.
`gen_ai.response.id` is the call's id, as in its receipt: a node's own id is any text. `error.type` is the code of the
refusal, or how a stream ended.

The parent is the request's `traceparent`; its `tracestate` is dropped. Nodes get neither: they are strangers, and could
tell by it which calls are of one consumer. Whether a parent decides what is sampled says OTEL_TRACES_SAMPLER.

Spans go to a collector as OTLP over HTTP, configured by OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT,
OTEL_SERVICE_NAME, ...). Without the collector spans are lost, never calls.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.errors import refusal
from ledger.core.receipts.receipt import EndReason
from ledger.core.values.errors import TollwayError
from ledger.core.values.ids import Digest, to_hex
from ledger.core.values.meters import Units, coarse

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from gateway.metering.ask import Ask
    from gateway.payment.billing import Served

T = TypeVar("T")
Attributes = dict[str, str | int | float | bool | Sequence[str]]

OPERATIONS = {"/v1/chat/completions": "chat", "/v1/completions": "text_completion", "/v1/embeddings": "embeddings"}
GOOD = frozenset((EndReason.normal, EndReason.hold_reached))
"""The ends of a call that is no error: the second is a full length."""
FINER = {
    "gen_ai.usage.cache_read.input_tokens": "cached_input_token",
    "gen_ai.usage.cache_creation.input_tokens": "cache_write_token",
    "gen_ai.usage.reasoning.output_tokens": "reasoning_token",
}


class CallSpan:
    """The span of one call of a model."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def served(self, call_id: Digest, model: str, served: Served, finish_reasons: Sequence[str]) -> None:
        """Add what was served: by which provider, which model, and how it ended."""
        said: Attributes = {
            "gen_ai.response.id": to_hex(call_id),
            "gen_ai.response.model": model,
            **_usage(served.units),
            "tollway.end": served.end.name,
        }
        if finish_reasons:
            said["gen_ai.response.finish_reasons"] = finish_reasons
        if served.provider is not None:
            said["tollway.provider"] = to_hex(served.provider)
        self._span.set_attributes(said)
        if served.end not in GOOD:
            _fail(self._span, served.end.name)

    def streamed(self, first_chunk_ms: int) -> None:
        self._span.set_attribute("gen_ai.response.time_to_first_chunk", first_chunk_ms / 1000)


class Tracing:
    """Makes spans. Made only when tracing is on: importing OpenTelemetry is slow."""

    def __init__(self) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        service = {SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", "tollway-gateway")}
        self._provider = TracerProvider(resource=Resource(service))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("tollway.gateway")
        self._parents = TraceContextTextMapPropagator()

    @contextmanager
    def request(self, endpoint: str, headers: Mapping[bytes, bytes]) -> Iterator[Span]:
        """The span of a request, which may name its parent."""
        said: Attributes = {"http.request.method": "POST", "http.route": endpoint}
        parent = self._parents.extract({"traceparent": headers.get(b"traceparent", b"").decode("latin-1")})
        with self._open(f"POST {endpoint}", "SERVER", said, parent) as span:
            yield span

    @staticmethod
    def finish_request(span: Span, status: int | None, end: str, code: str) -> None:
        """Add how a request ended, and the code if it was refused. A refusal that is not ours is no error of ours."""
        span.set_attribute("tollway.end", end)
        if status is not None:
            span.set_attribute("http.response.status_code", status)
        if code:
            _fail(span, code, ours=status is None or status >= 500)

    @contextmanager
    def call(self, ask: Ask, model: str) -> Iterator[CallSpan]:
        """The span of a call of a model with all its attempts."""
        operation = OPERATIONS.get(ask.path, "inference")
        said = _named(operation) | {"gen_ai.request.model": model}
        if ask.limit:
            said["gen_ai.request.max_tokens"] = ask.limit
        if ask.choices != 1:
            said["gen_ai.request.choice.count"] = ask.choices
        if ask.stream:
            said["gen_ai.request.stream"] = True
        with self._open(f"{operation} {model}", "CLIENT", said) as span:
            yield CallSpan(span)

    async def workflow(self, name: str, work: Awaitable[T]) -> T:
        """Do the work inside of a workflow's span."""
        said = _named("invoke_workflow") | {"gen_ai.workflow.name": name}
        with self._open(f"invoke_workflow {name}", "INTERNAL", said):
            return await work

    def close(self) -> None:
        """Send the spans that wait."""
        self._provider.shutdown()

    @contextmanager
    def _open(self, name: str, kind: str, said: Attributes, parent: Any = None) -> Iterator[Span]:
        """A span that is the current one. An error shows as its type only: its message may quote the request."""
        from opentelemetry.trace import SpanKind

        with self._tracer.start_as_current_span(
            name, parent, SpanKind[kind], said, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except BaseException as error:
                _fail(span, refusal(error).code if isinstance(error, TollwayError) else type(error).__name__)
                raise


def _named(operation: str) -> Attributes:
    return {"gen_ai.operation.name": operation, "gen_ai.provider.name": "tollway"}


def _usage(units: Units) -> Attributes:
    whole = coarse(units)
    tokens: Attributes = {name: count for name, meter in FINER.items() if (count := getattr(units, meter))}
    return tokens | {
        "gen_ai.usage.input_tokens": whole.input_token,
        "gen_ai.usage.output_tokens": whole.output_token,
    }


def _fail(span: Span, error_type: str, *, ours: bool = True) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", error_type)
    if ours:
        span.set_status(StatusCode.ERROR)
