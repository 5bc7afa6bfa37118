"""x402: what is read and waited for on behalf of those who have not paid yet."""

from __future__ import annotations

import asyncio
import json
import select
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_account import Account
from sqlalchemy import Engine
from x402 import x402Client
from x402.client_base import SpendControlAsset
from x402.http.x402_http_client import x402HTTPClient
from x402.mechanisms.evm.exact import ExactEvmScheme

from gateway.payment import x402
from gateway.payment.authorizations import Payment
from ledger.core.values.ids import to_hex
from ledger.core.values.typed_data import Signer
from ledger.deployments import save
from ledger.store.access import deposits
from ledger.store.session import unit_of_work
from tests.attacks.strangers import OTHER, chat, chat_body, dial, head, others_served, read_answer, send
from tests.gateway.nodes import Node
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import CHAIN, TOKEN, Running, World, a_deployment

KIB, MIB = 2**10, 2**20
PATH = "/v1/chat/completions"


@pytest.fixture
def chain(engine: Engine, postgres_url: str, node: Node, tmp_path: Path) -> Iterator[World]:
    """A lane of a chain where no payment is ever relayed."""
    world = World(engine, postgres_url, deployment=save(a_deployment(), tmp_path))
    world.open_lane()
    world.a_model_at(node.url, ask={"call": "100", "input_token": "1000000", "output_token": "1000000"})
    yield world
    world.stop()


def unpaid(body: bytes) -> bytes:
    """A whole request without credentials."""
    return head("POST", PATH, length=len(body)) + body


def test_an_unpaid_body_has_1_mib(chain: World) -> None:
    gateway = chain.gateway()
    short = chat_body(x="")
    longest = short.replace(b'"x": ""', b'"x": "%b"' % (b"y" * (MIB - len(short))))
    assert len(longest) == MIB
    assert send(gateway, unpaid(longest))[0] == 402
    dearer = [int(json.loads(send(gateway, unpaid(longest + b" " * size))[1])["error"]["required"]) for size in (0, 1)]
    assert dearer[1] > dearer[0], "beyond that it is priced for the longest answer, and not read"
    with others_served(gateway):
        assert send(gateway, head("POST", PATH, length=20 * MIB), longest + b" ")[0] == 402, "before the rest came"
        assert send(gateway, head("POST", PATH, length=20 * MIB + 1), longest + b" ")[0] == 413
        assert send(gateway, unpaid(b" " * MIB + longest))[0] == 413, "no model is named in what was read"
        endless = head("POST", PATH, "Transfer-Encoding: chunked")
        assert send(gateway, endless, *[b"10000\r\n%b\r\n" % (b" " * 65536)] * 400)[0] in (0, 413)


def test_an_address_has_4_unpaid_bodies_and_all_have_64(chain: World, consumer: Signer) -> None:
    gateway = chain.gateway()
    chain.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    half = head("POST", PATH, length=100) + b"{"
    with others_served(gateway):
        wires = [dial(gateway) for _ in range(4)]
        for wire in wires:
            wire.sendall(half)
        eventually(lambda: gateway.gateway.unpaid_bodies.taken("127.0.0.2") == 4)
        fifth = dial(gateway)
        fifth.sendall(half)
        assert read_answer(wires[0])[0] == 503, "the oldest goes"
        assert send(gateway, unpaid(chat_body()), source=OTHER)[0] == 402
        more = [dial(gateway, f"127.0.1.{n}") for n in range(1, 31) for _ in range(2)]
        for wire in more:
            wire.sendall(half)
        assert send(gateway, unpaid(chat_body()), source=OTHER)[0] == 402
        assert read_answer(wires[1])[0] == 503, "of the address that has most"
        assert send(gateway, chat(key), source=OTHER)[0] == 200
    for wire in [*wires, fifth, *more]:
        wire.close()


async def a_payment(gateway: Running) -> str:
    """The header of a payment by a throw-away account without a token."""
    account, client = Account.create(), x402Client()
    entry: SpendControlAsset = {
        "network": f"eip155:{CHAIN}",
        "asset": to_hex(TOKEN),
        "max_amount_per_payment": "1000000",
    }
    client.set_spend_controls({"allowed_assets": [entry]})
    client.register(f"eip155:{CHAIN}", ExactEvmScheme(account))
    http = x402HTTPClient(client)
    asked = await asyncio.to_thread(gateway.http.post, PATH, content=chat_body())
    required = http.get_payment_required_response(asked.headers.get, None)
    [header] = http.encode_payment_signature_header(await client.create_payment_payload(required)).values()
    return header


async def test_worthless_payments_take_no_call_from_consumers(chain: World, consumer: Signer) -> None:
    gateway = await asyncio.to_thread(chain.gateway, max_open_calls=8, payment_seconds=300)
    chain.deposit(consumer.address, 10**6)
    key = await asyncio.to_thread(gateway.key, consumer)
    body = chat_body()
    payments = [await a_payment(gateway) for _ in range(66)]
    with others_served(gateway):
        wires = [dial(gateway, f"127.0.1.{n}") for n in range(1, 67)]
        for wire, payment in zip(wires[:64], payments, strict=False):
            wire.sendall(head("POST", PATH, f"PAYMENT-SIGNATURE: {payment}", length=len(body)) + body)
        await asyncio.to_thread(eventually, lambda: len(list(gateway.gateway.payments)) == 64)
        assert gateway.gateway.open_calls == 0
        assert await asyncio.to_thread(send, gateway, chat(key)) != (503, b"")
        for wire, payment in zip(wires[64:], payments[64:], strict=True):
            wire.sendall(head("POST", PATH, f"PAYMENT-SIGNATURE: {payment}", length=len(body)) + body)
        await asyncio.to_thread(eventually, lambda: len(select.select(wires, [], [], 0)[0]) == 2)
        gone = select.select(wires, [], [], 0)[0]
        assert not {*gone} & {*wires[64:]}, "never the newcomers"
        assert [read_answer(wire)[0] for wire in gone] == [503, 503], "they may send the same header again"
        assert (await asyncio.to_thread(send, gateway, chat(key)))[0] == 200
    loop = gateway.server.servers[0].get_loop()
    for place in gateway.gateway.payments:
        loop.call_soon_threadsafe(place.holder.cancel)
    for wire in wires:
        wire.close()


async def test_a_payment_that_all_can_read_on_the_chain_pays_for_no_other_request(chain: World, node: Node) -> None:
    """A thief who rebuilt it got the answer to a question of its own, and the payer's own request got 409."""
    chain.a_model_at(node.url, "@acme/cheap")
    gateway = await asyncio.to_thread(chain.gateway, payment_seconds=1)
    header, body = await a_payment(gateway), chat_body(model="@acme/cheap")

    def ask(body: bytes) -> int:
        return gateway.http.post(PATH, content=body, headers={"PAYMENT-SIGNATURE": header}).status_code

    assert await asyncio.to_thread(ask, body) == 503, "it is on its way"
    payment = x402.read(gateway.gateway, header.encode(), int(time.time() * 1_000))
    assert isinstance(payment, Payment)
    chain.deposit(payment.payer, payment.amount)
    with unit_of_work(chain.engine) as session:
        [waiting] = deposits.requested(session, chain.lane)
        deposits.set_credited(session, waiting, 1)
    assert await asyncio.to_thread(ask, chat_body(model="@acme/cheap", user="a thief")) == 402
    assert node.asked == []
    assert await asyncio.to_thread(ask, body) == 200
    assert len(chain.receipts_of(payment.payer)) == 1
