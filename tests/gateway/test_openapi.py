"""Whatever a machine thinks of sending by the OpenAPI document, nothing breaks: no 5xx but those we mean, and every
answer is of a status, a type and a form that the document says.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import checks

from tests.gateway.conformity import document
from tests.gateway.test_a2a import rpc, sent
from tests.gateway.test_exports import CHAT, Shop, shop
from tests.gateway.test_mcp import HELLO, a_call, post
from tests.gateway.test_mcp import rpc as mcp
from tests.gateway.world import Running

__all__ = ["shop"]

pytestmark = pytest.mark.slow

MEANT = (501, 502, 503, 504)
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


def test_no_request_breaks_the_gateway(gateway: Running) -> None:
    schema = schemathesis.openapi.from_url(f"{gateway.url}/openapi.json")
    tried = 0
    found: Any = schema.get_all_operations()
    for result in found:
        operation: Any = result.ok()

        @settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            response = case.call(timeout=20)
            assert response.status_code < 500 or response.status_code in MEANT, f"{case.method} {response.text}"
            case.validate_response(response, checks=CHECKS)
            if response.status_code >= 400:
                assert "error" in response.json()

        check()
        tried += 1
    assert tried > 30


def test_the_documents_page_takes_nothing_from_elsewhere(gateway: Running) -> None:
    page = gateway.http.get("/docs")
    assert page.status_code == 200
    places = re.findall(r'(?:src|href)="([^"]+)"', page.text) + re.findall(r"url: '([^']+)'", page.text)
    assert "/openapi.json" in places
    assert [place for place in places if gateway.http.get(place).status_code != 200] == []
    assert len(places) >= 4


def test_agents_are_answered_as_the_document_says(shop: Shop) -> None:
    """Each answer is held to the document by the client of the tests."""
    described = document()["paths"]
    key = {"Authorization": shop.headers["Authorization"]}
    for asked in (mcp("initialize", HELLO), mcp("ping", {}), mcp("tools/list", {}), a_call(), a_call("@acme/none")):
        assert "result" in post(shop.gateway, asked, **key).json()
    assert post(shop.gateway, {"jsonrpc": "2.0", "method": "notifications/initialized"}).status_code == 202
    said = {"messageId": "1", "role": "ROLE_USER", "parts": [{"text": "hi"}], "metadata": {"model": CHAT}}
    for path in ("/a2a", f"/a2a/{CHAT}"):
        assert "result" in sent(shop.gateway, rpc({**said, "messageId": path}), path, **key).json()
    events = sent(shop.gateway, rpc({**said, "messageId": "3"}, "SendStreamingMessage"), **key)
    assert events.headers["content-type"] in described["/a2a"]["post"]["responses"]["200"]["content"]
    assert sent(shop.gateway, rpc(said)).status_code == 401
    skills = shop.gateway.http.get("/.well-known/agent-card.json").json()["skills"]
    assert CHAT in {skill["id"] for skill in skills}
    assert {"/mcp", "/a2a", "/a2a/{name}"} <= described.keys()
