"""`auditor watch` on lying operators: it looks at the chain and the files, and acts by itself."""

from __future__ import annotations

from ledger.core.disputes.recomputation import recompute

from ledger.core.settlement.batch_file import BatchFile
from roles.audit.watch import Files, Finding, inspect
from tests import builders as b
from tests.ledger.chain.conftest import ANSWER, BOND, Stage
from tests.ledger.chain.play import Play


def look(play: Play, files: Files | None = None) -> list[Finding]:
    """One look, and what it says is done."""
    shown: dict[bytes, BatchFile] = {file.header.hash[:24]: file for file in play.book.files}
    found = inspect(play.chain, play.stage.lane, files or (lambda hashed: shown.get(hashed)))
    for one in found:
        if one.call is not None:
            play.chain.transact(play.stage.key(play.stage.auditor), one.call, one.value)
    return found


def test_it_lets_honest_batches_be_and_convicts_the_first_that_lies(stage: Stage) -> None:
    play = Play(stage)
    play.post(play.honest())
    assert [one.said for one in look(play)] == ["honest"]
    receipts = play.receipts()
    receipts[1] = receipts[1]._replace(price=receipts[1].price + 5, charge=receipts[1].charge + 5)
    play.post(play.book.honest(receipts))
    play.post(play.honest())
    assert [one.batch for one in look(play)] == [1, 2]
    assert play.chain.head(b.LANE).next == 2
    assert play.chain.balance(stage.auditor.address) == 10**12 + BOND // 2
    assert [one.said for one in look(play)] == ["honest"]


def test_a_file_nobody_shows_is_asked_for_waited_for_and_convicted(stage: Stage) -> None:
    play = Play(stage)
    play.post(play.honest())
    assert look(play, lambda hashed: None)[0].said.startswith("asked")
    assert look(play, lambda hashed: None)[0].said.startswith("waits")
    stage.wait(ANSWER + 1)
    assert look(play, lambda hashed: None)[0].said.startswith("unanswered")
    assert play.chain.head(b.LANE).next == 1
    assert play.chain.balance(stage.auditor.address) == 10**12 + BOND // 2


def test_an_answered_question_is_not_asked_and_paid_for_again(stage: Stage) -> None:
    play = Play(stage)
    file = play.post(play.honest())
    tree = recompute(file, play.facts()).trees[0]
    look(play, lambda hashed: None)
    left, right = tree.levels[-2]
    answer = play.chain.calls.to_settlement("answerNode", 1, 1, 0, tree.root, 0, 0, left, right)
    play.chain.transact(stage.key(stage.operator), answer)
    (few,) = inspect(play.chain, b.LANE, lambda hashed: None, questions_at_most=1)
    assert few.said.startswith("a person must look: 1 question")
    assert few.call is None
    (found,) = look(play, lambda hashed: None)
    assert found.said.startswith("asked: the batch file is withheld: tree node 0 at depth 1"), "the answer led further"
    assert look(play, lambda hashed: None)[0].said.startswith("waits")
