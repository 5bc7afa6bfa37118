"""A capsule's page runs it, and says what its trace says."""

from __future__ import annotations

import json
from typing import Any

from gateway.console.assets import FOLDER
from ledger.core.values.typed_data import Signer
from tests.gateway.workflows import LAST, Loom, inferring, pinned
from tests.javascript import evaluate


def said(trace: Any) -> tuple[list[str], str]:
    """The steps of a trace that the page's script shows, in its order, and what it says of them."""
    script = f"""
const {{ end, said, sound }} = await import({str(FOLDER / "trace.js")!r});
const rows = sound({json.dumps(trace)});
console.log(JSON.stringify([rows.map((row) => row.step), said(rows, Math.max(0, ...rows.map(end)))]));
"""
    steps, words = evaluate(script)
    return steps, words


def a_row(step: str, began: int, took: int, status: str = "ok") -> dict[str, Any]:
    return {"step": step, "status": status, "began_ms": began, "ms": took}


def test_a_trace_says_what_ran_in_parallel_what_was_skipped_and_what_that_saved() -> None:
    trace: list[dict[str, Any]] = [
        a_row("b", 1, 60),
        a_row("a", 0, 40),
        a_row("never", 61, 0, "skipped"),
        a_row("c", 61, 40, "error"),
        a_row("d", 101, 30),
    ]
    assert said(trace) == (
        ["a", "b", "never", "c", "d"],
        "a and b ran at the same time. never was skipped, and cost nothing. The steps took 131 ms. "
        "One after the other they would have taken 170 ms.",
    )
    assert said([a_row("a", 0, 30), a_row("b", 30, 30)])[1] == "The steps took 60 ms."
    three = [a_row("a", 0, 9), a_row("b", 1, 9), a_row("c", 2, 20), a_row("d", 10, 5)]
    assert said(three)[1].startswith("a, b and c ran at the same time. c and d ran at the same time.")


def test_what_is_no_trace_is_shown_as_none() -> None:
    nonsense: list[Any] = [None, 5, {"step": "a"}, [None], [{}], [a_row("a", -1, 5)], [a_row("a", 0, 5, "toString")]]
    for trace in nonsense:
        assert said(trace)[0] == []


def test_a_run_that_fails_has_its_trace_too(loom: Loom, consumer: Signer) -> None:
    feeling = loom.classifier("feeling", inferring("joy"))
    late = loom.classifier("late", inferring("joy", delay=1.0))
    loom.capsule(
        pinned("feel", feeling, {"text": LAST}),
        pinned("never", feeling, {"text": LAST}, when="$steps.feel.output.label == 'none'"),
        pinned("slow", late, {"text": "$steps.feel.output.label"}, timeout_ms=50),
        output={"content": "$steps.slow.output.label"},
        failure="partial-ok",
    )
    page = loom.gateway.http.get("/capsules/@wanda/flow").text
    assert 'data-kind="run" data-path="/v1/chat/completions" data-model="@wanda/flow"' in page
    assert 'data-key="never"' in page
    failed = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow")
    assert failed.status_code == 502, failed.text
    trace: list[dict[str, Any]] = failed.json()["error"]["steps"]
    rows = {row["step"]: (row["status"], row.get("model", ""), "reason" in row) for row in trace}
    assert rows == {
        "feel": ("ok", "@acme/feeling", False),
        "never": ("skipped", "", False),
        "slow": ("error", "", True),
    }
    assert "never was skipped" in said(trace)[1]
