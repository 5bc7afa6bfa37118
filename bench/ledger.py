"""The ledger end to end: receipts of the receipt log are posted and batched, beside a COPY of the same rows.

Two workers on one database, as in production: one posts (reads chunks, checks every digest, chain and price, splits,
books one balanced transaction a chunk), the other closes what is posted into batches of 250,000 (reads again, hashes
every receipt into its tree, builds the lines tree and both cumulative trees, writes the public file through SHA-256).
Time is the clock's, from the first chunk to the last batch; beside it stands the CPU time of both workers and their
server processes, which two batches under way at once do not change. Small sizes are run five times, for the median.
The COPY is a binary one over one connection, into the same table with the same indexes. PostgreSQL is durable (fsync
on), with 1 GB of shared buffers. A size that would not end within the minutes given (`--minutes`) is left out, and said
to be.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psycopg
from sqlalchemy import text
from sqlmodel import Session

from bench import receipt_logs
from bench.peers import rows
from bench.report import RESULTS, save, table
from ledger.core.values.ids import Lane
from ledger.core.values.typed_data import Domain
from ledger.flows import batches, postings
from ledger.migrations import migrate
from ledger.settings import Settings
from ledger.store.receipts import watermarks
from ledger.store.session import connect, unit_of_work
from roles.local import postgres

CHUNK = 100_000
BATCH = 250_000
WARM_LANE, FIRST_LANE = 1, 2
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
PEERS_AT = 10_000
SMALL, RUNS = 100_000, 5
"""Sizes up to the first are run as often as the second says: the clock of a fifth of a second wanders."""
GROWTH = 10.5
"""How much longer the next size takes."""
LINES = 7
"""Lines of a receipt: a receipt stands for 7 postings, each of which would be a row in a ledger that stores shares."""


@contextmanager
def a_database() -> Iterator[str]:
    """A durable PostgreSQL of our own, migrated; its URL."""
    folder = Path(tempfile.mkdtemp(prefix="tollway-bench-", dir="/tmp"))
    folder.chmod(0o755)
    server = postgres.start(folder / "data", "stop")
    with psycopg.connect(str(server.get_uri()), autocommit=True) as connection:
        for setting in ("shared_buffers = '1GB'", "max_wal_size = '16GB'", "checkpoint_timeout = '30min'"):
            connection.execute(f"ALTER SYSTEM SET {setting}".encode())
    server.stop()
    server.ensure_postgres_running()
    try:
        url = str(server.get_uri())
        engine = connect(Settings(database_url=url).sqlalchemy_url)
        migrate(engine)
        engine.dispose()
        yield url
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def work(url: str, job: str, orders: Connection) -> None:
    """A worker process: post or close all of each (lane, receipts) it is sent; tell its peak memory in MB, and CPU."""
    engine = connect(Settings(database_url=url).sqlalchemy_url)
    with unit_of_work(engine) as session:
        server = int(session.execute(text("SELECT pg_backend_pid()")).scalar_one())
    while True:
        lane, receipts = orders.recv()
        if not lane:
            return
        done, spent = 0, 0.0
        while done < receipts:
            before = _spent(server)
            with unit_of_work(engine) as session:
                step = _post(session, lane) if job == "post" else _close(session, lane, receipts - done)
            done += step
            if step:
                spent += _spent(server) - before
            else:
                time.sleep(0.003)
        orders.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, spent))


def _spent(server: int) -> float:
    """CPU seconds so far of this process, and of the server process behind its connection where `/proc` tells."""
    stat = Path(f"/proc/{server}/stat")
    ticks = sum(map(int, stat.read_text().rpartition(")")[2].split()[11:13])) if stat.exists() else 0
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def _post(session: Session, lane: Lane) -> int:
    return postings.post_chunk(session, lane, receipt_logs.gateway_of(lane), CHUNK, 1)


def _close(session: Session, lane: Lane, left: int) -> int:
    """Close a batch as soon as a quarter of a million receipts, or all that are left, are posted."""
    marks = watermarks.of_lane(session, lane)
    if sum(mark.posted_seq - mark.batched_seq for mark in marks) < min(BATCH, left):
        return 0
    batch = batches.close(session, batches.Lane(lane, Domain(), None, BATCH, 0), 0, 1)
    return batch.header.calls if batch is not None else 0


class Run(NamedTuple):
    """Seconds of the COPY, seconds until all was posted and closed, CPU seconds of that, the workers' peak memory."""

    copied: float
    ended: float
    cpu: float
    peak_mb: int


