"""Signatures over what the node served, and a local log of them, from which payment is audited later."""

import asyncio
import sqlite3
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ledger.core.receipts.service_proofs import Served, served_hash
from ledger.core.values.hashes import body_digest
from ledger.core.values.ids import ZERO_DIGEST, Digest, to_hex
from ledger.core.values.meters import Units, units, used
from ledger.core.values.typed_data import Domain, Signer, signing_digest
from roles.node.callers import Caller
from roles.node.models.batching import Batcher

SCHEMA = """
CREATE TABLE IF NOT EXISTS attempts (
    attempt BLOB PRIMARY KEY, lane BLOB NOT NULL, subject BLOB NOT NULL, provider BLOB NOT NULL, units TEXT NOT NULL,
    request_digest BLOB NOT NULL, response_digest BLOB NOT NULL, served_at INTEGER NOT NULL, signature BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS attempts_in_order ON attempts (served_at);
"""

MOST_TOGETHER, MOST_WAITING = 1_000, 1 << 20
"""Entries written in one transaction, and entries that may wait; a node has far fewer open calls."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A served attempt and the node's signature over it."""

    served: Served
    signature: bytes

    def header(self) -> str:
        """The value of the `Tollway-Served` header: one line of JSON."""
        served = self.served
        said = {
            "lane": to_hex(served.lane),
            "attempt": to_hex(served.attempt),
            "subject": to_hex(served.subject),
            "provider": to_hex(served.provider),
            "units": used(served.units),
            "request": to_hex(served.request_digest),
            "response": to_hex(served.response_digest),
            "served_at": served.served_at,
            "signature": to_hex(self.signature),
        }
        return orjson.dumps(said).decode()


class ServedLog:
    """A SQLite file of what was served. Entries that wait together are written in one transaction."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(SCHEMA)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="served-log")
        self._batcher = Batcher[Entry, None](self._insert, self._writer, most=MOST_TOGETHER, queue=MOST_WAITING)

    async def append(self, entry: Entry) -> None:
        """Return once the entry is written; it then survives kill -9. A repeated attempt replaces its entry."""
        await asyncio.shield(self._batcher.submit(entry))  # an entry is written even if its call is cancelled now

    def entries(self, since: int = 0) -> list[Entry]:
        """The entries served at or after `since` (ms since the epoch), in order."""
        rows = self._database.execute(
            "SELECT attempt, lane, subject, provider, units, request_digest, response_digest, served_at, signature"
            " FROM attempts WHERE served_at >= ? ORDER BY served_at, attempt",
            (since,),
        )
        return [_entry(row) for row in rows]

    def close(self) -> None:
        """Close the file. Call it after the last append has returned."""
        self._writer.shutdown()
        self._database.close()

    def _insert(self, entries: Sequence[Entry]) -> list[None]:
        with self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", [_row(entry) for entry in entries]
            )
        return [None] * len(entries)


class Witness:
    """Signs and logs the calls that a node served for gateways."""

    def __init__(self, signer: Signer, domain: Domain, subjects: Mapping[str, Digest], log: ServedLog) -> None:
        self._signer, self._domain, self._subjects, self._log = signer, domain, subjects, log

    async def testify(
        self, caller: Caller, model: str, units: Units, request: bytes, response: bytes
    ) -> dict[str, str]:
        """The `Tollway-Served` header of an answer, which is in the log then."""
        served = Served(
            caller.lane,
            caller.attempt,
            self._subjects.get(model, ZERO_DIGEST),
            self._signer.address,
            units,
            body_digest(caller.attempt, request),
            body_digest(caller.attempt, response),
            time.time_ns() // 1_000_000,
        )
        entry = Entry(served, self._signer.sign(signing_digest(self._domain, served_hash(served))))
        await self._log.append(entry)
        return {"Tollway-Served": entry.header()}


def _row(entry: Entry) -> tuple[object, ...]:
    served = entry.served
    units = orjson.dumps(used(served.units)).decode()
    ids = (served.attempt, served.lane, served.subject, served.provider)
    return (*ids, units, served.request_digest, served.response_digest, served.served_at, entry.signature)


def _entry(row: tuple[Any, ...]) -> Entry:
    attempt, lane, subject, provider, counts, request, response, served_at, signature = row
    measured = units(orjson.loads(counts))
    return Entry(Served(lane, attempt, subject, provider, measured, request, response, served_at), signature)
