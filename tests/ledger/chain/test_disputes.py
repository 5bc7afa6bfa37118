"""A lying operator of each kind, on a real chain: what the auditor finds convicts it, question by question."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ledger.core.disputes.facts import is_barred
from tests.ledger.chain.conftest import ANSWER
from tests.ledger.chain.liars import LIES, Live, playing

LOOKS = 24
"""More than any lie here takes."""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with playing(tmp_path_factory.mktemp("live")) as made:
        yield made


@pytest.mark.parametrize(("lie", "word"), LIES, ids=[lie.__name__ for lie, _ in LIES])
def test_the_liar_is_convicted_and_its_bond_gone(live: Live, lie: Callable[[Live], None], word: str) -> None:
    live.begin()
    first = live.post(live.honest())
    lie(live)
    said, files = "", {file.header.id: file for file in live.book.files if live.shown or file is first}
    for _ in range(LOOKS):
        said += "\n".join(finding.said for finding in live.look(files.get, book=True)) + "\n"
        if not live.chain.books(live.stage.lane).bond:
            break
        if not live.answer():
            live.stage.wait(ANSWER + 1)
    assert word in said, said
    live.is_convicted()


def test_honest_batches_accuse_nobody(live: Live) -> None:
    live.begin()
    for count in (3, 70):
        file = live.post(live.honest(count))
        assert live.find_fraud_proof(file, book=True) is None


def test_a_call_of_a_derived_model_accuses_nobody(live: Live) -> None:
    live.begin()
    live.agree_on_the_child(*live.due)
    live.post(live.honest())
    assert [one.said for one in live.look(book=True)] == ["honest"]


def test_a_withheld_file_that_is_opened_whole_on_chain_is_honest(live: Live) -> None:
    live.begin()
    live.post(live.honest(3))
    for _ in range(LOOKS):
        (finding,) = live.look(lambda name: None, book=True)
        assert live.answer()
        if finding.said == "honest":
            break
    else:
        pytest.fail("never open")


def test_an_old_receipt_is_barred_and_a_new_one_is_not(live: Live) -> None:
    live.begin()
    file = live.post(live.honest(3))
    facts = live.auditors_facts()
    one = file.receipts[0]
    assert not is_barred(one, file.header.closed_at, 0, facts)
    assert is_barred(one._replace(ended_at=one.ended_at - 31 * 86_400_000), file.header.closed_at, 0, facts)
