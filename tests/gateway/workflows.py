"""Workflows to test with: nodes with chosen answers, and capsules over them."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wasmtime import wat2wasm

from ledger.core.values.documents import Json
from ledger.core.values.ids import Digest, cid, did
from ledger.core.values.typed_data import Signer
from tests.gateway.nodes import Asked, Node, Wire, chat, streaming
from tests.gateway.world import WEAVER, Running, World

WEAVE = bytes(wat2wasm((Path(__file__).parents[2] / "deploy/demo/capsules/weave.wat").read_text()))
LAST = "$.messages[-1].content"


def inferring(*labels: str, delay: float = 0.0, confidence: float = 0.9) -> Any:
    """An OIP node that answers with these labels in turn."""
    turn = iter(range(10**9))

    async def behave(asked: Asked, wire: Wire) -> None:
        await asyncio.sleep(delay)
        rows = [
            {"name": "label", "datatype": "BYTES", "shape": [1], "data": [labels[next(turn) % len(labels)]]},
            {"name": "confidence", "datatype": "FP32", "shape": [1], "data": [confidence]},
        ]
        await wire.answer({"model_name": "m", "outputs": rows})

    return behave


def meeting(asked: list[str], together: int, label: str) -> Any:
    """An OIP node that answers once `together` nodes have been asked, so they must be asked in parallel."""

    async def behave(one: Asked, wire: Wire) -> None:
        asked.append(label)
        while len(asked) < together:
            await asyncio.sleep(0.005)
        await inferring(label)(one, wire)

    return behave


def echoing(prefix: str = "", delay: float = 0.0) -> Any:
    """A chat node that says the last message back."""

    async def behave(asked: Asked, wire: Wire) -> None:
        await asyncio.sleep(delay)
        await wire.answer(chat(prefix + asked.json["messages"][-1]["content"]))

    return behave


@dataclass
class Loom:
    """A world with a weaver that has a bond, and a gateway over it."""

    world: World
    gateway: Running
    nodes: list[Node] = field(default_factory=list)
    woven: int = 0

    def node(self, behaviour: Any) -> Node:
        """A node of one's own."""
        made = Node(behaviour).start()
        self.nodes.append(made)
        return made

    def classifier(self, name: str, behaviour: Any, ask: str = "100", **more: Any) -> Digest:
        """A classifier, published and served."""
        node = self.node(behaviour)
        return self.world.a_model_at(node.url, f"@acme/{name}", {"call": ask}, protocol="oip/2", **more)

    def talker(self, name: str, behaviour: Any = None, ask: dict[str, str] | None = None, **more: Any) -> Digest:
        """A chat model, published and served."""
        node = self.node(behaviour or streaming())
        return self.world.a_model_at(node.url, f"@acme/{name}", ask, **more)

    def capsule(self, *nodes: dict[str, Any], output: Json, name: str = "@wanda/flow", **more: Any) -> Digest:
        """Publish a capsule, each a version of its own; its id. The gateway knows it when this returns."""
        self.woven += 1
        document = {
            "schema": "tollway/capsule/1",
            "name": name,
            "version": f"1.0.{self.woven}",
            "weaver": did(0, WEAVER.address),
            "steps": list(nodes),
            "output": output,
            "distribution": {"weaver": {"ratio_ppm": 100_000, "ask": {}}},
            **more,
        }
        made = self.world.publish(document)
        self.known(cid(made))
        return made

    def glue(self, fuel: int = 1_000_000) -> dict[str, Any]:
        """The example's glue, published, as a capsule names it."""
        wasm = {"content-type": "application/wasm"}
        response = self.gateway.of(WEAVER).post("/v1/documents", content=WEAVE, headers=wasm)
        assert response.status_code == 201, response.text
        digest = "sha256:" + hashlib.sha256(WEAVE).hexdigest()
        assert response.json()["digest"] == digest
        return {"glue": {"weave": {"digest": digest, "size": len(WEAVE), "fuel": fuel}}}

    def known(self, name: str) -> None:
        """Wait until the gateway has read it."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            shown = self.gateway.http.get(f"/v1/models/{name}").json()
            if shown.get("ready") or "terms" in shown:  # a workflow that nobody serves now has its terms
                return
            time.sleep(0.05)
        raise AssertionError(self.gateway.http.get(f"/v1/models/{name}").text)

    def bond(self, amount: int = 10**9, weaver: Signer = WEAVER) -> None:
        """The weaver's own deposit, behind a voucher of its own."""
        self.world.deposit(weaver.address, amount)
        self.gateway.key(weaver)

    def consumer(self, consumer: Signer, amount: int = 10**9) -> str:
        """A consumer with money; its key."""
        self.world.deposit(consumer.address, amount)
        return self.gateway.key(consumer)

    def stop(self) -> None:
        """Stop the nodes."""
        for node in self.nodes:
            node.stop()


def pinned(name: str, model: Digest, given: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A step that runs one model."""
    return {"id": name, "uses": {"model": cid(model)}, "input": given, **more}


def glued(name: str, export: str, given: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A step that runs the example's glue."""
    return {"id": name, "uses": {"glue": "weave", "export": export}, "input": given, **more}
