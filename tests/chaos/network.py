"""A whole network of real processes to be hard on: PostgreSQL, Redis, Anvil, worker, beat and gateway, supervised.

The supervisor is the one of `tollway up`: whoever dies is started again. A node answers from the test's own process,
and the worker reaches the chain through a wire the test can cut.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import psycopg
import redis
from eth_abi.abi import encode
from sqlalchemy import Engine

from ledger.chain.calls import Calls, LaneTerms
from ledger.chain.deploy import Parameters, deploy
from ledger.chain.reads import Chain
from ledger.core.accounts.accounts import available
from ledger.core.catalog import names
from ledger.core.catalog.bids import Bid, Role
from ledger.core.pricing.epochs import epoch_at
from ledger.core.values.documents import canonical, digest
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_DIGEST, Address, Digest, Lane, address, cid, did, to_hex
from ledger.core.values.meters import rates
from ledger.core.values.typed_data import Domain, Signer, Voucher, offer_hash, signing_digest, voucher_hash
from ledger.deployments import Deployment, path
from ledger.store.money import postings
from ledger.store.session import connect, unit_of_work
from roles.local import control
from roles.local import network as components
from roles.local.folder import Component, NetworkFolder
from roles.wallet import signing
from tests.chaos.proxy import Proxy
from tests.conftest import settings_for
from tests.gateway.nodes import Node
from tests.gateway.world import a_model

TREASURY = Signer(bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"))
EPOCH_SECONDS, NOTICE_SECONDS = 3_600, 60
TERMS = LaneTerms(window=20, answer_time=5)
BOND = 10**11
DEPOSIT = 10**10
MOST_TASKS = 300
MODEL = "@acme/chat"
ASK = {"call": "100", "output_token": "3000000"}


def a_key(name: str) -> bytes:
    """Somebody's private key."""
    return bytes(keccak256(b"chaos", name.encode()))


OPERATOR, MAKER, PROVIDER, GATEWAY = (Signer(a_key(name)) for name in ("operator", "maker", "provider", "gateway"))
CONSUMERS = tuple(Signer(a_key(f"consumer {n}")) for n in range(3))
LEAVER = Signer(a_key("leaver"))
"""A consumer that withdraws, if the run has it so."""


