"""`tollway batch`: list, download and recompute what was settled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from ledger.core.values.errors import Rejected
from ledger.core.values.ids import to_hex
from roles.cli import output
from roles.cli.context import Group, here
from roles.client.gateway import Json
from roles.wallet import transactions

if TYPE_CHECKING:
    from ledger.core.disputes.audit import Verdict
    from ledger.core.pricing.epochs import BidInForce, Book
    from ledger.core.settlement.batch_file import BatchFile

app = Group("List, download and recompute what was settled.")

Number = Annotated[int, Argument(help="A batch's number; the first is 1.")]


@app.command("list")
def list_() -> None:
    """List the batches of this gateway's lane."""
    shown = ("number", "status", "calls", "total", "cumulative", "epoch", "header_hash")
    rows = here().gateway.get("/v1/batches")["data"]
    output.show_table([{name: row[name] for name in shown} for row in rows], empty="no batch yet")


@app.command("show")
def show(number: Number) -> None:
    """Show one batch: its header, and its status on chain."""
    output.show({**here().gateway.get(f"/v1/batches/{number}"), "on_chain": on_chain(number)})


@app.command("file")
def file(number: Number, to: Annotated[Path, Option("--to", help="File to write.")] = Path("batch.bin")) -> None:
    """Download a batch's public file: everything needed to recompute it."""
    from ledger.core.settlement.batch_file import read as parse

    body = here().gateway.file(f"/v1/batches/{number}/file")
    to.write_bytes(body)
    output.show({"file": str(to), "bytes": len(body), "sha256": to_hex(parse(body).digest)})


@app.command("verify")
def verify(
    number: Annotated[int | None, Argument(help="A batch's number; default: every batch.")] = None,
) -> None:
    """Recompute a batch from its public file and compare it with the chain: receipts, bids, lines, trees, header."""
    checked = check(numbers() if number is None else [number])
    output.show_table([one.row for one in checked], empty="no batch yet")
    wrong = next((one for one in checked if not one.ok), None)
    if wrong is not None:
        raise Rejected(f"batch {wrong.number} does not agree: {wrong.difference}", batch=wrong.number)


@dataclass(frozen=True, slots=True)
class Checked:
    """A batch recomputed and compared with the chain; `committed`: the chain has its header's hash."""

    number: int
    verdict: Verdict
    committed: bool
    status: str

    @property
    def ok(self) -> bool:
        """The file is consistent, and the chain has its hash."""
        return self.verdict.ok and self.committed

    @property
    def difference(self) -> str:
        return str(self.verdict) if not self.verdict.ok else f"the chain has another header ({self.status})"

    @property
    def row(self) -> dict[str, object]:
        return {
            "batch": self.number,
            "ok": self.ok,
            "calls": self.verdict.receipts,
            "signatures": self.verdict.signatures,
            "payees": self.verdict.payees,
            "consumers": self.verdict.consumers,
            "charged": str(self.verdict.charged),
            "on_chain": self.status,
            "difference": "" if self.ok else self.difference,
        }


def check(wanted: Sequence[int]) -> list[Checked]:
    """Recompute batches, one at a time. The bids on chain are read once, and no file twice in a row."""
    private = int(here().lane["chain_id"]) == 0
    bids = None if private or not wanted else placed()
    known = numbers() if wanted else []
    checked: list[Checked] = []
    last: BatchFile | None = None
    for number in wanted:
        before = max((one for one in known if one < number), default=None)  # not number - 1: it may be void
        if last is None or last.opening.number != before:
            last = None if before is None else read(before)
        file = read(number)
        checked.append(_recompute(number, file, last, bids))
        last = file
    return checked


def _recompute(number: int, file: BatchFile, previous: BatchFile | None, bids: list[BidInForce] | None) -> Checked:
    """Recompute one batch. `bids` is None on a private grid, where nothing is on chain."""
    from ledger.core.disputes import audit

    with output.working(f"recomputing batch {number}"):
        verdict = audit.verify(file, previous, books=() if bids is None else books(file, bids))
    if bids is None:
        return Checked(number, verdict, True, "private grid")
    onchain_id = onchain_id_of(number)
    posted = transactions.chain().posted(file.opening.lane, onchain_id).hash if onchain_id else b""
    return Checked(number, verdict, posted == file.header.hash[:24], on_chain(number))


def books(file: BatchFile, bids: list[BidInForce]) -> list[Book]:
    """The bids in force in the epochs of the batch and of its receipts."""
    from ledger.core.pricing.epochs import freeze

    epochs = {file.opening.epoch, *map(int, file.signed.records["epoch"])}
    return [freeze(bids, epoch) for epoch in sorted(epochs)]


def placed() -> list[BidInForce]:
    """Every bid placed so far, in order, from BidBook's events."""
    from ledger.core.pricing.epochs import BidInForce
    from ledger.core.settlement.events import BidPlaced

    chain = transactions.chain()
    with output.working("reading the bids on chain"):
        bids = [
            log.event for log in chain.logs(chain.deployment.block, chain.tip()) if isinstance(log.event, BidPlaced)
        ]
    return [BidInForce(one.subject, one.role, one.party, one.bid, one.first, one.until) for one in bids]


def read(number: int) -> BatchFile:
    from ledger.core.settlement import batch_file  # numba, which only recomputing needs

    with output.working(f"reading batch {number}"):
        return batch_file.read(here().gateway.file(f"/v1/batches/{number}/file"))


def numbers() -> list[int]:
    return sorted(int(row["number"]) for row in listed())


def listed() -> list[Json]:
    """Every batch that is not void."""
    return [row for row in here().gateway.get("/v1/batches")["data"] if row["status"] != "void"]


def on_chain(number: int) -> str:
    """A batch's status on chain: none, posted or final."""
    lane, onchain_id = here().lane_id, onchain_id_of(number)
    if not onchain_id:
        return "none"
    return "final" if onchain_id <= transactions.chain().head(lane).finalized else "posted"


def onchain_id_of(number: int) -> int:
    """A batch's id in Settlement; 0 while it has none. It differs from `number` once a batch was void."""
    return int(here().gateway.get(f"/v1/batches/{number}").get("chain_id") or 0)
