"""The scenario of `tollway up` and `tollway demo`: a shop's customer service, from empty folder to served models."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.ids import address, to_hex
from roles.cli import context
from roles.cli.output import wait_until
from roles.client.gateway import checked_url
from roles.local import actors, control, network
from roles.local.actors import CONSUMER, OPERATOR, PROVIDERS, SERVICE
from roles.local.console import DemoConsole
from roles.local.folder import NetworkFolder, Token
from roles.wallet import home, keystore, transactions

WINDOW_SECONDS = 3_600
UP_PACE = network.Pace(batch_seconds=10, window_seconds=60)


@dataclass
class Scenario:
    """The steps that put the actors on the market, each one a command a person would type. Every step is idempotent."""

    folder: NetworkFolder
    console: DemoConsole
    upstream: str | None
    pace: network.Pace
    facts: dict[str, Any] = field(default_factory=dict)
    homes_behind_nat: bool = False

    def start_components(self) -> None:
        """Start the servers, deploy the contracts, fund the wallets, open the lane, start the ledger and gateway."""
        console = self.console
        console.chapter(1, "The components start: PostgreSQL, Redis, a chain, a Celery worker and beat, a gateway")
        network.servers(self.folder, int(time.time()) - 3 * network.EPOCH_SECONDS - WINDOW_SECONDS)
        deployment = network.contracts(self.folder)
        console.say(f"contracts on chain {deployment.chain_id}: Settlement {deployment.settlement}")
        console.run_all(actors.wallets(set(keystore.names())))
        console.run_all(actors.money())
        console.run_all(actors.lane(self.pace.window_seconds), "lane")
        lane = address(console.run(f"operator status --wallet {OPERATOR}")["lane"])
        network.ledger(self.folder, lane, self.pace)
        self.facts |= {"chain_id": deployment.chain_id, "lane": to_hex(lane), "gateway": gateway_url()}
        console.say(f"the gateway answers at {gateway_url()}")

    def open_market(self) -> None:
        """Stake, register and bid, then move the clock to an epoch in which the bids are in force."""
        self.console.chapter(2, "Makers, an OEM, providers, a deliverer and a weaver come to the market")
        self.console.run_all(actors.market(self.upstream), "name staked bond")
        behind = int(time.time()) - WINDOW_SECONDS - transactions.now(context.here()) - 60
        network.advance(max(behind, 2 * network.EPOCH_SECONDS))
        self.console.say("two epochs pass on the chain's clock: the bids are in force")

    def start_nodes(self) -> None:
        """Start the providers' nodes, and wait until every model can be called."""
        self.console.chapter(3, "Three nodes serve ONNX models; casa is a home node at the edge")
        network.nodes(self.folder, self.upstream, homes_behind_nat=self.homes_behind_nat)
        for provider in PROVIDERS:
            self.console.say(f"{provider.name} ({provider.tier}) serves {', '.join(provider.asks)}")
        if not wait_until(lambda: not missing_models(), 60):
            raise Unavailable(f"not callable yet: {', '.join(missing_models())}")
        self.console.run(f"weaver show {SERVICE} --wallet {actors.WEAVER}")


def bring_up(ask: Callable[[str], Any], upstream: str | None, token: Token | None, *, quiet: bool) -> None:
    """Start the network of this home. The first time, also run the scenario and give the consumer money and a key.

    After an interruption the scenario starts again from its first step.
    """
    with network.living_in(home.home()) as folder, control.alone(folder), control.stopped_on_failure(folder):
        check_upstream(folder, upstream)
        check_token(folder, token)
        if (folder.path / "settled_in").exists():
            control.start(folder)
            control.wait(folder, network.SERVERS)
            network.migrate(folder.wanted()["worker"].environment)  # this version may be newer than the database
            network.contracts(folder)  # deploys again what a lost chain state has lost
            if upstream is not None:
                network.nodes(folder, upstream)
            control.wait(folder, folder.wanted())
        else:
            scenario = Scenario(folder, DemoConsole(ask, quiet), upstream, UP_PACE)
            scenario.start_components()
            scenario.open_market()
            behind = int(time.time()) - transactions.now(context.here())
            if behind > 0:
                network.advance(behind)
            scenario.start_nodes()
            scenario.console.run(f"consumer deposit 20 --wallet {CONSUMER}", "deposit status")
            scenario.console.run(f"consumer key --label playing --wallet {CONSUMER}", "id spends_at_most")
            home.write_private(folder.path / "settled_in", "")


def check_upstream(folder: NetworkFolder, upstream: str | None) -> None:
    """Rejected when a network that has no upstream is to get one: what it sells was registered with its weights."""
    if not (folder.path / "settled_in").exists():
        home.write_private(folder.path / "upstream", upstream or "")
    elif upstream is not None and not folder.note("upstream"):
        raise Rejected("this network was made without an upstream: tollway down --forget, then this again")


def check_token(folder: NetworkFolder, token: Token | None) -> None:
    """Rejected when a network is to settle in another token than it does: its contracts are made for one."""
    if not (folder.path / "settled_in").exists():
        home.write_private(folder.path / "token", token or Token.aic)
    elif token is not None and token != (made := folder.note("token") or Token.aic):
        raise Rejected(f"this network settles in {made}: tollway down --forget, then this again", token=token)


def missing_models() -> list[str]:
    """The models and workflows that some provider should serve and does not yet."""
    rows = context.here().gateway.get("/v1/models")["data"]
    serving = {row["id"]: sum(one["ready"] for one in row.get("providers", [])) for row in rows}
    wanted = {model: sum(model in provider.asks for provider in PROVIDERS) for model in actors.FOLDERS}
    return sorted(model for model, count in {SERVICE: 0, **wanted}.items() if serving.get(model, -1) < count)


def gateway_url() -> str:
    known = home.network()
    assert known is not None, "network.contracts wrote it"
    return known.gateway


def parse_upstream(url: str | None, model: str | None) -> str | None:
    """An upstream as an offer names it: its URL, and after # the name it has for the model."""
    if url is None:
        if model is not None:
            raise Rejected("--upstream-model is the name of a model at a server: add --upstream URL", model=model)
        return None
    return f"{checked_url(url)}#{model}" if model else checked_url(url)
