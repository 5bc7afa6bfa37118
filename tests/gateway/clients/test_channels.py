"""x402's `batch-settlement` from the stock clients to the wallet: the gateway, the worker's flows, and the contracts on
Anvil.

The contracts are others' and no part of this project (`CONTRIBUTING.md` says where they come from). Without them these
tests are skipped, and say so.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from sqlalchemy import Engine
from x402 import x402Client
from x402.http.clients.httpx import x402HttpxClient
from x402.mechanisms.evm.signers import EthAccountSignerWithRPC

from ledger.chain import channels as contracts
from ledger.chain.abi import encode
from ledger.chain.reads import Chain
from ledger.core.accounts.channels import CONTRACT, DELAY_SECONDS, MOST_GAS, Seen, Status
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import PRIVATE_LANE, address, to_hex
from ledger.core.values.typed_data import Signer
from ledger.flows.x402 import channels
from ledger.store.access import channels as store
from ledger.store.access.channels import StoredChannel
from ledger.store.session import unit_of_work
from tests import book
from tests.gateway.channels import CONFIG, scheme_of
from tests.gateway.clients.outcomes import Record, note
from tests.gateway.clients.test_paying import HERE
from tests.gateway.clients.test_permits import FOLDER, TOKENS, Lane, a_lane, anvil_with_contracts, now, send_and_follow
from tests.gateway.nodes import Node
from tests.gateway.test_who_pays import eventually
from tests.gateway.test_x402 import accepted_by
from tests.gateway.upto import ADVANCER, BODY, PRICE, WALLET, client_of, party, sweeping
from tests.gateway.world import CHAIN
from tests.javascript import NODE
from tests.ledger.chain.conftest import FUNDS

__all__ = ["anvil_with_contracts"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER, reason="TOLLWAY_X402_CONTRACTS names no folder with x402's contracts"),
]
AT_ONCE = 64


@dataclass
class Channels(Lane):
    """A lane whose worker looks at channels."""

    def sweep(self, ahead_ms: int = 0) -> None:
        """What the worker does in a sweep, `ahead_ms` later than it is."""
        wire, engine, at = self.chain.with_key(FUNDS), self.world.engine, now() + ahead_ms
        with unit_of_work(engine) as session:
            channels.note_charged(session, PRIVATE_LANE)
        with unit_of_work(engine) as session:
            channels.look(session, PRIVATE_LANE, wire, FUNDS.address, 0, at)
        with unit_of_work(engine) as session:
            channels.claim(session, PRIVATE_LANE, FUNDS.address, at)
        send_and_follow(self.world, wire, lambda session: channels.follow(session, PRIVATE_LANE))

    def watch(self) -> AbstractContextManager[None]:
        return sweeping(self.sweep)

    def known(self) -> StoredChannel:
        """The lane's one channel."""
        with unit_of_work(self.world.engine) as session:
            [one] = store.of_lane(session, PRIVATE_LANE)
        return one

    def on_chain(self) -> Seen:
        return contracts.seen(self.chain, [self.known().id], 0)[0]

    def charged(self) -> int:
        """What the receipts of the advancing account say."""
        return sum(one.receipt.charge for one in self.world.receipts_of(ADVANCER.address))

    def by_payer(self, account: LocalAccount, function: str, *more: tuple[str, Any]) -> None:
        """Have the payer call the channels' contract about its channel, as it can without us."""
        types, values = [CONFIG, *(kind for kind, _ in more)], [value for _, value in more]
        selector = keccak256(f"{function}({','.join(types)})".encode())[:4]
        data = selector + encode(types, [astuple(self.known().channel), *values])
        self.chain.transact(Signer(bytes(account.key)), (CONTRACT, data))


@pytest.fixture
def lane(
    engine: Engine, postgres_url: str, node: Node, tmp_path: Path, anvil_with_contracts: Chain
) -> Iterator[Channels]:
    world, gateway = a_lane((engine, postgres_url), node, tmp_path, anvil_with_contracts)
    yield Channels(world, anvil_with_contracts, gateway)
    world.stop()


