"""`tollway realm`: keep models, prices and traffic to yourselves: say who belongs to your realm."""

import time
from typing import Annotated

from typer import Argument, Option

from ledger.core.catalog import realms
from ledger.core.values.documents import Document
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import to_hex
from roles.cli import output
from roles.cli.context import Group, here
from roles.wallet import keystore, signing

app = Group("Keep models, prices and traffic among the members of a realm.")

Realm = Annotated[str, Argument(metavar="NAME", help="Your realm: its name, or all of 0xOWNER/NAME.")]
Accounts = Annotated[list[str], Argument(help="Accounts: wallets or 0x addresses.")]


@app.command("make")
def make(realm: Realm) -> None:
    """Make a realm of this wallet: what is offered in it is there for its members only. Again, it changes nothing.

    Example: tollway realm make clinic -w acme
    """
    name = _own(realm)
    known = _list(name)
    if known is None:
        _publish(name, set(), set(), 0)
    output.show({"realm": name, "members": len(known["members"]) if known else 0})
    output.note(f"admit members and providers: tollway realm admit {name} ACCOUNT")


@app.command("admit")
def admit(realm: Realm, accounts: Accounts) -> None:
    """Put accounts on the list: consumers that may call what is offered in the realm, and providers that may offer.

    Example: tollway realm admit clinic alice dora -w acme
    """
    name, added = _own(realm), {to_hex(keystore.party(one)) for one in accounts}
    members, expelled, nonce = _read(name)
    _publish(name, members | added, expelled - added, nonce)
    output.show({"realm": name, "admitted": sorted(added), "members": len(members | added)})


@app.command("expel")
def expel(realm: Realm, accounts: Accounts) -> None:
    """Take accounts off the list, and end their tokens. The gateway refuses them at once; open calls end as they would.

    Example: tollway realm expel clinic alice -w acme
    """
    name, gone = _own(realm), {to_hex(keystore.party(one)) for one in accounts}
    members, expelled, nonce = _read(name)
    _publish(name, members - gone, expelled | gone, nonce)
    output.show({"realm": name, "expelled": sorted(gone), "members": len(members - gone)})


@app.command("list")
def show(realm: Realm) -> None:
    """List who belongs to your realm, and whose tokens do not count."""
    name = _own(realm)
    members, expelled, _ = _read(name)
    rows = [{"account": one, "belongs": one in members} for one in sorted(members | expelled)]
    output.show_table(rows, empty=f"nobody but its owner belongs to {name}: tollway realm admit {name} ACCOUNT")


@app.command("token")
def token(
    realm: Realm,
    account: Annotated[str, Argument(help="For whom: a wallet or a 0x address.")],
    days: Annotated[float, Option(help="Days until it ends.")] = 30,
) -> None:
    """Sign a token by which one account belongs to your realm until it ends, without being on the list.

    Example: tollway realm token clinic alice --days 1 -w acme
    """
    name, party = _own(realm), keystore.party(account)
    if days <= 0:
        raise Rejected(f"a token that ends in {days} days admits nobody: use --days 1 or more")
    if to_hex(party) in (_list(name) or {"expelled": []})["expelled"]:
        admit_it = f"tollway realm admit {name} {account}"
        raise Rejected(f"{account} is expelled from {name}, so its tokens do not count: {admit_it}")
    until = int((time.time() + days * 86_400) * 1000)
    text = realms.sign_token(here().signer, here().domain, name.partition("/")[2], party, until)
    output.show({"token": text, "realm": name, "account": to_hex(party), "until_ms": until})
    output.note("it is sent as the header Tollway-Realm, or with --realm; only this account can use it")


@app.command("read")
def read(text: Annotated[str, Argument(metavar="TOKEN", help="A realm's token, tm_...")]) -> None:
    """Show what a token says, after checking that the realm's owner signed it for this lane's chain."""
    found = realms.read_token(text)
    if not realms.check_token(found, here().domain):
        raise Rejected(f"this token is not signed by the owner of {found.realm}, who makes one: tollway realm token")
    good = time.time() * 1000 < found.until
    output.show({"realm": found.realm, "account": to_hex(found.account), "until_ms": found.until, "ended": not good})


def _own(text: str) -> str:
    """The whole name of a realm of this wallet. Rejected when it is another's."""
    name = here().realm(text)
    if realms.owner_of(name) != here().account:
        owner = to_hex(realms.owner_of(name))
        raise Rejected(f"{name} is not a realm of {here().wallet}: use the wallet of {owner}", owner=owner)
    return name


def _list(name: str) -> Document | None:
    """A realm's list at the gateway; None when it has none there."""
    try:
        return dict(here().account_gateway.get(f"/v1/realms/{name}"))
    except Rejected as rejected:
        if rejected.facts.get("code") != "no_such_realm":
            raise
        return None


def _read(name: str) -> tuple[set[str], set[str], int]:
    """Members, expelled accounts and nonce of a realm's list. Rejected when the realm was not made."""
    known = _list(name)
    if known is None:
        raise Rejected(f"there is no realm {name} at {here().url}: make it with `tollway realm make {name}`")
    return set(known["members"]), set(known["expelled"]), known["nonce"]


def _publish(name: str, members: set[str], expelled: set[str], nonce: int) -> None:
    """Publish a list that replaces the one of this nonce. If that was replaced meanwhile, the gateway refuses it."""
    document = signing.realm(here().signer, here().domain, name, members, expelled, nonce + 1)
    here().gateway.post("/v1/realms", document)
