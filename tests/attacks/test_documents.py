"""Documents, offers and requests for discovery, as hostile parties write them: what nobody could use is refused where
it enters, and what is taken costs neither the gateway nor others anything.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from ledger.core.catalog.capsules import capsule
from ledger.core.catalog.models import model
from ledger.core.values.documents import Document, check
from ledger.core.values.errors import Rejected
from ledger.core.values.typed_data import Signer
from tests.attacks.strangers import others_served
from tests.gateway.nodes import Node
from tests.gateway.world import Running, World, a_model
from tests.ledger.core.examples import a_capsule, an_offer

FLOAT = {"name": "x", "datatype": "FP32", "shape": [1]}


def described(**more: Any) -> Document:
    """A model document whose only capability says this too."""
    made = a_model()
    return {**made, "capabilities": [made["capabilities"][0] | more]}


def of_tensors(*inputs: dict[str, Any]) -> Document:
    """A model document with these inputs."""
    return a_model(interfaces=[{"protocol": "oip/2", "inputs": [*inputs], "outputs": [FLOAT]}])


HOSTILE_MODELS: dict[str, Document] = {
    "a context below 0": described(context_tokens=-1_000_000),
    "a context of nothing": described(context_tokens=0),
    "a context above all units": described(context_tokens=2**40),
    "2,000 capabilities": a_model(capabilities=a_model()["capabilities"] * 2_000),
    "a task of 65 characters": described(task="x" * 65),
    "a skill of 200,000": described(skill="x" * 200_000),
    "5,000 languages": described(languages=["en"] * 5_000),
    "a mode of 100,000": described(input_modes=["x" * 100_000]),
    "a license of 100,000": a_model(license="x" * 100_000),
    "a runtime of 100,000": a_model(execution={"runtime": "x" * 100_000, "determinism": "none"}),
    "memory below 0": a_model(execution={"runtime": "x", "determinism": "none", "min_memory_mb": -1}),
    "100 interfaces": a_model(interfaces=[{"protocol": "openai.chat/1"}] * 100),
    "65 tensors": of_tensors(*({**FLOAT, "name": f"x{n}"} for n in range(65))),
    "nine dimensions": of_tensors({**FLOAT, "shape": [1] * 9}),
    "10,000 dimensions": of_tensors({**FLOAT, "shape": [1] * 10_000}),
    "a tensor's name of 129": of_tensors({**FLOAT, "name": "x" * 129}),
    "a tensor without a name": of_tensors({**FLOAT, "name": ""}),
    "a tensor named to a terminal": of_tensors({**FLOAT, "name": "x\x1b[2J"}),
    "two tensors of one name": of_tensors(FLOAT, {**FLOAT, "datatype": "BYTES"}),
}


@pytest.mark.parametrize("document", HOSTILE_MODELS.values(), ids=HOSTILE_MODELS)
def test_a_model_document_says_no_more_than_can_be_used(document: Document) -> None:
    model(a_model())
    with pytest.raises(Rejected) as refused:
        model(document)
    assert str(refused.value.facts["field"]).startswith("$.")
    assert len(refused.value.message) < 1_000


HOSTILE_CAPSULES: dict[str, Document] = {
    "a description of 100,000": {"description": "x" * 100_000},
    "an interface of its own": {"interface": {"protocol": ["x"] * 10_000}},
    "100 weavers": {
        "distribution": {
            "weaver": {"ratio_ppm": 0, "ask": {}},
            "co_weavers": [{"party": a_model()["owner"], "ratio_ppm": 0}] * 100,
        }
    },
}


@pytest.mark.parametrize("parts", HOSTILE_CAPSULES.values(), ids=HOSTILE_CAPSULES)
def test_a_workflow_says_no_more_than_can_be_used(parts: Document) -> None:
    with pytest.raises(Rejected) as refused:
        capsule(a_capsule() | parts)
    assert str(refused.value.facts["field"]).startswith("$.")


@pytest.mark.parametrize(
    "serve",
    [{"url": "http://x/" + "y" * 100_000}, {"slo_ms": -1}, {"slo_ms": 2**53 - 1}, {"capacity": 2**53 - 1}],
    ids=["a long URL", "no time", "all time", "more than there is"],
)
def test_an_offer_says_no_more_than_can_be_used(serve: Document) -> None:
    offer = an_offer()
    with pytest.raises(Rejected, match="serve"):
        check({**offer, "serve": offer["serve"] | serve}, "offer")


def test_a_hold_below_0_is_none(gateway: Running, world: World, consumer: Signer) -> None:
    """A document with a context below 0 had calls held for less than nothing: what is leased would have grown."""
    world.deposit(consumer.address, 10**6)
    hold = gateway.gateway.leases.hold(consumer.address, -(10**9))
    with pytest.raises(AssertionError, match="below 0"):
        asyncio.run_coroutine_threadsafe(hold, gateway.server.servers[0].get_loop()).result(10)
    assert gateway.chat(gateway.key(consumer)).status_code == 200


def test_a_hold_that_cannot_be_settled_keeps_nobody_from_the_receipt_log(
    gateway: Running, world: World, consumer: Signer
) -> None:
    """The log's task ended with the error, and said that it was well: every later call waited for ever."""
    world.deposit(consumer.address, 10**6)
    key, log = gateway.key(consumer), gateway.gateway.receipt_log

    def broken(durable: bool) -> None:
        raise AssertionError(f"a hold that cannot be settled: {durable}")

    async def append() -> object:
        return await log.append((), broken)

    with pytest.raises(Rejected, match="at least one receipt"):
        asyncio.run_coroutine_threadsafe(append(), gateway.server.servers[0].get_loop()).result(10)
    assert gateway.chat(key).status_code == 200


def discover(gateway: Running, **wanted: Any) -> httpx.Response:
    """What a stranger is answered."""
    return gateway.http.post("/v1/discover", json={"task": "text-generation", **wanted})


def test_a_request_for_discovery_is_compared_with_every_model_and_so_is_short(world: World, gateway: Running) -> None:
    """256 KB of languages took the loop 7 ms a model."""
    for number in range(20):
        world.publish(a_model(f"@acme/m{number}"))
    many = [str(number) for number in range(9_000)]
    lists = ("languages", "input_modes", "output_modes", "features")
    with others_served(gateway):
        answer = discover(gateway, **dict.fromkeys(lists, many))
    assert (answer.status_code, "more than 64" in answer.text) == (400, True), answer.text[:200]
    assert discover(gateway, task="x" * 65).status_code == 400
    assert discover(gateway, languages=["x" * 129]).status_code == 400


@pytest.mark.parametrize("limit", [-1, 0, 51])
def test_an_answer_of_discovery_has_1_to_50_rows(gateway: Running, limit: int) -> None:
    """-1 was all but one of them."""
    assert discover(gateway, limit=limit).status_code == 400


def test_tasks_that_nobody_serves_make_no_answer_long_and_hide_none_that_is_served(
    world: World, node: Node, consumer: Signer
) -> None:
    """Everybody can publish models: each refusal said all of their tasks."""
    for number in range(8):
        said = [a_model()["capabilities"][0] | {"task": f"a{number}-{n}"} for n in range(16)]
        world.publish(a_model(f"@acme/m{number}", capabilities=said))
    world.a_model_at(node.url, "@acme/zither", capabilities=[a_model()["capabilities"][0] | {"task": "zither"}])
    told = discover(world.gateway(), task="nothing").json()["diagnostic"]["tasks_here"]
    assert (len(told), told[-1]) == (64, "zither")
    assert len(json.dumps(told)) < 1_000
