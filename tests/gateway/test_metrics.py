"""Metrics after known traffic: every call, token, atom and refusal, and nothing else."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from ledger.core.receipts.receipt import EndReason, Receipt
from ledger.core.values.ids import PRIVATE_LANE, ZERO_ADDRESS, ZERO_DIGEST, Address, to_hex
from ledger.core.values.meters import Units
from ledger.core.values.typed_data import Signer
from ledger.store.session import unit_of_work
from roles.cli.shared import ledgers
from roles.wallet.context import Context
from tests.gateway.nodes import Asked, Node, Wire, answering, dying, piece, streaming
from tests.gateway.test_who_pays import eventually
from tests.gateway.workflows import LAST, Loom, inferring, pinned
from tests.gateway.world import PROVIDER, Running, World

Sample = tuple[str, str]
CHAT = "/v1/chat/completions"


def samples_of(gateway: Running) -> dict[Sample, float]:
    """The samples that are not zero, by name and labels' values, which are in the order of the labels' names."""
    families = text_string_to_metric_families(gateway.http.get("/metrics").text)
    samples = (sample for family in families for sample in family.samples)
    return {
        (one.name, ",".join(one.labels[name] for name in sorted(one.labels))): one.value for one in samples if one.value
    }


def counters(gateway: Running) -> dict[Sample, float]:
    """The same without gauges and times, which depend on more than the traffic."""
    return {
        (name.removeprefix("tollway_").removesuffix("_total"), labels): value
        for (name, labels), value in samples_of(gateway).items()
        if name.endswith("_total")
    }


def test_after_known_traffic_every_count_is_what_was_sent(
    world: World, gateway: Running, node: Node, consumer: Signer
) -> None:
    gateway.send_no_probes()
    assert counters(gateway) == {}
    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    for _ in range(3):
        assert gateway.chat(key).status_code == 200
    node.behaviour = streaming(5, (10, 5))
    gateway.chat(key, stream=True)
    node.behaviour = streaming(5, (10, 5), die_after=2, pause=0.02)
    gateway.chat(key, stream=True)  # cut: what was delivered is charged, its input by our estimate
    node.behaviour = answering({"error": {"message": "no"}}, 400)
    assert gateway.chat(key).status_code == 400
    node.behaviour = dying
    assert gateway.chat(key).status_code == 502
    for _ in range(2):
        assert gateway.chat(key, "@acme/none").status_code == 404
    assert gateway.chat("tw_nobody").status_code == 401
    assert gateway.chat(key, header_tollway_max_price="1").status_code == 402
    eventually(lambda: sum(v for (n, _), v in counters(gateway).items() if n == "calls") == 11)
    receipts, provider = [one.receipt for one in world.receipts_of(consumer.address)], to_hex(PROVIDER.address)
    assert len(receipts) == 5
    served = f"@acme/chat,{provider}"
    found = counters(gateway)
    assert found == {
        ("calls", f"normal,{CHAT},@acme/chat"): 4,
        ("calls", f"upstream_cut,{CHAT},@acme/chat"): 1,
        ("calls", f"released,{CHAT},@acme/chat"): 1,
        ("calls", f"refused,{CHAT},@acme/chat"): 2,
        ("calls", f"refused,{CHAT},"): 3,
        ("receipts", served): 5,
        ("tokens", f"input,{served}"): sum(one.units.input_token for one in receipts),
        ("tokens", f"output,{served}"): 3 * 2 + 5 + 2,
        ("charged_atoms", served): 5 * 115,
        ("refusals", "node_cut"): 1,
        ("refusals", "model_not_found"): 2,
        ("refusals", "invalid_api_key"): 1,
        ("refusals", "above_max_price"): 1,
        ("node_failures", f"cut,{provider}"): 1,
        ("node_failures", f"refused,{provider}"): 1,
        ("receipt_log_groups", ""): 5,
    }
    assert found["charged_atoms", served] == sum(one.charge for one in receipts)
    others = samples_of(gateway)
    assert others["tollway_receipt_log_delay_seconds_count", ""] == 5
    assert others["tollway_first_token_seconds_count", "@acme/chat"] == 2
    assert others["tollway_call_seconds_count", CHAT] == 11
    assert others["tollway_model_providers", "@acme/chat"] == 1
    assert others["tollway_receipt_log_up", ""] == 1
    assert not {("tollway_open_calls", ""), ("tollway_held_atoms", "")} & {*others}


def test_a_workflows_receipts_are_counted_at_its_steps_and_its_root(loom: Loom, world: World, consumer: Signer) -> None:
    feeling = loom.classifier("feeling", inferring("angry"))
    talk = loom.talker("talk", streaming(6, (9, 6)))
    loom.capsule(
        pinned("feeling", feeling, {"text": LAST}),
        pinned("reply", talk, {"messages": "$.messages"}),
        output={"choices": "$steps.reply.output.choices"},
    )
    key = loom.consumer(consumer)
    assert "[DONE]" in loom.gateway.chat(key, "@wanda/flow", stream=True).text
    assert loom.gateway.chat(key, "@wanda/flow").status_code == 200
    eventually(lambda: counters(loom.gateway).get(("calls", f"normal,{CHAT},@wanda/flow")) == 2)
    found, provider = counters(loom.gateway), to_hex(PROVIDER.address)
    steps = (f"@acme/feeling,{provider}", f"@acme/talk,{provider}", "@wanda/flow,")
    assert [found["receipts", step] for step in steps] == [2, 2, 2]
    assert [found.get(("tokens", f"output,{step}"), 0) for step in steps] == [0, 12, 0]
    charged = sum(value for (name, _), value in found.items() if name == "charged_atoms")
    assert charged == sum(one.receipt.charge for one in world.receipts_of(consumer.address))
    assert samples_of(loom.gateway)["tollway_first_token_seconds_count", "@wanda/flow"] == 1


def test_what_a_weavers_bond_pays_is_counted_too(loom: Loom, consumer: Signer) -> None:
    feeling, talk = loom.classifier("feeling", inferring("angry")), loom.talker("talk", dying)
    loom.capsule(
        pinned("feeling", feeling, {"text": LAST}),
        pinned("reply", talk, {"messages": [{"role": "user", "content": "{$steps.feeling.output.label}"}]}),
        output={"choices": "$steps.reply.output.choices"},
        failure="all-or-nothing",
    )
    assert loom.gateway.chat(loom.consumer(consumer), "@wanda/flow").status_code == 502
    eventually(lambda: ("calls", f"refused,{CHAT},other") in counters(loom.gateway))
    served = f"@acme/feeling,{to_hex(PROVIDER.address)}"
    found = counters(loom.gateway)
    assert (found["receipts", served], found["charged_atoms", served] >= 100) == (1, True)
    assert ("receipts", "@wanda/flow,") not in found


def test_the_first_token_is_timed_from_the_request_to_the_token_and_not_to_the_head(
    world: World, gateway: Running, node: Node, consumer: Signer
) -> None:
    async def thinking(asked: Asked, wire: Wire) -> None:
        await wire.begin()
        await asyncio.sleep(0.3)
        for event in (piece("a"), piece(None, "stop"), "[DONE]"):
            await wire.event(event)
        await wire.end()

    world.deposit(consumer.address, 10**6)
    node.behaviour = thinking
    assert "[DONE]" in gateway.chat(gateway.key(consumer), stream=True).text
    eventually(lambda: ("tollway_first_token_seconds_count", "@acme/chat") in samples_of(gateway))
    assert samples_of(gateway)["tollway_first_token_seconds_sum", "@acme/chat"] >= 0.3


def test_the_delay_of_the_receipt_log_is_the_time_until_the_receipt_is_durable(
    world: World, gateway: Running, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    assert gateway.chat(key).status_code == 200
    with locked(world):
        call = threading.Thread(target=gateway.chat, args=(key,))
        call.start()
        eventually(lambda: len(gateway.gateway.receipt_log._waiting) == 0 and gateway.gateway.open_calls == 1)
        time.sleep(0.4)
    call.join(20)
    eventually(lambda: samples_of(gateway)["tollway_receipt_log_delay_seconds_count", ""] == 2)
    assert samples_of(gateway)["tollway_receipt_log_delay_seconds_sum", ""] >= 0.3


@contextmanager
def locked(world: World) -> Iterator[None]:
    """Nobody can write a receipt."""
    with unit_of_work(world.engine) as session:
        session.execute(text("LOCK TABLE receipts IN ACCESS EXCLUSIVE MODE"))
        yield


def test_a_blocked_event_loop_shows_as_lag(gateway: Running) -> None:
    task = gateway.gateway.receipt_log._task
    assert task is not None
    task.get_loop().call_soon_threadsafe(time.sleep, 0.6)

    def late() -> float:
        found = samples_of(gateway)
        below = found.get(("tollway_loop_lag_seconds_bucket", "0.25"), 0)
        return found.get(("tollway_loop_lag_seconds_bucket", "+Inf"), 0) - below

    eventually(lambda: late() >= 1)


def test_probes_and_providers_that_may_be_asked_are_counted(
    world: World, gateway: Running, node: Node, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10**6)
    node.behaviour = dying
    assert gateway.chat(gateway.key(consumer)).status_code == 502
    eventually(lambda: counters(gateway).get(("probes", f"{to_hex(PROVIDER.address)},cut"), 0) >= 1)
    eventually(lambda: ("tollway_model_providers", "@acme/chat") not in samples_of(gateway))
    assert 'tollway_model_providers{model="@acme/chat"} 0.0' in gateway.http.get("/metrics").text


def test_a_failure_of_ours_counts_as_a_refusal(
    world: World, gateway: Running, consumer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: object) -> None:
        raise ZeroDivisionError

    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    monkeypatch.setattr("gateway.call.call.find_route", broken)
    assert gateway.chat(key).status_code == 500
    eventually(lambda: counters(gateway).get(("refusals", "internal")) == 1)


def test_a_model_that_was_only_refused_has_no_series_of_its_own(
    world: World, gateway: Running, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10**6)
    assert gateway.chat(gateway.key(consumer), header_tollway_max_price="1").status_code == 402
    eventually(lambda: ("calls", f"refused,{CHAT},other") in counters(gateway))
    assert "@acme/chat" not in gateway.http.get("/metrics").text


def a_receipt(charge: int = 7) -> Receipt:
    return Receipt(
        ZERO_DIGEST,
        ZERO_DIGEST,
        PRIVATE_LANE,
        ZERO_ADDRESS,
        1,
        ZERO_ADDRESS,
        ZERO_DIGEST,
        1,
        0,
        0,
        charge,
        charge,
        EndReason.normal,
        0,
        units=Units(call=1, input_token=1, cached_input_token=2, output_token=3, reasoning_token=4),
    )


def test_the_tokens_of_finer_meters_are_input_and_output(gateway: Running) -> None:
    gateway.gateway.metrics.charged("@acme/chat", None, a_receipt())
    found = counters(gateway)
    assert (found["tokens", "input,@acme/chat,"], found["tokens", "output,@acme/chat,"]) == (3, 7)


def test_the_text_is_made_once_a_second_however_often_it_is_asked_for(gateway: Running) -> None:
    metrics = gateway.gateway.metrics
    metrics.text_seconds = 3600
    before = gateway.http.get("/metrics").text
    metrics.ended(CHAT, "", "refused", 1)
    assert gateway.http.get("/metrics").text == before
    metrics.text_seconds = 0
    assert ("calls", f"refused,{CHAT},") in counters(gateway)


MODELS, PROVIDERS, PAIRS = 128, 256, 1024


def test_models_and_providers_beyond_the_bound_are_counted_together(gateway: Running) -> None:
    metrics = gateway.gateway.metrics
    for number in range(PROVIDERS + 40):
        provider = Address(number.to_bytes(20, "big"))
        for model in range(5):
            metrics.charged(f"@acme/{number * 5 + model}", provider, a_receipt())
        metrics.ended(CHAT, f"@acme/{number * 5}", "normal", 5)
        metrics.first_token(f"@acme/{number * 5}", 5)
        metrics.failed(f"@acme/{number * 5}", provider, "cut")
        metrics.probed(provider, "cut")
    families = {family.name: family for family in text_string_to_metric_families(gateway.http.get("/metrics").text)}
    served = families["tollway_receipts"].samples
    models = {one.labels["model"] for one in served}
    providers = {one.labels["provider"] for one in served}
    assert (len(models - {"other"}), len(providers - {"other"})) == (MODELS, PROVIDERS)
    assert {"other"} <= models & providers
    assert sum(one.value for one in served) == (PROVIDERS + 40) * 5
    assert sum(one.value for one in families["tollway_charged_atoms"].samples) == (PROVIDERS + 40) * 5 * 7
    assert len(families["tollway_calls"].samples) <= MODELS + 1
    assert len({one.labels["model"] for one in families["tollway_first_token_seconds"].samples}) <= MODELS + 1
    for name in ("tollway_node_failures", "tollway_probes"):
        totals = [one for one in families[name].samples if one.name.endswith("_total")]
        assert (len(totals), sum(one.value for one in totals)) == (PROVIDERS + 1, PROVIDERS + 40)


def test_no_more_than_so_many_pairs_have_series_of_their_own(gateway: Running) -> None:
    metrics = gateway.gateway.metrics
    for model in range(100):
        for number in range(20):
            metrics.charged(f"@acme/{model}", Address(number.to_bytes(20, "big")), a_receipt())
    families = {one.name: one for one in text_string_to_metric_families(gateway.http.get("/metrics").text)}
    served = families["tollway_receipts"].samples
    assert (len(served), sum(one.value for one in served)) == (PAIRS + 1, 2000)


def test_an_operators_alarms_say_what_a_gateway_shows_of_itself(
    world: World, gateway: Running, node: Node, consumer: Signer
) -> None:
    operator = Context(None, gateway.url, None)
    gateway.gateway.metrics.text_seconds = 0
    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    assert gateway.chat(key).status_code == 200
    assert ledgers.gateway_alarms(operator) == []
    for _ in range(3):
        gateway.gateway.receipt_log.delays.add(400)
    (slow,) = ledgers.gateway_alarms(operator)
    assert slow["name"] == "receipt_log_slow"
    assert "3 of 4 receipts" in slow["message"]
    node.behaviour = dying
    assert gateway.chat(key).status_code == 502
    eventually(lambda: len(ledgers.gateway_alarms(operator)) == 2)
    bare = ledgers.gateway_alarms(operator)[1]
    assert (bare["name"], "@acme/chat" in bare["message"]) == ("model_without_provider", True)
    gateway.gateway.draining = True
    (away,) = ledgers.gateway_alarms(operator)
    assert away["name"] == "gateway_away"
