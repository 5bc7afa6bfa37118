"""Run a provider's node for a wallet: keep its offers fresh, sign and log what it serves, audit the log later."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from ledger.core.catalog import realms
from ledger.core.catalog.bids import Bid, Role
from ledger.core.values.documents import Document
from ledger.core.values.errors import Rejected, TollwayError, Unavailable
from ledger.core.values.ids import Address, Digest, Lane, address, cid, to_hex
from ledger.core.values.meters import quoted
from roles.audit import batches, previews
from roles.node import audit as auditing
from roles.node import server
from roles.node.audit import Settled
from roles.node.callers import Callers
from roles.node.models import described
from roles.node.models.resale import Upstream
from roles.node.server import NodeOptions, TunnelGateway
from roles.node.tunnel import Identity
from roles.node.witness import ServedLog, Witness
from roles.wallet import home, signing, transactions
from roles.wallet.context import Context

OFFER_EPOCHS = 2
REFRESH_SECONDS = 30
RETRY_SECONDS = 1
TIERS = ("center", "enterprise", "edge")
LIMITS = ("max_tokens", "max_completion_tokens")
LOOK_SECONDS = 600
"""How often a node looks whether what could be called still can be: a bid lapses."""
Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Voice:
    """How a node speaks: a line to its provider, and what a model still needs, by its name and id."""

    say: Say
    facts: Callable[[str, Digest], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms a node's offers carry."""

    tier: str
    capacity: int
    realm: str
    slo_ms: int
    output_limit: str = ""
    """The field by which its server is told how long an answer may be; empty: `max_tokens`."""

    def checked(self) -> Self:
        """These terms. Rejected when an offer cannot say them."""
        for what, said, known in (("tier", self.tier, TIERS), ("output limit", self.output_limit or LIMITS[0], LIMITS)):
            if said not in known:
                raise Rejected(f"{said!r} is not a valid {what}: use one of {', '.join(known)}")
        realms.check_tier(self.tier, self.realm)
        return self


def options(models: Sequence[str], upstreams: Sequence[str], host: str, port: int) -> NodeOptions:
    """Parse MODEL=@org/name and @org/name=URL#MODEL. The API key of an upstream is read from TOLLWAY_UPSTREAM_KEY."""
    folders = []
    for text in models:
        folder, _, name = text.rpartition("=") if "=" in text else (text, "", "")
        path = Path(folder)
        if not (path.is_dir() or (path.is_file() and path.suffix == ".onnx")):
            raise Rejected(f"{folder!r} is not a model folder, nor an .onnx file", folder=folder)
        if not name:
            raise Rejected(f"{text!r} has no name to be sold by: write {text}=@org/name", model=text)
        folders.append((path, name))
    resold = [Upstream.typed(text, home.upstream_key()) for text in upstreams]
    if not folders and not resold:
        raise Rejected("nothing to serve: give MODEL=@org/name, or --upstream @org/name=URL#MODEL")
    return NodeOptions(folders, resold, host, port)


def names(options: NodeOptions) -> list[str]:
    """The names by which its models are sold."""
    return [*(str(name) for _, name in options.models), *(name for name, _ in options.upstreams)]


def run(context: Context, options: NodeOptions, terms: Terms, public_url: str, voice: Voice, *, tunnel: bool) -> None:
    """Serve until SIGTERM or SIGINT. `public_url` is where the node is reached without a tunnel, if not at its host."""
    say, sold = voice.say, names(options)
    subjects = {name: _until_reachable(partial(context.resolve, name, terms.realm), say) for name in sold}
    documents = {name: document(context, subjects[str(name)], terms.realm) for _, name in options.models}
    for path, name in options.models:
        known = documents[name].get("artifact", {}).get("digest")
        if known is not None and known != described.artifact(path)["digest"]:
            say(f"careful: the files of {path} are not those with which {name} was registered")
    promises = {name: one["interfaces"] for name, one in documents.items()}
    signer = context.signer
    callers = Callers(signer, context.lane_id, partial(list_gateways, context))
    witness = Witness(signer, context.domain, subjects, ServedLog(log_of(context.wallet)))

    def announce(url: str) -> None:
        say(f"serving {', '.join(sold)} at {url}")
        arguments = (context, subjects, url, terms, voice)
        threading.Thread(target=keep_fresh, args=arguments, daemon=True).start()

    def ready(port: int) -> None:
        if not tunnel:
            announce(public_url or f"http://{options.host}:{port}")

    identity = Identity(signer, context.domain, context.lane_id, context.wallet, sold)
    gateway = TunnelGateway(context.url, identity, announce) if tunnel else None
    server.serve(replace(options, callers=callers, witness=witness, tunnel=gateway, promises=promises), ready)


