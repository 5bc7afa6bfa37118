"""Challenges of our batches, as the chain put them, and whether they were answered.

Alone, because the other tables here hold what the ledger decides.
"""

from dataclasses import asdict

from sqlalchemy import update
from sqlmodel import Session, col, select

from ledger.core.settlement.events import DebitChallenged, NodeDemanded
from ledger.core.values.ids import Digest, Lane
from ledger.store.session import change, insert_once, value_of
from ledger.store.settlement.tables import ChallengeRow


def put(session: Session, asked: DebitChallenged | NodeDemanded) -> None:
    """Mirror a challenge; the same log again changes nothing."""
    row = asdict(asked)
    row["batch"] = row.pop("id")
    row |= {"tree": 2, "depth": 0} if isinstance(asked, DebitChallenged) else {"cumulative": 0}
    insert_once(session, ChallengeRow, row)


def close(session: Session, key: Digest) -> None:
    change(session, update(ChallengeRow).where(col(ChallengeRow.key) == key).values(answered=True))


def unanswered(session: Session, lane: Lane) -> list[DebitChallenged | NodeDemanded]:
    """Challenges of a lane that wait for an answer, the most urgent first."""
    query = select(ChallengeRow).where(col(ChallengeRow.lane) == lane, col(ChallengeRow.answered).is_(False))
    rows = session.exec(query.order_by(col(ChallengeRow.deadline)).execution_options(populate_existing=True))
    return [_value(row) for row in rows]


def _value(row: ChallengeRow) -> DebitChallenged | NodeDemanded:
    if row.node is None:
        return value_of(DebitChallenged, row, id=row.batch)
    return value_of(NodeDemanded, row, id=row.batch)
