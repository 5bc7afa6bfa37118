"""Answers of the tests' gateways are held to the OpenAPI document: nothing more, nothing of another form."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import httpx
from jsonschema_rs import Draft202012Validator

from gateway.app import api_routes
from gateway.lifespan import Running

JSON = "application/json"
OPEN = ("Failure", "FailedTensors")
"""What may have facts besides."""


def check(response: httpx.Response) -> None:
    """Fail if an answer is not what the document says of its route and status. For a client's event hook."""
    found = _operation(response.request.method.lower(), response.request.url.path)
    if found is None or not response.headers.get("content-type", "").startswith(JSON):
        return
    if not response.read():
        return
    path, method = found
    validator = _validator(path, method, response.status_code)
    wrong = [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(response.json())]
    assert not wrong, f"{method} {path} answered {response.status_code} {response.text[:500]}: {wrong}"


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document. It is the same of every gateway."""
    return api_routes(Running.__new__(Running)).openapi()


@cache
def _operation(method: str, path: str) -> tuple[str, str] | None:
    for known, operations in document()["paths"].items():
        if method in operations and re.fullmatch(re.sub(r"\\?\{\w+\\?\}", ".+", re.escape(known)), path):
            return known, method
    return None


@cache
def _validator(path: str, method: str, status: int) -> Draft202012Validator:
    said = document()["paths"][path][method]["responses"]
    answer = said.get(str(status)) or said[f"{status // 100}XX"]
    schema = answer["content"][JSON]["schema"]
    return Draft202012Validator({**closed(schema), "components": _components()})


@cache
def _components() -> Any:
    return closed(document()["components"])


def closed(schema: Any) -> Any:
    """A schema in which an object has no field that is not described."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    shut = {name: closed(one) for name, one in schema.items()}
    if "properties" in shut and shut.get("additionalProperties") is True and shut.get("title") not in OPEN:
        shut["additionalProperties"] = False
    return shut
