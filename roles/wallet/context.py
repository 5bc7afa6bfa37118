"""The wallet a command acts for, and the gateway and chain it uses.

Each value comes from the option, else from the environment, else from the file that `tollway up` wrote.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, lru_cache

from ledger.core.catalog import realms
from ledger.core.values.atoms import Currency
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest, Lane, address, cid_digest, digest, to_hex
from ledger.core.values.typed_data import Domain, Signer
from roles.client import credentials
from roles.client.gateway import GatewayClient, Json, checked_url, segment
from roles.wallet import api_keys, home, keystore, transactions


@dataclass(frozen=True)
class Context:
    """None: not given as an option. `working` and `note` show nothing unless they are given."""

    wallet_name: str | None = None
    gateway_url: str | None = None
    rpc: str | None = None
    working: Callable[[str], AbstractContextManager[object]] = nullcontext
    """Shows that something takes long, while its block runs."""
    note: Callable[[str], object] = str
    """Shows a hint that is not part of the answer."""

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
        """The gateway's client for what anybody may ask, and for what carries its own signature: no key is sent, so
        that a dead key stops nothing but calls.
        """
        return GatewayClient(self.url)

    @cached_property
    def key_gateway(self) -> GatewayClient:
        """The gateway's client with the API key: for calls, and for what a key does for itself."""
        return GatewayClient(self.url, self.api_key)

    @cached_property
    def account_gateway(self) -> GatewayClient:
        """The gateway's client that signs each request as this wallet's account: it may read and rule the account.

        With `TOLLWAY_API_KEY` it sends that key instead, which may do less.
        """
        return self.key_gateway if os.environ.get("TOLLWAY_API_KEY") else self.signed_gateway

    @cached_property
    def signed_gateway(self) -> GatewayClient:
        """The gateway's client that signs each request as this wallet's account, whatever keys there are."""
        return GatewayClient(self.url, sign=credentials.request(self.signer, self.domain, self.lane_id))

    def gateway_in(self, realm: str) -> GatewayClient:
        """The gateway's client for what only the members of a realm may ask; `realm` is its name or a token, or ""."""
        if not realm:
            return self.gateway
        if os.environ.get("TOLLWAY_API_KEY"):
            return self.key_gateway_in(realm)
        sign = credentials.request(self.signer, self.domain, self.lane_id)
        return GatewayClient(self.url, sign=sign, realm=self.realm(realm))

    def key_gateway_in(self, realm: str) -> GatewayClient:
        """The gateway's client with the API key, in a realm."""
        return GatewayClient(self.url, self.api_key, realm=self.realm(realm))

    def realm(self, text: str) -> str:
        """A realm's whole name from what was typed: a name alone is of this wallet's own. A token stays a token."""
        if not text or text.startswith(realms.PREFIX):
            return text
        return realms.realm_name(text if "/" in text else f"{to_hex(self.account)}/{text}")

    @property
    def url(self) -> str:
        known = home.network()
        url = self.gateway_url or os.environ.get("TOLLWAY_GATEWAY") or (known and known.gateway)
        if not url:
            raise Rejected("no gateway given: use --gateway URL, set TOLLWAY_GATEWAY, or start one with `tollway up`")
        return checked_url(url)

    @property
    def api_key(self) -> str | None:
        """`TOLLWAY_API_KEY`, or the wallet's current key of those that `consumer key` stored."""
        if key := os.environ.get("TOLLWAY_API_KEY"):
            return key
        return api_keys.secret(self.wallet) if self.wallet_name or len(keystore.names()) == 1 else None

    @property
    def key_id(self) -> str | None:
        """The id of the stored key that calls are sent with. None for `TOLLWAY_API_KEY`, and without one."""
        if os.environ.get("TOLLWAY_API_KEY") or not (self.wallet_name or len(keystore.names()) == 1):
            return None
        return api_keys.current(self.wallet)

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
        return checked_url(str(url))

    @cached_property
    def currency(self) -> Currency:
        """What amounts are in: the settlement token of this network, AIC where there is none yet or no chain."""
        return transactions.currency(self)

    @property
    def domain(self) -> Domain:
        return credentials.domain_of(self.lane)

    def resolve(self, text: str, realm: str = "") -> Digest:
        """The id of a published model or capsule, from `@org/name`, a CID or 0x hex; what is in a realm comes first.

        An unknown name is Rejected by the gateway, with the nearest names.
        """
        if text.startswith("0x"):
            return digest(text)
        if text.startswith("bafkrei"):
            return cid_digest(text)
        if realm:
            with suppress(Rejected):
                return cid_digest(str(self.gateway_in(realm).get(f"/v1/models/{segment(text)}")["cid"]))
        return cid_digest(str(self.gateway.get(f"/v1/models/{segment(text)}")["cid"]))


current: ContextVar[Context | None] = ContextVar("current", default=None)
"""The context of the command that runs."""


@lru_cache(maxsize=8)
def _lane(url: str) -> Json:
    return GatewayClient(url).get("/v1/lane")
