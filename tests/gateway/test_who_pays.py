"""Who pays what, row by row: every way a call can end, with exact figures."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import httpx
import pytest

from ledger.core.receipts.receipt import EndReason, Receipt
from ledger.core.values.typed_data import Signer
from tests.gateway.nodes import Asked, Behaviour, Node, Wire, answering, chat, dying, hanging, piece, streaming
from tests.gateway.world import Running, World, a_model, a_signer, events_of

TOKENS = {"output_token": "1000000"}
"""One atom for each token of output; with the protocol's 2 % on top."""


def price_of(tokens: int) -> int:
    """The least P with P >= tokens + ceil(0.02 P)."""
    price = tokens
    while price < tokens + -(-20_000 * price // 10**6):
        price += 1
    return price


@pytest.fixture
def by_token(world: World, node: Node, consumer: Signer) -> Running:
    """A gateway whose model is paid by the token, and a consumer with money."""
    subject = world.publish(a_model())
    world.serve(subject, node.url, TOKENS, maker_ppm=0)
    world.deposit(consumer.address, 100_000)
    return world.gateway(idle_stream_seconds=1)


def eventually(check: Callable[[], object], seconds: float = 30) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def only_receipt(world: World, consumer: Signer) -> Receipt:
    """The consumer's one receipt, once it is there."""
    eventually(lambda: world.receipts_of(consumer.address))
    [signed] = world.receipts_of(consumer.address)
    return signed.receipt


@pytest.mark.parametrize("status", [400, 404, 422, 429, 500, 503])
def test_an_error_before_the_first_token_costs_nothing(
    world: World, by_token: Running, node: Node, consumer: Signer, status: int
) -> None:
    node.behaviour = answering({"error": {"message": "no"}}, status)
    key = by_token.key(consumer)
    for stream in (False, True):
        response = by_token.chat(key, stream=stream)
        assert response.status_code >= 400
        assert "error" in response.json()
        if status in (400, 422):
            assert response.status_code == status
            assert response.json()["error"]["message"] == "no"
    assert world.receipts_of(consumer.address) == []
    assert by_token.gateway.leases.outstanding() == 0


def test_a_normal_end_costs_the_final_usage(world: World, by_token: Running, node: Node, consumer: Signer) -> None:
    node.behaviour = streaming(7, (10, 7))
    by_token.chat(by_token.key(consumer), stream=True)
    receipt = only_receipt(world, consumer)
    assert (receipt.units.output_token, receipt.charge, receipt.end) == (7, price_of(7), EndReason.normal)


def test_a_stream_without_usage_is_billed_by_count(
    world: World, by_token: Running, node: Node, consumer: Signer
) -> None:
    node.behaviour = streaming(9, None)
    by_token.chat(by_token.key(consumer), stream=True)
    receipt = only_receipt(world, consumer)
    assert (receipt.units.output_token, receipt.charge) == (9, price_of(9))


def test_zero_usage_is_a_value_and_costs_nothing(world: World, by_token: Running, node: Node, consumer: Signer) -> None:
    node.behaviour = answering(chat("hello", 0, 0))
    response = by_token.chat(by_token.key(consumer))
    receipt = only_receipt(world, consumer)
    assert (response.headers["tollway-charge"], receipt.charge, receipt.units.output_token) == ("0", 0, 0)


def test_a_consumer_that_leaves_pays_what_was_delivered(
    world: World, by_token: Running, node: Node, consumer: Signer
) -> None:
    node.behaviour = streaming(50, (10, 50), pause=0.02)
    _leave_after(by_token, by_token.key(consumer), 5)
    receipt = only_receipt(world, consumer)
    assert receipt.end is EndReason.client_abort
    assert 5 <= receipt.units.output_token < 50
    assert receipt.charge == price_of(receipt.units.output_token)
    eventually(lambda: node.aborted == 1)


def test_an_aborted_stream_is_replayed_as_what_it_was(
    world: World, by_token: Running, node: Node, consumer: Signer
) -> None:
    node.behaviour = streaming(50, (10, 50), pause=0.02)
    key = by_token.key(consumer)
    _leave_after(by_token, key, 5, **{"Idempotency-Key": "once"})
    only_receipt(world, consumer)
    body = {"model": "@acme/chat", "messages": [], "stream": True, "max_tokens": 100}
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "once"}
    events = events_of(by_token.http.post("/v1/chat/completions", json=body, headers=headers).text)
    assert "[DONE]" not in events
    assert events[-1]["error"]["code"] == "client_abort"
    assert len(world.receipts_of(consumer.address)) == 1


