"""Appending to a gateway's journal: one implicit transaction, one round trip, whatever the number of receipts.

A connection that appends holds an advisory lock named after its gateway for as long as it lives. So a gateway's
receipts are written by one process only, and whoever can take the lock knows that this gateway writes no more.
"""

import select
import struct
from collections.abc import Generator, Mapping, Sequence
from itertools import accumulate
from typing import TypeVar, cast

import psycopg
from psycopg import pq

from ledger.core.receipts.receipt import RECORD, Receipt, pack
from ledger.core.receipts.segments import Segment
from ledger.core.values.errors import Conflict, Rejected, TollwayError, Unavailable
from ledger.core.values.hashes import Digest
from ledger.core.values.ids import ZERO_DIGEST, Address

COLUMNS = "seq, charge, ended_at, record, digest, signature, extra"
"""What is written of a receipt; the database cuts out what else it is searched by."""
_ROW = struct.Struct(f">iqiqiqi{RECORD.size}si32si65si")
"""A binary row: each column's length and value; `extra` follows as bytes. Cut at `_CUTS`, rows become arrays."""
_SIZES = (8, 8, 8, RECORD.size, 32, 65)
_STARTS = tuple(accumulate((4 + size for size in _SIZES), initial=0))
_CUTS = tuple(slice(start, end) for start, end in zip(_STARTS, (*_STARTS[1:], None), strict=True))
_INT8, _BYTEA = 20, 17
_KINDS = tuple(_INT8 if size == 8 else _BYTEA for size in (*_SIZES, 0))
_ARRAY = struct.Struct(">5i")
_NAMES = tuple("bigint" if kind == _INT8 else "bytea" for kind in _KINDS)
_ARRAYS = ", ".join(f"${n}::{name}[]" for n, name in enumerate(_NAMES, 1))
_VALUES = ", ".join(f"${n}::{name}" for n, name in enumerate(_NAMES, 8))
_INT = struct.Struct(">q")
_SEGMENT = (
    "INSERT INTO segments (gateway, first, last, count, total, digest, previous)"
    " VALUES ($1::bytea, $2::bigint, $3::bigint, $4::bigint, $5::bigint, $6::bytea, $7::bytea)"
)
_STATEMENTS = {
    b"segment": _SEGMENT,
    b"single": f"WITH written AS ({_SEGMENT}) INSERT INTO receipts ({COLUMNS}) VALUES ({_VALUES})",
    b"spend": "UPDATE key_allowances SET spent = spent + $1::bigint WHERE key = $2::bytea AND gateway = $3::bytea",
    b"receipts": f"INSERT INTO receipts ({COLUMNS}) SELECT * FROM unnest({_ARRAYS})",
}

T = TypeVar("T")
Steps = Generator[bool, None, T]
"""Work on the connection, cut where it must wait for the socket: True when there is more to send, too. Who drives the
steps decides how to wait, so the same work runs on an event loop and in a plain function."""


class RowRefused(TollwayError):
    """The database refused a row of a group, or the group as a whole. Nothing of it was written."""


class Taken(RowRefused):
    """A receipt for one of these calls exists already."""


def row(receipt: Receipt, digest: Digest, signature: bytes, extra: bytes) -> bytes:
    """One receipt as a binary row."""
    r = receipt
    try:
        fixed = _ROW.pack(
            *(8, r.seq, 8, r.charge, 8, r.ended_at, RECORD.size, pack(r), 32, digest, 65, signature, len(extra))
        )
    except (struct.error, Rejected) as error:
        raise RowRefused(f"a receipt does not fit its row: {error}") from error
    return fixed + extra


