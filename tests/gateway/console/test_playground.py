"""A model's page calls it: by a form for what it speaks, and in words for whatever refuses the call."""

from __future__ import annotations

import html
import json
import re
from typing import Any

from gateway.console.assets import FOLDER
from ledger.core.values.atoms import AIC
from tests.gateway.nodes import Node
from tests.gateway.test_who_pays import eventually
from tests.gateway.workflows import Loom, inferring
from tests.gateway.world import Running, World, a_model
from tests.javascript import evaluate


def form_of(gateway: Running, name: str) -> dict[str, str]:
    """The attributes of the form on a model's page by which it is called; none without one."""
    path = f"/models/{name}"
    eventually(lambda: gateway.http.get(path).status_code == 200)
    found = re.search(r'<form id="ask"([^>]*)>', gateway.http.get(path).text)
    return dict(re.findall(r'data-(\w+)="([^"]*)"', html.unescape(found[1]))) if found else {}


def test_a_page_calls_its_model_by_what_it_speaks(world: World, loom: Loom) -> None:
    for name, protocol in (
        ("writes", "openai.completions/1"),
        ("places", "openai.embeddings/1"),
        ("paints", "openai.images/1"),
        ("talks", "openai.completions/1 openai.chat/1"),
    ):
        loom.talker(name, protocol=protocol)
        loom.known(f"@acme/{name}")
    loom.classifier("feels", inferring("joy"))
    loom.known("@acme/feels")
    world.publish(a_model("@acme/idle"))
    gateway = loom.gateway

    def kind_and_path(name: str) -> tuple[str, ...]:
        found = form_of(gateway, f"@acme/{name}")
        return tuple(found.get(one, "") for one in ("kind", "path", "model"))

    assert kind_and_path("talks") == ("chat", "/v1/chat/completions", "@acme/talks")
    assert kind_and_path("writes") == ("completion", "/v1/completions", "@acme/writes")
    assert kind_and_path("places") == ("json", "/v1/embeddings", "@acme/places")
    assert kind_and_path("feels") == ("json", "/v2/models/@acme/feels/infer", "@acme/feels")
    assert kind_and_path("paints") == kind_and_path("idle") == ("", "", "")


def test_the_request_that_a_page_suggests_is_answered_as_it_stands(loom: Loom, consumer: Any) -> None:
    loom.classifier("feels", inferring("joy"))
    loom.known("@acme/feels")
    gateway = loom.gateway
    path = form_of(gateway, "@acme/feels")["path"]
    body = re.search(r'<textarea id="text"[^>]*>(.*?)</textarea>', gateway.http.get("/models/@acme/feels").text, re.S)
    assert body is not None
    key = {"Authorization": f"Bearer {loom.consumer(consumer)}"}
    answered = gateway.http.post(path, json=json.loads(html.unescape(body[1])), headers=key)
    assert (answered.status_code, answered.json()["outputs"][0]["data"]) == (200, ["joy"]), answered.text


def remedies(*refused: dict[str, Any]) -> list[dict[str, Any]]:
    """What the page's script says of refusals."""
    script = f"""
globalThis.document = {{ getElementById: () => ({{dataset: {{symbol: "AIC", decimals: "9"}}}}) }};
const {{ Refused }} = await import({str(FOLDER / "account.js")!r});
const {{ remedy }} = await import({str(FOLDER / "calling.js")!r});
const given = {json.dumps(refused)};
console.log(JSON.stringify(given.map(({{status, error, wait}}) => remedy(new Refused(status, error, wait ?? null)))));
"""
    return list(evaluate(script))


def test_each_refusal_says_what_is_needed_what_is_left_and_what_to_type(
    world: World, gateway: Running, consumer: Any, node: Node
) -> None:
    world.deposit(consumer.address, 5_000)
    world.a_model_at(node.url, "@acme/dear", {"call": "1000000"})
    eventually(lambda: bool(gateway.http.get("/v1/models/@acme/dear").json().get("ready")))
    response = gateway.chat(gateway.key(consumer), "@acme/dear")
    assert response.status_code == 402, response.text
    error = response.json()["error"]
    (said,) = remedies({"status": 402, "error": error})
    needed, left, missing = (int(error[name]) for name in ("required", "available", "shortfall"))
    assert (left, missing) == (5_000, needed - 5_000)
    amounts = {name: AIC.decimal(int(error[name])).rstrip("0") for name in ("required", "available", "shortfall")}
    assert said["facts"] == [
        ["It may cost", f"{amounts['required']} AIC"],
        ["You have left", f"{amounts['available']} AIC"],
        ["Missing", f"{amounts['shortfall']} AIC"],
    ]
    assert said["command"] == f"tollway consumer deposit {amounts['shortfall']}"


def test_a_refusal_of_any_kind_has_words() -> None:
    wrong, budget, voucher, poor, often, down, failed, ours = remedies(
        {"status": 401, "error": {"code": "invalid_api_key"}},
        {"status": 402, "error": {"short_of": "budget", "required": "3", "available": "1"}},
        {"status": 402, "error": {"short_of": "voucher"}},
        {"status": 402, "error": {"short_of": "deposit", "available": "0"}},
        {"status": 429, "error": {}, "wait": 7},
        {"status": 503, "error": {"code": "providers_down"}, "wait": 3},
        {"status": 502, "error": {"code": "workflow_failed", "charge": "1500000000"}},
        {"status": 500, "error": {}},
    )
    assert wrong["command"] == voucher["command"] == "tollway consumer key"
    assert (budget["facts"][0], budget["command"]) == (
        ["It may cost", "0.000000003 AIC"],
        "tollway consumer change-key ID --budget AMOUNT",
    )
    assert poor["command"] == "tollway consumer deposit AMOUNT"
    assert "in 7 s" in often["says"]
    assert "Try again in 3 s" in down["says"]
    assert "1.5 AIC were charged" in failed["says"]
    assert ours["says"] == "The gateway failed."
