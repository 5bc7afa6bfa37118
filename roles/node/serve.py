"""Run a provider's node for a wallet: keep its offers fresh, sign and log what it serves, audit the log later."""

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from ledger.core.catalog import models, realms
from ledger.core.catalog.bids import Bid, Role
from ledger.core.catalog.models import credentials_hash
from ledger.core.pricing import eligibility
from ledger.core.pricing.eligibility import TIERS
from ledger.core.values.documents import Document
from ledger.core.values.errors import Rejected, TollwayError, Unavailable
from ledger.core.values.ids import Address, Digest, Lane, address, cid, to_hex
from ledger.core.values.meters import quoted
from roles.audit import batches, previews
from roles.client.gateway import Json
from roles.client.model_server import ModelServer, choose
from roles.node import audit as auditing
from roles.node import server
from roles.node.artifacts.manifest import check_artifact
from roles.node.audit import Settled
from roles.node.callers import Callers
from roles.node.models.resale import Upstream
from roles.node.server import NodeOptions, TunnelGateway
from roles.node.tunnel import Identity
from roles.node.witness import ServedLog, Witness
from roles.wallet import home, signing, transactions
from roles.wallet.context import Context

OFFER_EPOCHS = 2
REFRESH_SECONDS = 30
RETRY_SECONDS = 1
LEAVE_SECONDS = 5
MOST_TRIES = 8
LIMITS = ("max_tokens", "max_completion_tokens")
LOOK_SECONDS = 600
"""How often a node looks whether what could be called still can be: a bid lapses."""
Say = Callable[[str], object]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Voice:
    """How a node speaks: a line to its provider, what a model still needs, by its name and id, and the command that
    started it.
    """

    say: Say
    facts: Callable[[str, Digest], Mapping[str, Any]]
    command: str


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms a node's offers carry."""

    tier: str
    capacity: int
    realm: str
    slo_ms: int
    output_limit: str = ""
    """The field by which its server is told how long an answer may be; empty: `max_tokens`."""
    memory_mb: int | None = None
    """The memory that it has for all its models; None: enough, it does not say."""

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
    say, served_as = voice.say, names(options)
    sold = [(name, _until_reachable(partial(named, name, upstream), say)) for name, upstream in options.upstreams]
    subjects = {name: _until_reachable(partial(context.resolve, name, terms.realm), say) for name in served_as}
    promises = _until_reachable(partial(check_models, context, options, subjects, terms), say)
    signer = context.signer
    callers = Callers(signer, context.lane_id, partial(list_gateways, context))
    witness = Witness(signer, context.domain, subjects, ServedLog(log_of(context.wallet)))

    def announce(url: str) -> None:
        say(f"serving {', '.join(served_as)} at {url}")
        offers.publish(url)

    def ready(port: int) -> None:
        if not tunnel:
            announce(public_url or f"http://{options.host}:{port}")

    offers = Offers(context, subjects, terms, voice)
    identity = Identity(signer, context.domain, context.lane_id, context.wallet, served_as)
    gateway = TunnelGateway(context.url, identity, announce) if tunnel else None
    served = replace(options, upstreams=sold, callers=callers, witness=witness, tunnel=gateway, leaving=offers.withdraw)
    server.serve(replace(served, promises=promises), ready)


def named(name: str, upstream: Upstream) -> Upstream:
    """The same, with what its server calls the model, if that was not typed."""
    if upstream.model != name:
        return upstream
    asked = ModelServer(upstream.root, key=upstream.key)
    return replace(upstream, model=choose(asked, asked.listed(), name).name)


