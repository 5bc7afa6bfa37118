"""Batches as anybody can check them: read from their public files, recomputed, compared with the chain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ledger.core.settlement.batches import PUBLIC, ActiveBatch, active_batches
from roles.client.gateway import Json
from roles.wallet import transactions

PAGE = 1_000

if TYPE_CHECKING:
    from ledger.chain.reads import Chain
    from ledger.core.disputes.audit import Verdict
    from ledger.core.pricing.epochs import BidInForce, Book
    from ledger.core.settlement.batch_file import BatchFile
    from ledger.core.values.ids import Lane
    from roles.wallet.context import Context


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
    def is_under_way(self) -> bool:
        """The file is consistent, and its transaction is signed and in no block yet."""
        return self.verdict.ok and self.status == "none"

    @property
    def difference(self) -> str:
        if self.is_under_way:
            return "it is not on chain yet: ask again in a minute"
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


def check(context: Context, wanted: Sequence[int]) -> list[Checked]:
    """Recompute batches, one at a time. The bids on chain are read once, and no file twice in a row."""
    private = int(context.lane["chain_id"]) == 0
    bids = None if private or not wanted else placed(context)
    known = numbers(context) if wanted else []
    checked: list[Checked] = []
    last: BatchFile | None = None
    for number in wanted:
        before = max((one for one in known if one < number), default=None)  # not number - 1: it may be void
        if last is None or last.opening.number != before:
            last = None if before is None else read(context, before)
        file = read(context, number)
        checked.append(_recompute(context, number, file, last, bids))
        last = file
    return checked


def _recompute(
    context: Context, number: int, file: BatchFile, previous: BatchFile | None, bids: list[BidInForce] | None
) -> Checked:
    """Recompute one batch. `bids` is None on a private grid, where nothing is on chain."""
    from ledger.core.disputes import audit

    with context.working(f"recomputing batch {number}"):
        verdict = audit.verify(file, previous, books=() if bids is None else books(file, bids))
    if bids is None:
        return Checked(number, verdict, True, "private grid")
    onchain_id = onchain_id_of(context, number)
    posted = transactions.chain(context).posted(file.opening.lane, onchain_id).hash if onchain_id else b""
    return Checked(number, verdict, posted == file.header.id, on_chain(context, number))


def books(file: BatchFile, bids: list[BidInForce]) -> list[Book]:
    """The bids in force in the epochs of the batch and of its receipts."""
    from ledger.core.pricing.epochs import freeze

    epochs = {file.opening.epoch, *map(int, file.signed.records["epoch"])}
    return [freeze(bids, epoch) for epoch in sorted(epochs)]


def placed(context: Context) -> list[BidInForce]:
    """Every bid placed so far, in order, from BidBook's events."""
    from ledger.core.pricing.epochs import BidInForce
    from ledger.core.settlement.events import BidPlaced

    chain = transactions.chain(context)
    with context.working("reading the bids on chain"):
        bids = [
            log.event for log in chain.logs(chain.deployment.block, chain.tip()) if isinstance(log.event, BidPlaced)
        ]
    return [BidInForce(one.subject, one.role, one.party, one.bid, one.first, one.until) for one in bids]


def read(context: Context, number: int) -> BatchFile:
    from ledger.core.settlement import batch_file  # numba, which only recomputing needs

    with context.working(f"reading batch {number}"):
        return batch_file.read(context.gateway.file(f"/v1/settlement/batches/{number}/file"))


def numbers(context: Context) -> list[int]:
    """The numbers of the batches whose files are public."""
    public = {status.value for status in PUBLIC}
    return sorted(int(row["number"]) for row in listed(context) if row["status"] in public)


def listed(context: Context) -> list[Json]:
    """Every batch that is not void, newest first."""
    return [row for row in every(context) if row["status"] != "void"]


def every(context: Context) -> Iterator[Json]:
    """Every batch of the lane, newest first, page by page."""
    before: int | None = None
    while before is None or before > 0:
        page = context.gateway.get("/v1/settlement/batches", before=before, limit=PAGE)
        yield from page["data"]
        following = int(page["before"]) if page.get("has_more") else 0
        before = following if before is None or following < before else 0  # a gateway may say anything


def active(context: Context, chain: Chain, lane: Lane) -> list[ActiveBatch]:
    """A lane's active batches, from the logs of the chain alone."""
    with context.working("reading the batches on chain"):
        return active_batches(chain.logs(chain.deployment.block, chain.tip()), lane)


def on_chain(context: Context, number: int) -> str:
    """A batch's status on chain: none, posted or final."""
    lane, onchain_id = context.lane_id, onchain_id_of(context, number)
    if not onchain_id:
        return "none"
    return "final" if onchain_id <= transactions.chain(context).head(lane).finalized else "posted"


def onchain_id_of(context: Context, number: int) -> int:
    """A batch's id in Settlement; 0 while it has none. It differs from `number` once a batch was void."""
    return int(context.gateway.get(f"/v1/settlement/batches/{number}").get("chain_id") or 0)
