"""`tollway auditor`: anybody who recomputes. Trust nobody, ask nobody's leave."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.core.values.errors import Rejected, TollwayError
from roles.cli import amounts, batch, output
from roles.cli.context import Group, here
from roles.wallet import transactions

if TYPE_CHECKING:
    from ledger.chain.reads import Chain
    from ledger.core.settlement.batch_file import BatchFile

PENDING = 129
"""Batches that may be pending at once, and the one before them."""

app = Group("Recompute everything: batches, balances, the rules themselves.")


@app.verb("check-vectors")
def check_vectors(files: Annotated[list[Path], typer.Argument(help="mechanism.json, sumtree.json, ...")]) -> None:
    """Recompute the vectors of the mechanism and of the sum tree, and name each mismatch."""
    from roles.audit import vectors  # and with it numpy and numba

    wrong: list[str] = []
    rows = []
    for path in files:
        found = vectors.check(path)
        try:
            checked = vectors.size(vectors.load(path))
        except Rejected:
            checked = 0
        rows.append({"file": path.name, "checked": checked, "mismatches": len(found)})
        wrong += [f"{path.name}: {mismatch}" for mismatch in found]
    output.tabulate(rows)
    for line in wrong:
        output.aside().print(f"[red]mismatch[/] {line}")
    if wrong:
        raise Rejected(f"{len(wrong)} vectors do not agree", mismatches=wrong)


@app.verb("verify")
def verify() -> None:
    """Recompute every batch of the lane from its public file, and compare it with the chain."""
    batch.verify(None)


@app.verb("watch")
def watch(
    every: Annotated[float, typer.Option("--every", help="Seconds between looks.")] = 15,
    once: Annotated[bool, typer.Option("--once", help="Look once, act, and end.")] = False,
    book: Annotated[bool, typer.Option(help="Hold lines against the bids in force.")] = True,
    questions: Annotated[int, typer.Option("--questions", help="Paid questions about one batch, at most.")] = 64,
) -> None:
    """Recompute every posted batch from its public file, and send the proof of the first lie by itself."""
    chain, lane = transactions.chain(), int(here().lane["lane"])
    files = _Files()
    while True:
        try:
            _look(chain, lane, files, book=book, questions=questions)
        except TollwayError as error:  # the chain is away, or was reorganised while we looked
            if once:
                raise
            output.aside().print(f"[yellow]tries again:[/] {error.message}")
        if once:
            return
        time.sleep(every)


def _look(chain: Chain, lane: int, files: _Files, *, book: bool, questions: int) -> None:
    """Look at every pending batch once, and do what is to be done."""
    from roles.audit import watch as watching

    for found in watching.inspect(chain, lane, files.by_header, book=book, questions_at_most=questions):
        facts: dict[str, object] = {"batch": found.batch, "said": found.said}
        if found.call is not None:
            try:
                facts |= transactions.send(found.call, wei=found.value).facts
            except Rejected as error:  # somebody was first, or the chain sees it otherwise: the next look shows
                facts["refused"] = error.message
        output.tell(facts)


class _Files:
    """The gateway's public files by their headers' hashes. A file that does not come, or is none, is not shown."""

    def __init__(self) -> None:
        self._known: dict[bytes, BatchFile] = {}

    def by_header(self, hashed: bytes) -> BatchFile | None:
        """The file of the header whose hash begins with these 24 bytes: one of the newest, if it is pending."""
        if hashed not in self._known:
            for number in _newest():
                file = _read(number)
                if file is not None:
                    self._known[file.header.hash[:24]] = file
                    if hashed in self._known:
                        break
        return self._known.get(hashed)


def _newest() -> list[int]:
    try:
        return sorted(batch.numbers(), reverse=True)[:PENDING]
    except (TollwayError, LookupError, TypeError, ValueError):  # whatever such a gateway says, it shows nothing
        return []


def _read(number: int) -> BatchFile | None:
    try:
        return batch.read(number)
    except TollwayError as error:
        output.aside().print(f"[yellow]no file of batch {number}:[/] {error.message}")
        return None


@app.verb("solvency")
def solvency() -> None:
    """Compare what the contract holds with what it owes, and the ledger's custody with both."""
    output.tell(holdings())


def holdings() -> dict[str, object]:
    """The lane's money on chain and in the ledger. Rejected when they differ."""
    number = int(here().lane["lane"])
    chain = transactions.chain()
    lane, head, claimed = chain.lane(number), chain.head(number), chain.claimed_by_all(number)
    held = chain.balance(chain.calls.settlement)
    owed = lane.net - claimed + lane.bond + lane.insurance
    facts: dict[str, object] = {
        "contract_holds": str(held),
        "of_this_lane": str(lane.net - claimed),
        "bond_and_insurance": str(lane.bond + lane.insurance),
        "settled_ever": str(head.cumulative),
        "claimed_ever": str(claimed),
        "said": amounts.said(held),
    }
    if held < owed:
        raise Rejected(f"the contract holds {held} atoms but owes this lane alone {owed}", **facts)
    return facts
