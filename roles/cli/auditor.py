"""`tollway auditor`: recompute batches, balances and the rules; prove what is false. Needs no permission."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from ledger.core.values.documents import Document, digest
from ledger.core.values.errors import Rejected, TollwayError
from ledger.core.values.ids import Digest, cid, to_hex
from roles.audit import batches
from roles.cli import amounts, batch, output
from roles.cli.context import Group, here
from roles.client.receipts import read_files
from roles.wallet import transactions

if TYPE_CHECKING:
    from ledger.core.settlement.batch_file import BatchFile
    from ledger.core.settlement.header import HeaderId

RECEIPT = "A receipt that you hold, a file of `consumer receipt ID --json`: it must be in a batch."
Budget = Annotated[int, Option("--budget", help="The most to spend on questions, in wei.", min=0, max=10**30)]
MAX_PENDING = 129
"""Batches that can be pending at once, and the one before them."""

app = Group("Recompute batches, balances and the rules, and prove what is false.")


@app.command("check-vectors")
def check_vectors(files: Annotated[list[Path], Argument(help="mechanism.json, sumtree.json, ...")]) -> None:
    """Recompute test vectors of the mechanism and the sum tree. Name each mismatch."""
    from roles.audit import vectors  # numpy and numba

    wrong: list[str] = []
    rows = []
    for path in files:
        mismatches = vectors.check(path)
        rows.append({"file": path.name, "checked": vectors.size(path), "mismatches": len(mismatches)})
        wrong += [f"{path.name}: {mismatch}" for mismatch in mismatches]
    output.show_table(rows)
    for line in wrong:
        output.warn(line, "mismatch", "red")
    if wrong:
        raise Rejected(f"{len(wrong)} vectors do not agree", mismatches=wrong)


@app.command("verify")
def verify() -> None:
    """Recompute every batch of the lane from its public file, and compare it with the chain."""
    batch.verify(None)


@app.command("watch")
def watch(
    every: Annotated[float, Option("--every", help="Polling interval in seconds.", min=0.1, max=86_400.0)] = 15,
    once: Annotated[bool, Option("--once", help="Check once and exit.")] = False,
    book: Annotated[bool, Option(help="Also compare receipts with the bids in force.")] = True,
    budget: Budget = 10**17,
    receipt: Annotated[list[Path] | None, Option("--receipt", help=f"{RECEIPT} Repeat it.")] = None,
) -> None:
    """Recompute every pending batch from its public file. Send the fraud proof of the first false one.

    Where a file is withheld, it asks on chain for the missing parts; the fee comes back if there is no answer. Only
    this wallet's own questions count against the budget.
    """
    watched = Watched(receipt or [])
    while True:
        try:
            found = watched.look(book=book, budget=budget)
            if once and not found:
                output.show({"batches": 0, "said": "no batch is pending, and no receipt proves one false"})
        except TollwayError as error:  # the chain is unreachable, or was reorganised during the look
            if once:
                raise
            output.warn(error.message, "tries again:")
        if once:
            return
        time.sleep(every)


class Watched:
    """The gateway's lane, its public files, and the receipts that the wallet holds.

    A file of a batch or of a model that is missing or malformed counts as withheld.
    """

    def __init__(self, receipts: list[Path]) -> None:
        self._known: dict[bytes, BatchFile] = {}
        self._documents: dict[bytes, Document] = {}
        self._chain, self._lane = transactions.chain(here()), here().lane_id
        self._held = read_files(receipts, self._lane, here().domain)

    def look(self, *, book: bool, budget: int) -> int:
        """Inspect every pending batch once, and send what has to be sent. Returns how many findings there were."""
        from roles.audit.watch import Auditor, Evidence, inspect

        evidence, auditor = Evidence(self.file, self.document, self._held), Auditor(here().account, budget)
        findings = inspect(self._chain, self._lane, evidence, auditor, book=book)
        for finding in findings:
            facts: dict[str, object] = {"batch": finding.batch, "said": finding.said}
            if finding.call is not None:
                try:
                    facts |= transactions.send(here(), finding.call, wei=finding.value)
                except Rejected as error:  # somebody was first, or the chain disagrees: the next look shows which
                    facts["refused"] = error.message
            output.show(facts if finding.batch else {name: facts[name] for name in facts if name != "batch"})
        return len(findings)

    def document(self, model: Digest) -> Document | None:
        """A model's document."""
        if model not in self._documents:
            try:
                shown = here().gateway.get(f"/v1/documents/{cid(model)}")
                if digest(shown) == model:
                    self._documents[model] = shown
            except (TollwayError, LookupError, TypeError, ValueError):
                return None
        return self._documents.get(model)

    def file(self, header_id: HeaderId) -> BatchFile | None:
        """The file of the header with this id, if it is one of the newest."""
        if header_id not in self._known:
            for file in _newest():
                self._known[file.header.id] = file
                if header_id in self._known:
                    break
        return self._known.get(header_id)


def _newest() -> Iterator[BatchFile]:
    try:
        numbers = sorted(batches.numbers(here()), reverse=True)[:MAX_PENDING]
    except (TollwayError, LookupError, TypeError, ValueError):  # a gateway with malformed answers shows no file
        return
    for number in numbers:
        try:
            yield batches.read(here(), number)
        except TollwayError as error:
            output.warn(error.message, f"no file of batch {number}:")


@app.command("solvency")
def solvency() -> None:
    """Compare what lies at this lane's address with what its books owe."""
    output.show(holdings())


def holdings() -> dict[str, object]:
    """The lane's money on chain, in atoms. Rejected when less lies at its address than it owes (C2, C3, C7)."""
    lane, chain = here().lane_id, transactions.chain(here())
    at = chain.tip()  # one block for both: a claim between two would look like money that is gone
    books, held = chain.books(lane, at), chain.balance(lane, at)
    owed = books.net - books.paid
    facts: dict[str, object] = {
        "lane_holds": str(held),
        "lane_owes": str(owed),
        "in_no_account": str(max(0, held - owed)),
        "bond": str(books.bond),
        "settled_ever": str(books.settled),
        "claimed_ever": str(books.paid),
        "said": amounts.format(held),
    }
    if held < owed or not books.paid <= books.settled <= books.net:
        raise Rejected(f"lane {to_hex(lane)} holds {held} atoms and owes {owed}", **facts)
    return facts
