"""A whole model server, sold at once: each of its models is registered, bid for and offered.

What is done already is not done again, so that it can be repeated: after a mistake, when a model was added, and to
renew what ends. Alone: `provider import` is one command of a file that has many.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ledger.core.catalog import names
from ledger.core.catalog.bids import Bid, Role
from ledger.core.values.documents import Document
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import ZERO_ADDRESS, Digest, address, cid_digest, to_hex
from roles.cli import amounts, output
from roles.cli.context import here
from roles.cli.shared import payees, publication, readiness, servers
from roles.cli.shared.readiness import Asked
from roles.client import model_server
from roles.client.gateway import Json
from roles.client.model_server import ModelServer, Served
from roles.wallet import transactions

if TYPE_CHECKING:
    from roles.node.serve import Terms

MAX_MODELS = 32
"""Of one import: each of them is several transactions."""

Describe = Callable[[str, Served], Document]
"""A model's document, from its Tollway name and what its server says of it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done with one model of a server. `why`: it is left out, for this reason."""

    name: str
    served: Served
    known: Digest | None = None
    """Its id, if it is published, by this wallet."""
    why: str = ""

    def row(self) -> dict[str, Any]:
        found = {"model": self.name, "served_as": self.served.name, "protocol": self.served.protocol}
        return {
            **found,
            "plan": f"left out: {self.why}" if self.why else "renew" if self.known else "register and sell",
        }


@dataclass(frozen=True, slots=True)
class Sale:
    """How a server's models are sold: described how, for which bids as provider and as maker, on which terms."""

    describe: Describe
    asks: Bid
    share: Bid
    terms: "Terms"
    stake: int
    """Atoms that are staked first, unless this wallet has as much."""

    def question(self, organisation: str, chosen: Sequence[Plan], server: ModelServer) -> str:
        """What is asked before anything is done: everything that costs or is published."""
        new = sum(one.known is None for one in chosen)
        parts = [f"sell {len(chosen)} models of {server.root}, {new} of them new, for {payees.describe(self.asks)}"]
        if self.share != Bid():
            parts[-1] += f" and {payees.describe(self.share)} as their maker"
        if new and (stake := name_stake(organisation)):
            parts.append(f"stake {amounts.format(stake)} for the name @{organisation}")
        if self.stake:
            parts.append(f"stake up to {amounts.format(self.stake)}")
        if server.key is not None:
            parts.append(servers.key_is_given(server))
        return ", ".join(parts) + "?"


def plan(organisation: str, version: str, found: Sequence[Served], only: Sequence[str]) -> list[Plan]:
    """What would be done with each model. Rejected when one of `only` is not there, or there are too many."""
    there = {one.name for one in found}
    missing = next((name for name in only if name not in there), None)
    if missing is not None:
        known = ", ".join(repr(one.name) for one in found[: model_server.SHOWN])
        raise Rejected(f"the server has no model {missing!r} that is ready: it has {known}", model=missing)
    chosen = [one for one in found if not only or one.name in only]
    if len(chosen) > MAX_MODELS:
        raise Rejected(
            f"the server has {len(chosen)} models, and {MAX_MODELS} are sold at once: choose with --only NAME"
        )
    plans: list[Plan] = []
    for served in chosen:
        taken = next((one.served.name for one in plans if one.name == name_for(organisation, served)), None)
        plans.append(_plan(organisation, version, served, taken))
    return plans


def name_for(organisation: str, served: Served) -> str:
    """The Tollway name of a server's model, without its version."""
    return f"@{organisation}/{names.part_of(served.name)}"


def _plan(organisation: str, version: str, served: Served, taken: str | None) -> Plan:
    name = name_for(organisation, served)
    if served.why:
        return Plan(name, served, why=served.why)
    if taken is not None:
        return Plan(name, served, why=f"{taken!r} has this name already: rename one of them at the server")
    try:
        names.of_document({"name": name, "version": version})
    except Rejected:
        return Plan(name, served, why="no name here comes near its own: maker register and provider offer sell it")
    published = _published(f"{name}@{version}")
    if published is None:
        return Plan(name, served)
    if str(published["owned_by"]) != to_hex(here().account):
        return Plan(name, served, why=f"{name} belongs to {published['owned_by']}")
    known = cid_digest(str(published["cid"]))
    interfaces = servers.published(known, "").get("interfaces", [])
    declared: Document = next((one for one in interfaces if "inputs" in one), {})
    if misfit := model_server.misfit(served, declared):
        return Plan(name, served, known, f"{misfit}: sell it under another --version")
    return Plan(name, served, known)


def _published(name: str) -> Json | None:
    try:
        return here().gateway.get(f"/v1/models/{name}")
    except Rejected as error:
        if error.facts.get("status") == 404:
            return None
        raise


def name_stake(organisation: str) -> int:
    """The stake that is taken for an organisation's name; 0 if it is registered."""
    chain = transactions.chain(here())
    owner = address(chain.view("Registry", "organisationOwner", names.label(organisation)))
    return int(chain.view("Registry", "nameStake")) if owner == ZERO_ADDRESS else 0


def sell(sale: Sale, one: Plan, server: ModelServer) -> dict[str, Any]:
    """Do what a plan says, as far as it is not done; what was sent, and what the model still needs."""
    sent: list[str] = []
    subject = one.known
    if subject is None:
        subject = cid_digest(str(publication.publish(sale.describe(one.name, one.served))["id"]))
        sent.append("registration")
    for role, bid, named in ((Role.maker, sale.share, "owner's bid"), (Role.compute, sale.asks, "provider's bid")):
        if payees.bid_once(subject, role, bid):
            sent.append(named)
    offered = servers.offer(subject, server, one.served, sale.terms)
    asked = Asked(here(), subject, one.name, here().account, sale.terms.realm)
    return {"model": one.name, **offered, "sent": [*sent, "offer"], **readiness.of(asked)}


def choose(organisation: str, url: str, version: str, only: Sequence[str]) -> tuple[ModelServer, list[Plan]]:
    """The server at a URL, and what would be done with each of its models."""
    names.label(organisation)

    def ask(server: ModelServer) -> list[Served]:
        if not server.named:
            return server.listed()
        found = server.described(server.named)
        if found is None:
            raise model_server.unknown(server, servers.listed(server, ""))
        return [found]

    server, found = servers.asked(url, ask)
    return server, plan(organisation, version, found, only)


def run(sale: Sale, organisation: str, server: ModelServer, plans: Sequence[Plan]) -> None:
    """Ask, then sell what is not left out, and show what became of each. Rejected when all are left out."""
    chosen = [one for one in plans if not one.why]
    left_out = [{"model": one.name, "served_as": one.served.name, "why": one.why} for one in plans if one.why]
    if not chosen:
        raise Rejected(f"nothing of {server.root} can be sold: {left_out[0]['why']}", left_out=left_out)
    for row in (one.row() for one in plans):
        output.note(f"{row['model']}: the server's {row['served_as']!r}, {row['plan']}")
    output.confirm(sale.question(organisation, chosen, server))
    payees.stake_up_to(sale.stake)
    sold = [sell(sale, one, server) for one in chosen]
    output.show({"server": server.root, "sold": sold, "left_out": left_out})
