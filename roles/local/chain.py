"""The local chain as a child process: `python -m roles.local.chain ANVIL STATE PORT CHAIN_ID GENESIS` becomes Anvil.

With a state file, the chain continues from it at the wall clock's time, or as far ahead as its clock had been moved: a
chain's time never falls. A new chain starts at the time `GENESIS`, in the past, so that its clock can be moved forward
without passing the wall clock. Anvil writes its state in place, so a
kill during a write leaves a torn file: a child process keeps a copy of the last whole one for the next start.
"""

import json
import math
import os
import shutil
import sys
import time
from pathlib import Path

COPY_SECONDS = 0.5


def main(anvil: str, state: str, port: str, chain_id: str, genesis: str) -> None:
    restore(Path(state))
    options = ["--host", "127.0.0.1", "--port", port, "--chain-id", chain_id, "--accounts", "1", "--quiet"]
    mining = ["--hardfork", "osaka", "--block-time", "1", "--mixed-mining", "--state", state, "--state-interval", "5"]
    begin = ["--timestamp", str(resumed_at(Path(state))) if Path(state).exists() else genesis]
    parent = os.getpid()
    if os.fork() == 0:
        _copy_while(parent, Path(state))
    os.execv(anvil, [anvil, *options, *mining, *begin])


def restore(state: Path) -> None:
    """Replace a torn state by the last whole one, or delete it when there is none yet."""
    if state.exists() and not _is_whole(state):
        whole = _last_whole(state)
        if whole.exists():
            whole.replace(state)
        else:
            state.unlink()


def resumed_at(state: Path) -> int:
    """When a stopped chain goes on, in seconds: as far ahead of the wall clock as when its state was written."""
    last = int(json.loads(state.read_bytes())["block"]["timestamp"], 16)
    return math.ceil(time.time() + max(0, last - state.stat().st_mtime))


def save_copy(state: Path) -> None:
    copy = state.with_suffix(".copy")
    shutil.copyfile(state, copy)
    if _is_whole(copy):
        with copy.open("rb") as file:
            os.fsync(file.fileno())  # the content must be on disk before the rename
        copy.replace(_last_whole(state))


def _copy_while(parent: int, state: Path) -> None:
    """Copy each state that is written, until Anvil has ended."""
    copied = 0
    while os.getppid() == parent:
        time.sleep(COPY_SECONDS)
        written = state.stat().st_mtime_ns if state.exists() else 0
        if written != copied:
            save_copy(state)
            copied = written
    os._exit(0)


def _last_whole(state: Path) -> Path:
    return state.with_suffix(".kept")


def _is_whole(state: Path) -> bool:
    try:
        json.loads(state.read_bytes())
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    main(*sys.argv[1:6])
