"""The composer: its file has no mistake for `tollway weaver check`, and its price is that of the published workflow."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from ledger.core.catalog import patterns
from ledger.core.catalog.patterns import FORMS, Pattern
from ledger.core.pricing.terms import TYPICAL_CALL
from ledger.core.values.ids import cid, did
from ledger.core.values.meters import used
from ledger.core.values.typed_data import Signer
from roles.cli.shared import bundles
from tests.gateway.workflows import Loom, echoing, inferring
from tests.gateway.world import WEAVER

ASK = {"call": "100", "output_token": "1000000"}
MODELS = ("@acme/one", "@acme/two", "@acme/judge")


@pytest.fixture
def models(loom: Loom) -> dict[str, str]:
    """Three chat models that say what they were told last; their ids by name."""
    found = {name: cid(loom.talker(name.removeprefix("@acme/"), echoing(f"{name}: "), ask=ASK)) for name in MODELS}
    for name in found:
        loom.known(name)
    return found


def query(pattern: Pattern, *models: str, name: str = "@wanda/flow") -> httpx.QueryParams:
    """What the form sends."""
    return httpx.QueryParams({"name": name, "pattern": pattern.value, "model": [*models, "", ""]})


def test_what_is_composed_is_sound_costs_what_its_page_says_and_runs(
    loom: Loom, models: dict[str, str], consumer: Signer, tmp_path: Path
) -> None:
    key = loom.consumer(consumer)
    for number, pattern in enumerate(Pattern):
        name = f"@wanda/flow-{number}"
        asked = query(pattern, *MODELS, name=name)
        page = loom.gateway.http.get("/capsules/new", params=asked)
        assert page.status_code == 200, page.text
        link = re.search(r'href="(/capsules/new/capsule.json[^"]*)"', page.text)
        assert link is not None
        response = loom.gateway.http.get(html.unescape(link[1]))
        assert response.headers["content-disposition"] == 'attachment; filename="capsule.json"'
        (tmp_path / "capsule.json").write_bytes(response.content)
        document = bundles.sound(tmp_path / "capsule.json")
        assert document == patterns.start(name, MODELS, pattern)
        assert html.escape(response.text).replace("&quot;", "&#34;").replace("&#x27;", "&#39;") in page.text

        steps = [step | {"uses": {"model": models[step["uses"]["model"]]}} for step in document["steps"]]
        loom.world.publish(document | {"weaver": did(0, WEAVER.address), "steps": steps})
        loom.known(name)
        wanted = {"model": name, "meters": used(TYPICAL_CALL)}
        quote = loom.gateway.http.post("/v1/quote", json=wanted).json()
        said = re.search(r'<p><span title="(\d+) atoms">', page.text)
        assert said is not None
        assert said[1] == quote["price"], pattern
        answered = loom.gateway.chat(key, name, text="hello")
        assert answered.status_code == 200, answered.text
        trace = answered.json()["tollway"]["steps"]
        ran = [row["step"] for row in trace if row["status"] == "ok"]
        assert len(ran) == (1 if pattern is Pattern.fallback else len(steps)), trace
        assert answered.json()["choices"][0]["message"]["content"].endswith("hello")


def test_what_cannot_be_composed_is_said_on_the_form(loom: Loom, models: dict[str, str]) -> None:
    loom.classifier("feels", inferring("joy"))
    loom.known("@acme/feels")
    evil = "@me/<script>alert(1)</script>"
    refused: list[tuple[httpx.QueryParams, int, str]] = [
        (query(Pattern.fallback, "@acme/onne"), 404, "@acme/one"),
        (query(Pattern.fallback, "@acme/feels"), 400, "does not chat"),
        (query(Pattern.debate, "@acme/one", "@acme/two"), 400, "takes 3 to 8 models, not 2"),
        (query(Pattern.fallback, "@acme/one", name="flow"), 400, ""),
        (query(Pattern.fallback, "@acme/one", name=evil), 400, ""),
    ]
    for asked, status, words in refused:
        page = loom.gateway.http.get("/capsules/new", params=asked)
        assert (page.status_code, 'role="alert"' in page.text) == (status, True), (asked, page.text)
        assert words in html.unescape(page.text)
        assert "<script>alert" not in page.text
        assert loom.gateway.http.get("/capsules/new/capsule.json", params=asked).status_code == status
    many = query(Pattern.fallback, *["@acme/one"] * 9)
    assert loom.gateway.http.get("/capsules/new", params=many).status_code == 422
    empty = loom.gateway.http.get("/capsules/new").text
    assert all(f'value="{name}"' in empty for name in MODELS), "what can be called is suggested"
    assert 'role="alert"' not in empty


@pytest.mark.parametrize("pattern", Pattern)
def test_a_pattern_without_models_has_a_placeholder_for_each_place(pattern: Pattern, tmp_path: Path) -> None:
    path = tmp_path / "capsule.json"
    path.write_text(patterns.written(patterns.start("@me/flow", pattern=pattern)))
    document: dict[str, Any] = json.loads(path.read_text())
    assert bundles.sound(path) == document
    assert bundles.placeholders(document) == sorted(FORMS[pattern].places)
