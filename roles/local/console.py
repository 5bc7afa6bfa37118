"""The demo's console: chapters, the commands a person would type, their answers, and checks."""

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    held: bool
    figures: str


@dataclass
class DemoConsole:
    """Runs and prints commands, and collects checks and gas. `ask` runs a command line and returns its answer.

    `quiet` prints failed checks only.
    """

    ask: Callable[[str], Any]
    quiet: bool = False
    checks: list[Check] = field(default_factory=list)
    gas: dict[str, list[int]] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @property
    def console(self) -> Console:
        return Console(quiet=self.quiet, highlight=False, soft_wrap=not sys.stdout.isatty())

    def chapter(self, number: int, title: str) -> None:
        """Print a chapter's title and the seconds since the start."""
        seconds = int(time.monotonic() - self.started)
        self.console.print(f"\n[bold]{number}. {title}[/]  [dim]({seconds} s)[/]")

    def say(self, text: str) -> None:
        self.console.print(f"   {text}")

    def run(self, command: str, show: str = "") -> Any:
        """Print and run a command, and return its answer. `show` names the facts to print."""
        self.console.print(f"   [green]$[/] tollway {escape(command)}", markup=True, soft_wrap=True)
        facts = self.ask(command)
        if isinstance(facts, dict):
            if "gas" in facts:
                self.gas.setdefault(" ".join(command.split()[:2]), []).append(int(facts["gas"]))
            words = [f"{name} {_number(facts[name])}" for name in (*show.split(), "gas") if name in facts]
            if words and show:
                self.console.print(f"     [dim]{escape(', '.join(words))}[/]", soft_wrap=True)
        return facts

    def run_all(self, commands: Iterable[str], show: str = "") -> None:
        for command in commands:
            self.run(command, show)

    def check(self, name: str, held: bool, figures: str) -> None:
        self.checks.append(Check(name, held, figures))
        mark = "[green]ok[/]" if held else "[bold red]FAILED[/]"
        Console(highlight=False, quiet=self.quiet and held).print(f"   {mark} {name}: {figures}", soft_wrap=True)

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if not check.held]


def _number(fact: Any) -> str:
    return f"{int(fact):,}" if str(fact).isdigit() else str(fact)
