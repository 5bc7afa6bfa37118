"""Spans, as they arrive at a collector: kinds, parents and names by OpenTelemetry's conventions, nothing private."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from gateway.metering.openai import finish_reasons
from ledger.core.values.ids import to_hex
from ledger.core.values.typed_data import Signer
from tests.gateway.nodes import Node, answering, chat, dying, piece, streaming
from tests.gateway.workflows import LAST, Loom, echoing, inferring, pinned
from tests.gateway.world import PROVIDER, Running, World

SERVER, CLIENT, INTERNAL = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_INTERNAL
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SECRET = "my secret"


class Collector(BaseHTTPRequestHandler):
    """An OpenTelemetry collector: takes spans as OTLP over HTTP."""

    spans: ClassVar[list[Span]] = []

    def do_POST(self) -> None:
        """Take what is sent."""
        sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
        self.spans.extend(span for of in sent.resource_spans for scope in of.scope_spans for span in scope.spans)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Span]]:
    """Where spans arrive."""
    Collector.spans.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    yield Collector.spans
    server.shutdown()


@pytest.fixture
def gateway(world: World, node: Node, collector: list[Span]) -> Running:
    """A gateway that traces, with one model."""
    world.a_model_at(node.url)
    return world.gateway(trace=True).send_no_probes()


@pytest.fixture
def key(world: World, gateway: Running, consumer: Signer) -> str:
    """A consumer's key, with money behind it."""
    world.deposit(consumer.address, 10**6)
    return gateway.key(consumer)


def value_of(value: AnyValue) -> Any:
    if value.HasField("array_value"):
        return [value_of(one) for one in value.array_value.values]
    return getattr(value, value.WhichOneof("value") or "string_value")


def said(span: Span) -> dict[str, Any]:
    return {one.key: value_of(one.value) for one in span.attributes}


def sent(gateway: Running, spans: list[Span]) -> dict[str, Span]:
    """All spans by name, once the gateway has stopped."""
    gateway.stop()
    named = {span.name: span for span in spans}
    assert len(named) == len(spans)
    return named


def test_a_request_is_a_server_span_and_its_call_a_client_span_in_it(
    world: World, gateway: Running, node: Node, key: str, consumer: Signer, collector: list[Span]
) -> None:
    node.behaviour = answering(chat("hello there", id=SECRET, model=SECRET))
    assert gateway.chat(key, text=SECRET, user=SECRET).status_code == 200
    spans = sent(gateway, collector)
    assert set(spans) == {"POST /v1/chat/completions", "chat @acme/chat"}
    request, call = spans["POST /v1/chat/completions"], spans["chat @acme/chat"]
    assert (request.kind, call.kind) == (SERVER, CLIENT)
    assert (call.parent_span_id, call.trace_id) == (request.span_id, request.trace_id)
    assert request.parent_span_id == b""
    assert said(request) == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "tollway.end": "normal",
    }
    [receipt] = world.receipts_of(consumer.address)
    assert said(call) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "tollway",
        "gen_ai.request.model": "@acme/chat",
        "gen_ai.request.max_tokens": 50,
        "gen_ai.response.id": to_hex(receipt.receipt.call_id),
        "gen_ai.response.model": "@acme/chat",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 2,
        "tollway.end": "normal",
        "tollway.provider": to_hex(PROVIDER.address),
    }
    assert (request.status.code, call.status.code) == (Status.STATUS_CODE_UNSET, Status.STATUS_CODE_UNSET)
    assert SECRET not in str(collector)
    assert "hello there" not in str(collector)


def test_a_stream_says_that_it_is_one_and_when_its_first_token_came(
    gateway: Running, node: Node, key: str, collector: list[Span]
) -> None:
    node.behaviour = streaming(5, (10, 5))
    assert "[DONE]" in gateway.chat(key, stream=True).text
    call = said(sent(gateway, collector)["chat @acme/chat"])
    assert call["gen_ai.request.stream"] is True
    assert 0 <= call["gen_ai.response.time_to_first_chunk"] < 60
    assert call["gen_ai.response.finish_reasons"] == ["stop"]
    assert (call["gen_ai.usage.output_tokens"], call["tollway.end"]) == (5, "normal")


def test_a_stream_that_its_limit_ends_finished_by_length(
    gateway: Running, node: Node, key: str, collector: list[Span]
) -> None:
    node.behaviour = streaming(9, (10, 9))
    assert "[DONE]" in gateway.chat(key, stream=True, max_tokens=3).text
    span = sent(gateway, collector)["chat @acme/chat"]
    found = said(span)
    assert (found["gen_ai.response.finish_reasons"], found["tollway.end"]) == (["length"], "hold_reached")
    assert ("error.type" in found, span.status.code) == (False, Status.STATUS_CODE_UNSET)


def test_an_error_shows_as_its_code_in_both_spans(
    gateway: Running, node: Node, key: str, collector: list[Span]
) -> None:
    node.behaviour = dying
    assert gateway.chat(key, text=SECRET).status_code == 502
    spans = sent(gateway, collector)
    for span in spans.values():
        assert (said(span)["error.type"], span.status.code) == ("node_cut", Status.STATUS_CODE_ERROR)
        assert (span.status.message, list(span.events)) == ("", [])
    assert said(spans["POST /v1/chat/completions"])["http.response.status_code"] == 502


