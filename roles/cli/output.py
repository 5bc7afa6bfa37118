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

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ledger.core.values.errors import Rejected
from roles.cli.shared import cells

T = TypeVar("T")
Fact = Any
"""A JSON value; amounts are decimal strings."""
PIPE_COLUMNS = 10_000
"""Width where stdout is not a terminal: each row stays on one line."""
GAP = "  "
"""Between two columns."""
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
    """Show one thing: a block of names and values, or a JSON object."""
    mode.answers.append(dict(facts))
    if mode.json:
        _print_json(dict(facts))
        return
    _print_table(title, _block(facts, cells.wallets()))


def show_table(rows: Sequence[Mapping[str, Fact]], title: str = "", empty: str = "nothing yet") -> None:
    """Show many things of one kind, or a JSON array. The first row's keys are the columns of the table. Where that is
    wider than the terminal, each row is a block.
    """
    mode.answers.append([dict(row) for row in rows])
    if mode.json:
        _print_json([dict(row) for row in rows])
        return
    if not rows:
        console().print(plain(empty), style="dim")
        return
    known = cells.wallets()
    names = list(rows[0])
    texts = [[cells.text(name, row.get(name), known) for name in names] for row in rows]
    widest = [max(map(cell_len, column)) for column in zip(map(cells.label, names), *texts, strict=True)]
    if sum(widest) + len(GAP) * (len(names) - 1) > console().width:
        _print_title(title)
        for number, row in enumerate(rows):
            console().print(*[Text()] * bool(number), _block(row, known), sep="\n")
        return
    table = Table(box=None, pad_edge=False, padding=(0, len(GAP), 0, 0), header_style="bold")
    for name in names:
        right = all(cells.is_number(row.get(name)) for row in rows)
        table.add_column(plain(cells.label(name)), justify="right" if right else "left", no_wrap=True)
    for said in texts:
        table.add_row(*map(plain, said))
    _print_table(title, table)


def show_line(facts: Mapping[str, Fact]) -> None:
    """Show one thing as JSON on a line of its own: what a program reads while a command goes on."""
    mode.answers.append(dict(facts))
    sys.stdout.write(json.dumps(facts, ensure_ascii=False) + "\n")
    sys.stdout.flush()


@contextmanager
def shown_in_place() -> Iterator[None]:
    """What is printed within takes the place of what was before, on a terminal. Elsewhere it follows."""
    if sys.stdout.isatty():
        console().clear()
    yield
    sys.stdout.flush()


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


def _block(facts: Mapping[str, Fact], known: Mapping[str, str]) -> Table:
    block = Table(show_header=False, box=None, pad_edge=False)
    block.add_column(style="dim", overflow="fold")  # a name may be a stranger's
    block.add_column(overflow="fold")
    for name, value in cells.lines(facts, known):
        block.add_row(plain(name), plain(value))
    return block


def _print_table(title: str, table: Table) -> None:
    _print_title(title)
    console().print(table)


def _print_title(title: str) -> None:
    """The title is printed by itself: rich would wrap it at the table's width."""
    if title:
        console().print(plain(title), style="italic")


def _print_json(value: Fact) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
