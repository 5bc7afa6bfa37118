"""`tollway provider`: serve models, at home or in a data centre, and be paid per call."""

from collections.abc import Sequence
from typing import Annotated, Any

from typer import Argument, Option

from ledger.core.catalog.bids import Bid, Role
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Digest
from roles.cli import amounts, output
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

ServedAsk = Annotated[
    list[str] | None, Option("--ask", help="Your price of each model: METER=ATOMS, such as call=1000. Repeat it.")
]
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
    models: Annotated[
        list[str] | None, Argument(help="MODEL=@org/name: an .onnx file or a model folder, and the name it is sold by.")
    ] = None,
    upstream: Annotated[list[str] | None, Option("--upstream", help="@org/name=URL#MODEL: a server to sell.")] = None,
    ask: ServedAsk = None,
    stake: Annotated[str | None, Option("--stake", help="Stake up to this first: 1 (AIC) or 1500atoms.")] = None,
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

    A model is compared with its document first. With --ask and --stake the node bids and stakes first, unless it has.

    Example: tollway provider serve iris.onnx=@acme/iris --ask call=1000 --stake 1 -w casa
    """
    from roles.node import serve as node_serve  # aiohttp and onnxruntime, which only a node needs

    options = node_serve.options(models or [], upstream or [], host, port)
    terms = node_serve.Terms(tier, capacity, here().realm(realm), slo_ms, output_limit).checked()
    if public_url:
        checked_url(public_url)
    enter(node_serve.names(options), ask, stake, terms.realm)
    context = here()

    def facts(name: str, subject: Digest) -> dict[str, Any]:
        return readiness.of(Asked(context, subject, name, context.account, terms.realm))

    voice = node_serve.Voice(output.aside().print, facts)
    node_serve.run(context, options, terms, public_url, voice, tunnel=tunnel)


def enter(models: Sequence[str], ask: list[str] | None, stake: str | None, realm: str) -> None:
    """Stake up to an amount and bid for each model, where this wallet has not: doing it twice changes nothing."""
    atoms, bid = amounts.parse_some(stake) if stake is not None else 0, payees.parse_bid(ask, "0ppm")
    if not atoms and bid == Bid():
        return
    payees.warn(Role.compute, bid)
    subjects = [here().resolve(name, realm) for name in models]
    said = f"stake up to {amounts.format(atoms)}, bid {payees.describe(bid)} for {', '.join(models)}"
    output.confirm(f"{said}, and serve as {here().wallet}?")
    chain = transactions.chain(here())
    if (missing := atoms - chain.stake(here().account)[0]) > 0:
        payees.add_stake(missing)
    for subject in subjects if bid != Bid() else ():
        payees.bid_once(subject, Role.compute, bid)


@app.command("audit")
def audit() -> None:
    """Compare what your node signed with the public batch files: what was paid, and what was not."""
    from roles.node import serve as node_serve

    rows = node_serve.audit(here())
    output.show_table(rows, empty="this wallet's node has served nothing through a gateway yet")
    short = next((row["calls"] for row in rows if row["outcome"] == "short"), 0)
    if short:
        raise Rejected(f"{short} receipts bill fewer tokens than were served", calls=short)
