"""`tollway wallet`: keys, what they hold, and moving it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ledger.core.values.errors import Rejected
from ledger.core.values.ids import to_hex
from roles.cli import amounts, output
from roles.cli.context import Group, here
from roles.wallet import keystore, transactions

app = Group("Keys, what they hold, and moving it.")

Name = Annotated[str, typer.Argument(help="A name you choose; it stays on this machine.")]


@app.verb("create")
def create(
    name: Name,
    light: Annotated[bool, typer.Option("--light", help="Weaker sealing, unlocks at once: for play money.")] = False,
) -> None:
    """Make a wallet: a new random key, sealed with a password."""
    made = keystore.create(name, strength=keystore.LIGHT if light else keystore.STRONG)
    output.tell({"wallet": name, "address": to_hex(made)})
    output.remark("keep its password: without it the key is gone. Money next: tollway wallet faucet (local network)")


@app.verb("import")
def import_(name: Name) -> None:
    """Make a wallet from a private key, read from standard input: never from an argument."""
    if sys.stdin.isatty():
        output.aside().print("the private key, 64 hex digits: ", end="")
    typed = sys.stdin.readline().strip().removeprefix("0x")
    try:
        secret = bytes.fromhex(typed)
    except ValueError as error:
        raise Rejected("a private key is 64 hex digits") from error
    output.tell({"wallet": name, "address": to_hex(keystore.create(name, secret))})


@app.verb("list")
def list_() -> None:
    """All wallets of this home."""
    rows = [{"wallet": name, "address": to_hex(keystore.address_of(name))} for name in keystore.names()]
    output.tabulate(rows, empty="no wallets yet: tollway wallet create NAME")


@app.verb("show")
def show(name: Name) -> None:
    """A wallet's address."""
    output.tell({"wallet": name, "address": to_hex(keystore.address_of(name))})


@app.verb("balance")
def balance(
    name: Annotated[str | None, typer.Argument(help="A wallet or 0x address; default: who acts.")] = None,
) -> None:
    """What it holds on chain: AIC, and ETH for gas."""
    party = keystore.party(name) if name else here().account
    held, wei = transactions.chain().balance(party), transactions.chain().ether(party)
    eth = f"{wei // 10**18}.{wei % 10**18 // 10**12:06d}"
    output.tell({"address": to_hex(party), "aic": amounts.said(held), "atoms": str(held), "eth": eth})


@app.verb("send")
def send(
    to: Annotated[str, typer.Argument(help="A wallet or 0x address.")],
    amount: Annotated[str, typer.Argument(help="12.5 (AIC) or 1500atoms.")],
) -> None:
    """Send AIC on chain."""
    atoms, party = amounts.typed(amount), keystore.party(to)
    output.confirm(f"send {amounts.said(atoms)} from {here().wallet} to {to} ({to_hex(party)})?")
    sent = transactions.send(transactions.chain().calls.transfer(party, atoms))
    output.tell({"sent": amounts.said(atoms), "to": to_hex(party), **sent.facts})


@app.verb("faucet")
def faucet(
    amount: Annotated[str, typer.Argument(help="12.5 (AIC) or 1500atoms.")] = "1000",
    to: Annotated[str | None, typer.Option(help="A wallet or 0x address; default: who acts.")] = None,
) -> None:
    """Test AIC, and ETH for gas, from the treasury of your local network."""
    party = keystore.party(to) if to else here().account
    atoms = amounts.typed(amount)
    sent = transactions.endow(party, atoms)
    output.tell({"received": amounts.said(atoms), "by": to_hex(party), **sent.facts})
