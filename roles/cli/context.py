"""The options that every command shares, and the context they set: wallet, gateway and chain.

A command is a plain function in a `Group`. It asks `here()` for its context. Each value comes from the option, else
from the environment, else from the file that `tollway up` wrote.
"""

import inspect
import os
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from typer import Option

from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest, Lane, address, cid_digest, digest
from ledger.core.values.typed_data import Domain, Signer
from roles.cli import output
from roles.client.gateway import GatewayClient, Json
from roles.wallet import home, keystore

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Context:
    """The wallet a command acts for, and the gateway and chain it uses. None: not given as an option."""

    wallet_name: str | None = None
    gateway_url: str | None = None
    rpc: str | None = None

    @cached_property
    def wallet(self) -> str:
        """The wallet's name. If the home has one wallet, it is the default."""
        if self.wallet_name:
            return self.wallet_name
        names = keystore.names()
        if len(names) == 1:
            return names[0]
        hint = f"one of {', '.join(names)}" if names else "create one: tollway wallet create NAME"
        raise Rejected(f"no wallet given: use --wallet NAME ({hint})")

    @property
    def signer(self) -> Signer:
        """The wallet's key. Needs its password."""
        return keystore.unlock(self.wallet)

    @property
    def account(self) -> Address:
        """The wallet's address. Needs no password."""
        return keystore.address_of(self.wallet)

    @cached_property
    def gateway(self) -> GatewayClient:
        """The gateway's client, with the API key if there is one."""
        return GatewayClient(self.url, self.api_key)

    @property
    def url(self) -> str:
        known = home.network()
        url = self.gateway_url or os.environ.get("TOLLWAY_GATEWAY") or (known and known.gateway)
        if not url:
            raise Rejected("no gateway given: use --gateway URL, set TOLLWAY_GATEWAY, or start one with `tollway up`")
        return url

    @property
    def api_key(self) -> str | None:
        """`TOLLWAY_API_KEY`, or the key that `consumer key` stored beside the wallet."""
        if key := os.environ.get("TOLLWAY_API_KEY"):
            return key
        path = home.home() / "keys" / self.wallet if self.wallet_name or len(keystore.names()) == 1 else None
        return path.read_text().strip() if path and path.exists() else None

    @property
    def lane(self) -> Json:
        """The gateway's description of its lane: chain, addresses, lane id, epoch."""
        return _lane(self.url)

    @property
    def lane_id(self) -> Lane:
        """The id of the gateway's lane."""
        return address(str(self.lane["lane"]))

    @property
    def rpc_url(self) -> str:
        """The chain's JSON-RPC: the option, the environment, the file of `tollway up`, or the gateway's hint."""
        known = home.network()
        local = known.rpc if known and known.gateway == self.url else None
        url = self.rpc or os.environ.get("TOLLWAY_RPC_URL") or local or self.lane.get("rpc")
        if not url:
            raise Rejected("this gateway is a private grid: there is no chain to talk to")
        return str(url)

    @property
    def domain(self) -> Domain:
        fields = self.lane["domain"]
        contract = Address(bytes.fromhex(str(fields["verifyingContract"])[2:]))
        return Domain(int(fields["chainId"]), contract, fields["name"], fields["version"])

    def resolve(self, text: str) -> Digest:
        """The id of a published model or capsule, from `@org/name`, a CID or 0x hex.

        An unknown name is Rejected by the gateway, with the nearest names.
        """
        if text.startswith("0x"):
            return digest(text)
        return cid_digest(text if text.startswith("bafkrei") else str(self.gateway.get(f"/v1/models/{text}")["cid"]))


_here: ContextVar[Context | None] = ContextVar("here", default=None)


def here() -> Context:
    return _here.get() or Context()


@lru_cache(maxsize=8)
def _lane(url: str) -> Json:
    return GatewayClient(url).get("/v1/lane")


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
        token = _here.set(Context(wallet, gateway, rpc))
        try:
            return function(*args, **kwargs)
        finally:
            _here.reset(token)

    own = inspect.signature(function, eval_str=True)
    parameters = [*own.parameters.values(), *SHARED]
    run.__name__, run.__doc__ = function.__name__, function.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    vars(run)["__signature__"] = own.replace(parameters=parameters)
    return run
