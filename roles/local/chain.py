"""The local chain as a child process: `python -m roles.local.chain ANVIL STATE PORT CHAIN_ID GENESIS` becomes Anvil.

A chain that has a state file goes on from it, by the wall clock; a new one starts at the time `GENESIS`, so that who
sets it up can move its clock forward without ever passing the wall clock.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(anvil: str, state: str, port: str, chain_id: str, genesis: str) -> None:
    """Become Anvil."""
    options = ["--host", "127.0.0.1", "--port", port, "--chain-id", chain_id, "--accounts", "1", "--quiet"]
    mining = ["--block-time", "1", "--mixed-mining", "--state", state, "--state-interval", "5"]
    first = [] if Path(state).exists() else ["--timestamp", genesis]
    os.execv(anvil, [anvil, *options, *mining, *first])


if __name__ == "__main__":
    main(*sys.argv[1:6])
