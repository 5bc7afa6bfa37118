"""Appending to a gateway's receipt log: one implicit transaction and one round trip for any number of receipts.

A connection that appends holds an advisory lock named after its gateway as long as it lives. So only one process writes
a gateway's receipts, and a worker that can take the lock knows that the gateway has stopped.

How an append waits. `append` is a generator that never blocks: it works until it needs the socket, and yields. Its
caller waits until the socket is ready and resumes it. So the same code runs on an event loop (gateway.payment) and in a
plain function (`finish`). It goes through four states:

    queued    the statements and a sync are in libpq's buffer; nothing may have been sent
    sending   `flush` sends. While bytes are left it yields True: wait until the socket can be read or written.
              Answers are read meanwhile, else both sides could wait for each other with full buffers
    reading   all is sent. It yields False: wait until the socket can be read. Then `consume_input`, and `get_result`:
              one result for each statement, then None for each, then PIPELINE_SYNC
    done      the sync ends pipeline mode, and PostgreSQL has committed all statements or none. It returns, or raises
              what the first failed statement reported

A caller that stops resuming it must close the connection: there may be answers left that belong to no later append.
psycopg's own pipeline was tried instead and costs twice the CPU: docs/decisions has the figures.
"""

import select
import struct
from collections.abc import Generator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, LiteralString, TypeVar, cast

import psycopg
from psycopg import pq

from ledger.core.receipts.receipt import Receipt, pack, unpack
from ledger.core.receipts.segments import Segment
from ledger.core.values.errors import Conflict, Rejected, TollwayError, Unavailable
from ledger.core.values.hashes import Digest
from ledger.core.values.ids import ZERO_DIGEST, Address, Lane, to_hex
from ledger.store.receipts.receipts import Signed

COLUMNS = "seq, charge, ended_at, digest, signature, record, extra"
"""The columns that are written; the database cuts the others from `record`."""
Row = tuple[bytes, bytes, bytes]
"""A row in binary: the first five columns, each its length and value; the record; the bytes of `extra`."""
Spent = tuple[str, int, str]
"""Whose allowance was spent: the key's id, the day, the model."""
_HEAD = struct.Struct(">iqiqiqi32si65s")
_SIZES = (8, 8, 8, 32, 65)
_STARTS = tuple(accumulate((4 + size for size in _SIZES), initial=0))
_CUTS = tuple(slice(start, end) for start, end in pairwise(_STARTS))
"""The columns of a row's first part."""
_LENGTH = struct.Struct(">i")
_INT8, _BYTEA = 20, 17
_KINDS = (_INT8, _INT8, _INT8, _BYTEA, _BYTEA, _BYTEA, _BYTEA)
_ARRAY = struct.Struct(">5i")
_NAMES = tuple("bigint" if kind == _INT8 else "bytea" for kind in _KINDS)
_ARRAYS = ", ".join(f"${n}::{name}[]" for n, name in enumerate(_NAMES, 1))
_VALUES = ", ".join(f"${n}::{name}" for n, name in enumerate(_NAMES, 9))
_INT = struct.Struct(">q")
_SEGMENT = (
    "INSERT INTO segments (lane, gateway, first, last, count, total, digest, previous)"
    " VALUES ($1::bytea, $2::bytea, $3::bigint, $4::bigint, $5::bigint, $6::bigint, $7::bytea, $8::bytea)"
)
_STATEMENTS = {
    b"segment": _SEGMENT,
    b"single": f"WITH written AS ({_SEGMENT}) INSERT INTO receipts ({COLUMNS}) VALUES ({_VALUES})",
    b"spend": "UPDATE key_allowances SET spent = spent + $1::bigint"
    " WHERE lane = $2::bytea AND key = $3::text AND gateway = $4::bytea AND day = $5::bigint AND model = $6::text",
    b"unlock": "WITH ended AS (DELETE FROM call_locks WHERE lane = $1::bytea AND call = ANY($2::bytea[])"
    " AND gateway = $3::bytea AND boot = $4::bytea RETURNING call) SELECT 1 / (count(*) = $5::bigint)::int FROM ended",
    b"receipts": f"INSERT INTO receipts ({COLUMNS}) SELECT * FROM unnest({_ARRAYS})",
}

_GOES_ON = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK, pq.ExecStatus.PIPELINE_ABORTED)
_LOST = (b"08", b"53", b"57", b"58")
"""Classes of SQLSTATE by which the server says that it cannot write now: no connection, no disk or memory left, a
shutdown, an error of the system. They say nothing of the rows.
"""
_DIVISION_BY_ZERO = b"22012"
"""What `unlock` fails with, and all that is in its transaction, unless each call's lock was there to end."""

