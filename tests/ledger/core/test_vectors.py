"""The shared vectors pass; a corrupted one is named; nothing crashes the check."""

import copy
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from roles.audit import vectors

VECTORS = Path(__file__).parents[2] / "vectors"
FILES = [VECTORS / f"{name}.json" for name in ("mechanism", "mechanism_random", "sumtree")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_vector_passes(file: Path) -> None:
    assert vectors.check(file) == []
    assert vectors.size(vectors.load(file)) > 0


def _answers(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Places of a vector that hold what was computed, not what it was computed from."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [place for key, item in items for place in _answers(item, (*path, key))]
    named = {"price", "amounts", "root", "total", "proof", "node", "net", "extra", "weights", "pick", "height",
             "leaf_credits", "root_lines", "ancestors", "composed_price", "infeasible_error"}  # fmt: skip
    inputs = {"candidates", "carve"}
    is_answer = named & set(path) and not inputs & set(path) and not isinstance(value, dict | list)
    amounts_of_deduction = "amounts" in path and path[0] == "carve"
    return [*found, path] if is_answer and not amounts_of_deduction else found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_any_changed_answer_is_named(file: Path) -> None:
    document = vectors.load(file)
    chance = Random(5)
    for path in chance.sample(_answers(document), 60):
        if path[:2] == ("vectors", 9) and "amounts" in path:
            continue  # a carve's amounts are its input
        changed = copy.deepcopy(document)
        holder: Any = changed
        for key in path[:-1]:
            holder = holder[key]
        was = holder[path[-1]]
        wrong = was + 1 if isinstance(was, int) else f"{was[:-1]}{'1' if was[-1] != '1' else '2'}"
        lies: list[Any] = [wrong, None, 1.5, []]
        for lie in lies:
            holder[path[-1]] = lie
            mismatches = vectors.check(changed)
            assert mismatches, f"{path} = {lie!r} went unnoticed"
            section, number = path[0], path[1]
            assert all(str(number) in m.where or f"vector {number + 1} " in m.where for m in mismatches), (
                section,
                path,
            )


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"note": "nothing"},
        {"vectors": 5},
        {"vectors": [5, {}, {"kind": "astrology"}]},
        {"horoscopes": [{}]},
        {"trees": [{"leaves": []}]},
        {"route": [{"candidates": [], "tau_ppm": 1, "weights": [], "pick": 0, "seed_hex": "00"}]},
        {"composed": [{"lines": [{"id": "a", "r": -1, "F": 0}], "price": 0, "amounts": {"a": 0}}]},
        {"composed": [{"lines": [{"id": "a", "r": 1.0, "F": 0}], "price": 0, "amounts": {"a": 0}}]},
        {"composed": [{"lines": "abc"}]},
    ],
)
def test_what_cannot_be_checked_is_a_mismatch_and_no_crash(document: dict[str, Any]) -> None:
    assert vectors.check(document)


def test_unknown_kinds_are_named() -> None:
    (mismatch,) = vectors.check({"vectors": [{"n": 3, "kind": "astrology", "name": "leo"}]})
    assert (mismatch.where, mismatch.field, mismatch.expected) == ("vector 3 (leo)", "kind", "astrology")


def test_a_file_that_is_none_is_a_mismatch(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text(json.dumps([1]))
    for name in ("broken.json", "list.json", "missing.json"):
        (mismatch,) = vectors.check(tmp_path / name)
        assert mismatch.where == "file"
