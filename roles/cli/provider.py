"""`tollway provider`: serve models, at home or in a data centre, and be paid per call."""

from __future__ import annotations

from typing import Annotated

import typer

from ledger.core.catalog.bids import Role
from ledger.core.values.errors import Rejected
from roles.cli import output
from roles.cli.context import Group, here
from roles.cli.shared import names
from roles.cli.shared.payees import Ask, Subject, bidding_commands, payee_commands, place_bid, staking_commands

app = Group("Serve models, at home or in a data centre, and be paid per call.")

staking_commands(app, "calls are routed to you in proportion to it")
bidding_commands(app, Role.compute)
payee_commands(app)

Tier = Annotated[str, typer.Option(help="center, enterprise, or edge for a home.")]
Capacity = Annotated[int, typer.Option(help="Calls it can serve at once.")]
Realm = Annotated[str, typer.Option(help="A private grid's name; empty for everybody.")]
Slo = Annotated[int, typer.Option("--slo-ms", help="Later than this costs you calls.")]


@app.verb("offer")
def offer(
    subject: Annotated[str, typer.Argument(help="A model: @org/name, or its id.")],
    url: Annotated[str, typer.Option(help="Where the gateway reaches your node.")],
    tier: Tier = "center",
    capacity: Capacity = 8,
    realm: Realm = "",
    slo_ms: Slo = 2_000,
) -> None:
    """Say once where a model is served: signed, and good for two epochs. `serve` keeps it fresh by itself."""
    from roles.node import serve as node_serve

    terms = node_serve.Terms(tier, capacity, realm, slo_ms)
    signed = node_serve.offer(here(), names.resolve(here().gateway, subject), url, terms)
    output.tell({"subject": subject, "url": url, "tier": tier, **here().gateway.post("/v1/offers", signed)})


@app.verb("deliver")
def deliver(subject: Subject, ask: Ask = None) -> None:
    """Bid to deliver a model's data: bandwidth and storage, paid per byte."""
    place_bid(names.resolve(here().gateway, subject), Role.delivery, subject, ask or [], "0ppm")


@app.verb("serve")
def serve(
    models: Annotated[
        list[str] | None, typer.Argument(help="FOLDER=@org/name: a folder, and what it is sold as.")
    ] = None,
    upstream: Annotated[
        list[str] | None, typer.Option("--upstream", help="@org/name=URL#MODEL: sell a server you have.")
    ] = None,
    host: Annotated[str, typer.Option(help="To listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any free one.")] = 0,
    public_url: Annotated[str, typer.Option(help="Where the gateway reaches it; default: host and port.")] = "",
    tunnel: Annotated[bool, typer.Option("--tunnel", help="Knock at the gateway: for homes behind NAT.")] = False,
    tier: Tier = "center",
    capacity: Capacity = 8,
    realm: Realm = "",
    slo_ms: Slo = 2_000,
) -> None:
    """Run a node: load the models, listen, sign what is served, keep the offers fresh; Ctrl-C drains it."""
    from roles.node import serve as node_serve  # aiohttp and onnxruntime, which only a node needs

    options = node_serve.options(models or [], upstream or [], host, port)
    terms = node_serve.Terms(tier, capacity, realm, slo_ms)
    node_serve.run(here(), options, terms, public_url, tunnel=tunnel)


@app.verb("audit")
def audit() -> None:
    """Ask where your money is: what your node signed, against the public batch files."""
    from roles.node import serve as node_serve

    rows = node_serve.audit(here().wallet)
    output.tabulate(rows, empty="this wallet's node has served nothing through a gateway yet")
    lost = next((row["calls"] for row in rows if row["outcome"] == "short"), 0)
    if lost:
        raise Rejected(f"{lost} receipts bill fewer tokens than were served", calls=lost)