def a_payer(lane: Channels, deposits: int = 100, *, reads: bool = True) -> tuple[x402Client, LocalAccount]:
    """A stock client that pays by channels, and deposits so many prices at once; it can ask the chain, or cannot."""
    account = a_wallet(lane)
    signer = EthAccountSignerWithRPC(account, lane.chain.url) if reads else account
    return client_of(scheme_of(signer, deposits), address(lane.chain.deployment.token)), account


def a_wallet(lane: Channels) -> LocalAccount:
    """A payer with tokens."""
    account: LocalAccount = Account.create()
    lane.chain.rpc("anvil_setBalance", account.address, hex(10**18))
    lane.chain.transact(FUNDS, lane.chain.calls.transfer(party(account), TOKENS))
    return account


def its_token(lane: Channels) -> Any:
    """What a client's spend controls say of the lane's token."""
    token = lane.chain.deployment.token
    return {"network": f"eip155:{CHAIN}", "asset": token, "max_amount_per_payment": "1000000"}


def http_of(lane: Channels, client: x402Client) -> httpx.AsyncClient:
    return x402HttpxClient(client, base_url=lane.gateway.url, timeout=60)


async def served(http: httpx.AsyncClient, **more: Any) -> httpx.Response:
    response = await http.post("/v1/chat/completions", json={**BODY, **more})
    assert response.status_code == 200, response.text
    return response


async def test_the_client_of_the_readme_pays(lane: Channels) -> None:
    readme = book.typed("gateway/README.md", "BatchSettlementEvmScheme").with_({"[...]": json.dumps([its_token(lane)])})
    known: dict[str, Any] = {"SECRET": a_wallet(lane).key, "RPC_URL": lane.chain.url}
    exec(readme.text, known)
    with lane.watch():
        async with http_of(lane, known["client"]) as http:
            await served(http)
    assert lane.charged() == PRICE


async def test_one_deposit_pays_call_after_call_and_is_claimed_as_the_receipts_say(lane: Channels) -> None:
    client, account = a_payer(lane, reads=False)
    before = lane.chain.balance(WALLET)
    with lane.watch():
        async with http_of(lane, client) as http:
            answers = [accepted_by(await served(http)) for _ in range(3)]
            streamed = await served(http, stream=True)
            assert streamed.text.rstrip().endswith("data: [DONE]")
            await served(http)
    assert [one["extra"]["channelState"]["chargedCumulativeAmount"] for one in answers] == ["115", "230", "345"]
    assert [(one["amount"], one["extra"]["chargedAmount"]) for one in answers] == [(str(PRICE), str(PRICE))] * 3
    assert lane.charged() == 5 * PRICE
    assert lane.on_chain().balance == 100 * PRICE, "one deposit"
    assert lane.chain.balance(party(account)) == TOKENS - 100 * PRICE
    day = DELAY_SECONDS * 1_000
    for _ in range(3):
        lane.sweep(ahead_ms=day)
    assert (lane.on_chain().claimed, lane.known().totals.claimed) == (5 * PRICE, 5 * PRICE)
    assert lane.chain.balance(WALLET) - before == 5 * PRICE


async def insisting(http: httpx.AsyncClient) -> None:
    """A caller that sends a call again when the stock client gives up: it signs again once, and two of its calls may
    have signed the same voucher meanwhile. Or when an address has more unpaid requests at once than are let in.
    """
    for _ in range(10):
        response = await http.post("/v1/chat/completions", json=BODY)
        if response.status_code == 503:
            await asyncio.sleep(int(response.headers["retry-after"]))
        elif response.status_code != 402:
            break
    assert response.status_code == 200, response.text


async def test_64_calls_at_once_are_served_on_one_deposit_by_the_stock_client(lane: Channels) -> None:
    client, _ = a_payer(lane)
    before = lane.chain.balance(WALLET)
    with lane.watch():
        async with http_of(lane, client) as http:
            await served(http)
            await asyncio.gather(*(insisting(http) for _ in range(AT_ONCE)))
            await served(http)
    assert lane.charged() == (AT_ONCE + 2) * PRICE
    assert lane.on_chain().balance == 100 * PRICE, "one deposit"
    for _ in range(3):
        lane.sweep(ahead_ms=DELAY_SECONDS * 1_000)
    assert lane.on_chain().claimed == lane.charged() == lane.chain.balance(WALLET) - before


