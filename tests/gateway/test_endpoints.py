"""Endpoints: keys and their limits, vouchers, discovery, quotes, and which upstream addresses are refused."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlmodel import Session

from ledger.core.accounts.permissions import ApiKey
from ledger.core.catalog.models import credentials_hash
from ledger.core.values.atoms import PPM
from ledger.core.values.ids import Lane, cid, to_hex
from ledger.core.values.typed_data import Signer
from ledger.store.access import keys
from tests.gateway.conftest import Run
from tests.gateway.nodes import Node
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import MAKER, PROVIDER, Running, World, a_model, a_signer, a_voucher

PRICE = 115


def authorized(key: str) -> dict[str, str]:
    """Headers with a key."""
    return {"Authorization": f"Bearer {key}"}


def test_a_key_is_shown_once_and_kept_as_a_hash(world: World, gateway: Running, consumer: Signer) -> None:
    key = gateway.key(consumer, label="mine")
    [shown] = gateway.http.get("/v1/keys", headers=authorized(key)).json()["data"]
    assert shown["label"] == "mine"
    assert key not in str(shown)


def test_a_revoked_key_opens_nothing_on_any_gateway(world: World, gateway: Running, consumer: Signer) -> None:
    other = world.gateway("other")
    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    assert gateway.chat(key).status_code == other.chat(key).status_code == 200
    [shown] = gateway.http.get("/v1/keys", headers=authorized(key)).json()["data"]
    assert gateway.http.delete(f"/v1/keys/{shown['id']}", headers=authorized(key)).json()["deleted"]
    assert gateway.chat(key).status_code == 401
    eventually(lambda: other.chat(key).status_code == 401, 2)


def test_calls_that_come_at_once_look_their_key_up_once(
    world: World, gateway: Running, consumer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bytes] = []

    def slow(session: Session, lane: Lane, hashed: bytes) -> ApiKey | None:
        looks.append(hashed)
        time.sleep(0.1)
        return _by_hash(session, lane, hashed)

    _by_hash = keys.by_hash
    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    monkeypatch.setattr(keys, "by_hash", slow)
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: gateway.chat(key).status_code, range(8)))
    assert statuses == [200] * 8
    assert len(looks) < 8


def test_a_keys_rate_models_and_expiry_bind(world: World, gateway: Running, consumer: Signer) -> None:
    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer, rate=2)
    statuses = [gateway.chat(key).status_code for _ in range(4)]
    assert statuses == [200, 200, 429, 429]
    assert "retry-after" in gateway.chat(key).headers
    changed = {"rate": None, "models": ["@acme/other"]}
    [mine] = gateway.of(consumer).get("/v1/keys").json()["data"]
    response = gateway.of(consumer).patch(f"/v1/keys/{mine['id']}", json=changed)
    assert response.json()["models"] == ["@acme/other"]
    assert gateway.chat(key).json()["error"]["code"] == "model_not_allowed"
    short = gateway.key(consumer, 10**15, expires_at=int(time.time() * 1000) + 300)
    eventually(lambda: gateway.chat(short).status_code == 401, 3)


def test_vouchers_that_are_not_larger_forged_or_for_another_lane_make_no_key(
    gateway: Running, consumer: Signer
) -> None:
    gateway.key(consumer, 1000)
    post = gateway.http.post
    again = post("/v1/keys", json={"voucher": a_voucher(consumer, 1000)})
    assert (again.status_code, again.json()["error"]["code"]) == (401, "voucher_not_larger")
    forged = a_voucher(consumer, 2000, signer=a_signer("thief"))
    assert post("/v1/keys", json={"voucher": forged}).status_code == 401
    assert post("/v1/keys", json={"voucher": a_voucher(consumer, 2000, lane=Lane(b"\7" * 20))}).status_code == 400
    unknown = post("/v1/keys", json={"voucher": a_voucher(consumer, 2000), "surprise": 1})
    assert unknown.status_code == 422
    assert unknown.json()["error"]["param"] == "surprise"
    floats = {**a_voucher(consumer, 2000), "cum_max": 2000.5}
    assert post("/v1/keys", json={"voucher": floats}).status_code == 422


def test_pay_as_you_go_each_voucher_a_little_larger(world: World, gateway: Running, consumer: Signer) -> None:
    import json

    world.deposit(consumer.address, 10**6)
    body = {"model": "@acme/chat", "messages": []}
    statuses = []
    for cum_max in (PRICE, 2 * PRICE, 2 * PRICE, 2 * PRICE + 1):
        headers = {"Tollway-Voucher": json.dumps(a_voucher(consumer, cum_max))}
        statuses.append(gateway.http.post("/v1/chat/completions", json=body, headers=headers).status_code)
    assert statuses == [200, 200, 200, 402], "the third is the second call, sent again"
    assert len(world.receipts_of(consumer.address)) == 2


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "http://10.0.0.1/", "http://[::1]:9/", "http://0.0.0.0:1"])
def test_private_and_link_local_upstreams_are_refused(world: World, gateway: Running, url: str) -> None:
    subject = world.publish(a_model("@acme/other"))
    response = gateway.http.post("/v1/offers", json=world.offer(subject, url))
    assert response.status_code == 400
    assert "private or special" in response.json()["error"]["message"]


def test_who_asks_is_told_whether_a_providers_offer_stands(world: World, gateway: Running, node: Node) -> None:
    subject = world.publish(a_model("@acme/other"))
    path = f"/v1/offers/{cid(subject)}/{to_hex(PROVIDER.address)}"
    assert gateway.http.get(path).json()["error"]["code"] == "no_such_offer"
    offer = world.offer(subject, node.url)
    assert gateway.http.post("/v1/offers", json=offer).status_code == 201
    standing = {"subject": cid(subject), "party": to_hex(PROVIDER.address), "expires_epoch": offer["expires_epoch"]}
    assert gateway.http.get(path).json() == standing
    assert gateway.http.get(f"/v1/offers/{cid(subject)}/{to_hex(MAKER.address)}").status_code == 404
    for unknown in ("/v1/offers/x/0x00", f"/v1/offers/{cid(subject)}/nobody"):
        assert gateway.http.get(unknown).status_code == 400


def test_a_redirect_is_not_followed(world: World, gateway: Running, node: Node, consumer: Signer) -> None:
    from tests.gateway.nodes import answering

    world.deposit(consumer.address, 10**6)
    node.behaviour = answering({}, 302, location="http://169.254.169.254/")
    assert gateway.chat(gateway.key(consumer)).status_code == 502
    assert len(node.asked) == 1


def test_an_upstreams_credentials_are_sent_and_never_stored_in_the_clear(
    world: World, gateway: Running, node: Node, consumer: Signer
) -> None:
    from sqlalchemy import text

    from ledger.store.session import unit_of_work

    world.deposit(consumer.address, 10**6)
    subject = next(iter(gateway.gateway.catalog.by_id))
    given, salt = {"Authorization": "Bearer sk-secret"}, bytes(32)
    named = to_hex(credentials_hash(salt, given))
    offer = {"offer": world.offer(subject, node.url, credentials=named), "credentials": given, "salt": to_hex(salt)}
    assert gateway.http.post("/v1/offers", json=offer).status_code == 201
    key = gateway.key(consumer)
    eventually(lambda: gateway.chat(key) and node.asked[-1].headers.get("authorization") == "Bearer sk-secret")
    with unit_of_work(world.engine) as session:
        [encrypted] = session.execute(text("SELECT encrypted FROM credentials")).scalars()
    assert b"sk-secret" not in encrypted


def test_a_circuit_opens_and_the_healthy_provider_is_asked(
    world: World, node: Node, other_node: Node, consumer: Signer
) -> None:
    from tests.gateway.nodes import dying

    subject = world.a_model_at(node.url)
    world.serve(subject, other_node.url, None, a_signer("second provider"))
    gateway = world.gateway()
    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    node.behaviour = dying
    assert all(gateway.chat(key).status_code == 200 for _ in range(20))
    assert len(node.asked) <= 8, "after three failures in a row it is left alone"
    assert len(other_node.asked) == 20


def test_a_price_above_the_consumers_is_refused(world: World, gateway: Running, consumer: Signer) -> None:
    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    refused = gateway.chat(key, header_tollway_max_price="114")
    assert (refused.status_code, refused.json()["error"]["required"]) == (402, "115")
    assert gateway.chat(key, header_tollway_max_price="115").status_code == 200
    assert gateway.chat(key, header_tollway_max_price="1.5").status_code == 400


def test_malformed_requests_get_the_reason(gateway: Running, consumer: Signer) -> None:
    headers = authorized(gateway.key(consumer))
    for body, code in ((b"{", "invalid_json"), (b"[]", "invalid_request"), (b'{"messages": []}', "invalid_request")):
        response = gateway.http.post("/v1/chat/completions", content=body, headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (400, code)
    assert gateway.http.post("/v1/chat/completions", content=b"{}").status_code == 401


def test_quotes_are_signed_and_sum(world: World, gateway: Running) -> None:
    from ledger.core.values.documents import digest, unsigned, validate
    from ledger.core.values.typed_data import offer_hash, recover, signing_digest
    from tests.gateway.world import DOMAIN

    quote = gateway.http.post("/v1/quote", json={"model": "@acme/chat", "meters": {"call": 1}}).json()
    assert validate(quote, "quote") == "quote"
    assert quote["price"] == str(PRICE) == str(sum(int(line["amount"]) for line in quote["lines"]))
    signer = recover(signing_digest(DOMAIN, offer_hash(digest(unsigned(quote)))), bytes.fromhex(quote["signature"][2:]))
    assert signer == gateway.gateway.signer.address


def test_discovery_is_priced_and_explains_an_empty_answer(gateway: Running) -> None:
    found = gateway.http.post("/v1/discover", json={"task": "text-generation", "meters": {"call": 1}}).json()
    assert [(row["name"], row["price"]) for row in found["results"]] == [("@acme/chat", str(PRICE))]
    empty = gateway.http.post("/v1/discover", json={"task": "text-generation", "languages": ["zh"]}).json()
    assert empty["results"] == []
    assert empty["diagnostic"]["nearest"][0] == {"name": "@acme/chat", "lacks": ["languages zh"]}
    assert gateway.http.post("/v1/discover", json={"task": "x", "surprise": 1}).status_code == 400


def test_what_nobody_measured_is_not_shown_as_if_it_were(gateway: Running, run: Run, world: World) -> None:
    def found() -> list[Any]:
        [row] = gateway.http.post("/v1/discover", json={"task": "text-generation"}).json()["results"]
        [provider] = gateway.http.get("/v1/models/@acme/chat").json()["providers"]
        return [row["latency_ms"], row["quality_ppm"], provider["latency_ms"], provider["quality_ppm"]]

    assert found() == [None] * 4
    (shown,) = run("consumer discover text-generation")
    assert (shown["latency_ms"], shown["quality_ppm"]) == (None, None)
    caller = a_signer("who measures")
    world.deposit(caller.address, 10**6)
    assert gateway.chat(gateway.key(caller)).status_code == 200
    late, quality, *providers = found()
    assert (type(late), quality, providers) == (int, PPM, [late, quality])


def test_who_finds_nothing_is_told_of_models_that_do_the_task(gateway: Running, world: World, node: Node) -> None:
    world.a_model_at(node.url, "@acme/almost", protocol="oip/2")
    eventually(lambda: len(gateway.http.get("/v1/models").json()["data"]) == 2)
    wanted = {"task": "text-generation", "languages": ["zh"], "features": ["tools"]}
    diagnostic = gateway.http.post("/v1/discover", json=wanted).json()["diagnostic"]
    assert [row["name"] for row in diagnostic["nearest"]] == ["@acme/chat"], "another task is not near"
    unknown = gateway.http.post("/v1/discover", json={"task": "text-genration"}).json()["diagnostic"]
    assert (unknown["nearest"], unknown["tasks_here"]) == ([], ["text-classification", "text-generation"])


def test_a_model_whose_only_provider_has_an_open_circuit_is_not_recommended(gateway: Running, consumer: Signer) -> None:
    subject = gateway.gateway.catalog.find("@acme/chat").id
    health = gateway.gateway.loader.health(PROVIDER.address, subject)
    health.probe_failed(int(time.time() * 1000))
    found = gateway.http.post("/v1/discover", json={"task": "text-generation"}).json()
    assert found["results"] == []
    lacks = ["a provider (every provider failed lately or is not connected)"]
    assert found["diagnostic"]["nearest"] == [{"name": "@acme/chat", "lacks": lacks}]
    for refused in (gateway.http.post("/v1/quote", json={"model": "@acme/chat"}), gateway.chat(gateway.key(consumer))):
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "providers_down")


def test_discovery_and_quotes_know_how_near_a_provider_is(gateway: Running) -> None:
    subject = gateway.gateway.catalog.find("@acme/chat").id
    gateway.gateway.loader.health(PROVIDER.address, subject).connect_ms = 40
    for near_ms, names, status in ((40, ["@acme/chat"], 200), (39, [], 404)):
        found = gateway.http.post("/v1/discover", json={"task": "text-generation", "near_ms": near_ms}).json()
        assert [row["name"] for row in found["results"]] == names
        quoted = gateway.http.post("/v1/quote", json={"model": "@acme/chat", "near_ms": near_ms})
        assert quoted.status_code == status
    assert quoted.json()["error"]["code"] == "no_provider_fits"
    assert gateway.http.post("/v1/quote", json={"model": "@acme/chat", "near_ms": "near"}).status_code == 400


def test_the_gateway_starts_without_a_compiler() -> None:
    asked = "import gateway.app, sys; print(sys.modules.keys() & {'numba', 'llvmlite', 'web3', 'celery'})"
    found = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout.strip() == "set()"


@pytest.mark.parametrize("epoch", ["-1", "9223372036854775808", "soon"])
def test_a_book_of_no_epoch_is_refused(gateway: Running, epoch: str) -> None:
    answer = httpx.get(f"{gateway.url}/v1/book", params={"epoch": epoch})
    assert answer.status_code in (400, 422)
    assert "epoch" in answer.json()["error"]["message"]


def test_a_book_is_read_page_by_page(gateway: Running) -> None:
    whole = gateway.http.get("/v1/book").json()
    assert (whole["total_count"], whole["links"]) == (len(whole["bids"]), {"next": None})
    read, page = list[object](), "/v1/book?limit=1"
    while page:
        shown = gateway.http.get(page).json()
        assert (shown["epoch"], shown["root"], len(shown["bids"])) == (whole["epoch"], whole["root"], 1)
        read += shown["bids"]
        page = shown["links"]["next"]
    assert (read, len(read) > 1) == (whole["bids"], True)
    for wrong in ("limit=0", "limit=1001", "offset=-1"):
        assert gateway.http.get(f"/v1/book?{wrong}").status_code == 422


def test_a_text_that_the_database_cannot_keep_is_refused(gateway: Running, consumer: Signer) -> None:
    by = {"Authorization": f"Bearer {gateway.key(consumer, rights=['manage'])}"}
    asked = (("POST", "/v1/keys"), ("PATCH", "/v1/keys/a"), ("PATCH", "/v1/keys/%00"), ("DELETE", "/v1/keys/%00"))
    for method, path in asked:
        answer = httpx.request(method, gateway.url + path, json={"label": "\0"}, headers=by)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request"), answer.text
