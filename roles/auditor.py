"""`tollway auditor`: anybody who recomputes. Trust nobody, ask nobody's leave."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Annotated

import typer

from ledger.core import vectors
from ledger.core.batches import BatchFile
from ledger.core.errors import Rejected
from roles import amounts, batch, output, sending
from roles.command import Group, here

app = Group("Recompute everything: batches, balances, the rules themselves.")


@app.verb("check-vectors")
def check_vectors(files: Annotated[list[Path], typer.Argument(help="mechanism.json, sumtree.json, ...")]) -> None:
    """Recompute the vectors of the mechanism and of the sum tree, and name each mismatch."""
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
    book: Annotated[bool, typer.Option("--book", help="Also hold lines against the bids in force.")] = False,
) -> None:
    """Recompute every posted batch from its public file, and send the proof of the first lie by itself."""
    from contracts.deployments import Deployment  # web3 takes a second to import: only who watches waits for it
    from ledger.chain.client import Chain
    from roles import watching

    known = sending.deployment()
    places = {one.name: known[one.name] for one in dataclasses.fields(Deployment)}
    chain, lane = Chain(sending.rpc().url, Deployment(**places)), int(here().lane["lane"])
    while True:
        for found in watching.inspect(chain, lane, _files().get, book=book):
            sent = {}
            if found.call is not None:
                sent = sending.transact(sending.rpc(), here().signer, *found.call, found.value).facts
            output.tell({"batch": found.batch, "said": found.said, **sent})
        if once:
            return
        time.sleep(every)


def _files() -> dict[bytes, BatchFile]:
    """The gateway's public files by their headers' hashes."""
    return {one.header.hash[:24]: one for one in map(batch.read, batch.numbers())}


@app.verb("solvency")
def solvency() -> None:
    """Compare what the contract holds with what it owes, and the ledger's custody with both."""
    output.tell(holdings())


def holdings() -> dict[str, object]:
    """The lane's money on chain and in the ledger. Rejected when they differ."""
    number = int(here().lane["lane"])
    lane, head = sending.read("settlement", "lanes", number), sending.read("settlement", "head", number)
    count = int(sending.read("registry", "payeeCount"))
    claimed = sum(int(sending.read("settlement", "claimed", number, index)) for index in range(1, count + 1))
    held = sending.token_balance(sending.address_of("settlement"))
    owed = int(lane["net"]) - claimed + int(lane["bond"]) + int(lane["insurance"])
    facts: dict[str, object] = {
        "contract_holds": str(held),
        "of_this_lane": str(int(lane["net"]) - claimed),
        "bond_and_insurance": str(int(lane["bond"]) + int(lane["insurance"])),
        "settled_ever": str(int(head["cumulative"])),
        "claimed_ever": str(claimed),
        "said": amounts.said(held),
    }
    if held < owed:
        raise Rejected(f"the contract holds {held} atoms but owes this lane alone {owed}", **facts)
    return facts
