"""A local network: its components, the same programs a deployment runs, and the idempotent steps that start it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ledger import deployments
from ledger.chain.deploy import Parameters, deploy, put_token
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.ids import Lane, to_hex
from ledger.core.values.typed_data import Signer
from roles.cli.context import here
from roles.local import actors, control, isolation
from roles.local.folder import TOOLS, Component, NetworkFolder, Token
from roles.wallet import home, keystore, transactions
from roles.wallet.home import Network

LOCALHOST = "127.0.0.1"
CHAIN_ID = 31337
TREASURY_KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
"""The first account of every Anvil: public, with money on local chains only."""
EPOCH_SECONDS = 3_600

USDC_CONTRACT = "test/LocalUsdc"
SERVERS = ("postgres", "redis", "chain")
LEDGER = ("worker", "beat", "gateway")


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds until a batch closes, and seconds in which it can be challenged."""

    batch_seconds: int
    window_seconds: int


@contextmanager
def living_in(folder: Path) -> Iterator[NetworkFolder]:
    """Make `folder` the home of every command that runs inside the block, with its own wallets and gateway."""
    before = {name: os.environ.get(name) for name in ("TOLLWAY_HOME", "TOLLWAY_PASSWORD", "TOLLWAY_GATEWAY")}
    os.environ["TOLLWAY_HOME"] = str(folder)
    for name in ("TOLLWAY_PASSWORD", "TOLLWAY_GATEWAY"):
        os.environ.pop(name, None)
    try:
        yield NetworkFolder.of(folder)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def servers(folder: NetworkFolder, genesis: int) -> None:
    """Start PostgreSQL, Redis and the chain. A new chain's first block has the timestamp `genesis`."""
    control.start(folder)
    for component in (postgres(folder), redis(folder), chain(folder, genesis)):
        folder.want(component)
    control.wait(folder, SERVERS)


def contracts(folder: NetworkFolder) -> deployments.Deployment:
    """Deploy or find the contracts, create the treasury's wallet, write the deployment and the network file."""
    if not (home.keystores() / "password").exists():
        home.write_private(home.keystores() / "password", folder.secret("password"))
    if keystore.TREASURY not in keystore.names():
        keystore.create(keystore.TREASURY, bytes.fromhex(TREASURY_KEY), strength=keystore.LIGHT)
    treasury = Signer(bytes.fromhex(TREASURY_KEY))
    rpc = rpc_url(folder)
    token = put_token(rpc, treasury, USDC_CONTRACT) if folder.note("token") == Token.usdc else None
    deployment = deploy(rpc, treasury, Parameters(EPOCH_SECONDS, token), deployment_file(folder).parent)
    known = Network(f"http://{LOCALHOST}:{folder.port('gateway')}", rpc, str(deployment_file(folder)))
    home.write_private(home.home() / "network.json", json.dumps(asdict(known)))
    return deployment


def deployment_file(folder: NetworkFolder) -> Path:
    return deployments.path(CHAIN_ID, folder.path / "deployments")


