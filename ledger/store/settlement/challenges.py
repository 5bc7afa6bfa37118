"""Challenges of our batches, as the chain put them, and whether they were answered."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.settlement.events import DebitChallenged, NodeDemanded
from ledger.core.values.ids import Address, Digest
from ledger.store.settlement.tables import ChallengeRow


def put(session: Session, asked: DebitChallenged | NodeDemanded) -> None:
    """Mirror a challenge; the same log again changes nothing."""
    row: dict[str, object] = {"key": asked.key, "lane": asked.lane, "batch": asked.id, "deadline": asked.deadline}
    if isinstance(asked, DebitChallenged):
        row |= {"account": asked.account, "cumulative": asked.cumulative, "tree": 2, "place": asked.index, "depth": 0}
    else:
        row |= {"node": asked.node, "tree": asked.tree, "place": asked.index, "depth": asked.depth, "cumulative": 0}
    session.execute(insert(ChallengeRow).values(row).on_conflict_do_nothing())


def close(session: Session, key: Digest) -> None:
    """It was answered."""
    session.execute(text("UPDATE challenges SET answered = true WHERE key = :key"), {"key": key})


def unanswered(session: Session, lane: int) -> list[DebitChallenged | NodeDemanded]:
    """Challenges of a lane that wait for an answer, the most urgent first."""
    query = select(ChallengeRow).where(col(ChallengeRow.lane) == lane, col(ChallengeRow.answered).is_(False))
    rows = session.exec(query.order_by(col(ChallengeRow.deadline)).execution_options(populate_existing=True))
    return [_value(row) for row in rows]


def _value(row: ChallengeRow) -> DebitChallenged | NodeDemanded:
    where = row.lane, row.batch, Digest(row.key)
    if row.node is None:
        assert row.account is not None, "a debit is somebody's"
        return DebitChallenged(*where, row.place, Address(row.account), row.cumulative, row.deadline)
    return NodeDemanded(*where, row.tree, Digest(row.node), row.place, row.depth, row.deadline)


@dataclass(frozen=True, slots=True)
class Mandate:
    """The highest voucher an account signed."""

    cum_max: int
    signature: bytes


def mandate(session: Session, lane: int, account: Address) -> Mandate | None:
    """What answers a challenged debit, if the account signed anything."""
    query = text("SELECT cum_max, signature FROM vouchers WHERE lane = :lane AND account = :account")
    found = session.execute(query, {"lane": lane, "account": account}).first()
    return Mandate(int(found[0]), bytes(found[1])) if found else None