class Bench:
    """A database, its two workers, and lanes to measure on, one per size."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = connect(Settings(database_url=url).sqlalchemy_url)
        self.lane, self.took = WARM_LANE, 0.0
        context = multiprocessing.get_context("spawn")
        self.orders: list[Connection] = []
        for job in ("post", "close"):
            ours, theirs = context.Pipe()
            context.Process(target=work, args=(url, job, theirs), daemon=True).start()
            self.orders.append(ours)

    def run(self, receipts: int) -> Run:
        """COPY so many receipts in, then have them posted and closed."""
        lane, self.lane = receipt_logs.lane_of(self.lane), self.lane + 1
        with unit_of_work(self.engine) as session:
            receipt_logs.open_lane(session, lane)
        began = time.monotonic()
        copied = 0.0
        with psycopg.connect(Settings(database_url=self.url).libpq_url) as connection:
            for made in receipt_logs.make(lane, receipts):
                start = time.perf_counter()
                receipt_logs.copy_in(connection, made)
                copied += time.perf_counter() - start
        with psycopg.connect(Settings(database_url=self.url).libpq_url, autocommit=True) as connection:
            connection.execute("ANALYZE receipts")
            connection.execute("CHECKPOINT")
        start = time.perf_counter()
        for order in self.orders:
            order.send((lane, receipts))
        told = [order.recv() for order in self.orders]
        ended = time.perf_counter() - start
        self.took = time.monotonic() - began
        return Run(copied, ended, sum(cpu for _, cpu in told), sum(peak for peak, _ in told))

    def end(self) -> None:
        """Send the workers home."""
        for order in self.orders:
            order.send((0, 0))
        self.engine.dispose()


def measure_peers(bench: Bench) -> dict[str, float]:
    """Receipts a second of others on the first of the same receipts, in the same PostgreSQL."""
    found = {"one SQLModel row a share, a commit a receipt": rows.sqlmodel(bench.engine)}
    hordak = rows.hordak(bench.engine, bench.url)
    return found | ({"django-hordak, in bulk": hordak} if hordak is not None else {})


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=SIZES[-1], help="the largest size to measure")
    parser.add_argument("--alone", action="store_true", help="skip split, sum tree and the peers")
    parser.add_argument("--minutes", type=float, default=9, help="how long it may take in all")
    options = parser.parse_args()
    facts: dict[str, object] = {}
    deadline = time.monotonic() + 60 * options.minutes
    if not options.alone:
        for name in ("split", "sumtree"):
            subprocess.run([sys.executable, "-m", f"bench.{name}"], check=True)
            facts |= json.loads((RESULTS / f"{name}.json").read_text())
    peers: dict[str, float] = {}
    with a_database() as url:
        bench = Bench(url)
        bench.run(2_000)
        linear: list[dict[str, float]] = []
        for size in (size for size in SIZES if size <= options.most):
            ahead = bench.took * GROWTH if linear else 0.0
            if time.monotonic() + ahead > deadline:
                print(f"\n{size:,} receipts would take {ahead / 60:.0f} more minutes: left out")
                break
            runs = [bench.run(size) for _ in range(RUNS if size <= SMALL else 1)]
            copied, ended, cpu, peak = (median(column) for column in zip(*runs, strict=True))
            rates = {"COPY into the receipt log": size / copied, "posted and closed": size / ended}
            table(f"{size:,} receipts, two workers", "receipts/s", rates, "posted and closed")
            linear.append({"receipts": size, "seconds": round(ended, 3), "copy_seconds": round(copied, 3)})
            linear[-1] |= {"receipts_per_s": round(size / ended), "ratio_to_copy": round(copied / ended, 2)}
            linear[-1] |= {"cpu_us_per_receipt": round(cpu / size * 1e6, 2), "peak_mb_of_both_workers": int(peak)}
            if size == PEERS_AT and not options.alone:
                peers = measure_peers(bench)
        bench.end()
    best = max(linear, key=lambda row: row["receipts_per_s"])
    facts |= {
        "end_to_end_receipts_per_s": best["receipts_per_s"],
        "end_to_end_postings_per_s": best["receipts_per_s"] * LINES,
        "end_to_end_ratio_to_copy": round(best["copy_seconds"] / best["seconds"], 2),
        "end_to_end_peak_mb": linear[-1]["peak_mb_of_both_workers"],
        "linear": linear,
        "peers_receipts_per_s": {name: round(rate) for name, rate in peers.items()},
        "ratio_to_peers": {name: round(best["receipts_per_s"] / rate) for name, rate in peers.items()},
    }
    if peers:
        table("the same work", "receipts/s", {"ours": float(best["receipts_per_s"]), **peers}, "ours")
    save("ledger", facts)


if __name__ == "__main__":
    main()
