"""Locks of calls, which the gateways of a lane share: of equal calls that arrive at once, one is made.

Each function is one statement, or can be repeated. A lock counts while the run of the gateway that has it shows that it
is alive, by the database's clock. Then another run may take it over, and the first one writes no receipt
(`appender.append`). A lock that is lost costs a second node, never a second charge: a call has one receipt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import sqlalchemy
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    LargeBinary,
    TableValuedAlias,
    and_,
    cast,
    column,
    delete,
    func,
    literal,
    or_,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.values.ids import Address, Digest, Lane
from ledger.store.receipts import receipts
from ledger.store.receipts.receipts import Signed
from ledger.store.receipts.tables import CallLockRow, HeartbeatRow
from ledger.store.session import change, upsert

SILENT_MS = 10_000
"""A gateway that was not seen for so long is dead, for its locks."""
FORGOTTEN_MS = 3_600_000
"""What a gateway left behind is deleted when it was not seen for so long: no call takes an hour."""


@dataclass(frozen=True, slots=True)
class GatewayRun:
    """One run of a gateway's process. `boot` is a number that no other run has."""

    lane: Lane
    gateway: Address
    boot: bytes


class Refused(Enum):
    """Why a call is not locked: an equal one is under way, or another request with its key is."""

    running = "running"
    mismatch = "mismatch"


Taking = Signed | Refused | None
"""What became of a lock that was asked for: it is ours (None), the call has its receipt already, or it is refused."""


def show_alive(session: Session, run: GatewayRun) -> None:
    """Write the gateway's heartbeat."""
    row = {"lane": run.lane, "gateway": run.gateway, "boot": run.boot, "seen_at": _now()}
    upsert(session, HeartbeatRow, row)


def take(session: Session, run: GatewayRun, wanted: Mapping[Digest, bytes]) -> dict[Digest, Taking]:
    """Lock each of these calls, given with their fingerprints, unless it is locked by a living gateway, or charged.

    A lock of our own that is asked for again was left behind: it is ours.
    """
    taken = _insert(session, run, wanted)
    found: dict[Digest, Taking] = {}
    missed = [call for call in wanted if call not in taken]
    if missed:
        known = _fingerprints(session, run.lane, missed)
        taken |= _take_over(session, run, {call: wanted[call] for call in missed})
        for call in missed:
            found[call] = Refused.running if known.get(call, wanted[call]) == wanted[call] else Refused.mismatch
    charged = receipts.by_calls(session, run.lane, list(taken)) if taken else {}
    if charged:
        release(session, run, list(charged))
    return found | {call: charged.get(call) for call in taken}


def release(session: Session, run: GatewayRun, calls: Sequence[Digest]) -> None:
    """End those locks of calls that this run has."""
    change(session, delete(CallLockRow).where(_of(run), col(CallLockRow.call).in_(calls)))


def begin(session: Session, run: GatewayRun) -> None:
    """Show a run that begins, and end the locks of the gateway's earlier ones: those are over."""
    show_alive(session, run)
    change(
        session,
        delete(CallLockRow).filter_by(lane=run.lane, gateway=run.gateway).where(col(CallLockRow.boot) != run.boot),
    )


def end(session: Session, run: GatewayRun) -> None:
    """End all locks of a run that stops, and its heartbeat."""
    change(session, delete(CallLockRow).where(_of(run)))
    change(session, delete(HeartbeatRow).filter_by(lane=run.lane, gateway=run.gateway, boot=run.boot))


def ages(session: Session, lane: Lane) -> dict[Address, int]:
    """How long ago each gateway was seen that did not stop by itself, in ms."""
    query = select(HeartbeatRow.gateway, _now() - HeartbeatRow.seen_at).where(col(HeartbeatRow.lane) == lane)
    return {Address(gateway): int(age) for gateway, age in session.exec(query.order_by(col(HeartbeatRow.gateway)))}


