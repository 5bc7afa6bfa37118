"""The reference of the gateway's HTTP, from its OpenAPI document, with requests that a test sends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from docs.book.markdown import code, fenced, page, table
from gateway.api.paid_routes import SENT_AGAIN
from gateway.app import api_routes
from gateway.lifespan import Running
from ledger.core.catalog import patterns

TITLES = {
    "calls": "Calls, which are paid for",
    "models": "Models",
    "network": "The network: quotes, discovery, documents, offers, realms",
    "accounts": "Accounts",
    "keys": "API keys",
    "webhooks": "Webhooks",
    "proofs": "Batches and proofs",
    "statements": "Statements and earnings",
    "open inference protocol": "Open Inference Protocol v2",
    "agents": "For agents",
    "health": "Health",
}
WAYS = {"key": "API key", "account": "account's signature", "voucher": "voucher", "payment": "x402 or MPP payment"}
EXAMPLES: Mapping[tuple[str, str], Any] = {
    ("post", "/v1/chat/completions"): {
        "model": "@wanda/customer-service",
        "messages": [{"role": "user", "content": "My lamp arrived broken!"}],
        "max_tokens": 32,
    },
    ("post", "/v1/responses"): {"model": "@delta/dialog", "input": "Where is my parcel?", "max_output_tokens": 32},
    ("post", "/v1/messages"): {
        "model": "@delta/dialog",
        "max_tokens": 32,
        "messages": [{"role": "user", "content": "Where is my parcel?"}],
    },
    ("post", "/v1/messages/count_tokens"): {
        "model": "@delta/dialog",
        "messages": [{"role": "user", "content": "Where is my parcel?"}],
    },
    ("post", "/v1/completions"): {"model": "@delta/dialog", "prompt": "Where is my parcel?", "max_tokens": 32},
    ("post", "/v1/invoke"): {
        "model": "@wanda/customer-service",
        "input": {"messages": [{"role": "user", "content": "Where is my order?"}]},
    },
    ("post", "/v1/try"): {
        "capsule": patterns.start("@me/flow", ["@delta/dialog"]),
        "input": {"messages": [{"role": "user", "content": "Where is my order?"}], "max_tokens": 32},
    },
    ("post", "/v1/quote"): {"model": "@delta/dialog", "meters": {"call": 1, "input_token": 20, "output_token": 32}},
    ("post", "/v1/discover"): {"task": "text-generation", "meters": {"call": 1, "output_token": 32}},
    ("post", "/v1/keys"): {"label": "a key for an agent", "budgets": [{"amount": "1000000", "period": "day"}]},
    ("get", "/v1/balance"): None,
    ("get", "/v1/receipts"): None,
    ("get", "/v1/keys"): None,
    ("get", "/v1/models"): None,
    ("get", "/v1/lane"): None,
    ("get", "/v1/book"): None,
    ("get", "/v1/settlement/batches"): None,
    ("get", "/health"): None,
    ("get", "/v2/health/ready"): None,
    ("get", "/llms.txt"): None,
}
"""Requests that a local network answers with 2xx, as its consumer alice sends them."""


def pages() -> dict[str, str]:
    """The one page."""
    return {"reference/http.md": _page(document())}


def document() -> dict[str, Any]:
    """The gateway's OpenAPI document, without a gateway."""
    return api_routes(cast(Running, None)).openapi()


