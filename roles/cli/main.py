"""`tollway`: every role's commands, in one program."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from importlib import import_module

import typer
from rich.markup import escape

from ledger.core.values.errors import Conflict, Rejected, TollwayError, Unavailable
from roles.cli import output
from roles.cli.output import speech

START, MONEY, PAID, RUN, CHECK = (
    "Start here",
    "Pay for calls",
    "Get paid for calls",
    "Run a gateway",
    "Check everything",
)

GROUPS = (
    ("wallet", MONEY),
    ("consumer", MONEY),
    ("provider", PAID),
    ("maker", PAID),
    ("oem", PAID),
    ("weaver", PAID),
    ("curator", PAID),
    ("operator", RUN),
    ("local", RUN),
    ("batch", CHECK),
    ("auditor", CHECK),
)

TOUR = """The money layer for networks of AI models.

A call is a promise of money: the gateway reserves it, meters it and signs for it; the ledger splits it by the bids; one
transaction per batch settles it on chain; anyone can prove a lie.

[bold]First time?[/]  [cyan]tollway demo[/] tells the whole story in a few minutes and checks it to the atom.
[cyan]tollway up[/] leaves the same network running; [cyan]tollway consumer call @delta/dialog "hello"[/] pays for
a call.
Every command has [cyan]--help[/], [cyan]--json[/] and, where money moves, [cyan]--yes[/].
"""


def build(wanted: str | None = None) -> typer.Typer:
    """The command line: all of it, or as much as the group `wanted` needs."""
    app = typer.Typer(help=TOUR, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)
    groups = dict(GROUPS)
    if wanted not in groups:
        start = import_module("roles.cli.local")
        for name, function in (("demo", start.demo), ("up", start.up), ("down", start.down)):
            app.command(name, rich_help_panel=START)(function)
    for name, panel in GROUPS:
        if wanted == name or wanted not in groups:
            module = import_module(f"roles.cli.{name}")
            app.add_typer(module.app, name=name, rich_help_panel=panel)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code: 0 done, 1 rejected, 2 not understood, 3 a conflict, 4 try again."""
    try:
        code = build(arguments[0] if arguments else None)(list(arguments), standalone_mode=False)
    except TollwayError as error:
        explain(error)
        return 3 if isinstance(error, Conflict) else 4 if isinstance(error, Unavailable) else 1
    except ModuleNotFoundError as error:
        from roles.cli import parts

        explain(parts.explained(error))
        return 1
    except typer.TyperException as error:
        speech.json = "--json" in arguments
        explain(Rejected(f"{error} (tollway {' '.join(_words(arguments))} --help)".replace("  ", " ")))
        return 2
    except (KeyboardInterrupt, typer.Abort):
        output.aside().print("stopped")
        return 130
    return code if isinstance(code, int) else 0


def explain(error: TollwayError) -> None:
    """Say what went wrong and what is known of it."""
    if speech.json:
        facts = {name: _plain(value) for name, value in error.facts.items()}
        output.tell({"error": error.message, "kind": type(error).__name__.lower(), **facts})
        return
    output.aside().print(f"[bold red]{type(error).__name__.lower()}:[/] {escape(error.message)}", markup=True)


def main() -> None:
    """The entry point."""
    logging.basicConfig(level=logging.WARNING)
    sys.exit(run(sys.argv[1:]))


def _words(arguments: Sequence[str]) -> list[str]:
    """The group and the command that were typed, as far as they are known."""
    known = dict(GROUPS)
    if not arguments or arguments[0] not in known:
        return []
    return list(arguments[:2]) if len(arguments) > 1 and not arguments[1].startswith("-") else [arguments[0]]


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | bool | type(None) | list | dict) else str(value)


if __name__ == "__main__":
    main()
