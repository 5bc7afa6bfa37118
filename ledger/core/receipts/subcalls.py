"""The rule of a workflow's receipts: they stand right before their root, children before their parent.

`subcalls` of a receipt counts the receipts right before it that belong to it, at any depth. So they end with its last
direct sub-call, whose own ones stand right before that, and so on to the first. `subcall_total` is the sum of the
direct ones' prices. A sub-call whose workflow failed has a parent without a receipt: it is counted by none.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ledger.core.receipts.record import Records
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import to_hex


class Wrong(NamedTuple):
    """A receipt, by its place, whose field is not what the receipts before it make of it."""

    place: int
    field: str
    expected: object
    found: object


def check(records: Records) -> None:
    """Check the receipts of a segment, which holds each workflow whole. Rejected at the first that is wrong."""
    wrong, strays = examine(records, 0, len(records))
    wrong = wrong or counted_by_none(records, strays)
    if wrong is not None:
        seq = int(records["seq"][wrong.place])
        raise Rejected(f"receipt {seq} has {wrong.field} {wrong.found}, not {wrong.expected}", seq=seq)


def examine(records: Records, begin: int, end: int) -> tuple[Wrong | None, set[bytes]]:
    """The first wrong receipt of places [begin, end), and the parents of those that no receipt counts.

    The 63 receipts before and after these must be there too, as far as they exist.
    """
    uncounted = np.asarray(records["parent"].any(axis=1))
    for place in np.flatnonzero((records["subcalls"] != 0) | (records["subcall_total"] != 0)).tolist():
        wrong = _walk(records, place, uncounted) if place >= begin else None
        if wrong is not None and place < end:
            return wrong, set()
    strays = np.flatnonzero(uncounted[begin:end]) + begin
    return None, {row.tobytes() for row in records["parent"][strays]}


def counted_by_none(records: Records, strays: set[bytes]) -> Wrong | None:
    """The first receipt that is the parent of a receipt it does not count."""
    for place in range(len(records)) if strays else ():
        call = records["call_id"][place].tobytes()
        if call in strays:
            return Wrong(place, "subcalls", f"all with parent {to_hex(call)}", int(records["subcalls"][place]))
    return None


def _walk(records: Records, place: int, uncounted: npt.NDArray[np.bool_]) -> Wrong | None:
    """Count the sub-calls of the receipt at a place, from the last direct one back to the first."""
    root, at, total = records[place], place - 1, 0
    stop = place - 1 - int(root["subcalls"])
    while at > stop and at >= 0 and _is_child(records[at], root):
        total += int(records[at]["price"])
        uncounted[at] = False
        at -= 1 + int(records[at]["subcalls"])
    if at != stop:
        return Wrong(place, "subcalls", place - 1 - at, int(root["subcalls"]))
    if total != int(root["subcall_total"]):
        return Wrong(place, "subcall_total", total, int(root["subcall_total"]))
    return None


def _is_child(row: np.void, root: np.void) -> bool:
    return bool((row["parent"] == root["call_id"]).all() and (row["gateway"] == root["gateway"]).all())
