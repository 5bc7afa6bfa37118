"""What goes on in a terminal until Ctrl-C: earnings that are watched, and a log that is followed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roles.cli import main
from roles.cli.shared import drawing, payees
from roles.local import control
from roles.local.folder import NetworkFolder

EPOCH = {"epoch": 1, "starts_at": 3_600_000, "role": "compute", "earned": "100"}
SAID: list[tuple[str, list[dict[str, Any]]]] = [("0", []), ("0", []), ("100", [EPOCH])]
Watch = Callable[..., str]


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Watch:
    """Watches earnings that are as SAID says, one after the other, and interrupts at the end; what is printed."""
    monkeypatch.setenv("TOLLWAY_HOME", str(tmp_path))
    monkeypatch.setenv("TOLLWAY_PASSWORD", "correct horse")
    assert main.run(["wallet", "create", "dora", "--json"]) == 0
    place = 0

    def later(seconds: float) -> None:
        nonlocal place
        place += 1
        if place == len(SAID):
            raise KeyboardInterrupt

    def earned() -> dict[str, Any]:
        return {"roles": [], "earned": SAID[place][0], "claimable": SAID[place][0], "claimed": "0"}

    monkeypatch.setattr(payees, "read_earnings", earned)
    monkeypatch.setattr(payees, "read_epochs", lambda: SAID[place][1])
    monkeypatch.setattr(time, "sleep", later)

    def watched(*options: str) -> str:
        capsys.readouterr()
        assert main.run(["provider", "earnings", "--watch", "--wallet", "dora", *options]) == 130
        return capsys.readouterr().out

    return watched


def test_a_program_that_watches_reads_a_line_for_each_change(watch: Watch) -> None:
    lines = [json.loads(line) for line in watch("--json").splitlines()]
    assert [(one["earned"], one["epochs"]) for one in lines] == [SAID[0], SAID[2]]


def test_a_person_who_watches_sees_each_change_and_columns_by_epoch(watch: Watch) -> None:
    said = watch()
    assert said.count("nothing yet") == 2
    assert "1970-01-01 01:00:00 to 1970-01-01 01:00:00 UTC, by epoch" in said


def test_columns_are_as_high_as_their_amounts_and_as_many_as_fit() -> None:
    rows = [(f"2026-01-0{n}", n * 10) for n in range(1, 5)]
    lines = drawing.columns(rows, 80)
    plot = [line.partition(" | ")[2] for line in lines[: drawing.HEIGHT]]
    assert [sum(row[4 * place : 4 * place + 1] == "█" for row in plot) for place in range(4)] == [2, 4, 6, 8]
    assert lines[-1].strip() == "2026-01-01 to 2026-01-04 UTC, by epoch"
    assert len(drawing.columns(rows * 50, 40)[0]) <= 40
    assert drawing.columns([], 80) == drawing.columns([("now", 0)], 80) == []


def test_a_log_is_followed_by_whole_lines_also_when_it_begins_anew(tmp_path: Path) -> None:
    folder = NetworkFolder(tmp_path)
    log = folder.log("worker")
    log.parent.mkdir(parents=True)
    log.write_text("before\n")
    written = control.written(folder, "worker")
    assert (next(written), next(written)) == ("", "")
    with log.open("a") as file:
        file.write("one\ntw")
    assert (next(written), next(written)) == ("one\n", "")
    with log.open("a") as file:
        file.write("o\n")
    assert next(written) == "two\n"
    log.write_text("anew\n")
    assert next(written) == "anew\n"
