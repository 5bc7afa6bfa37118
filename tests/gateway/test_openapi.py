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

from tests.gateway.world import Running

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