def check_models(
    context: Context, options: NodeOptions, subjects: dict[str, Digest], terms: Terms
) -> dict[str | None, list[Document]]:
    """The interfaces that the models' documents promise. Rejected unless each folder or file is what its model was
    registered with, and all models fit the node's memory.
    """
    gateway = context.gateway_in(terms.realm)
    served = {name: gateway.get(f"/v1/documents/{cid(subject)}") for name, subject in subjects.items()}
    for path, name in options.models:
        check_artifact(served[str(name)], path)
    known = [models.model(document) for document in served.values()]
    for one in known:
        eligibility.check_memory(one, terms.memory_mb)
    together = sum(one.memory_mb or 0 for one in known)
    if terms.memory_mb is not None and together > terms.memory_mb:
        message = (
            f"these models need {together} MB of memory together and the node has {terms.memory_mb} MB: serve fewer of "
            f"them, or say --memory-mb {together} where there is so much"
        )
        raise Rejected(message, memory_mb=terms.memory_mb)
    return {name: document["interfaces"] for name, document in served.items()}


class Offers:
    """A node's offers: published again and again while it runs, withdrawn when it leaves. Models are by their names.

    What a node withdraws is its own last offer, by the nonce after it. So a newer one stands, such as that of a node
    that has taken this one's place, and none that is still on its way comes after. Each offer has the nonce after the
    one before, too: what the wallet has withdrawn by hand meanwhile is not offered again until a node is started anew.
    """

    def __init__(self, context: Context, subjects: dict[str, Digest], terms: Terms, voice: Voice) -> None:
        self._context, self._subjects, self._terms, self._voice = context, subjects, terms, voice
        self._say = voice.say
        self._known: dict[str, Mapping[str, Any]] = {}
        self._looked = 0.0
        self._nonces: dict[str, int] = {}
        self._taken: set[str] = set()
        self._ended: set[str] = set()
        self._leaving = threading.Event()
        self._signing = threading.Lock()

    def publish(self, url: str) -> None:
        """Publish them in a thread, as long as the node runs. Retry while the gateway is unreachable."""
        threading.Thread(target=self._keep_fresh, args=(url,), daemon=True).start()

    def withdraw(self) -> None:
        """Withdraw what was offered. Ends after `LEAVE_SECONDS`: an offer that is not withdrawn expires."""
        with self._signing:
            self._leaving.set()
        leaving = threading.Thread(target=self._withdraw, daemon=True)
        leaving.start()
        leaving.join(LEAVE_SECONDS)
        if leaving.is_alive():
            self._say(f"offers not withdrawn, the gateway does not answer: they expire in {OFFER_EPOCHS} epochs")

    def _keep_fresh(self, url: str) -> None:
        pause = 0.0
        while not self._leaving.wait(pause):
            posted = [self._post(name, url) for name in self._subjects if name not in self._ended]
            pause = REFRESH_SECONDS if all(posted) else RETRY_SECONDS
            if all(posted):
                self._look()

    def _look(self) -> None:
        """Say what each model still needs, when that changed. What can be called is looked at now and then."""
        is_sold = bool(self._known) and all(facts.get("callable") for facts in self._known.values())
        if is_sold and time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        for name, subject in self._subjects.items():
            try:
                facts, before = self._voice.facts(name, subject), self._known.get(name, {})
            except TollwayError as error:
                self._say(f"what {name} still needs is not known: {error.message}")
                continue
            if {**facts, "when": ""} != {**before, "when": ""}:
                self._say(_in_lines(name, facts))
            self._known[name] = facts

    def _post(self, name: str, url: str) -> bool:
        """Offer a model, if it is not withdrawn by hand. False when that has to be tried again soon."""
        last = self._nonces.get(name)
        try:
            try:
                self._send(name, url, last + 1 if last is not None else None)
            except Rejected as refused:
                known = refused.facts.get("known_nonce")
                if not isinstance(known, int):
                    raise
                if refused.facts.get("final") and name in self._taken:
                    self._end(name)
                else:
                    self._send(name, url, known + 1)  # of a node before this one, or of another one
        except TollwayError as error:
            self._say(f"offer of {name} not taken: {error.message}")
            return False
        return True

    def _send(self, name: str, url: str, nonce: int | None) -> None:
        signed = offer(self._context, self._subjects[name], url, self._terms, nonce=nonce)
        with self._signing:
            if self._leaving.is_set():
                return
            self._nonces[name] = signed["nonce"]
        self._context.gateway.post("/v1/offers", signed)
        self._taken.add(name)

    def _end(self, name: str) -> None:
        self._ended.add(name)
        del self._nonces[name]
        said = f"the offer of {name} was withdrawn by hand: this node does not offer it any more"
        self._say(f"{said}. To offer it again, stop this node and type: {self._voice.command}")

    def _withdraw(self) -> None:
        for name, nonce in self._nonces.items():
            try:
                signed = withdrawal(self._context, self._subjects[name], nonce + 1)
                self._context.gateway.post("/v1/offers", signed)
                self._say(f"offer of {name} withdrawn")
            except TollwayError as error:
                self._say(f"offer of {name} not withdrawn: {error.message}")


