"""What does not fit a node's memory is refused when it is offered, and is not discovered, quoted, called or a step."""

from __future__ import annotations

from typing import Any

import httpx

from ledger.core.catalog.bids import Role
from ledger.core.values.ids import Digest, cid
from ledger.core.values.meters import rates
from ledger.core.values.typed_data import Signer
from tests.gateway.nodes import Node, answering
from tests.gateway.test_who_pays import eventually
from tests.gateway.workflows import Loom, pinned
from tests.gateway.world import MAKER, PROVIDER, Running, World, a_model

SMALL, LARGE = 64, 512
EXECUTION = {"runtime": "test", "determinism": "none", "min_memory_mb": LARGE}
FLOW = "@wanda/flow"


def bid(world: World, subject: Digest) -> None:
    """The maker's and the provider's bids, without an offer."""
    world.bid(subject, Role.maker, MAKER.address, 100_000)
    world.bid(subject, Role.compute, PROVIDER.address, 0, rates({"call": "100"}))


def offered(gateway: Running, subject: Digest, **serve: Any) -> httpx.Response:
    """An offer to serve it, sent to the gateway."""
    document = gateway.world.offer(subject, "http://127.0.0.1:9", **serve)
    return gateway.http.post("/v1/offers", json=document)


def test_an_offer_of_what_does_not_fit_is_refused_and_changes_nothing(world: World, gateway: Running) -> None:
    subject = world.publish(a_model("@acme/large", execution=EXECUTION))
    bid(world, subject)
    eventually(lambda: gateway.http.get("/v1/models/@acme/large").status_code == 200)
    refused = offered(gateway, subject, memory_mb=SMALL)
    assert refused.status_code == 400, refused.text
    message = refused.json()["error"]["message"]
    assert message.startswith(f"@acme/large needs {LARGE} MB of memory and the node has {SMALL} MB: "), message
    assert "tollway consumer discover TASK --max-memory-mb 64" in message
    why = gateway.http.get("/v1/models/@acme/large").json()["why"]
    assert "has no standing offer" in why, why

    for serve in ({"memory_mb": LARGE}, {}):  # what does not say has enough
        assert offered(gateway, subject, **serve).status_code == 201


def test_a_model_and_an_offer_that_say_nothing_of_memory_go_on_working(world: World, gateway: Running) -> None:
    subject = gateway.gateway.catalog.find("@acme/chat").id
    assert offered(gateway, subject, memory_mb=1).status_code == 201
    shown = gateway.http.get("/v1/models/@acme/chat").json()
    assert (shown["size_bytes"], shown["memory_mb"], shown["ready"]) == (None, None, True)


def test_what_does_not_fit_is_not_discovered_quoted_called_or_run_as_a_step(loom: Loom, consumer: Signer) -> None:
    """The offer came before the document, or from before the node said its memory: nothing refused it."""
    node = loom.node(answering())
    large = loom.world.publish(a_model("@acme/large", execution=EXECUTION))
    loom.world.serve(large, node.url, memory_mb=LARGE)
    flow = loom.capsule(pinned("reply", large, {"messages": "$.messages"}), output={"content": "done"})
    key = loom.consumer(consumer)
    eventually(lambda: loom.gateway.chat(key, "@acme/large").status_code == 200)
    assert loom.gateway.chat(key, FLOW).status_code == 200
    shown = loom.gateway.http.get("/v1/models/@acme/large").json()
    assert shown["memory_mb"] == LARGE
    found = loom.gateway.http.post("/v1/discover", json={"task": "text-generation"}).json()["results"]
    assert [row["memory_mb"] for row in found] == [LARGE]
    asked = len(node.asked)

    loom.world.serve(large, node.url, memory_mb=SMALL)
    eventually(lambda: loom.gateway.http.get("/v1/models/@acme/large").json()["ready"] is False)
    refusals = {
        "quote": loom.gateway.http.post("/v1/quote", json={"model": "@acme/large"}),
        "call": loom.gateway.chat(key, "@acme/large"),
        "quote of a workflow": loom.gateway.http.post("/v1/quote", json={"model": cid(flow)}),
        "run": loom.gateway.chat(key, FLOW),
    }
    for way, refused in refusals.items():
        assert refused.status_code == 503, f"{way}: {refused.text}"
        assert f"needs {LARGE} MB of memory and the node has {SMALL} MB" in refused.text, f"{way}: {refused.text}"
    answer = loom.gateway.http.post("/v1/discover", json={"task": "text-generation"}).json()
    assert answer["results"] == []
    assert "needs 512 MB" in answer["diagnostic"]["nearest"][0]["lacks"][0]
    assert len(node.asked) == asked


def test_discovery_finds_what_fits_in_so_much_memory(world: World, gateway: Running, node: Node) -> None:
    for name, memory in (("small", SMALL), ("large", LARGE)):
        world.a_model_at(node.url, f"@acme/{name}", execution={**EXECUTION, "min_memory_mb": memory})
    eventually(lambda: len(gateway.http.get("/v1/models").json()["data"]) == 3)
    for room, names in ((LARGE, ["@acme/large", "@acme/small"]), (LARGE - 1, ["@acme/small"]), (SMALL - 1, [])):
        wanted = {"task": "text-generation", "max_memory_mb": room}
        answer = gateway.http.post("/v1/discover", json=wanted).json()
        assert [row["name"] for row in answer["results"]] == names
    lacks = {row["name"]: row["lacks"] for row in answer["diagnostic"]["nearest"]}
    assert lacks["@acme/small"] == ["a need of 63 MB of memory at most (it has 64)"]
    assert lacks["@acme/chat"] == ["a need of 63 MB of memory at most that it states"]
