"""The OpenAPI document: FastAPI's, with the ways to show who asks, and one shape of errors for every route."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from gateway.api import dependencies
from gateway.api.schemas.answers import Answer, Failed, FailedMessage, FailedTensors
from ledger.core.values import documents

ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Failed, "description": "Refused: nothing was changed or charged, unless a receipt is shown."},
    "5XX": {"model": Failed, "description": "Not possible now, or a fault of the gateway or of a node."},
}
MESSAGE_ERRORS = {status: {**said, "model": FailedMessage} for status, said in ERRORS.items()}

TEXT_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {**said, "model": FailedTensors} for status, said in ERRORS.items()
}
"""Those of the Open Inference Protocol, whose clients read a text."""


class Typed(APIRoute):
    """A route whose answer is described by a model, and sent as it is: no gateway fails over a description. Tests hold
    every answer to its own.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        model = options.pop("response_model", None)
        if isinstance(model, type) and issubclass(model, Answer):
            status = options.get("status_code") or 200
            described = options.get("responses") or {}
            options["responses"] = {**described, status: {"model": model, **described.get(status, {})}}
            model = None
        super().__init__(path, endpoint, response_model=model, **options)


def of_types(*types: str) -> dict[int | str, dict[str, Any]]:
    """What a route answers that is no JSON of ours: bytes or text of these media types."""
    content = {one: {"schema": {"type": "string"} if one.startswith("text/") else {}} for one in types}
    return {200: {"content": content}}


def unwell(model: type[Answer]) -> dict[int | str, dict[str, Any]]:
    """What a route of health answers while things are not well: the same facts."""
    return {503: {"model": model, "description": "Not now."}}


def body(schema: Any, *types: str) -> dict[str, Any]:
    """What a route reads that no parameter of its function shows: JSON by a schema, or also bytes of other types."""
    content = {"application/json": {"schema": schema}, **{one: {"schema": {}} for one in types}}
    return {"requestBody": {"required": True, "content": content}}


def fields(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    """An object with these fields, and no others."""
    properties = required | optional
    return {"type": "object", "required": [*required], "properties": properties, "additionalProperties": False}


def schema(kind: str, definition: str = "") -> Any:
    """The schema of a document's kind, or one of its definitions, whole: what it refers to stands in its place."""
    whole = documents.schema(kind)
    chosen = whole["$defs"][definition] if definition else whole
    return _resolved({name: part for name, part in chosen.items() if name not in ("$id", "$schema", "$defs")}, whole)


def _resolved(part: Any, whole: Any) -> Any:
    if isinstance(part, list):
        return [_resolved(one, whole) for one in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return _resolved(whole["$defs"][part["$ref"].rpartition("/")[2]], whole)
    if part.get("const") is True:  # makers of clients stumble over a boolean that is always the same
        return {"type": "boolean", **{name: one for name, one in part.items() if name != "const"}}
    return {name: _resolved(one, whole) for name, one in part.items()}


SCHEMES = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key: `tollway consumer key`."},
    "account": {
        "type": "apiKey",
        "in": "header",
        "name": "Tollway-Account",
        "description": "JSON with `account`, `at` (ms) and `signature`: the account's EIP-712 signature of this very "
        "request, good for a minute.",
    },
    "voucher": {
        "type": "apiKey",
        "in": "header",
        "name": "Tollway-Voucher",
        "description": "JSON with `lane`, `account`, `cum_max` and `signature`: it opens one call.",
    },
    "payment": {
        "type": "apiKey",
        "in": "header",
        "name": "PAYMENT-SIGNATURE",
        "description": "An x402 payment, as the 402 of a call without credentials asks for it. MPP's `Authorization: "
        "Payment ...` does as well.",
    },
}
Way = dict[str, list[str]]
"""A scheme by which a request may show who asks; none for everybody."""
ANYBODY: Way = {}
ASKED: tuple[Way, ...] = ({"key": []}, {"account": []})
KEY: tuple[Way, ...] = ({"key": []},)
PAYING: tuple[Way, ...] = ({"key": []}, {"voucher": []}, {"payment": []})


def describe(app: FastAPI, routes: Iterable[BaseRoute], ways: Mapping[str, tuple[Way, ...]]) -> None:
    """Have an application's document name the ways of each of these routes: for some paths these, for others those that
    they depend on.
    """
    made = app.openapi

    def openapi() -> dict[str, Any]:
        document = made()
        document.setdefault("components", {})["securitySchemes"] = SCHEMES
        for route in routes:
            if isinstance(route, APIRoute) and route.include_in_schema:
                known = ways.get(route.path_format) or _ways(route.dependant)
                for method in route.methods or ():
                    document["paths"][route.path_format][method.lower()]["security"] = list(known)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _ways(dependant: Dependant) -> tuple[Way, ...]:
    needed = set(_calls(dependant))
    if dependencies.the_caller in needed:
        return ASKED
    if needed & {dependencies.any_caller, dependencies.the_catalog}:
        return (ANYBODY, *ASKED)
    return (ANYBODY,)


def _calls(dependant: Dependant) -> Iterator[Any]:
    for inner in dependant.dependencies:
        yield inner.call
        yield from _calls(inner)
