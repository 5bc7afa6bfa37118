"""What a command says: a table for a person, JSON for a program. Facts go to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from ledger.core.values.errors import Rejected

Fact = Any
"""Anything JSON can say; amounts are decimal strings."""


@dataclass
class Speech:
    """How to speak: set once per command from its options."""

    json: bool = False
    yes: bool = False
    said: list[Fact] = field(default_factory=list)


speech = Speech()


UNBROKEN = 10_000
"""Columns where no terminal says how many: a pipe gets each row on one line."""


def console() -> Console:
    """Where facts go. Made anew, so that a redirected stdout is honoured."""
    return _console(sys.stdout)


def aside() -> Console:
    """Where progress and remarks go."""
    return _console(sys.stderr)


def tell(facts: Mapping[str, Fact], title: str = "") -> None:
    """One thing: its facts as a two-column table, or as a JSON object."""
    speech.said.append(dict(facts))
    if speech.json:
        _print_json(dict(facts))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), _cell(value))
    _print_table(title, table)


def tabulate(rows: Sequence[Mapping[str, Fact]], title: str = "", empty: str = "nothing yet") -> None:
    """Many things of one kind: a table, or a JSON array. Columns are the first row's keys; numbers go right."""
    speech.said.append([dict(row) for row in rows])
    if speech.json:
        _print_json([dict(row) for row in rows])
        return
    if not rows:
        console().print(f"[dim]{empty}[/]")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        right = all(_is_number(row[name]) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    _print_table(title, table)


def remark(text: str) -> None:
    """Something worth knowing that is no fact of the answer. Silent for programs."""
    if not speech.json:
        aside().print(f"[dim]{text}[/]")


def warn(text: str) -> None:
    """Something the person should weigh before going on."""
    aside().print(f"[yellow]careful:[/] {text}")


def confirm(question: str) -> None:
    """Ask before money moves. `--yes` answers; without anybody to ask it is Rejected, and nothing has happened."""
    if speech.yes:
        return
    if not sys.stdin.isatty():
        raise Rejected(f"{question} Nobody is there to answer: say --yes to do it without being asked")
    aside().print(f"{question} [bold]y/N[/] ", end="")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Rejected("nothing was done")


@contextmanager
def working(text: str) -> Iterator[None]:
    """A spinner on a terminal while something takes long; nothing for programs."""
    if speech.json or not sys.stderr.isatty():
        yield
        return
    with aside().status(text):
        yield


def _console(file: TextIO) -> Console:
    return Console(file=file, highlight=False, width=None if file.isatty() else UNBROKEN)


def _print_table(title: str, table: Table) -> None:
    """A title of its own, since a table's folds at the table's width."""
    if title:
        console().print(f"[italic]{title}[/]")
    console().print(table)


def _cell(value: Fact) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return f"{value:,}" if isinstance(value, int) else str(value).replace("[", "\\[")


def _is_number(value: Fact) -> bool:
    return isinstance(value, int) or (isinstance(value, str) and value[:1].isdigit() and not value.startswith("0x"))


def _print_json(value: Fact) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
    sys.stdout.flush()
