"""A home node as a process: MODEL NAME GATEWAY SECRET. It listens on its loopback and opens a tunnel."""

from __future__ import annotations

import sys
from pathlib import Path

from ledger.core.values.ids import PRIVATE_LANE
from ledger.core.values.typed_data import Domain, Signer
from roles.node.server import NodeOptions, TunnelGateway, serve
from roles.node.tunnel import Identity


def main() -> None:
    model, name, gateway, secret = sys.argv[1:5]
    identity = Identity(Signer(bytes.fromhex(secret)), Domain(), PRIVATE_LANE, "home")
    tunnel = TunnelGateway(gateway, identity, lambda url: print("reached at", url, flush=True))
    serve(NodeOptions([(Path(model), name)], tunnel=tunnel))


if __name__ == "__main__":
    main()
