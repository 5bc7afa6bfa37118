"""The options that every command shares. A command is a plain function in a `Group`; `here()` is its context."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec, TypeVar

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


def _with_shared_options(function: Callable[P, R]) -> Callable[..., R]:
    """`function` with the shared options, which set `here()` and `output.mode` for the call."""

    def run(*args: Any, **kwargs: Any) -> R:
        wallet, gateway, rpc, output.mode.json, output.mode.yes = (kwargs.pop(one.name) for one in SHARED)
        token = current.set(_context(wallet, gateway, rpc))
        try:
            return function(*args, **kwargs)
        finally:
            current.reset(token)

    own = inspect.signature(function, eval_str=True)
    parameters = [*own.parameters.values(), *SHARED]
    run.__name__, run.__doc__ = function.__name__, function.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    vars(run)["__signature__"] = own.replace(parameters=parameters)
    return run
