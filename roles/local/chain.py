"""The local chain as a child process: `python -m roles.local.chain ANVIL STATE PORT CHAIN_ID GENESIS` becomes Anvil.

A chain that has a state file goes on from it, by the wall clock; a new one starts at the time `GENESIS`, so that who
sets it up can move its clock forward without ever passing the wall clock. Anvil writes its state in place: one killed
while it writes leaves half a file. So a child beside it keeps the last whole one, and the next start goes on from that.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

KEEP_SECONDS = 0.5


def main(anvil: str, state: str, port: str, chain_id: str, genesis: str) -> None:
    """Become Anvil."""
    restore(Path(state))
    options = ["--host", "127.0.0.1", "--port", port, "--chain-id", chain_id, "--accounts", "1", "--quiet"]
    mining = ["--block-time", "1", "--mixed-mining", "--state", state, "--state-interval", "5"]
    first = [] if Path(state).exists() else ["--timestamp", genesis]
    parent = os.getpid()
    if os.fork() == 0:
        _keep_while(parent, Path(state))
    os.execv(anvil, [anvil, *options, *mining, *first])


def restore(state: Path) -> None:
    """Put the last whole state in the place of a torn one. A first one that is torn goes: nothing was built on it."""
    if state.exists() and not _is_whole(state):
        kept = _kept(state)
        if kept.exists():
            kept.replace(state)
        else:
            state.unlink()


def keep(state: Path) -> None:
    """Keep a copy of the state, if it is whole."""
    copy = state.with_suffix(".copy")
    shutil.copyfile(state, copy)
    if _is_whole(copy):
        with copy.open("rb") as file:
            os.fsync(file.fileno())  # a name must not be on disk before what it names
        copy.replace(_kept(state))


def _keep_while(parent: int, state: Path) -> None:
    """Keep every state that is written, until Anvil is gone."""
    seen = 0
    while os.getppid() == parent:
        time.sleep(KEEP_SECONDS)
        written = state.stat().st_mtime_ns if state.exists() else 0
        if written != seen:
            keep(state)
            seen = written
    os._exit(0)


def _kept(state: Path) -> Path:
    return state.with_suffix(".kept")


def _is_whole(state: Path) -> bool:
    try:
        json.loads(state.read_bytes())
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    main(*sys.argv[1:6])