def clean(session: Session, lane: Lane) -> None:
    """Delete what gateways left behind that do not come back."""
    forgotten = delete(HeartbeatRow).filter_by(lane=lane).where(col(HeartbeatRow.seen_at) < _now() - FORGOTTEN_MS)
    change(session, forgotten)
    seen = select(HeartbeatRow.boot).where(_is_of_lock())
    change(session, delete(CallLockRow).filter_by(lane=lane).where(~seen.exists()))


def _insert(session: Session, run: GatewayRun, wanted: Mapping[Digest, bytes]) -> set[Digest]:
    """The calls among `wanted` that nobody had locked. In order, so that two gateways never wait for each other."""
    calls = sorted(wanted)
    row = _rows(calls, [wanted[call] for call in calls])
    known = select(CallLockRow.call).filter_by(lane=run.lane).where(col(CallLockRow.call) == row.c.call)
    lane, gateway, boot = (cast(value, LargeBinary) for value in (run.lane, run.gateway, run.boot))
    values = sqlalchemy.select(lane, row.c.call, row.c.fingerprint, gateway, boot).where(~known.exists())
    columns = ["lane", "call", "fingerprint", "gateway", "boot"]
    statement = insert(CallLockRow).from_select(columns, values).on_conflict_do_nothing()
    found = session.execute(statement.returning(col(CallLockRow.call)))
    return {Digest(call) for (call,) in found}


def _fingerprints(session: Session, lane: Lane, calls: Sequence[Digest]) -> dict[Digest, bytes]:
    query = select(CallLockRow.call, CallLockRow.fingerprint).filter_by(lane=lane)
    return {Digest(call): known for call, known in session.exec(query.where(col(CallLockRow.call).in_(calls)))}


def _take_over(session: Session, run: GatewayRun, wanted: Mapping[Digest, bytes]) -> set[Digest]:
    """The calls among `wanted` whose lock was of a dead gateway, or our own. A row that is being changed is left: its
    gateway writes the receipt, or another one was first.
    """
    row = _rows(list(wanted), list(wanted.values()))
    seen = select(HeartbeatRow.boot).where(_is_of_lock(), col(HeartbeatRow.seen_at) > _now() - SILENT_MS)
    asked = select(CallLockRow.call).filter_by(lane=run.lane).where(col(CallLockRow.call).in_(list(wanted)))
    free = asked.where(or_(_of(run), ~seen.exists())).with_for_update(skip_locked=True).cte("free")
    statement = (
        update(CallLockRow)
        .where(col(CallLockRow.lane) == run.lane, col(CallLockRow.call) == free.c.call, row.c.call == free.c.call)
        .values(fingerprint=row.c.fingerprint, gateway=run.gateway, boot=run.boot)
        .returning(col(CallLockRow.call))
    )
    found = session.execute(statement, execution_options={"synchronize_session": False})
    return {Digest(call) for (call,) in found}


def _rows(calls: Sequence[bytes], fingerprints: Sequence[bytes]) -> TableValuedAlias:
    """Calls and their fingerprints as rows."""
    columns = [literal(values, ARRAY(LargeBinary)) for values in (calls, fingerprints)]
    rows = func.unnest(*columns).table_valued(column("call", LargeBinary), column("fingerprint", LargeBinary))
    return rows.render_derived(name="wanted")


def _of(run: GatewayRun) -> ColumnElement[bool]:
    return and_(
        col(CallLockRow.lane) == run.lane,
        col(CallLockRow.gateway) == run.gateway,
        col(CallLockRow.boot) == run.boot,
    )


def _is_of_lock() -> ColumnElement[bool]:
    """Whether a heartbeat is that of the run that has a lock."""
    return and_(
        col(HeartbeatRow.lane) == col(CallLockRow.lane),
        col(HeartbeatRow.gateway) == col(CallLockRow.gateway),
        col(HeartbeatRow.boot) == col(CallLockRow.boot),
    )


def _now() -> ColumnElement[int]:
    """Now, in ms by the database's clock."""
    return cast(func.extract("epoch", func.clock_timestamp()) * 1_000, BigInteger)
