"""Alarms: laws found broken. While one is not cleared, no batch is built, committed or published."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.values.hashes import Digest, keccak256
from ledger.core.values.ids import Lane
from ledger.store.session import change, value_of
from ledger.store.settlement.tables import AlarmRow


@dataclass(frozen=True, slots=True)
class Alarm:
    """A broken law, what is wrong, and the first account and receipt where it shows."""

    law: str
    message: str
    account: str | None = None
    receipt: str | None = None

    @property
    def id(self) -> Digest:
        """One alarm per law, account and receipt, however often it is found."""
        return keccak256("|".join((self.law, self.account or "", self.receipt or "")).encode())


def sound(session: Session, lane: Lane, alarm: Alarm, now: int) -> None:
    """Record an alarm. One that was cleared is active again."""
    row = asdict(alarm) | {"lane": lane, "id": alarm.id, "at": now, "cleared_at": None}
    again = {"message": alarm.message, "cleared_at": None}
    keys = [col(AlarmRow.lane), col(AlarmRow.id)]
    change(session, insert(AlarmRow).values(row).on_conflict_do_update(index_elements=keys, set_=again))


def active(session: Session, lane: Lane) -> list[Alarm]:
    """Alarms of a lane that are not cleared, oldest first."""
    query = select(AlarmRow).where(col(AlarmRow.lane) == lane, col(AlarmRow.cleared_at).is_(None))
    rows = session.exec(query.order_by(col(AlarmRow.at)))
    return [value_of(Alarm, row) for row in rows]


def end(session: Session, lane: Lane, law: str, now: int) -> None:
    """End the alarms of a law whose cause has been seen to be gone."""
    these = [col(AlarmRow.lane) == lane, col(AlarmRow.law) == law, col(AlarmRow.cleared_at).is_(None)]
    change(session, update(AlarmRow).where(*these).values(cleared_at=now))


def clear(session: Session, lane: Lane, looked_at: Sequence[Alarm], now: int) -> None:
    """Clear alarms that a person has looked at. The next audit sounds what is still wrong."""
    these = col(AlarmRow.id).in_([alarm.id for alarm in looked_at])
    change(session, update(AlarmRow).where(col(AlarmRow.lane) == lane, these).values(cleared_at=now))
