"""`auditor watch` on lying operators: it looks at the chain and the files, and acts by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ledger.chain.calls import words
from ledger.chain.errors import Reverted
from ledger.core.disputes.questions import GATEWAYS, RECEIPTS
from ledger.core.values.errors import Unavailable
from tests.ledger.chain.conftest import ANSWER, BOND, FUNDS, WINDOW
from tests.ledger.chain.liars import Live, a_price_above_the_real_one, playing


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with playing(tmp_path_factory.mktemp("watch")) as made:
        yield made


@pytest.fixture
def play(place: Live) -> Live:
    place.begin()
    return place


def nothing(name: bytes) -> None:
    """A gateway that shows no file."""


def test_it_lets_honest_batches_be_and_convicts_the_first_that_lies(play: Live) -> None:
    play.post(play.honest())
    assert [one.said for one in play.look()] == ["honest"]
    a_price_above_the_real_one(play)
    play.post(play.honest())
    assert [one.batch for one in play.look()] == [1, 2]
    play.is_convicted()
    assert play.look() == []


def test_a_batch_posted_while_it_reads_waits_for_the_next_look(play: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    play.post(play.honest())
    before = play.chain.tip()
    play.post(play.honest())
    with monkeypatch.context() as patch:
        patch.setattr(play.chain, "tip", lambda: before)
        assert [one.batch for one in play.look()] == [1]
    assert [one.batch for one in play.look()] == [1, 2]


def test_a_block_that_goes_away_while_its_logs_are_read(play: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    real = play.chain.rpc

    def rpc(method: str, *parameters: Any) -> Any:
        return None if method == "eth_getBlockByNumber" else real(method, *parameters)

    monkeypatch.setattr(play.chain, "rpc", rpc)
    with pytest.raises(Unavailable, match="went away"):
        play.chain.logs(play.chain.deployment.block, play.chain.tip())


def test_a_file_nobody_shows_is_asked_for_waited_for_and_convicted(play: Live) -> None:
    play.post(play.honest())
    assert play.look(nothing)[0].said.startswith("asked")
    assert play.look(nothing)[0].said.startswith("waits for an answer")
    play.stage.wait(ANSWER + 1)
    assert play.look(nothing)[0].said.startswith("unanswered")
    play.is_convicted()
    owed = int(play.chain.view("Questions", "owedWei", play.stage.auditor.address))
    assert owed >= play.chain.deployment.question_floor_wei, "the fee comes back"


def test_an_answered_question_is_not_asked_and_paid_for_again(play: Live) -> None:
    play.post(play.honest())
    (first,) = play.look(nothing)
    assert play.answer()
    (second,) = play.look(nothing)
    assert (first.said.split(" of ")[-1], second.said.split(" of ")[-1]) == (
        "the gateways tree does not follow from what is known",
        "the receipts tree does not follow from what is known",
    )
    assert play.look(nothing)[0].said.startswith("waits")


def test_it_spends_no_more_than_its_budget_and_says_what_a_person_must_do(play: Live) -> None:
    play.post(play.honest())
    (few,) = play.look(nothing, budget=1)
    assert few.call is None
    assert few.said.startswith("a person must look: the next question costs")
    assert "Raise --budget" in few.said
    fee = play.chain.question_fee(0)
    (asked,) = play.look(nothing, budget=2 * fee)
    assert asked.call is not None
    assert play.answer()
    (few,) = play.look(nothing, budget=2 * fee)
    assert few.call is None, "what the first one cost counts, now as before"


def test_questions_of_others_cost_it_nothing_and_end_no_budget(play: Live) -> None:
    """F10: the accused asks and answers 64 of its own questions; the auditor goes on."""
    file = play.post(play.honest(70))
    boss, calls = play.stage.key(play.stage.operator), play.chain.calls
    fee = 2 * play.chain.question_fee(0)
    for position in range(64):
        asked = play.stage.lane, 1, words(file.header), RECEIPTS, 7, position
        play.chain.transact(boss, calls.to("Questions", "askWords", *asked), fee)
    assert play.answer()
    assert play.look(nothing)[0].said.startswith("asked")
    assert play.look(nothing)[0].said.startswith("waits")
    again = play.stage.lane, 1, words(file.header), GATEWAYS, 0, 0
    with pytest.raises(Reverted, match="QuestionOpen"):
        play.chain.transact(boss, calls.to("Questions", "askWords", *again), fee)


def test_a_question_that_somebody_else_asked_is_waited_for(play: Live) -> None:
    file = play.post(play.honest())
    asked = play.stage.lane, 1, words(file.header), GATEWAYS, 0, 0
    call = play.chain.calls.to("Questions", "askWords", *asked)
    play.chain.transact(play.stage.key(play.stage.consumers[0]), call, 2 * play.chain.question_fee(0))
    (found,) = play.look(nothing, budget=0)
    assert found.said.startswith("waits for an answer")
    play.stage.wait(ANSWER + 1)
    assert play.look(nothing, budget=0)[0].said.startswith("unanswered")
    assert play.chain.books(play.stage.lane).bond == 0
    assert int(play.chain.settlement("owed", play.stage.consumers[0].address)) == BOND // 2, "the asker is the accuser"


def test_it_looks_at_every_pending_batch_also_behind_one_that_is_withheld(play: Live) -> None:
    first = play.post(play.honest())
    second = play.post(play.honest())
    a_price_above_the_real_one(play)
    shown = {second.header.id: second, play.book.files[-1].header.id: play.book.files[-1]}
    said = [one.said for one in play.look(shown.get)]
    assert said[0].startswith("asked")
    assert said[1].startswith("waits for batch 1")
    assert "does not follow from its terms" in said[2]
    play.is_convicted()
    assert first.header.id not in shown


def test_a_batch_that_became_final_is_no_longer_looked_at(play: Live) -> None:
    file = play.post(play.honest())
    play.stage.wait(WINDOW + 1)
    play.chain.transact(FUNDS, play.chain.calls.finalize(play.stage.lane, 1, file.header))
    play.post(play.honest())
    assert [(one.batch, one.said) for one in play.look()] == [(2, "honest")]
    said = play.look({play.book.files[-1].header.id: play.book.files[-1]}.get)[0].said
    assert said.startswith("a person must look")
    assert "final batch 1" in said


def test_it_sees_batches_that_were_committed_through_a_contract(play: Live) -> None:
    """F10: headers come from events, not from the calldata of a transaction to Settlement."""
    draft = play.honest()
    file = play.post(draft)
    play.chain.rpc("evm_revert", play.start)
    play.start = play.chain.rpc("evm_snapshot")
    target, data = play.chain.calls.commit(play.stage.lane, file.header)
    # a contract that calls `target` with the calldata it is sent: the lane's second key that may commit
    play.chain.rpc("anvil_setCode", "0x" + "c0" * 20, "0x" + _forwarder(target).hex())
    poster = bytes.fromhex("c0" * 20)
    play.chain.transact(
        play.stage.key(play.stage.operator), play.chain.calls.to_settlement("setPoster", play.stage.lane, poster)
    )
    play.chain.transact(FUNDS, (type(target)(poster), data))
    assert [one.said for one in play.look()] == ["honest"]


def _forwarder(target: bytes) -> bytes:
    """calldatacopy(0, 0, size); call(gas, target, 0, 0, size, 0, 0); revert if it failed."""
    copy = bytes.fromhex("3660006000" + "37")
    call = bytes.fromhex("6000600036600060" + "00" + "73") + target + bytes.fromhex("5af1")
    body = copy + call
    return body + bytes.fromhex("60") + bytes([len(body) + 8]) + bytes.fromhex("57600060" + "00fd5b00")
