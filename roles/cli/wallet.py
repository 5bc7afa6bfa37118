"""`tollway wallet`: create keys, see what they hold, send it."""

import sys
from typing import Annotated

from typer import Argument, Option

from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, to_hex
from roles.cli import amounts, output
from roles.cli.amounts import Amount
from roles.cli.context import Group, here
from roles.wallet import keystore, transactions

app = Group("Create keys, see what they hold, send it.")

Name = Annotated[str, Argument(help="A name you choose: lower-case letters, digits, dots, dashes.")]
PARTY = "A wallet or 0x address; default: the wallet that acts."


@app.command("create")
def create(
    name: Name,
    light: Annotated[bool, Option("--light", help="Fast, weak encryption: for test money only.")] = False,
    aic: Annotated[
        str | None, Option("--faucet", help="Test money for it, as by `wallet faucet`: 12.5 or 1500atoms.")
    ] = None,
) -> None:
    """Create a wallet: a new random key, encrypted with a password.

    Example: tollway wallet create alice
    """
    atoms = amounts.parse_some(aic) if aic is not None else 0
    if atoms:
        transactions.chain(here()).balance(
            keystore.address_of(keystore.TREASURY)
        )  # before a key is made: is one there?
    address = keystore.create(name, strength=keystore.LIGHT if light else keystore.STRONG)
    received = {"received": amounts.format(atoms), **transactions.endow(here(), address, atoms)} if atoms else {}
    output.show({"wallet": name, "address": to_hex(address), **received})
    next_ = "" if atoms else f" Next, on a local network: tollway wallet faucet -w {name}"
    output.note(f"keep the password: without it the key is lost.{next_}")


@app.command("import")
def import_(name: Name) -> None:
    """Create a wallet from a private key on standard input.

    Example: tollway wallet import alice < key.txt
    """
    if sys.stdin.isatty():
        output.aside().print("the private key, 64 hex digits: ", end="")
    text = sys.stdin.readline().strip().removeprefix("0x")
    try:
        secret = bytes.fromhex(text)
    except ValueError as error:
        raise Rejected("a private key is 64 hex digits") from error
    output.show({"wallet": name, "address": to_hex(keystore.create(name, secret))})


@app.command("list")
def list_() -> None:
    """List the wallets on this machine."""
    rows = [{"wallet": name, "address": to_hex(keystore.address_of(name))} for name in keystore.names()]
    output.show_table(rows, empty="no wallets yet: tollway wallet create NAME")


@app.command("show")
def show(name: Name) -> None:
    """Show a wallet's address."""
    output.show({"wallet": name, "address": to_hex(keystore.address_of(name))})


@app.command("balance")
def balance(name: Annotated[str | None, Argument(help=PARTY)] = None) -> None:
    """Show what a wallet holds on chain: settlement tokens, and ETH for gas."""
    party = _party(name)
    held, wei = transactions.chain(here()).balance(party), transactions.chain(here()).ether(party)
    eth = f"{wei // 10**18}.{wei % 10**18 // 10**12:06d}"
    output.show({"address": to_hex(party), "holds": amounts.format(held), "atoms": str(held), "eth": eth})


@app.command("send")
def send(to: Annotated[str, Argument(help="A wallet or 0x address.")], amount: Amount) -> None:
    """Send settlement tokens on chain.

    Example: tollway wallet send bob 12.5 -w alice
    """
    atoms, party = amounts.parse_some(amount), keystore.party(to)
    output.confirm(f"send {amounts.format(atoms)} from {here().wallet} to {to} ({to_hex(party)})?")
    transactions.check_balance(here(), atoms)
    sent = transactions.send(here(), transactions.chain(here()).calls.transfer(party, atoms))
    output.show({"sent": amounts.format(atoms), "to": to_hex(party), **sent})


@app.command("faucet")
def faucet(amount: Amount = "1000", to: Annotated[str | None, Option(help=PARTY)] = None) -> None:
    """Get test money, and ETH for gas, from the treasury of your local network."""
    atoms, party = amounts.parse_some(amount), _party(to)
    sent = transactions.endow(here(), party, atoms)
    output.show({"received": amounts.format(atoms), "by": to_hex(party), **sent})


def _party(text: str | None) -> Address:
    return keystore.party(text) if text else here().account
