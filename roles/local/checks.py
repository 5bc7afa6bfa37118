"""The end of the story: who earned what in which role, from bids to chain, and whether everything agrees."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from ledger.core.catalog.bids import Role
from ledger.core.values.ids import Address, to_hex
from roles.audit import statements
from roles.cli import amounts, auditor, batch, context
from roles.local.console import DemoConsole
from roles.local.shopper import Called
from roles.wallet import keystore, transactions

Earned = Counter[tuple[Address, Role]]


def recompute(console: DemoConsole, made: Sequence[Called], deposit: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Every check of the end; the tables; the facts for `--json`."""
    checked = batch.check(batch.numbers())
    for one in checked:
        console.check(f"batch {one.number} recomputed", one.ok, f"{one.verdict}, on chain: {one.status}")
    earned = earnings()
    settled = sum(earned.values())
    _compare(console, earned, settled, made, deposit, facts)
    _table(console, earned)
    _gas(console, sum(one.verdict.receipts for one in checked))
    payees = {party for party, _ in earned}
    return {
        "calls": len(made),
        "receipts": sum(one.verdict.receipts for one in checked),
        "batches": len(checked),
        "payees": len(payees),
        "settled_atoms": str(settled),
        "earned": [
            {"who": who(party), "party": to_hex(party), "role": role.name, "atoms": str(atoms)}
            for (party, role), atoms in sorted(earned.items(), key=lambda row: (row[0][1], row[0][0]))
        ],
        "gas": {name: sorted(values) for name, values in console.gas.items()},
        "checks": [{"name": check.name, "held": check.held, "said": check.said} for check in console.checks],
    }


def earnings() -> Earned:
    """What every payee earned in every role: each receipt's lines, recomputed from the public batch files."""
    earned: Earned = Counter()
    for number in batch.numbers():
        for item in statements.items(batch.read(number)):
            if item.amount:
                earned[item.payee, item.role] += item.amount
    return earned


def who(party: Address) -> str:
    """A party's wallet here, or its address."""
    names = {keystore.address_of(name): name for name in keystore.names()}
    return names.get(party, to_hex(party))


def _compare(
    console: DemoConsole, earned: Earned, settled: int, made: Sequence[Called], deposit: str, facts: dict[str, Any]
) -> None:
    lane = int(context.here().lane["lane"])
    head = transactions.chain().head(lane)
    console.check(
        "sum of all lines = payout tree on chain",
        settled == head.cumulative,
        f"{settled:,} = {head.cumulative:,} atoms",
    )
    by_party: Counter[Address] = Counter()
    for (party, _), atoms in earned.items():
        by_party[party] += atoms
    for party, atoms in by_party.items():
        index = transactions.chain().payee_index(party)
        claimed = transactions.chain().claimed(lane, index)
        ledger = int(context.here().gateway.get(f"/v1/earnings/{to_hex(party)}")["earned"])
        agree = atoms == claimed == ledger
        if not agree:
            console.check(f"{who(party)}: files = ledger = chain", False, f"{atoms}, {ledger}, {claimed}")
    console.check(
        "every payee: public files = ledger = claimed on chain",
        not any(check.name.endswith("files = ledger = chain") for check in console.checks),
        f"{len(by_party)} payees",
    )
    paid = amounts.typed(deposit) - int(facts["withdrawn"])
    console.check(
        "deposited - withdrawn = settled",
        paid == settled,
        f"{amounts.typed(deposit):,} - {int(facts['withdrawn']):,} = {settled:,} atoms",
    )
    told = sum(called.charge for called in made)
    console.check("sum of all charges the client was told = settled", told == settled, f"{told:,} = {settled:,} atoms")
    _custody(console, lane)


def _custody(console: DemoConsole, lane: int) -> None:
    """The ledger's custody, all that the lane owes, and the contract's own balance."""
    held = auditor.holdings()
    custody, chain = books(), str(held["of_this_lane"])
    console.check(
        "custody = what the contract holds", custody == chain, f"{int(custody):,} = {int(chain):,} atoms in lane {lane}"
    )
    whole = int(str(held["of_this_lane"])) + int(str(held["bond_and_insurance"]))
    console.check("the contract's tokens cover it all", int(str(held["contract_holds"])) == whole, f"{whole:,} atoms")


def books(seconds: float = 30) -> str:
    """The ledger's custody, once it has indexed what has just happened on chain."""
    deadline = time.monotonic() + seconds
    while True:
        custody = str(context.here().gateway.get("/v1/lane")["custody"])
        if custody == str(auditor.holdings()["of_this_lane"]) or time.monotonic() > deadline:
            return custody
        time.sleep(0.3)


def _table(console: DemoConsole, earned: Earned) -> None:
    table = Table(title="who earned what", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in ("who", "role", "atoms"):
        table.add_column(name, justify="right" if name == "atoms" else "left")
    for (party, role), atoms in sorted(earned.items(), key=lambda row: (row[0][1], -row[1])):
        table.add_row(who(party), role.name, f"{atoms:,}")
    table.add_row("[bold]all[/]", "", f"[bold]{sum(earned.values()):,}[/]")
    console.console.print()
    console.console.print(table)


def _gas(console: DemoConsole, receipts: int) -> None:
    table = Table(title="\ngas", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in ("command", "times", "median gas"):
        table.add_column(name, justify="left" if name == "command" else "right")
    for name, values in sorted(console.gas.items()):
        table.add_row(f"tollway {name}", str(len(values)), f"{sorted(values)[len(values) // 2]:,}")
    console.console.print(table)
    commits = commit_gas()
    if commits and receipts:
        total = sum(commits)
        console.say(
            f"{len(commits)} commits for {receipts} receipts: {total:,} gas, {total / receipts:.1f} per receipt"
        )
    console.gas["commit"] = commits


def commit_gas() -> list[int]:
    """Gas of every transaction of the operator's worker that posted a batch."""
    chain = transactions.chain()
    hashes = sorted({str(log["transactionHash"]) for log in chain.raw_logs("Settlement", "Committed")})
    return [int(chain.rpc("eth_getTransactionReceipt", one)["gasUsed"], 16) for one in hashes]
