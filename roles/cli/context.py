"""The options that every command shares. A command is a plain function in a `Group`; `here()` is its context.

A parameter that is a dataclass stands for its fields: several commands share these options, declared once.
"""

import dataclasses
import inspect
import re
from collections.abc import Callable
from itertools import chain
from typing import Annotated, Any, ParamSpec, TypeVar, get_type_hints

import typer
from typer import Option

from roles.cli import output
from roles.wallet.context import Context, current

P = ParamSpec("P")
R = TypeVar("R")


def here() -> Context:
    return current.get() or _context()


def _context(wallet: str | None = None, gateway: str | None = None, rpc: str | None = None) -> Context:
    return Context(wallet, gateway, rpc, output.working, output.note)


def _shared(name: str, kind: Any, default: Any, *flags: str, **options: Any) -> inspect.Parameter:
    annotation = Annotated[kind, Option(*flags, rich_help_panel="Options of every command", **options)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


WALLET, GATEWAY, RPC = "The wallet that acts (see `wallet list`).", "URL of the gateway.", "JSON-RPC URL of the chain."
SHARED = (
    _shared("wallet_", str | None, None, "--wallet", "-w", envvar="TOLLWAY_WALLET", help=WALLET),
    _shared("gateway_", str | None, None, "--gateway", envvar="TOLLWAY_GATEWAY", help=GATEWAY),
    _shared("rpc_", str | None, None, "--rpc", envvar="TOLLWAY_RPC_URL", help=RPC),
    _shared("json_", bool, False, "--json", help="Print the answer as JSON."),
    _shared("yes_", bool, False, "--yes", "-y", help="Move money without asking first."),
)


def flowing(text: str) -> str:
    """A help text whose paragraphs are as wide as the terminal, and not as the source. What is further in stays."""
    return re.sub(r"(?<=\S)\n(?=\S)", " ", text)


class Group(typer.Typer):
    """A group whose commands all have the shared options."""

    def __init__(self, help: str, **options: Any) -> None:
        super().__init__(help=help, no_args_is_help=True, rich_markup_mode="rich", **options)

    def command(  # type: ignore[override]
        self, name: str, **options: Any
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Register a function as a command: its own parameters become options, beside the shared ones."""
        register = super().command(name, **options)

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            register(_with_shared_options(function))
            return function

        return decorate


def _options(several: Any) -> list[inspect.Parameter]:
    """The fields of a dataclass as parameters of a command."""
    kinds = get_type_hints(several, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=kinds[field.name]
        )
        for field in dataclasses.fields(several)
    ]


def _with_shared_options(function: Callable[P, R]) -> Callable[..., R]:
    """`function` with the shared options, which set `here()` and `output.mode` for the call."""

    def run(*args: Any, **kwargs: Any) -> R:
        wallet, gateway, rpc, output.mode.json, output.mode.yes = (kwargs.pop(one.name) for one in SHARED)
        token = current.set(_context(wallet, gateway, rpc))
        try:
            for name, several in shared.items():
                kwargs[name] = several(**{one.name: kwargs.pop(one.name) for one in dataclasses.fields(several)})
            return function(*args, **kwargs)
        finally:
            current.reset(token)

    own = inspect.signature(function, eval_str=True)
    shared: dict[str, Any] = {
        name: one.annotation for name, one in own.parameters.items() if dataclasses.is_dataclass(one.annotation)
    }
    declared = chain.from_iterable(_options(shared[n]) if n in shared else [one] for n, one in own.parameters.items())
    parameters = [*(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in declared), *SHARED]
    run.__name__, run.__doc__ = function.__name__, flowing(inspect.getdoc(function) or "")
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    vars(run)["__signature__"] = own.replace(parameters=parameters)
    return run
