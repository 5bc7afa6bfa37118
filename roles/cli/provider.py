"""`tollway provider`: serve models, at home or in a data centre, and be paid per call."""

import shlex
import sys
from collections.abc import Sequence
from typing import Annotated, Any

from typer import Argument, Option

from ledger.core.catalog import models
from ledger.core.catalog.bids import Bid, Role
from ledger.core.catalog.protocols import Protocol
from ledger.core.values.documents import Document
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Digest, address, to_hex
from ledger.core.values.meters import METERS
from roles.cli import amounts, maker, output
from roles.cli.context import Group, here
from roles.cli.shared import imports, payees, readiness, servers
from roles.cli.shared.payees import Ask, Subject
from roles.cli.shared.readiness import Asked
from roles.cli.shared.sponsorship import add_providers_order
from roles.client.gateway import checked_url
from roles.client.model_server import ModelServer, Served
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
add_providers_order(app)

ServedAsk = Annotated[
    list[str] | None, Option("--ask", help="Your price of each model: METER=ATOMS, such as call=1000. Repeat it.")
]
Stake = Annotated[str | None, Option("--stake", help="Stake up to this first: 1 or 1500atoms.")]
Tier = Annotated[str, Option(help="center, enterprise, or edge for a home.")]
Capacity = Annotated[int, Option(help="Calls it can serve at once.", min=1, max=1_000_000)]
Realm = Annotated[str, Option(help="Serve the members of this realm only: 0xOWNER/NAME. Default: everybody.")]
OutputLimit = Annotated[
    str,
    Option("--output-limit", help="What the server calls its bound: max_tokens or max_completion_tokens."),
]
Memory = Annotated[
    int | None,
    Option("--memory-mb", help="MB of memory it has for models; what needs more is not offered.", min=1, max=2**31),
]
Slo = Annotated[int, Option("--slo-ms", help="Latency target in ms; slower nodes get fewer calls.", min=1, max=600_000)]


@app.command("offer")
def offer(  # noqa: PLR0913
    subject: Annotated[str, Argument(help="A model: @org/name, or its id.")],
    url: Annotated[str, Option(help="URL at which gateways reach your node or server; of several models, URL#MODEL.")],
    tier: Tier = "center",
    capacity: Capacity = 8,
    realm: Realm = "",
    slo_ms: Slo = 2_000,
    output_limit: OutputLimit = "max_tokens",
    memory: Memory = None,
) -> None:
    """Sign one offer: where a model is served. It is valid for two epochs; `provider serve` renews its own.

    The server is asked now: is it there, has it this model, and what does it call it? Behind # you say the last
    yourself, where it has several, or where only gateways reach it. The API key that it wants is read from
    TOLLWAY_UPSTREAM_KEY, and given to the gateway, which keeps it encrypted.

    Example: tollway provider offer @acme/iris --url http://127.0.0.1:8080 -w me
    """
    from roles.node import serve as node_serve

    terms = node_serve.Terms(tier, capacity, here().realm(realm), slo_ms, output_limit, memory).checked()
    ModelServer.typed(url)
    chosen = here().resolve(subject, terms.realm)
    server, served = servers.serving(url, chosen, subject, terms.realm)
    if server.key is not None:
        output.confirm(f"{servers.key_is_given(server)}?")
    facts = {"subject": subject, "tier": tier, **servers.offer(chosen, server, served, terms)}
    readiness.show(facts, Asked(here(), chosen, subject, here().account, terms.realm))


@app.command("import")
def import_server(  # noqa: PLR0913
    url: Annotated[str, Argument(help="An OpenAI or OIP v2 server, as gateways reach it; of one model, URL#MODEL.")],
    under: Annotated[str, Option("--under", help="Your organisation, without the @: the models are @ORG/NAME.")],
    ask: Ask = None,
    ratio: Annotated[str, Option("--ratio", help="As their maker, this share of the price on top: 10%.")] = "0ppm",
    only: Annotated[list[str] | None, Option("--only", help="A model, as the server calls it. Repeat it.")] = None,
    stake: Stake = None,
    task: Annotated[str, Option("--task", help="What they do. Default: text-generation, or other for tensors.")] = "",
    version: maker.Version = "1.0.0",
    license: maker.License = "Apache-2.0",
    tier: Tier = "center",
    capacity: Capacity = 8,
    realm: Realm = "",
    slo_ms: Slo = 2_000,
    output_limit: OutputLimit = "max_tokens",
    memory: Memory = None,
) -> None:
    """Sell a whole model server: register its models, bid for them, and offer them. Doing it again renews it.

    What is registered and what it costs is said before anything is done. Each model is @ORG/NAME, with NAME after what
    the server calls it; gateways call it as the server does. Offers are valid for two epochs: repeat the command, or
    keep a node in front of the server (`provider serve --upstream`), which renews them and signs every answer.

    Example: tollway provider import http://127.0.0.1:11434/v1 --under acme --ask output_token=4000000 --stake 1 -w me
    """
    from roles.node import serve as node_serve

    terms = node_serve.Terms(tier, capacity, here().realm(realm), slo_ms, output_limit, memory).checked()
    asks = payees.parse_bid(ask, "0ppm")
    share = payees.parse_bid(None, ratio)
    atoms = amounts.parse_some(stake) if stake is not None else 0
    payees.warn(Role.compute, asks)
    server, plans = imports.choose(under, url, version, only or [])
    meters = [METERS[number].name for number, _ in asks.asks] or ["call"]

    def describe(name: str, served: Served) -> Document:
        said = task or ("other" if served.protocol == Protocol.tensors else "text-generation")
        described = maker.Description(
            url=server.root, task=said, protocol=served.protocol, meters=meters, version=version, license=license
        )
        return described.document(name, [], served)

    imports.run(imports.Sale(describe, asks, share, terms, atoms), under, server, plans)