T = TypeVar("T")
Steps = Generator[bool, None, T]
"""Work that yields where it must wait for the socket: True while it also waits to send (see the module's docstring)."""


class RowRefused(TollwayError):
    """The database refused a row or the whole group. Nothing of the group is written."""


class Taken(RowRefused):
    """A receipt for one of these calls exists already."""


class Unlocked(RowRefused):
    """One of these calls is not locked for this run of the gateway any more."""


def row(receipt: Receipt, digest: Digest, signature: bytes, extra: bytes) -> Row:
    """One receipt as a binary row."""
    r = receipt
    try:
        head = _HEAD.pack(8, r.seq, 8, r.charge, 8, r.ended_at, 32, digest, 65, signature)
        return head, pack(r), extra
    except (struct.error, Rejected) as error:
        raise RowRefused(f"a receipt does not fit its row: {error}") from error


class Appender:
    """The one connection that writes a gateway's receipt log. Raises Unavailable when it is lost.

    `boot` names this run of the gateway: calls that are locked are locked for it.
    """

    def __init__(self, url: str, gateway: Address, lane: Lane, boot: bytes = b"") -> None:
        self._lane, self._gateway, self._boot = lane, gateway, boot
        try:
            self._connection = psycopg.connect(url, autocommit=True, connect_timeout=5)
            with self._connection.cursor() as cursor:
                cursor.execute("SELECT pg_try_advisory_lock(%s)", (lock_number(gateway),))
                taken = cursor.fetchone()
                if taken != (True,):
                    self._connection.close()
                    raise Conflict(f"another process writes the receipt log of gateway 0x{gateway.hex()}")
                cursor.execute("SELECT lane FROM watermarks WHERE gateway = %s AND lane <> %s", (gateway, lane))
                other = cursor.fetchone()
                if other is not None:
                    self._connection.close()
                    raise Conflict(f"gateway {to_hex(gateway)} writes for lane {to_hex(other[0])}, not {to_hex(lane)}")
                cursor.execute(
                    "INSERT INTO watermarks (lane, gateway, posted_seq, batched_seq) VALUES (%s, %s, 0, 0)"
                    " ON CONFLICT DO NOTHING",
                    (lane, gateway),
                )
            for name, statement in _STATEMENTS.items():
                self._connection.pgconn.prepare(name, statement.encode())
        except psycopg.OperationalError as error:
            raise Unavailable(f"the receipt log's database cannot be reached: {error}") from error

    def tail(self) -> tuple[int, Digest]:
        """The last sequence number written and the last segment's digest: 0 and zero for a new gateway."""
        query = "SELECT last, digest FROM segments WHERE lane = %s AND gateway = %s ORDER BY first DESC LIMIT 1"
        found = self._read(query, self._lane, self._gateway)
        return (int(found[0][0]), Digest(bytes(found[0][1]))) if found else (0, ZERO_DIGEST)

    def written_after(self, seq: int) -> list[Signed]:
        """The receipts of the log after a sequence number, in order."""
        query = (
            "SELECT record, digest, signature, extra FROM receipts WHERE lane = %s AND gateway = %s AND seq > %s"
            " ORDER BY seq"
        )
        found = self._read(query, self._lane, self._gateway, seq)
        return [Signed(unpack(record), Digest(digest), signature, extra) for record, digest, signature, extra in found]

    def taken(self, call_ids: Sequence[bytes]) -> set[bytes]:
        """Which of these calls have a receipt already, of any gateway."""
        query = "SELECT call_id FROM receipts WHERE lane = %s AND call_id = ANY(%s)"
        return {bytes(call) for (call,) in self._read(query, self._lane, list(call_ids))}

    def locked(self, call_ids: Sequence[bytes]) -> set[bytes]:
        """Which of these calls are locked for this run of the gateway."""
        query = "SELECT call FROM call_locks WHERE lane = %s AND call = ANY(%s) AND gateway = %s AND boot = %s"
        return {bytes(call) for (call,) in self._read(query, self._lane, list(call_ids), self._gateway, self._boot)}

    def append(
        self, segment: Segment, rows: Sequence[Row], key_spending: Mapping[Spent, int], locks: Sequence[bytes] = ()
    ) -> Steps[None]:
        """Write a segment, its rows, and what keys with a budget spent, and end the locks of these calls: all or
        nothing, durable on return.

        Raises Unlocked when a call is not locked for us, Taken when one has a receipt already, RowRefused when the
        database refuses a row for another reason, Unavailable when the connection is lost or the server cannot write:
        then only `written_after` of a new connection tells what was written.
        """
        wire = self._connection.pgconn
        wire.enter_pipeline_mode()
        self._queue(wire, segment, rows, key_spending, locks)
        wire.pipeline_sync()
        failure: bytes | None = None
        state = b""
        while wire.status == pq.ConnStatus.OK:
            result = yield from self._next(wire)
            if result is None or result.status in _GOES_ON:
                continue
            if result.status == pq.ExecStatus.PIPELINE_SYNC:
                wire.exit_pipeline_mode()
                break
            failure, state = result.error_message, result.error_field(pq.DiagnosticField.SQLSTATE) or b""
        if wire.status != pq.ConnStatus.OK or state.startswith(_LOST):
            raise Unavailable(f"the receipt log's database cannot write: {_text(failure)}")
        if failure is not None:
            message = _text(failure)
            if state == _DIVISION_BY_ZERO:
                raise Unlocked("a call of this group is not locked for this gateway any more")
            if state == b"23505" and "call_id" in message:
                raise Taken(f"a call of this group has a receipt already: {message}")
            raise RowRefused(f"the receipt log refused a group: {message}", sqlstate=state.decode())

    def close(self) -> None:
        """Give up the lock."""
        self._connection.close()

    @property
    def socket(self) -> int:
        """The socket to wait for between steps."""
        return self._connection.pgconn.socket

    def finish(self, steps: Steps[T]) -> T:
        """Run steps to their end, blocking while they wait."""
        try:
            while True:
                unsent = next(steps)
                select.select([self.socket], [self.socket] if unsent else [], [])
        except StopIteration as done:
            return cast(T, done.value)

    def _read(self, query: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        try:
            with self._connection.cursor() as cursor:
                return cursor.execute(query, values).fetchall()
        except psycopg.OperationalError as error:
            raise Unavailable(f"the receipt log's database is gone: {error}") from error

    def _queue(
        self,
        wire: pq.abc.PGconn,
        segment: Segment,
        rows: Sequence[Row],
        key_spending: Mapping[Spent, int],
        locks: Sequence[bytes],
    ) -> None:
        numbers = map(_INT.pack, (segment.first, segment.last, segment.count, segment.total))
        head = (self._lane, segment.gateway, *numbers, segment.digest, segment.previous)
        for (key, day, model), spent in sorted(key_spending.items()):
            allowance = (key.encode(), self._gateway, _INT.pack(day), model.encode())
            _send(wire, b"spend", (_INT.pack(spent), self._lane, *allowance))
        if locks:
            ended = (_array(_BYTEA, locks), self._gateway, self._boot, _INT.pack(len(locks)))
            _send(wire, b"unlock", (self._lane, *ended))
        if len(rows) == 1:  # one statement without arrays takes 0.6 of the time
            fixed, record, extra = rows[0]
            _send(wire, b"single", (*head, *(fixed[cut][4:] for cut in _CUTS), record, extra))
        else:
            _send(wire, b"segment", head)
            _send(wire, b"receipts", _arrays(rows))

    def _next(self, wire: pq.abc.PGconn) -> Steps[pq.abc.PGresult | None]:
        """The next result; None after the last result of each statement."""
        try:
            while True:
                unsent = bool(wire.flush())
                if not unsent and not wire.is_busy():
                    return wire.get_result()
                yield unsent
                wire.consume_input()
        except psycopg.OperationalError as error:
            raise Unavailable(f"the receipt log's database is gone: {error}") from error


def lock_number(gateway: Address) -> int:
    """The advisory lock of the process that may write a gateway's receipt log."""
    return int.from_bytes(gateway[:8], "big", signed=True)


def _text(message: bytes | None) -> str:
    return (message or b"").decode(errors="replace").strip()


def _send(wire: pq.abc.PGconn, statement: bytes, values: Sequence[bytes]) -> None:
    wire.send_query_prepared(statement, values, [pq.Format.BINARY] * len(values), pq.Format.BINARY)


def _array(kind: int, values: Sequence[bytes]) -> bytes:
    """One array of values of any length."""
    parts = [part for value in values for part in (_LENGTH.pack(len(value)), value)]
    return b"".join((_ARRAY.pack(1, 0, kind, len(values), 1), *parts))


def _arrays(rows: Sequence[Row]) -> list[bytes]:
    """One array a column, in PostgreSQL's binary form: dimensions, nulls, type, length, lower bound, elements."""
    columns = [[row[0][cut] for row in rows] for cut in _CUTS]
    columns += [[part for row in rows for part in (_LENGTH.pack(len(row[at])), row[at])] for at in (1, 2)]
    return [
        b"".join((_ARRAY.pack(1, 0, kind, len(rows), 1), *column)) for kind, column in zip(_KINDS, columns, strict=True)
    ]
