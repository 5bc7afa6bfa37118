"""A model quantised to 8 bits, on real nodes: as good as its parent, and served where that does not fit."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.demo.train.corpus import LABELS, emotions
from ledger.core.values.documents import Document
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Digest
from roles.node.artifacts.manifest import artifact, check_artifact
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import Running, World, a_model, a_signer
from tests.roles.node.conftest import MODELS, RunningNode

PARENT, CHILD = MODELS / "emotion", MODELS / "emotion-int8"
CENTER, HOME = a_signer("a center of quantised models"), a_signer("a home of quantised models")
HOME_MB = 1
"""What the home's node has: room for the child alone."""


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[RunningNode, RunningNode]]:
    """A center with both models, and a home with the child."""
    center = RunningNode("--model", f"{PARENT}=@acme/emotion", "--model", f"{CHILD}=@acme/emotion-int8")
    home = RunningNode("--model", f"{CHILD}=@acme/emotion-int8")
    yield center, home
    assert (center.stop(), home.stop()) == (0, 0)


def inputs(*texts: str) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)}]}


def labels(node: RunningNode, model: str, texts: list[str]) -> list[str]:
    """What a node's model says of each text."""
    answer = httpx.post(f"{node.url}/v2/models/{model}/infer", json=inputs(*texts), timeout=60)
    return list(answer.json()["outputs"][0]["data"])


def test_it_is_a_quarter_of_its_parent_and_as_good(nodes: tuple[RunningNode, RunningNode]) -> None:
    assert artifact(CHILD)["size"] < 0.3 * artifact(PARENT)["size"]
    rows = emotions("support").test
    texts, wanted = [text for text, _ in rows], [LABELS[label] for _, label in rows]
    right = {}
    for model in ("emotion", "emotion-int8"):
        said = labels(nodes[0], f"@acme/{model}", texts)
        right[model] = sum(word == label for word, label in zip(said, wanted, strict=True))
    assert right["emotion"] > 0.95 * len(rows)
    assert abs(right["emotion-int8"] - right["emotion"]) <= len(rows) // 100


def a_document(folder: Path) -> Document:
    """The document of a folder's weights, and nothing said of memory."""
    return a_model(f"@acme/{folder.name}", protocol="oip/2", kind="weights", artifact=artifact(folder))


def published(world: World, folder: Path) -> Digest:
    return world.publish(a_document(folder))


def test_a_home_is_offered_the_child_and_not_the_parent(world: World, nodes: tuple[RunningNode, RunningNode]) -> None:
    parent, child = published(world, PARENT), published(world, CHILD)
    gateway = world.gateway()
    for subject in (parent, child):
        world.serve(subject, nodes[0].url, {"call": "100"}, CENTER)
    world.serve(child, nodes[1].url, {"call": "1000"}, HOME)
    eventually(lambda: len(gateway.http.get("/v1/models").json()["data"]) == 2)

    offer: dict[str, Any] = {"provider": HOME, "tier": "edge", "memory_mb": HOME_MB}
    refused = gateway.http.post("/v1/offers", json=world.offer(parent, nodes[1].url, **offer))
    assert refused.status_code == 400
    assert "@acme/emotion needs 2 MB of memory and the node has 1 MB" in refused.json()["error"]["message"]
    taken = gateway.http.post("/v1/offers", json=world.offer(child, nodes[1].url, **offer))
    assert taken.status_code == 201, taken.text
    found = gateway.http.post("/v1/discover", json={"task": "text-classification", "max_memory_mb": HOME_MB}).json()
    assert [row["name"] for row in found["results"]] == ["@acme/emotion-int8"]
    assert found["results"][0]["size_bytes"] == sum(file.stat().st_size for file in CHILD.iterdir())

    consumer = a_signer("a consumer of quantised models")
    world.deposit(consumer.address, 10**9)
    key = gateway.key(consumer)
    for tier in ("edge", "center"):  # both are measured
        eventually(lambda tier=tier: call(gateway, key, "thank you, i love it", Tollway_Tiers=tier)[0] == 200)  # type: ignore[misc]
    eventually(lambda: is_measured_near(gateway, key))
    long, near = "thank you, i love it " * 300, "nearest;from=1000"
    assert call(gateway, key, long) == (200, "joy", CENTER.address), "it is cheaper"
    assert call(gateway, key, "thank you, i love it", Tollway_Near=near) == (200, "joy", CENTER.address)
    assert call(gateway, key, long, Tollway_Near=near) == (200, "joy", HOME.address)


def call(gateway: Running, key: str, text: str, **headers: str) -> tuple[int, str, bytes]:
    """One call of the child: the status, the label, and the provider whose answers counted before and not after."""
    before = calls(gateway)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    url = "/v2/models/@acme/emotion-int8/infer"
    answer = gateway.http.post(url, json=inputs(text), headers={"Authorization": f"Bearer {key}", **named})
    if answer.status_code != 200:
        return answer.status_code, answer.text, b""
    [served] = [provider for provider, count in calls(gateway).items() if count > before[provider]]
    return 200, str(answer.json()["outputs"][0]["data"][0]), served


def calls(gateway: Running) -> dict[bytes, int]:
    """The calls that each of the child's providers has served."""
    return {bytes.fromhex(row["provider"][2:]): row["calls"] for row in providers(gateway)}


def providers(gateway: Running) -> list[dict[str, Any]]:
    shown = gateway.http.get("/v1/models/@acme/emotion-int8").json()
    return list(shown["providers"])


def is_measured_near(gateway: Running, key: str) -> bool:
    """Whether both are measured in the lowest class: on a busy machine that takes some calls."""
    if all(0 < row["round_trip_ms"] <= 10 for row in providers(gateway)):
        return True
    for tier in ("edge", "center"):
        call(gateway, key, "hello", Tollway_Tiers=tier)
    return False


@pytest.mark.parametrize("spoil", ["a byte", "a file"])
def test_a_node_serves_what_was_registered_and_nothing_else(tmp_path: Path, spoil: str) -> None:
    document, folder = a_document(CHILD), tmp_path / "copy"
    shutil.copytree(CHILD, folder)
    check_artifact(document, folder)
    if spoil == "a byte":
        graph = bytearray((folder / "model.onnx").read_bytes())
        graph[len(graph) // 2] ^= 1
        (folder / "model.onnx").write_bytes(graph)
    else:
        (folder / "notes.txt").write_text("mine")
    with pytest.raises(Rejected, match=r"is not what @acme/emotion-int8 was registered with: .*tollway maker"):
        check_artifact(document, folder)


def test_a_makers_lie_about_the_size_is_found_where_the_bytes_are() -> None:
    document = a_document(PARENT)
    document["artifact"]["size"] = 1
    with pytest.raises(Rejected, match=r"says 1 bytes, its files have 1,058,025"):
        check_artifact(document, PARENT)


def test_a_server_behind_a_url_has_no_files_to_compare() -> None:
    check_artifact(a_model("@acme/chat"), MODELS / "nothing here")