def test_a_stream_that_is_cut_ends_with_an_error(gateway: Running, node: Node, key: str, collector: list[Span]) -> None:
    node.behaviour = streaming(5, (10, 5), die_after=2, pause=0.02)
    gateway.chat(key, stream=True)
    span = sent(gateway, collector)["chat @acme/chat"]
    assert (said(span)["error.type"], span.status.code) == ("upstream_cut", Status.STATUS_CODE_ERROR)


def test_a_refusal_that_is_the_requests_fault_is_no_error_of_the_server(
    gateway: Running, key: str, collector: list[Span]
) -> None:
    assert gateway.chat(key, f"@acme/{SECRET}").status_code == 404
    [span] = sent(gateway, collector).values()
    found = said(span)
    assert (found["error.type"], found["tollway.end"]) == ("model_not_found", "refused")
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert SECRET not in str(collector)


def test_a_name_in_a_path_is_not_in_the_span(gateway: Running, key: str, collector: list[Span]) -> None:
    headers = {"authorization": f"Bearer {key}"}
    answer = gateway.http.post("/v2/models/typed-by-somebody/infer", content=b'{"inputs":[]}', headers=headers)
    assert answer.status_code == 404
    [name] = sent(gateway, collector)
    assert name == "POST /v2/models/{model}/infer"
    assert "typed-by-somebody" not in str(collector)


def test_the_parent_is_the_requests_traceparent_and_no_node_gets_it(
    gateway: Running, node: Node, key: str, collector: list[Span]
) -> None:
    parent = f"00-{TRACE}-{PARENT}-01"
    assert gateway.chat(key, header_traceparent=parent, header_tracestate=f"a={PARENT}{TRACE}").status_code == 200
    spans = sent(gateway, collector)
    request, call = spans["POST /v1/chat/completions"], spans["chat @acme/chat"]
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, PARENT)
    assert (call.trace_id.hex(), call.parent_span_id) == (TRACE, request.span_id)
    assert {span.trace_state for span in spans.values()} == {""}
    [asked] = node.asked
    assert not {"traceparent", "tracestate", "baggage"} & {name.lower() for name in asked.headers}
    assert TRACE not in str(asked)


@pytest.mark.parametrize(
    "nonsense", ["", "00-0-0-01", f"ff-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01", "\xff" * 55, "x" * 10_000]
)
def test_a_traceparent_that_is_none_is_no_parent(
    gateway: Running, key: str, collector: list[Span], nonsense: str
) -> None:
    headers = [(b"authorization", b"Bearer " + key.encode()), (b"traceparent", nonsense.encode("latin-1"))]
    body = {"model": "@acme/chat", "messages": [{"role": "user", "content": "hi"}]}
    assert gateway.http.post("/v1/chat/completions", json=body, headers=headers).status_code == 200
    request = sent(gateway, collector)["POST /v1/chat/completions"]
    assert request.parent_span_id == b""
    assert request.trace_id.hex() != TRACE


def test_a_workflow_is_a_span_with_the_calls_of_its_steps_in_it(
    world: World, collector: list[Span], consumer: Signer
) -> None:
    loom = Loom(world, world.gateway(trace=True))
    try:
        loom.bond()
        feeling = loom.classifier("feeling", inferring("angry"))
        talk = loom.talker("talk", echoing())
        loom.capsule(
            pinned("feeling", feeling, {"text": LAST}),
            pinned("reply", talk, {"messages": "$.messages"}),
            output={"choices": "$steps.reply.output.choices"},
        )
        assert loom.gateway.chat(loom.consumer(consumer), "@wanda/flow").status_code == 200
        spans = sent(loom.gateway, collector)
    finally:
        loom.stop()
    workflow = spans["invoke_workflow @wanda/flow"]
    assert workflow.kind == INTERNAL
    assert said(workflow) == {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.provider.name": "tollway",
        "gen_ai.workflow.name": "@wanda/flow",
    }
    assert workflow.parent_span_id == spans["POST /v1/chat/completions"].span_id
    steps = [spans["chat @acme/talk"], spans["inference @acme/feeling"]]
    assert {(step.kind, step.parent_span_id) for step in steps} == {(CLIENT, workflow.span_id)}


def test_why_a_choice_ended_is_one_of_openais_words_and_of_no_more_choices_than_were_asked_for() -> None:
    ends = ("stop", "length", SECRET, None, "tool_calls")
    body = str({"choices": [{"finish_reason": end} for end in ends]}).replace("'", '"').replace("None", "null")
    assert finish_reasons(body.encode(), 4) == ["stop", "length", "other", "other"]
    assert finish_reasons(b'{"data": []}', 4) == []


def test_a_stream_that_ends_a_choice_again_and_again_has_one_reason(
    gateway: Running, node: Node, key: str, collector: list[Span]
) -> None:
    async def repeating(asked: Any, wire: Any) -> None:
        await wire.begin()
        await wire.event(piece("hi"))
        for _ in range(9):
            await wire.event(piece(None, SECRET))
        await wire.event("[DONE]")
        await wire.end()

    node.behaviour = repeating
    assert "[DONE]" in gateway.chat(key, stream=True).text
    assert said(sent(gateway, collector)["chat @acme/chat"])["gen_ai.response.finish_reasons"] == ["other"]
