"""Questions about our batches, as the chain put them, and whether they ended.

Alone, because the other tables here hold what the ledger decides.
"""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, or_, tuple_, update
from sqlmodel import Session, col, select

from ledger.core.settlement.events import Asked, Fell, FinalAsked, Log, MandateAsked, ReceiptAsked, WordsAsked
from ledger.core.values.ids import Address, Digest, Lane, to_hex
from ledger.store.session import change, insert_once
from ledger.store.settlement.tables import ChallengeRow


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the log that put it. The same question may be asked again once it is answered."""

    asked: Asked
    block: int
    log_index: int

    @property
    def cause(self) -> str:
        """Everything that names this question and no other: lane, its key on chain, and its log."""
        return f"{to_hex(self.asked.lane)} {to_hex(self.asked.question)} {self.block} {self.log_index}"


def put(session: Session, asked: Asked, log: Log) -> None:
    """Mirror a question; the same log again changes nothing."""
    row = {
        "lane": asked.lane,
        "question": asked.question,
        "block": log.block,
        "log_index": log.index,
        "kind": type(asked).__name__,
        "batch": 0 if isinstance(asked, FinalAsked) else asked.id,
        "hash": b"" if isinstance(asked, FinalAsked) else asked.hash,
        "tree": asked.tree if isinstance(asked, WordsAsked | FinalAsked) else 0,
        "depth": asked.depth if isinstance(asked, WordsAsked) else 0,
        "position": _position(asked),
        "account": asked.account if isinstance(asked, MandateAsked) else None,
        "cumulative": asked.cumulative if isinstance(asked, MandateAsked) else 0,
        "asker": asked.asker,
        "deadline": asked.deadline,
        "answered": False,
    }
    insert_once(session, ChallengeRow, row)


def close(session: Session, question: Digest, log: Log) -> None:
    """Mirror an end, with an answer or without: it ends what was asked before its log."""
    _close(session, log, col(ChallengeRow.question) == question)


def lapse(session: Session, fell: Fell, log: Log) -> None:
    """Mirror a fall: what was asked about void batches ends, and what was asked about final trees."""
    gone = or_(col(ChallengeRow.batch) >= fell.first, col(ChallengeRow.batch) == 0)
    _close(session, log, col(ChallengeRow.lane) == fell.lane, gone)


def unanswered(session: Session, lane: Lane) -> list[Question]:
    """Questions of a lane that wait for an answer, the most urgent first."""
    query = select(ChallengeRow).where(col(ChallengeRow.lane) == lane, col(ChallengeRow.answered).is_(False))
    order = (col(ChallengeRow.deadline), col(ChallengeRow.block), col(ChallengeRow.log_index))
    rows = session.exec(query.order_by(*order).execution_options(populate_existing=True))
    return [Question(_value(row), row.block, row.log_index) for row in rows]


def _position(asked: Asked) -> int:
    if isinstance(asked, WordsAsked):
        return asked.position
    return asked.place if isinstance(asked, ReceiptAsked) else asked.index


def _close(session: Session, log: Log, *which: ColumnElement[bool]) -> None:
    asked_before = tuple_(col(ChallengeRow.block), col(ChallengeRow.log_index)) < tuple_(log.block, log.index)
    change(session, update(ChallengeRow).where(*which, asked_before).values(answered=True))


def _value(row: ChallengeRow) -> Asked:
    lane, question, asker = Address(row.lane), Digest(row.question), Address(row.asker)
    if row.kind == FinalAsked.__name__:
        return FinalAsked(lane, question, row.tree, row.position, asker, row.deadline)
    about = lane, row.batch, question, row.hash
    if row.kind == WordsAsked.__name__:
        return WordsAsked(*about, row.tree, row.depth, row.position, asker, row.deadline)
    if row.kind == ReceiptAsked.__name__:
        return ReceiptAsked(*about, row.position, asker, row.deadline)
    assert row.account is not None, "the question about a mandate names its account"
    return MandateAsked(*about, row.position, Address(row.account), row.cumulative, asker, row.deadline)
