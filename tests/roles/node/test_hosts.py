"""Three kinds of host: a center, an enterprise that never leaves its realm, and a home nobody can call into."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from ledger.core.catalog.bids import Role, decode
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import to_hex
from ledger.core.values.typed_data import Signer
from ledger.store.receipts import terms
from ledger.store.session import unit_of_work
from tests.gateway.world import Running, World, a_model, a_signer
from tests.roles.node.conftest import MODELS
from tests.roles.node.hosts import Hosts, why_not

REASON = why_not()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(REASON is not None, reason=REASON or "")]

CENTER, ENTERPRISE = a_signer("center"), a_signer("enterprise")
HOME_SECRET = keccak256(b"test", b"home")
HOME = Signer(HOME_SECRET)
ACME, CONSUMER = a_signer("acme"), a_signer("a consumer of three hosts")
REALM = f"{to_hex(ACME.address)}/inside"


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    made = Hosts()
    try:
        for number, name in enumerate(("center", "enterprise", "router"), start=1):
            made.add(name)
            made.cable(number, None, name, f"10.{made.net}.{number}")
        made.add("home")
        made.cable(4, "router", "home", "192.168.77")
        yield made
    finally:
        made.close()


@pytest.fixture
def gateway(world: World, hosts: Hosts) -> Running:
    return world.gateway(host="0.0.0.0", allowed_networks=f"10.{hosts.net}.0.0/16,127.0.0.0/8")


def feel(gateway: Running, key: str, model: str, **headers: str) -> httpx.Response:
    """One call of a classifier."""
    text = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["thank you, i love it"]}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.http.post(
        f"/v2/models/{model}/infer", json={"inputs": [text]}, headers={"Authorization": f"Bearer {key}", **named}
    )


def feel_until_there(gateway: Running, key: str, model: str, **headers: str) -> httpx.Response:
    """The first answer that is not "no provider yet": an offer is seen within the gateway's refresh."""
    deadline = time.monotonic() + 15
    while (answer := feel(gateway, key, model, **headers)).status_code in (404, 503) and time.monotonic() < deadline:
        time.sleep(0.2)
    return answer


def answers(host: str, seconds: float) -> bool:
    """Whether a node can be called there from outside, in so many seconds."""
    try:
        return bool(httpx.get(f"http://{host}:8000/v2/health/live", timeout=seconds).json() == {"live": True})
    except (httpx.HTTPError, ValueError):
        return False


def served_by(world: World, consumer: Signer) -> list[bytes]:
    """Whom the receipts of a consumer pay for compute, oldest first."""
    signed = list(reversed(world.receipts_of(consumer.address)))
    with unit_of_work(world.engine) as session:
        bodies = terms.get(session, {one.receipt.terms for one in signed})
    return [
        line.party for one in signed for line in decode(bodies[one.receipt.terms]).lines if line.role is Role.compute
    ]


def test_calls_reach_every_kind_of_host_and_only_the_right_ones(world: World, hosts: Hosts, gateway: Running) -> None:
    model = MODELS / "emotion"
    hosts.node("center", model, "@acme/feel", f"10.{hosts.net}.1.2")
    hosts.node("enterprise", model, "@acme/feel", f"10.{hosts.net}.2.2")
    hosts.relay("router", "192.168.77.1", f"10.{hosts.net}.3.1", gateway.port)
    home = hosts.home_node("home", model, "@acme/feel", f"http://192.168.77.1:{gateway.port}", HOME_SECRET.hex())

    assert answers(f"10.{hosts.net}.1.2", 20)
    assert not answers("192.168.77.2", 2)

    subject = world.publish(a_model("@acme/feel", protocol="oip/2"))
    world.serve(subject, f"http://10.{hosts.net}.1.2:8000", provider=CENTER)
    world.realm(ACME, ENTERPRISE, CONSUMER)
    world.serve(
        subject,
        f"http://10.{hosts.net}.2.2:8000",
        provider=ENTERPRISE,
        tier="enterprise",
        realm=REALM,
        maker_ppm=100_000,
    )
    world.serve(subject, f"tunnel://0x{HOME.address.hex()}", provider=HOME, tier="edge")

    consumer = CONSUMER
    world.deposit(consumer.address, 10**9)
    key = gateway.key(consumer)
    assert feel_until_there(gateway, key, "@acme/feel").json()["outputs"][0]["data"] == ["joy"]

    inside = [feel_until_there(gateway, key, "@acme/feel", Tollway_Realm=REALM) for _ in range(5)]
    assert {answer.status_code for answer in inside} == {200}
    assert set(served_by(world, consumer)[1:6]) == {ENTERPRISE.address}

    at_home = [feel_until_there(gateway, key, "@acme/feel", Tollway_Tiers="edge") for _ in range(5)]
    assert {answer.status_code for answer in at_home} == {200}
    assert set(served_by(world, consumer)[6:11]) == {HOME.address}

    anywhere = [feel(gateway, key, "@acme/feel") for _ in range(20)]
    assert {answer.status_code for answer in anywhere} == {200}
    assert ENTERPRISE.address not in served_by(world, consumer)[11:]

    home.kill()
    home.wait()
    after = [feel(gateway, key, "@acme/feel") for _ in range(10)]
    assert {answer.status_code for answer in after} == {200}
    assert set(served_by(world, consumer)[-10:]) == {CENTER.address}
