"""Accounts of the ledger: their names, made of words and addresses, and the side on which each grows."""

from enum import Enum
from typing import NamedTuple

from ledger.core.catalog.bids import Role
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, address, to_hex


class Side(Enum):
    """The entries that make a balance grow."""

    debit = "debit"
    credit = "credit"


CUSTODY = "custody"
"""Tokens the contract holds for the lane: the one debit account."""

KINDS = (CUSTODY, "available", "leased", "withdrawing", "accrued", "claimable")


class Account(NamedTuple):
    """A parsed name: its kind and party, and the gateway (leased) or role (accrued)."""

    kind: str
    party: Address | None = None
    gateway: Address | None = None
    role: Role | None = None


def available(consumer: Address) -> str:
    """A consumer's deposit that can be spent or withdrawn."""
    return f"available:{to_hex(consumer)}"


def leased(consumer: Address, gateway: Address) -> str:
    """A consumer's money that a gateway may spend."""
    return f"leased:{to_hex(consumer)}:{to_hex(gateway)}"


def withdrawing(consumer: Address) -> str:
    """A consumer's money on its way out, not spendable."""
    return f"withdrawing:{to_hex(consumer)}"


def accrued(payee: Address, role: Role) -> str:
    """A payee's earnings in a role that are not yet in a posted batch."""
    return f"accrued:{to_hex(payee)}:{role.name}"


def claimable(payee: Address) -> str:
    """A payee's earnings in posted batches that are not yet claimed."""
    return f"claimable:{to_hex(payee)}"


def side(name: str) -> Side:
    """The side on which an account grows. Rejected for an unknown kind."""
    kind = name.partition(":")[0]
    if kind not in KINDS:
        raise Rejected(f"there is no account {name!r}", account=name)
    return Side.debit if kind == CUSTODY else Side.credit


def parse(name: str) -> Account:
    """An account from its name. Rejected unless it is spelled as the functions above spell it."""
    kind, *rest = name.split(":")
    try:
        if kind == "custody" and not rest:
            account = Account(kind)
        elif kind == "leased":
            account = Account(kind, address(rest[0]), gateway=address(rest[1]))
        elif kind == "accrued":
            account = Account(kind, address(rest[0]), role=Role[rest[1]])
        elif kind in ("available", "withdrawing", "claimable") and len(rest) == 1:
            account = Account(kind, address(rest[0]))
        else:
            raise Rejected(f"there is no account {name!r}", account=name)
    except (KeyError, IndexError) as error:
        raise Rejected(f"there is no account {name!r}", account=name) from error
    if spelled(account) != name:
        raise Rejected(f"account {name!r} is spelled {spelled(account)!r}", account=name)
    return account


def spelled(account: Account) -> str:
    """The name of a parsed account."""
    parts = [account.kind]
    parts += [to_hex(party) for party in (account.party, account.gateway) if party is not None]
    parts += [account.role.name] if account.role is not None else []
    return ":".join(parts)
