"""The reference of documents: each kind's fields, from its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from docs.book.markdown import code, page, table
from ledger.core.values import documents

ABOUT = {
    "model": "What a model is, published by its maker: `tollway maker register`. Its id is the hash of these bytes, so"
    " it never changes.",
    "capsule": "A workflow of several models, published by its weaver. [Workflows](../capsules.md) explains it.",
    "offer": "What a party offers for some epochs: to serve a model at a URL, or commissions for curators and slots.",
    "realm": "The members of a realm, signed by its owner.",
    "quote": "What a gateway signs when it is asked for a price.",
    "receipt": "What a gateway signs for a call.",
    "discover": "What a consumer asks for when it looks for a model.",
}
BOUNDS = {
    "minimum": "at least {}", "maximum": "at most {}", "maxLength": "at most {} characters", "maxItems": "at most {}",
    "minItems": "at least {}", "minLength": "at least {} characters", "maxProperties": "at most {} entries",
    "pattern": "`{}`",
}  # fmt: skip


def pages() -> dict[str, str]:
    """The one page."""
    return {
        "reference/documents.md": page(
            "Documents: models, workflows, offers, receipts",
            "A document is canonical JSON (RFC 8785): an object of texts, lists, booleans and whole numbers. There are"
            " no fractions, and an amount is a decimal string of atoms. Its id is the CIDv1 of its bytes. A field that"
            " is not in these tables is refused.",
            "`tollway weaver schema` prints the JSON Schema of a workflow for an editor; all schemas are in"
            " `ledger/core/schemas`.",
            *(_kind(kind) for kind in documents.KINDS),
        )
    }


def _kind(kind: str) -> str:
    whole = documents.schema(kind)
    parts = [
        f"## {kind}",
        ABOUT[kind],
        table(("field", "type", "bounds, and what it says"), _fields(whole, whole, "")),
        *(
            f"### {kind}: {name}\n\n{table(('field', 'type', 'bounds, and what it says'), rows)}"
            for name, one in whole.get("$defs", {}).items()
            if (rows := [*_fields(whole, one, "")])
        ),
    ]
    return "\n\n".join(part.strip("\n") for part in parts if part)


def _fields(whole: Mapping[str, Any], schema: Mapping[str, Any], under: str) -> Iterator[tuple[str, str, str]]:
    """A row a field, and those of what stands in it. What has a name of its own has a table of its own."""
    needed = schema.get("required", [])
    for name, one in schema.get("properties", {}).items():
        path = f"{under}{name}"
        said = [template.format(one[key]) for key, template in BOUNDS.items() if key in one]
        inner = one.get("items", {}) if one.get("type") == "array" else one
        said += [f"each {t.format(inner[k])}" for k, t in BOUNDS.items() if inner is not one and k in inner]
        words = "; ".join([*said, *filter(None, [one.get("description") or inner.get("description")])])
        yield code(path), _type(one) + ("" if name in needed else ", or none"), words
        if isinstance(inner, Mapping):
            yield from _fields(whole, inner, f"{path}[]." if inner is not one else f"{path}.")


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_type(one) for one in schema[several]))
    if "const" in schema:
        return code(json.dumps(schema["const"]))
    if "enum" in schema:
        return " or ".join(code(one) for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "anything"))
