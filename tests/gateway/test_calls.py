"""A paid call, from key to receipt."""

from __future__ import annotations

from ledger.core.receipts.receipt import EndReason, struct_hash
from ledger.core.values.atoms import AIC
from ledger.core.values.ids import did, to_hex
from ledger.core.values.typed_data import Signer, recover, signing_digest
from tests.gateway.nodes import Node, answering, chat, dying, hanging, streaming
from tests.gateway.world import DOMAIN, MAKER, Running, World, a_model, events_of

# 100 atoms a call, the maker takes 10 %, the protocol 2 %: P = 100 + ceil(0.1 P) + ceil(0.02 P)
PRICE = 115


def test_a_call_is_answered_charged_and_signed(world: World, gateway: Running, consumer: Signer) -> None:
    world.deposit(consumer.address, 10_000)
    key = gateway.key(consumer)
    response = gateway.chat(key)
    assert response.status_code == 200, response.text
    assert response.json() == {**chat(), "model": "@acme/chat"}
    assert response.headers["tollway-charge"] == str(PRICE)
    [signed] = world.receipts_of(consumer.address)
    assert response.headers["tollway-receipt"] == to_hex(signed.receipt.call_id)
    assert (signed.receipt.price, signed.receipt.charge, signed.receipt.seq) == (PRICE, PRICE, 1)
    assert (signed.receipt.units.input_token, signed.receipt.units.output_token) == (10, 2)
    assert signed.digest == struct_hash(signed.receipt)
    assert recover(signing_digest(DOMAIN, signed.digest), signed.signature) == gateway.gateway.signer.address
    shown = gateway.of(consumer).get(f"/v1/receipts/{response.headers['tollway-receipt']}").json()
    assert shown["receipt"]["charge"] == str(PRICE)


def test_a_stream_passes_through_and_ends_with_its_receipt(
    world: World, gateway: Running, node: Node, consumer: Signer
) -> None:
    node.behaviour = streaming(5, (10, 5))
    world.deposit(consumer.address, 10_000)
    response = gateway.chat(gateway.key(consumer), stream=True)
    events = events_of(response.text)
    assert events[-1] == "[DONE]"
    assert "".join(e["choices"][0]["delta"].get("content", "") for e in events[:-1]) == "t0 t1 t2 t3 t4 "
    assert all(event["choices"] for event in events[:-1]), "the usage event was ours, not the consumer's"
    assert node.asked[-1].json["stream_options"] == {"include_usage": True}
    [signed] = world.receipts_of(consumer.address)
    receipt = signed.receipt
    assert (receipt.units.output_token, receipt.charge, receipt.end) == (5, PRICE, EndReason.normal)
    assert to_hex(signed.receipt.call_id) in response.text


def test_a_stream_brings_its_usage_when_asked(world: World, gateway: Running, node: Node, consumer: Signer) -> None:
    node.behaviour = streaming(5, (10, 5))
    world.deposit(consumer.address, 10_000)
    response = gateway.chat(gateway.key(consumer), stream=True, stream_options={"include_usage": True})
    events = events_of(response.text)
    assert events[-2]["usage"]["completion_tokens"] == 5
    assert events[-2]["tollway"]["charge"] == str(PRICE)
    assert f'"cost":{AIC.decimal(PRICE)}}}' in response.text, "a number that says each atom"
    assert round(events[-2]["usage"]["cost"] * AIC.one) == PRICE


def test_too_small_a_balance_is_refused_with_the_exact_shortfall(
    world: World, gateway: Running, node: Node, consumer: Signer
) -> None:
    world.deposit(consumer.address, 100)
    response = gateway.chat(gateway.key(consumer))
    assert response.status_code == 402
    error = response.json()["error"]
    assert (error["code"], error["shortfall"], error["required"]) == ("insufficient_balance", "15", "115")
    assert node.asked == []


def test_an_unknown_model_is_refused_with_the_nearest(world: World, gateway: Running, consumer: Signer) -> None:
    response = gateway.chat(gateway.key(consumer), "@acme/chatt")
    assert response.status_code == 404
    assert response.json()["error"]["nearest"] == ["@acme/chat"]


def test_a_node_that_hangs_dies_or_speaks_nonsense_costs_nothing(world: World, node: Node, consumer: Signer) -> None:
    world.a_model_at(node.url)
    gateway = world.gateway(first_byte_seconds=0.3).send_no_probes()
    world.deposit(consumer.address, 10_000)
    key = gateway.key(consumer)
    for behaviour, status, code in (
        (hanging, 504, "node_timeout"),
        (dying, 502, "node_cut"),
        (answering(b"<html>"), 502, "node_nonsense"),
    ):
        node.behaviour = behaviour
        response = gateway.chat(key)
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)
        assert "nothing was charged" in response.json()["error"]["message"]
    assert world.receipts_of(consumer.address) == []
    assert gateway.gateway.leases.outstanding() == 0


def test_a_bid_above_its_roles_cap_is_not_sold_and_says_so(world: World, node: Node, consumer: Signer) -> None:
    subject = world.publish(a_model("@acme/chat", owner=did(world.chain_id, MAKER.address)))
    world.serve(subject, node.url, maker_ppm=300_001)
    gateway = world.gateway()
    assert "at most 300000 ppm" in gateway.http.get("/v1/models/@acme/chat").json()["why"]
    world.deposit(consumer.address, 10_000)
    assert gateway.chat(gateway.key(consumer)).is_error
    assert not node.asked
    assert world.receipts_of(consumer.address) == []
