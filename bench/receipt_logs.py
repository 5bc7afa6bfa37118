"""A receipt log to measure with: any number of priced, digested receipts, made by the million and copied in as rows.

Twenty payees and a thousand consumers over a hundred terms of seven lines, in segments of 512, as group commits make
them. Signatures are noise: nothing measured here reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import psycopg
from sqlmodel import Session

from bench.split import some_terms, some_units
from ledger.core.accounts import movements
from ledger.core.catalog.bids import encode, terms_id
from ledger.core.kernels import split
from ledger.core.kernels.receipt_hashes import struct_hashes
from ledger.core.receipts.receipt import COUNT_SIZE, RECORD_HEAD
from ledger.core.receipts.record import FIELDS_SIZE, RECEIPT_DTYPE
from ledger.core.receipts.segments import link
from ledger.core.values.ids import ZERO_DIGEST, Address, Lane
from ledger.store.chain import lanes, parties
from ledger.store.money import postings
from ledger.store.receipts import terms, watermarks
from ledger.store.receipts.appender import COLUMNS

CONSUMERS = 1_000
SEGMENT = 512
MAKE = 1 << 18
"""Receipts made at once."""
TERMS = [some_terms(number) for number in range(100)]
_NAMES = np.frombuffer(b"".join(terms_id(encode(t)) for t in TERMS), np.uint8).reshape(-1, 32)
_KINDS = {
    "seq": ">i8",
    "charge": ">i8",
    "ended_at": ">i8",
    "digest": "32u1",
    "signature": "65u1",
    "record": f"{RECORD_HEAD.size + 4 * COUNT_SIZE}u1",
}
_ROW = np.dtype(
    [("columns", ">i2")]
    + [field for name, kind in _KINDS.items() for field in ((f"{name}_size", ">i4"), (name, kind))]
    + [("extra_size", ">i4")]
)
"""A row of a binary COPY: what `store.appender` writes of a receipt, and nothing beside it."""


@dataclass(frozen=True)
class Made:
    """Some consecutive receipts: rows of a binary COPY, and their segments."""

    rows: npt.NDArray[np.void]
    segments: list[tuple[object, ...]]


def consumer(number: int) -> Address:
    """The address of a consumer."""
    return Address(b"\xc0" * 16 + number.to_bytes(4, "big"))


def lane_of(number: int) -> Lane:
    """A lane to measure in."""
    return Lane(number.to_bytes(20, "big"))


def gateway_of(lane: Lane) -> Address:
    """The one gateway of a lane."""
    return Address(b"\x90" * 16 + lane[-4:])


def make(lane: Lane, count: int) -> Iterator[Made]:
    """`count` receipts of a lane's gateway, a quarter of a million at a time."""
    table, _ = split.build_table(TERMS)
    gateway, previous = gateway_of(lane), ZERO_DIGEST
    for start in range(1, 1 + count, MAKE):
        records = _records(table, lane, start, min(MAKE, 1 + count - start))
        digests = struct_hashes(records)
        charges, body = records["charge"].tolist(), digests.tobytes()
        rows: list[tuple[object, ...]] = []
        for at in range(0, len(records), SEGMENT):
            end = min(at + SEGMENT, len(records))
            made = link(gateway, start + at, body[32 * at : 32 * end], sum(charges[at:end]), previous)
            rows.append((lane, gateway, made.first, made.last, made.count, made.total, made.digest, previous))
            previous = made.digest
        yield Made(_copy_rows(records, digests), rows)


def _records(table: split.Table, lane: Lane, start: int, count: int) -> npt.NDArray[np.void]:
    chance = np.random.default_rng((int.from_bytes(lane, "big"), start))
    chosen = chance.integers(0, len(TERMS), count)
    units = some_units(count, chance)
    subcalls, price, charge = (np.zeros(count, np.uint64) for _ in range(3))
    amounts, status = np.zeros((count, 7), np.uint64), np.zeros(count, np.int64)
    split.split_amounts(table, chosen, units, subcalls, price, charge, amounts, status)
    records = np.zeros(count, RECEIPT_DTYPE)
    records["call_id"] = chance.integers(0, 256, (count, 32), np.uint8)
    records["lane"] = np.frombuffer(lane, np.uint8)
    records["seq"] = np.arange(start, start + count)
    records["gateway"] = np.frombuffer(gateway_of(lane), np.uint8)
    names = np.frombuffer(b"".join(consumer(n) for n in range(CONSUMERS)), np.uint8).reshape(-1, 20)
    records["consumer"], records["terms"] = names[chance.integers(0, CONSUMERS, count)], _NAMES[chosen]
    records["units"], records["price"], records["charge"] = units, price, charge
    records["ended_at"] = 1_700_000_000_000 + np.arange(start, start + count)
    return records


def packed(records: npt.NDArray[np.void]) -> npt.NDArray[np.uint8]:
    """Decoded receipts as records, one row each. All must count the same meters."""
    meters = np.flatnonzero(records["units"][0])
    rows = np.empty((len(records), RECORD_HEAD.size + COUNT_SIZE * len(meters)), np.uint8)
    rows[:, :FIELDS_SIZE] = records.view(np.uint8).reshape(len(records), -1)[:, :FIELDS_SIZE]
    rows[:, FIELDS_SIZE] = len(meters)
    for at, meter in enumerate(meters.tolist()):
        begin = RECORD_HEAD.size + COUNT_SIZE * at
        rows[:, begin] = meter
        counts = np.ascontiguousarray(records["units"][:, meter], ">u8").view(np.uint8).reshape(-1, 8)
        rows[:, begin + 1 : begin + COUNT_SIZE] = counts[:, 3:]
    return rows


def _copy_rows(records: npt.NDArray[np.void], digests: npt.NDArray[np.uint8]) -> npt.NDArray[np.void]:
    rows = np.zeros(len(records), _ROW)
    values = {name: records[name] for name in ("seq", "charge", "ended_at")}
    values |= {"record": packed(records), "digest": digests}
    values["signature"] = np.random.default_rng(0).integers(0, 256, (len(records), 65), np.uint8)
    rows["columns"], rows["extra_size"] = len(values) + 1, -1
    for name, column in values.items():
        rows[name], rows[f"{name}_size"] = column, rows.dtype[name].itemsize
    return rows


def copy_in(connection: psycopg.Connection[tuple[object, ...]], made: Made) -> None:
    """One binary COPY of the rows and one of their segments, committed."""
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY receipts ({COLUMNS}) FROM STDIN (FORMAT BINARY)".encode()) as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
            copy.write(made.rows.tobytes())
            copy.write(b"\xff\xff")
        with cursor.copy(
            "COPY segments (lane, gateway, first, last, count, total, digest, previous) FROM STDIN"
        ) as copy:
            for row in made.segments:
                copy.write_row(row)
    connection.commit()


def open_lane(session: Session, lane: Lane) -> None:
    """Terms, places and deposits for everybody: what a lane has before its first call."""
    for one in TERMS:
        terms.put(session, encode(one))
    for place, payee in enumerate(sorted({line.party for one in TERMS for line in one.lines}), 1):
        parties.put(session, payee, place)
    watermarks.ensure(session, lane, gateway_of(lane))
    each, leased_to = 10**14, gateway_of(lane)
    for number in range(CONSUMERS):
        lanes.deposit(session, lane, consumer(number), number + 1, each)
        cause = lane + number.to_bytes(4, "big")
        postings.book(session, movements.deposit(lane, cause, consumer(number), each, 0))
        postings.book(session, movements.lease(lane, cause, consumer(number), leased_to, each, 0))
