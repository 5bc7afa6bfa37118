"""What every command shares: the options that mean the same everywhere, and the surroundings they name.

A command of Tollway is a plain function in a `Group`; it asks `here()` for the wallet, the gateway and
the chain, which are found in this order: the option, the environment, what `tollway up` wrote.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address
from ledger.core.values.typed_data import Domain, Signer
from roles.cli.output import speech
from roles.client.gateway import GatewayClient, Json
from roles.wallet import home, keystore

P = ParamSpec("P")
R = TypeVar("R")
EVERYWHERE = "Everywhere"


@dataclass(frozen=True)
class Context:
    """Who acts, and through which gateway and chain."""

    wallet_name: str | None = None
    gateway_url: str | None = None
    rpc: str | None = None

    @cached_property
    def wallet(self) -> str:
        """The wallet's name. With one wallet in the home there is no need to say it."""
        if self.wallet_name:
            return self.wallet_name
        names = keystore.names()
        if len(names) == 1:
            return names[0]
        hint = f"one of {', '.join(names)}" if names else "make one: tollway wallet create NAME"
        raise Rejected(f"say who acts with --wallet NAME ({hint})")

    @property
    def signer(self) -> Signer:
        """The wallet's key; its password is asked for now."""
        return keystore.unlock(self.wallet)

    @property
    def account(self) -> Address:
        """The wallet's address; needs no password."""
        return keystore.address_of(self.wallet)

    @cached_property
    def gateway(self) -> GatewayClient:
        """The gateway, with the API key of `TOLLWAY_API_KEY` or the one kept for this wallet, if any."""
        return GatewayClient(self.url, self.api_key)

    @property
    def url(self) -> str:
        """The gateway's URL."""
        known = home.network()
        url = self.gateway_url or os.environ.get("TOLLWAY_GATEWAY") or (known and known.gateway)
        if not url:
            raise Rejected("which gateway? say --gateway URL, set TOLLWAY_GATEWAY, or start one with `tollway up`")
        return url

    @property
    def api_key(self) -> str | None:
        """An API key from the environment, or the one `consumer key` kept beside the wallet."""
        if said := os.environ.get("TOLLWAY_API_KEY"):
            return said
        kept = home.home() / "keys" / self.wallet if self.wallet_name or len(keystore.names()) == 1 else None
        return kept.read_text().strip() if kept and kept.exists() else None

    @property
    def lane(self) -> Json:
        """What the gateway says of its lane: chain, addresses, lane id, epoch."""
        return _lane(self.url)

    @property
    def rpc_url(self) -> str:
        """The chain's JSON-RPC: the option, the environment, what `tollway up` wrote, or the gateway's hint."""
        known = home.network()
        ours = known.rpc if known and known.gateway == self.url else None
        url = self.rpc or os.environ.get("TOLLWAY_RPC_URL") or ours or self.lane.get("rpc")
        if not url:
            raise Rejected("this gateway keeps a private grid: it has no chain to talk to")
        return str(url)

    @property
    def domain(self) -> Domain:
        """The EIP-712 domain of this gateway's lane."""
        said = self.lane["domain"]
        contract = Address(bytes.fromhex(str(said["verifyingContract"])[2:]))
        return Domain(int(said["chainId"]), contract, said["name"], said["version"])


_here: ContextVar[Context | None] = ContextVar("here", default=None)


def here() -> Context:
    """The surroundings of the command that runs now."""
    return _here.get() or Context()


@lru_cache(maxsize=8)
def _lane(url: str) -> Json:
    return GatewayClient(url).get("/v1/lane")


Wallet = Annotated[
    str | None, typer.Option("--wallet", "-w", envvar="TOLLWAY_WALLET", help="Who acts.", rich_help_panel=EVERYWHERE)
]
Gateway = Annotated[
    str | None, typer.Option("--gateway", envvar="TOLLWAY_GATEWAY", help="Its URL.", rich_help_panel=EVERYWHERE)
]
Rpc = Annotated[
    str | None, typer.Option("--rpc", envvar="TOLLWAY_RPC_URL", help="The chain's URL.", rich_help_panel=EVERYWHERE)
]
AsJson = Annotated[bool, typer.Option("--json", help="Facts for programs.", rich_help_panel=EVERYWHERE)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Move money without asking.", rich_help_panel=EVERYWHERE)]

_SHARED: dict[str, tuple[Any, Any]] = {
    "wallet_": (Wallet, None),
    "gateway_": (Gateway, None),
    "rpc_": (Rpc, None),
    "json_": (AsJson, False),
    "yes_": (Yes, False),
}


class Group(typer.Typer):
    """A group whose commands all have the shared options."""

    def __init__(self, help: str, **options: Any) -> None:
        super().__init__(help=help, no_args_is_help=True, rich_markup_mode="rich", **options)

    def verb(self, name: str | None = None, **options: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Register a function as a command, with its own parameters and the shared ones."""
        register = self.command(name, **options)

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            register(_shared(function))
            return function

        return decorate


def _shared(function: Callable[P, R]) -> Callable[..., R]:
    """`function` with the shared options added, which set `here()` and `speech` while it runs."""

    def run(*args: Any, **kwargs: Any) -> R:
        wallet, gateway, rpc, speech.json, speech.yes = (kwargs.pop(name) for name in _SHARED)
        token = _here.set(Context(wallet, gateway, rpc))
        try:
            return function(*args, **kwargs)
        finally:
            _here.reset(token)

    own = inspect.signature(function, eval_str=True)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _SHARED.items()
    ]
    parameters = [*own.parameters.values(), *added]
    run.__name__, run.__doc__ = function.__name__, function.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    vars(run)["__signature__"] = own.replace(parameters=parameters)
    return run