@dataclass
class Network:
    """The processes, and how to be hard on them."""

    folder: Path
    network_folder: NetworkFolder
    chain: Chain
    engine: Engine
    proxy: Proxy
    node: Node
    keys: tuple[str, ...] = ()
    told: list[str] = field(default_factory=list)
    """Ids of the calls that were answered beside the load, as their receipts say."""

    @property
    def url(self) -> str:
        """The gateway."""
        return f"http://127.0.0.1:{self.network_folder.port('gateway')}"

    @property
    def domain(self) -> Domain:
        """Where signatures count."""
        return Domain(components.CHAIN_ID, address(self.chain.deployment.settlement))

    @property
    def lane(self) -> Lane:
        return lane_of(self.chain.calls)

    def kill(self, name: str) -> None:
        """kill -9 a component and all its children."""
        pid = self.network_folder.running().get(name)
        if pid:
            os.killpg(pid, signal.SIGKILL)

    @contextlib.contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """A component that stands still for a while: alive, and mute."""
        pid = self.network_folder.running()[name]
        os.killpg(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(pid, signal.SIGCONT)

    def kill_postgres(self) -> None:
        """kill -9 the postmaster: it recovers from its log."""
        os.kill(self._postmaster(), signal.SIGKILL)

    def wipe_redis(self) -> None:
        """Everything Redis holds is gone, and Redis too."""
        redis.Redis(port=self.network_folder.port("redis")).flushall()
        self.kill("redis")

    def disturb_tasks(self, shuffle: Callable[[list[bytes]], None]) -> int:
        """Deliver what waits in the queue twice, in another order. Returns how many messages wait now."""
        bell = redis.Redis(port=self.network_folder.port("redis"))
        waiting = [bytes(message) for message in bell.lrange("ledger", 0, -1) if isinstance(message, bytes)]
        waiting = (waiting + waiting)[:MOST_TASKS]  # twice and twice again would soon be all that a worker does
        shuffle(waiting)
        if waiting:
            swap = bell.pipeline()
            swap.delete("ledger")
            swap.rpush("ledger", *waiting)
            swap.execute()
        return len(waiting)

    def fill_disk(self, seconds: float) -> None:
        """For a while no file of PostgreSQL may grow: its log cannot be written, and it panics as on a full disk."""
        postmaster = self._postmaster()
        for pid in (postmaster, *_children(postmaster)):
            _limit_files(pid, "0")
        time.sleep(seconds)
        for pid in (postmaster, *_children(postmaster)):
            _limit_files(pid, "unlimited")

    def set_clock(self, milliseconds: int) -> None:
        """Move the wall clock of worker and gateway."""
        (self.folder / "clock").write_text(str(milliseconds))

    def arm(self, point: str) -> Path:
        """The next process at this point dies there; the file is gone once it did."""
        file = self.folder / "arm" / point
        file.touch()
        return file

    def until(self, what: Callable[[], bool], seconds: float, why: str) -> None:
        """Wait for something; fail with what the logs say last."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if what():
                    return
            except (httpx.HTTPError, psycopg.OperationalError, OSError):
                pass
            time.sleep(0.2)
        tails = {
            name: control.tail(self.network_folder, name, 12)
            for name in ("gateway", "worker", "postgres", "supervisor")
        }
        raise AssertionError(f"not within {seconds} s: {why}\n" + "\n".join(f"--- {k}\n{v}" for k, v in tails.items()))

    def answers(self) -> bool:
        """The gateway serves."""
        return httpx.get(f"{self.url}/health", timeout=2).status_code == 200

    def stop(self) -> None:
        """End everything."""
        self.engine.dispose()
        control.stop(self.network_folder)
        self.proxy.stop()
        self.node.stop()

    def _postmaster(self) -> int:
        return int((self.network_folder.data("postgres") / "18" / "postmaster.pid").read_text().split()[0])


def start(folder: Path) -> Network:
    """Bring everything up: a lane, a model somebody may call, consumers with keys."""
    network_folder = NetworkFolder(folder / "local")
    try:
        return _start(folder, network_folder)
    except BaseException:
        control.stop(network_folder)
        raise


def _start(folder: Path, network_folder: NetworkFolder) -> Network:
    (folder / "arm").mkdir(parents=True)
    control.start(network_folder)
    genesis = int(time.time()) - 12 * EPOCH_SECONDS
    servers = (
        components.postgres(network_folder),
        components.redis(network_folder),
        components.chain(network_folder, genesis),
    )
    for component in servers:
        network_folder.want(component)
    control.wait(network_folder, [component.name for component in servers])
    rpc = components.rpc_url(network_folder)
    deployment = deploy(rpc, TREASURY, Parameters(EPOCH_SECONDS, exit_notice_seconds=NOTICE_SECONDS), folder)
    chain, proxy, node = Chain(rpc, deployment), Proxy(network_folder.port("chain")), Node().start()
    subject = settle_in(chain)
    environment = settings_of(network_folder, deployment, folder, proxy)
    components.migrate(environment)
    engine = connect(settings_for(components.database_url(network_folder)).sqlalchemy_url)
    network = Network(folder, network_folder, chain, engine, proxy, node)
    for component in armed(network_folder, environment):
        network_folder.want(component)
    control.wait(network_folder, ("worker", "beat", "gateway"))
    network.until(lambda: deposits_are_booked(network), 90, "the deposits")
    publish(network, subject)  # the ledger has read its name, which is older than the deposits
    network.keys = tuple(key_of(network, consumer) for consumer in CONSUMERS)
    network.until(lambda: is_told(network, "first"), 90, "a first call")
    return network


def lane_of(calls: Calls) -> Lane:
    """The network's only lane."""
    return calls.lane_of(OPERATOR.address, ZERO_DIGEST, TERMS)


def settle_in(chain: Chain) -> Digest:
    """A lane with a bond, a staked provider, a registered model with bids in force, consumers with deposits."""
    calls, vault = chain.calls, address(chain.deployment.stake_vault)
    for who in (OPERATOR, MAKER, PROVIDER, LEAVER, *CONSUMERS):
        chain.rpc("anvil_setBalance", to_hex(who.address), hex(10**20))
        chain.transact(TREASURY, calls.transfer(who.address, 10**12))
    chain.transact(OPERATOR, calls.approve(calls.settlement, BOND))
    chain.transact(OPERATOR, calls.open_lane(ZERO_DIGEST, TERMS, BOND))
    lane = lane_of(calls)
    chain.transact(OPERATOR, calls.add_gateway(lane, GATEWAY.address))
    chain.transact(PROVIDER, calls.approve(vault, 10**12))
    chain.transact(PROVIDER, calls.to("StakeVault", "stake", 10**9))
    subject, salt, name = digest(model()), Digest(bytes(32)), names.of_document(model())
    organisation = names.label(name.organisation)
    for what in (subject, organisation):
        commitment = keccak256(encode(["bytes32", "address", "bytes32"], [what, to_hex(MAKER.address), salt]))
        chain.transact(MAKER, calls.to("Registry", "commit", commitment))
    chain.rpc("evm_increaseTime", 1)
    chain.rpc("evm_mine")
    chain.transact(MAKER, calls.register_model(subject, [], Digest(bytes(32)), salt))
    chain.transact(MAKER, calls.approve(address(chain.deployment.registry), chain.deployment.name_stake_atoms))
    chain.transact(MAKER, calls.to("Registry", "registerOrganisation", organisation, salt))
    chain.transact(MAKER, calls.to("Registry", "publishName", organisation, name.versioned, subject))
    chain.transact(MAKER, chain.calls.place_bid(subject, Role.maker, Bid(100_000)))
    chain.transact(PROVIDER, chain.calls.place_bid(subject, Role.compute, Bid(0, rates(ASK))))
    for consumer in (*CONSUMERS, LEAVER):
        chain.transact(consumer, calls.approve(calls.consumers, DEPOSIT))
        chain.transact(consumer, calls.deposit(lane, consumer.address, DEPOSIT))
    chain.rpc("evm_increaseTime", EPOCH_SECONDS)
    chain.rpc("evm_mine")
    return subject


def settings_of(network_folder: NetworkFolder, deployment: Deployment, folder: Path, proxy: Proxy) -> dict[str, str]:
    """What worker, beat and gateway are told."""
    return {
        "CHAOS_FOLDER": str(folder),
        "LEDGER_DATABASE_URL": components.database_url(network_folder),
        "LEDGER_REDIS_URL": components.redis_url(network_folder),
        "LEDGER_RPC_URL": f"http://127.0.0.1:{proxy.port}",
        "LEDGER_DEPLOYMENT": str(path(deployment.chain_id, folder)),
        "LEDGER_LANE": to_hex(lane_of(Calls(deployment))),
        "LEDGER_CONFIRMATIONS": "1",
        "LEDGER_BATCH_SECONDS": "2",
        "LEDGER_SWEEP_SECONDS": "0.5",
        "LEDGER_AUDIT_SECONDS": "3",
        "LEDGER_RELAY_CLAIMS": "true",
        "LEDGER_STUCK_SECONDS": "5",
        "LEDGER_OPERATOR_KEY": a_key("operator").hex(),
        "GATEWAY_SIGNING_KEY": a_key("gateway").hex(),
        "GATEWAY_ALLOWED_NETWORKS": "127.0.0.0/8",
        "GATEWAY_LEASE_ATOMS": "20000",
        "GATEWAY_LEASE_SECONDS": "20",
        "GATEWAY_KEY_SECONDS": "0.2",
        "GATEWAY_BOOK_SECONDS": "0.5",
    }


def armed(network_folder: NetworkFolder, environment: dict[str, str]) -> list[Component]:
    """Worker and gateway, each of which can be told where to die; beat, which has no such place."""
    made = [replace(components.beat(network_folder, environment), health="log:maxinterval")]
    for component in (components.worker(network_folder, environment), components.gateway(network_folder, environment)):
        python, _, *rest = component.command
        made.append(replace(component, command=(python, "-m", "tests.chaos.armed", *rest)))
    return [replace(component, start_seconds=300) for component in made]


def model() -> dict[str, Any]:
    """The document of the model that is called."""
    return a_model(MODEL, owner=did(components.CHAIN_ID, MAKER.address))


def publish(network: Network, subject: Digest) -> None:
    """The model's document, and its provider's offer."""
    post(network, "/v1/documents", canonical(signing.document(MAKER, network.domain, model())))
    tip = network.chain.block()
    assert tip is not None
    epoch = epoch_at(tip.timestamp, EPOCH_SECONDS)
    body = {
        "schema": "tollway/offer/1",
        "subject": cid(subject),
        "party": did(components.CHAIN_ID, PROVIDER.address),
        "role": "compute",
        "bid": {"ratio_ppm": 0, "ask": {}},
        "serve": {"url": network.node.url, "tier": "center", "capacity": 64},
        "valid_from_epoch": epoch,
        "expires_epoch": epoch + 20,
        "nonce": 1,
        "chain_id": components.CHAIN_ID,
    }
    signature = PROVIDER.sign(signing_digest(network.domain, offer_hash(digest(body))))
    post(network, "/v1/offers", canonical({**body, "signature": to_hex(signature)}))


def deposits_are_booked(network: Network) -> bool:
    """Whether all consumers may sign vouchers."""
    with unit_of_work(network.engine) as session:
        return all(postings.balance(session, network.lane, available(one.address)) for one in CONSUMERS)


def key_of(network: Network, consumer: Signer) -> str:
    """An API key behind a voucher for all of the deposit."""
    signed = consumer.sign(
        signing_digest(network.domain, voucher_hash(Voucher(network.lane, consumer.address, DEPOSIT)))
    )
    voucher = {
        "lane": to_hex(network.lane),
        "account": to_hex(consumer.address),
        "cum_max": str(DEPOSIT),
        "signature": to_hex(signed),
    }
    return str(post(network, "/v1/keys", canonical({"voucher": voucher}))["key"])


def post(network: Network, where: str, body: bytes) -> dict[str, Any]:
    """What the gateway answers; it must be well."""
    answer = httpx.post(network.url + where, content=body, headers={"content-type": "application/json"}, timeout=30)
    assert answer.is_success, answer.text
    found: dict[str, Any] = answer.json()
    return found


def is_told(network: Network, key: str) -> bool:
    """Whether a call of the first consumer is answered. It is one that the load does not make."""
    answer = ask(network, 0, key)
    if answer.status_code == 200:
        network.told.append(answer.headers["tollway-receipt"])
    return answer.status_code == 200


def ask(network: Network, consumer: int, key: str, http: httpx.Client | None = None) -> httpx.Response:
    """One call with an Idempotency-Key."""
    headers = {"Authorization": f"Bearer {network.keys[consumer]}", "Idempotency-Key": key}
    body = {"model": MODEL, "messages": [{"role": "user", "content": key}], "max_tokens": 20}
    return (http or httpx).post(f"{network.url}/v1/chat/completions", json=body, headers=headers, timeout=15)


def stream(network: Network, key: str, meanwhile: Callable[[], object]) -> str:
    """A streamed call, in whose middle something happens; the id of its receipt. It ends as a whole one does."""
    headers, body = {"Authorization": f"Bearer {key}"}, {"model": MODEL, "messages": [], "stream": True}
    url = f"{network.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, headers=headers, timeout=300) as answer:
        assert answer.status_code == 200, answer.read()
        lines = answer.iter_lines()
        next(lines)
        meanwhile()
        assert "data: [DONE]" in list(lines)
        return str(answer.headers["tollway-call"])


def payees() -> tuple[Address, ...]:
    """Who is paid for a call."""
    return MAKER.address, PROVIDER.address, OPERATOR.address, address(TREASURY.address)


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [int(child) for child in found.read_text().split()]
    except OSError:
        return []


def _limit_files(pid: int, size: str) -> None:
    """Let a process write files up to a size only. Asked as the process's own user: root in a container may not."""
    try:
        owner = Path(f"/proc/{pid}").stat().st_uid
    except FileNotFoundError:
        return
    user = owner if os.geteuid() == 0 else None
    command = ["prlimit", "--pid", str(pid), f"--fsize={size}:"]  # a process that has just ended has no limits
    subprocess.run(command, user=user, cwd="/", check=False, stderr=subprocess.DEVNULL)


if sys.platform != "linux":  # pragma: no cover
    raise RuntimeError("the chaos harness limits and finds processes as Linux has them")
