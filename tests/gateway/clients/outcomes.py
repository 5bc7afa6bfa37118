"""What the programs of stock clients have done, as properties of the report that a run of their tests writes.

A program prints `done: plain, streamed` when it has come to its end. `make bench-clients` makes the table of
`docs/clients.md` of those lines, so nothing stands there that no client did.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.clients import DONE, FEATURES

Record = Callable[[str, object], None]
"""pytest's `record_property`."""


def note(record: Record, program: str, said: str) -> None:
    """Report what a program printed that it has done: each is a column of the table, and there is at least one."""
    lines = [line.removeprefix(DONE) for line in said.splitlines() if line.startswith(DONE)]
    features = [feature for line in lines for feature in line.split(", ")]
    assert features, f"{program} says nothing of what it has done: print('{DONE}...')"
    assert not (unknown := set(features) - FEATURES.keys()), f"{program}: the table has no column for {unknown}"
    for feature in features:
        record(program, feature)
