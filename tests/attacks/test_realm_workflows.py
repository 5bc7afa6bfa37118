"""Workflows and realms: what runs inside of a realm, what of it is told outside, and where a member's input goes."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest

from ledger.core.catalog import realms
from ledger.core.values.ids import Digest, cid, did, to_hex
from ledger.core.values.typed_data import Signer
from tests.gateway.nodes import Node
from tests.gateway.test_who_pays import eventually
from tests.gateway.workflows import LAST, Loom, echoing, pinned
from tests.gateway.world import DOMAIN, PROVIDER, WEAVER, a_model, a_signer

ACME, MEMBER, STRANGER = a_signer("acme"), a_signer("a member"), a_signer("a stranger")
EXPELLED, OUTSIDE_WEAVER = a_signer("an expelled member"), a_signer("another weaver")
REALM, ELSEWHERE = f"{to_hex(ACME.address)}/inside", f"{to_hex(STRANGER.address)}/inside"
PRIVATE, PUBLIC = "canary of a patient", "good morning"
FIRST = "$.messages[0].content"


class Clinic:
    """A realm with a model of its own, beside a model for everybody; each on a node of its own."""

    def __init__(self, loom: Loom) -> None:
        self.loom, self.world, self.http = loom, loom.world, loom.gateway.http
        self.inner, self.outer = loom.node(echoing("inside: ")), loom.node(echoing("outside: "))
        self.reader = self.world.publish(a_model("@acme/reader"))
        self.writer = self.world.publish(a_model("@acme/writer"))
        self.world.serve(self.writer, self.outer.url)
        self.keys = {who.address: loom.consumer(who) for who in (MEMBER, STRANGER, EXPELLED)}

    def open(self) -> None:
        """Serve the reader in the realm."""
        self.world.realm(ACME, MEMBER, PROVIDER, WEAVER, expelled=[EXPELLED])
        self.world.serve(self.reader, self.inner.url, realm=REALM, tier="enterprise")
        headers = self.headers(MEMBER)
        eventually(lambda: self.http.get("/v1/models/@acme/reader", headers=headers).status_code == 200)

    def headers(self, who: Signer, realm: str = REALM) -> dict[str, str]:
        """A caller's key, and the realm it names."""
        named = {"Tollway-Realm": realm} if realm else {}
        return {"Authorization": f"Bearer {self.keys[who.address]}"} | named

    def ask(self, who: Signer, name: str, realm: str = REALM) -> httpx.Response:
        """A chat: a public text first, a private one last."""
        messages = [{"role": "user", "content": text} for text in (PUBLIC, PRIVATE)]
        body = {"model": name, "messages": messages}
        return self.http.post("/v1/chat/completions", json=body, headers=self.headers(who, realm))

    def publish(self, name: str, *steps: dict[str, Any], weaver: Signer = WEAVER) -> Digest:
        """A capsule that says what each of its steps said."""
        said = " | ".join(f"{{$steps.{step['id']}.output.content}}" for step in steps)
        document = {
            "schema": "tollway/capsule/1",
            "name": name,
            "version": "1.0.0",
            "weaver": did(0, weaver.address),
            "steps": list(steps),
            "output": {"content": said},
            "distribution": {"weaver": {"ratio_ppm": 100_000, "ask": {}}},
        }
        return self.world.publish(document)

    def until_known(self, name: str, realm: str = REALM) -> None:
        """Wait until a member sees it."""
        eventually(lambda: self.http.get(f"/v1/models/{name}", headers=self.headers(MEMBER, realm)).status_code == 200)


@pytest.fixture
def clinic(loom: Loom) -> Clinic:
    return Clinic(loom)


def step(name: str, model: Digest, text: str, realm: str = "") -> dict[str, Any]:
    """A step that sends one text to a model."""
    made = pinned(name, model, {"messages": [{"role": "user", "content": text}]})
    return made | {"uses": made["uses"] | ({"realm": realm} if realm else {})}


def heard(node: Node) -> str:
    """All that reached a node."""
    return " ".join(asked.body.decode() for asked in node.asked)


def test_a_step_in_a_realm_gets_its_input_and_what_runs_outside_never_does(clinic: Clinic) -> None:
    clinic.open()
    clinic.publish("@wanda/mixed", step("read", clinic.reader, LAST, REALM), step("write", clinic.writer, FIRST))
    clinic.until_known("@wanda/mixed")
    answer = clinic.ask(MEMBER, "@wanda/mixed")
    assert answer.status_code == 200, answer.text
    said = answer.json()["choices"][0]["message"]["content"]
    assert said == f"inside: {PRIVATE} | outside: {PUBLIC}"
    assert (PRIVATE in heard(clinic.inner), PUBLIC in heard(clinic.inner)) == (True, False)
    assert (PRIVATE in heard(clinic.outer), PUBLIC in heard(clinic.outer)) == (False, True)
    quote = clinic.http.post("/v1/quote", json={"model": "@wanda/mixed"}, headers=clinic.headers(MEMBER))
    assert {sub["step"] for sub in quote.json()["subs"]} == {"read", "write"}, quote.text


