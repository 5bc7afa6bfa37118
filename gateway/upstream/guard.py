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


class Guard:
    """Resolves hosts to addresses that may be called, outside of special ranges and inside of `allowed` ones."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = tuple(allowed)

    def permits(self, text: str) -> bool:
        """Whether an address is public, or inside a range the operator allows."""
        address = ipaddress.ip_address(text.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address in network for network in self._allowed if network.version == address.version):
            return True
        return address.is_global and not address.is_multicast and not address.is_reserved

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


def networks(text: str) -> tuple[Network, ...]:
    """The networks of comma-separated CIDR ranges."""
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise Rejected(f"not a list of networks: {error}", networks=text) from error
