"""`tollway demo`: the whole life of a call in seven chapters, checked to the last atom.

Everything happens through the commands a person would type and through the stock OpenAI client. The demo only moves
the local chain's clock, where a person would have to wait.
"""

import contextlib
import json
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.markup import escape

from ledger.core.pricing.promotion import RESERVE
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.ids import to_hex
from roles.audit import batches
from roles.cli import context
from roles.cli.output import wait_until
from roles.local import actors, checks, control, isolation, network
from roles.local.actors import CONSUMER, DIALOG, OPERATOR, PAUPER, SERVICE
from roles.local.console import DemoConsole
from roles.local.consumer import QUESTIONS, Answer, Consumer, load_openai
from roles.local.folder import Token
from roles.local.scenario import WINDOW_SECONDS, Scenario, gateway_url
from roles.wallet import api_keys, home, keystore

DEPOSIT = "20"
PACE = network.Pace(batch_seconds=300, window_seconds=WINDOW_SECONDS)
KILLED = "borea"
HOME, HOME_CALLS = "casa", 5
NEAR_MS = 80
"""The longest round trip that is near."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `tollway demo`. `folder` is empty at the start; `json_file` receives the facts."""

    folder: Path
    calls: int
    upstream: str | None
    token: Token
    keep: bool
    json_file: Path | None


def play(ask: Callable[[str], Any], options: Options) -> None:
    """Run the demo. Rejected, with the failed checks, unless all of them held. A failed demo keeps its folder."""
    load_openai()
    console, keep = DemoConsole(ask), options.keep
    with network.living_in(options.folder) as folder:
        home.write_private(folder.path / "token", options.token)
        demo = Demo(folder, console, options.upstream, PACE, calls=options.calls)
        try:
            demo.run()
            keep = keep or bool(console.failed)
        except BaseException:
            keep = True
            raise
        finally:
            control.stop(folder)
            if keep:
                console.console.print(f"\nits data and logs are kept in {options.folder}")
            else:
                shutil.rmtree(options.folder, ignore_errors=True)
    facts = demo.facts
    if options.json_file:
        options.json_file.write_text(json.dumps(facts, indent=2) + "\n")
    if console.failed:
        raise Rejected(f"{len(console.failed)} checks failed: {', '.join(check.name for check in console.failed)}")
    console.console.print(
        f"\ndemo: ok, {facts['calls']} calls, {facts['payees']} payees, {facts['settled_atoms']} atoms settled, "
        "ledger and chain agree",
        soft_wrap=True,
    )


