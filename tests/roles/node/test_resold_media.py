"""A node that sells a server of images and sound: passed on with its key, and counted."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import ClientSession, FormData, web
from aiohttp.test_utils import TestClient, TestServer

from roles.node.models.loader import LoadedModels
from roles.node.models.resale import Resold, Upstream
from roles.node.server import application
from roles.node.state import Limits, State
from tests.gateway.media_server import KEY, MS_A_CHARACTER, MediaServer, a_wav
from tests.gateway.nodes import Asked, Node, Wire, answering

IMAGES, SPEECH, TRANSCRIPTIONS = "/v1/images/generations", "/v1/audio/speech", "/v1/audio/transcriptions"
SPOKEN = {"model": "mine", "input": "Grüße", "voice": "alloy", "response_format": "wav"}


@pytest.fixture(scope="module")
def server() -> Iterator[MediaServer]:
    made = MediaServer()
    yield made
    made.stop()


@asynccontextmanager
async def selling(
    url: str, name: str, key: str | None = KEY, limits: Limits | None = None
) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    """A node that sells one model of a server as `mine`."""
    async with ClientSession() as http:
        models = LoadedModels([("mine", Resold(Upstream(url, name, key), http))])
        async with TestClient(TestServer(application(State(models, limits=limits or Limits())))) as client:
            yield client


def a_form(file: bytes, **fields: str) -> FormData:
    form = FormData({"model": "mine", **fields})
    form.add_field("file", file, filename="../x.exe", content_type="text/html")
    return form


def units(answer: aiohttp.ClientResponse) -> dict[str, int]:
    """What the node counted, without bytes."""
    return {name: count for name, count in json.loads(answer.headers["Tollway-Usage"]).items() if name != "byte"}


async def test_images_are_counted(server: MediaServer) -> None:
    async with selling(server.url, "paint") as client:
        answer = await client.post(IMAGES, json={"model": "mine", "prompt": "A lighthouse", "n": 2})
        assert (answer.status, len((await answer.json())["data"])) == (200, 2)
        assert {**units(answer), "ms": 0} == {
            "call": 1, "output_image": 2, "input_character": 12, "input_token": 7, "ms": 0
        }  # fmt: skip
    assert server.sent[-1].headers["authorization"] == f"Bearer {KEY}"


async def test_speech_keeps_its_media_type(server: MediaServer) -> None:
    async with selling(server.url, "voice") as client:
        answer = await client.post(SPEECH, json=SPOKEN)
        assert (answer.status, answer.content_type, (await answer.read())[:4]) == (200, "audio/wav", b"RIFF")
        assert units(answer)["input_character"] == len("Grüße")


@pytest.mark.parametrize("fields", [{}, {"response_format": "verbose_json"}, {"response_format": "text"}])
async def test_a_recording_is_passed_on_under_names_of_ours_and_its_ms_are_counted(
    server: MediaServer, fields: dict[str, str]
) -> None:
    async with selling(server.url, "ear") as client:
        answer = await client.post(TRANSCRIPTIONS, data=a_form(a_wav(2_000), **fields))
        assert answer.status == 200, await answer.text()
        assert "2000 ms of recording.wav, audio/wav" in await answer.text()
        assert units(answer)["ms"] == 2_000
    assert server.sent[-1].fields == {"model": "ear", **fields}


async def test_a_request_with_a_recording_is_longer_than_others_and_has_a_bound(server: MediaServer) -> None:
    limits = Limits(body_bytes=1_000, recording_bytes=200_000)
    async with selling(server.url, "ear", limits=limits) as client:
        assert (await client.post(TRANSCRIPTIONS, data=a_form(a_wav(2_000)))).status == 200
        assert (await client.post(TRANSCRIPTIONS, data=a_form(a_wav(20_000)))).status == 413
        assert (await client.post(SPEECH, json=SPOKEN | {"input": "x" * 1_000})).status == 413


async def test_what_cannot_be_passed_on_is_refused(server: MediaServer) -> None:
    asked = len(server.sent)
    async with selling(server.url, "ear") as client:
        answer = await client.post(TRANSCRIPTIONS, data=a_form(b"<html>"))
        assert (answer.status, (await answer.json())["error"]["param"]) == (400, "file")
        assert (await client.post(TRANSCRIPTIONS, json={"model": "mine"})).status == 400
    assert len(server.sent) == asked


async def test_a_key_that_the_server_does_not_take_is_the_nodes_fault(server: MediaServer) -> None:
    async with selling(server.url, "voice", key="sk-wrong") as client:
        answer = await client.post(SPEECH, json=SPOKEN)
        assert (answer.status, (await answer.json())["error"]["code"]) == (502, "upstream_failed")


async def test_speech_comes_as_it_is_made_and_what_breaks_off_looks_cut(
    server: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = threading.Event()
    monkeypatch.setattr(server, "seen", seen)
    async with selling(server.url, "voice") as client:
        answer = await client.post(SPEECH, json=SPOKEN | {"stream_format": "audio"})
        assert (answer.status, answer.content_type) == (200, "audio/wav")
        first = await answer.content.readany()
        seen.set()  # what comes after the first piece is made only now
        assert first + await answer.read() == a_wav(MS_A_CHARACTER * len("Grüße"))

    async def cut(asked: Asked, wire: Wire) -> None:
        wire.writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 9000\r\n\r\n" + b"RIFF" * 1_000)
        await wire.writer.drain()
        wire.die()

    node = Node(cut).start()
    try:
        async with selling(node.url, "voice") as client:
            with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError)):
                await (await client.post(SPEECH, json=SPOKEN | {"stream_format": "audio"})).read()
            node.behaviour = answering(b"")
            empty = await client.post(SPEECH, json=SPOKEN | {"stream_format": "audio"})
            assert (empty.status, (await empty.json())["error"]["code"]) == (502, "upstream_failed")
    finally:
        node.stop()
