"""JSON paths and templates of a capsule: how a step's input is made from the values that its author names.

    "$.messages[-1].content"          a value of the request, kept as it is
    "$steps.emotion.output.label"     a value of another step's answer
    "The caller is {$steps.emotion.output.label}."    interpolated; what is not a string becomes compact JSON
    "$$5"                             the text "$5"

Values that are filled in are not read as templates again.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ledger.core.values.documents import Json
from ledger.core.values.errors import Rejected

MAX_BYTES = 20 * 2**20
"""Of the values that fill a template. It may name a value of 1 MiB ten thousand times."""
_KEY = re.compile(r"\.([A-Za-z_][A-Za-z0-9_-]*)|\[(-?[0-9]{1,9})\]|\['([^']*)'\]")
_PATH = re.compile(r"\$(?:steps\.([a-z][a-z0-9_]*))?((?:\.[A-Za-z_][A-Za-z0-9_-]*|\[-?[0-9]{1,9}\]|\['[^']*'\])*)")
_INTERPOLATED = re.compile(r"\{(\$[^{}]*)\}")


class Path(NamedTuple):
    """A parsed path: the step it reads (None: the request), and the keys from there."""

    step: str | None
    keys: tuple[str | int, ...]


def parse(text: str) -> Path:
    """A path from its text. Rejected when it is not one."""
    match = _PATH.fullmatch(text)
    if match is None or text.startswith("$steps[") or (match[1] is None and text.startswith("$steps")):
        raise Rejected(f"{text!r} is not a path such as $.messages[-1].content or $steps.name.output", path=text)
    keys = (int(index) if index else name or quoted for name, index, quoted in _KEY.findall(match[2]))
    return Path(match[1], tuple(keys))


def read(path: Path, request: Json, steps: Mapping[str, Json]) -> Json:
    """The value at a path. None below a step without an answer; Rejected where a key is missing."""
    value: Json = request if path.step is None else steps.get(path.step)
    for key in path.keys:
        if value is None and path.step is not None:
            return None
        try:
            value = _entered(value, key)
        except (KeyError, IndexError) as error:
            raise Rejected(f"there is no {spelled(path)}: {key!r} is missing", path=spelled(path)) from error
    return value


def resolve(template: Json, request: Json, steps: Mapping[str, Json]) -> Json:
    """A template filled in. `steps` has each finished step as {"status": ..., "output": ...}. Rejected when the values
    that it is filled with are longer than `MAX_BYTES`.
    """
    return _Filling(request, steps).fill(template)


class _Filling:
    """One template that is filled in, and how many bytes of values may still go into it."""

    def __init__(self, request: Json, steps: Mapping[str, Json]) -> None:
        self._request, self._steps, self._left = request, steps, MAX_BYTES
        self._sizes: dict[int, int] = {}

    def fill(self, template: Json) -> Json:
        if isinstance(template, dict):
            return {key: self.fill(item) for key, item in template.items()}
        if isinstance(template, list):
            return [self.fill(item) for item in template]
        if not isinstance(template, str):
            return template
        if template.startswith("$$"):
            return template[1:]
        if template.startswith("$"):
            return self._read(template)
        return _INTERPOLATED.sub(lambda match: _text(self._read(match[1])), template)

    def _read(self, path: str) -> Json:
        value = read(parse(path), self._request, self._steps)
        if isinstance(value, list | dict) and id(value) not in self._sizes:
            self._sizes[id(value)] = len(_text(value))
        self._left -= len(value) if isinstance(value, str) else self._sizes.get(id(value), 1)
        if self._left < 0:
            raise Rejected(f"it is filled with more than {MAX_BYTES} bytes", max_bytes=MAX_BYTES)
        return value


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
    return ("$" if path.step is None else f"$steps.{path.step}") + keys


def _entered(value: Json, key: str | int) -> Json:
    if isinstance(value, list) and isinstance(key, int):
        return value[key]
    if isinstance(value, dict) and isinstance(key, str):
        return value[key]
    raise KeyError(key)


def _text(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
