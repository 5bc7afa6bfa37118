"""Closing a batch: receipts a second and peak memory from 10^4 to 10^6 receipts (10^7 with --most), one thread.

Receipts are made by the chunk, their digests given as posting has checked them, and the file goes to its hash only, so
what grows is what closing keeps: the runs. Then the same once more with every digest hashed again, as an auditor does.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import numpy.typing as npt

from bench.receipt_logs import packed
from bench.report import save
from bench.split import some_terms, some_units
from ledger.core.catalog.bids import encode, terms_id
from ledger.core.kernels import split
from ledger.core.kernels.receipt_hashes import struct_hashes
from ledger.core.kernels.records import SIGNATURE, SignedRecords
from ledger.core.receipts.record import RECEIPT_DTYPE
from ledger.core.settlement.batch_file import Opening, Sink
from ledger.core.settlement.closing import Writer
from ledger.core.settlement.cumulatives import NOTHING
from ledger.core.settlement.header import Range
from ledger.core.values.ids import ZERO_DIGEST, Address, Lane
from ledger.core.values.typed_data import Domain

CHUNK = 65_536
SEQ_AT = 104
"""Where a record's sequence number begins."""
GATEWAY = Address(b"\x09" * 20)
LANE = Address(bytes(19) + b"\1")
TERMS = [some_terms(number) for number in range(100)]
BODIES = {terms_id(encode(terms)): encode(terms) for terms in TERMS}
TABLE, SLOTS = split.build_table(TERMS)
NAMES = np.frombuffer(b"".join(BODIES), np.uint8).reshape(-1, 32)
PAYEES = {payee: number + 1 for number, payee in enumerate({payee for payee, _ in SLOTS})}
CONSUMERS = {Address(bytes((number,)) + bytes(19)): number for number in range(1, 201)}


class Nowhere:
    """A sink that keeps nothing."""

    def write(self, data: bytes | memoryview, /) -> None:
        """Forget."""


def a_chunk(count: int, chance: np.random.Generator) -> npt.NDArray[np.void]:
    """Receipts that cost what their terms say."""
    chosen = chance.integers(0, len(TERMS), count)
    units = some_units(count, chance)
    subcalls, price, charge = (np.zeros(count, np.uint64) for _ in range(3))
    amounts, status = np.zeros((count, 7), np.uint64), np.zeros(count, np.int64)
    split.split_amounts(TABLE, chosen, units, subcalls, price, charge, amounts, status)
    records = np.zeros(count, RECEIPT_DTYPE)
    records["terms"], records["units"], records["price"], records["charge"] = NAMES[chosen], units, price, charge
    records["consumer"][:, 0] = chance.integers(1, 201, count)
    records["gateway"], records["lane"] = 9, np.frombuffer(Lane((1).to_bytes(20, "big")), np.uint8)
    return records


def write(sink: Sink, count: int, *, hashed: bool) -> float:
    """Write the file of a batch of so many receipts. Returns the CPU seconds of closing it."""
    chance = np.random.default_rng(1)
    pool = a_chunk(min(count, CHUNK), chance)
    body = np.concatenate([packed(pool), np.zeros((len(pool), SIGNATURE), np.uint8)], axis=1)
    digests = struct_hashes(pool)
    opening = Opening(Domain(), LANE, 1, 0, 0, 0, ZERO_DIGEST, ZERO_DIGEST, (Range(1, GATEWAY, 1, count),))
    start = time.process_time()
    writer = Writer(sink, opening, NOTHING, NOTHING, PAYEES, CONSUMERS)
    for begin in range(0, count, CHUNK):
        part = body[: min(CHUNK, count - begin)].copy()
        numbers = np.arange(begin + 1, begin + 1 + len(part), dtype=">u8")
        part[:, SEQ_AT : SEQ_AT + 8] = numbers.view(np.uint8).reshape(-1, 8)
        signed = SignedRecords.read(part.reshape(-1), len(part))
        writer.add(signed, BODIES, digests[: len(part)] if hashed else None)
    writer.close({})
    return time.process_time() - start


def close(count: int, *, hashed: bool) -> tuple[float, int]:
    """Receipts per CPU second, and the peak resident memory in MiB so far."""
    seconds = write(Nowhere(), count, hashed=hashed)
    return count / seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=1_000_000)
    most = parser.parse_args().most
    close(64, hashed=False)
    rows = {}
    for count in (10_000, 100_000, 1_000_000, 10_000_000):
        if count <= most:
            rate, peak = close(count, hashed=True)
            again, _ = close(min(count, 1_000_000), hashed=False)
            rows[str(count)] = {"receipts_per_s": round(rate), "hashed_again_per_s": round(again), "peak_mib": peak}
            print(f"{count:>12,} receipts   {rate:>10,.0f}/s   {again:>10,.0f}/s hashed again   peak {peak:,} MiB")
    save("closing", {"closing": rows})


if __name__ == "__main__":
    main()
