"""The nearest come first for who asks for that: the same in discovery, quotes, calls and workflows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from gateway.call.health import Health
from gateway.catalog.catalog import CapsuleEntry, ModelEntry
from ledger.core.values.typed_data import Signer
from tests.gateway.conftest import Refused, Run
from tests.gateway.nodes import answering, chat
from tests.gateway.test_who_pays import eventually
from tests.gateway.workflows import Loom, inferring, pinned
from tests.gateway.world import Running, a_model, a_signer

FAR, NEAR = a_signer("a center, far and cheap"), a_signer("an edge, near and dear")
SHORT, LONG = "hi", "word " * 2_000
FROM = 1_000
"""Input tokens from which the nearest come first here."""
FLOW = "@wanda/flow"


@dataclass
class TwoPlaces:
    """A model of two providers, one far and cheap, one near and dear, and a workflow over it."""

    loom: Loom
    key: str
    near: Health
    far: Health

    def served(self, name: str, text: str, **headers: Any) -> str:
        """Who answered a call."""
        answer = self.loom.gateway.chat(self.key, name, text=text, **headers)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["choices"][0]["message"]["content"])

    def quoted(self, name: str, **wanted: Any) -> int:
        """The price of a quote."""
        answer = self.loom.gateway.http.post("/v1/quote", json={"model": name, **wanted})
        assert answer.status_code == 200, answer.text
        return int(answer.json()["price"])

    def discovered(self, **wanted: Any) -> str:
        """The tier of the provider that discovery finds."""
        answer = self.loom.gateway.http.post("/v1/discover", json={"task": "text-generation", **wanted})
        return str(answer.json()["results"][0]["tier"])


@pytest.fixture
def two(loom: Loom, consumer: Signer) -> TwoPlaces:
    far, near = loom.node(answering(chat("far"))), loom.node(answering(chat("near")))
    subject = loom.world.publish(a_model())
    loom.world.serve(subject, far.url, {"call": "100"}, FAR)
    loom.world.serve(subject, near.url, {"call": "1000"}, NEAR, tier="edge")
    step = pinned("reply", subject, {"messages": "$.messages"})
    loom.capsule(step, output={"content": "$steps.reply.output.content"})

    def is_served() -> bool:
        entry = loom.gateway.gateway.catalog.by_id.get(subject)
        flow = loom.gateway.gateway.catalog.by_name.get(FLOW)
        served = isinstance(entry, ModelEntry) and len(entry.candidates) == 2
        return served and isinstance(flow, CapsuleEntry) and flow.tariff is not None

    eventually(is_served)
    health = loom.gateway.gateway.loader.health
    made = TwoPlaces(loom, loom.consumer(consumer), health(NEAR.address, subject), health(FAR.address, subject))
    made.near.connect_ms, made.far.connect_ms = 5, 25
    return made


@pytest.mark.parametrize("name", ["@acme/chat", FLOW])
def test_a_long_input_goes_to_the_nearest_for_who_asks_for_that(two: TwoPlaces, name: str) -> None:
    assert two.served(name, LONG) == "far", "it is cheaper"
    asked = f"nearest;from={FROM}"
    assert two.served(name, SHORT, header_tollway_near=asked) == "far"
    assert two.served(name, LONG, header_tollway_near=asked) == "near"
    assert two.served(name, SHORT, header_tollway_near="nearest") == "near"

    two.near.probe_failed(1)
    assert two.served(name, LONG, header_tollway_near=asked) == "far", "a preference refuses nobody"


@pytest.fixture
def gateway(two: TwoPlaces) -> Running:
    """The gateway that commands are run at."""
    return two.loom.gateway


def test_a_command_asks_for_the_nearest(
    two: TwoPlaces, run: Run, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLLWAY_API_KEY", two.key)
    assert run("consumer call @acme/chat hi")["answer"] == "far"
    assert run("consumer call @acme/chat hi --near nearest")["answer"] == "near"
    assert run("consumer call @acme/chat hi --near 'nearest;from=1000'")["answer"] == "far"
    two.far.connect_ms = 25  # a call has measured it meanwhile
    assert run("consumer call @acme/chat hi --near 10")["answer"] == "near"
    two.loom.classifier("label", inferring("cross"))
    two.loom.known("@acme/label")
    assert run("consumer infer @acme/label text=hi --near nearest")["label"] == ["cross"]
    for command in ("call @acme/chat", "infer @acme/label"):
        said = refused(f"consumer {command} text=hi --near here")["error"]
        assert "Tollway-Near is a round trip in ms, such as 30; or `nearest`" in said


@pytest.mark.parametrize("name", ["@acme/chat", FLOW])
def test_a_quote_and_discovery_say_what_such_a_call_gets(two: TwoPlaces, name: str) -> None:
    long, short = ({"call": 1, "input_token": tokens} for tokens in (FROM, FROM - 1))
    cheap, dear = two.quoted(name, meters=long), two.quoted(name, meters=long, nearest_from=FROM)
    assert dear > 5 * cheap
    assert two.quoted(name, meters=short, nearest_from=FROM) == cheap
    assert two.discovered(meters=long) == two.discovered(meters=short, nearest_from=FROM) == "center"
    assert two.discovered(meters=long, nearest_from=FROM) == "edge"


@pytest.mark.parametrize("name", ["@acme/chat", FLOW])
@pytest.mark.parametrize(
    ("edge_ms", "center_ms", "nearest"),
    [(10, 11, "near"), (31, 30, "far"), (30, 25, "near"), (81, 80, "far"), (300, 200, "near")],
)
def test_nearness_is_measured_and_only_in_one_class_declared(
    two: TwoPlaces, name: str, edge_ms: int, center_ms: int, nearest: str
) -> None:
    two.near.connect_ms, two.far.connect_ms = edge_ms, center_ms
    assert two.discovered(nearest_from=0) == {"near": "edge", "far": "center"}[nearest]
    assert two.served(name, LONG, header_tollway_near="nearest") == nearest


def test_the_nearest_has_to_fit_the_consumers_limits_too(two: TwoPlaces) -> None:
    asked = {"header_tollway_near": "nearest", "header_tollway_max_price": "200"}
    assert two.served("@acme/chat", LONG, **asked) == "far"
    assert two.served("@acme/chat", LONG, header_tollway_near="nearest", header_tollway_tiers="center") == "far"


@pytest.mark.parametrize("said", ["near", "nearest;from=", "nearest;from=-1", f"nearest;from={'9' * 40}", "1e3", ""])
def test_a_nearness_that_means_nothing_is_refused(two: TwoPlaces, said: str) -> None:
    refused = two.loom.gateway.chat(two.key, header_tollway_near=said)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "Tollway-Near"), refused.text
    assert "nearest;from=2000" in refused.json()["error"]["message"]


@pytest.mark.parametrize("wanted", [-1, "1", True, 1.5])
def test_a_length_that_is_none_is_refused(gateway: Running, wanted: Any) -> None:
    ask: Callable[..., httpx.Response] = gateway.http.post
    assert ask("/v1/quote", json={"model": "@acme/chat", "nearest_from": wanted}).status_code == 400
    assert ask("/v1/discover", json={"task": "text-generation", "nearest_from": wanted}).status_code == 400