def _in_lines(name: str, facts: Mapping[str, Any]) -> str:
    """What a model still needs, for its provider to read."""
    title = f"{name} can be called" if facts.get("callable") else f"{name} cannot be called yet"
    said = [(field, ", ".join(it) if isinstance(it, list) else it) for field, it in facts.items() if it]
    return "\n".join([title, *(f"  {field:<8} {text}" for field, text in said if field != "callable")])


def list_gateways(context: Context, lane: Lane) -> frozenset[Address]:
    """The keys that sign for a lane now: by the chain, or by the gateway of a private grid, which has none."""
    if context.lane["chain_id"]:
        return transactions.chain(context).gateway_keys(lane)
    return frozenset(address(str(key)) for key in context.gateway.get("/v1/lane")["gateways"])


def offer(
    context: Context, subject: Digest, url: str, terms: Terms, key: str | None = None, *, nonce: int | None = None
) -> Document:
    """A signed offer of this wallet, with its bid on chain; its nonce is the time, or the one given. With the API key
    that the server wants: given to the gateway beside the offer, which names it by its hash.
    """
    current = previews.bid_in_force(context, subject, Role.compute, context.account)
    bid = current.bid if current else Bid()
    serve = {"url": url, "tier": terms.tier, "capacity": terms.capacity, "slo_ms": terms.slo_ms}
    chosen = {"realm": terms.realm, "output_limit": terms.output_limit, "memory_mb": terms.memory_mb}
    salt, headers = secrets.token_bytes(32), {"Authorization": f"Bearer {key}"}
    if key is not None:
        chosen["credentials"] = to_hex(credentials_hash(salt, headers))
    parts: Document = {
        "bid": {"ratio_ppm": bid.ratio_ppm, "ask": quoted(bid.asks)},
        "serve": {**serve, **{name: said for name, said in chosen.items() if said}},
        **({"nonce": nonce} if nonce is not None else {}),
    }
    signed = signing.offer(context, subject, Role.compute, OFFER_EPOCHS, parts)
    return signed if key is None else {"offer": signed, "credentials": headers, "salt": to_hex(salt)}


def withdrawal(context: Context, subject: Digest, nonce: int, *, final: bool = False) -> Document:
    """A signed offer of this wallet that ends those with a lower nonce; a `final` one for its nodes that run, too."""
    parts: Document = {"bid": {"ratio_ppm": 0, "ask": {}}, "withdrawn": True, "nonce": nonce}
    if final:
        parts["final"] = True
    return signing.offer(context, subject, Role.compute, OFFER_EPOCHS, parts)


def withdraw(context: Context, subject: Digest) -> Json:
    """Withdraw this wallet's offer of a model, whatever it was and whoever's clock it was signed by; a node of it that
    runs does not offer it again. Withdrawing twice changes nothing. The gateway's answer.
    """
    nonce = time.time_ns() // 1_000_000
    for _ in range(MOST_TRIES):  # a node may renew it just now
        try:
            return context.gateway.post("/v1/offers", withdrawal(context, subject, nonce, final=True))
        except Rejected as refused:
            known = refused.facts.get("known_nonce")
            if not isinstance(known, int):
                raise
            nonce = known + 1
    raise Unavailable("the offer is renewed faster than it can be withdrawn: do this again")


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


def _until_reachable(ask: Callable[[], T], say: Say) -> T:
    while True:
        try:
            return ask()
        except Unavailable as error:
            say(f"waiting: {error.message}")
            time.sleep(RETRY_SECONDS)
