"""An update of a model on N nodes: chunks from peers against a full copy from the source.

    python -m bench.artifacts [--nodes 8] [--megabytes 16] [--megabits 100]

Every node is a real HTTP server with its own layout on disk, behind an uplink of 100 Mbit/s. Three updates of the
same weights are pulled: a new index beside them, one layer replaced (4 % of the weights), and every weight changed,
where no chunk can be shared and only the peers still help. The floor is what one does today: every node downloads
every file of the new version from the source.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web

from bench import report
from roles.node.artifacts.delivery import ArtifactRoutes
from roles.node.artifacts.download import pull
from roles.node.artifacts.layout import Layout
from roles.node.artifacts.manifest import Descriptor
from roles.node.protocols.errors import Handler

WAVE = 4
"""Nodes that pull at the same time; those before them are their peers."""


@dataclass
class Peer:
    """A node that gives what it has."""

    layout: Layout
    artifact_routes: ArtifactRoutes
    url: str
    runner: web.AppRunner


class Uplink:
    """A line that carries `rate` bytes a second, one answer after the other."""

    def __init__(self, rate: float) -> None:
        self._rate, self._free_at = rate, 0.0

    @web.middleware
    async def carry(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Lets the answer out when the line has had the time for it."""
        answer = await handler(request)
        assert isinstance(answer, web.Response)
        assert isinstance(answer.body, bytes)
        now = time.perf_counter()
        self._free_at = max(now, self._free_at) + len(answer.body) / self._rate
        await asyncio.sleep(self._free_at - now)
        return answer


async def start(root: Path, megabits: int) -> Peer:
    """A node with an empty layout, listening."""
    layout = Layout(root)
    artifact_routes = ArtifactRoutes(layout)
    app = web.Application(middlewares=[Uplink(megabits * 125_000).carry])
    app.add_routes(artifact_routes.routes())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return Peer(layout, artifact_routes, f"http://127.0.0.1:{runner.addresses[0][1]}", runner)


def versions(root: Path, megabytes: int) -> dict[str, Path]:
    """The first version and its three updates, as model folders."""
    made = random.Random(5)
    weights = made.randbytes(megabytes << 20)
    part = len(weights) // 25
    bodies = {
        "first": (weights, made.randbytes(1 << 20)),
        "a new index": (weights, made.randbytes(1 << 20)),
        "one layer": (weights[:part] + made.randbytes(part) + weights[2 * part :], b""),
        "all weights": (made.randbytes(len(weights)), b""),
    }
    for name, (model, index) in bodies.items():
        folder = root / name
        folder.mkdir()
        (folder / "model.onnx").write_bytes(model)
        (folder / "index.npy").write_bytes(index or bodies["first"][1])
    return {name: root / name for name in bodies}


async def update(source: Peer, nodes: list[Peer], packed: Descriptor) -> dict[str, float]:
    """Brings the artifact to all nodes in waves; seconds and megabytes."""
    before = source.artifact_routes.delivered_bytes
    began, travelled, ready = time.perf_counter(), 0, [source]
    for at in range(0, len(nodes), WAVE):
        wave = nodes[at : at + WAVE]
        peers = [peer.url for peer in ready]
        lists = [peers[place % len(peers) :] + peers[: place % len(peers)] for place in range(len(wave))]
        done = await asyncio.gather(
            *(pull(packed.digest, node.layout, urls[:4]) for node, urls in zip(wave, lists, strict=True))
        )
        travelled += sum(one.fetched_bytes for one in done)
        ready += wave
    return {
        "seconds": round(time.perf_counter() - began, 3),
        "megabytes": round(travelled / 2**20, 2),
        "megabytes_from_source": round((source.artifact_routes.delivered_bytes - before) / 2**20, 2),
    }


async def full_copy(source: Peer, nodes: list[Peer], packed: Descriptor) -> dict[str, float]:
    """Every node downloads every file from the source and checks it."""
    import hashlib

    manifest = json.loads(source.layout.path(packed.digest).read_bytes())
    began, travelled = time.perf_counter(), 0
    async with aiohttp.ClientSession() as http:
        for at in range(0, len(nodes), WAVE):

            async def one(node: Peer) -> int:
                size = 0
                for layer in manifest["layers"]:
                    async with http.get(f"{source.url}/artifacts/blobs/{layer['digest']}") as answer:
                        body = await answer.read()
                    assert f"sha256:{hashlib.sha256(body).hexdigest()}" == layer["digest"]
                    (node.layout.root / "copy").write_bytes(body)
                    size += len(body)
                return size

            sizes = await asyncio.gather(*(one(node) for node in nodes[at : at + WAVE]))
            travelled += sum(sizes)
    return {
        "seconds": round(time.perf_counter() - began, 3),
        "megabytes": round(travelled / 2**20, 2),
        "megabytes_from_source": round(travelled / 2**20, 2),
    }


async def measure(count: int, megabytes: int, megabits: int) -> dict[str, object]:
    """All updates, each on nodes that hold the first version."""
    rows: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as home:
        folders = versions(Path(home), megabytes)
        source = await start(Path(home) / "source", megabits)
        packed = {name: source.layout.pack(folder) for name, folder in folders.items()}
        nodes = [await start(Path(home) / f"node-{number}", megabits) for number in range(count)]
        first = await update(source, nodes, packed["first"])
        rows["first version"] = first | {"copy": await full_copy(source, nodes, packed["first"])}
        for name in list(packed)[1:]:
            chunked = await update(source, nodes, packed[name])
            copied = await full_copy(source, nodes, packed[name])
            rows[name] = chunked | {
                "copy": copied,
                "bytes_ratio": round(chunked["megabytes"] / copied["megabytes"], 4),
                "source_ratio": round(chunked["megabytes_from_source"] / copied["megabytes"], 4),
                "time_ratio": round(chunked["seconds"] / copied["seconds"], 3),
            }
        for peer in [source, *nodes]:
            await peer.runner.cleanup()
    return {"nodes": count, "uplink_megabits": megabits, "weights_megabytes": megabytes, "updates": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--megabytes", type=int, default=16)
    parser.add_argument("--megabits", type=int, default=100, help="of each node's uplink, in a second")
    given = parser.parse_args()
    found = asyncio.run(measure(given.nodes, given.megabytes, given.megabits))
    print(json.dumps(found, indent=1))
    report.save("artifacts", found)


if __name__ == "__main__":
    main()