@app.command("withdraw")
def withdraw(subject: Annotated[str, Argument(help="A model: @org/name, or its id.")], realm: Realm = "") -> None:
    """Withdraw your offer to serve a model: it gets no more calls, is not listed, and can not be published again.

    A node of yours that runs does not offer it again, and says so within half a minute. Your bid and your stake stay: a
    new offer brings the model back, or the node, once it is started anew.
    """
    from roles.node import serve as node_serve

    model = here().resolve(subject, realm)
    answer = node_serve.withdraw(here(), model)
    if not answer["ended"]:
        output.note(f"{here().wallet} had no offer of {subject} in force here")
    readiness.show({"model": subject, **answer}, Asked(here(), model, subject, here().account, realm))


@app.command("deliver")
def deliver(subject: Subject, ask: Ask = None) -> None:
    """Bid to deliver a model's data: bandwidth and storage, paid per byte.

    Its owner says who delivers a model: itself, or whom it named with `maker register --deliverer`. Of those the one
    that asks least is paid; nobody else's bid changes a price.

    Example: tollway provider deliver @kappa/kb --ask byte=2000000000 -w dora
    """
    bid, model = payees.parse_bid(ask, "0ppm"), here().resolve(subject)
    _check_named(model, subject)
    payees.place_bid(model, Role.delivery, subject, bid)


def _check_named(subject: Digest, name: str) -> None:
    """Rejected when this wallet may not deliver a model: it neither owns it nor is named by it. Where the document is
    hidden nobody can tell.
    """
    from ledger.core.pricing import terms  # slow to import

    document = servers.published(subject, "")
    owner, account = address(transactions.chain(here()).view("Registry", "models", subject)[0]), here().account
    if document and account not in terms.deliverers(models.model(document), owner):
        raise Rejected(
            f"{name} does not name you to deliver it, so your bid would change no price and earn nothing. Its owner, "
            f"{to_hex(owner)}, names you in its next version: tollway maker register {name} --version NEXT "
            f"--deliverer {to_hex(account)}"
        )


@app.command("serve")
def serve(  # noqa: PLR0913
    models: Annotated[
        list[str] | None, Argument(help="MODEL=@org/name: an .onnx file or a model folder, and the name it is sold by.")
    ] = None,
    upstream: Annotated[
        list[str] | None, Option("--upstream", help="@org/name=URL: a server to sell; of several models, URL#MODEL.")
    ] = None,
    ask: ServedAsk = None,
    stake: Stake = None,
    host: Annotated[str, Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, Option(help="Port to listen on; 0: any free one.", min=0, max=65_535)] = 0,
    public_url: Annotated[str, Option(help="URL at which the gateway reaches it; default: host and port.")] = "",
    tunnel: Annotated[bool, Option("--tunnel", help="Connect out to the gateway; no open port needed.")] = False,
    tier: Tier = "center",
    capacity: Capacity = 8,
    realm: Realm = "",
    slo_ms: Slo = 2_000,
    output_limit: OutputLimit = "max_tokens",
    memory: Memory = None,
) -> None:
    """Run a node: it serves the models, signs each answer and renews its offers. Ctrl-C withdraws them, finishes open
    calls and stops.

    Files must be what their model was registered with, and with --memory-mb the models must fit. With --ask and --stake
    the node bids and stakes first, unless it has.

    Example: tollway provider serve iris.onnx=@acme/iris --ask call=1000 --stake 1 --tunnel --tier edge -w casa
    """
    from roles.node import serve as node_serve  # aiohttp and onnxruntime, which only a node needs

    options = node_serve.options(models or [], upstream or [], host, port)
    terms = node_serve.Terms(tier, capacity, here().realm(realm), slo_ms, output_limit, memory).checked()
    if public_url:
        checked_url(public_url)
    enter(node_serve.names(options), ask, stake, terms.realm)
    context = here()

    def facts(name: str, subject: Digest) -> dict[str, Any]:
        return readiness.of(Asked(context, subject, name, context.account, terms.realm))

    voice = node_serve.Voice(output.aside().print, facts, shlex.join(["tollway", *sys.argv[1:]]))
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
    payees.stake_up_to(atoms)
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
