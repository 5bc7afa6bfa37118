"""Artifacts: cut by content, named by digest, pulled from peers that may be slow, gone or lying."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.core.values.errors import Rejected, Unavailable
from roles.node.artifacts.chunking import MAX_BYTES, MIN_BYTES, chunks, cuts
from roles.node.artifacts.delivery import ArtifactRoutes
from roles.node.artifacts.download import pull
from roles.node.artifacts.layout import Layout
from roles.node.artifacts.manifest import ARTIFACT, FILEPATH, artifact, check_artifact
from tests.roles.node.conftest import MODELS


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that do not repeat."""
    return random.Random(seed).randbytes(size)


def a_model(folder: Path, weights: bytes, card: str = "{}") -> Path:
    """A model folder with these weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(weights)
    (folder / "model.json").write_text(card)
    return folder


@asynccontextmanager
async def giving(
    layout: Layout, *, spoil: bool = False, only: int | None = None
) -> AsyncIterator[tuple[str, ArtifactRoutes]]:
    """A peer. A spoiling one flips a bit in every chunk; one with `only` falls silent after that many chunks."""
    artifact_routes = ArtifactRoutes(layout)
    given = 0

    async def chunk(request: web.Request) -> web.Response:
        nonlocal given
        given += 1
        if only is not None and given > only:
            raise web.HTTPServiceUnavailable
        answer = await artifact_routes.chunk(request)
        assert isinstance(answer.body, bytes)
        return web.Response(body=bytes([answer.body[0] ^ 1]) + answer.body[1:]) if spoil else answer

    app = web.Application()
    app.add_routes(
        [web.get("/artifacts/blobs/{digest}", artifact_routes.blob), web.get("/artifacts/chunks/{digest}", chunk)]
    )
    async with TestServer(app) as server:
        yield str(server.make_url("")), artifact_routes


@given(st.integers(0, 2**32), st.integers(0, 900_000))
@settings(max_examples=30, deadline=None)
def test_chunks_cover_the_file_within_their_bounds(seed: int, size: int) -> None:
    data = np.frombuffer(noise(size, seed), dtype=np.uint8)
    ends = list(cuts(data))
    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    assert sum(sizes) == size
    assert all(MIN_BYTES <= one <= MAX_BYTES for one in sizes[:-1])
    assert all(0 < one <= MAX_BYTES for one in sizes[-1:])


def test_cuts_do_not_depend_on_where_the_blocks_of_the_computation_lie() -> None:
    data = np.frombuffer(noise(9 << 20), dtype=np.uint8)
    whole = set(cuts(data))
    shift = 5_000_000
    moved = {end + shift for end in cuts(data[shift:])}
    late = {end for end in whole if end > shift + 2 * MAX_BYTES}
    assert late <= moved


def test_constant_data_is_cut_at_the_maximum() -> None:
    assert list(cuts(np.zeros(MAX_BYTES * 2 + 5, np.uint8))) == [MAX_BYTES, 2 * MAX_BYTES, 2 * MAX_BYTES + 5]


def test_an_insertion_changes_the_chunks_around_it_only(tmp_path: Path) -> None:
    before = noise(4 << 20)
    (tmp_path / "a").write_bytes(before)
    (tmp_path / "b").write_bytes(before[:1_000_000] + b"inserted" + before[1_000_000:])
    old = {chunk.digest for chunk in chunks(tmp_path / "a")}
    new = [chunk for chunk in chunks(tmp_path / "b") if chunk.digest not in old]
    assert sum(chunk.size for chunk in new) < 3 * MAX_BYTES


def test_the_same_folder_is_the_same_digest_and_opens_as_modelpack(tmp_path: Path) -> None:
    first = Layout(tmp_path / "one").pack(MODELS / "kb")
    layout = Layout(tmp_path / "two")
    assert layout.pack(MODELS / "kb") == first
    manifest = json.loads(layout.path(first.digest).read_bytes())
    assert manifest["artifactType"] == ARTIFACT
    paths = [layer["annotations"][FILEPATH] for layer in manifest["layers"][:-1]]
    assert paths == ["index.npy", "model.json", "model.onnx", "passages.json"]
    for layer in [manifest["config"], *manifest["layers"]]:
        body = layout.path(layer["digest"]).read_bytes()
        assert (f"sha256:{hashlib.sha256(body).hexdigest()}", len(body)) == (layer["digest"], layer["size"])
    layout.unpack(first.digest, tmp_path / "out")
    assert (tmp_path / "out" / "model.onnx").read_bytes() == (MODELS / "kb" / "model.onnx").read_bytes()


async def test_what_a_document_names_is_pulled_by_that_digest_and_is_served(tmp_path: Path) -> None:
    folder = a_model(tmp_path / "mine", noise(300_000))
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "key").write_text("not for others")
    (tmp_path / "alone.onnx").write_bytes(noise(40_000))
    source = Layout(tmp_path / "source")
    for path in (folder, tmp_path / "alone.onnx"):
        named = artifact(path)
        source.pack(path)
        target, out = Layout(tmp_path / "target"), tmp_path / f"out-{path.name}"
        async with giving(source) as (peer, _):
            await pull(named["digest"], target, [peer])
        target.unpack(named["digest"], out)
        check_artifact({"name": "@acme/mine", "artifact": named}, out)
        assert not (out / ".hidden").exists()


async def test_a_pull_from_two_peers_brings_the_artifact_whole(tmp_path: Path) -> None:
    source = Layout(tmp_path / "source")
    packed = source.pack(a_model(tmp_path / "m", noise(3 << 20)))
    target = Layout(tmp_path / "target")
    async with giving(source) as (one, artifact_routes), giving(source) as (two, _):
        pulled = await pull(packed.digest, target, [one, two])
        assert set(pulled.fetched) == {one, two}
        assert artifact_routes.delivered_bytes == pulled.fetched[one]
    target.unpack(packed.digest, tmp_path / "out")
    assert (tmp_path / "out" / "model.onnx").read_bytes() == noise(3 << 20)
    assert not any(target.partial.iterdir())


async def test_an_update_fetches_only_what_changed(tmp_path: Path) -> None:
    weights = noise(6 << 20)
    source, target = Layout(tmp_path / "source"), Layout(tmp_path / "target")
    old = source.pack(a_model(tmp_path / "m1", weights))
    new = source.pack(a_model(tmp_path / "m2", weights[:2_000_000] + b"a better layer" + weights[2_000_050:]))
    async with giving(source) as (peer, _):
        await pull(old.digest, target, [peer])
        update = await pull(new.digest, target, [peer])
    assert update.fetched_bytes < 3 * MAX_BYTES + 20_000
    assert update.reused_bytes > (6 << 20) - 3 * MAX_BYTES


async def test_a_broken_pull_goes_on_where_it_stopped(tmp_path: Path) -> None:
    source, target = Layout(tmp_path / "source"), Layout(tmp_path / "target")
    packed = source.pack(a_model(tmp_path / "m", noise(4 << 20)))
    async with giving(source, only=20) as (peer, _):
        with pytest.raises(Unavailable, match="chunks are missing"):
            await pull(packed.digest, target, [peer])
    async with giving(source) as (peer, _):
        again = await pull(packed.digest, target, [peer])
    assert again.reused_bytes >= 20 * MIN_BYTES
    assert again.fetched_bytes + again.reused_bytes < (4 << 20) + 40_000


async def test_a_lying_peer_is_dropped_and_an_honest_one_completes(tmp_path: Path) -> None:
    source, target = Layout(tmp_path / "source"), Layout(tmp_path / "target")
    packed = source.pack(a_model(tmp_path / "m", noise(3 << 20)))
    async with giving(source, spoil=True) as (liar, _), giving(source) as (honest, _):
        pulled = await pull(packed.digest, target, [liar, honest])
    assert pulled.liars == {liar}
    target.unpack(packed.digest, tmp_path / "out")
    assert (tmp_path / "out" / "model.onnx").read_bytes() == noise(3 << 20)


async def test_a_manifest_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    source = Layout(tmp_path / "source")
    packed = source.pack(a_model(tmp_path / "m", noise(40_000)))
    manifest = json.loads(source.path(packed.digest).read_bytes())
    manifest["layers"][0]["annotations"][FILEPATH] = "../../etc/passwd"
    forged = source.add(json.dumps(manifest).encode(), packed.media_type)
    async with giving(source) as (peer, _):
        with pytest.raises(Rejected, match="leads out"):
            await pull(forged.digest, Layout(tmp_path / "target"), [peer])


async def test_nobody_has_it_is_said_so(tmp_path: Path) -> None:
    async with giving(Layout(tmp_path / "empty")) as (peer, _):
        with pytest.raises(Unavailable, match="no peer has"):
            await pull("sha256:" + "0" * 64, Layout(tmp_path / "target"), [peer])


async def test_what_was_pulled_is_given_on(tmp_path: Path) -> None:
    source, middle, last = (Layout(tmp_path / name) for name in ("source", "middle", "last"))
    packed = source.pack(a_model(tmp_path / "m", noise(1 << 20)))
    async with giving(middle) as (second, _):
        async with giving(source) as (first, _):
            await pull(packed.digest, middle, [first])
        pulled = await pull(packed.digest, last, [second])
    assert set(pulled.fetched) == {second}
