"""What other gateways got wrong, each as a test: lost rows, races, leaks, and money counted in floats."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
from sqlalchemy import text

from ledger.core.accounts import accounts
from ledger.core.values.ids import PRIVATE_LANE, to_hex
from ledger.core.values.typed_data import Signer
from ledger.store.money import postings
from ledger.store.session import unit_of_work
from tests.gateway.nodes import Asked, Node, Wire, answering, chat, streaming
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import Running, World, a_model

PRICE = 115


async def burst(gateways: list[Running], key: str, count: int, **more: object) -> list[httpx.Response]:
    """Calls all at once, spread over gateways."""
    body = {"model": "@acme/chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50, **more}
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(timeout=60, limits=limits, headers={"Authorization": f"Bearer {key}"}) as http:
        urls = [gateways[n % len(gateways)].url + "/v1/chat/completions" for n in range(count)]
        return list(await asyncio.gather(*(http.post(url, json=body) for url in urls)))


def test_upstream_ids_are_not_ours_twenty_calls_with_one_id_are_twenty_receipts(
    world: World, gateway: Running, node: Node, consumer: Signer
) -> None:
    world.deposit(consumer.address, 100_000)
    key = gateway.key(consumer)
    for _ in range(20):
        assert gateway.chat(key).json()["id"] == "chatcmpl-1"
    found = world.receipts_of(consumer.address)
    assert len({signed.receipt.call_id for signed in found}) == len(found) == 20


async def test_a_deposit_for_ten_calls_serves_ten_of_sixty_four_at_once(
    world: World, gateway: Running, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10 * PRICE + 14)
    responses = await burst([gateway], gateway.key(consumer), 64)
    served = [r for r in responses if r.status_code == 200]
    assert len(served) == len(world.receipts_of(consumer.address)) == 10
    assert {r.status_code for r in responses} == {200, 402}


async def test_a_key_for_ten_calls_serves_ten_of_sixty_four_over_two_gateways(
    world: World, node: Node, consumer: Signer
) -> None:
    world.a_model_at(node.url)
    gateways = [world.gateway(f"g{n}", lease_atoms=PRICE) for n in range(2)]
    world.deposit(consumer.address, 10**9)
    key = gateways[0].key(consumer, budget=str(10 * PRICE + 50))
    responses = await burst(gateways, key, 64)
    served = sum(r.status_code == 200 for r in responses)
    assert 1 <= served <= 10
    assert {r.status_code for r in responses} <= {200, 402}
    shown = gateways[0].http.get("/v1/keys", headers={"Authorization": f"Bearer {key}"}).json()["data"][0]
    assert shown["spent"] == str(served * PRICE)
    assert len(world.receipts_of(consumer.address)) == served


async def test_two_gateways_never_spend_more_than_a_tiny_deposit(world: World, node: Node, consumer: Signer) -> None:
    world.a_model_at(node.url)
    gateways = [world.gateway(f"g{n}", lease_atoms=PRICE) for n in range(2)]
    world.deposit(consumer.address, 10 * PRICE)
    key = gateways[0].key(consumer)
    served = 0
    for _ in range(4):
        responses = await burst(gateways, key, 16)
        served += sum(r.status_code == 200 for r in responses)
    assert served <= 10
    charged = sum(s.receipt.charge for s in world.receipts_of(consumer.address))
    assert charged == served * PRICE <= 10 * PRICE
    for running in gateways:
        await asyncio.to_thread(running.stop)
    assert world.balance(consumer.address) == 10 * PRICE - charged
    assert _leased(world, gateways, consumer) == charged, "what stays leased is what is charged and not yet posted"


async def test_a_voucher_binds_even_when_the_deposit_is_larger(
    world: World, gateway: Running, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10**9)
    key = gateway.key(consumer, 3 * PRICE)
    responses = await burst([gateway], key, 20)
    assert sum(r.status_code == 200 for r in responses) == 3
    refused = next(r for r in responses if r.status_code == 402).json()["error"]
    assert (refused["code"], refused["short_of"]) == ("voucher_exhausted", "voucher")


def test_a_model_nobody_bids_for_is_refused_not_priced_at_zero(
    world: World, gateway: Running, node: Node, consumer: Signer
) -> None:
    world.publish(a_model("@acme/unpriced"))
    world.deposit(consumer.address, 10_000)
    key = gateway.key(consumer)
    eventually(lambda: "@acme/unpriced" in gateway.gateway.catalog.by_name)
    response = gateway.chat(key, "@acme/unpriced")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "no_provider")
    assert "no bid" in response.json()["error"]["message"]
    assert node.asked == []


def test_every_charge_is_whole_atoms_and_sums_to_the_last_one(world: World, node: Node, consumer: Signer) -> None:
    subject = world.publish(a_model())
    world.serve(subject, node.url, {"input_token": "333333", "output_token": "777777"}, maker_ppm=123_457)
    gateway = world.gateway()
    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    total = 0
    for n in range(30):
        node.behaviour = answering(chat("x" * 50, n, n))
        total += int(gateway.chat(key).headers["tollway-charge"])
    found = world.receipts_of(consumer.address)
    assert sum(s.receipt.charge for s in found) == total
    shown = gateway.of(consumer).get("/v1/balance").json()
    assert int(shown["spent"]) == total
    assert int(shown["spendable"]) == 10**6 - total


def test_a_charge_below_a_millionth_is_shown_as_it_is(world: World, node: Node, consumer: Signer) -> None:
    subject = world.publish(a_model())
    world.serve(subject, node.url, {"output_token": "1"}, maker_ppm=0)
    gateway = world.gateway()
    world.deposit(consumer.address, 100)
    assert gateway.chat(gateway.key(consumer)).headers["tollway-charge"] == "2"


def test_holds_do_not_leak_when_consumers_leave_and_nodes_die(
    world: World, gateway: Running, node: Node, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    node.behaviour = streaming(200, (10, 200), pause=0.01)
    body = {"model": "@acme/chat", "messages": [], "stream": True}
    for _ in range(20):
        with (
            httpx.Client(base_url=gateway.url) as http,
            http.stream("POST", "/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"}) as r,
        ):
            next(r.iter_lines())
    eventually(lambda: gateway.gateway.leases.outstanding() == 0)
    eventually(lambda: len(world.receipts_of(consumer.address)) == 20)


def test_calls_go_on_after_the_receipt_logs_connection_was_lost(
    world: World, gateway: Running, node: Node, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    assert gateway.chat(key).status_code == 200
    with unit_of_work(world.engine) as session:
        session.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        )
    response = gateway.chat(key)
    assert response.status_code in (200, 503)
    eventually(lambda: gateway.chat(key).status_code == 200)
    found = world.receipts_of(consumer.address)
    assert sorted(s.receipt.seq for s in found) == list(range(1, len(found) + 1))


def test_while_the_receipt_log_is_down_calls_are_refused_before_any_work(
    world: World, gateway: Running, node: Node, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    gateway.gateway.receipt_log.healthy = False
    response = gateway.chat(key)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "receipt_log_down")
    assert "retry-after" in response.headers
    assert node.asked == []
    gateway.gateway.receipt_log.healthy = True
    assert gateway.chat(key).status_code == 200


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # it exits: that is the point
def test_a_second_process_with_the_same_signing_key_does_not_start(world: World, gateway: Running) -> None:
    with pytest.raises(RuntimeError):
        world.gateway("gateway-1")


def test_a_dead_gateways_leases_come_back_and_a_live_ones_do_not(world: World, node: Node, consumer: Signer) -> None:
    world.a_model_at(node.url)
    world.deposit(consumer.address, 10_000)
    first = world.gateway("first", lease_seconds=2)
    key = first.key(consumer)
    assert first.chat(key).status_code == 200
    second = world.gateway("second")
    held = _leased(world, [first], consumer)
    assert held > PRICE
    from ledger.flows import leases

    later = 10**15
    with unit_of_work(world.engine) as session:
        assert leases.reclaim(session, PRIVATE_LANE, later) == {}, "its receipt log is locked: it is alive"
    first.gateway.receipt_log._connection.appender.close()  # type: ignore[union-attr]
    deadline = time.monotonic() + 20  # the server notices when it does
    while _leased(world, [first], consumer) > PRICE and time.monotonic() < deadline:
        with unit_of_work(world.engine) as session:
            leases.reclaim(session, PRIVATE_LANE, later)
        time.sleep(0.05)
    assert _leased(world, [first], consumer) == PRICE, "what its receipt charges stays until it is posted"
    assert world.balance(consumer.address) == 10_000 - PRICE - _leased(world, [second], consumer)
    assert second.gateway.receipt_log.healthy


def test_a_lying_stream_ends_at_the_hold(world: World, gateway: Running, node: Node, consumer: Signer) -> None:
    node.behaviour = streaming(500, None, pause=0.001)
    world.deposit(consumer.address, 10_000)
    response = gateway.chat(gateway.key(consumer), stream=True, max_tokens=20)
    assert response.text.count("data: {") <= 30
    [signed] = world.receipts_of(consumer.address)
    assert (signed.receipt.units.output_token, signed.receipt.end.name) == (20, "hold_reached")


def test_a_slow_body_and_a_large_one_are_refused(world: World, node: Node, consumer: Signer) -> None:
    world.a_model_at(node.url)
    gateway = world.gateway(max_body_bytes=1000)
    response = gateway.chat(gateway.key(consumer), text="x" * 2000)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")


def _leased(world: World, gateways: list[Running], consumer: Signer) -> int:
    names = [accounts.leased(consumer.address, g.app.running.settings.signer().address) for g in gateways]
    with unit_of_work(world.engine) as session:
        return sum(postings.balances(session, PRIVATE_LANE, names).values())


async def _never(asked: Asked, wire: Wire) -> None:
    await asyncio.sleep(60)


__all__ = ["to_hex"]
