"""Who earned what, made again from batch files and the chain: no database, no gateway, no operator is asked.

The chain names the headers of a lane's active batches. A file counts if it hashes to one of them, if its receipts hash
to its receipts root, and if what they pay is what its payouts grew by. What does not is named and left out.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, cid, to_hex
from roles.audit import batches
from roles.wallet import transactions

if TYPE_CHECKING:
    from ledger.core.catalog.bids import Role
    from ledger.core.settlement.batch_file import BatchFile
    from ledger.core.settlement.batches import ActiveBatch
    from ledger.core.settlement.cumulatives import Cumulatives
    from ledger.core.settlement.earnings import Earnings, Source
    from ledger.core.settlement.header import HeaderId
    from roles.wallet.context import Context

NO_CHAIN = "private grid"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which earnings are reported: epochs first to last, both included, and one payee's, or everybody's."""

    first: int = 0
    last: int = 2**63 - 1
    payee: Address | None = None

    def has(self, source: Source) -> bool:
        """Whether these earnings are wanted."""
        return self.first <= source.epoch <= self.last and self.payee in (None, source.payee)


@dataclass(frozen=True, slots=True)
class Reported:
    """A batch: its file, its status on chain, what it charges, and why it is left out, if it is."""

    number: int
    file: str
    header: HeaderId
    status: str
    receipts: int = 0
    charged: int = 0
    difference: str = ""

    @property
    def row(self) -> dict[str, object]:
        return {
            "batch": self.number or "",
            "ok": not self.difference,
            "receipts": self.receipts,
            "charged": str(self.charged),
            "on_chain": self.status,
            "file": self.file,
            "header_id": to_hex(self.header),
            "difference": self.difference,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The batches in order, and what those that are in order pay, by source."""

    batches: Sequence[Reported]
    amounts: Mapping[Source, int] = field(default_factory=dict)

    @property
    def rows(self) -> list[dict[str, object]]:
        """A row for each payee, role and model, the largest first, with the first and last epoch in which it earned."""
        totals: Counter[tuple[Address, Role, bytes]] = Counter()
        epochs: dict[tuple[Address, Role, bytes], tuple[int, int]] = {}
        for source, amount in self.amounts.items():
            key = source.payee, source.role, source.subject
            first, last = epochs.get(key, (source.epoch, source.epoch))
            epochs[key] = min(first, source.epoch), max(last, source.epoch)
            totals[key] += amount
        return [
            {
                "payee": to_hex(payee),
                "role": role.name,
                "model": cid(subject),
                "first_epoch": epochs[payee, role, subject][0],
                "last_epoch": epochs[payee, role, subject][1],
                "earned": str(amount),
            }
            for (payee, role, subject), amount in sorted(totals.items(), key=lambda row: (-row[1], row[0]))
        ]


def report(context: Context, folder: Path, wanted: Wanted) -> Report:
    """Who earned what in the batches whose files are in a folder. Rejected when it has none, or of several lanes."""
    from ledger.core.settlement import earnings

    files = list(_files(folder))
    lanes = {(file.opening.lane, file.opening.domain) for _, file in files}
    if len(lanes) != 1:
        said = "files of several lanes: give each lane a folder" if lanes else "no batch file"
        raise Rejected(f"{folder} has {said}; tollway batch mirror {folder} fills it", folder=str(folder))
    on_chain = _on_chain(context, files[0][1])
    amounts: Counter[Source] = Counter()
    rows: list[Reported] = []
    before: tuple[HeaderId, Cumulatives] | None = None
    for name, file in files:
        number, header = file.opening.number, file.header.id
        if on_chain is not None and header not in on_chain:
            rows.append(Reported(number, name, header, "none", difference="the chain has no batch with this header"))
            continue
        status = NO_CHAIN if on_chain is None else "final" if on_chain[header].final_at is not None else "posted"
        with context.working(f"adding up batch {number}"):
            try:
                found = earnings.of_file(file)
                difference = _difference(file, found, before)
            except Rejected as error:
                found, difference = earnings.Earnings({}, file.roots.receipts), error.message
        rows.append(Reported(number, name, header, status, len(file.signed), sum(found.amounts.values()), difference))
        before = header, file.payouts
        if not difference:
            amounts.update({source: amount for source, amount in found.amounts.items() if wanted.has(source)})
    known = {row.header for row in rows}
    for batch in (on_chain or {}).values():
        if batch.header.id not in known:
            status = "posted" if batch.final_at is None else "final"
            rows.append(Reported(0, "", batch.header.id, status, difference=f"its file is not in {folder}"))
    return Report(rows, amounts)


def _difference(file: BatchFile, found: Earnings, before: tuple[HeaderId, Cumulatives] | None) -> str:
    """What contradicts a file whose header is on chain; empty if nothing does."""
    from ledger.core.settlement import earnings
    from ledger.core.settlement.header import NO_HEADER

    if found.receipts_root != file.roots.receipts:
        return f"its receipts hash to {to_hex(found.receipts_root)}, its root is {to_hex(file.roots.receipts)}"
    if file.opening.prev == NO_HEADER:
        grown = earnings.growth(file)
    elif before is not None and before[0] == file.opening.prev:
        grown = earnings.growth(file, before[1])
    else:
        return f"the file of the batch before it ({to_hex(file.opening.prev)}) is needed to compare its payouts"
    paid = found.by_payee
    for payee in sorted(paid.keys() | grown.keys()):
        if paid.get(payee, 0) != grown.get(payee, 0):
            said = f"its receipts pay {to_hex(payee)} {paid.get(payee, 0)} atoms"
            return f"{said}, its payouts grew by {grown.get(payee, 0)}"
    return ""


def _files(folder: Path) -> Iterator[tuple[str, BatchFile]]:
    """The batch files of a folder by number. Each is mapped: what is not looked at takes no memory."""
    from ledger.core.settlement.batch_file import SUFFIX, read

    if not folder.is_dir():
        raise Rejected(f"{folder} is not a folder: tollway batch mirror {folder} makes it", folder=str(folder))
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise Rejected(f"{path} is empty: tollway batch mirror {folder} downloads it again")
            body = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            yield path.name, read(memoryview(body))
        except Rejected as error:
            raise Rejected(f"{path}: {error.message}; tollway batch mirror {folder} downloads it again") from error


def _on_chain(context: Context, file: BatchFile) -> dict[HeaderId, ActiveBatch] | None:
    """The lane's active batches by the id of their header; None on a private grid, which has no chain."""
    if not file.opening.domain.chain_id:
        return None
    chain = transactions.chain(context)
    if (chain.chain_id, chain.calls.settlement) != (file.opening.domain.chain_id, file.opening.domain.contract):
        raise Rejected(
            f"the files are of chain {file.opening.domain.chain_id} and contract "
            f"{to_hex(file.opening.domain.contract)}, {context.rpc_url} is not: name another --rpc or deployment"
        )
    return {one.header.id: one for one in batches.active(context, chain, file.opening.lane)}
