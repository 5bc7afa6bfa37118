"""What a command costs besides the work of those it asks: CPU seconds of a whole process, the least of a few runs.

    python -m bench.commands [--runs 5]

`--help` of the program and of every group, commands that look at the home, that ask a gateway (a small server here that
answers at once), and that ask a chain (an Anvil): reading it, and sending a transaction from a wallet that is decrypted
quickly.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bench import report
from bench.chain import a_chain
from ledger.chain.calls import LaneTerms
from ledger.chain.deploy import Parameters, deploy
from ledger.chain.reads import Chain
from ledger.core.values.ids import ZERO_DIGEST, address
from ledger.core.values.typed_data import Signer
from roles.cli.main import GROUPS

ROOT = Path(__file__).resolve().parents[1]
FUNDS = Signer(bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"))
HOME = (("wallet", "list"), ("wallet", "show", "alice"))
GATEWAY = (("consumer", "balance"), ("consumer", "models"), ("provider", "earnings"), ("batch", "list"))
LANE = "0x" + "00" * 19 + "01"
CHAIN = (("wallet", "balance"), ("operator", "status", "--lane", LANE), ("wallet", "send", "0x" + "11" * 20, "1atoms"))
AIMS = {"home": 0.5, "gateway": 0.5, "chain": 2.0}
DOMAIN = {"name": "Tollway", "version": "2", "chainId": 0, "verifyingContract": "0x" + "00" * 20}
ANSWERS = {
    "/v1/balance": {"available": "0", "held": "0", "spent": "0"},
    "/v1/lane": {"lane": LANE, "domain": DOMAIN},
    "/v1/earnings": {"roles": [], "claimable": "0", "claimed": "0"},
}


class Gateway(BaseHTTPRequestHandler):
    """Answers what the measured commands ask."""

    def do_GET(self) -> None:
        body = next((said for path, said in ANSWERS.items() if self.path.startswith(path)), {"data": []})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def a_gateway() -> Iterator[str]:
    """The small server's URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def cpu_seconds(words: tuple[str, ...], environment: dict[str, str]) -> float:
    """User and system time of one run, its interpreter included."""
    command = [sys.executable, "-m", "roles.cli.main", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, cwd=ROOT)
    assert process.stderr is not None, "it is a pipe"
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"tollway {' '.join(words)} failed: {said.decode()}")
    return used.ru_utime + used.ru_stime


def prepare(url: str, environment: dict[str, str]) -> None:
    """A light wallet with money and a lane, and the file of the deployment."""
    home = Path(environment["TOLLWAY_HOME"])
    deployment = deploy(url, FUNDS, Parameters(), home)
    (home / "deployment.json").write_text(json.dumps(asdict(deployment)))
    cpu_seconds(("wallet", "create", "alice", "--light"), environment)
    alice = address("0x" + json.loads((home / "keystores" / "alice.json").read_text())["address"])
    chain = Chain(url, deployment)
    chain.transact(FUNDS, chain.calls.transfer(alice, 10**9))
    chain.transact(FUNDS, (alice, b""), 10**18)
    chain.transact(FUNDS, chain.calls.approve(chain.calls.settlement, 10**9))
    chain.transact(FUNDS, chain.calls.open_lane(ZERO_DIGEST, LaneTerms(86_400, 600), 10**9))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    helped = (("--help",), *((group, "--help") for group in GROUPS))
    found = {}
    with tempfile.TemporaryDirectory() as home, a_chain() as rpc_url, a_gateway() as gateway:
        environment = {**os.environ, "TOLLWAY_HOME": home, "TOLLWAY_PASSWORD": "bench", "PYTHONPATH": str(ROOT)}
        prepare(rpc_url, environment)
        environment |= {"TOLLWAY_GATEWAY": gateway, "TOLLWAY_RPC_URL": rpc_url, "TOLLWAY_WALLET": "alice"}
        environment |= {"TOLLWAY_DEPLOYMENT": f"{home}/deployment.json"}
        for asks, commands in {"home": (*helped, *HOME), "gateway": GATEWAY, "chain": CHAIN}.items():
            for words in commands:
                name = f"tollway {' '.join(words)}"
                sent = (*words, "--yes") if "send" in words else words
                found[name] = round(min(cpu_seconds(sent, environment) for _ in range(runs)), 3)
                over = "" if found[name] <= AIMS[asks] else f"   over the aim of {AIMS[asks]} s"
                print(f"  {name[:60]:<60} {found[name]:>6.3f} s of CPU{over}")
    report.save("commands", {"cpu_seconds": found, "aim_seconds": AIMS})


if __name__ == "__main__":
    main()
