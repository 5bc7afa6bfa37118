"""Which addresses the gateway may call: no private, link-local or otherwise special ones unless the operator allows.

Names are resolved here, and the connection is made to the address that was checked, which prevents DNS rebinding.
Redirects are never followed.
"""

import asyncio
import ipaddress
import socket
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from gateway.errors import NodeFailed, Refusal
from ledger.core.values.errors import Rejected

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
LOOKUPS, LOOKUPS_AN_ADDRESS = 64, 4
"""Names that are looked up at once, and those of a stranger. A name's own server may let each wait for 20 s."""


def networks(text: str) -> tuple[Network, ...]:
    """The networks of comma-separated CIDR ranges."""
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise Rejected(f"not a list of networks: {error}", networks=text) from error


GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
SPECIAL = networks("192.0.0.0/24, 192.88.99.0/24, 2001::/23, 2002::/16, 3fff::/20")
"""Special ranges that Python's list lacks: it is older than some, and 6to4 leads to any IPv4 address."""


class NotLookedUp(Exception):
    """A stranger's name that is not looked up now, as all threads for those wait for others."""


class Names:
    """Looks names up in threads of its own, each name once at a time. The event loop's library has two threads for all
    of them: two names of a stranger whose servers are silent, and no node with a name was reached any more.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUPS, "names")
        self._looking: dict[tuple[str, int], asyncio.Future[list[str]]] = {}
        self._asked = Counter[str]()
        """Lookups under way for an address, also when it waits no more."""

    async def look_up(self, host: str, port: int, asker: str = "") -> list[str]:
        """The addresses of a host. `asker` is the address of the stranger who wants to know."""
        looking = self._looking.get((host, port))
        if looking is None:
            if asker and len(self._looking) >= LOOKUPS:
                raise NotLookedUp(host)
            if asker and self._asked[asker] >= LOOKUPS_AN_ADDRESS:
                message = f"{LOOKUPS_AN_ADDRESS} names that one address sent are looked up already"
                raise Refusal(429, "rate_limited", message, retry_after=10)
            self._asked[asker] += 1
            loop = asyncio.get_running_loop()
            looking = self._looking[host, port] = loop.run_in_executor(self._threads, _addresses, host, port)
            looking.add_done_callback(lambda ended: self._forget(host, port, asker, ended))
        return await asyncio.shield(looking)

    def _forget(self, host: str, port: int, asker: str, ended: asyncio.Future[list[str]]) -> None:
        del self._looking[host, port]
        self._asked[asker] -= 1
        self._asked += Counter()  # without those that have none
        if not ended.cancelled():
            ended.exception()  # it may be that nobody waits any more


def _addresses(host: str, port: int) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class Guard:
    """Resolves hosts to addresses that may be called, outside of special ranges and inside of `allowed` ones. What
    strangers ask for is looked up apart: nodes wait for none of it. `setting` is where the operator allows more.
    """

    def __init__(self, allowed: Sequence[Network], setting: str = "GATEWAY_ALLOWED_NETWORKS") -> None:
        self._allowed, self._setting = tuple(allowed), setting
        self._nodes, self._strangers = Names(), Names()

    def permits(self, text: str) -> bool:
        """Whether an address is public, or inside a range the operator allows."""
        address = ipaddress.ip_address(text.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address in network for network in self._allowed):
            return True
        if isinstance(address, ipaddress.IPv6Address) and address not in GLOBAL_UNICAST:
            return False
        special = address.is_multicast or address.is_reserved or any(address in network for network in SPECIAL)
        return address.is_global and not special

    def allows(self, text: str) -> bool:
        """Whether an address is in a network that the operator named."""
        address = ipaddress.ip_address(text.partition("%")[0])
        return any(address in network for network in self._allowed)

    async def resolve(self, host: str, port: int, stranger: str = "") -> str:
        """An address of `host` that may be called, for a node or for the `stranger` at an address. Rejected when it has
        none. Raises NotLookedUp for a stranger when too many names of strangers are looked up.
        """
        names = self._strangers if stranger else self._nodes
        try:
            addresses = [host] if is_address(host) else await names.look_up(host, port, stranger)
        except (OSError, ValueError) as error:
            raise NodeFailed(f"the node's host {host!r} cannot be resolved", "unreachable", host=host) from error
        for address in addresses:
            if self.permits(address):
                return address
        raise Rejected(
            f"{host!r} is a private or special address; the operator can allow it in {self._setting}",
            host=host,
        )


def is_address(host: str) -> bool:
    """Whether it is written as an address, so that nobody is asked for it."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
