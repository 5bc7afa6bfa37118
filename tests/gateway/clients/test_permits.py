"""x402's `upto` from the stock clients to the wallet: the gateway, the worker's flows, and the contracts on Anvil.

The contracts are others' and no part of this project (`CONTRIBUTING.md` says where they come from). Without them these
tests are skipped, and say so.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from sqlalchemy import Engine
from sqlmodel import Session
from x402.http.clients.httpx import x402HttpxClient

from ledger.chain import permits as contracts
from ledger.chain.abi import encode
from ledger.chain.reads import Chain
from ledger.core.accounts.permits import HAS_CODE, PERMIT2, PROXY, SETTLE_GAS
from ledger.core.settlement.transactions import Policy
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import PRIVATE_LANE, address, to_hex
from ledger.core.values.typed_data import Signer
from ledger.deployments import save
from ledger.flows import transactions
from ledger.flows.x402 import permits
from ledger.store.access import permits as stored_permits
from ledger.store.chain import chain_time
from ledger.store.session import unit_of_work
from tests.gateway.clients.outcomes import Record, note
from tests.gateway.clients.test_paying import HERE, whole_or_streamed
from tests.gateway.nodes import Node
from tests.gateway.test_who_pays import eventually
from tests.gateway.test_x402 import accepted_by
from tests.gateway.upto import (
    ADVANCER,
    BODY,
    PRICE,
    WALLET,
    a_key,
    a_payer,
    call,
    consent,
    party,
    signature,
    stored,
    sweeping,
)
from tests.gateway.world import CHAIN, Running, World, a_deployment
from tests.javascript import NODE
from tests.ledger.chain.conftest import FUNDS, a_chain

FOLDER = os.environ.get("TOLLWAY_X402_CONTRACTS", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER, reason="TOLLWAY_X402_CONTRACTS names no folder with x402's contracts"),
]
TOKENS = 10**6
POLICY = Policy(confirmations=0, stuck_ms=30_000, max_fee=500 * 10**9)


@dataclass
class Lane:
    """A lane whose operator offers `upto`, on a chain that has the contracts for it."""

    world: World
    chain: Chain
    gateway: Running

    def fund(self, account: LocalAccount, tokens: int = TOKENS) -> None:
        """Give an account tokens that Permit2 may move, as its owner allows once."""
        chain = self.chain
        chain.rpc("anvil_setBalance", account.address, hex(10**18))
        chain.transact(FUNDS, chain.calls.transfer(party(account), tokens))
        chain.transact(Signer(bytes(account.key)), chain.calls.approve(PERMIT2, 2**256 - 1))

    def look(self) -> None:
        """What the worker does with permits before their calls."""
        with unit_of_work(self.world.engine) as session:
            permits.check(session, PRIVATE_LANE, self.chain, FUNDS.address, now())

    def settle(self) -> None:
        """What it does afterwards: notes, intends, signs, sends, follows."""
        wire, engine = self.chain.with_key(FUNDS), self.world.engine
        with unit_of_work(engine) as session:
            permits.note_charged(session, PRIVATE_LANE)
        with unit_of_work(engine) as session:
            permits.settle(session, PRIVATE_LANE, wire, FUNDS.address, now())
        send_and_follow(self.world, wire, lambda session: permits.follow(session, PRIVATE_LANE))

    def worker(self, *, settles: bool = True) -> AbstractContextManager[None]:
        def sweep() -> None:
            self.look()
            if settles:
                self.settle()

        return sweeping(sweep)


def send_and_follow(world: World, wire: Chain, follow: Callable[[Session], object]) -> None:
    """What the worker does with what was intended: signs, sends, follows."""
    with unit_of_work(world.engine) as session:
        transactions.sign_next(session, PRIVATE_LANE, wire, FUNDS.address, now())
    with unit_of_work(world.engine) as session:
        block = wire.block()
        assert block is not None
        chain_time.advance(session, block, now())
        for one in transactions.under_way(session, PRIVATE_LANE):
            transactions.review(session, PRIVATE_LANE, wire, one, now(), POLICY)
    with unit_of_work(world.engine) as session:
        follow(session)


def now() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture(scope="module")
def anvil_with_contracts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with a_chain(tmp_path_factory.mktemp("upto")) as chain:
        for page in Path(FOLDER).glob("0x*.hex"):
            chain.rpc("anvil_setCode", page.stem, page.read_text().strip())
        yield chain


def a_lane(database: tuple[Engine, str], node: Node, folder: Path, chain: Chain) -> tuple[World, Running]:
    """A lane on a chain that has x402's contracts, and a gateway whose operator consents to what is paid afterwards."""
    token = chain.deployment
    assert token.chain_id == CHAIN
    named: dict[str, str | int] = {"token": token.token, "token_name": token.token_name}
    named["token_version"] = token.token_version
    world = World(*database, deployment=save(a_deployment(**named), folder))
    world.open_lane()
    with unit_of_work(world.engine) as session:
        block = chain.block()
        assert block is not None
        chain_time.advance(session, block, now())
    world.a_model_at(node.url)
    node.behaviour = whole_or_streamed
    file = a_key(world, world.gateway("gateway-0"), folder)
    return world, world.gateway("gateway-1", **consent(file), upto_facilitator=to_hex(FUNDS.address))