def _page(openapi: Mapping[str, Any]) -> str:
    by_tag: dict[str, list[str]] = {tag: [] for tag in TITLES}
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            by_tag[operation["tags"][0]].append(_operation(openapi, method, path, operation))
    schemes = openapi["components"]["securitySchemes"]
    return page(
        "HTTP",
        "Every path of the gateway. A running gateway has the same as OpenAPI at `/openapi.json`, and a page to try it"
        " at `/docs`. OpenAI's and Anthropic's clients, MCP and A2A need none of this: see [agents](../agents.md) and"
        " [the gateway](../rooms/gateway.md).",
        "In the examples `$GATEWAY` is the gateway's URL and `$KEY` an API key. Amounts are atoms, as decimal strings."
        " A test sends every example to a gateway.",
        "## Who asks",
        table(("way", "header", "is"), ((WAYS[n], _header(one), one["description"]) for n, one in schemes.items())),
        "## Made and charged once",
        SENT_AGAIN.strip(),
        "## Refusals",
        "A refusal has an HTTP status and one shape, which OpenAI's clients read:",
        fenced(
            '{"error": {"message": "there is no model \'@a/b\'", "type": "not_found_error",'
            ' "code": "model_not_found", "param": "model"}}',
            "json",
        ),
        "[Errors](errors.md) lists the codes, and what to do.",
        *(part for tag, title in TITLES.items() for part in (f"## {title}", *by_tag[tag])),
    )


def _header(scheme: Mapping[str, Any]) -> str:
    return code(scheme.get("name", "Authorization: Bearer tw_..."))


def _operation(openapi: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]) -> str:
    ways = [WAYS[name] for way in operation.get("security", []) for name in way]
    anybody = {} in operation.get("security", [{}])
    who = " or ".join([*(["anybody"] if anybody else []), *ways])
    body, kinds = _body(operation)
    fields = [*_fields(openapi, body)] if body else []
    parts = [
        f"### {method.upper()} {path}",
        operation.get("description", "").replace(SENT_AGAIN, "").strip(),
        f"Who may ask: {who}.",
        table(("parameter", "in", "type"), (_parameter(one) for one in operation.get("parameters", []))),
        table(("field", "type", "what it is"), fields),
        f"The body is `{'` or `'.join(kinds)}`." if kinds and kinds != ["application/json"] else "",
        _answer(openapi, operation),
        example(method, path),
    ]
    return "\n\n".join(part.strip("\n") for part in parts if part.strip())


def example(method: str, path: str) -> str:
    """A request that works, as somebody types it; nothing where there is none."""
    if (method, path) not in EXAMPLES:
        return ""
    body = EXAMPLES[method, path]
    lines = [f'curl -s "$GATEWAY{path}" -H "Authorization: Bearer $KEY"']
    if body is not None:
        lines = [lines[0] + ' -H "Content-Type: application/json" \\', f"  -d '{json.dumps(body)}'"]
    return fenced("\n".join(lines), "sh")


def _body(operation: Mapping[str, Any]) -> tuple[Any, list[str]]:
    content = operation.get("requestBody", {}).get("content", {})
    return content.get("application/json", {}).get("schema"), [*content]


def _parameter(one: Mapping[str, Any]) -> tuple[str, str, str]:
    schema = one.get("schema", {})
    return code(one["name"]), one["in"], _type(schema) + ("" if one.get("required") else ", or none")


def _answer(openapi: Mapping[str, Any], operation: Mapping[str, Any]) -> str:
    status, good = next((s, said) for s, said in operation["responses"].items() if str(s).startswith("2"))
    content = good.get("content", {})
    fields = [*_fields(openapi, content.get("application/json", {}).get("schema", {}))]
    kinds = ["JSON" if kind == "application/json" else code(kind) for kind in content]
    other = f", {' or '.join(kinds)}" if kinds and kinds != ["JSON"] else ""
    head = f"It answers {status}{other}" + (" with:" if fields else ".")
    return f"{head}\n\n{table(('field', 'type', 'what it is'), fields)}"


def _fields(openapi: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    schema = _resolved(openapi, schema)
    needed = schema.get("required", [])
    for name, one in schema.get("properties", {}).items():
        said = one.get("description") or _resolved(openapi, one).get("description", "")
        yield code(name), _type(one) + ("" if name in needed else ", or none"), said.split("\n\n")[0]


def _resolved(openapi: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in schema:
        found: Mapping[str, Any] = openapi["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return found
    return schema


def _type(schema: Mapping[str, Any]) -> str:
    """A type in words."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_type(one) for one in schema[several] if one.get("type") != "null"))
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " or ".join(code(one) for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    kind = schema.get("type", "anything")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)
