"""A private grid with an enterprise's node on a host of its own: what leaves, packet by packet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ledger.core.values.ids import Digest, cid, did, to_hex
from ledger.core.values.typed_data import Signer
from tests.gateway.test_who_pays import eventually
from tests.gateway.workflows import pinned
from tests.gateway.world import WEAVER, Running, World, a_model, a_signer
from tests.roles.node.conftest import MODELS
from tests.roles.node.hosts import Capture, Hosts, ip, why_not

REASON = why_not()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(REASON is not None, reason=REASON or "")]

ACME, MEMBER, STRANGER = a_signer("acme"), a_signer("a member"), a_signer("a stranger")
INSIDE, CENTER = a_signer("enterprise"), a_signer("center")
REALM = f"{to_hex(ACME.address)}/ward"
CENTER_CABLE, INSIDE_CABLE, WAY_OUT = 1, 2, 3
PRIVATE, PUBLIC, STRANGE = (
    "canary-of-a-patient i am so sad",
    "canary-of-the-weather i am so glad",
    "canary-of-a-stranger",
)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """A center and an enterprise, each on a cable to the gateway's host. The enterprise has another way out."""
    made = Hosts()
    try:
        for number, name in ((CENTER_CABLE, "center"), (INSIDE_CABLE, "enterprise")):
            made.add(name)
            made.cable(number, None, name, f"10.{made.net}.{number}")
        made.cable(WAY_OUT, None, "enterprise", f"10.{made.net}.{WAY_OUT}")
        ip("-n", made.full("enterprise"), "route", "add", "default", "via", f"10.{made.net}.{WAY_OUT}.1")
        yield made
    finally:
        made.close()


def offered(world: World, name: str, url: str, provider: Signer, **serve: Any) -> Digest:
    """A classifier that a provider serves."""
    subject = world.publish(a_model(name, protocol="oip/2"))
    world.serve(subject, url, provider=provider, **serve)
    return subject


def a_flow(inside: Digest, outside: Digest) -> dict[str, Any]:
    """The last message is read in the realm, the first one outside."""
    private = pinned("read", inside, {"text": "$.messages[-1].content"})
    private["uses"]["realm"] = REALM
    return {
        "schema": "tollway/capsule/1",
        "name": "@wanda/flow",
        "version": "1.0.0",
        "weaver": did(0, WEAVER.address),
        "steps": [private, pinned("look", outside, {"text": "$.messages[0].content"})],
        "output": {"content": "{$steps.read.output.label} {$steps.look.output.label}"},
        "distribution": {"weaver": {"ratio_ppm": 100_000, "ask": {}}},
    }


def ask(gateway: Running, key: str, last: str, realm: str = REALM) -> httpx.Response:
    """One call of the flow."""
    messages = [{"role": "user", "content": text} for text in (PUBLIC, last)]
    headers = {"Authorization": f"Bearer {key}"} | ({"Tollway-Realm": realm} if realm else {})
    return gateway.http.post(
        "/v1/chat/completions", json={"model": "@wanda/flow", "messages": messages}, headers=headers
    )


def test_the_input_of_a_step_in_a_realm_is_on_the_enterprises_cable_and_on_no_other(world: World, hosts: Hosts) -> None:
    at_center, at_enterprise = f"10.{hosts.net}.{CENTER_CABLE}.2", f"10.{hosts.net}.{INSIDE_CABLE}.2"
    hosts.node("center", MODELS / "emotion", "@public/feel", at_center)
    hosts.node("enterprise", MODELS / "emotion", "@acme/feel", at_enterprise)
    gateway = world.gateway(host="0.0.0.0", allowed_networks=f"10.{hosts.net}.0.0/16,127.0.0.0/8")
    world.realm(ACME, INSIDE, MEMBER, WEAVER, name="ward")
    outside = offered(world, "@public/feel", f"http://{at_center}:8000", CENTER)
    inside = offered(world, "@acme/feel", f"http://{at_enterprise}:8000", INSIDE, tier="enterprise", realm=REALM)
    flow = world.publish(a_flow(inside, outside))
    for who in (MEMBER, STRANGER, WEAVER):
        world.deposit(who.address, 10**10)
    gateway.key(WEAVER)
    key, strange = gateway.key(MEMBER), gateway.key(STRANGER)
    member = {"Authorization": f"Bearer {key}", "Tollway-Realm": REALM}
    for name in (cid(flow), "@acme/feel"):
        path = f"/v1/models/{name}"
        eventually(lambda path=path: gateway.http.get(path, headers=member).status_code == 200)  # type: ignore[misc]

    cables = {hosts.device(number) for number in (CENTER_CABLE, INSIDE_CABLE, WAY_OUT)}
    with Capture() as capture:
        answer = ask(gateway, key, PRIVATE)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["choices"][0]["message"]["content"].split()) == 2, "both read their input"
        for realm in (REALM, ""):
            assert ask(gateway, strange, STRANGE, realm).status_code == 404
        eventually(lambda: "lo" in capture.devices_with(STRANGE))  # all before it was read too
    assert capture.devices_with(PRIVATE) - {"lo"} == {hosts.device(INSIDE_CABLE)}
    assert capture.devices_with(PUBLIC) - {"lo"} == {hosts.device(CENTER_CABLE)}
    assert capture.devices_with(STRANGE) == {"lo"}, "a stranger's words reach no node"
    assert capture.of_ip(hosts.device(WAY_OUT)) == [], "the enterprise's node says nothing to anybody else"
    assert {device for device in capture.frames if capture.of_ip(device)} >= cables - {hosts.device(WAY_OUT)}