@pytest.fixture
def lane(engine: Engine, postgres_url: str, node: Node, tmp_path: Path, anvil_with_contracts: Chain) -> Iterator[Lane]:
    world, gateway = a_lane((engine, postgres_url), node, tmp_path, anvil_with_contracts)
    yield Lane(world, anvil_with_contracts, gateway)
    world.stop()


async def test_what_a_call_was_charged_moves_from_its_payer_to_the_operators_wallet_once(lane: Lane) -> None:
    client, account = a_payer(address(lane.chain.deployment.token))
    lane.fund(account)
    before = lane.chain.balance(WALLET)
    with lane.worker():
        async with x402HttpxClient(client, base_url=lane.gateway.url, timeout=60) as http:
            response = await http.post("/v1/chat/completions", json=BODY)
        assert response.status_code == 200, response.text
        assert accepted_by(response)["amount"] == str(PRICE)
        eventually(lambda: stored(lane.world) == [("settled", PRICE)])
        header = await signature(lane.gateway, client)
        assert call(lane.gateway, header).status_code == 200
        assert call(lane.gateway, header).status_code == 200, "the stored answer"
        eventually(lambda: stored(lane.world) == [("settled", PRICE)] * 2)
    for _ in range(3):
        lane.settle()
    moved = lane.chain.balance(WALLET) - before
    assert (moved, lane.chain.balance(party(account))) == (2 * PRICE, TOKENS - 2 * PRICE)
    assert sum(one.receipt.charge for one in lane.world.receipts_of(ADVANCER.address)) == 2 * PRICE


async def test_without_an_allowance_a_client_is_told_what_to_approve(lane: Lane) -> None:
    client, account = a_payer(address(lane.chain.deployment.token))
    lane.chain.transact(FUNDS, lane.chain.calls.transfer(party(account), TOKENS))
    with lane.worker():
        refused = call(lane.gateway, await signature(lane.gateway, client))
    assert refused.status_code == 402
    assert f"approve {to_hex(PERMIT2)}" in refused.json()["error"]["message"]


@pytest.mark.parametrize("attack", ["moves its tokens", "uses the nonce", "takes back its allowance"])
async def test_who_takes_back_after_the_check_costs_one_call_and_is_refused_from_then_on(
    lane: Lane, attack: str
) -> None:
    chain = lane.chain
    client, account = a_payer(address(chain.deployment.token))
    lane.fund(account)
    with lane.worker(settles=False):
        assert call(lane.gateway, await signature(lane.gateway, client)).status_code == 200
    with unit_of_work(lane.world.engine) as session:
        permits.note_charged(session, PRIVATE_LANE)
        [owed] = stored_permits.owed(session, PRIVATE_LANE)
    nonce = int.from_bytes(owed.permit.nonce, "big")
    invalidate = keccak256(b"invalidateUnorderedNonces(uint256,uint256)")[:4]
    attacks = {
        "moves its tokens": chain.calls.transfer(FUNDS.address, TOKENS),
        "uses the nonce": (PERMIT2, invalidate + encode(["uint256", "uint256"], [nonce >> 8, 1 << (nonce & 0xFF)])),
        "takes back its allowance": chain.calls.approve(PERMIT2, 0),
    }
    chain.transact(Signer(bytes(account.key)), attacks[attack])
    lane.settle()
    assert stored(lane.world) == [("owed", PRICE)]
    with unit_of_work(lane.world.engine) as session:
        assert stored_permits.debt(session, party(account)) == PRICE, "all that is lost"
    lane.fund(account)
    with lane.worker(settles=False):
        refused = call(lane.gateway, await signature(lane.gateway, client))
    assert refused.status_code == 402
    assert "could not be settled: pay by `exact`" in refused.json()["error"]["message"]


