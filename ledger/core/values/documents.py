"""Documents: canonical JSON, document ids, and JSON Schemas.

Canonical JSON is RFC 8785 restricted to objects, arrays, strings, booleans, null and whole numbers up to 2^53-1.
Floats cannot be signed; money is a decimal string. A document's id is the CIDv1 (raw, sha2-256) of its canonical bytes.
The schemas are the files in `schemas/`. jsonschema-rs checks them, 13 to 26 times faster than a plain walk in Python.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Digest, cid
from ledger.core.values.meters import Meter

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError, Validator

Json: TypeAlias = Any
"""Any JSON value. Schemas describe its shape; types do not repeat it."""
Document: TypeAlias = dict[str, Json]

KINDS = ("model", "capsule", "offer", "realm", "quote", "receipt", "discover")
MAX_INTEGER = 2**53 - 1
MAX_DEPTH = 64
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKET = re.compile(r"[\[{\]}]")


def parse(body: bytes | str) -> Document:
    """Decode a JSON object. Rejected: duplicate keys, floats, more than 64 levels, any other JSON value."""
    try:
        text = body if isinstance(body, str) else body.decode()
        check_depth(text)
        value = json.loads(text, object_pairs_hook=_unique, parse_float=_no_float, parse_constant=_no_float)
    except (ValueError, RecursionError) as error:
        raise Rejected(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Rejected(f"a document is a JSON object, not {_name(value)}")
    return value


def check_depth(text: str) -> None:
    """Bound the nesting before anything recurses: a library may have raised the interpreter's own limit."""
    depth = 0
    for bracket in _BRACKET.findall(_TEXT.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise Rejected(f"not JSON of at most {MAX_DEPTH} levels", max_depth=MAX_DEPTH)


def canonical(document: Json) -> bytes:
    """The canonical bytes of a document. Rejected, naming the field: floats, and what JSON cannot hold exactly."""
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
        raise Rejected("a string contains an unpaired surrogate") from error


def digest(document: Json) -> Digest:
    """SHA-256 of the canonical bytes: the id on chain."""
    return Digest(hashlib.sha256(canonical(document)).digest())


def document_id(document: Json) -> str:
    return cid(digest(document))


def unsigned(document: Document) -> Document:
    """The document without its signature: the part that is signed."""
    return {key: value for key, value in document.items() if key != "signature"}


def validate(document: Json, kind: str | None = None) -> str:
    """Check a document against its schema and return its kind. Rejected with the first field that does not fit.

    The kind is the middle part of its `schema` field ("tollway/model/1"). If `kind` is given, it must be equal.
    """
    canonical(document)
    named = document.get("schema") if isinstance(document, dict) else None
    known = {f"tollway/{name}/1": name for name in KINDS}
    if not isinstance(named, str) or named not in known:
        raise Rejected(f"$.schema: must be one of {', '.join(known)}, not {named!r}", field="$.schema")
    if kind is not None and known[named] != kind:
        raise Rejected(f"$.schema: expected a {kind}, not a {known[named]}", field="$.schema")
    check(document, known[named])
    return known[named]


@cache
def schema(kind: str) -> Document:
    """The schema of a kind. Where it names a meter, the meters' table says which there are."""
    loaded: Document = json.loads(files("ledger.core").joinpath("schemas", f"{kind}.json").read_text("utf-8"))
    if "meter" in loaded.get("$defs", {}):
        loaded["$defs"]["meter"] = {"enum": list(Meter.__members__)}
    return loaded


def check(value: Json, kind: str, definition: str = "") -> None:
    """Check any JSON value against the schema of a kind, or against one definition (`$defs`) of that schema.

    Rejected with the first field that does not fit.
    """
    from jsonschema_rs import ValidationError  # not at the top: most commands validate nothing

    try:
        _validator(kind, definition).validate(value)
    except UnicodeEncodeError as error:
        raise Rejected(f"$: a text is not Unicode: {error.reason}", field="$") from None
    except ValidationError as error:
        path, reason = _explain(error)
        raise Rejected(f"{path}: {reason}", field=path) from None


class Mistake(NamedTuple):
    """A place of a document, such as `$.steps[2].when`, and what is wrong there."""

    place: str
    reason: str


def mistakes(value: Json, shape: Document) -> list[Mistake]:
    """All that keeps a value from fitting a JSON Schema, from the top of the document to its end."""
    from jsonschema_rs import Draft202012Validator

    found = []
    for error in Draft202012Validator(shape).iter_errors(value):
        path, reason = _explain(error)
        several = error.kind.value[1:] if error.kind.name == "additionalProperties" else []
        found += [Mistake(path, reason), *(Mistake(f"{_place(error)}.{name}", reason) for name in several)]
    return found


@cache
def _validator(kind: str, definition: str) -> Validator:
    from jsonschema_rs import Draft202012Validator

    whole = schema(kind)
    return Draft202012Validator(whole["$defs"][definition] | {"$defs": whole["$defs"]} if definition else whole)


def _explain(error: ValidationError) -> tuple[str, str]:
    """The path of the field that does not fit, and the reason."""
    path = _place(error)
    keyword, wanted = error.kind.name, error.kind.value
    if keyword == "required":
        return f"{path}.{wanted}", "is missing"
    if keyword == "additionalProperties":
        return f"{path}.{wanted[0]}", "unknown field"
    if keyword == "propertyNames":
        return f"{path}.{wanted.instance}", _explain(wanted)[1]
    if keyword == "oneOf" and all(wanted):  # `wanted` holds the errors of each branch; a branch that fits has none
        return _explain(min(wanted, key=_unlikeness)[0])
    return path, _REASONS[keyword](wanted, error.instance) if keyword in _REASONS else error.message


def _place(error: ValidationError) -> str:
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)


