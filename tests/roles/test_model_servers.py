"""What is read of a model server: its models and what they take, and nothing that a stranger could harm with."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest

from ledger.core.catalog.protocols import Protocol
from ledger.core.values.errors import Rejected, TollwayError
from roles.client import model_server
from roles.client.model_server import Away, Locked, ModelServer, Served, choose
from tests.gateway.nodes import Asked, Wire, hanging
from tests.roles.model_servers import IRIS, chats, locked, paths, serving, tensors

CODES = "\x1b[31m[bold]red"


def served(*names: str) -> list[Served]:
    return [Served(name, Protocol.chat) for name in names]


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_an_openai_server_is_asked_for_its_list(suffix: str) -> None:
    with serving(paths(chats("llama3.2:latest", "Qwen/Qwen3-8B"))) as node:
        assert ModelServer.typed(node.url + suffix).listed() == served("llama3.2:latest", "Qwen/Qwen3-8B")


def test_an_oip_server_says_what_its_models_take() -> None:
    with serving(paths(tensors("iris"))) as node:
        (found,) = ModelServer.typed(node.url).listed()
        assert json.loads(node.asked[1].body) == {"ready": True}
    assert found == Served("iris", Protocol.tensors, IRIS["inputs"], IRIS["outputs"])  # type: ignore[arg-type]
    assert found.interface == {"protocol": Protocol.tensors, "inputs": IRIS["inputs"], "outputs": IRIS["outputs"]}


def test_kserves_own_list_is_read_too() -> None:
    known = tensors("iris") | {"/v2/repository/index": 404, "/v2/models": {"models": ["iris", "gone"]}}
    with serving(paths(known)) as node:
        assert [one.name for one in ModelServer.typed(node.url).listed()] == ["iris"]


def test_what_is_not_loaded_or_not_ready_is_left_out() -> None:
    index = [{"name": "iris", "state": "READY"}, {"name": "two", "state": "UNAVAILABLE"}, {"name": "three"}]
    known = tensors("iris", "two", "three") | {"/v2/repository/index": index, "/v2/models/three/ready": 503}
    with serving(paths(known)) as node:
        assert [one.name for one in ModelServer.typed(node.url).listed()] == ["iris"]


def test_a_model_of_an_oip_server_that_lists_none_is_found_by_its_name() -> None:
    known = {path: said for path, said in tensors("iris").items() if "repository" not in path}
    with serving(paths(known | {"/v2": {"name": "x"}})) as node:
        server = ModelServer.typed(f"{node.url}#iris")
        assert server.described("iris") == Served("iris", Protocol.tensors, IRIS["inputs"], IRIS["outputs"])  # type: ignore[arg-type]
        assert server.described("none") is None
        with pytest.raises(Rejected, match="#MODEL"):
            server.listed()


@pytest.mark.parametrize(
    ("wanted", "names", "chosen"),
    [
        ("@acme/chat", ["llama3.2"], "llama3.2"),
        ("@acme/chat", ["llama3.2", "chat"], "chat"),
        ("@acme/chat", ["chat", "@acme/chat"], "@acme/chat"),
        ("@acme/qwen-qwen3-8b", ["llama3.2", "Qwen/Qwen3-8B"], "Qwen/Qwen3-8B"),
    ],
)
def test_a_model_is_chosen_by_its_name_or_when_it_is_the_only_one(wanted: str, names: list[str], chosen: str) -> None:
    assert choose(ModelServer("http://x"), served(*names), wanted).name == chosen


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a b", "b"], "has 2 models, 'a b', 'b': say which one is @acme/chat with 'http://x#a b'"),
        (["C:1", "c-1"], "has 2 models"),
        ([f"m{n}" for n in range(9)], "'m4' and 4 more"),
        ([], "no model that is ready: load one"),
    ],
)
def test_none_or_several_are_said_with_what_helps(names: list[str], said: str) -> None:
    with pytest.raises(Rejected) as refused:
        choose(ModelServer("http://x"), served(*names), "@acme/chat")
    assert said in refused.value.message


@pytest.mark.parametrize(
    ("known", "error", "said"),
    [
        ({"/v1/models": 302}, Rejected, "give the URL where it ends"),
        ({"/v1/models": 401}, Locked, "TOLLWAY_UPSTREAM_KEY"),
        ({"/v1/models": 503}, Away, "busy or not ready"),
        (chats(), Rejected, "has no model: load one"),
        ({}, Rejected, "docs/servers.md"),
        ({"/v1/models": b"<html>"}, Rejected, "by neither"),
        ({"/v1/models": b"[" * 100_000}, Rejected, "by neither"),
        ({"/v1/models": b'{"data": ' + b"9" * 10_000 + b"}"}, Rejected, "by neither"),
        ({"/v1/models": {"data": {"id": 1}}}, Rejected, "by neither"),
        ({"/v1/models": b" " * (model_server.MAX_ANSWER_BYTES + 1)}, Rejected, "more than 4194304 bytes"),
        (chats(*map(str, range(model_server.MAX_MODELS + 1))), Rejected, "more than 1000 models"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_an_odd_answer_is_an_error_that_says_what_helps(
    known: dict[str, Any], error: type[TollwayError], said: str
) -> None:
    with serving(paths(known)) as node, pytest.raises(error) as refused:
        ModelServer.typed(node.url).listed()
    assert said in refused.value.message


def test_a_server_that_is_away_is_said_with_what_helps() -> None:
    with pytest.raises(Away, match="start it"):
        ModelServer.typed("http://127.0.0.1:9").listed()


async def dripping(asked: Asked, wire: Wire) -> None:
    """Sends a header, a byte at a time, for ever."""
    wire.writer.write(b"HTTP/1.1 200 OK\r\nx-")
    while not wire.writer.transport.is_closing():
        wire.writer.write(b"x")
        await wire.writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("slow", [hanging, dripping])
def test_a_slow_server_takes_so_much_time_and_no_more(slow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_server, "MAX_SECONDS", 1)
    with serving(slow) as node, pytest.raises(Away, match="within 1 seconds"):
        ModelServer.typed(node.url).listed()


def test_a_packed_answer_is_not_unpacked() -> None:
    bomb = gzip.compress(b" " * 10**6)

    async def packed(asked: Asked, wire: Wire) -> None:
        assert asked.headers["accept-encoding"] == "identity"
        await wire.answer(bomb, content_encoding="gzip")

    with serving(packed) as node, pytest.raises(Rejected, match="not asked for"):
        ModelServer.typed(node.url).listed()


def test_names_that_could_steer_a_terminal_or_fill_an_offer_are_left_out() -> None:
    odd = [CODES, "", " x", "x" * (model_server.MAX_NAME + 1), 7, None, ["x"], "a\nb"]
    with serving(paths(chats(*odd, "[/red]", "sound", "sound"))) as node:
        assert ModelServer.typed(node.url).listed() == served("[/red]", "sound")


@pytest.mark.parametrize(
    "inputs",
    [
        [{"name": "a", "datatype": "BF16", "shape": [1]}],
        [{"name": CODES, "datatype": "FP32", "shape": [1]}],
        [{"name": "x" * 129, "datatype": "FP32", "shape": [1]}],
        [{"name": "a", "datatype": "FP32", "shape": [1.5]}],
        [{"name": "a", "datatype": "FP32", "shape": [True]}],
        [{"name": "a", "datatype": "FP32", "shape": [-2]}],
        [{"name": "a", "datatype": "FP32", "shape": [1] * 9}],
        [{"name": "a", "datatype": ["FP32"], "shape": [1]}],
        [{"name": "a", "datatype": "FP32", "shape": [1]}] * 65,
        [7],
    ],
    ids=repr,
)
def test_a_model_that_no_document_can_describe_keeps_nobody_from_the_others(inputs: list[Any]) -> None:
    known = tensors("iris", "odd") | {"/v2/models/odd": {**IRIS, "inputs": inputs}}
    with serving(paths(known)) as node:
        server = ModelServer.typed(node.url)
        sound, odd = server.listed()
        assert (sound.why, bool(odd.why)) == ("", True)
        assert not set(odd.why) & set(CODES[:1])
        with pytest.raises(Rejected, match="cannot be sold"):
            choose(server, [sound, odd], "@acme/odd")


@pytest.mark.parametrize("url", ["http://u:p@x", "http://x?k=1", "ftp://x", "x", f"http://x#{CODES}", "http://x# "])
def test_a_url_carries_no_secret_and_no_query(url: str) -> None:
    with pytest.raises(Rejected):
        ModelServer.typed(url)


def test_a_key_is_shown_to_nobody_who_does_not_ask_for_it() -> None:
    with serving(locked("secret", chats("m"))) as node:
        assert ModelServer.typed(node.url, "secret").listed() == served("m")
        assert "secret" not in repr(ModelServer.typed(node.url, "secret"))


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ([{"name": "flower", "datatype": "FP64", "shape": [1, 4]}], ""),
        ([{"name": "flower", "datatype": "BYTES", "shape": [1]}], "is FP64"),
        ([{"name": "petal", "datatype": "FP64", "shape": [1]}], "is not there"),
    ],
)
def test_a_model_fits_its_document_or_it_is_said_why_not(declared: list[Any], said: str) -> None:
    iris = Served("iris", Protocol.tensors, IRIS["inputs"], IRIS["outputs"])  # type: ignore[arg-type]
    assert said in model_server.misfit(iris, {"inputs": declared}) or not said
    assert bool(model_server.misfit(iris, {"inputs": declared})) == bool(said)
    assert model_server.misfit(Served("iris", Protocol.tensors), {"inputs": declared}) == ""
