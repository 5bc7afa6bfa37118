"""The last indexed block. Its timestamp is the network's time: epochs and windows follow it, not the wall clock."""

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.settlement.events import Block
from ledger.core.values.ids import Digest
from ledger.store.chain.tables import BlockRow, CursorRow

KEPT_BLOCKS = 512
_NAME = "chain"


def get(session: Session) -> Block | None:
    """The last indexed block, or None before the first."""
    row = session.get(CursorRow, _NAME, populate_existing=True)
    return Block(row.block, Digest(row.hash), row.timestamp) if row else None


def take(session: Session) -> bool:
    """Become the only indexer until the transaction ends; False when another is at it."""
    return bool(session.execute(text("SELECT pg_try_advisory_xact_lock(hashtextextended('indexer', 7))")).scalar_one())


def advance(session: Session, block: Block) -> None:
    """`block` is indexed now; its hash is kept to notice a reorganisation."""
    values = {"name": _NAME, "block": block.number, "hash": block.hash, "timestamp": block.timestamp}
    session.execute(
        insert(CursorRow).values(values).on_conflict_do_update(index_elements=[col(CursorRow.name)], set_=values)
    )
    row = {"number": block.number, "hash": block.hash}
    session.execute(insert(BlockRow).values(row).on_conflict_do_update(index_elements=[col(BlockRow.number)], set_=row))
    session.execute(text("DELETE FROM blocks WHERE number < :floor"), {"floor": block.number - KEPT_BLOCKS})


def forget_after(session: Session, number: int) -> None:
    """Blocks above `number` are gone."""
    session.execute(text("DELETE FROM blocks WHERE number > :number"), {"number": number})


def hashes(session: Session) -> list[tuple[int, Digest]]:
    """Recently indexed blocks with the hashes they had, newest first."""
    rows = session.exec(select(BlockRow).order_by(col(BlockRow.number).desc()))
    return [(row.number, Digest(row.hash)) for row in rows]
