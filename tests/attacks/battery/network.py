"""The network under the battery: PostgreSQL, Redis, Anvil and the worker, two gateways that can be killed, and payers.

It is the network of the chaos trial. The gateways are processes of the battery's own, since the supervisor waits
longer and longer before it starts what dies again and again.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg

from ledger.chain.reads import Chain
from ledger.chain.rpc import sign_transaction
from ledger.core.settlement.transactions import Call
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, to_hex
from ledger.core.values.typed_data import Domain, Signer, signing_digest, word
from ledger.store.access import keys
from ledger.store.session import unit_of_work
from roles.local import control
from roles.local import network as components
from tests.attacks.battery.upstream import Upstream
from tests.attacks.battery.wire import ResettingWire
from tests.chaos import network as chaos
from tests.chaos.network import OPERATOR, TREASURY, Network, a_key, armed, settings_of

NAMES = ("gateway", "second gateway")
OUTSIDER = Signer(a_key("outsider"))
"""Relays whatever somebody wants on the chain."""
FUNDS = 100_000
"""Atoms of each payer: some hundred calls."""
PAYMENT_SECONDS = {"gateway": "20", "second gateway": "2"}
"""How long each waits for a payment. The second has about the patience that the chain needs: each may be first."""
START_SECONDS = 300.0
CANCEL_TYPEHASH = keccak256(b"CancelAuthorization(address authorizer,bytes32 nonce)")
FEE_WEI, GAS = 10**10, 200_000


@dataclass
class GatewayProcess:
    """A gateway, and when (ms since 1970) it was killed."""

    key: Signer
    port: int
    log: Path
    environment: dict[str, str]
    wire: ResettingWire | None = None
    killed_at: list[int] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Begin, or begin again."""
        command = [sys.executable, "-m", "gateway", "--host", "127.0.0.1", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, **self.environment}, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self) -> None:
        """Until it serves. One that ends instead begins again: its dead forerunner's lock may outlive it a moment."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                self.start()
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/health", timeout=2).status_code == 200:
                    return
            time.sleep(0.1)
        raise AssertionError(f"the gateway does not start; its log is {self.log}")

    def kill(self) -> None:
        """kill -9."""
        self.killed_at.append(time.time_ns() // 1_000_000)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)

    def stop(self) -> None:
        """End it as an operator does: it finishes its calls and gives its leases back."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)