def test_a_capsule_that_names_a_realm_is_not_there_outside(clinic: Clinic) -> None:
    token = realms.sign_token(ACME, DOMAIN, "inside", EXPELLED.address, int(time.time() * 1000) + 3_600_000)

    def seen() -> list[str]:
        said = []
        for who, realm in ((STRANGER, ""), (STRANGER, REALM), (EXPELLED, token), (STRANGER, ELSEWHERE), (MEMBER, "")):
            headers = clinic.headers(who, realm)
            said += [clinic.ask(who, name, realm).text for name in ("@wanda/inner", "@wanda/innre")]
            said += [
                clinic.http.get(path, headers=headers).text
                for path in ("/v1/models/@wanda/inner", "/v1/models?all=true", f"/v1/documents/{cid(flow)}")
            ]
            said.append(clinic.http.post("/v1/quote", json={"model": "@wanda/inner"}, headers=headers).text)
        return said

    flow = Digest(bytes(32))
    clinic.open()
    before = [one.replace(cid(flow), "it") for one in seen()]
    flow = clinic.publish("@wanda/inner", step("read", clinic.reader, LAST, REALM))
    clinic.until_known("@wanda/inner")
    assert clinic.ask(MEMBER, "@wanda/inner").status_code == 200
    assert [one.replace(cid(flow), "it") for one in seen()] == before
    assert clinic.http.get("/health").json()["workflows"] == 0


def test_a_capsule_for_everybody_reaches_no_model_of_a_realm_from_outside(clinic: Clinic) -> None:
    unserved = clinic.world.publish(a_model("@acme/unserved"))
    clinic.publish("@wanda/pinned", step("read", clinic.reader, LAST))
    able = {"id": "read", "uses": {"capability": {"task": "text-generation", "tiers": ["enterprise"]}}}
    asking = {"messages": [{"role": "user", "content": LAST}]}
    clinic.publish("@wanda/able", {**able, "input": asking})
    clinic.open()
    clinic.until_known("@wanda/pinned")
    clinic.until_known("@wanda/able")
    for who, realm in ((STRANGER, ""), (MEMBER, "")):
        refused = clinic.ask(who, "@wanda/pinned", realm)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_provider")
        assert refused.json()["error"]["message"] == f"step read needs {cid(clinic.reader)}, which is not published"
        assert clinic.ask(who, "@wanda/able", realm).status_code == 503
    assert clinic.ask(STRANGER, "@wanda/pinned").status_code == 404, "the realm it names is not there for it"
    assert clinic.inner.asked == []
    assert cid(unserved) != cid(clinic.reader)
    for name in ("@wanda/pinned", "@wanda/able"):
        answer = clinic.ask(MEMBER, name)
        assert (answer.status_code, PRIVATE in answer.text) == (200, True), answer.text
    assert clinic.outer.asked == []


def test_in_a_realm_no_step_of_anybodys_capsule_leaves_it(clinic: Clinic) -> None:
    clinic.open()
    clinic.publish("@mallory/take", step("take", clinic.writer, LAST), weaver=OUTSIDE_WEAVER)
    clinic.publish(
        "@mallory/name",
        step("read", clinic.reader, LAST, REALM),
        step("take", clinic.writer, LAST),
        weaver=OUTSIDE_WEAVER,
    )
    clinic.until_known("@mallory/take")
    refused = clinic.ask(MEMBER, "@mallory/take")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_provider")
    assert clinic.ask(MEMBER, "@mallory/name").status_code == 404, "its weaver is not on the realm's list"
    assert PRIVATE not in heard(clinic.outer)


def test_a_capsule_of_a_realm_runs_in_another_one_and_both_stay_inside(clinic: Clinic) -> None:
    clinic.open()
    inner = clinic.publish("@wanda/inner", step("read", clinic.reader, LAST, REALM))
    clinic.until_known("@wanda/inner")
    outer = {"id": "all", "uses": {"capsule": cid(inner), "realm": REALM}}
    again = [{"role": "user", "content": LAST}]
    clinic.publish("@wanda/outer", {**outer, "input": {"messages": again}}, step("write", clinic.writer, FIRST))
    clinic.until_known("@wanda/outer")
    answer = clinic.ask(MEMBER, "@wanda/outer")
    assert answer.status_code == 200, answer.text
    assert PRIVATE in json.dumps(answer.json())
    assert (PRIVATE in heard(clinic.inner), PRIVATE in heard(clinic.outer)) == (True, False)
