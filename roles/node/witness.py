"""Signatures over what the node served, and a local log of them, from which payment is audited later."""

import asyncio
import sqlite3
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import orjson

from ledger.core.receipts.service_proofs import Served, content_digest, served_hash
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import ZERO_DIGEST, Address, Digest, digest, to_hex
from ledger.core.values.meters import Units
from ledger.core.values.typed_data import Domain, Signer, signing_digest
from roles.node import metering

SCHEMA = """
CREATE TABLE IF NOT EXISTS served (
    attempt BLOB PRIMARY KEY, subject BLOB NOT NULL, provider BLOB NOT NULL, units TEXT NOT NULL,
    request_digest BLOB NOT NULL, response_digest BLOB NOT NULL, served_at INTEGER NOT NULL, signature BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS served_in_order ON served (served_at);
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A served attempt and the node's signature over it."""

    served: Served
    signature: bytes

    def header(self) -> str:
        """The value of the `Tollway-Served` header: one line of JSON."""
        served = self.served
        said = {
            "attempt": to_hex(served.attempt),
            "subject": to_hex(served.subject),
            "provider": to_hex(served.provider),
            "units": metering.as_json(served.units),
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
        self._waiting: list[tuple[Entry, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def append(self, entry: Entry) -> None:
        """Return once the entry is written; it then survives kill -9. A repeated attempt replaces its entry."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write())
        await future

    def entries(self, since: int = 0) -> list[Entry]:
        """The entries served at or after `since` (ms since the epoch), in order."""
        rows = self._database.execute(
            "SELECT attempt, subject, provider, units, request_digest, response_digest, served_at, signature"
            " FROM served WHERE served_at >= ? ORDER BY served_at, attempt",
            (since,),
        )
        return [_entry(row) for row in rows]

    def close(self) -> None:
        """Close the file. Call it after the last append has returned."""
        self._writer.shutdown()
        self._database.close()

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await loop.run_in_executor(self._writer, self._insert, [entry for entry, _ in batch])
            except sqlite3.Error as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for _, future in batch:
                if not future.done():
                    future.set_result(None)

    def _insert(self, entries: list[Entry]) -> None:
        with self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO served VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [_row(entry) for entry in entries]
            )


class Witness:
    """Signs and logs served calls. A call without an attempt id did not come from a gateway and is not signed."""

    def __init__(self, signer: Signer, domain: Domain, subjects: Mapping[str, Digest], log: ServedLog) -> None:
        self._signer, self._domain, self._subjects, self._log = signer, domain, subjects, log

    async def testify(
        self, key: str | None, model: str, units: Units, request: bytes, response: bytes
    ) -> dict[str, str]:
        """The `Tollway-Served` header of an answer; empty when there is nothing to sign."""
        attempt = _attempt(key)
        if attempt is None:
            return {}
        served = Served(
            attempt,
            self._subjects.get(model, ZERO_DIGEST),
            self._signer.address,
            units,
            content_digest(attempt, request),
            content_digest(attempt, response),
            time.time_ns() // 1_000_000,
        )
        entry = Entry(served, self._signer.sign(signing_digest(self._domain, served_hash(served))))
        await self._log.append(entry)
        return {"Tollway-Served": entry.header()}


def _attempt(key: str | None) -> Digest | None:
    try:
        return digest(key) if key else None
    except Rejected:
        return None


def _row(entry: Entry) -> tuple[object, ...]:
    served = entry.served
    units = orjson.dumps(list(served.units)).decode()
    digests = (served.request_digest, served.response_digest)
    return (served.attempt, served.subject, served.provider, units, *digests, served.served_at, entry.signature)


def _entry(row: tuple[bytes, bytes, bytes, str, bytes, bytes, int, bytes]) -> Entry:
    attempt, subject, provider, units, request, response, served_at, signature = row
    served = Served(
        Digest(attempt),
        Digest(subject),
        Address(provider),
        Units(*orjson.loads(units)),
        Digest(request),
        Digest(response),
        served_at,
    )
    return Entry(served, signature)
