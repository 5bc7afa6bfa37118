"""`tollway batch`: what was settled, and whether it is true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.core.values.errors import Rejected
from ledger.core.values.ids import to_hex
from roles.cli import amounts, output
from roles.cli.context import Group, here
from roles.client.gateway import Json
from roles.wallet import transactions

if TYPE_CHECKING:
    from ledger.core.disputes.audit import Verdict
    from ledger.core.pricing.epochs import Book, Standing
    from ledger.core.settlement.batch_file import BatchFile

app = Group("What was settled, and whether it is true.")

Number = Annotated[int, typer.Argument(help="A batch's number; the first is 1.")]


@app.verb("list")
def list_() -> None:
    """All batches of this gateway's lane."""
    shown = ("number", "status", "calls", "total", "cumulative", "epoch", "header_hash")
    rows = here().gateway.get("/v1/batches")["data"]
    output.tabulate([{name: row[name] for name in shown} for row in rows], empty="no batch yet")


@app.verb("show")
def show(number: Number) -> None:
    """One batch: its header, and where it stands on chain."""
    said = here().gateway.get(f"/v1/batches/{number}")
    output.tell({**said, "on_chain": on_chain(number)})


@app.verb("file")
def file(
    number: Number, to: Annotated[Path, typer.Option("--to", help="Where to write it.")] = Path("batch.bin")
) -> None:
    """Keep a batch's public file: everything needed to recompute it."""
    from ledger.core.settlement.batch_file import read as parse

    body = here().gateway.file(f"/v1/batches/{number}/file")
    to.write_bytes(body)
    output.tell({"file": str(to), "bytes": len(body), "sha256": to_hex(parse(body).digest)})


@app.verb("verify")
def verify(number: Annotated[int | None, typer.Argument(help="Default: every batch.")] = None) -> None:
    """Recompute a batch from its public file and compare it with the chain: receipts, bids, lines, trees, header."""
    checked = check(numbers() if number is None else [number])
    output.tabulate([one.row for one in checked], empty="no batch yet")
    wrong = next((one for one in checked if not one.ok), None)
    if wrong is not None:
        raise Rejected(f"batch {wrong.number} is not what it says: {wrong.said}", batch=wrong.number)


@dataclass(frozen=True, slots=True)
class Checked:
    """A batch recomputed, and compared with the chain."""

    number: int
    verdict: Verdict
    committed: bool
    status: str

    @property
    def ok(self) -> bool:
        """The file proves itself, and the chain has its hash."""
        return self.verdict.ok and self.committed

    @property
    def said(self) -> str:
        """The verdict in words."""
        return str(self.verdict) if not self.verdict.ok else f"the chain has another header ({self.status})"

    @property
    def row(self) -> dict[str, object]:
        """For a table."""
        seen = self.verdict
        return {
            "batch": self.number,
            "ok": self.ok,
            "calls": seen.receipts,
            "signatures": seen.signatures,
            "payees": seen.payees,
            "consumers": seen.consumers,
            "charged": str(seen.charged),
            "on_chain": self.status,
            "difference": "" if self.ok else self.said,
        }


def check(wanted: Sequence[int]) -> list[Checked]:
    """Recompute batches, one at a time. The bids on chain are read once for all of them, and no file twice in a row."""
    private = int(here().lane["chain_id"]) == 0
    bids = None if private or not wanted else placed()
    standing = numbers() if wanted else []
    done: list[Checked] = []
    last: BatchFile | None = None
    for number in wanted:
        before = max((one for one in standing if one < number), default=None)  # the last good one: not a void one
        if last is None or last.opening.number != before:
            last = None if before is None else read(before)
        now = read(number)
        done.append(_checked(number, now, last, bids))
        last = now
    return done


def _checked(number: int, now: BatchFile, previous: BatchFile | None, bids: list[Standing] | None) -> Checked:
    """Recompute one batch. Without bids it is a private grid's, and nothing is on chain."""
    from ledger.core.disputes import audit

    with output.working(f"recomputing batch {number}"):
        verdict = audit.verify(now, previous, books=() if bids is None else books(now, bids))
    if bids is None:
        return Checked(number, verdict, True, "private grid")
    place = chain_number(number)
    posted = transactions.chain().posted(now.opening.lane, place).hash if place else b""
    return Checked(number, verdict, posted == now.header.hash[:24], on_chain(number))


def books(file: BatchFile, bids: list[Standing]) -> list[Book]:
    """The bids in force in the batch's epoch and in its receipts'."""
    from ledger.core.pricing.epochs import freeze

    counted = {file.opening.epoch, *map(int, file.signed["receipt"]["epoch"])}
    return [freeze(bids, epoch) for epoch in sorted(counted)]


def placed() -> list[Standing]:
    """Every bid placed so far, in order, from BidBook's events."""
    from ledger.core.pricing.epochs import Standing
    from ledger.core.settlement.events import BidPlaced

    chain = transactions.chain()
    with output.working("reading the bids on chain"):
        said = [log.event for log in chain.logs(chain.deployment.block, chain.tip())]
    bids = [one for one in said if isinstance(one, BidPlaced)]
    return [Standing(one.subject, one.role, one.party, one.bid, one.first, one.until) for one in bids]


def read(number: int) -> BatchFile:
    """A batch's public file."""
    from ledger.core.settlement.batch_file import (
        read as parse,  # and with it numba, which only who recomputes batches waits for
    )

    with output.working(f"reading batch {number}"):
        return parse(here().gateway.file(f"/v1/batches/{number}/file"))


def numbers() -> list[int]:
    """The numbers of all batches, ascending."""
    return sorted(int(row["number"]) for row in listed())


def listed() -> list[Json]:
    """Every batch that stands: void ones were undone."""
    return [row for row in here().gateway.get("/v1/batches")["data"] if row["status"] != "void"]


def on_chain(number: int) -> str:
    """Where a batch stands on chain, in a word."""
    lane, place = int(here().lane["lane"]), chain_number(number)
    if not place:
        return "none"
    return "final" if place <= transactions.chain().head(lane).finalized else "posted"


def chain_number(number: int) -> int:
    """A batch's id in Settlement; 0 while it has none. The two differ once a batch was void."""
    return int(here().gateway.get(f"/v1/batches/{number}").get("chain_id") or 0)


def settled() -> str:
    """What the lane ever settled, in words."""
    return amounts.said(transactions.chain().head(int(here().lane["lane"])).cumulative)
