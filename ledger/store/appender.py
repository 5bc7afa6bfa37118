"""Appending to a gateway's journal: one implicit transaction, two round trips, whatever the number of receipts.

A connection that appends holds an advisory lock named after its gateway for as long as it lives. So a gateway's
receipts are written by one process only, and whoever can take the lock knows that this gateway writes no more.
"""

import select
import struct
from collections.abc import Iterable, Mapping, Sequence

import psycopg
from psycopg import pq

from ledger.core.errors import Conflict, TollwayError, Unavailable
from ledger.core.ids import ZERO_DIGEST, Address
from ledger.core.keccak import Digest
from ledger.core.receipts import Receipt, fields
from ledger.core.segments import Segment

COLUMNS = (
    "call_id, parent, lane, gateway, seq, consumer, terms, epoch, calls, input_tokens, output_tokens, ms, byte_count,"
    " fuel, passed, price, charge, end_reason, ended_at, request_digest, response_digest, digest, signature, extra"
)
_COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_TAIL = b"\xff\xff"
_ROW = struct.Struct(">hi32si32siqi20siqi20si32s" + "iq" * 12 + "i32si32si32si65si")
"""A binary COPY row: the count of columns, then each column's length and value; `extra` follows as bytes."""


class RowRefused(TollwayError):
    """The database refused a row of a group, or the group as a whole. Nothing of it was written."""


class Taken(RowRefused):
    """A receipt for one of these calls exists already."""


def row(receipt: Receipt, digest: Digest, signature: bytes, extra: bytes) -> bytes:
    """One receipt as a binary COPY row."""
    f = fields(receipt)
    try:
        fixed = _ROW.pack(
            *(24, 32, f[0], 32, f[1], 8, f[2], 20, f[3], 8, f[4], 20, f[5], 32, f[6], 8, f[7], 8, f[8], 8, f[9]),
            *(8, f[10], 8, f[11], 8, f[12], 8, f[13], 8, f[14], 8, f[15], 8, f[16], 8, f[17], 8, f[18]),
            *(32, f[19], 32, f[20], 32, digest, 65, signature, len(extra)),
        )
    except struct.error as error:
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

    def append(self, segment: Segment, rows: Iterable[bytes], key_spending: Mapping[bytes, int]) -> None:
        """Write a segment, its rows and what keys with a budget spent: all of it or nothing, durable on return.

        Raises Taken when a call has a receipt already, RowRefused when the database refuses the rows for another
        reason, Unavailable when the connection is lost: then the segment may or may not be there, and `tail` will say.
        """
        statement = b"".join(
            (
                b"INSERT INTO segments (gateway, first, last, count, total, digest, previous) VALUES ('\\x%b', %d, %d,"
                b" %d, %d, '\\x%b', '\\x%b');"
                % (
                    *(segment.gateway.hex().encode(), segment.first, segment.last, segment.count, segment.total),
                    *(segment.digest.hex().encode(), segment.previous.hex().encode()),
                ),
                *(_spend(key, self._gateway, spent) for key, spent in sorted(key_spending.items())),
                b"COPY receipts (%b) FROM STDIN (FORMAT binary)" % COLUMNS.encode(),
            )
        )
        wire = self._connection.pgconn
        wire.send_query(statement)
        failure: bytes | None = None
        state = b""
        copied = False
        while (result := self._next(wire)) is not None:
            if result.status == pq.ExecStatus.COPY_IN and not copied:
                copied = True
                wire.put_copy_data(b"".join((_COPY_HEAD, *rows, _COPY_TAIL)))
                wire.put_copy_end()
            elif result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
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

    def _next(self, wire: pq.abc.PGconn) -> pq.abc.PGresult | None:
        """The next result, waiting on the socket without holding other threads up."""
        try:
            while True:
                if wire.flush() == 0 and not wire.is_busy():
                    return wire.get_result()
                select.select([wire.socket], [], [])
                wire.consume_input()
        except psycopg.OperationalError as error:
            raise Unavailable(f"the journal's database is gone: {error}") from error


def lock_number(gateway: Address) -> int:
    """The advisory lock that stands for a gateway's right to write."""
    return int.from_bytes(gateway[:8], "big", signed=True)


def _spend(key: bytes, gateway: Address, spent: int) -> bytes:
    return b"UPDATE key_allowances SET spent = spent + %d WHERE key = '\\x%b' AND gateway = '\\x%b';" % (
        spent,
        key.hex().encode(),
        gateway.hex().encode(),
    )
