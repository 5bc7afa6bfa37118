"""`tollway demo`: the whole journey of a call, told in six chapters and checked to the last atom.

Everything happens through the commands a person would type and through the stock OpenAI client; the story only adds
what a person would have to wait for: it moves the local chain's clock.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from openai import APIStatusError

from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.ids import to_hex
from roles.cli import batch, context
from roles.local import actors, checks, control, network
from roles.local.actors import CONSUMER, DIALOG, OPERATOR, PAUPER, PROVIDERS, SERVICE
from roles.local.console import DemoConsole
from roles.local.folder import NetworkFolder
from roles.local.shopper import QUESTIONS, Called, Shopper
from roles.wallet import home, keystore, transactions

WINDOW_SECONDS = 3_600
DEPOSIT = "20"
PACE = network.Pace(batch_seconds=300, window_seconds=WINDOW_SECONDS)
KILLED = "borea"


@dataclass
class Tour:
    """One telling of the story."""

    folder: NetworkFolder
    console: DemoConsole
    calls: int
    upstream: str | None = None
    pace: network.Pace = PACE
    made: list[Called] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def tell(self) -> None:
        """All chapters, in order."""
        self.components()
        self.market()
        self.nodes()
        self.shopping()
        self.settlement()
        self.recomputation()

    def components(self) -> None:
        """Servers, contracts, people with money, the operator's lane, the ledger and its gateway."""
        tell = self.console
        tell.chapter(1, "The components start: PostgreSQL, Redis, a chain, a Celery worker and beat, a gateway")
        network.servers(self.folder, int(time.time()) - 3 * network.EPOCH_SECONDS - WINDOW_SECONDS)
        deployment = network.contracts(self.folder)
        tell.say(f"contracts on chain {deployment.chain_id}: Settlement {deployment.settlement}")
        tell.run_all(actors.wallets(set(keystore.names())))
        tell.run_all(actors.money())
        tell.run_all(actors.lane(self.pace.window_seconds), "lane")
        lane = int(tell.run(f"operator status --wallet {OPERATOR}")["lane"])
        network.ledger(self.folder, lane, self.pace)
        self.facts |= {"chain_id": deployment.chain_id, "lane": lane, "gateway": gateway_url()}
        tell.say(f"the gateway answers at {gateway_url()}")

    def market(self) -> None:
        """Everybody stakes, registers and bids; the clock moves to the epoch in which the bids are in force."""
        self.console.chapter(2, "Makers, an OEM, providers, a deliverer and a weaver come to the market")
        self.console.run_all(actors.market(self.upstream), "name staked bond")
        passed = int(time.time()) - WINDOW_SECONDS - transactions.now() - 60
        network.advance(max(passed, 2 * network.EPOCH_SECONDS))
        self.console.say("two epochs pass on the chain's clock: the bids are in force, the book of bids is frozen")

    def nodes(self) -> None:
        """The providers' nodes, one of them at somebody's home."""
        self.console.chapter(3, "Three nodes serve ONNX models; casa is a home node at the edge")
        network.nodes(self.folder, self.upstream)
        for provider in PROVIDERS:
            self.console.say(f"{provider.name} ({provider.tier}) serves {', '.join(provider.asks)}")
        self.await_models()
        self.console.run(f"weaver show {SERVICE} --wallet {actors.WEAVER}")

    def shopping(self) -> None:
        """A gasless deposit, a key, calls of all kinds, a refusal, a provider killed midway."""
        tell = self.console
        tell.chapter(4, "A consumer deposits without gas, takes an API key, and calls with the stock OpenAI client")
        tell.run(f"consumer deposit {DEPOSIT} --wallet {CONSUMER}", "deposit status")
        tell.run(f"consumer key --label demo --wallet {CONSUMER}", "id spends_at_most")
        quoted = tell.run(f"consumer quote {SERVICE} call=1 input_token=40 output_token=30 --wallet {CONSUMER}")
        tell.say(f"a run of the workflow would cost about {quoted['price']} atoms, at most {quoted['hold']}")
        token = tell.run(f"curator token {SERVICE} --keep 60% --wallet {actors.CURATOR}", "keeps")["token"]
        shopper = self.shopper(CONSUMER, token)
        first = shopper.call(SERVICE, QUESTIONS[0], False)
        tell.say(f'{SERVICE} says: "{first.text.strip()}"  [dim]({first.charge} atoms)[/]')
        self.made.append(first)
        half = self.calls // 2
        self.made += shopper.mixed(half, self.progress(self.calls))
        pid = control.kill(self.folder, KILLED)
        tell.say(f"the node {KILLED} is killed (SIGKILL, process {pid}); the calls go on")
        self.made += shopper.mixed(self.calls - half - 1, self.progress(self.calls))
        streams = [called for called in self.made if called.streamed]
        tell.say(
            f"{len(self.made)} calls served, {len(streams)} of them streamed in {sum(c.pieces for c in streams)} pieces"
        )
        tell.check("every call was answered", all(called.text for called in self.made), f"{len(self.made)} answers")
        tell.check("streams come token by token", all(c.pieces > 1 for c in streams), f"{len(streams)} streams")
        self.refusal()

    def refusal(self) -> None:
        """A consumer with too little is told so, and how much too little."""
        tell = self.console
        tell.run(f"consumer deposit 2000atoms --wallet {PAUPER}", "deposit status")
        tell.run(f"consumer key --wallet {PAUPER}", "id spends_at_most")
        error = self.shopper(PAUPER).refused(DIALOG, "Hello?")
        said = body(error)
        tell.say(f"penny's 2,000 atoms do not pay for {DIALOG}: {said.get('message', 'it was served')}")
        held = error is not None and error.status_code == 402 and int(said.get("shortfall", 0)) > 0
        tell.check("too little money is a clear 402", held, f"short by {said.get('shortfall')} atoms")

    def settlement(self) -> None:
        """The consumer asks to leave; the ledger posts, closes, commits; the window passes; everybody is paid."""
        tell = self.console
        tell.chapter(5, "The ledger posts, closes a batch and commits it; the window passes; everybody is paid")
        asked = tell.run(f"consumer withdraw --relayer {OPERATOR} --wallet {CONSUMER}", "status")
        assert asked["status"] == "asked", "nothing is final yet"
        receipts = self.await_batches("on chain", {"posted", "final"})
        tell.say(f"{len(batch.listed())} batches with {receipts} receipts are on chain")
        network.advance(WINDOW_SECONDS + 1)
        tell.say("the dispute window passes on the chain's clock")
        self.await_batches("final", {"final"})
        for name in (*actors.PEOPLE, keystore.TREASURY):
            claimed = tell.run(f"{self.claims(name)} claim --wallet {name}", "claimed") if self.due(name) else None
            self.facts.setdefault("claimed", {})[name] = claimed["claimed"] if claimed else "0"
        left = tell.run(f"consumer withdraw --relayer {OPERATOR} --wallet {CONSUMER} --wait 60", "amount")
        tell.check("the consumer has the rest back", left["status"] == "withdrawn", left.get("amount", "nothing"))
        self.facts["withdrawn"] = left.get("atoms", "0")

    def recomputation(self) -> None:
        """Recompute everything from the public files; compare with the ledger and the chain."""
        self.console.chapter(6, "The reckoning: recomputed from the public batch files, compared with ledger and chain")
        self.facts |= checks.recompute(self.console, self.made, DEPOSIT, self.facts)

    def claims(self, name: str) -> str:
        """The group whose `claim` a person would type."""
        groups = {
            OPERATOR: "operator",
            actors.WEAVER: "weaver",
            actors.OEM: "oem",
            actors.CURATOR: "curator",
            keystore.TREASURY: "operator",
        }
        return groups.get(name, "maker" if name in actors.MAKERS else "provider")

    def due(self, name: str) -> bool:
        """Whether somebody has anything to claim."""
        said = context.here().gateway.get(f"/v1/earnings/{to_hex(keystore.address_of(name))}")
        return int(said["claimable"]) > 0

    def shopper(self, name: str, referral: str = "") -> Shopper:
        """A consumer's program, with the key `consumer key` kept, and the token of who recommended the workflow."""
        return Shopper(gateway_url(), (home.home() / "keys" / name).read_text().strip(), referral)

    def progress(self, total: int) -> Any:
        """Tell every hundredth call."""
        base = len(self.made)

        def told(done: int) -> None:
            if (base + done) % 100 == 0:
                self.console.say(f"[dim]{base + done} of {total} calls[/]")

        return told

    def await_models(self, seconds: float = 60) -> None:
        """Until everything can be called."""
        wanted = {SERVICE, *actors.FOLDERS}
        deadline = time.monotonic() + seconds
        while True:
            rows = context.here().gateway.get("/v1/models")["data"]
            serving = {row["id"]: len(row.get("providers", [])) for row in rows}
            full = all(serving.get(model, 0) >= sum(model in p.asks for p in PROVIDERS) for model in actors.FOLDERS)
            if wanted <= serving.keys() and full:
                return
            if time.monotonic() > deadline:
                raise Unavailable(f"not callable yet: {', '.join(sorted(wanted - serving.keys())) or serving}")
            time.sleep(0.2)

    def await_batches(self, what: str, statuses: set[str], seconds: float = 120) -> int:
        """Until every receipt is in a batch that stands so. How many receipts there are."""
        deadline = time.monotonic() + seconds
        while True:
            rows = batch.listed()
            receipts = sum(int(row["calls"]) for row in rows)
            if receipts >= self.receipts and all(row["status"] in statuses for row in rows):
                return receipts
            if time.monotonic() > deadline:
                states = ", ".join(f"{row['number']}: {row['status']}" for row in rows)
                raise Unavailable(f"batches are not {what}: {states or 'none'}; {receipts} of {self.receipts} receipts")
            time.sleep(0.3)

    @property
    def receipts(self) -> int:
        """How many receipts the calls made: a run of the workflow makes one, and one for each of its three models."""
        return sum(4 if called.model == SERVICE else 1 for called in self.made)


def gateway_url() -> str:
    """The local gateway."""
    known = home.network()
    assert known is not None, "contracts() wrote it"
    return known.gateway


def body(error: APIStatusError | None) -> dict[str, Any]:
    """What an OpenAI error says."""
    said = error.body if error is not None else None
    return said if isinstance(said, dict) else {}


def upstream_of(url: str | None, model: str | None) -> str | None:
    """An upstream as an offer names it: its URL, and after # the name it gives the model."""
    if url is None:
        return None
    if not url.startswith(("http://", "https://")):
        raise Rejected(f"{url!r} is no URL: write http://127.0.0.1:11434/v1, say", url=url)
    return f"{url.rstrip('/')}#{model}" if model else url