@dataclass
class Outsider:
    """Sends transactions one after the other, and waits for none."""

    chain: Chain
    key: Signer
    nonce: int

    def send(self, call: Call) -> Digest:
        """Into the pool. Returns its hash."""
        target, data = call
        amounts = {"value": 0, "gas": GAS, "maxFeePerGas": FEE_WEI, "maxPriorityFeePerGas": FEE_WEI // 8}
        head = {"chainId": self.chain.chain_id, "nonce": self.nonce, "to": target, "data": data}
        raw, hashed = sign_transaction(self.key, head | amounts)
        self.chain.send_raw(raw)
        self.nonce += 1
        return hashed


@dataclass
class Grid:
    """All of it."""

    network: Network
    gateways: tuple[GatewayProcess, ...]
    upstream: Upstream
    outsider: Outsider
    treasury: Outsider
    key_ids: tuple[str, ...]
    token: Domain
    """Where authorizations of the token count."""

    @property
    def chain(self) -> Chain:
        return self.network.chain

    def fund(self, payers: Iterable[Address]) -> None:
        """Give each some tokens, and wait until they have them."""
        sent = [self.treasury.send(self.chain.calls.transfer(payer, FUNDS)) for payer in payers]
        self.network.until(lambda: all(self.chain.mined(one) for one in sent[-1:]), 60, "the payers' tokens")

    def cancel(self, payer: Signer, nonce: Digest) -> Digest:
        """Have a payer's authorization cancelled on the chain, by its signature."""
        hashed = keccak256(CANCEL_TYPEHASH, word(payer.address), nonce)
        signature = payer.sign(signing_digest(self.token, hashed))
        cancel = self.chain.calls.to("AICoin", "cancelAuthorization", to_hex(payer.address), nonce, signature)
        return self.outsider.send(cancel)

    def forget_blocks(self, depth: int) -> list[str]:
        """The chain loses its last blocks. Returns their transactions, which wait to be mined again."""
        tip = self.chain.tip()
        lost = [
            self.chain.rpc("eth_getRawTransactionByHash", hashed)
            for number in range(tip - depth + 1, tip + 1)
            for hashed in self.chain.rpc("eth_getBlockByNumber", hex(number), False)["transactions"]
        ]
        self.chain.rpc("anvil_reorg", depth, [])
        return lost

    def send_again(self, transactions: Sequence[str]) -> None:
        """Put what a reorganisation lost into the pool again, as a node does. What is there already stays."""
        for raw in transactions:
            try:
                self.chain.send_raw(bytes.fromhex(raw[2:]))
            except Rejected:
                continue  # it is mined or replaced already

    async def open_wires(self) -> None:
        """A wire in front of each gateway."""
        for gateway in self.gateways:
            gateway.wire = await ResettingWire(gateway.port).start()

    async def close_wires(self) -> None:
        for gateway in self.gateways:
            if gateway.wire is not None:
                await gateway.wire.stop()

    def stop(self) -> None:
        """End everything."""
        for gateway in self.gateways:
            gateway.process.kill()
            gateway.process.wait(20)
        self.network.stop()


def start(folder: Path) -> Grid:
    """Bring everything up."""
    network = chaos.start(folder)
    try:
        return _start(folder, network)
    except BaseException:
        network.stop()
        raise


def _start(folder: Path, network: Network) -> Grid:
    chain, calls, files = network.chain, network.chain.calls, network.network_folder
    control.stop_one(files, "gateway")
    with psycopg.connect(components.database_url(files), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")  # nobody pulls the plug here: that is the chaos trial's
        connection.execute("SELECT pg_reload_conf()")
    for who in (OUTSIDER, TREASURY):
        chain.rpc("anvil_setBalance", to_hex(who.address), hex(10**22))
    chain.transact(OPERATOR, calls.add_gateway(network.lane, Signer(a_key(NAMES[1])).address))
    environment = settings_of(files, chain.deployment, folder, network.proxy)
    environment |= {
        "LEDGER_RPC_URL": chain.url,
        "LEDGER_BATCH_SECONDS": "20",
        "LEDGER_AUDIT_SECONDS": "60",
        "LEDGER_SWEEP_SECONDS": "1",
        "GATEWAY_LEASE_SECONDS": "60",
        "GATEWAY_BOOK_SECONDS": "10",
        "GATEWAY_IDLE_SECONDS": "5",
        "GATEWAY_KEY_SECONDS": "5",
    }
    for component in armed(files, environment):
        if component.name != "gateway":
            files.want(component)
    control.wait(files, ("worker", "beat"))
    upstream = Upstream()
    network.node.behaviour = upstream
    gateways = []
    for name in NAMES:
        own = {"GATEWAY_SIGNING_KEY": a_key(name).hex(), "GATEWAY_PAYMENT_SECONDS": PAYMENT_SECONDS[name]}
        chosen = environment | own
        gateways.append(GatewayProcess(Signer(a_key(name)), files.port(name), files.log(f"battery {name}"), chosen))
        gateways[-1].start()
    try:
        for gateway in gateways:
            gateway.wait()
    except BaseException:
        for gateway in gateways:
            gateway.process.kill()
        raise
    chain.rpc("evm_setIntervalMining", 1)
    outsider, treasury = (Outsider(chain, key, chain.nonces(key.address)) for key in (OUTSIDER, TREASURY))
    return Grid(network, tuple(gateways), upstream, outsider, treasury, key_ids(network), chain.deployment.token_domain)


def key_ids(network: Network) -> tuple[str, ...]:
    """The ids of the consumers' keys, which their calls' ids are made of."""
    with unit_of_work(network.engine) as session:
        found = [keys.by_hash(session, network.lane, hashlib.sha256(key.encode()).digest()) for key in network.keys]
    assert None not in found
    return tuple(key.id for key in found if key is not None)