def test_a_consumer_that_leaves_a_node_that_cannot_stop_pays_the_final_usage(
    world: World, by_token: Running, node: Node, consumer: Signer
) -> None:
    node.behaviour = streaming(20, (10, 20), pause=0.02, tollway_cancel="none")
    _leave_after(by_token, by_token.key(consumer), 3)
    receipt = only_receipt(world, consumer)
    assert (receipt.units.output_token, receipt.charge) == (20, price_of(20))
    assert receipt.end is EndReason.client_abort


def test_a_stream_cut_after_21_of_40_tokens_is_billed_21_and_not_ended_as_if_whole(
    world: World, by_token: Running, node: Node, consumer: Signer
) -> None:
    node.behaviour = streaming(40, (10, 40), die_after=21, pause=0.002)
    response = by_token.chat(by_token.key(consumer), stream=True)
    events = events_of(response.text)
    assert "[DONE]" not in events
    assert events[-1]["error"]["code"] == "node_cut"
    receipt = only_receipt(world, consumer)
    assert (receipt.units.output_token, receipt.charge, receipt.end) == (21, price_of(21), EndReason.upstream_cut)


def test_a_stream_that_falls_silent_is_billed_as_cut(
    world: World, by_token: Running, node: Node, consumer: Signer
) -> None:
    async def silent(asked: Asked, wire: Wire) -> None:
        await wire.begin()
        for n in range(4):
            await wire.event(piece(f"t{n}"))
        await asyncio.sleep(60)

    node.behaviour = silent
    response = by_token.chat(by_token.key(consumer), stream=True)
    assert events_of(response.text)[-1]["error"]["code"] == "node_timeout"
    assert only_receipt(world, consumer).charge == price_of(4)


def test_a_retry_before_output_costs_only_the_attempt_that_served(
    world: World, node: Node, other_node: Node, consumer: Signer
) -> None:
    second = a_signer("second provider")
    subject = world.a_model_at(node.url, ask=TOKENS)
    world.serve(subject, other_node.url, TOKENS, second, maker_ppm=0)
    world.deposit(consumer.address, 100_000)
    gateway = world.gateway()
    key = gateway.key(consumer)
    node.behaviour = dying
    other_node.behaviour = streaming(3, (10, 3))
    made = 0
    while made < 4 or not node.asked:  # which of the two is asked first is drawn for each call
        assert gateway.chat(key, stream=bool(made % 2)).status_code == 200
        made += 1
        assert len(world.receipts_of(consumer.address)) == made < 50
    noted = [signed.extra or b"" for signed in world.receipts_of(consumer.address)]
    assert any(b'"attempts":[{' in extra and b'"failed":"cut"' in extra for extra in noted)
    assert {signed.receipt.units.output_token for signed in world.receipts_of(consumer.address)} == {3}


def test_a_hedged_call_costs_the_winner_and_the_loser_is_cancelled(
    world: World, node: Node, other_node: Node, consumer: Signer
) -> None:
    second = a_signer("second provider")
    subject = world.a_model_at(node.url, ask=TOKENS)
    world.serve(subject, other_node.url, TOKENS, second, maker_ppm=0)
    world.deposit(consumer.address, 100_000)
    gateway = world.gateway(hedge_ms=100, first_byte_seconds=30)
    node.behaviour = hanging
    other_node.behaviour = answering(chat("hello", 10, 3))
    key = gateway.key(consumer)
    for _ in range(6):
        began = time.monotonic()
        assert gateway.chat(key).status_code == 200
        assert time.monotonic() - began < 10, "nobody waits for a node that hangs"
    found = [signed.receipt for signed in world.receipts_of(consumer.address)]
    assert [receipt.units.output_token for receipt in found] == [3] * 6
    assert gateway.gateway.leases.outstanding() == 0
    assert all(health.errors == 0 for health in gateway.gateway.loader.records().values()), "who loses is not blamed"


