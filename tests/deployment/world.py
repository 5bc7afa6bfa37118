"""A whole operator in containers, as `deploy/README.md` says, with a chain, a provider and a consumer beside it."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import certifi
import httpx

from roles.cli.output import wait_until
from roles.local.folder import ROOT
from roles.local.network import CHAIN_ID, EPOCH_SECONDS, TREASURY_KEY
from tests.deployment.engine import Engine

NAME, PUBLIC = "gateway.localhost", "https://gateway.localhost"
SUBNET = "172.30.81.0/24"
PASSWORD = secrets.token_hex(8)
"""Of the database."""
MODEL = "@north/dialog"
SOURCE = ("contracts", "deploy", "gateway", "ledger", "roles")
LANE = """
operator stake 1000 -w olga
operator open-lane --bond 1000 --window 60 --answer-time 10 -w olga
operator add-gateway gateway-1 -w olga
operator add-gateway gateway-2 -w olga
operator bid --ratio 1% -w olga
"""
MARKET = f"""
maker register {MODEL} /models/dialog -w north
maker bid {MODEL} --ratio 20% --ask output_token=1000000 -w north
provider stake 400 -w casa
provider bid {MODEL} --ask input_token=9000000 --ask output_token=60000000 -w casa
"""
MONEY = {"olga": 5000, "gateway-1": 1, "gateway-2": 1, "north": 11, "casa": 500, "alice": 50}


@dataclass
class Terminal:
    """Somebody who types commands in a container, one after another."""

    shell: subprocess.Popen[str]

    def asks(self, command: str) -> Any:
        """Type a command that must succeed; its answer."""
        assert self.shell.stdin is not None, "a pipe"
        assert self.shell.stdout is not None, "a pipe"
        print(command, file=self.shell.stdin, flush=True)
        line = self.shell.stdout.readline()
        said = json.loads(line or '{"error": "the terminal ended"}')
        assert "error" not in said, f"tollway {command}: {said['error']}"
        return said["answer"]


@dataclass
class World:
    """The operator's folder, and what runs."""

    engine: Engine
    place: Path
    version: str = "latest"
    ports: dict[str, int] = field(default_factory=dict)
    terminals: dict[str, Terminal] = field(default_factory=dict)

    @cached_property
    def project(self) -> str:
        return f"tollway-{secrets.token_hex(4)}"

    def compose(self, *words: str) -> str:
        """Run a command of Compose in the operator's folder."""
        files = ("-f", str(self.place / "deploy/compose.yaml"), "-f", str(self.place / "world.yaml"))
        environment = {
            "WORLD": str(self.place), "GENESIS": str(self.genesis), "TOLLWAY_VERSION": self.version,
            "TOLLWAY_SUBNET": SUBNET, "HTTP_PORT": f"127.0.0.1:{self.ports['http']}",
            "HTTPS_PORT": f"127.0.0.1:{self.ports['https']}", "CHAIN_PORT": str(self.ports["chain"]),
        }  # fmt: skip
        project = ("-p", self.project, "--project-directory", str(self.place / "deploy"))
        return self.engine.composed(environment, *project, *files, *words)

    @cached_property
    def genesis(self) -> int:
        """The time of the chain's first block: so long ago that bids made at the start are in force now."""
        return int(time.time()) - 3 * EPOCH_SECONDS

    def lay_out(self) -> None:
        """Copy the source, as the operator has it, and make the folders that Docker would make for root."""
        without = shutil.ignore_patterns("__pycache__", "out", "cache", "test", "train")
        for folder in SOURCE:
            shutil.copytree(ROOT / folder, self.place / folder, ignore=without, dirs_exist_ok=True)
        shutil.copy(ROOT / ".dockerignore", self.place)
        here = Path(__file__).parent
        shutil.copy(here / "people.py", self.place)
        shutil.copy(here / "compose.yaml", self.place / "world.yaml")
        shutil.rmtree(self.place / "deploy/keys", ignore_errors=True)
        for folder in ("deploy/keys", "deploy/deployments", "home/keystores"):
            (self.place / folder).mkdir(parents=True, exist_ok=True)
        self.ports = dict(zip(("http", "https", "chain"), free_ports(3), strict=True))
        (self.place / "deploy/.env").write_text(f"POSTGRES_PASSWORD=x\nGATEWAY_PUBLIC_URL={PUBLIC}\n")

    def build(self, version: str, parts: Sequence[str]) -> None:
        """Build images by the Dockerfile, at the same time: each waits for a registry, and for a compiler."""

        def one(part: str) -> None:
            options = ("--build-arg", f"PART={part}", "--file", str(self.place / "deploy/Dockerfile"))
            self.engine.build(self.place, f"tollway-{part}:{version}", *options)

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(one, parts))

    def found(self) -> None:
        """A chain with contracts, wallets and a lane; what they give goes into the operator's files."""
        password = secrets.token_hex(8)
        (self.place / "home/keystores/password").write_text(password)
        shutil.copy(certifi.where(), self.place / "home/root.crt")  # until the proxy has an authority of its own
        known = {"gateway": PUBLIC, "rpc": "http://chain:8545", "deployment": f"/deployments/{CHAIN_ID}.json"}
        (self.place / "home/network.json").write_text(json.dumps(known))
        self.compose("up", "-d", "chain", "person")
        self.engine.run("exec", "-i", self.container("person"), "python", "-m", "roles.cli.main", "wallet", "import",
                        "treasury", text=f"{TREASURY_KEY}\n")  # fmt: skip
        person = self.terminal("person")
        contracts = person.asks("operator deploy -w treasury")
        del contracts["written"]
        (self.place / f"deploy/deployments/{CHAIN_ID}.json").write_text(json.dumps(contracts))
        for name, amount in MONEY.items():
            person.asks(f"wallet create {name} --light --faucet {amount}")
        lane = [person.asks(command) for command in LANE.strip().splitlines()][1]["lane"]
        for wallet, name in (("olga", "operator"), ("gateway-1", "gateway-1"), ("gateway-2", "gateway-2")):
            key = self.place / f"deploy/keys/{name}.json"
            shutil.copy(self.place / f"home/keystores/{wallet}.json", key)
            key.chmod(0o644)  # to be read by the images' user
        for path in (self.place / "home", *self.place.joinpath("home").rglob("*")):
            path.chmod(0o777)  # the node lives there too, as the images' user
        (self.place / "deploy/.env").write_text(self.settings(lane, password))

    def settings(self, lane: str, password: str) -> str:
        """The example's settings with this lane's values."""
        own = {
            "POSTGRES_PASSWORD": PASSWORD, "LEDGER_DATABASE_URL": f"postgresql://tollway:{PASSWORD}@postgres:5432/tollway",
            "LEDGER_RPC_URL": "http://chain:8545", "LEDGER_DEPLOYMENT": f"/deployments/{CHAIN_ID}.json",
            "LEDGER_LANE": lane, "LEDGER_CONFIRMATIONS": "1", "LEDGER_BATCH_SECONDS": "5",
            "LEDGER_OPERATOR_PASSWORD": password, "GATEWAY_PASSWORD": password,
            "GATEWAY_SECRET": secrets.token_hex(32), "GATEWAY_PUBLIC_URL": PUBLIC,
            "GATEWAY_RPC_HINT": "http://chain:8545", "GATEWAY_ALLOWED_NETWORKS": SUBNET,
            "GATEWAY_LEASE_ATOMS": str(10**9), "GATEWAY_BOOK_SECONDS": "0.5",
        }  # fmt: skip
        rows = [line.partition("=")[::2] for line in (ROOT / "deploy/env.example").read_text().splitlines() if line]
        asked = {name: value for name, value in rows if not name.startswith("#")}
        assert own.keys() - asked.keys() <= {"GATEWAY_LEASE_ATOMS", "GATEWAY_BOOK_SECONDS"}
        return "".join(f"{name}={value}\n" for name, value in (asked | own).items())

    def open(self) -> None:
        """Start the operator, the node, and give the consumer money and a key."""
        services = "postgres redis migrations worker beat gateway-1 gateway-2 proxy"
        self.compose("up", "-d", "--scale", "worker=1", *services.split())
        authority = "/data/caddy/pki/authorities/local/root.crt"
        wait_for(lambda: self.trusted(authority), 60, "the proxy's authority")
        wait_for(lambda: self.calls(httpx.get, "/v2/health/ready").status_code == 200, 120, "a gateway that is ready")
        person = self.terminal("person")
        for command in MARKET.strip().splitlines():
            person.asks(command)
        now = int(self.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
        self.rpc("evm_increaseTime", int(time.time()) - now)
        self.rpc("evm_mine")
        self.compose("up", "-d", "node", "auditor")
        wait_for(lambda: MODEL in json.dumps(self.calls(httpx.get, "/v1/models").json()), 60, MODEL)
        person.asks("consumer deposit 40 -w alice")
        key = person.asks("consumer key --label load -w alice")
        self.key = next(self.place.joinpath("home").rglob(f"*{key['id']}*")).read_text().strip()

    def trusted(self, authority: str) -> bool:
        """True once the proxy has an authority; who trusts it gets its certificate, beside the world's."""
        try:
            ours = self.engine.run("exec", self.container("proxy"), "cat", authority)
        except AssertionError:
            return False
        (self.place / "home/root.crt").write_text(ours)
        return True

    def calls(self, method: Any, path: str, **options: Any) -> httpx.Response:
        """A request through the HTTPS proxy, from this machine."""
        trust = ssl.create_default_context(cafile=str(self.place / "home/root.crt"))
        headers = {"Host": NAME, **options.pop("headers", {})}
        url = f"https://127.0.0.1:{self.ports['https']}{path}"
        with httpx.Client(verify=trust, timeout=30) as http:
            answer: httpx.Response = http.request(
                method.__name__.upper(), url, headers=headers, extensions={"sni_hostname": NAME}, **options
            )
        return answer

    def container(self, service: str) -> str:
        return self.containers(service)[0]

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "-q", service).split()

    def image(self, service: str) -> str:
        """The image that a service runs."""
        return self._seen(service, "{{.Config.Image}}")

    def is_healthy(self, service: str) -> bool:
        return self._seen(service, "{{.State.Health.Status}}") == "healthy"

    def _seen(self, service: str, what: str) -> str:
        return self.engine.run("inspect", "--format", what, self.container(service)).strip()

    def sql(self, statement: str) -> list[str]:
        """What a statement returns, a row a line."""
        asking = ("exec", self.container("postgres"), "psql", f"postgresql://tollway:{PASSWORD}@127.0.0.1/tollway")
        return self.engine.run(*asking, "-At", "-c", statement).splitlines()

    def rpc(self, method: str, *parameters: object) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        return httpx.post(f"http://127.0.0.1:{self.ports['chain']}", json=body).json()["result"]

    def terminal(self, service: str) -> Terminal:
        """A terminal in a service's container."""
        if service not in self.terminals:
            words = ("docker", "exec", "-i", self.container(service), "python", "/people.py")
            shell = subprocess.Popen(
                words, env=self.engine.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            self.terminals[service] = Terminal(shell)
        return self.terminals[service]

    def close(self) -> None:
        """Stop everything, and forget it."""
        for terminal in self.terminals.values():
            terminal.shell.kill()
            terminal.shell.wait()
        self.compose("down", "--volumes", "--timeout", "5")


def wait_for(fact: Any, seconds: float, name: str) -> None:
    """Wait until a fact holds. What is not there yet may also refuse connections."""

    def holds() -> bool:
        with suppress(httpx.HTTPError, ValueError):
            return bool(fact())
        return False

    assert wait_until(holds, seconds, 0.3), f"not within {seconds:.0f} s: {name}"


def free_ports(count: int) -> list[int]:
    """Ports that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
