"""The demo's checks: earnings by payee and role, recomputed from the public files, compared with ledger and chain."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.table import Table

from ledger.core.catalog.bids import Role
from ledger.core.values.ids import Address, Lane, to_hex
from roles.audit import batches, statements
from roles.cli import amounts, auditor, context
from roles.cli.output import wait_until
from roles.local.actors import CONSUMER, OPERATOR, WEAVER
from roles.local.console import DemoConsole
from roles.local.consumer import Answer
from roles.wallet import keystore, transactions

Earned = Counter[tuple[Address, Role]]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the consumer knows by itself, in atoms: the charges of its answers, what it deposited, and withdrew."""

    charged: int
    deposited: int
    withdrawn: int


def recompute(console: DemoConsole, answers: Sequence[Answer], deposit: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Run every check and print the tables. Returns the facts for `--json`."""
    checked = batches.check(context.here(), batches.numbers(context.here()))
    for one in checked:
        console.check(f"batch {one.number} recomputed", one.ok, f"{one.verdict}, on chain: {one.status}")
    earned, receipts = earnings(), sum(one.verdict.receipts for one in checked)
    _compare(console, earned)
    seen = Seen(sum(answer.charge for answer in answers), amounts.parse(deposit), int(facts["withdrawn"]))
    compare_payments(console, payments(), earned.total(), seen)
    _compare_custody(console, context.here().lane_id)
    _show_earnings(console, earned)
    _show_gas(console, receipts)
    return {
        "calls": len(answers),
        "receipts": receipts,
        "batches": len(checked),
        "payees": len({party for party, _ in earned}),
        "settled_atoms": str(earned.total()),
        "earned": [
            {"who": name_of(party), "party": to_hex(party), "role": role.name, "atoms": str(atoms)}
            for (party, role), atoms in sorted(earned.items(), key=lambda row: (row[0][1], row[0][0]))
        ],
        "gas": {name: sorted(values) for name, values in console.gas.items()},
        "checks": [{"name": check.name, "held": check.held, "said": check.figures} for check in console.checks],
    }


def earnings() -> Earned:
    """Each payee's earnings in each role, from each receipt's lines in the public batch files."""
    earned: Earned = Counter()
    for number in batches.numbers(context.here()):
        for item in statements.items(batches.read(context.here(), number)):
            if item.amount:
                earned[item.payee, item.role] += item.amount
    return earned


def payments() -> Counter[Address]:
    """What each account paid, from the receipts in the public batch files."""
    paid: Counter[Address] = Counter()
    for number in batches.numbers(context.here()):
        for receipt in batches.read(context.here(), number).receipts:
            paid[receipt.consumer] += receipt.charge
    return paid


def earned_by(name: str) -> dict[str, Any]:
    """What the ledger says that a wallet earned, asked as that wallet."""
    asking = replace(context.here(), wallet_name=name)
    found: dict[str, Any] = asking.account_gateway.get(f"/v1/earnings/{to_hex(asking.account)}")
    return found


def name_of(party: Address) -> str:
    return {keystore.address_of(name): name for name in keystore.names()}.get(party, to_hex(party))


def _compare(console: DemoConsole, earned: Earned) -> None:
    """Compare the sum of all lines, and each payee's, with the chain and the ledger."""
    lane, settled = context.here().lane_id, earned.total()
    on_chain = transactions.chain(context.here()).head(lane).total
    console.check("sum of all lines = payout tree on chain", settled == on_chain, f"{settled:,} = {on_chain:,} atoms")
    by_party: Counter[Address] = Counter()
    for (party, _), atoms in earned.items():
        by_party[party] += atoms
    all_agree = True
    for party, atoms in by_party.items():
        index = transactions.chain(context.here()).payee_index(party)
        claimed = transactions.chain(context.here()).claimed(lane, index)
        ledger = int(earned_by(name_of(party))["earned"])
        if not atoms == claimed == ledger:
            all_agree = False
            console.check(f"{name_of(party)}: files = ledger = chain", False, f"{atoms}, {ledger}, {claimed}")
    payees = f"{len(by_party)} payees"
    console.check("every payee: public files = ledger = claimed on chain", all_agree, payees)


def compare_payments(console: DemoConsole, paid: Counter[Address], settled: int, seen: Seen) -> None:
    """Compare what was paid with what was settled, and the consumer's part of it with what that one knows.

    The rest is others' by rule: of a workflow that fails as a whole the weaver's bond pays the steps that served, and
    the operator pays for its probes of nodes.
    """
    mine = paid[keystore.address_of(CONSUMER)]
    besides = {keystore.address_of(name): name for name in (WEAVER, OPERATOR)}
    others = {party: atoms for party, atoms in paid.items() if atoms and party != keystore.address_of(CONSUMER)}
    console.check("sum of all payments = settled", paid.total() == settled, f"{paid.total():,} = {settled:,} atoms")
    spent = seen.deposited - seen.withdrawn
    figures = f"{seen.deposited:,} - {seen.withdrawn:,} = {mine:,} atoms"
    console.check("deposited - withdrawn = what the consumer's receipts say", spent == mine, figures)
    figures = f"{seen.charged:,} = {mine:,} atoms"
    console.check("sum of all charges the client saw = what its receipts say", seen.charged == mine, figures)
    figures = ", ".join(f"{name_of(party)} {atoms:,} atoms" for party, atoms in others.items()) or "nobody else paid"
    console.check("nobody paid besides, but bonds and probes", others.keys() <= besides.keys(), figures)


def _compare_custody(console: DemoConsole, lane: Lane) -> None:
    """Compare the ledger's custody, what the lane owes, and the contract's balance."""
    wait_until(lambda: _ledger_custody() == auditor.holdings()["lane_owes"], 30, 0.3)  # the indexer catches up
    held, custody = auditor.holdings(), _ledger_custody()
    chain = str(held["lane_owes"])
    figures = f"{int(custody):,} = {int(chain):,} atoms in lane {to_hex(lane)}"
    console.check("custody = what the contract holds", custody == chain, figures)
    console.check("the lane's own address holds it", str(held["lane_holds"]) == chain, f"{int(chain):,} atoms")


def _ledger_custody() -> str:
    return str(context.here().gateway.get("/v1/lane")["custody"])


def _show_earnings(console: DemoConsole, earned: Earned) -> None:
    table = Table(title="who earned what", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in ("who", "role", "atoms"):
        table.add_column(name, justify="right" if name == "atoms" else "left")
    for (party, role), atoms in sorted(earned.items(), key=lambda row: (row[0][1], -row[1])):
        table.add_row(name_of(party), role.name, f"{atoms:,}")
    table.add_row("[bold]all[/]", "", f"[bold]{earned.total():,}[/]")
    console.console.print()
    console.console.print(table)


def _show_gas(console: DemoConsole, receipts: int) -> None:
    table = Table(title="\ngas", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in ("command", "times", "median gas"):
        table.add_column(name, justify="left" if name == "command" else "right")
    for name, values in sorted(console.gas.items()):
        table.add_row(f"tollway {name}", str(len(values)), f"{sorted(values)[len(values) // 2]:,}")
    console.console.print(table)
    chain = transactions.chain(context.here())
    hashes = sorted({str(log["transactionHash"]) for log in chain.raw_logs("Settlement", "Committed")})
    commits = [int(chain.rpc("eth_getTransactionReceipt", one)["gasUsed"], 16) for one in hashes]
    if commits and receipts:
        total = sum(commits)
        each = f"{total / receipts:.1f} per receipt"
        console.say(f"{len(commits)} commits for {receipts} receipts: {total:,} gas, {each}")
    console.gas["commit"] = commits