def test_the_same_key_is_answered_again_and_charged_once(
    world: World, by_token: Running, node: Node, consumer: Signer
) -> None:
    key = by_token.key(consumer)
    answers = [by_token.chat(key, header_idempotency_key="one") for _ in range(5)]
    assert {answer.text for answer in answers} == {answers[0].text}
    assert {answer.headers["tollway-receipt"] for answer in answers} == {answers[0].headers["tollway-receipt"]}
    assert len(node.asked) == len(world.receipts_of(consumer.address)) == 1
    node.behaviour = streaming(3, (10, 3))
    streams = [by_token.chat(key, header_idempotency_key="two", stream=True) for _ in range(2)]
    assert streams[0].text == streams[1].text
    assert len(world.receipts_of(consumer.address)) == 2


def test_the_same_key_with_another_request_is_refused(
    world: World, by_token: Running, node: Node, consumer: Signer
) -> None:
    key = by_token.key(consumer)
    by_token.chat(key, header_idempotency_key="one")
    response = by_token.chat(key, text="something else", header_idempotency_key="one")
    assert (response.status_code, response.json()["error"]["code"]) == (409, "idempotency_mismatch")
    assert len(world.receipts_of(consumer.address)) == 1


def test_the_same_key_while_it_runs_is_refused_and_after_a_restart_it_is_not_charged_again(
    world: World, by_token: Running, node: Node, consumer: Signer
) -> None:
    refused = threading.Event()

    async def until_the_other_is_refused(asked: Asked, wire: Wire) -> None:
        await wire.begin()
        while not refused.is_set():
            await wire.event(piece("t "))
            await asyncio.to_thread(refused.wait, 1)
        await wire.event(piece(None, "stop"))
        await wire.event("[DONE]")
        await wire.end()

    node.behaviour = until_the_other_is_refused
    key = by_token.key(consumer)
    first = threading.Thread(target=by_token.chat, args=(key,), kwargs={"header_idempotency_key": "x", "stream": True})
    first.start()
    eventually(lambda: node.asked)
    with httpx.Client(base_url=by_token.url) as http:
        said = b'"messages": [{"role": "user", "content": "hi"}]'
        body = b'{"model": "@acme/chat", %b, "max_tokens": 50, "stream": true}' % said
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "x"}
        running = http.post("/v1/chat/completions", content=body, headers=headers)
        refused.set()
        assert (running.status_code, running.json()["error"]["code"]) == (409, "in_progress")
        first.join()
        receipt = only_receipt(world, consumer)
        by_token.gateway.answers.abandon(receipt.call_id)
        again = http.post("/v1/chat/completions", content=body, headers=headers)
        assert (again.status_code, again.json()["error"]["code"]) == (409, "answer_not_kept")
        assert again.headers["tollway-receipt"] == "0x" + receipt.call_id.hex()
        other = http.post("/v1/chat/completions", content=body.replace(b"hi", b"ho"), headers=headers)
        assert other.json()["error"]["code"] == "idempotency_mismatch"
    assert len(world.receipts_of(consumer.address)) == 1


@pytest.mark.parametrize("claimed", [40, 10**9])
def test_a_node_that_claims_too_much_is_billed_at_the_bytes_of_its_text(
    world: World, by_token: Running, node: Node, consumer: Signer, claimed: int
) -> None:
    node.behaviour = answering(chat("hi", 10, claimed))
    by_token.chat(by_token.key(consumer))
    receipt = only_receipt(world, consumer)
    assert (receipt.units.output_token, receipt.charge) == (2, price_of(2))


def _leave_after(gateway: Running, key: str, tokens: int, **more: str) -> None:
    body = {"model": "@acme/chat", "messages": [], "stream": True, "max_tokens": 100}
    headers = {"Authorization": f"Bearer {key}", **more}
    with (
        httpx.Client(base_url=gateway.url) as http,
        http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response,
    ):
        seen = 0
        for line in response.iter_lines():
            seen += line.startswith("data: ")
            if seen == tokens:
                return


__all__ = ["Behaviour"]
