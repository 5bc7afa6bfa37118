"""Challenges of our batches, as the chain put them, and whether they were answered.

Alone, because the other tables here hold what the ledger decides.
"""

from dataclasses import asdict, dataclass

from sqlalchemy import ColumnElement, tuple_, update
from sqlmodel import Session, col, select

from ledger.core.settlement.events import Answered, DebitChallenged, Fell, Log, NodeDemanded
from ledger.core.values.ids import Lane, to_hex
from ledger.store.session import change, insert_once, value_of
from ledger.store.settlement.tables import ChallengeRow


@dataclass(frozen=True, slots=True)
class Question:
    """A challenge and the log that put it. The same question may be asked again once it is answered."""

    asked: DebitChallenged | NodeDemanded
    block: int
    log_index: int

    @property
    def cause(self) -> str:
        """Everything that names this question and no other: lane, batch, key and log."""
        asked = self.asked
        return f"{to_hex(asked.lane)} {asked.id} {to_hex(asked.key)} {self.block} {self.log_index}"


def put(session: Session, asked: DebitChallenged | NodeDemanded, log: Log) -> None:
    """Mirror a challenge; the same log again changes nothing."""
    row = asdict(asked)
    row["batch"] = row.pop("id")
    row |= {"tree": 2, "depth": 0} if isinstance(asked, DebitChallenged) else {"cumulative": 0}
    insert_once(session, ChallengeRow, row | {"block": log.block, "log_index": log.index})


def close(session: Session, answered: Answered, log: Log) -> None:
    """Mirror an answer: it closes what was asked before its log."""
    _close(session, log, answered.lane, col(ChallengeRow.batch) == answered.id, col(ChallengeRow.key) == answered.key)


def lapse(session: Session, fell: Fell, log: Log) -> None:
    """Mirror a fall: what was asked about the batches that are void ends."""
    _close(session, log, fell.lane, col(ChallengeRow.batch) >= fell.first)


def unanswered(session: Session, lane: Lane) -> list[Question]:
    """Challenges of a lane that wait for an answer, the most urgent first."""
    query = select(ChallengeRow).where(col(ChallengeRow.lane) == lane, col(ChallengeRow.answered).is_(False))
    rows = session.exec(query.order_by(col(ChallengeRow.deadline)).execution_options(populate_existing=True))
    return [Question(_value(row), row.block, row.log_index) for row in rows]


def _close(session: Session, log: Log, lane: Lane, *which: ColumnElement[bool]) -> None:
    asked_before = tuple_(col(ChallengeRow.block), col(ChallengeRow.log_index)) < tuple_(log.block, log.index)
    ours = update(ChallengeRow).where(col(ChallengeRow.lane) == lane, *which, asked_before)
    change(session, ours.values(answered=True))


def _value(row: ChallengeRow) -> DebitChallenged | NodeDemanded:
    if row.node is None:
        return value_of(DebitChallenged, row, id=row.batch)
    return value_of(NodeDemanded, row, id=row.batch)
