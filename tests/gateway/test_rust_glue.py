"""The Rust template of glue: the module that ships does what its source says, and is built from it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.workflow.wasm import Glue, GlueError, Workshop
from ledger.core.values.documents import Json
from tests import book

TEMPLATE = Path(__file__).parents[2] / "deploy" / "demo" / "glue"
SHIPPED = (TEMPLATE / "glue.wasm").read_bytes()
BUILT_WITH = "rustc 1.63.0"
TARGET = "wasm32-unknown-unknown"
FUEL = 200_000
WORKSHOP = Workshop()
ANSWERS = st.lists(
    st.none() | st.integers(0, 20) | st.text(max_size=3) | st.lists(st.text('",[]{}\\ü', max_size=2), max_size=2),
    max_size=5,
)
"""Short ones, so that many are of one length."""


def why_not() -> str | None:
    """Why the template cannot be built here, or None."""
    if shutil.which("cargo") is None or shutil.which("rustc") is None:
        return "there is no Rust toolchain: cargo and rustc"
    asked = ["rustc", "--print", "target-libdir", "--target", TARGET]
    libraries = Path(subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip())
    return None if [*libraries.glob("libstd-*.rlib")] else f"the Rust toolchain has no target {TARGET}"


def built(folder: Path) -> bytes:
    """The module that the toolchain of this machine makes of a copy of the template, in `folder`, as the book says."""
    copy = shutil.copytree(TEMPLATE, folder / "glue", ignore=shutil.ignore_patterns("target", "*.wasm"))
    said = "\n".join(book.typed("docs/glue.md", "cargo build --release").lines)
    environment = {**os.environ, "CARGO_NET_OFFLINE": "true", "CARGO_TERM_QUIET": "true"}
    environment.pop("CARGO_TARGET_DIR", None)
    subprocess.run(["bash", "-euc", said], cwd=copy, env=environment, check=True)
    return (copy / "glue.wasm").read_bytes()


def longest(glue: Glue, answers: list[Json]) -> Json:
    return WORKSHOP.run(glue, "longest", {"of": answers}, FUEL).output


def check(glue: Glue) -> Callable[[], None]:
    """A property of `glue`: it answers the longest as it is written, of equals the first, and fails without any."""

    @settings(deadline=None, max_examples=100)
    @given(ANSWERS)
    def picks(answers: list[Json]) -> None:
        there = [answer for answer in answers if answer is not None]
        if there:
            expected = max(
                there, key=lambda one: len(json.dumps(one, ensure_ascii=False, separators=(",", ":")).encode())
            )
            assert longest(glue, answers) == expected
        else:
            with pytest.raises(GlueError, match="glue failed: no one answered"):
                longest(glue, answers)

    return picks


def test_the_template_that_ships_answers_the_longest() -> None:
    check(WORKSHOP.load(SHIPPED))()


@pytest.mark.parametrize("given", [None, [], {}, {"of": 1}, {"of": [1], "or": [2]}, {"or": [1]}])
def test_an_input_of_another_shape_fails_with_a_reason(given: Json) -> None:
    with pytest.raises(GlueError, match=r'glue failed: the input is not {"of": \[...\]}'):
        WORKSHOP.run(WORKSHOP.load(SHIPPED), "longest", given, FUEL)


@pytest.mark.slow
@pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
def test_the_module_that_ships_is_built_from_its_source(tmp_path: Path) -> None:
    module = built(tmp_path)
    check(WORKSHOP.load(module))()
    version = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout
    if version.startswith(BUILT_WITH):
        assert module == SHIPPED, "build it again and commit it: docs/glue.md says how"
