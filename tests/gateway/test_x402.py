"""x402 v2 with the stock client from PyPI: pay for a call by signing one authorization, and keep the rest."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_account import Account
from pydantic import ValidationError
from sqlalchemy import Engine
from x402 import x402Client
from x402.http.clients.httpx import PaymentError, x402HttpxClient
from x402.http.x402_http_client import x402HTTPClient
from x402.mechanisms.evm.default_assets import DEFAULT_ASSETS
from x402.mechanisms.evm.exact import ExactEvmScheme
from x402.schemas.v1 import PaymentRequiredV1

from gateway.payment.authorizations import LASTS_SECONDS
from gateway.payment.x402 import VERSION_2
from ledger.core.settlement.events import Block
from ledger.core.settlement.transactions import Mined, Status
from ledger.core.values.ids import PRIVATE_LANE, Address, Digest, to_hex
from ledger.deployments import save
from ledger.store.access import deposits, vouchers
from ledger.store.access.deposits import DepositRequest
from ledger.store.chain import chain_time
from ledger.store.session import unit_of_work
from ledger.store.settlement import transactions
from roles.cli.output import wait_until
from tests import book
from tests.gateway.nodes import Node, streaming
from tests.gateway.world import CHAIN, OPERATOR, TOKEN, Running, World, a_deployment

PRICE = 115
AHEAD = 900
MINED = Digest(b"\x77" * 32)
BASE_SEPOLIA = "eip155:84532"
BODY = {"model": "@acme/chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50}


@pytest.fixture
def chain(engine: Engine, postgres_url: str, node: Node, tmp_path: Path) -> Iterator[World]:
    """A lane of a chain, with a worker that credits inbox payments as soon as it sees them."""
    with a_lane(engine, postgres_url, node, save(a_deployment(), tmp_path)) as world:
        yield world


@contextmanager
def a_lane(engine: Engine, postgres_url: str, node: Node, deployment: Path, *, relays: bool = True) -> Iterator[World]:
    world = World(engine, postgres_url, deployment=deployment)
    world.open_lane()
    world.a_model_at(node.url)
    stop = threading.Event()
    relaying = threading.Thread(target=_relay, args=(world, stop))
    if relays:
        relaying.start()
    yield world
    stop.set()
    if relays:
        relaying.join()
    world.stop()


def _relay(world: World, stop: threading.Event) -> None:
    """Credit payments at once, as worker and chain do after a few blocks: by a transaction that is mined."""
    while not stop.wait(0.1):
        with unit_of_work(world.engine) as session:
            waiting = deposits.requested(session, PRIVATE_LANE)
        for asked in waiting:
            world.deposit(asked.account, asked.amount)
            with unit_of_work(world.engine) as session:
                call = (Address(b"\x55" * 20), b"")
                sent = transactions.intend_again(session, PRIVATE_LANE, asked.purpose, OPERATOR.address, call, 1)
                assert sent is not None
                mined = Mined(MINED, 7, succeeded=True)
                transactions.set_status(session, PRIVATE_LANE, sent, Status.confirmed, mined)
                deposits.set_credited(session, asked, 7)


def accepted_by(response: httpx.Response) -> dict[str, Any]:
    """What a stock client reads of its payment."""
    shown: dict[str, Any] = json.loads(base64.b64decode(response.headers["payment-response"]))
    return shown


def a_client(most: str = "1000000") -> tuple[x402Client, Address]:
    """A stock client with a wallet of its own, which pays at most so many atoms at once, as the README says to it."""
    account = Account.create()
    client = x402Client()
    readme = book.typed("gateway/README.md", "max_amount_per_payment")
    exec(readme.with_({"0x...": to_hex(TOKEN), "1000000": most}).text, {"client": client})
    client.register(f"eip155:{CHAIN}", ExactEvmScheme(account))
    return client, Address(bytes.fromhex(account.address[2:]))


async def pay(gateway: Running, client: x402Client, **more: object) -> httpx.Response:
    """One paid call."""
    async with x402HttpxClient(client, base_url=gateway.url, timeout=30) as http:
        return await http.post("/v1/chat/completions", json={**BODY, **more})


async def signature(gateway: Running, client: x402Client) -> dict[str, str]:
    """The headers that pay for a call, signed for what it is said to cost now."""
    unpaid = gateway.http.post("/v1/chat/completions", json=BODY)
    http = x402HTTPClient(client)
    required = http.get_payment_required_response(unpaid.headers.get, None)
    return dict(http.encode_payment_signature_header(await client.create_payment_payload(required)))


async def test_a_stock_client_pays_is_served_and_keeps_the_rest(chain: World) -> None:
    gateway = chain.gateway()
    client, payer = a_client()
    response = await pay(gateway, client)
    assert response.status_code == 200, response.text
    assert response.json()["choices"]
    assert response.headers["tollway-charge"] == str(PRICE)
    shown = accepted_by(response)
    assert (shown["success"], shown["payer"], shown["network"]) == (True, to_hex(payer), f"eip155:{CHAIN}")
    assert shown["transaction"] == to_hex(MINED), "the one that relayed it"
    [signed] = chain.receipts_of(payer)
    assert signed.receipt.charge == PRICE


async def test_a_client_as_it_comes_pays_where_the_lane_settles_in_usdc(
    engine: Engine, postgres_url: str, node: Node, tmp_path: Path
) -> None:
    [usdc] = DEFAULT_ASSETS[BASE_SEPOLIA]
    token: dict[str, str | int] = {
        "token": usdc["asset"].lower(),
        "token_name": usdc["name"],
        "token_version": usdc["version"],
    }
    token |= {"token_symbol": usdc["symbol"], "token_decimals": usdc["decimals"]}
    deployment = save(a_deployment(chain_id=int(BASE_SEPOLIA.partition(":")[2]), **token), tmp_path)
    with a_lane(engine, postgres_url, node, deployment) as world:
        gateway, account, client = world.gateway(), Account.create(), x402Client()
        unpaid = gateway.http.post("/v1/chat/completions", json=BODY)
        [accepted] = json.loads(base64.b64decode(unpaid.headers["payment-required"]))["accepts"]
        assert (accepted["extra"]["name"], accepted["extra"]["version"]) == (usdc["name"], usdc["version"])
        client.register(BASE_SEPOLIA, ExactEvmScheme(account))
        response = await pay(gateway, client)
        assert response.status_code == 200, response.text
        [signed] = world.receipts_of(Address(bytes.fromhex(account.address[2:])))
        assert signed.receipt.charge == PRICE


async def test_the_cap_that_the_readme_says_is_one(chain: World) -> None:
    client, payer = a_client(most="1")
    with pytest.raises(PaymentError):
        await pay(chain.gateway(), client)
    assert chain.receipts_of(payer) == []


async def test_a_client_that_rejects_the_token_pays_after_the_line_that_the_402_says(chain: World) -> None:
    gateway = chain.gateway()
    client = x402Client()
    client.register(f"eip155:{CHAIN}", ExactEvmScheme(Account.create()))
    with pytest.raises(PaymentError, match="only default assets"):
        await pay(gateway, client)
    said = gateway.http.post("/v1/chat/completions", json=BODY).json()["error"]["message"]
    [line] = re.findall(r"client\.set_spend_controls\((.*?)\), ", said)
    client.set_spend_controls(json.loads(line))
    response = await pay(gateway, client)
    assert response.status_code == 200, response.text


async def test_a_stock_client_pays_when_the_chains_clock_was_moved_ahead_of_its_own(chain: World) -> None:
    gateway = chain.gateway()
    client, payer = a_client()

    def lasts() -> int:
        unpaid = gateway.http.post("/v1/chat/completions", json=BODY)
        [accepted] = json.loads(base64.b64decode(unpaid.headers["payment-required"]))["accepts"]
        return int(accepted["maxTimeoutSeconds"])

    assert lasts() < LASTS_SECONDS + AHEAD // 2
    signed_before = await signature(gateway, client)
    now = int(time.time())
    with unit_of_work(chain.engine) as session:
        chain_time.advance(session, Block(2, Digest(b"\x02" * 32), now + AHEAD), now * 1_000)
    assert wait_until(lambda: lasts() > AHEAD, 30)
    late = gateway.http.post("/v1/chat/completions", json=BODY, headers=signed_before)
    assert late.status_code == 402
    assert re.search(r"the chain's clock says \d+, 9\d\d s ahead of the gateway's", late.json()["error"]["message"])
    response = await pay(gateway, client)
    assert response.status_code == 200, response.text
    assert len(chain.receipts_of(payer)) == 1


async def test_the_answer_to_a_paid_call_streams(chain: World, node: Node) -> None:
    node.behaviour = streaming(5, (10, 5))
    gateway = chain.gateway()
    client, payer = a_client()
    response = await pay(gateway, client, stream=True)
    assert response.text.rstrip().endswith("data: [DONE]")
    assert "payment-response" in response.headers
    assert len(chain.receipts_of(payer)) == 1


def test_an_unpaid_request_gets_its_price_and_how_to_find_the_route(chain: World) -> None:
    response = chain.gateway().http.post("/v1/chat/completions", json=BODY)
    assert response.status_code == 402
    shown = json.loads(base64.b64decode(response.headers["payment-required"]))
    [accepted] = shown["accepts"]
    assert (accepted["scheme"], accepted["network"], accepted["amount"]) == ("exact", f"eip155:{CHAIN}", str(PRICE))
    assert accepted["asset"] == to_hex(TOKEN)
    assert accepted["payTo"] == to_hex(chain.lane), "the lane's own address takes the money"
    assert set(shown["extensions"]) == {"bazaar", "payment-identifier"}
    assert response.json()["error"]["code"] == "payment_required"


async def test_a_new_account_is_asked_for_the_lanes_least_deposit(chain: World) -> None:
    chain.open_lane(min_deposit=PRICE + 1_000)
    gateway = chain.gateway()
    client, payer = a_client()
    unpaid = gateway.http.post("/v1/chat/completions", json=BODY)
    [accepted] = json.loads(base64.b64decode(unpaid.headers["payment-required"]))["accepts"]
    assert accepted["amount"] == str(PRICE + 1_000)
    response = await pay(gateway, client)
    assert response.status_code == 200, response.text
    with unit_of_work(chain.engine) as session:
        assert vouchers.mandate(session, chain.lane, payer) == PRICE + 1_000, "an x402 payment is a mandate"


async def test_a_payment_seen_by_others_pays_for_nothing_else(chain: World, node: Node) -> None:
    gateway = chain.gateway()
    client, payer = a_client()
    headers = await signature(gateway, client)
    first = gateway.http.post("/v1/chat/completions", json=BODY, headers=headers)
    again = gateway.http.post("/v1/chat/completions", json=BODY, headers=headers)
    assert first.status_code == again.status_code == 200, first.text
    assert again.headers["tollway-receipt"] == first.headers["tollway-receipt"]
    other = {**BODY, "messages": [{"role": "user", "content": "another"}]}
    stolen = gateway.http.post("/v1/chat/completions", json=other, headers=headers)
    assert stolen.status_code == 409
    shown = json.loads(base64.b64decode(headers["PAYMENT-SIGNATURE"]))
    shown["extensions"] = {"payment-identifier": {"info": {"required": False, "id": "a" * 20}}}
    changed = {"PAYMENT-SIGNATURE": base64.b64encode(json.dumps(shown).encode()).decode()}
    renamed = gateway.http.post("/v1/chat/completions", json=other, headers=changed)
    assert (renamed.status_code, renamed.json()["error"]["code"]) == (402, "payment_invalid")
    invoked = {"model": "@acme/chat", "input": {"messages": []}}
    for path, body, more in (
        ("/v1/chat/completions", BODY, {"Idempotency-Key": "stolen"}),
        ("/v1/invoke", invoked, {}),
    ):
        moved = gateway.http.post(path, json=body, headers={**headers, **more})
        assert (moved.status_code, moved.json()["error"]["code"]) == (402, "payment_invalid")
    assert len(chain.receipts_of(payer)) == len(node.asked) == 1


async def test_no_transaction_is_named_before_it_is_in_a_block(
    engine: Engine, postgres_url: str, node: Node, tmp_path: Path
) -> None:
    with a_lane(engine, postgres_url, node, save(a_deployment(), tmp_path), relays=False) as world:
        client, payer = a_client()
        world.deposit(payer, PRICE)
        earlier = DepositRequest(Digest(b"\x01" * 32), world.lane, payer, PRICE, 0, 1, Digest(bytes(32)), b"", "inbox")
        with unit_of_work(world.engine) as session:
            deposits.request(session, earlier, 1)
            deposits.set_credited(session, earlier, 7)
        response = await pay(world.gateway(), client)
        assert response.status_code == 200, "what it paid before covers the call"
        assert (accepted_by(response)["success"], accepted_by(response)["transaction"]) == (True, "")


def test_a_client_of_version_1_is_told_in_its_own_error_what_to_use(chain: World) -> None:
    gateway = chain.gateway()
    body = gateway.http.post("/v1/chat/completions", json=BODY).json()
    with pytest.raises(ValidationError, match=re.escape(VERSION_2)):
        PaymentRequiredV1.model_validate({**body, "x402Version": 1})
    paid = gateway.http.post("/v1/chat/completions", json=BODY, headers={"X-PAYMENT": "eyJ4NDAyVmVyc2lvbiI6MX0="})
    assert (paid.status_code, paid.json()["error"]["code"]) == (402, "payment_required")
    assert VERSION_2 in paid.json()["error"]["message"]


def test_forged_payments_are_refused(chain: World, node: Node) -> None:
    gateway = chain.gateway()
    for header in ("nonsense", base64.b64encode(b"{}").decode(), base64.b64encode(b'{"x402Version": 2}').decode()):
        response = gateway.http.post("/v1/chat/completions", json=BODY, headers={"PAYMENT-SIGNATURE": header})
        assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_payment")
    assert node.asked == []
