"""Bundles: a weaver's file becomes the document that is published. The shipped patterns are such files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from ledger.core.catalog import patterns
from ledger.core.catalog.capsules import capsule
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import cid, did
from roles.cli.shared import bundles, drawing

CAPSULES = Path(__file__).parents[2] / "deploy" / "demo" / "capsules"
PATTERNS = sorted(CAPSULES.glob("*.json"))
WEAVER = did(0, b"\x01" * 20)  # type: ignore[arg-type]


def named(name: str) -> str:
    """An id for any name."""
    return cid(hashlib.sha256(name.encode()).digest())


class Everything(dict[str, str]):
    """Every placeholder has a model."""

    def get(self, key: str, default: object = None) -> str:
        return named(key) if key.startswith("model:") else str(default)


def written(folder: Path, document: object) -> Path:
    """A weaver's file."""
    path = folder / "capsule.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("path", PATTERNS, ids=lambda path: path.stem)
def test_every_pattern_is_a_capsule_that_can_run(path: Path) -> None:
    bundle = bundles.read(path, bundles.Names(WEAVER, named, Everything()))
    document = capsule(bundle.document)
    assert document.name == f"@wanda/{path.stem}"
    assert {hashlib.sha256(module).digest() for module in bundle.modules} == {g.digest for g in document.glue.values()}
    sketched, names = bundles.sketch(path)
    drawn = drawing.draw(capsule(sketched), names)
    assert all(len(line) < 80 for line in drawn)
    assert all(name in "".join(drawn) for name in document.steps)
    assert "bafkrei" not in "".join(drawn)


def test_a_condition_is_drawn_whole() -> None:
    sketched, names = bundles.sketch(CAPSULES / "cascade.json")
    drawn = drawing.draw(capsule(sketched), names)
    assert "whensteps.cheap.output.confidence<0.9" in "".join(drawn).replace("|", "").replace(" ", "")


def test_the_seven_patterns_ship() -> None:
    names = {"serial", "vote", "serial-to-parallel", "parallel-to-serial", "cascade", "debate", "route-by-capability"}
    assert {path.stem for path in PATTERNS} == names


def test_names_become_ids_and_the_weaver_signs_with_its_did(tmp_path: Path) -> None:
    path = written(tmp_path, patterns.start("@me/flow", ["@acme/m"]) | {"weaver": "", "$schema": "x.json"})
    document = bundles.read(path, bundles.Names(WEAVER, named, {})).document
    assert document["weaver"] == WEAVER
    assert "$schema" not in document
    assert document["steps"][0]["uses"]["model"] == named("@acme/m")


@pytest.mark.parametrize(
    ("uses", "glue", "why"),
    [
        ({"model": "model:unknown"}, {}, "--use unknown=@org/name"),
        ({"glue": "g"}, {"g": {"file": "missing.wat", "fuel": 1}}, "no glue file at"),
        ({"glue": "g"}, {"g": {"file": "bad.wat", "fuel": 1}}, "not WebAssembly"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, uses: dict[str, str], glue: dict[str, object], why: str) -> None:
    (tmp_path / "bad.wat").write_text("(module (this is not")
    steps = [{"id": "reply", "uses": uses, "input": {}}]
    path = written(tmp_path, patterns.start("@me/flow", []) | {"steps": steps, "glue": glue})
    with pytest.raises(Rejected, match=why):
        bundles.read(path, bundles.Names(WEAVER, named, {}))


def test_all_mistakes_are_named_at_once_each_with_its_place(tmp_path: Path) -> None:
    chat, model = {"messages": "$.messages"}, {"model": "@acme/m"}
    steps = [
        {"id": "Reply", "uses": model, "input": chat},
        {"id": "a", "uses": {"model": "acme"}, "input": {}, "timeout": 1, "tries": 2},
        {"id": "b", "uses": model, "input": {"messages": [{"content": "{$steps.nobody.output} {$x y}"}]}},
        {"id": "c", "uses": model, "input": chat, "when": "steps.a.status = 'ok'"},
        {"id": "d", "uses": model, "input": {"q": "$steps.gone.output"}, "on_error": "skip", "fallback": "none"},
        {"id": "e", "uses": {"glue": "weave"}, "input": {}, "when": "steps.ghost.output > 1"},
    ]
    shares = {"weaver": {"ratio_ppm": 200_000, "ask": {}}, "co_weavers": [{"party": WEAVER, "ratio_ppm": 200_000}]}
    document = patterns.start("me/flow", []) | {
        "steps": steps,
        "distribution": shares,
        "output": {"o": "$steps.z.output"},
    }
    del document["version"]
    _, found = bundles.check(written(tmp_path, document))
    assert sorted({place for place, _ in found}) == [
        "$.distribution",
        "$.name",
        "$.output.o",
        "$.steps[0].id",
        "$.steps[1].timeout",
        "$.steps[1].tries",
        "$.steps[1].uses.model",
        "$.steps[2].input.messages[0].content",
        "$.steps[3].when",
        "$.steps[4].fallback",
        "$.steps[4].input.q",
        "$.steps[4].on_error",
        "$.steps[5].uses.glue",
        "$.steps[5].when",
        "$.version",
    ]


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([("a", "b"), ("b", "a")], "the steps a, b wait for each other"),
        ([("a", "b"), ("a", "b"), ("b", None)], "two steps have the same id"),
    ],
)
def test_mistakes_between_steps_are_named(tmp_path: Path, steps: list[tuple[str, str | None]], why: str) -> None:
    rows = [
        {"id": id, "uses": {"model": "@acme/m"}, "input": {}}
        | ({"on_error": "fallback", "fallback": after} if after else {})
        for id, after in steps
    ]
    path = written(tmp_path, patterns.start("@me/flow", []) | {"steps": rows, "output": {}})
    assert bundles.check(path)[1] == [("$.steps", why)]


@pytest.mark.parametrize("steps", [None, 5, "x", [], [5, None], [{}], [{"id": [], "uses": [], "input": []}], {"a": 1}])
@pytest.mark.parametrize("field", ["steps", "glue", "output", "distribution", "weaver"])
def test_whatever_stands_in_a_file_is_checked_to_its_end(tmp_path: Path, steps: object, field: str) -> None:
    _, found = bundles.check(written(tmp_path, patterns.start("@me/flow", []) | {field: steps}))
    assert all(place.startswith(f"$.{field}") or place == "$.output.content" for place, _ in found)


@pytest.mark.parametrize("models", [[], ["@acme/a"], ["@acme/a", "@acme/b", "@acme/c"]])
def test_a_new_capsule_can_be_published(tmp_path: Path, models: list[str]) -> None:
    path = written(tmp_path, patterns.start("@me/flow", models))
    assert bundles.check(path)[1] == []
    made = capsule(bundles.read(path, bundles.Names(WEAVER, named, Everything())).document)
    assert len(made.steps) == max(1, len(models))


def test_the_schema_of_a_file_is_a_schema_that_the_patterns_fit() -> None:
    Draft202012Validator.check_schema(bundles.schema())
    validator = Draft202012Validator(bundles.schema())
    assert [path.stem for path in PATTERNS if not validator.is_valid(json.loads(path.read_text()))] == []
