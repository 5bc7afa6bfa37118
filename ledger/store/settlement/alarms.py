"""Alarms: laws found broken. While one is not cleared, no batch is built, committed or published."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.values.hashes import Digest, keccak256
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


def sound(session: Session, alarm: Alarm, now: int) -> None:
    """Record an alarm. One that was cleared is active again."""
    row = asdict(alarm) | {"id": alarm.id, "at": now, "cleared_at": None}
    again = {"message": alarm.message, "cleared_at": None}
    change(session, insert(AlarmRow).values(row).on_conflict_do_update(index_elements=[col(AlarmRow.id)], set_=again))


def active(session: Session) -> list[Alarm]:
    """Alarms that are not cleared, oldest first."""
    rows = session.exec(select(AlarmRow).where(col(AlarmRow.cleared_at).is_(None)).order_by(col(AlarmRow.at)))
    return [value_of(Alarm, row) for row in rows]


def clear(session: Session, looked_at: Sequence[Alarm], now: int) -> None:
    """Clear alarms that a person has looked at. The next audit sounds what is still wrong."""
    these = col(AlarmRow.id).in_([alarm.id for alarm in looked_at])
    change(session, update(AlarmRow).where(these).values(cleared_at=now))
