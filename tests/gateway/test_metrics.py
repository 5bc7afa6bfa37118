"""Metrics after known traffic: every call, token, atom and refusal, and nothing else."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from ledger.core.values.typed_data import Signer
from tests.gateway.nodes import Node, answering, dying, streaming
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import Running, World

Sample = tuple[str, str]


def samples_of(gateway: Running) -> dict[Sample, float]:
    """The samples that are not zero, by name and labels' values."""
    families = text_string_to_metric_families(gateway.http.get("/metrics").text)
    samples = (sample for family in families for sample in family.samples)
    return {(one.name, ",".join(one.labels.values())): one.value for one in samples if one.value}


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
    found, receipts = counters(gateway), [one.receipt for one in world.receipts_of(consumer.address)]
    assert len(receipts) == 5
    assert found == {
        ("calls", "normal"): 4,
        ("calls", "upstream_cut"): 1,
        ("calls", "released"): 1,
        ("calls", "refused"): 5,
        ("tokens", "input"): sum(one.units.input_token for one in receipts),
        ("tokens", "output"): 3 * 2 + 5 + 2,
        ("charged_atoms", ""): 5 * 115,
        ("refusals", "node_cut"): 1,
        ("refusals", "model_not_found"): 2,
        ("refusals", "invalid_api_key"): 1,
        ("refusals", "above_max_price"): 1,
        ("node_failures", "cut"): 1,
        ("node_failures", "refused"): 1,
    }
    assert found["charged_atoms", ""] == sum(one.charge for one in receipts)
    gauges = samples_of(gateway)
    assert gauges["tollway_receipt_log_bundles", ""] == 5
    assert gauges["tollway_receipt_log_up", ""] == 1
    assert gauges["tollway_call_seconds_count", ""] == 11
    assert not {("tollway_open_calls", ""), ("tollway_held_atoms", "")} & {*gauges}
