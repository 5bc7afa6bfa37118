"""Which addresses the gateway may call: no private, link-local or otherwise special ones unless the operator allows.

Names are resolved here, and the connection is made to the address that was checked, which prevents DNS rebinding.
Redirects are never followed.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

from gateway.errors import NodeFailed
from ledger.core.values.errors import Rejected

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(text: str) -> tuple[Network, ...]:
    """The networks of comma-separated CIDR ranges."""
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise Rejected(f"not a list of networks: {error}", networks=text) from error


GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
SPECIAL = networks("192.0.0.0/24, 192.88.99.0/24, 2001::/23, 2002::/16, 3fff::/20")
"""Special ranges that Python's list lacks: it is older than some, and 6to4 leads to any IPv4 address."""


class Guard:
    """Resolves hosts to addresses that may be called, outside of special ranges and inside of `allowed` ones."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = tuple(allowed)

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

    async def resolve(self, host: str, port: int) -> str:
        """An address of `host` that may be called. Rejected when it has none."""
        try:
            entries = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, ValueError) as error:
            raise NodeFailed(f"the node's host {host!r} cannot be resolved", "unreachable", host=host) from error
        for address in (str(entry[4][0]) for entry in entries):
            if self.permits(address):
                return address
        raise Rejected(
            f"{host!r} is a private or special address; the operator can allow it in GATEWAY_ALLOWED_NETWORKS",
            host=host,
        )
