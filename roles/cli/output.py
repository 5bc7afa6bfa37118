"""Output of a command, and waiting for it: a table for a person, JSON for a program.

The answer goes to stdout, the rest to stderr. No text is markup: what a stranger named is printed as it is, without the
codes by which it could steer a terminal.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO, TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ledger.core.values.errors import Rejected

T = TypeVar("T")
Fact = Any
"""A JSON value; amounts are decimal strings."""
PIPE_COLUMNS = 10_000
"""Width where stdout is not a terminal: each row stays on one line."""
CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
"""Codes that steer a terminal, as they are shown."""


@dataclass
class Mode:
    """A command's output options, set once; `answers` collects what the command has shown."""

    json: bool = False
    yes: bool = False
    answers: list[Fact] = field(default_factory=list)


mode = Mode()


def console() -> Console:
    """stdout. Created on each call, so that a redirected stdout is used."""
    return _console(sys.stdout)


def aside() -> Console:
    """stderr, for progress and notes."""
    return _console(sys.stderr)


def show(facts: Mapping[str, Fact], title: str = "") -> None:
    """Show one thing: a table of names and values, or a JSON object."""
    mode.answers.append(dict(facts))
    if mode.json:
        _print_json(dict(facts))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(plain(name.replace("_", " ")), _cell(value))
    _print_table(title, table)


def show_table(rows: Sequence[Mapping[str, Fact]], title: str = "", empty: str = "nothing yet") -> None:
    """Show many things of one kind: a table, or a JSON array. The first row's keys are the columns."""
    mode.answers.append([dict(row) for row in rows])
    if mode.json:
        _print_json([dict(row) for row in rows])
        return
    if not rows:
        console().print(plain(empty), style="dim")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        right = all(_is_number(row[name]) for row in rows)
        heading = plain(name.replace("_", " "))
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    _print_table(title, table)


def plain(text: object) -> str:
    """Text of whoever wrote it, for a terminal: control codes are spelled out."""
    return str(text).translate(CONTROLS)


def note(text: str) -> None:
    """Print a hint that is not part of the answer. Silent with --json."""
    if not mode.json:
        aside().print(plain(text), style="dim")


def warn(text: str, what: str = "careful:", style: str = "yellow") -> None:
    """Print a risk to consider before going on, or with `what` and `style` something else that is not the answer."""
    aside().print(Text.assemble((what, style), " ", plain(text)))


def confirm(question: str) -> None:
    """Ask before money moves, unless --yes. Rejected if the answer is no, or stdin is not a terminal."""
    if mode.yes:
        return
    if not sys.stdin.isatty():
        raise Rejected(f"{question} Nobody can answer here: add --yes to do it without a question")
    aside().print(Text.assemble(plain(question), " ", ("y/N", "bold"), " "), end="")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Rejected("nothing was done")


@contextmanager
def working(text: str) -> Iterator[None]:
    """Show a spinner on a terminal while something takes long; nothing with --json."""
    if mode.json or not sys.stderr.isatty():
        yield
        return
    with aside().status(text):
        yield


def wait_until(check: Callable[[], T], seconds: float, pause_seconds: float = 0.2) -> T:
    """Call `check` until its answer is true, for at most `seconds`. Returns the last answer: false after a timeout."""
    deadline = time.monotonic() + seconds
    while not (answer := check()) and time.monotonic() < deadline:
        time.sleep(pause_seconds)
    return answer


def _console(file: TextIO) -> Console:
    width = None if file.isatty() else PIPE_COLUMNS
    return Console(file=file, highlight=False, markup=False, emoji=False, width=width)


def _print_table(title: str, table: Table) -> None:
    """The title is printed by itself: rich would wrap it at the table's width."""
    if title:
        console().print(plain(title), style="italic")
    console().print(table)


def _cell(value: Fact) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    if isinstance(value, dict | list):
        return plain(json.dumps(value, ensure_ascii=False))
    return f"{value:,}" if isinstance(value, int) else plain(value)


def _is_number(value: Fact) -> bool:
    return isinstance(value, int) or (isinstance(value, str) and value[:1].isdigit() and not value.startswith("0x"))


def _print_json(value: Fact) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