def ledger(folder: NetworkFolder, lane: Lane, pace: Pace) -> None:
    """Migrate the database, then start worker, beat and gateway."""
    password = (home.keystores() / "password").read_text()
    shared = {
        "LEDGER_DATABASE_URL": database_url(folder),
        "LEDGER_REDIS_URL": redis_url(folder),
        "LEDGER_RPC_URL": rpc_url(folder),
        "LEDGER_DEPLOYMENT": str(deployment_file(folder)),
        "LEDGER_LANE": to_hex(lane),
        "LEDGER_CONFIRMATIONS": "1",
        "LEDGER_BATCH_SECONDS": str(pace.batch_seconds),
        "LEDGER_SWEEP_SECONDS": "0.5",
        "LEDGER_OPERATOR_KEYSTORE": str(home.keystores() / f"{actors.OPERATOR}.json"),
        "LEDGER_OPERATOR_PASSWORD": password,
    }
    gateway_only = {
        "GATEWAY_KEYSTORE": str(home.keystores() / f"{actors.GATEWAY}.json"),
        "GATEWAY_PASSWORD": password,
        "GATEWAY_SECRET": folder.secret("gateway"),
        "GATEWAY_OPERATOR": to_hex(keystore.address_of(actors.OPERATOR)),
        "GATEWAY_RPC_HINT": rpc_url(folder),
        "GATEWAY_PUBLIC_URL": f"http://{LOCALHOST}:{folder.port('gateway')}",
        "GATEWAY_ALLOWED_NETWORKS": "127.0.0.0/8",
        "GATEWAY_WEBHOOK_NETWORKS": "127.0.0.0/8",
        "GATEWAY_LEASE_ATOMS": str(deployments.load(deployment_file(folder)).currency.one // 5),
        "GATEWAY_BOOK_SECONDS": "0.5",
        "GATEWAY_METERED_ANSWER_BYTES": "65536",
    }
    migrate(shared)
    for component in (
        worker(folder, shared),
        beat(folder, shared),
        gateway(folder, {**shared, **gateway_only}),
    ):
        folder.want(component)
    control.wait(folder, LEDGER)


def node(folder: NetworkFolder, provider: actors.Provider, upstream: str | None, *, behind_nat: bool) -> Component:
    """A provider's node: its models from their folders; with an upstream, that server as the dialogue model. Behind NAT
    it is in a network of its own, and reaches the gateway and the chain.
    """
    port = folder.port(provider.name)
    own = [model for model in provider.asks if not (upstream and model == actors.DIALOG)]
    served = [f"{actors.MODELS / actors.FOLDERS[model]}={model}" for model in own]
    resold = ["--upstream", f"{actors.DIALOG}={upstream}"] if len(own) < len(provider.asks) else []
    command = (sys.executable, "-m", "roles.cli.main", "provider", "serve", *served, *resold, "--port", str(port))
    options = ("--tier", provider.tier, "--capacity", str(provider.capacity), "--wallet", provider.name)
    whole, health = (*command, *options), f"http://{LOCALHOST}:{port}/v2/health/ready"
    if behind_nat:
        reached = [folder.port("gateway"), folder.port("chain")]
        whole, health = isolation.command(reached, *whole, "--tunnel"), "log:serving "
    environment = {"TOLLWAY_HOME": str(home.home()), "OMP_NUM_THREADS": "1"}
    return Component(provider.name, whole, health, environment=environment)


def nodes(folder: NetworkFolder, upstream: str | None, *, homes_behind_nat: bool = False) -> None:
    """Start the providers' nodes; those at the edge in networks of their own, if homes are to be behind NAT."""
    for provider in actors.PROVIDERS:
        folder.want(node(folder, provider, upstream, behind_nat=homes_behind_nat and provider.tier == "edge"))
    control.wait(folder, [provider.name for provider in actors.PROVIDERS])


def advance(seconds: int | None = None) -> int:
    """Move the local chain's clock forward, by default into the next epoch, and return its new time. Rejected on any
    other chain.
    """
    chain = transactions.chain(here())
    if seconds is None:
        seconds = EPOCH_SECONDS - transactions.now(here()) % EPOCH_SECONDS
    try:
        chain.rpc("evm_increaseTime", seconds)
        chain.rpc("evm_mine")
    except Rejected as error:
        raise Rejected("only a local chain's clock can be moved") from error
    return transactions.now(here())


def postgres(folder: NetworkFolder) -> Component:
    """The ledger's database. `database_url` can be read once it is well."""
    data, url = folder.data("postgres") / "18", folder.path / "data" / "postgres.url"
    command = (sys.executable, "-m", "roles.local.postgres", str(data), str(url))
    return Component("postgres", command, f"file:{url}", stop_seconds=60)


def database_url(folder: NetworkFolder) -> str:
    return (folder.path / "data" / "postgres.url").read_text()


def redis(folder: NetworkFolder) -> Component:
    """The Celery broker. It stores nothing on disk: losing it loses nothing."""
    port = folder.port("redis")
    options = ("--port", str(port), "--bind", LOCALHOST, "--save", "", "--appendonly", "no")
    command = (tool("redis-server"), *options, "--dir", str(folder.data("redis")))
    return Component("redis", command, f"tcp:{port}")


def redis_url(folder: NetworkFolder) -> str:
    return f"redis://{LOCALHOST}:{folder.port('redis')}/0"


def chain(folder: NetworkFolder, genesis: int) -> Component:
    """A local chain, with a block for each transaction and each second, and its state on disk.

    `genesis` is the time of its first block; a chain that exists keeps its own.
    """
    known = folder.wanted().get("chain")
    port, state = folder.port("chain"), folder.data("chain") / "state.json"
    where = (tool("anvil"), str(state), str(port), str(CHAIN_ID), str(genesis))
    return known or Component("chain", (sys.executable, "-m", "roles.local.chain", *where), f"tcp:{port}")


def rpc_url(folder: NetworkFolder) -> str:
    return f"http://{LOCALHOST}:{folder.port('chain')}"


def tool(name: str) -> str:
    """A program beside Python, where `make install` links it, or on the PATH. Unavailable if there is none."""
    for path in (TOOLS / name, Path(shutil.which(name) or "/nowhere")):
        if path.exists():
            return str(path)
    raise Unavailable(f"{name} is not installed: run `make install`, or put it on the PATH")


def migrate(environment: Mapping[str, str]) -> None:
    """Migrate the database to this version. Unavailable, with the migration's error, when it fails."""
    command = (sys.executable, "-m", "ledger.migrations")
    ended = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise Unavailable(f"the database cannot be migrated:\n{ended.stderr[-2000:]}")


def worker(folder: NetworkFolder, environment: Mapping[str, str]) -> Component:
    """The Celery worker: posts, closes, commits, indexes."""
    command = (sys.executable, "-m", "celery", "-A", "ledger.worker", "worker", "--loglevel", "INFO", "-c", "1")
    return Component("worker", command, "log: ready.", ("postgres", "redis", "chain"), environment)


def beat(folder: NetworkFolder, environment: Mapping[str, str]) -> Component:
    schedule = str(folder.data("beat") / "schedule")
    command = (sys.executable, "-m", "celery", "-A", "ledger.worker", "beat", "--schedule", schedule, "--pidfile=")
    return Component("beat", command, "log:maxinterval", ("postgres", "redis"), environment)


def gateway(folder: NetworkFolder, environment: Mapping[str, str]) -> Component:
    port = folder.port("gateway")
    command = (sys.executable, "-m", "gateway", "--host", LOCALHOST, "--port", str(port))
    return Component("gateway", command, f"http://{LOCALHOST}:{port}/health", ("postgres", "chain"), environment)