class Appender:
    """The one connection that writes a gateway's journal. Raises Unavailable when it is lost."""

    def __init__(self, url: str, gateway: Address, lane: int) -> None:
        self._gateway = gateway
        try:
            self._connection = psycopg.connect(url, autocommit=True, connect_timeout=5)
            with self._connection.cursor() as cursor:
                cursor.execute("SELECT pg_try_advisory_lock(%s)", (lock_number(gateway),))
                taken = cursor.fetchone()
                if taken != (True,):
                    self._connection.close()
                    raise Conflict(f"another process writes the journal of gateway 0x{gateway.hex()}")
                cursor.execute(
                    "INSERT INTO watermarks (gateway, lane, posted_seq, batched_seq) VALUES (%s, %s, 0, 0)"
                    " ON CONFLICT DO NOTHING",
                    (gateway, lane),
                )
                cursor.execute("SELECT lane FROM watermarks WHERE gateway = %s", (gateway,))
                known = cursor.fetchone()
                if known != (lane,):
                    self._connection.close()
                    raise Conflict(f"gateway 0x{gateway.hex()} writes for lane {known and known[0]}, not {lane}")
            for name, statement in _STATEMENTS.items():
                self._connection.pgconn.prepare(name, statement.encode())
        except psycopg.OperationalError as error:
            raise Unavailable(f"the journal's database cannot be reached: {error}") from error

    def tail(self) -> tuple[int, Digest]:
        """The last sequence number written and the last segment's digest: 0 and zero for a new gateway."""
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(
                    "SELECT last, digest FROM segments WHERE gateway = %s ORDER BY first DESC LIMIT 1", (self._gateway,)
                )
                found = cursor.fetchone()
        except psycopg.OperationalError as error:
            raise Unavailable(f"the journal's database is gone: {error}") from error
        return (int(found[0]), Digest(bytes(found[1]))) if found else (0, ZERO_DIGEST)

    def taken(self, call_ids: Sequence[bytes]) -> set[bytes]:
        """Which of these calls have a receipt already, whoever wrote it."""
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT call_id FROM receipts WHERE call_id = ANY(%s)", (list(call_ids),))
            return {bytes(found[0]) for found in cursor}

    def append(self, segment: Segment, rows: Sequence[bytes], key_spending: Mapping[bytes, int]) -> Steps[None]:
        """Write a segment, its rows and what keys with a budget spent: all of it or nothing, durable on return.

        Raises Taken when a call has a receipt already, RowRefused when the database refuses the rows for another
        reason, Unavailable when the connection is lost: then the segment may or may not be there, and `tail` will say.
        """
        numbers = map(_INT.pack, (segment.first, segment.last, segment.count, segment.total))
        wire = self._connection.pgconn
        wire.enter_pipeline_mode()
        head = (segment.gateway, *numbers, segment.digest, segment.previous)
        for key, spent in sorted(key_spending.items()):
            _send(wire, b"spend", (_INT.pack(spent), key, self._gateway))
        if len(rows) == 1:  # a call that waits alone: one statement, no arrays, 0.6 of the time
            _send(wire, b"single", (*head, *(rows[0][cut][4:] for cut in _CUTS)))
        else:
            _send(wire, b"segment", head)
            _send(wire, b"receipts", _arrays(rows))
        wire.pipeline_sync()
        failure: bytes | None = None
        state = b""
        while wire.status == pq.ConnStatus.OK:
            result = yield from self._next(wire)
            if result is None or result.status in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.PIPELINE_ABORTED):
                continue
            if result.status == pq.ExecStatus.PIPELINE_SYNC:
                wire.exit_pipeline_mode()
                break
            failure, state = result.error_message, result.error_field(pq.DiagnosticField.SQLSTATE) or b""
        if wire.status != pq.ConnStatus.OK or state.startswith((b"57", b"08")):
            raise Unavailable(f"the journal's database is gone: {(failure or b'').decode(errors='replace').strip()}")
        if failure is not None:
            message = failure.decode(errors="replace").strip()
            if state == b"23505" and "call_id" in message:
                raise Taken(f"a call of this group has a receipt already: {message}")
            raise RowRefused(f"the journal refused a group: {message}", sqlstate=state.decode())

    def alive(self) -> bool:
        """One round trip to see whether the connection, and with it the lock, still stands."""
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def close(self) -> None:
        """Give up the lock."""
        self._connection.close()

    @property
    def socket(self) -> int:
        """What to wait on between steps."""
        return self._connection.pgconn.socket

    def finish(self, steps: Steps[T]) -> T:
        """Drive steps by waiting here."""
        try:
            while True:
                unsent = next(steps)
                select.select([self.socket], [self.socket] if unsent else [], [])
        except StopIteration as done:
            return cast(T, done.value)

    def _next(self, wire: pq.abc.PGconn) -> Steps[pq.abc.PGresult | None]:
        """The next result."""
        try:
            while True:
                unsent = bool(wire.flush())
                if not unsent and not wire.is_busy():
                    return wire.get_result()
                yield unsent
                wire.consume_input()
        except psycopg.OperationalError as error:
            raise Unavailable(f"the journal's database is gone: {error}") from error


def lock_number(gateway: Address) -> int:
    """The advisory lock that stands for a gateway's right to write."""
    return int.from_bytes(gateway[:8], "big", signed=True)


def _send(wire: pq.abc.PGconn, statement: bytes, values: Sequence[bytes]) -> None:
    wire.send_query_prepared(statement, values, [pq.Format.BINARY] * len(values), pq.Format.BINARY)


def _arrays(rows: Sequence[bytes]) -> list[bytes]:
    """Rows turned into one array a column, as PostgreSQL reads arrays: dimensions, nulls, type, length, lower bound."""
    return [
        b"".join((_ARRAY.pack(1, 0, kind, len(rows), 1), *(row[cut] for row in rows)))
        for kind, cut in zip(_KINDS, _CUTS, strict=True)
    ]
