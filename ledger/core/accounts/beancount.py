"""A statement as a Beancount file. `bean-check` accepts it; its balances equal the ledger's to the atom.

What a consumer has in the lane (available, leased, withdrawing) is one asset. What a payee has earned is an asset that
moves from accrued to claimable to its wallet. Parts of a statement can be joined: `auto_accounts` opens the accounts.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby

from ledger.core.accounts.accounts import parse
from ledger.core.accounts.postings import Kind
from ledger.core.accounts.statements import Item, Movement, Row, Side, Stage
from ledger.core.values.atoms import Currency
from ledger.core.values.ids import Address, Digest, to_hex
from ledger.core.values.meters import used

_OF_THE_WALLET = (Kind.deposit, Kind.withdraw, Kind.claim)


def header(party: Address, currency: Currency, title: str = "Tollway statement") -> str:
    """The first lines of the file."""
    return (
        f'option "title" "{title} of {to_hex(party)}"\n'
        f'option "operating_currency" "{_code(currency)}"\n'
        'plugin "beancount.plugins.auto_accounts"\n\n'
    )


def calls(rows: Iterable[Row], names: Mapping[Digest, str], currency: Currency) -> str:
    """One entry per receipt and side, a posting per line. `names` are the subjects' names, where they have one."""
    entries = []
    for (_, _, side), group in groupby(rows, key=lambda r: (r.item.receipt.gateway, r.item.receipt.seq, r.side)):
        entries.append(_call(side, list(group), names, currency))
    return "".join(entries)


def moves(movements: Iterable[Movement], currency: Currency) -> str:
    """One entry per booked transaction: deposits, batches, claims, withdrawals, corrections."""
    entries = []
    for _, group in groupby(movements, key=lambda m: m.transaction.id):
        entries.append(_move(list(group), currency))
    return "".join(entries)


def amount(atoms: int, currency: Currency) -> str:
    """Atoms as a decimal with all places, and the currency."""
    return f"{currency.decimal(atoms)} {_code(currency)}"


def _code(currency: Currency) -> str:
    """Its symbol as Beancount takes it: without small letters."""
    return currency.symbol.upper()


def _call(side: Side, rows: Sequence[Row], names: Mapping[Digest, str], currency: Currency) -> str:
    receipt, subject = rows[0].item.receipt, rows[0].item.subject
    flag = "!" if rows[0].stage is Stage.logged else "*"
    name = names.get(subject) or to_hex(subject)
    link = "call-" + receipt.call_id.hex()
    lines = [f'{_day(receipt.ended_at)} {flag} "{_plain(name)}" "{_said(used(receipt.units))}" ^{link}']
    lines += [f'  receipt: "{to_hex(receipt.gateway)}-{receipt.seq}"', f'  terms: "{to_hex(receipt.terms)}"']
    lines += [f'  price: "{receipt.price}"', f'  ended: "{_moment(receipt.ended_at)}"']
    lines += [f'  batch: "{rows[0].batch or "-"}"', f'  stage: "{rows[0].stage.value}"']
    for row in rows:
        lines += _lines(side, row.item, currency)
    if side is Side.spent:
        lines.append(f"  Assets:Tollway:Deposit  {amount(-sum(row.item.amount for row in rows), currency)}")
    return "\n".join(lines) + "\n\n"


def _lines(side: Side, item: Item, currency: Currency) -> list[str]:
    role = item.role.name.capitalize()
    why = f'    why: "{item.why}"'
    if side is Side.spent:
        return [
            f"  Expenses:Tollway:{role}  {amount(item.amount, currency)}",
            f'    payee: "{to_hex(item.payee)}"',
            why,
        ]
    asset, income = f"  Assets:Tollway:Accrued:{role}", f"  Income:Tollway:{role}"
    consumer = f'    consumer: "{to_hex(item.receipt.consumer)}"'
    return [f"{asset}  {amount(item.amount, currency)}", why, f"{income}  {amount(-item.amount, currency)}", consumer]


def _move(group: Sequence[Movement], currency: Currency) -> str:
    transaction = group[0].transaction
    lines = [f'{_day(transaction.at)} * "Tollway" "{transaction.kind.value}" ^transaction-{transaction.id.hex()}']
    for movement in group:
        lines.append(f"  {_account(movement.account)}  {amount(movement.grown, currency)}")
    rest = sum(movement.grown for movement in group)
    if rest:
        other = "Assets:Wallet" if transaction.kind in _OF_THE_WALLET else "Equity:Tollway:Corrections"
        lines.append(f"  {other}  {amount(-rest, currency)}")
    return "\n".join(lines) + "\n\n"


def _account(name: str) -> str:
    account = parse(name)
    if account.kind == "accrued":
        assert account.role is not None, "accrued accounts have a role"
        return f"Assets:Tollway:Accrued:{account.role.name.capitalize()}"
    return "Assets:Tollway:Claimable" if account.kind == "claimable" else "Assets:Tollway:Deposit"


def _said(units: Mapping[str, int]) -> str:
    return ", ".join(f"{meter} {used}" for meter, used in units.items() if used) or "nothing metered"


def _plain(text: str) -> str:
    return text.replace("\\", "").replace('"', "'").replace("\n", " ")


def _day(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%d")


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
