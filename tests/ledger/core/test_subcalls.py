"""A workflow's receipts stand right before its root, in order, and their prices are what it says."""

from collections.abc import Sequence
from typing import NamedTuple

import pytest

from ledger.core.receipts import subcalls
from ledger.core.receipts.receipt import Receipt
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_DIGEST, Address
from tests.ledger.core import strategies as some
from tests.ledger.core.values.test_values import a_receipt

OTHER = Address(b"\x77" * 20)


class Row(NamedTuple):
    """A receipt by name: its parent's name, how many sub-calls it counts, and their prices."""

    name: str
    parent: str = ""
    subcalls: int = 0
    total: int = 0
    price: int = 10
    gateway: Address = a_receipt().gateway


def the(rows: Sequence[Row]) -> list[Receipt]:
    return [
        a_receipt(seq)._replace(
            call_id=keccak256(row.name.encode()),
            parent=keccak256(row.parent.encode()) if row.parent else ZERO_DIGEST,
            subcalls=row.subcalls,
            subcall_total=row.total,
            price=row.price,
            gateway=row.gateway,
        )
        for seq, row in enumerate(rows, 1)
    ]


PLAIN, A, B, ROOT = Row("x"), Row("a", "root"), Row("b", "root", price=7), Row("root", "", 2, 17, 30)
NESTED = [Row("d", "mid"), Row("mid", "root", 1, 10, 12), A, Row("root", "", 3, 22, 40)]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [PLAIN],
        [A, B, ROOT],
        [PLAIN, A, B, ROOT, PLAIN._replace(name="y")],
        NESTED,
        [*NESTED, PLAIN],
        [Row("lost", "a workflow that failed"), PLAIN],
        [Row("lost", "failed"), A, B, ROOT],
        [Row("a", "root", price=0), Row("root", "", 1, 0, 5)],
    ],
)
def test_right_receipts_pass(rows: list[Row]) -> None:
    subcalls.check(some.records(the(rows)))


@pytest.mark.parametrize(
    ("rows", "field"),
    [
        ([A, B, ROOT._replace(total=18)], "subcall_total"),
        ([A, B, ROOT._replace(subcalls=1, total=7)], "subcalls"),
        ([A, B, ROOT._replace(subcalls=3)], "subcalls"),
        ([A, B, ROOT._replace(subcalls=0)], "subcall_total"),
        ([A, B, ROOT._replace(subcalls=0, total=0)], "subcalls"),
        ([A, PLAIN, B, ROOT], "subcalls"),
        ([A, PLAIN, B, ROOT._replace(subcalls=3)], "subcalls"),
        ([ROOT, A, B], "subcalls"),
        ([A._replace(gateway=OTHER), B, ROOT], "subcalls"),
        ([PLAIN, ROOT._replace(subcalls=1, total=10)], "subcalls"),
        ([NESTED[1], NESTED[0], *NESTED[2:]], "subcalls"),
        ([NESTED[0], NESTED[1]._replace(subcalls=0, total=0), *NESTED[2:]], "subcalls"),
        ([Row("a", "root"), PLAIN, Row("b", "root", price=7), ROOT._replace(subcalls=1, total=7)], "subcalls"),
    ],
)
def test_wrong_ones_are_named(rows: list[Row], field: str) -> None:
    with pytest.raises(Rejected, match=f"has {field} "):
        subcalls.check(some.records(the(rows)))


def test_a_chunk_is_examined_with_its_neighbours() -> None:
    rows = the([PLAIN, A, B, ROOT, PLAIN._replace(name="y")])
    records = some.records(rows)
    for cut in range(len(rows) + 1):
        for begin, end in ((0, cut), (cut, len(rows))):
            assert subcalls.examine(records, begin, end) == (None, set())
    wrong, _ = subcalls.examine(some.records(the([A, B, ROOT._replace(total=1)])), 2, 3)
    assert wrong is not None
    assert (wrong.place, wrong.field, wrong.expected, wrong.found) == (2, "subcall_total", 17, 1)
