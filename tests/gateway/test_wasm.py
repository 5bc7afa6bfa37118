"""Glue can compute and nothing else; and the example that ships does what it says."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wasmtime import wat2wasm

from gateway.workflow.wasm import MAX_FUEL, MAX_MODULE_BYTES, GlueError, GlueResult, Workshop
from ledger.core.values.documents import Json
from ledger.core.values.errors import Rejected

WEAVE = bytes(wat2wasm((Path(__file__).parents[2] / "deploy/demo/capsules/weave.wat").read_text()))
WORKSHOP = Workshop()
PLENTY = 10_000_000
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def run(body: bytes, export: str, asked: Json, fuel: int) -> GlueResult:
    """Load and run."""
    return WORKSHOP.run(WORKSHOP.load(body), export, asked, fuel)


def glue(body: str, memory: str = '(memory (export "memory") 1)', before: str = "") -> bytes:
    """A module whose export `go` has this body."""
    alloc = '(func (export "alloc") (param i32) (result i32) (i32.const 1024))'
    go = f'(func (export "go") (param i32 i32) (result i64) {body})'
    return bytes(wat2wasm(f"(module {before} {memory} {alloc} {go})"))


def going(body: str, memory: str = '(memory (export "memory") 1)', before: str = "") -> Json:
    """What such a module answers to {}."""
    return run(glue(body, memory, before), "go", {}, PLENTY).output


@settings(deadline=None, max_examples=60)
@given(
    st.lists(JSON, max_size=6),
    st.dictionaries(st.text(max_size=4).filter(lambda key: key != "votes"), JSON, max_size=2),
)
def test_vote_finds_the_commonest_and_of_equals_the_first(votes: list[Json], beside: dict[str, Json]) -> None:
    spelled = [json.dumps(vote) for vote in votes if vote is not None]
    asked = {**beside, "votes": votes}
    if not spelled:
        with pytest.raises(GlueError, match="no one answered"):
            run(WEAVE, "vote", asked, PLENTY)
        return
    winner, count = Counter(spelled).most_common(1)[0]
    expected = {"label": json.loads(winner), "votes": count, "of": len(spelled)}
    assert run(WEAVE, "vote", asked, PLENTY).output == expected


@settings(deadline=None, max_examples=40)
@given(st.lists(JSON, max_size=4))
def test_first_is_the_first_that_is_not_null(answers: list[Json]) -> None:
    there = [answer for answer in answers if answer is not None]
    if there:
        assert run(WEAVE, "first", {"of": answers}, PLENTY).output == there[0]
    else:
        with pytest.raises(GlueError, match="no one answered"):
            run(WEAVE, "first", {"of": answers}, PLENTY)


@settings(deadline=None, max_examples=40)
@given(
    st.none() | st.text(max_size=12), st.none() | st.lists(st.text(max_size=12), max_size=2), st.lists(JSON, max_size=2)
)
def test_the_prompt_says_what_was_found_and_then_what_was_said(
    emotion: str | None, passages: list[str] | None, messages: list[Json]
) -> None:
    asked = {"emotion": emotion, "passages": passages, "messages": messages}
    told = ("" if emotion is None else f"emotion: {emotion}") + (f"\nfact: {passages[0]}" if passages else "")
    system = {"role": "system", "content": told}
    assert run(WEAVE, "prompt", asked, PLENTY).output == [system, *messages]


def test_the_same_run_burns_the_same_fuel() -> None:
    burnt = {run(WEAVE, "vote", {"votes": ["a", "b", "a"]}, PLENTY).fuel for _ in range(3)}
    assert len(burnt) == 1
    assert 0 < burnt.pop() < 10_000


@pytest.mark.parametrize(
    "body",
    ["(loop $l (br $l)) (unreachable)", "(memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (i64.const 0)"],
)
def test_fuel_is_a_trap(body: str) -> None:
    with pytest.raises(GlueError, match="out of fuel") as caught:
        run(glue(body), "go", {}, 5_000)
    assert caught.value.facts["fuel"] == 5_000


def test_nobody_gets_more_fuel_than_the_house_gives() -> None:
    with pytest.raises(GlueError, match="out of fuel") as caught:
        run(glue("(loop $l (br $l)) (unreachable)"), "go", {}, 2**62)
    assert caught.value.facts["fuel"] == MAX_FUEL


def test_memory_stops_growing_at_the_cap() -> None:
    refused = "(i32.eq (memory.grow (i32.const 1000)) (i32.const -1))"
    assert going(f"(i32.store8 (i32.const 0) (i32.add (i32.const 48) {refused})) (i64.const 1)") == 1
    with pytest.raises(GlueError):
        going("(i64.const 0)", memory='(memory (export "memory") 1000)')


@pytest.mark.parametrize(
    ("imported", "named"),
    [
        (
            '(import "wasi_snapshot_preview1" "clock_time_get" (func (param i32 i64 i32) (result i32)))',
            "clock_time_get",
        ),
        ('(import "env" "memory" (memory 1))', "env.memory"),
        ('(import "tollway" "spend" (func (param i32 i32)))', "tollway.spend"),
        ('(import "tollway" "fail" (func (param i64)))', "tollway.fail"),
    ],
)
def test_there_are_no_imports_but_ours(imported: str, named: str) -> None:
    memory = "" if "memory" in imported else '(memory (export "memory") 1)'
    with pytest.raises(Rejected, match=named):
        going("(i64.const 0)", memory=memory, before=imported)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("(unreachable)", "unreachable"),
        ("(i64.const 0)", "did not return JSON"),
        ("(i64.const 0x000F000000000004)", "outside"),
        ("(i64.const 0xFFFFFFFFFFFFFFFF)", "outside"),
        ("(i64.div_u (i64.const 1) (i64.const 0))", "divide by zero"),
        ("(i64.load (i32.const 0xFFFFFFF0))", "out of bounds"),
    ],
)
def test_nonsense_is_an_error_of_the_node(body: str, why: str) -> None:
    with pytest.raises(GlueError, match=why):
        going(body)


def test_a_recursion_ends() -> None:
    endless = "(func $go (result i64) (i64.add (i64.const 1) (call $go)))"
    with pytest.raises(GlueError, match="stack exhausted"):
        going("(call $go)", before=endless)


def test_a_module_that_starts_by_itself_is_metered_too() -> None:
    spinning = "(func $spin (loop $l (br $l))) (start $spin)"
    with pytest.raises(GlueError, match="out of fuel"):
        going("(i64.const 0)", before=spinning)


def test_glue_says_why_it_failed_and_cannot_say_too_much() -> None:
    fail = '(import "tollway" "fail" (func $fail (param i32 i32)))'
    data = '(memory (export "memory") 1) (data (i32.const 8) "not today")'
    with pytest.raises(GlueError, match="glue failed: not today"):
        going("(call $fail (i32.const 8) (i32.const 9)) (i64.const 0)", memory=data, before=fail)
    with pytest.raises(GlueError, match="outside"):
        going("(call $fail (i32.const 8) (i32.const 900)) (i64.const 0)", memory=data, before=fail)


@pytest.mark.parametrize("export", ["nothing", "memory", "alloc"])
def test_the_export_must_be_there_and_fit(export: str) -> None:
    with pytest.raises(Rejected, match="must export"):
        run(WEAVE, export, {}, PLENTY)


@pytest.mark.parametrize("body", [b"", b"\0asm", b"not wasm at all", b"\0asm\1\0\0\0" + bytes(MAX_MODULE_BYTES)])
def test_bytes_that_are_no_module_are_refused(body: bytes) -> None:
    with pytest.raises(Rejected, match="glue"):
        WORKSHOP.load(body)


def test_few_modules_are_kept_and_any_can_come_back() -> None:
    small = Workshop(kept=2)
    for _ in range(2):
        for number in range(4):
            body = f"(i32.store8 (i32.const 0) (i32.const {48 + number})) (i64.const 1)"
            assert small.run(small.load(glue(body)), "go", {}, PLENTY).output == number
