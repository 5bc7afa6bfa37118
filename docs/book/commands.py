"""The reference of the command line, from the program itself: each command, its arguments and its options."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from rich.text import Text

from docs.book.markdown import code, page, table
from roles.cli import main
from roles.cli.context import SHARED

EXITS = {
    0: "done",
    1: "rejected: what was asked cannot be; the message says what to change",
    2: "not understood: a command or an option that is not there",
    3: "a conflict, or a fault of the program: a person should look",
    4: "not available now: try again",
    main.STOPPED: "interrupted",
}
VARIABLES = {
    "TOLLWAY_HOME": "where wallets, API keys and the local network are kept; `~/.tollway` unless it is set",
    "TOLLWAY_WALLET": "the wallet that acts, instead of `--wallet`",
    "TOLLWAY_GATEWAY": "URL of the gateway, instead of `--gateway`",
    "TOLLWAY_RPC_URL": "JSON-RPC URL of the chain, instead of `--rpc`",
    "TOLLWAY_DEPLOYMENT": "the file of the contracts' addresses, `deploy/deployments/<chain id>.json`",
    "TOLLWAY_PASSWORD": "the wallet's password, where nobody is there to type it",
    "TOLLWAY_API_KEY": "an API key, instead of the one stored beside the wallet",
    "TOLLWAY_UPSTREAM_KEY": "the API key of a server that a provider sells",
}
HIDDEN = {"help", "install_completion", "show_completion", "version"}


def pages() -> dict[str, str]:
    """A page for each group of commands, and one that lists all commands."""
    program: Any = typer.main.get_command(main.build())
    made = {f"reference/cli/{name}.md": _group(name, program.commands[name]) for name in main.GROUPS}
    made["reference/cli/start.md"] = page(
        "tollway demo, up, down",
        "A whole network on this machine.",
        *(_command(program.commands[n], n) for n in main.TOP),
    )
    made["reference/cli.md"] = _overview(program)
    return made


def _overview(program: Any) -> str:
    rows = [(f"[`tollway {name}`](cli/start.md#tollway-{name})", _summary(program.commands[name])) for name in main.TOP]
    for name in main.GROUPS:
        for inner, command in program.commands[name].commands.items():
            rows.append((f"[`tollway {name} {inner}`](cli/{name}.md#tollway-{name}-{inner})", _summary(command)))
    any_command = next(iter(program.commands["wallet"].commands.values()))
    names = [one.name for one in SHARED]
    shared = [[*_option(one)][:2] for one in any_command.params if one.name in names]
    return page(
        "The command line",
        "Every role's commands are in one program, `tollway`. Each has `--help`. Facts go to stdout and everything else"
        " to stderr, so that `--json` can be read by programs.",
        "Amounts are in the settlement token, such as `12.5`, or in atoms, its last decimal place, such as `1500atoms`."
        " A share is a percentage, such as `7.5%`.",
        "## Options of every command",
        table(("option", "what it says"), shared),
        "## Exit codes",
        table(("code", "means"), ((code(number), means) for number, means in EXITS.items())),
        "## Variables",
        table(("variable", "what it says"), ((code(name), means) for name, means in VARIABLES.items())),
        "## All commands",
        table(("command", "what it does"), rows),
    )


def _group(name: str, group: Any) -> str:
    return page(
        f"tollway {name}", _plain(group.help), *(_command(one, f"{name} {n}") for n, one in group.commands.items())
    )


def _command(command: Any, path: str) -> str:
    taken = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and not _is_shared(one)]
    words = [f"tollway {path}", *(_argument(one) for one in taken), "[OPTIONS]" if options else ""]
    return "\n\n".join(
        part.strip("\n")
        for part in (
            f"## tollway {path}",
            _plain(command.help),
            f"    {' '.join(word for word in words if word)}",
            table(("argument", "what it is"), ((code(_word(one)), _plain(one.help)) for one in taken)),
            table(("option", "what it says", "unless said"), ([*_option(one)] for one in options)),
        )
        if part.strip()
    )


def _argument(argument: Any) -> str:
    name = f"{_word(argument)}{'...' if argument.nargs != 1 else ''}"
    return name if argument.required else f"[{name}]"


def _word(argument: Any) -> str:
    return str(argument.metavar or argument.name.rstrip("_").upper()).strip("[].")


def _option(option: Any) -> Iterator[str]:
    yield ", ".join(code(flag) for flag in (*option.opts, *option.secondary_opts))
    yield _plain(option.help) + (" May be repeated." if option.multiple and "epeat" not in option.help else "")
    default = option.default
    plain = not callable(default) and isinstance(default, (str, int, float)) and not isinstance(default, bool)
    yield "required" if option.required else code(default) if plain else ""


def _is_shared(option: Any) -> bool:
    return option.name in {one.name for one in SHARED} | HIDDEN


def _summary(command: Any) -> str:
    return _plain(command.help).partition("\n\n")[0]


def _plain(text: str | None) -> str:
    """A help text without its marks for colours."""
    return Text.from_markup(text or "").plain.replace("<", "&lt;").strip()
