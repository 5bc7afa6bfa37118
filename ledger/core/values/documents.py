"""Documents: canonical JSON, the ids it gives, and the schemas it must fit.

Canonical JSON is RFC 8785 restricted to objects, arrays, strings, booleans, null and whole numbers up to 2^53-1: no
float can be signed, and money is a decimal string. An id is the CIDv1 (raw, sha2-256) of those bytes, so any byte
changed is another id. The schemas are the files in `schemas/`; `_Check` reads the part of JSON Schema they use, and a
property test holds it equal to the `jsonschema` package.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Digest, cid

Json: TypeAlias = Any
"""Any JSON value. Its shape is said by a schema, not repeated in types."""
Document: TypeAlias = dict[str, Json]

KINDS = ("model", "capsule", "offer", "quote", "receipt", "discover")
MAX_INTEGER = 2**53 - 1
MAX_DEPTH = 64
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKET = re.compile(r"[\[{\]}]")


def parse(body: bytes | str) -> Document:
    """A JSON object from bytes; duplicate keys, floats, more than 64 levels and what is no object are Rejected."""
    try:
        text = body if isinstance(body, str) else body.decode()
        _check_depth(text)
        value = json.loads(text, object_pairs_hook=_unique, parse_float=_no_float, parse_constant=_no_float)
    except (ValueError, RecursionError) as error:
        raise Rejected(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Rejected(f"a document is a JSON object, not {_name(value)}")
    return value


def _check_depth(text: str) -> None:
    """Bound the nesting before anything recurses: the interpreter's own limit may have been raised by a library."""
    depth = 0
    for bracket in _BRACKET.findall(_TEXT.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise Rejected(f"not JSON of at most {MAX_DEPTH} levels", max_depth=MAX_DEPTH)


def canonical(document: Json) -> bytes:
    """The one spelling of a document. Rejected, naming the field, for floats and what JSON cannot say exactly."""
    for path, value in _walk(document, "$"):
        if isinstance(value, float):
            raise Rejected(f"{path}: floats are not allowed in signed documents", field=path)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_INTEGER:
            raise Rejected(f"{path}: an integer above 2^53-1 must be a decimal string", field=path)
        if not (value is None or isinstance(value, str | int | dict | list | tuple)):
            raise Rejected(f"{path}: {type(value).__name__} is not JSON", field=path)
    try:
        return json.dumps(_sorted(document), separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise Rejected("a string holds half a surrogate pair") from error


def digest(document: Json) -> Digest:
    """sha256 of the canonical bytes: the id on chain."""
    return Digest(hashlib.sha256(canonical(document)).digest())


def document_id(document: Json) -> str:
    """The document's CID."""
    return cid(digest(document))


def unsigned(document: Document) -> Document:
    """The document without its signature: what is signed."""
    return {key: value for key, value in document.items() if key != "signature"}


def validate(document: Json, kind: str | None = None) -> str:
    """Check a document against its schema and return its kind. Rejected with the first field that does not fit.

    The kind is the middle of its `schema` field ("tollway/model/1"), and must be `kind` where one is given.
    """
    canonical(document)
    named = document.get("schema") if isinstance(document, dict) else None
    known = {f"tollway/{name}/1": name for name in KINDS}
    if not isinstance(named, str) or named not in known:
        raise Rejected(f"$.schema: must be one of {', '.join(known)}, not {named!r}", field="$.schema")
    if kind is not None and known[named] != kind:
        raise Rejected(f"$.schema: expected a {kind}, not a {known[named]}", field="$.schema")
    check(document, schema(known[named]))
    return known[named]


@cache
def schema(kind: str) -> Document:
    """The schema of a kind of document."""
    loaded: Document = json.loads(files("ledger.core").joinpath("schemas", f"{kind}.json").read_text("utf-8"))
    return loaded


def check(value: Json, schema: Document) -> None:
    """Check any JSON value against a schema. Rejected with the first field that does not fit."""
    _Check(schema).visit(value, schema, "$")


class _Check:
    """One walk over a value and a schema. The root is kept for `$ref`."""

    def __init__(self, root: Document) -> None:
        self.root = root

    def visit(self, value: Json, schema: Document, path: str) -> None:
        if "$ref" in schema:
            self.visit(value, self._referred(schema["$ref"]), path)
        if "type" in schema and not _IS[schema["type"]](value):
            _fail(path, f"must be {schema['type']}, not {_name(value)}")
        if "const" in schema and not _same(value, schema["const"]):
            _fail(path, f"must be {schema['const']!r}")
        if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
            _fail(path, f"must be one of {', '.join(map(str, schema['enum']))}, not {value!r}")
        if isinstance(value, str):
            self._string(value, schema, path)
        elif isinstance(value, dict):
            self._object(value, schema, path)
        elif isinstance(value, list):
            self._array(value, schema, path)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            self._number(value, schema, path)
        self._combined(value, schema, path)

    def _string(self, value: str, schema: Document, path: str) -> None:
        if "pattern" in schema and not re.search(schema["pattern"].replace("$", r"\Z"), value):
            _fail(path, f"{value!r} does not match {schema['pattern']}")
        if len(value) > schema.get("maxLength", len(value)):
            _fail(path, f"is longer than {schema['maxLength']} characters")

    def _number(self, value: float, schema: Document, path: str) -> None:
        if value < schema.get("minimum", value):
            _fail(path, f"must be at least {schema['minimum']}, not {value}")
        if value > schema.get("maximum", value):
            _fail(path, f"must be at most {schema['maximum']}, not {value}")

    def _object(self, value: Document, schema: Document, path: str) -> None:
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        for name in schema.get("required", []):
            if name not in value:
                _fail(f"{path}.{name}", "is missing")
        if len(value) < schema.get("minProperties", 0):
            _fail(path, f"has fewer than {schema['minProperties']} fields")
        for name, item in value.items():
            if name in properties:
                self.visit(item, properties[name], f"{path}.{name}")
            elif others is False:
                _fail(f"{path}.{name}", "unknown field")
            elif isinstance(others, dict):
                self.visit(item, others, f"{path}.{name}")
            if "propertyNames" in schema:
                self.visit(name, schema["propertyNames"], f"{path}.{name}")

    def _array(self, value: list[Json], schema: Document, path: str) -> None:
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            _fail(path, f"has {len(value)} items, outside {schema.get('minItems', 0)} to {schema.get('maxItems', '')}")
        if "items" in schema:
            for index, item in enumerate(value):
                self.visit(item, schema["items"], f"{path}[{index}]")

    def _combined(self, value: Json, schema: Document, path: str) -> None:
        for part in schema.get("allOf", []):
            self.visit(value, part, path)
        if "if" in schema and self._fits(value, schema["if"], path):
            self.visit(value, schema.get("then", {}), path)
        if "oneOf" in schema:
            fitting = sum(self._fits(value, branch, path) for branch in schema["oneOf"])
            if fitting > 1:
                _fail(path, "fits more than one of the allowed forms")
            if not fitting:
                self.visit(value, max(schema["oneOf"], key=lambda branch: _likeness(value, branch)), path)

    def _fits(self, value: Json, schema: Document, path: str) -> bool:
        try:
            self.visit(value, schema, path)
        except Rejected:
            return False
        return True

    def _referred(self, reference: str) -> Document:
        found = self.root
        for name in reference.removeprefix("#/").split("/"):
            found = found[name]
        return found


_IS: dict[str, Callable[[Json], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def _fail(path: str, message: str) -> None:
    raise Rejected(f"{path}: {message}", field=path)


def _same(value: Json, other: Json) -> bool:
    return type(value) is type(other) and bool(value == other)


def _name(value: Json) -> str:
    return next((name for name, holds in _IS.items() if holds(value)), type(value).__name__)


def _likeness(value: Json, branch: Document) -> int:
    """How much of a branch of `oneOf` a value already has: the error of the likeliest branch is the one to tell."""
    typed = int("type" not in branch or _IS[branch["type"]](value))
    if not isinstance(value, dict):
        return typed
    shared = sum(name in value for name in branch.get("properties", {}))
    fixed = (name for name, one in branch.get("properties", {}).items() if name in value and {"const", "enum"} & {*one})
    told = sum(value[name] in [branch["properties"][name].get("const"), *branch["properties"][name].get("enum", [])]
               for name in fixed)  # fmt: skip
    return typed + shared + 8 * told


def _walk(value: Json, path: str) -> Iterator[tuple[str, Json]]:
    yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise Rejected(f"{path}: the key {key!r} is no string", field=path)
            yield from _walk(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _walk(item, f"{path}[{index}]")


def _sorted(value: Json) -> Json:
    """Keys in order of their UTF-16 code units, as RFC 8785 wants."""
    if isinstance(value, dict):
        ordered = sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return {key: _sorted(value[key]) for key in ordered}
    return [_sorted(item) for item in value] if isinstance(value, list | tuple) else value


def _unique(pairs: list[tuple[str, Json]]) -> Document:
    seen: Document = {}
    for key, value in pairs:
        if key in seen:
            raise Rejected(f"the key {key!r} is there twice", field=key)
        seen[key] = value
    return seen


def _no_float(text: str) -> Json:
    raise Rejected(f"{text}: floats are not allowed in signed documents", value=text)