async def test_a_claim_takes_less_gas_than_its_bound(lane: Channels) -> None:
    client, _ = a_payer(lane, reads=False)
    with lane.watch():
        async with http_of(lane, client) as http:
            await served(http)
            eventually(lambda: lane.on_chain().claimed == PRICE)
            await served(http)
    one = lane.known()
    claim = contracts.claim(one.channel, one.totals.voucher, one.signature, 2 * PRICE)
    assert MOST_GAS / 4 < contracts.gas(lane.chain.with_key(FUNDS), FUNDS.address, claim) < MOST_GAS * 2 / 3


async def test_who_has_no_tokens_is_told_so_and_nothing_is_sent(lane: Channels) -> None:
    client, account = a_payer(lane, reads=False)
    lane.chain.transact(Signer(bytes(account.key)), lane.chain.calls.transfer(FUNDS.address, TOKENS))
    before = lane.chain.nonces(FUNDS.address)
    with lane.watch():
        async with http_of(lane, client) as http:
            refused = await http.post("/v1/chat/completions", json=BODY)
    assert refused.status_code == 402
    assert "its account has 0 atoms" in refused.json()["error"]["message"]
    assert (lane.chain.nonces(FUNDS.address), lane.charged()) == (before, 0)


@pytest.mark.skipif(not (HERE / "node_modules").exists(), reason="no clients there: make test-slow installs them")
def test_x402_of_npm_pays_64_calls_at_once_on_one_deposit(
    lane: Channels, tmp_path: Path, record_property: Record
) -> None:
    account: LocalAccount = Account.create()
    lane.chain.transact(FUNDS, lane.chain.calls.transfer(party(account), TOKENS))
    secret, chain = to_hex(bytes(account.key)), lane.chain
    program: list[str | Path] = [
        NODE,
        HERE / "x402_batch.mjs",
        lane.gateway.url,
        secret,
        str(CHAIN),
        chain.deployment.token,
        chain.url,
    ]
    bare = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    with lane.watch():
        ended = subprocess.run(program, env=bare, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    note(record_property, "paying/x402_batch.mjs", ended.stdout)
    assert json.loads(ended.stdout.splitlines()[-1])["served"] == AT_ONCE + 2
    assert lane.charged() == (AT_ONCE + 2) * PRICE
    assert lane.on_chain().balance == 100 * PRICE, "one deposit"
    for _ in range(3):
        lane.sweep(ahead_ms=DELAY_SECONDS * 1_000)
    assert lane.on_chain().claimed == lane.charged()


async def test_what_was_charged_is_claimed_before_who_leaves_has_the_rest(lane: Channels) -> None:
    client, account = a_payer(lane, reads=False)
    with lane.watch():
        async with http_of(lane, client) as http:
            await served(http)
            eventually(lambda: lane.on_chain().claimed == PRICE)
            await served(http)
    assert lane.on_chain().claimed == PRICE, "a second claim is not worth it yet"
    held = 100 * PRICE - PRICE
    lane.by_payer(account, "initiateWithdraw", ("uint128", held))
    for _ in range(3):
        lane.sweep(ahead_ms=60_000)
    assert lane.known().status is Status.leaving
    assert lane.on_chain().claimed == 2 * PRICE
    with lane.watch():
        async with http_of(lane, client) as http:
            refused = await http.post("/v1/chat/completions", json=BODY)
    assert refused.status_code == 402
    assert "its payer asked for what the channel holds" in refused.json()["error"]["message"]
    # The last test of the file: the chain's clock is a day ahead from here on.
    lane.chain.rpc("evm_increaseTime", DELAY_SECONDS)
    lane.chain.rpc("evm_mine")
    lane.by_payer(account, "finalizeWithdraw")
    assert lane.chain.balance(party(account)) == TOKENS - 2 * PRICE, "all but what its calls cost"
    for _ in range(2):  # it is looked at as a new one
        lane.sweep(ahead_ms=120_000)
    assert (lane.known().status, lane.known().totals.lost) == (Status.open, 0)
