"""`tollway provider`: serve models, at home or in a data centre, and be paid per call."""

from typing import Annotated, Any

from typer import Argument, Option

from ledger.core.catalog.bids import Role
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Digest
from roles.cli import output
from roles.cli.context import Group, here
from roles.cli.shared import payees, readiness
from roles.cli.shared.payees import Ask, Subject
from roles.cli.shared.readiness import Asked
from roles.client.gateway import checked_url
from roles.wallet import transactions

app = Group("Serve models, at home or in a data centre, and be paid per call.")


def show_staked(facts: dict[str, Any]) -> None:
    """Show a stake; and what the model that this wallet bid on last still needs."""
    placed = [one for one in transactions.chain(here()).bids(None, here().account) if one.role is Role.compute]
    if placed:
        subject = placed[-1].subject
        readiness.show(facts, Asked(here(), subject, readiness.name_of(here(), subject), here().account))
    else:
        output.show({**facts, "next": f"tollway provider bid @org/name --ask call=1000 -w {here().wallet}"})


payees.add_staking(app, "calls are routed to you in proportion to it", show_staked)
payees.add_payee(app, Role.compute)

Tier = Annotated[str, Option(help="center, enterprise, or edge for a home.")]
Capacity = Annotated[int, Option(help="Calls it can serve at once.", min=1, max=1_000_000)]
Realm = Annotated[str, Option(help="Serve the members of this realm only: 0xOWNER/NAME. Default: everybody.")]
OutputLimit = Annotated[
    str,
    Option("--output-limit", help="What the server calls its bound: max_tokens or max_completion_tokens."),
]
Slo = Annotated[int, Option("--slo-ms", help="Latency target in ms; slower nodes get fewer calls.", min=1, max=600_000)]


@app.command("offer")
def offer(  # noqa: PLR0913
    subject: Annotated[str, Argument(help="A model: @org/name, or its id.")],
    url: Annotated[str, Option(help="URL at which the gateway reaches your node.")],
    tier: Tier = "center",
    capacity: Capacity = 8,
    realm: Realm = "",
    slo_ms: Slo = 2_000,
    output_limit: OutputLimit = "max_tokens",
) -> None:
    """Sign one offer: where a model is served. It is valid for two epochs; `provider serve` renews its own."""
    from roles.node import serve as node_serve

    terms = node_serve.Terms(tier, capacity, here().realm(realm), slo_ms, output_limit).checked()
    checked_url(url)
    model = here().resolve(subject, terms.realm)
    signed = node_serve.offer(here(), model, url, terms)
    facts = {"subject": subject, "url": url, "tier": tier, **here().gateway.post("/v1/offers", signed)}
    readiness.show(facts, Asked(here(), model, subject, here().account, terms.realm))


@app.command("withdraw-offer")
def withdraw_offer(subject: Annotated[str, Argument(help="A model: @org/name, or its id.")], realm: Realm = "") -> None:
    """Withdraw your offer to serve a model: no gateway of the lane sends it calls any more. A new offer ends this."""
    from roles.node import serve as node_serve

    model = here().resolve(subject, realm)
    signed = node_serve.withdrawal(here(), model)
    facts = {"subject": subject, **here().gateway.post("/v1/offers", signed)}
    readiness.show(facts, Asked(here(), model, subject, here().account, realm))


@app.command("deliver")
def deliver(subject: Subject, ask: Ask = None) -> None:
    """Bid to deliver a model's data: bandwidth and storage, paid per byte.

    Example: tollway provider deliver @kappa/kb --ask byte=2000000000 -w dora
    """
    bid = payees.parse_bid(ask, "0ppm")
    payees.place_bid(here().resolve(subject), Role.delivery, subject, bid)


@app.command("serve")
def serve(  # noqa: PLR0913
    models: Annotated[list[str] | None, Argument(help="FOLDER=@org/name: a model folder, sold as.")] = None,
    upstream: Annotated[list[str] | None, Option("--upstream", help="@org/name=URL#MODEL: a server to sell.")] = None,
    host: Annotated[str, Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, Option(help="Port to listen on; 0: any free one.", min=0, max=65_535)] = 0,
    public_url: Annotated[str, Option(help="URL at which the gateway reaches it; default: host and port.")] = "",
    tunnel: Annotated[bool, Option("--tunnel", help="Connect out to the gateway; no open port needed.")] = False,
    tier: Tier = "center",
    capacity: Capacity = 8,
    realm: Realm = "",
    slo_ms: Slo = 2_000,
    output_limit: OutputLimit = "max_tokens",
) -> None:
    """Run a node: it serves the models, signs each answer and renews its offers. Ctrl-C finishes open calls and stops.

    Example: tollway provider serve ./emotion=@south/emotion --tunnel --tier edge -w casa
    """
    from roles.node import serve as node_serve  # aiohttp and onnxruntime, which only a node needs

    options = node_serve.options(models or [], upstream or [], host, port)
    terms = node_serve.Terms(tier, capacity, here().realm(realm), slo_ms, output_limit).checked()
    if public_url:
        checked_url(public_url)
    context = here()

    def facts(name: str, subject: Digest) -> dict[str, Any]:
        return readiness.of(Asked(context, subject, name, context.account, terms.realm))

    voice = node_serve.Voice(output.aside().print, facts)
    node_serve.run(context, options, terms, public_url, voice, tunnel=tunnel)


@app.command("audit")
def audit() -> None:
    """Compare what your node signed with the public batch files: what was paid, and what was not."""
    from roles.node import serve as node_serve

    rows = node_serve.audit(here())
    output.show_table(rows, empty="this wallet's node has served nothing through a gateway yet")
    short = next((row["calls"] for row in rows if row["outcome"] == "short"), 0)
    if short:
        raise Rejected(f"{short} receipts bill fewer tokens than were served", calls=short)