ENDLESS = "0x5b5f56"
"""Code that runs until its gas is over."""


async def test_a_payer_with_code_is_refused_before_its_call_and_is_a_debt_after_it(lane: Lane) -> None:
    chain = lane.chain
    client, account = a_payer(address(chain.deployment.token))
    lane.fund(account)
    with lane.worker(settles=False):
        assert call(lane.gateway, await signature(lane.gateway, client)).status_code == 200
        chain.rpc("anvil_setCode", account.address, ENDLESS)
        refused = call(lane.gateway, await signature(lane.gateway, client))
    assert (refused.status_code, refused.json()["error"]["message"]) == (402, HAS_CODE)
    before = chain.nonces(FUNDS.address)
    for _ in range(3):
        lane.settle()
    assert chain.nonces(FUNDS.address) == before, "no gas of the worker's"
    assert stored(lane.world)[0] == ("owed", PRICE)
    with unit_of_work(lane.world.engine) as session:
        assert stored_permits.debt(session, party(account)) == PRICE
        [owed] = stored_permits.in_debt(session, PRIVATE_LANE)
    settlement = contracts.settle(owed.permit, PRICE, owed.signature)
    with pytest.raises(Rejected):
        contracts.gas(chain.with_key(FUNDS), FUNDS.address, settlement)
    chain.rpc("anvil_setCode", account.address, "0x")
    plain = contracts.gas(chain.with_key(FUNDS), FUNDS.address, settlement)
    assert SETTLE_GAS / 3 < plain < SETTLE_GAS * 2 / 3, "the bound leaves room, and not much"
    lane.settle()
    lane.settle()
    assert stored(lane.world)[0] == ("settled", PRICE)


async def test_a_chain_without_the_contract_serves_nobody(lane: Lane) -> None:
    client, account = a_payer(address(lane.chain.deployment.token))
    lane.fund(account)
    code = lane.chain.rpc("eth_getCode", to_hex(PROXY), "latest")
    lane.chain.rpc("anvil_setCode", to_hex(PROXY), "0x")
    try:
        with lane.worker():
            refused = call(lane.gateway, await signature(lane.gateway, client))
    finally:
        lane.chain.rpc("anvil_setCode", to_hex(PROXY), code)
    assert (refused.status_code, lane.world.receipts_of(ADVANCER.address)) == (402, [])
    assert "there is no contract for `upto`" in refused.json()["error"]["message"]


@pytest.mark.skipif(not (HERE / "node_modules").exists(), reason="no clients there: make test-slow installs them")
def test_x402_of_npm_pays_a_call_and_a_stream_by_upto(lane: Lane, tmp_path: Path, record_property: Record) -> None:
    account: LocalAccount = Account.create()
    lane.fund(account)
    before = lane.chain.balance(WALLET)
    secret, token = to_hex(bytes(account.key)), lane.chain.deployment.token
    command: list[str | Path] = [NODE, HERE / "x402_upto.mjs", lane.gateway.url, secret, str(CHAIN), token, "1000000"]
    bare = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    with lane.worker():
        ended = subprocess.run(command, env=bare, capture_output=True, text=True, timeout=120, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        eventually(lambda: stored(lane.world) == [("settled", PRICE)] * 2)
    note(record_property, "paying/x402_upto.mjs", ended.stdout)
    payments = json.loads(ended.stdout.splitlines()[-1])
    assert [one["success"] for one in payments] == [True, True]
    assert payments[0]["amount"] == str(PRICE)
    assert lane.chain.balance(WALLET) - before == 2 * PRICE