def _unlikeness(errors: list[ValidationError]) -> int:
    """The distance of a value from a branch of `oneOf`: only the nearest branch is reported."""
    return sum(9 if error.kind.name in ("required", "additionalProperties", "const", "enum") else 1 for error in errors)


_REASONS: dict[str, Callable[[Json, Json], str]] = {
    "type": lambda names, value: f"must be {' or '.join(names)}, not {_name(value)}",
    "const": lambda one, _: f"must be {one!r}",
    "enum": lambda several, value: f"must be one of {', '.join(map(str, several))}, not {value!r}",
    "pattern": lambda pattern, value: f"{value!r} does not match {pattern}",
    "maxLength": lambda most, _: f"is longer than {most} characters",
    "minimum": lambda least, value: f"must be at least {least}, not {value}",
    "maximum": lambda most, value: f"must be at most {most}, not {value}",
    "minItems": lambda least, value: f"has {len(value)} items, fewer than {least}",
    "maxItems": lambda most, value: f"has {len(value)} items, more than {most}",
    "oneOf": lambda _, __: "fits more than one of the allowed forms",
}
_NAMES = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}


def _name(value: Json) -> str:
    return "null" if value is None else _NAMES.get(type(value), type(value).__name__)


def _walk(value: Json, path: str) -> Iterator[tuple[str, Json]]:
    yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise Rejected(f"{path}: the key {key!r} is not a string", field=path)
            yield from _walk(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _walk(item, f"{path}[{index}]")


def _sorted(value: Json) -> Json:
    """Sort keys by their UTF-16 code units, as RFC 8785 requires."""
    if isinstance(value, dict):
        ordered = sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return {key: _sorted(value[key]) for key in ordered}
    return [_sorted(item) for item in value] if isinstance(value, list | tuple) else value


def _unique(pairs: list[tuple[str, Json]]) -> Document:
    seen: Document = {}
    for key, value in pairs:
        if key in seen:
            raise Rejected(f"the key {key!r} occurs twice", field=key)
        seen[key] = value
    return seen


def _no_float(text: str) -> Json:
    raise Rejected(f"{text}: floats are not allowed in signed documents", value=text)
