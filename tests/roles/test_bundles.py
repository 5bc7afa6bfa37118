"""Bundles: a weaver's file becomes the document that is published. The shipped patterns are such files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("path", PATTERNS, ids=lambda path: path.stem)
def test_every_pattern_is_a_capsule_that_can_run(path: Path) -> None:
    bundle = bundles.read(path, bundles.Names(WEAVER, named, Everything()))
    document = capsule(bundle.document)
    assert document.name == f"@wanda/{path.stem}"
    assert {hashlib.sha256(module).digest() for module in bundle.modules} == {g.digest for g in document.glue.values()}
    drawn = "\n".join(drawing.draw(capsule(bundles.sketch(path))))
    assert all(name in drawn for name in document.steps)


def test_the_seven_patterns_ship() -> None:
    names = {"serial", "vote", "serial-to-parallel", "parallel-to-serial", "cascade", "debate", "route-by-capability"}
    assert {path.stem for path in PATTERNS} == names


def test_names_become_ids_and_the_weaver_signs_with_its_did(tmp_path: Path) -> None:
    step = {"id": "a", "uses": {"model": "@acme/m"}, "input": {"text": "$.x"}}
    path = tmp_path / "capsule.json"
    path.write_text(json.dumps({"steps": [step], "weaver": ""}))
    document = bundles.read(path, bundles.Names(WEAVER, named, {})).document
    assert document["weaver"] == WEAVER
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
    path = tmp_path / "capsule.json"
    path.write_text(json.dumps({"steps": [{"id": "a", "uses": uses, "input": {}}], "glue": glue}))
    with pytest.raises(Rejected, match=why):
        bundles.read(path, bundles.Names(WEAVER, named, {}))
