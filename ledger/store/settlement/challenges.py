"""Challenges of our batches, as the chain put them, and whether they were answered."""

from dataclasses import dataclass

from sqlalchemy import update
from sqlmodel import Session, col, select

from ledger.core.settlement.events import DebitChallenged, NodeDemanded
from ledger.core.values.ids import Address, Digest
from ledger.store.access.tables import VoucherRow
from ledger.store.session import change, insert_once
from ledger.store.settlement.tables import ChallengeRow


def put(session: Session, asked: DebitChallenged | NodeDemanded) -> None:
    """Mirror a challenge; the same log again changes nothing."""
    row: dict[str, object] = {"key": asked.key, "lane": asked.lane, "batch": asked.id, "deadline": asked.deadline}
    if isinstance(asked, DebitChallenged):
        row |= {"account": asked.account, "cumulative": asked.cumulative, "tree": 2, "index": asked.index, "depth": 0}
    else:
        row |= {"node": asked.node, "tree": asked.tree, "index": asked.index, "depth": asked.depth, "cumulative": 0}
    insert_once(session, ChallengeRow, row)


def close(session: Session, key: Digest) -> None:
    """Record that a challenge was answered."""
    change(session, update(ChallengeRow).where(col(ChallengeRow.key) == key).values(answered=True))


def unanswered(session: Session, lane: int) -> list[DebitChallenged | NodeDemanded]:
    """Challenges of a lane that wait for an answer, the most urgent first."""
    query = select(ChallengeRow).where(col(ChallengeRow.lane) == lane, col(ChallengeRow.answered).is_(False))
    rows = session.exec(query.order_by(col(ChallengeRow.deadline)).execution_options(populate_existing=True))
    return [_value(row) for row in rows]


def _value(row: ChallengeRow) -> DebitChallenged | NodeDemanded:
    if row.node is None:
        assert row.account is not None, "a challenged debit has an account"
        account, key = Address(row.account), Digest(row.key)
        return DebitChallenged(row.lane, row.batch, key, row.index, account, row.cumulative, row.deadline)
    node = Digest(row.node)
    return NodeDemanded(row.lane, row.batch, Digest(row.key), row.tree, node, row.index, row.depth, row.deadline)


@dataclass(frozen=True, slots=True)
class Mandate:
    """The highest voucher an account signed."""

    cum_max: int
    signature: bytes


def mandate(session: Session, lane: int, account: Address) -> Mandate | None:
    """The voucher that answers a challenged debit, if the account signed one."""
    row = session.get(VoucherRow, (lane, account), populate_existing=True)
    return Mandate(row.cum_max, row.signature) if row else None
