"""JSON paths and templates of a capsule: how a node's input is made of what its author names, and of nothing else.

    "$.messages[-1].content"          a value of the request, kept as it is
    "$nodes.emotion.output.label"     a value another node answered
    "The caller is {$nodes.emotion.output.label}."    interpolated; what is no string is written as compact JSON
    "$$5"                             the text "$5"

What is put in is data: it is never read as a template again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ledger.core.values.documents import Json
from ledger.core.values.errors import Rejected

_KEY = re.compile(r"\.([A-Za-z_][A-Za-z0-9_-]*)|\[(-?[0-9]+)\]|\['([^']*)'\]")
_PATH = re.compile(r"\$(?:nodes\.([a-z][a-z0-9_]*))?((?:\.[A-Za-z_][A-Za-z0-9_-]*|\[-?[0-9]+\]|\['[^']*'\])*)")
_INTERPOLATED = re.compile(r"\{(\$[^{}]*)\}")


class Path(NamedTuple):
    """A parsed path: the node it reads (None: the request), and its steps."""

    step: str | None
    keys: tuple[str | int, ...]


def parse(text: str) -> Path:
    """A path from its text. Rejected when it is none."""
    match = _PATH.fullmatch(text)
    if match is None or text.startswith("$nodes[") or (match[1] is None and text.startswith("$nodes")):
        raise Rejected(f"{text!r} is not a path such as $.messages[-1].content or $nodes.name.output", path=text)
    keys = (int(index) if index else name or quoted for name, index, quoted in _KEY.findall(match[2]))
    return Path(match[1], tuple(keys))


def read(path: Path, request: Json, nodes: Mapping[str, Json]) -> Json:
    """The value a path points to: None below a node that has no answer; Rejected where nothing else is."""
    value: Json = request if path.step is None else nodes.get(path.step)
    for key in path.keys:
        if value is None and path.step is not None:
            return None
        try:
            value = _entered(value, key)
        except (KeyError, IndexError) as error:
            raise Rejected(f"there is no {spelled(path)}: {key!r} is missing", path=spelled(path)) from error
    return value


def resolve(template: Json, request: Json, nodes: Mapping[str, Json]) -> Json:
    """A template filled in. `nodes` gives each finished node as {"status": ..., "output": ...}."""
    if isinstance(template, dict):
        return {key: resolve(item, request, nodes) for key, item in template.items()}
    if isinstance(template, list):
        return [resolve(item, request, nodes) for item in template]
    if not isinstance(template, str):
        return template
    if template.startswith("$$"):
        return template[1:]
    if template.startswith("$"):
        return read(parse(template), request, nodes)
    return _INTERPOLATED.sub(lambda match: _text(read(parse(match[1]), request, nodes)), template)


def named(template: Json) -> Iterator[Path]:
    """Every path in a template."""
    if isinstance(template, dict):
        for item in template.values():
            yield from named(item)
    elif isinstance(template, list):
        for item in template:
            yield from named(item)
    elif isinstance(template, str) and template.startswith("$"):
        if not template.startswith("$$"):
            yield parse(template)
    elif isinstance(template, str):
        yield from map(parse, _INTERPOLATED.findall(template))


def spelled(path: Path) -> str:
    """A path as text."""
    keys = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path.keys)
    return ("$" if path.step is None else f"$nodes.{path.step}") + keys


def _entered(value: Json, key: str | int) -> Json:
    if isinstance(value, list) and isinstance(key, int):
        return value[key]
    if isinstance(value, dict) and isinstance(key, str):
        return value[key]
    raise KeyError(key)


def _text(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
