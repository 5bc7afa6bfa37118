"""What breaks in the gateway: one shape of error at every endpoint, and the connection serves on."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi.responses import StreamingResponse
from sqlalchemy import text

from ledger.core.values.typed_data import Signer
from ledger.store.session import unit_of_work
from tests.gateway.world import Running, World, code_of

ID = "0x" + "11" * 32
BROKEN = {
    "/.well-known/agent-card.json",
    "/.well-known/x402",
    "/a2a",
    "/a2a/{name}",
    "/discovery/resources",
    "/llms.txt",
    "/mcp",
    "/v1/alarms",
    "/v1/audio/speech",
    "/v1/audio/transcriptions",
    "/v1/balance",
    "/v1/book",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/deposits/{deposit_id}",
    "/v1/documents/{document_id}",
    "/v1/earnings/{payee}",
    "/v1/embeddings",
    "/v1/images/generations",
    "/v1/invoke",
    "/v1/keys",
    "/v1/keys/rotate",
    "/v1/keys/{key_id}",
    "/v1/lane",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/models",
    "/v1/models/{name}",
    "/v1/models/{name}/exports/{format}",
    "/v1/proofs/receipt/{receipt_id}",
    "/v1/quote",
    "/v1/receipts",
    "/v1/receipts/{receipt_id}",
    "/v1/rerank",
    "/v1/responses",
    "/v1/settlement/batches",
    "/v1/statements/{address}",
    "/v1/try",
    "/v1/webhooks",
    "/v1/webhooks/{hook_id}",
    "/v1/webhooks/{hook_id}/messages",
    "/v1/webhooks/{hook_id}/test",
    "/v2/models/{name}",
    "/v2/models/{name}/infer",
    "/v2/models/{name}/ready",
    "/v2/rerank",
}
"""Endpoints that need the database for this: to look up the key that is shown, at least."""


def test_every_endpoint_says_in_one_shape_that_the_gateway_broke_and_its_connection_serves_on(
    world: World, gateway: Running, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    assert gateway.chat(key).status_code == 200
    paths = gateway.http.get("/openapi.json").json()["paths"]
    body, shown = json.dumps({"model": "@acme/chat", "messages": []}), {"Authorization": f"Bearer {key}"}
    with unit_of_work(world.engine) as session:
        session.execute(text("ALTER SCHEMA public RENAME TO away"))
    gateway.gateway.authenticator.forget(hashlib.sha256(key.encode()).digest())  # else it is known for a while
    wire, broken = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20), set[str]()
    wire.connect()
    opened = wire.sock
    for path, operations in paths.items():
        for method in operations:
            for headers in ({}, {**shown, "Idempotency-Key": "once"}):
                sent = body if method in ("post", "patch") else None
                wire.request(method.upper(), re.sub("{.*}", ID, path), sent, headers)
                answer = wire.getresponse()
                said = answer.read()
                if answer.status == 500:
                    assert code_of(json.loads(said)) == "internal", path
                    assert answer.headers["content-type"] == "application/json", path
                    broken.add(path)
                kept = answer.headers["connection"] is None
                assert (wire.sock is opened) is kept, f"{path}: it is said when the connection ends"
                if not kept:
                    wire.connect()
                    opened = wire.sock
    with unit_of_work(world.engine) as session:
        session.execute(text("ALTER SCHEMA away RENAME TO public"))
    assert broken == BROKEN


def test_half_an_answer_that_breaks_looks_cut(gateway: Running) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"half"
        raise RuntimeError("broken in the middle")

    async def half() -> StreamingResponse:
        return StreamingResponse(pieces())

    gateway.app.api_routes.add_api_route("/half", half)
    with pytest.raises(httpx.RemoteProtocolError):
        gateway.http.get("/half")
