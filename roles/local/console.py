"""A story told on the command line: chapters, the commands a person would type, what came of them, what held."""

from __future__ import annotations

import contextlib
import io
import shlex
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from ledger.core.values.errors import Rejected
from roles.cli import main
from roles.cli.output import speech

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must hold, whether it did, and the figures."""

    name: str
    held: bool
    said: str


@dataclass
class DemoConsole:
    """Prints as it goes, and keeps what was found. `quiet` tells only what failed."""

    quiet: bool = False
    checks: list[Check] = field(default_factory=list)
    gas: dict[str, list[int]] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @property
    def console(self) -> Console:
        """Where the story is told."""
        return Console(quiet=self.quiet, highlight=False, soft_wrap=not sys.stdout.isatty())

    def chapter(self, number: int, title: str) -> None:
        """Begin a chapter."""
        passed = int(time.monotonic() - self.started)
        self.console.print(f"\n[bold]{number}. {title}[/]  [dim]({passed} s)[/]")

    def say(self, text: str) -> None:
        """A line of the story."""
        self.console.print(f"   {text}")

    def run(self, command: str, show: str = "") -> Any:
        """Run a command as typed, in this process, and return its facts. `show` names the facts worth a line."""
        self.console.print(f"   [green]$[/] tollway {command}", markup=True, soft_wrap=True)
        facts = run(command)
        if isinstance(facts, dict):
            if "gas" in facts:
                self.gas.setdefault(_verb(command), []).append(int(facts["gas"]))
            words = [f"{name} {_said(facts[name])}" for name in (*show.split(), "gas") if name in facts]
            if words and show:
                self.console.print(f"     [dim]{', '.join(words)}[/]", soft_wrap=True)
        return facts

    def run_all(self, commands: Iterable[str], show: str = "") -> None:
        """Run commands one after another."""
        for command in commands:
            self.run(command, show)

    def check(self, name: str, held: bool, said: str) -> None:
        """Note whether something that must hold does."""
        self.checks.append(Check(name, held, said))
        mark = "[green]ok[/]" if held else "[bold red]FAILED[/]"
        Console(highlight=False, quiet=self.quiet and held).print(f"   {mark} {name}: {said}", soft_wrap=True)

    @property
    def failed(self) -> list[Check]:
        """What did not hold."""
        return [check for check in self.checks if not check.held]


def run(command: str) -> Any:
    """Run a command in this process and return its facts. Rejected as the command was, with the command named."""
    said, heard, was = io.StringIO(), len(speech.said), (speech.json, speech.yes)
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main.run([*shlex.split(command), "--json", "--yes"])
    speech.json, speech.yes = was
    facts = speech.said[heard:]
    del speech.said[heard:]
    if code:
        why = facts[-1].get("error", said.getvalue()) if facts and isinstance(facts[-1], dict) else said.getvalue()
        raise Rejected(f"`tollway {command}` ended with {code}: {why}", command=command, code=code)
    return facts[-1] if facts else None


def _said(fact: Any) -> str:
    """A number as people write it."""
    return f"{int(fact):,}" if str(fact).isdigit() else str(fact)


def _verb(command: str) -> str:
    return " ".join(command.split()[:2])