def document(context: Context, subject: Digest, realm: str) -> Document:
    """A model's document, as its owner published it."""
    found: Document = context.gateway_in(realm).get(f"/v1/documents/{cid(subject)}")
    return found


def keep_fresh(context: Context, subjects: dict[str, Digest], url: str, terms: Terms, voice: Voice) -> None:
    """Post the offers repeatedly, as long as the node runs. Retry while the gateway is unreachable.

    Say what each model still needs, when that changes.
    """
    known: dict[str, Mapping[str, Any]] = {}
    looked = 0.0
    while True:
        taken = True
        for name, subject in subjects.items():
            try:
                context.gateway.post("/v1/offers", offer(context, subject, url, terms))
            except TollwayError as error:
                voice.say(f"offer of {name} not taken: {error.message}")
                taken = False
        is_sold = bool(known) and all(facts.get("callable") for facts in known.values())
        if taken and (not is_sold or time.monotonic() - looked >= LOOK_SECONDS):
            known = {name: _look(name, subject, known.get(name, {}), voice) for name, subject in subjects.items()}
            looked = time.monotonic()
        time.sleep(REFRESH_SECONDS if taken else RETRY_SECONDS)


def _look(name: str, subject: Digest, before: Mapping[str, Any], voice: Voice) -> Mapping[str, Any]:
    """What a model needs. It is said, unless it is what was known before, at another time."""
    try:
        facts = voice.facts(name, subject)
    except TollwayError as error:
        voice.say(f"what {name} still needs is not known: {error.message}")
        return before
    if {**facts, "when": ""} != {**before, "when": ""}:
        said = [(field, ", ".join(it) if isinstance(it, list) else it) for field, it in facts.items() if it]
        rows = [f"  {field:<8} {text}" for field, text in said if field != "callable"]
        title = f"{name} can be called" if facts.get("callable") else f"{name} cannot be called yet"
        voice.say("\n".join([title, *rows]))
    return facts


def list_gateways(context: Context, lane: Lane) -> frozenset[Address]:
    """The keys that sign for a lane now: by the chain, or by the gateway of a private grid, which has none."""
    if context.lane["chain_id"]:
        return transactions.chain(context).gateway_keys(lane)
    return frozenset(address(str(key)) for key in context.gateway.get("/v1/lane")["gateways"])


def offer(context: Context, subject: Digest, url: str, terms: Terms) -> Document:
    """A signed offer of this wallet, with its bid on chain."""
    current = previews.bid_in_force(context, subject, Role.compute, context.account)
    bid = current.bid if current else Bid()
    serve = {"url": url, "tier": terms.tier, "capacity": terms.capacity, "slo_ms": terms.slo_ms}
    chosen = {"realm": terms.realm, "output_limit": terms.output_limit}
    parts: Document = {
        "bid": {"ratio_ppm": bid.ratio_ppm, "ask": quoted(bid.asks)},
        "serve": {**serve, **{name: said for name, said in chosen.items() if said}},
    }
    return signing.offer(context, subject, Role.compute, OFFER_EPOCHS, parts)


def withdrawal(context: Context, subject: Digest) -> Document:
    """A signed offer of this wallet that ends the one before it."""
    parts: Document = {"bid": {"ratio_ppm": 0, "ask": {}}, "withdrawn": True}
    return signing.offer(context, subject, Role.compute, OFFER_EPOCHS, parts)


def audit(context: Context) -> list[dict[str, object]]:
    """Count what became of each call the node signed: paid, short, paid to another attempt, or open."""
    path = log_of(context.wallet)
    if not path.exists():
        return []
    log, numbers = ServedLog(path), batches.numbers(context)
    files = ((number, batches.read(context, number)) for number in numbers)  # one at a time: all would not fit
    settled = (Settled(number, file.receipts, file.terms) for number, file in files)
    findings = auditing.audit(log.entries(), settled)
    log.close()
    counted = Counter((to_hex(finding.entry.served.lane), finding.outcome.value) for finding in findings)
    return [{"lane": lane, "outcome": outcome, "calls": calls} for (lane, outcome), calls in sorted(counted.items())]


def log_of(wallet: str) -> Path:
    return home.home() / "served" / f"{wallet}.sqlite"


def _until_reachable(ask: Callable[[], Digest], say: Say) -> Digest:
    while True:
        try:
            return ask()
        except Unavailable as error:
            say(f"waiting: {error.message}")
            time.sleep(RETRY_SECONDS)
