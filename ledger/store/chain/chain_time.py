"""The network's time: the last indexed block's, plus the time since it was indexed. Never the wall clock's date.

Epochs and windows follow the block's own time, which only grows block by block. What needs a finer clock, as a
receipt's end, takes `now`.
"""

from sqlalchemy import delete
from sqlmodel import Session, col, select

from ledger.core.settlement.events import Block
from ledger.core.values.ids import Digest
from ledger.store.chain.tables import BlockRow, CursorRow
from ledger.store.session import change, try_lock, upsert

KEPT_BLOCKS = 512
_NAME = "chain"


def get(session: Session) -> Block | None:
    """The last indexed block, or None before the first."""
    row = session.get(CursorRow, _NAME, populate_existing=True)
    return Block(row.block, Digest(row.hash), row.timestamp) if row else None


def now(session: Session, wall: int) -> int:
    """The network's time in ms, when the wall clock says `wall` (ms). Without a chain it is the wall clock's."""
    row = session.get(CursorRow, _NAME, populate_existing=True)
    return row.timestamp * 1_000 + max(0, wall - row.indexed_at) if row else wall


def indexed_at(session: Session) -> int | None:
    """When the last block was indexed, by the wall clock in ms; None before the first."""
    row = session.get(CursorRow, _NAME, populate_existing=True)
    return row.indexed_at if row else None


def take(session: Session) -> bool:
    """Become the only indexer until the transaction ends. False when there is another."""
    return try_lock(session, "indexer")


def advance(session: Session, block: Block, wall: int) -> None:
    """Record that `block` is indexed now (`wall`, ms), and its hash, by which a reorganisation is noticed."""
    cursor = {"name": _NAME, "block": block.number, "hash": block.hash, "timestamp": block.timestamp}
    cursor["indexed_at"] = wall
    upsert(session, CursorRow, cursor)
    upsert(session, BlockRow, {"number": block.number, "hash": block.hash})
    change(session, delete(BlockRow).where(col(BlockRow.number) < block.number - KEPT_BLOCKS))


def forget_after(session: Session, number: int) -> None:
    """Forget blocks above `number`: the chain no longer has them."""
    change(session, delete(BlockRow).where(col(BlockRow.number) > number))


def hashes(session: Session) -> list[tuple[int, Digest]]:
    """Recently indexed blocks with the hashes they had, newest first."""
    rows = session.exec(select(BlockRow).order_by(col(BlockRow.number).desc()))
    return [(row.number, Digest(row.hash)) for row in rows]
