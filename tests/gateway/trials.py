"""Trials to test with: workflows that nobody published, and how a consumer runs them."""

from __future__ import annotations

from typing import Any

import httpx

from ledger.core.values.documents import Json
from tests.gateway.world import Running

PATH = "/v1/try"


def a_draft(*steps: dict[str, Any], output: Json, **more: Any) -> dict[str, Any]:
    """What a weaver writes into a capsule.json, before it has a weaver."""
    return {
        "schema": "tollway/capsule/1",
        "name": "@me/flow",
        "version": "1.0.0",
        "steps": list(steps),
        "output": output,
        "distribution": {"weaver": {"ratio_ppm": 300_000, "ask": {"call": "5000"}}},
        **more,
    }


def named(name: str, model: str, given: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A step that runs a model by its name."""
    return {"id": name, "uses": {"model": model}, "input": given, **more}


def tried(gateway: Running, key: str, draft: Json, text: str = "hi", **headers: str) -> httpx.Response:
    """The answer to a trial."""
    body = {"capsule": draft, "input": {"messages": [{"role": "user", "content": text}]}}
    said = {"Authorization": f"Bearer {key}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return gateway.http.post(PATH, json=body, headers=said)