@dataclass
class Demo(Scenario):
    """The scenario with calls, a home that leaves and comes back, settlement and checks: chapters 4 to 7."""

    calls: int = 0
    why_no_home: str | None = None
    """Why no node can be put behind NAT here."""
    answers: list[Answer] = field(default_factory=list)

    def run(self) -> None:
        self.why_no_home = isolation.why_not() if self.upstream is None else "its node could not reach the upstream"
        self.homes_behind_nat = self.why_no_home is None
        self.start_components()
        self.open_market()
        self.start_nodes()
        self.make_calls()
        self.visit_home()
        self.settle()
        self.console.chapter(7, "The checks: recomputed from the public batch files, compared with ledger and chain")
        self.facts |= checks.recompute(self.console, self.answers, DEPOSIT, self.facts)

    def make_calls(self) -> None:
        """A gasless deposit, a key, calls of all kinds, a provider killed midway, a refusal."""
        console = self.console
        console.chapter(4, "A consumer deposits without gas, takes an API key, and calls with the stock OpenAI client")
        console.run(f"consumer deposit {DEPOSIT} --wallet {CONSUMER}", "deposit status")
        console.run(f"consumer key --label demo --wallet {CONSUMER}", "id spends_at_most")
        quote = console.run(f"consumer quote {SERVICE} call=1 input_token=40 output_token=30 --wallet {CONSUMER}")
        console.say(f"a run of the workflow would cost about {quote['price']} atoms, at most {quote['hold']}")
        token = console.run(f"curator token {SERVICE} --keep 60% --wallet {actors.CURATOR}", "keeps")["token"]
        consumer = consumer_of(CONSUMER, token)
        first = self.first_sale(consumer)
        console.say(f'{SERVICE} says: "{escape(first.text.strip())}"  [dim]({first.charge} atoms)[/]')
        count = self.calls - (HOME_CALLS if self.homes_behind_nat else 0)
        half = count // 2
        self.answers += consumer.call_many(half, self.progress())
        pid = control.kill(self.folder, KILLED)
        console.say(f"the node {KILLED} is killed (SIGKILL, process {pid}); the calls go on")
        self.answers += consumer.call_many(count - half - 1, self.progress())
        streams = [answer for answer in self.answers if answer.streamed]
        pieces = sum(answer.pieces for answer in streams)
        console.say(f"{len(self.answers)} calls served, {len(streams)} of them streamed in {pieces} pieces")
        answered = all(answer.text for answer in self.answers)
        console.check("every call was answered", answered, f"{len(self.answers)} answers")
        in_pieces = all(answer.pieces > 1 for answer in streams)
        console.check("streams come token by token", in_pieces, f"{len(streams)} streams")
        self.refuse_call()

    def first_sale(self, consumer: Consumer) -> Answer:
        """Sponsors order slots; the consumer is shown them, and buys: the sponsor pays for the sale, once."""
        console = self.console
        console.run_all(actors.orders(), "order")
        expected = {"call": 1, "input_token": 40, "output_token": 30}

        def shown() -> list[dict[str, Any]]:
            return [row for row in consumer.discover(actors.TASK, expected) if row["sponsored"]]

        wait_until(lambda: len(shown()) == 2, 30, 0.2)
        for row in shown():
            price, who = row["promo_second_price"], f"{row['sponsor_role']} {row['sponsor']}"
            console.say(f"sponsored: {row['name']}, for which its {who} pays {price} atoms if it sells")
        first = consumer.call(SERVICE, QUESTIONS[0], False)
        self.answers.append(first)
        rows = console.ask(f"consumer receipts --limit 9 --wallet {CONSUMER}")
        sale = next((row for row in rows if row["noted"].get("slot")), None)
        price = "0"
        if sale is not None:
            shown_terms = console.ask(f"consumer receipt {sale['call_id']} --wallet {CONSUMER}")["terms"]
            price = shown_terms["carve"]["promotion"]
            console.say(f"{SERVICE} is sold by its slot: its weaver pays {price} atoms of its own line, this once")
        self.facts["first_sale"] = {"slot": sale and sale["noted"]["slot"], "atoms": price}
        console.check("a first sale is paid by its sponsor", int(price) >= RESERVE, f"{price} atoms")
        return first

    def refuse_call(self) -> None:
        """A consumer with too little money is refused, with the shortfall."""
        console = self.console
        console.run(f"consumer deposit 2000atoms --wallet {PAUPER}", "deposit status")
        console.run(f"consumer key --wallet {PAUPER}", "id spends_at_most")
        error = consumer_of(PAUPER).refusal(DIALOG, "Hello?")
        body = error.body if error is not None and isinstance(error.body, dict) else {}
        console.say(f"penny's 2,000 atoms do not pay for {DIALOG}: {escape(str(body.get('message', 'it was served')))}")
        held = error is not None and error.status_code == 402 and int(body.get("shortfall", 0)) > 0
        console.check("too little money is a clear 402", held, f"short by {body.get('shortfall')} atoms")

    def visit_home(self) -> None:
        """A node in a network of its own serves who asks for the edge; it leaves, and comes back."""
        console = self.console
        console.chapter(5, f"A home behind NAT: {HOME} serves its neighbours, leaves, and comes back")
        if not self.homes_behind_nat:
            console.say(f"[bold yellow]SKIPPED: no home can be put behind NAT here: {escape(str(self.why_no_home))}[/]")
            return
        closed = not is_open(self.folder.port(HOME))
        console.check(f"nobody can call {HOME}", closed, "its network has no way in, so it opened a tunnel")
        anybody, neighbour = consumer_of(CONSUMER), consumer_of(CONSUMER, tiers="edge")
        self.answers += [neighbour.call(DIALOG, question, True) for question in QUESTIONS[: HOME_CALLS - 2]]
        [row] = offers_of(HOME)
        figures = f"a ping takes {row['round_trip_ms']} ms, its model {row['latency_ms']} ms"
        console.check(f"{HOME} is near, however late its model answers", row["round_trip_ms"] <= NEAR_MS, figures)
        control.stop_one(self.folder, HOME)
        console.check(f"{HOME} is stopped, and listed no more", not offers_of(HOME), "it withdrew its offers")
        refused = neighbour.refusal(DIALOG, QUESTIONS[0])
        body = refused.body if refused is not None and isinstance(refused.body, dict) else {}
        said = str(body.get("message", "it was served"))
        console.check("who asks for the edge is told", refused is not None and refused.status_code == 404, said)
        self.answers.append(anybody.call(DIALOG, QUESTIONS[0], False))
        [home] = [one for one in actors.PROVIDERS if one.name == HOME]
        self.folder.want(network.node(self.folder, home, self.upstream, behind_nat=True))
        control.wait(self.folder, [HOME])
        back = wait_until(lambda: bool(offers_of(HOME)), 30)
        console.check(f"{HOME} is back", back, "with a new tunnel and a new offer")
        self.answers.append(neighbour.call(DIALOG, QUESTIONS[1], False))

    def settle(self) -> None:
        """The consumer asks to leave, the batches become final, everybody claims, the consumer takes the rest."""
        console = self.console
        console.chapter(6, "The ledger posts, closes a batch and commits it; the window passes; everybody is paid")
        asked = console.run(f"consumer withdraw --relayer {OPERATOR} --wallet {CONSUMER}", "status")
        assert asked["status"] == "asked", "nothing is final yet"
        receipts = self.await_batches("on chain", {"posted", "final"})
        console.say(f"{len(batches.listed(context.here()))} batches with {receipts} receipts are on chain")
        network.advance(WINDOW_SECONDS + 1)
        console.say("the dispute window passes on the chain's clock")
        self.await_batches("final", {"final"})
        for name in (*actors.PEOPLE, keystore.TREASURY):
            earned = checks.earned_by(name)
            command, due = f"{group_of(name)} claim --wallet {name}", int(earned["claimable"]) > 0
            self.facts.setdefault("claimed", {})[name] = console.run(command, "claimed")["claimed"] if due else "0"
        left = console.run(f"consumer withdraw --relayer {OPERATOR} --wallet {CONSUMER} --wait 60", "amount")
        console.check("the consumer has the rest back", left["status"] == "withdrawn", left.get("amount", "nothing"))
        self.facts["withdrawn"] = left.get("atoms", "0")

    def progress(self) -> Callable[[int], None]:
        base = len(self.answers)

        def report(done: int) -> None:
            if (base + done) % 100 == 0:
                self.console.say(f"[dim]{base + done} of {self.calls} calls[/]")

        return report

    def await_batches(self, what: str, statuses: set[str]) -> int:
        """Wait until every receipt is in a batch with one of these statuses. Returns the number of receipts."""
        rows: list[dict[str, Any]] = []

        def are_there() -> bool:
            rows[:] = batches.listed(context.here())
            return count() >= self.receipts and all(row["status"] in statuses for row in rows)

        def count() -> int:
            return sum(int(row["calls"]) for row in rows)

        if not wait_until(are_there, 120, 0.3):
            states = ", ".join(f"{row['number']}: {row['status']}" for row in rows) or "none"
            raise Unavailable(f"batches are not {what}: {states}; {count()} of {self.receipts} receipts")
        return count()

    @property
    def receipts(self) -> int:
        """The number of the calls' receipts: a run of the workflow makes one, and one for each of its three models."""
        return sum(4 if answer.model == SERVICE else 1 for answer in self.answers)


def consumer_of(wallet: str, referral: str = "", tiers: str = "") -> Consumer:
    """The client of a wallet, with the key that `consumer key` stored, a curator's token, and the tiers it asks for."""
    return Consumer(gateway_url(), api_keys.current_file(wallet).read_text(), referral, tiers)


def offers_of(provider: str) -> list[dict[str, Any]]:
    """What the gateway lists of a provider's offers of the dialogue model: none while it cannot be called."""
    rows = context.here().gateway.get("/v1/models")["data"]
    address = to_hex(keystore.address_of(provider))
    return [
        one
        for row in rows
        if row["id"] == DIALOG
        for one in row["providers"]
        if one["provider"] == address and one["ready"]
    ]


def is_open(port: int) -> bool:
    """Whether a port of this machine takes connections."""
    with contextlib.suppress(OSError), socket.create_connection((network.LOCALHOST, port), timeout=1):
        return True
    return False


def group_of(name: str) -> str:
    """The command group whose `claim` a person of this role would type."""
    groups = {OPERATOR: "operator", keystore.TREASURY: "operator"}
    groups |= {actors.WEAVER: "weaver", actors.OEM: "oem", actors.CURATOR: "curator"}
    return groups.get(name, "maker" if name in actors.MAKERS else "provider")
