"""What is said of a batch that was recomputed: that it agrees, that it is on its way, or what is wrong."""

import pytest

from ledger.core.disputes.audit import Verdict
from roles.audit.batches import Checked

GOOD, BAD = Verdict(True, 1, 1, 1, 10), Verdict(False, 1, 1, 1, 10, "the price", "receipt 3", "9", "10")


@pytest.mark.parametrize(
    ("verdict", "committed", "status", "said"),
    [
        (GOOD, False, "none", "not on chain yet"),
        (GOOD, False, "posted", "another header"),
        (BAD, False, "none", "the price at receipt 3"),
        (BAD, True, "posted", "the price at receipt 3"),
    ],
)
def test_a_batch_that_is_not_there_yet_is_not_one_that_is_wrong(
    verdict: Verdict, status: str, said: str, *, committed: bool
) -> None:
    checked = Checked(1, verdict, committed, status)
    assert (checked.ok, said in checked.difference) == (False, True)
    assert checked.is_under_way == (said == "not on chain yet")
