"""Who may do what: the table of `core.accounts.permissions`, cell by cell over HTTP, and the attacks that it ends.

Everything is prepared at one gateway of the lane and tried at another.
"""

from __future__ import annotations

import ipaddress
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, func, select

from gateway.api import keys as key_routes
from gateway.clock import now_ms
from ledger.core.catalog import models
from ledger.core.values.documents import digest
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import PRIVATE_LANE, Digest, cid, to_hex
from ledger.core.values.typed_data import (
    RECEIVE_TYPEHASH,
    Domain,
    Signer,
    TokenAuthorization,
    document_hash,
    offer_hash,
    request_digest,
    request_hash,
    signing_digest,
    word,
)
from ledger.deployments import save
from ledger.flows import publications
from ledger.store.access import deposits
from ledger.store.access.deposits import DepositRequest
from ledger.store.access.tables import CredentialRow, DepositRow, VoucherRow
from ledger.store.chain import lanes, parties
from ledger.store.network import offers
from ledger.store.network.tables import DocumentRow
from ledger.store.session import connect, unit_of_work
from roles.cli import main
from roles.client import credentials
from roles.wallet import keystore, signing
from tests.conftest import a_database, settings_for
from tests.gateway import trials
from tests.gateway.nodes import Node, answering, dying
from tests.gateway.test_private_grid import work
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import (
    DOMAIN,
    PROVIDER,
    Running,
    Signing,
    World,
    a_deployment,
    a_model,
    a_signer,
    a_voucher,
    epoch_now,
)

PRICE = 115
CALL = "/v1/chat/completions"
BODY = {"model": "@acme/chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50}
TRIAL = {
    "capsule": trials.a_draft(trials.named("a", "@acme/chat", {"messages": "$.messages"}), output={"content": "a"}),
    "input": {"messages": BODY["messages"]},
}
MODEL_LIMITS = {"models": ["@acme/chat"]}
_numbers = count()

TABLE = """
act                       stranger  consumer  gateway  sibling  itself  above  manager  account
read a receipt                 404       404      401      404     200    404      200      200
read it when it is public      200       200      401      200     200    200      200      200
read its salt when public       no        no       no       no     yes     no      yes      yes
read the balance               401       200      401      403     403    403      200      200
read a deposit                 404       404      401      404     404    404      200      200
list the receipts              401       403      401      200     200    200      200      200
see the receipt in the list     no        no       no       no     yes     no      yes      yes
read the statement             401       403      401      403     403    403      200      200
read the earnings              401       403      401      403     403    403      200      200
read the lane's alarms         401       403      401      403     403    403      403      403
see the key in the list         no        no       no       no     yes    yes      yes      yes
loosen the key                 401       404      401      404     403    403      200      200
give the key a right           401       404      401      404     403    403      200      200
tighten the key                401       404      401      404     200    403      200      200
revoke the key                 401       404      401      404     200    200      200      200
rotate its own key             401       201      401      201     201    201      201      400
make a key of the account      401       201      401      403     403     no      201      201
make a key below its own       401        no      401      403     403    201       no       no
publish glue                   401       400      401      403     403    403      400      400
publish its offer              400       400      400      400     400    400      400      201
withdraw its offer             400       400      400      400     400    400      400      201
call a model                   401       402      401      200     200    200      200      401
try a workflow                 401       402      401      200     200    200      200      401
"""
"""The key: made by `above`, which has `delegate`. `consumer` is a managing key of another account; `gateway` the lane's
gateway, which signs as the account; `account` a fresh signature. Glue that may be published is refused as no glue. An
offer is signed by whose key each of them has; no API key stands for that.
"""
_HEAD, *_ROWS = TABLE.strip().splitlines()
ACTORS = _HEAD.split()[1:]
CELLS = [
    pytest.param(act.strip(), actor, said, id=f"{act.strip()}: {actor}")
    for act, cells in ((line[:27], line[27:].split()) for line in _ROWS)
    for actor, said in zip(ACTORS, cells, strict=True)
]


@dataclass
class Family:
    """An account's keys, the receipt of a call by `itself`, and who else asks."""

    there: Running
    account: Signer
    other: Signer
    keys: dict[str, dict[str, Any]]
    receipt: str
    secret: bytes
    deposit: Digest
    actor: str = ""
    """Who acts now."""

    def client(self, actor: str) -> httpx.Client:
        """A client of one of the ACTORS."""
        self.actor = actor
        if actor == "account":
            return self.there.of(self.account)
        if actor == "gateway":
            forged = credentials.request(self.there.gateway.signer, DOMAIN, PRIVATE_LANE)

            def sign(method: str, target: bytes, body: bytes) -> str:
                return json.dumps({**json.loads(forged(method, target, body)), "account": to_hex(self.account.address)})

            return httpx.Client(base_url=self.there.url, timeout=30, auth=Signing(sign))
        headers = bearer(self.keys[actor]["key"]) if actor != "stranger" else {}
        return httpx.Client(base_url=self.there.url, timeout=30, headers=headers)

    def seen(self) -> dict[str, Any]:
        """The key's limits, as its account sees them: not what follows from them, nor when it was used."""
        listed = self.client("account").get("/v1/keys").json()["data"]
        found: dict[str, Any] = next(row for row in listed if row["id"] == self.keys["itself"]["id"])
        return {name: value for name, value in found.items() if name not in ("left", "last_used_at")}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def made(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.json()
    return found


@dataclass
class House:
    """A lane with two gateways, and a family whose call is in a public batch."""

    world: World
    here: Running
    there: Running

    def credit(self, consumer: Signer) -> None:
        """A million atoms, and a place in the batches."""
        with unit_of_work(self.world.engine) as session:
            lanes.assign(session, PRIVATE_LANE, [consumer.address])
        self.world.deposit(consumer.address, 10**6)

    def family(self) -> Family:
        number = next(_numbers)
        account, other = a_signer(f"account {number}"), a_signer(f"neighbour {number}")
        self.credit(account)
        keys = {
            "manager": made(self.make(account, rights=["manage"])),
            "consumer": made(self.make(other, rights=["manage"])),
        }
        by = self.here.of(account)
        keys["above"] = made(by.post("/v1/keys", json={"rights": ["delegate"], "rate": 1000}))
        keys["sibling"] = made(by.post("/v1/keys", json={"budget": "100000"}))
        limits = {"budget": "1000", "rate": 100, **MODEL_LIMITS}
        keys["itself"] = made(self.here.http.post("/v1/keys", json=limits, headers=bearer(keys["above"]["key"])))
        called = self.here.chat(keys["itself"]["key"])
        assert called.status_code == 200, called.text
        secret = keccak256(b"test", f"account {number}".encode())
        deposit = Digest(os.urandom(32))
        with unit_of_work(self.world.engine) as session:
            asked = DepositRequest(deposit, PRIVATE_LANE, account.address, 7, 0, 0, deposit, b"", status="credited")
            deposits.request(session, asked, now_ms())
        return Family(self.there, account, other, keys, called.headers["tollway-receipt"], secret, deposit)

    def make(self, account: Signer, **limits: Any) -> httpx.Response:
        return self.here.http.post("/v1/keys", json={"voucher": a_voucher(account, 10**12), **limits})


_addresses = count(1)


def _from_elsewhere(request: httpx.Request) -> None:
    """Every request comes from an address of its own: what one address may do in a minute is tried elsewhere."""
    request.headers["X-Forwarded-For"] = str(ipaddress.IPv4Address(0x0A000000 + next(_addresses)))


@pytest.fixture(scope="module")
def house(postgres_server: str) -> Iterator[House]:
    node = Node().start()
    with a_database(postgres_server) as url:
        engine = connect(settings_for(url).sqlalchemy_url)
        world = World(engine, url)
        world.a_model_at(node.url)
        proxied = {"trusted_proxies": "127.0.0.0/8"}
        here, there = world.gateway("here", **proxied), world.gateway("there", **proxied)
        for gateway in (here, there):
            gateway.http.event_hooks["request"].append(_from_elsewhere)
        yield House(world, here, there)
        world.stop()
        engine.dispose()
    node.stop()


@pytest.fixture(scope="module")
def standing(house: House, published: Family) -> Family:
    """A family for acts that change nothing. Its call, made after the batch, is in none."""
    return house.family()


@pytest.fixture(scope="module")
def published(house: House) -> Family:
    """A family whose call is in a public batch."""
    found = house.family()
    work(house.world)
    assert found.client("account").get(f"/v1/receipts/{found.receipt}").json()["batch"]["status"] == "final"
    return found


def list_receipts(family: Family, client: httpx.Client) -> httpx.Response:
    return client.get("/v1/receipts", params={"consumer": to_hex(family.account.address)})


def patch(family: Family, client: httpx.Client, **values: Any) -> httpx.Response:
    before = family.seen()
    response = client.patch(f"/v1/keys/{family.keys['itself']['id']}", json=values)
    after = family.seen()
    assert (after == {**before, **values}) if response.status_code == 200 else (after == before)
    return response


def revoke(family: Family, client: httpx.Client) -> httpx.Response:
    response = client.delete(f"/v1/keys/{family.keys['itself']['id']}")
    assert (family.seen()["revoked_at"] is not None) == (response.status_code == 200)
    return response


def offer_as(family: Family, client: httpx.Client, **more: Any) -> httpx.Response:
    """An offer in the account's name, by whoever acts."""
    signer = {"account": family.account, "gateway": family.there.gateway.signer}.get(family.actor, family.other)
    return client.post("/v1/offers", json=offered_by(family, signer, **more))


def offered_by(family: Family, signer: Signer, **more: Any) -> dict[str, Any]:
    world = family.there.world
    subject = next(iter(family.there.gateway.catalog.by_id))
    return resigned({**world.offer(subject, "http://127.0.0.1:9", family.account), **more}, world, signer)


def publish_offer(family: Family, client: httpx.Client) -> httpx.Response:
    response = offer_as(family, client)
    assert offers_of(family) == (1 if response.status_code == 201 else 0)
    return response


def withdraw_offer(family: Family, client: httpx.Client) -> httpx.Response:
    standing = offered_by(family, family.account)
    assert family.there.http.post("/v1/offers", json=standing).status_code == 201
    response = offer_as(family, client, nonce=standing["nonce"] + 1, withdrawn=True)
    assert offers_of(family) == (0 if response.status_code == 201 else 1)
    return response


def offers_of(family: Family) -> int:
    """The account's offers in force."""
    with unit_of_work(family.there.world.engine) as session:
        return sum(one.party == family.account.address for one in offers.unexpired(session, epoch_now()))


def has(text: str, response: httpx.Response) -> str:
    return "yes" if text in response.text else "no"


def make_below(family: Family, client: httpx.Client, *, below: bool) -> str:
    """`no` when the key that is made is one of the other kind, or another account's."""
    response = client.post("/v1/keys", json={})
    if response.status_code != 201:
        return str(response.status_code)
    key = response.json()
    assert key["account"] in (to_hex(family.account.address), to_hex(family.other.address))
    return "201" if bool(key["made_by"]) == below else "no"


READS: dict[str, Callable[[Family, httpx.Client], str | httpx.Response]] = {
    "read a receipt": lambda f, c: c.get(f"/v1/receipts/{f.receipt}"),
    "read the balance": lambda f, c: c.get("/v1/balance"),
    "read a deposit": lambda f, c: c.get(f"/v1/deposits/{to_hex(f.deposit)}"),
    "list the receipts": list_receipts,
    "see the receipt in the list": lambda f, c: has(f.receipt, list_receipts(f, c)),
    "read the statement": lambda f, c: c.get(f"/v1/statements/{to_hex(f.account.address)}"),
    "read the earnings": lambda f, c: c.get(f"/v1/earnings/{to_hex(f.account.address)}"),
    "read the lane's alarms": lambda f, c: c.get("/v1/alarms"),
    "see the key in the list": lambda f, c: has(f.keys["itself"]["id"], c.get("/v1/keys")),
    "publish glue": lambda f, c: c.post("/v1/documents", content=b"no", headers={"content-type": "application/wasm"}),
    "call a model": lambda f, c: c.post(CALL, json=BODY),
    "try a workflow": lambda f, c: c.post(trials.PATH, json=TRIAL),
    "make a key of the account": lambda f, c: make_below(f, c, below=False),
    "make a key below its own": lambda f, c: make_below(f, c, below=True),
}
PUBLIC: dict[str, Callable[[Family, httpx.Client], str | httpx.Response]] = {
    "read it when it is public": READS["read a receipt"],
    "read its salt when public": lambda f, c: has('"salt"', c.get(f"/v1/receipts/{f.receipt}")),
}
CHANGES: dict[str, Callable[[Family, httpx.Client], str | httpx.Response]] = {
    "loosen the key": lambda f, c: patch(f, c, budget="2000"),
    "give the key a right": lambda f, c: patch(f, c, rights=["delegate"]),
    "tighten the key": lambda f, c: patch(f, c, budget="900"),
    "revoke the key": revoke,
    "rotate its own key": lambda f, c: c.post("/v1/keys/rotate"),
    "publish its offer": publish_offer,
    "withdraw its offer": withdraw_offer,
}


@pytest.mark.parametrize(("act", "actor", "said"), CELLS)
def test_the_table(house: House, standing: Family, published: Family, act: str, actor: str, said: str) -> None:
    family = published if act in PUBLIC else house.family() if act in CHANGES else standing
    answer = ({**READS, **PUBLIC, **CHANGES}[act])(family, family.client(actor))
    assert (answer if isinstance(answer, str) else str(answer.status_code)) == said, answer


def test_the_table_has_every_act() -> None:
    assert {act.values[0] for act in CELLS} == {*READS, *PUBLIC, *CHANGES}


# A voucher: one call, or one key.


def voucher_of(consumer: Signer, cum_max: int) -> dict[str, str]:
    return {"Tollway-Voucher": json.dumps(a_voucher(consumer, cum_max))}


def test_a_voucher_that_was_seen_opens_no_other_call_at_any_gateway(house: House, consumer: Signer) -> None:
    house.credit(consumer)
    seen = voucher_of(consumer, 10**6)
    assert house.here.http.post(CALL, json=BODY, headers=seen).status_code == 200
    for gateway in (house.here, house.there):
        for path, more in ((CALL, {"Idempotency-Key": "stolen"}), ("/v1/invoke", {}), ("/v1/completions", {})):
            refused = gateway.http.post(path, json=BODY, headers={**seen, **more})
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "voucher_not_larger")
    assert len(house.world.receipts_of(consumer.address)) == 1


def test_a_call_by_voucher_is_sent_again_and_charged_once(house: House, consumer: Signer) -> None:
    house.credit(consumer)
    for cum_max, more in ((1_000, {}), (2_000, {"Idempotency-Key": "mine"})):
        headers = {**voucher_of(consumer, cum_max), **more}
        first, again = (house.here.http.post(CALL, json=BODY, headers=headers) for _ in range(2))
        assert (first.status_code, again.status_code, again.content) == (200, 200, first.content)
        other = house.here.http.post(CALL, json={**BODY, "temperature": 1}, headers=headers)
        assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_mismatch")
        elsewhere = house.there.http.post(CALL, json=BODY, headers=headers)
        assert (elsewhere.status_code, elsewhere.json()["error"]["code"]) == (409, "answer_not_kept")
    assert len(house.world.receipts_of(consumer.address)) == 2


def test_a_voucher_whose_call_was_released_opens_no_other_request(world: World, node: Node, consumer: Signer) -> None:
    world.a_model_at(node.url)
    gateway = world.gateway().send_no_probes()
    world.deposit(consumer.address, 10**6)
    mine = {"Tollway-Voucher": json.dumps(gateway.voucher(consumer, 10**6))}
    node.behaviour = dying
    assert gateway.http.post(CALL, json=BODY, headers=mine).status_code == 502
    node.behaviour = answering()
    node.asked.clear()
    stolen = gateway.http.post(CALL, json={**BODY, "messages": [{"role": "user", "content": "mine"}]}, headers=mine)
    assert (stolen.status_code, stolen.json()["error"]["code"]) == (401, "voucher_not_larger")
    assert node.asked == []
    assert gateway.http.post(CALL, json=BODY, headers=mine).status_code == 200
    assert len(world.receipts_of(consumer.address)) == 1


def test_of_calls_that_race_with_one_voucher_one_is_served(house: House, consumer: Signer) -> None:
    house.credit(consumer)

    def call(n: int) -> int:
        gateway = (house.here, house.there)[n % 2]
        headers = {**voucher_of(consumer, 10**6), "Idempotency-Key": f"racer {n}"}
        return httpx.post(f"{gateway.url}{CALL}", json=BODY, headers=headers, timeout=30).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(call, range(8))) == [200] + [401] * 7
    assert len(house.world.receipts_of(consumer.address)) == 1


def test_a_voucher_that_was_seen_makes_no_key(house: House, consumer: Signer) -> None:
    house.credit(consumer)
    assert house.here.http.post(CALL, json=BODY, headers=voucher_of(consumer, 10**6)).status_code == 200
    body = {"voucher": a_voucher(consumer, 10**6)}
    refused = house.there.http.post("/v1/keys", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "voucher_not_larger")
    larger = {"voucher": a_voucher(consumer, 10**6 + 1)}
    assert [house.there.http.post("/v1/keys", json=larger).status_code for _ in range(2)] == [201, 401]
    seen = voucher_of(consumer, 10**6 + 1)
    assert house.here.http.post(CALL, json=BODY, headers=seen).status_code == 401, "a key's voucher opens no call"


def test_who_revokes_a_stolen_key_goes_on_with_vouchers_of_its_own(house: House, consumer: Signer) -> None:
    house.credit(consumer)
    thief, http = a_signer("thief"), house.here.http
    with unit_of_work(house.world.engine) as session:
        parties.put_session_key(session, consumer.address, thief.address)
    stolen = {"Tollway-Voucher": json.dumps(a_voucher(consumer, 2**63 - 1, signer=thief))}
    assert http.post(CALL, json=BODY, headers=stolen).status_code == 200
    assert http.post(CALL, json=BODY, headers=voucher_of(consumer, 10**6)).status_code == 401
    with unit_of_work(house.world.engine) as session:
        parties.put_session_key(session, consumer.address, thief.address, counts_until=10**9)
    assert http.post(CALL, json=BODY, headers=voucher_of(consumer, 10**6)).status_code == 200
    assert http.post(CALL, json={**BODY, "temperature": 1}, headers=stolen).status_code == 401


# Calls are named by their key.


def test_a_kept_answer_is_given_only_to_the_key_that_made_the_call_and_may_call_the_model(
    house: House, consumer: Signer
) -> None:
    house.credit(consumer)
    made(house.make(consumer))
    by = house.here.of(consumer)
    first, second = (made(by.post("/v1/keys", json={})) for _ in range(2))
    forbidden = made(by.post("/v1/keys", json={"models": ["@acme/none"]}))
    names = [
        house.here.chat(key["key"], header_Idempotency_Key="order 1").headers["tollway-receipt"]
        for key in (first, second, first)
    ]
    assert names[0] == names[2] != names[1]
    assert house.here.chat(forbidden["key"], header_Idempotency_Key="order 1").status_code == 403
    assert by.patch(f"/v1/keys/{first['id']}", json={"models": ["@acme/none"]}).status_code == 200
    assert house.here.chat(first["key"], header_Idempotency_Key="order 1").status_code == 403


def test_a_key_that_is_rotated_keeps_its_name_limits_spending_and_calls(house: House, consumer: Signer) -> None:
    house.credit(consumer)
    key = made(house.make(consumer, budget=str(2 * PRICE)))
    before = house.here.chat(key["key"], header_Idempotency_Key="once")
    turned = made(house.here.http.post("/v1/keys/rotate", headers=bearer(key["key"])))
    now = {"key": "", "spent": str(PRICE), "left": str(PRICE), "last_used_at": turned["last_used_at"]}
    assert {**turned, "key": ""} == {**key, **now}
    assert house.here.chat(key["key"]).status_code == 401
    again = house.here.chat(turned["key"], header_Idempotency_Key="once")
    assert (again.status_code, again.content) == (200, before.content)
    assert [house.here.chat(turned["key"]).status_code for _ in range(2)] == [200, 402]
    assert house.here.http.post("/v1/keys/rotate", headers=bearer(key["key"])).status_code == 401


def test_a_key_lists_its_own_calls_page_by_page(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from ledger.store.receipts import receipts

    family = house.family()
    for actor in ("itself", "sibling", "sibling", "itself", "sibling"):
        assert house.here.chat(family.keys[actor]["key"]).status_code == 200
    monkeypatch.setattr(receipts, "LOOKED_THROUGH", 2)
    found, before = [], ""
    for _ in range(10):
        page = (
            family.client("itself")
            .get("/v1/receipts", params={"limit": 1, **({"before": before} if before else {})})
            .json()
        )
        found += [row["noted"]["key"] for row in page["data"]]
        if not page["has_more"]:
            break
        before = page["before"]
    assert found == [family.keys["itself"]["id"]] * 3


# Keys that make keys.


@pytest.fixture
def above(house: House, consumer: Signer) -> dict[str, Any]:
    """A key with `delegate` and every limit."""
    house.credit(consumer)
    soon = int(time.time() * 1000) + 3_600_000
    limits = {"budget": str(5 * PRICE), "rate": 60, "expires_at": soon, **MODEL_LIMITS}
    return made(house.make(consumer, rights=["delegate"], **limits))


def below(house: House, key: dict[str, Any], **limits: Any) -> httpx.Response:
    return house.here.http.post("/v1/keys", json=limits, headers=bearer(key["key"]))


def test_a_sub_key_has_its_makers_limits_where_it_names_none(house: House, above: dict[str, Any]) -> None:
    assert house.here.chat(above["key"]).status_code == 200
    made_below = made(below(house, above, label="agent"))
    same = ("account", "rate", "expires_at", "models")
    assert {name: made_below[name] for name in same} == {name: above[name] for name in same}
    assert made_below["budget"] == str(4 * PRICE), "what is not spent"
    assert (made_below["rights"], made_below["made_by"]) == ([], [above["id"]])


@pytest.mark.parametrize(
    ("limit", "looser"),
    [
        ("budget", str(5 * PRICE + 1)),
        ("rate", 61),
        ("expires_at", 2**60),
        ("models", ["@acme/chat", "@acme/other"]),
        ("rights", ["manage"]),
    ],
)
def test_a_sub_key_is_within_its_makers_limits(house: House, above: dict[str, Any], limit: str, looser: Any) -> None:
    refused = below(house, above, **{limit: looser})
    assert (refused.status_code, refused.json()["error"]["param"]) == (403, limit)


def test_what_sub_keys_spend_at_both_gateways_is_within_their_makers_budget(
    house: House, above: dict[str, Any]
) -> None:
    first = made(below(house, above, rights=["delegate"]))
    keys = [above, first, made(below(house, above)), made(below(house, first))]

    def call(n: int) -> int:
        gateway = (house.here, house.there)[n % 2]
        headers = bearer(keys[n % 4]["key"])
        return httpx.post(f"{gateway.url}{CALL}", json=BODY, headers=headers, timeout=30).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(call, range(24)))
    assert set(statuses) == {200, 402}
    assert 1 <= statuses.count(200) <= 5
    shown = house.here.http.get("/v1/keys", headers=bearer(above["key"])).json()["data"]
    spent = {row["id"]: int(row["spent"]) for row in shown}
    assert spent[above["id"]] == statuses.count(200) * PRICE
    assert spent[above["id"]] >= sum(spent[key["id"]] for key in keys[1:3])


def test_calls_of_sub_keys_count_for_their_makers_rate(house: House, consumer: Signer) -> None:
    house.credit(consumer)
    key = made(house.make(consumer, rights=["delegate"], rate=4))
    sub_keys = [made(below(house, key)) for _ in range(2)]
    statuses = [house.there.chat(one["key"]).status_code for one in sub_keys * 4]
    assert statuses == [200] * 4 + [429] * 4


def test_sub_keys_go_four_deep(house: House, above: dict[str, Any]) -> None:
    key = above
    for depth in range(1, 5):
        key = made(below(house, key, rights=["delegate"]))
        assert len(key["made_by"]) == depth
    assert house.there.chat(key["key"]).status_code == 200
    refused = below(house, key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "too_deep")


def test_a_sub_key_is_revoked_with_the_key_above_it(house: House, above: dict[str, Any]) -> None:
    first = made(below(house, above, rights=["delegate"]))
    second = made(below(house, first))
    sibling = made(below(house, above))
    assert all(house.there.chat(key["key"]).status_code == 200 for key in (second, sibling))
    refused = house.here.http.delete(f"/v1/keys/{above['id']}", headers=bearer(second["key"]))
    assert refused.status_code == 404
    gone = house.here.http.delete(f"/v1/keys/{first['id']}", headers=bearer(above["key"]))
    assert gone.json()["deleted"]
    assert house.here.chat(second["key"]).status_code == 401
    eventually(lambda: house.there.chat(second["key"]).status_code == 401, 5)
    assert house.there.chat(sibling["key"]).status_code == 200


@pytest.mark.parametrize("limit", [{"models": []}, {"expires_at": 1}, {"budget": "0"}])
def test_a_key_that_is_tightened_tightens_what_is_below_it(
    house: House, above: dict[str, Any], limit: dict[str, Any]
) -> None:
    sub_key = made(below(house, above))
    assert house.here.http.patch(f"/v1/keys/{above['id']}", json=limit, headers=bearer(above["key"])).status_code == 200
    assert house.here.chat(sub_key["key"]).status_code in (401, 402, 403)
    eventually(lambda: house.there.chat(sub_key["key"]).status_code in (401, 402, 403), 5)


def test_sub_keys_are_counted(house: House, above: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_routes, "MAX_SUB_KEYS", 2)
    first, _ = made(below(house, above, rights=["delegate"])), made(below(house, above))
    assert below(house, above).json()["error"]["code"] == "too_many_keys"
    assert house.here.http.delete(f"/v1/keys/{first['id']}", headers=bearer(above["key"])).status_code == 200
    made(below(house, above))


def test_a_managing_key_that_was_revoked_makes_no_key_at_a_gateway_that_does_not_know_yet(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house.there.gateway.authenticator, "_fresh_ms", 10**9)
    family = house.family()
    manager = family.keys["manager"]
    assert family.client("manager").get("/v1/keys").status_code == 200, "it is known at the other gateway now"
    assert house.here.of(family.account).delete(f"/v1/keys/{manager['id']}").status_code == 200
    before = len(family.client("account").get("/v1/keys").json()["data"])
    itself = family.keys["itself"]["id"]
    for refused in (
        family.client("manager").post("/v1/keys", json={"rights": ["manage"]}),
        family.client("manager").patch(f"/v1/keys/{itself}", json={"budget": None}),
        family.client("manager").delete(f"/v1/keys/{itself}"),
        family.client("manager").post("/v1/keys/rotate"),
    ):
        assert refused.status_code == 401
    assert len(family.client("account").get("/v1/keys").json()["data"]) == before


# A fresh signature of the account.


def signed(
    account: Signer, method: str, target: str, body: bytes, *, at: int | None = None, by: Signer | None = None
) -> str:
    at = int(time.time() * 1000) if at is None else at
    hashed = request_hash(PRIVATE_LANE, account.address, request_digest(method, target.encode(), body), at)
    signature = to_hex((by or account).sign(signing_digest(DOMAIN, hashed)))
    return json.dumps({"account": to_hex(account.address), "at": at, "signature": signature})


def test_a_signature_is_for_one_request_and_a_minute(house: House, consumer: Signer) -> None:
    now = int(time.time() * 1000)
    path = f"/v1/earnings/{to_hex(consumer.address)}"

    def ask(header: str, target: str = path) -> int:
        return house.there.http.get(target, headers={"Tollway-Account": header}).status_code

    assert ask(signed(consumer, "GET", path, b"")) == 200
    assert ask(signed(consumer, "GET", path + "?x=1", b""), path + "?x=1") == 200
    assert ask(signed(consumer, "GET", path, b""), path + "?x=1") == 401
    assert ask(signed(consumer, "DELETE", path, b"")) == 401
    assert ask(signed(consumer, "GET", path, b"body")) == 401
    assert ask(signed(consumer, "GET", path, b"", at=now - 61_000)) == 401
    assert ask(signed(consumer, "GET", path, b"", at=now + 90_000)) == 401
    assert ask(signed(consumer, "GET", path, b"", by=a_signer("thief"))) == 401
    for nonsense in (
        "{",
        "[]",
        "{}",
        '{"account":"0x00","at":1,"signature":"0x"}',
        '{"account":1,"at":1e99,"signature":2}',
    ):
        assert ask(nonsense) == 400
    with unit_of_work(house.world.engine) as session:
        parties.put_session_key(session, consumer.address, a_signer("session").address)
    assert ask(signed(consumer, "GET", path, b"", by=a_signer("session"))) == 200


def test_a_signed_change_is_taken_once(house: House, consumer: Signer) -> None:
    body = json.dumps({"label": "mine"}).encode()
    headers = {"Tollway-Account": signed(consumer, "POST", "/v1/keys", body), "content-type": "application/json"}
    answers = [gateway.http.post("/v1/keys", content=body, headers=headers) for gateway in (house.here, house.there)]
    assert [answer.status_code for answer in answers] == [201, 409]
    other = json.dumps({"label": "mine", "rights": ["manage"]}).encode()
    assert house.there.http.post("/v1/keys", content=other, headers=headers).status_code == 401


# Receipts and batches.


def test_a_receipt_is_not_there_for_a_stranger_who_guesses_its_number_or_key(house: House) -> None:
    http, receipt = house.there.http, house.family().receipt
    for number in range(1, 4):
        answer = http.get(f"/v1/receipts/{to_hex(house.here.gateway.signer.address)}-{number}")
        assert "salt" not in answer.text
        assert answer.status_code == 404 or answer.json()["batch"] is not None
    assert http.get(f"/v1/receipts/{receipt}").json()["error"]["code"] == "no_such_receipt"


def test_a_batch_that_is_not_public_has_no_file(house: House) -> None:
    from ledger.flows import batches
    from ledger.flows import postings as posting
    from tests.gateway.test_private_grid import LANE

    family = house.family()
    receipt = family.receipt

    def place() -> dict[str, Any]:
        found: dict[str, Any] = family.client("account").get(f"/v1/receipts/{receipt}").json()["batch"]
        return found

    with unit_of_work(house.world.engine) as session:
        for gateway in posting.due(session, PRIVATE_LANE):
            posting.post_chunk(session, PRIVATE_LANE, gateway, 10_000, now_ms())
    with unit_of_work(house.world.engine) as session:
        parties.assign(session, PRIVATE_LANE, batches.missing_payees(session, PRIVATE_LANE))
        batches.close(session, LANE, 1, now_ms())
    newest = house.there.http.get("/v1/settlement/batches").json()["data"][0]
    assert newest["status"] == "built"
    assert house.there.http.get(newest["file"]).status_code == 404
    assert house.there.http.get(f"/v1/receipts/{receipt}").status_code == 404
    assert place() == {"number": newest["number"], "status": "built", "public": False}
    work(house.world)
    assert place() == {"number": newest["number"], "status": "final", "public": True}
    assert house.there.http.get(newest["file"]).status_code == 200
    assert house.there.http.get(f"/v1/receipts/{receipt}").status_code == 200


# Offers: their party's, with the credentials that it signed.


def offered(world: World, subject: Digest, url: str, nonce: int, **more: Any) -> dict[str, Any]:
    """A signed offer of the provider."""
    serve = more.pop("serve", {})
    return resigned({**world.offer(subject, url, PROVIDER, **serve), "nonce": nonce, **more}, world, PROVIDER)


def resigned(offer: dict[str, Any], world: World, signer: Signer) -> dict[str, Any]:
    """An offer with the signature of this signer."""
    body = {name: value for name, value in offer.items() if name != "signature"}
    return {**body, "signature": to_hex(signer.sign(signing_digest(world.domain, offer_hash(digest(body)))))}


def rows(world: World, table: Any) -> int:
    with unit_of_work(world.engine) as session:
        return int(session.execute(select(func.count()).select_from(table)).scalar_one())


SALT = b"\x07" * 32


def with_credentials(world: World, subject: Digest, url: str, nonce: int, given: dict[str, str]) -> dict[str, Any]:
    named = to_hex(models.credentials_hash(SALT, given))
    offer = offered(world, subject, url, nonce, serve={"credentials": named})
    return {"offer": offer, "credentials": given, "salt": to_hex(SALT)}


def test_credentials_are_those_that_the_offers_party_signed(
    world: World, gateway: Running, node: Node, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10**6)
    subject = next(iter(gateway.gateway.catalog.by_id))
    now = int(time.time() * 1000)
    good = with_credentials(world, subject, node.url, now + 1, {"X-Api-Key": "GOOD"})
    post = gateway.http.post
    assert post("/v1/offers", json=good).status_code == 201
    key = gateway.key(consumer)
    eventually(lambda: gateway.chat(key) and node.asked[-1].headers.get("x-api-key") == "GOOD")
    garbage = {"X-Api-Key": "GARBAGE"}
    plain = offered(world, subject, node.url, now + 2)
    for attack in (
        {**good, "credentials": garbage},
        {**good, "salt": to_hex(bytes(32))},
        {"offer": good["offer"]},
        {"offer": good["offer"], "credentials": None, "salt": good["salt"]},
        good["offer"],
        {"offer": plain, "credentials": garbage, "salt": to_hex(SALT)},
        {"offer": plain, "credentials": garbage},
    ):
        assert post("/v1/offers", json=attack).status_code == 400, attack
    assert post("/v1/offers", json=good).status_code == 201, "the same again changes nothing"
    assert gateway.chat(key).status_code == 200
    assert node.asked[-1].headers["x-api-key"] == "GOOD"
    assert post("/v1/offers", json=plain).status_code == 201
    assert rows(world, CredentialRow) == 0, "credentials end with their offer"


def test_an_offer_is_replaced_by_a_newer_one_of_its_party_alone(world: World, gateway: Running, node: Node) -> None:
    subject = next(iter(gateway.gateway.catalog.by_id))
    now = int(time.time() * 1000)
    newer, older = (offered(world, subject, node.url, now + n) for n in (2, 1))
    twin = offered(world, subject, "http://127.0.0.1:9", now + 2)
    forged = {**newer, "nonce": now + 3}
    statuses = [gateway.http.post("/v1/offers", json=one).status_code for one in (newer, older, twin, forged, newer)]
    assert statuses == [201, 400, 400, 400, 201]


def test_a_party_withdraws_its_offer_and_nobody_brings_it_back(
    world: World, gateway: Running, node: Node, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    subject = next(iter(gateway.gateway.catalog.by_id))
    now = int(time.time() * 1000)
    standing = with_credentials(world, subject, node.url, now + 1, {"X-Api-Key": "GOOD"})
    assert gateway.http.post("/v1/offers", json=standing).status_code == 201
    gone = offered(world, subject, node.url, now + 2, withdrawn=True)
    forged = {**gone, "party": to_did("thief"), "nonce": now + 3}
    assert gateway.http.post("/v1/offers", json=forged).status_code == 400
    assert gateway.chat(key).status_code == 200
    assert gateway.http.post("/v1/offers", json=gone).json()["withdrawn"] is True
    eventually(lambda: gateway.http.get("/v1/models").json()["data"] == [])
    assert gateway.chat(key).status_code == 503
    assert rows(world, CredentialRow) == 0
    assert gateway.http.post("/v1/offers", json=standing).status_code == 400
    assert gateway.http.post("/v1/offers", json=gone).status_code == 201
    assert gateway.http.post("/v1/offers", json=offered(world, subject, node.url, now + 4)).status_code == 201
    eventually(lambda: gateway.chat(key).status_code == 200)


def to_did(name: str) -> str:
    return f"did:pkh:eip155:0:{to_hex(a_signer(name).address)}"


def test_a_bid_of_a_private_grid_is_not_placed_again_by_who_saw_it(world: World, gateway: Running) -> None:
    subject = next(iter(gateway.gateway.catalog.by_id))
    now = int(time.time() * 1000)

    def bid(ask: str, nonce: int) -> int:
        whole = offered(world, subject, "http://x", nonce, role="delivery", bid={"ratio_ppm": 0, "ask": {"byte": ask}})
        body = {name: value for name, value in whole.items() if name not in ("serve", "signature")}
        signature = to_hex(PROVIDER.sign(signing_digest(world.domain, offer_hash(digest(body)))))
        return gateway.http.post("/v1/offers", json={**body, "signature": signature}).status_code

    assert [bid("1", now + 1), bid("5", now + 2), bid("1", now + 1)] == [201, 201, 400]


# The command line.


def test_the_command_line_acts_as_its_wallets_account_or_as_the_key_it_was_given(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    family = house.family()
    monkeypatch.setenv("TOLLWAY_HOME", str(tmp_path))
    monkeypatch.setenv("TOLLWAY_PASSWORD", "correct horse")
    monkeypatch.setenv("TOLLWAY_GATEWAY", house.there.url)
    keystore.create("me", family.secret, strength=keystore.LIGHT)

    def run(*words: str, key: str = "", code: int = 0) -> Any:
        with monkeypatch.context() as patched:
            if key:
                patched.setenv("TOLLWAY_API_KEY", key)
            assert main.run([*words, "--json", "--wallet", "me"]) == code, capsys.readouterr()
        said = capsys.readouterr()
        return json.loads(said.out) if said.out else said.err

    above, itself = family.keys["above"], family.keys["itself"]
    assert int(run("consumer", "balance")["spent"]) == PRICE
    assert "salt" in run("consumer", "receipt", family.receipt)["noted"]
    assert [row["id"] for row in run("consumer", "keys", key=itself["key"])] == [itself["id"]]
    assert {row["id"] for row in run("consumer", "keys")} == {
        family.keys[n]["id"] for n in family.keys if n != "consumer"
    }
    assert run("consumer", "balance", key=itself["key"], code=1)["status"] == 403
    assert run("provider", "earnings")["roles"] == []
    words = ("--budget", "300atoms", "--model", "@acme/chat", "--rate", "9", "--minutes", "5", "--label", "agent")
    agent = run("consumer", "sub-key", *words, key=above["key"])
    assert (agent["budget"], agent["models"], agent["rate"]) == ("300", ["@acme/chat"], 9)
    assert house.here.chat(agent["key"]).status_code == 200
    assert run("consumer", "revoke", agent["id"], key=above["key"])["deleted"]
    assert house.there.chat(agent["key"]).status_code == 401
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "me").write_text(itself["key"])
    turned = run("consumer", "rotate-key")
    assert turned["id"] == itself["id"]
    assert house.there.chat(Path(turned["kept_in"]).read_text()).status_code == 200


def test_a_provider_withdraws_its_offer_by_one_command(
    world: World,
    gateway: Running,
    node: Node,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TOLLWAY_HOME", str(tmp_path))
    monkeypatch.setenv("TOLLWAY_PASSWORD", "correct horse")
    for name in ("provider", "thief"):
        keystore.create(name, keccak256(b"test", name.encode()), strength=keystore.LIGHT)

    def withdraw(wallet: str) -> tuple[bool, bool]:
        words = ["provider", "withdraw", "@acme/chat", "--gateway", gateway.url, "--json", "--wallet"]
        assert main.run([*words, wallet]) == 0
        said = json.loads(capsys.readouterr().out)
        return said["withdrawn"], said["ended"]

    subject = next(iter(gateway.gateway.catalog.by_id))
    ahead = offered(world, subject, node.url, now_ms() + 10**9)
    assert gateway.http.post("/v1/offers", json=ahead).status_code == 201
    assert withdraw("thief") == (True, False), "its own offer, of which there is none"
    assert [row["id"] for row in gateway.http.get("/v1/models").json()["data"]] == ["@acme/chat"]
    assert withdraw("provider") == (True, True), "by whatever clock it was offered"
    eventually(lambda: gateway.http.get("/v1/models").json()["data"] == [])
    assert withdraw("provider") == (True, False)
    assert gateway.http.post("/v1/offers", json=ahead).status_code == 400, "what is withdrawn does not come back"


def test_a_withdrawal_is_seen_by_gateways_whose_clocks_differ(world: World, gateway: Running, node: Node) -> None:
    gone = offered(world, next(iter(gateway.gateway.catalog.by_id)), node.url, now_ms() + 1, withdrawn=True)
    with unit_of_work(world.engine) as session:
        publications.publish_offer(session, gone, world.domain, epoch_now(), None, 1)
    eventually(lambda: gateway.http.get("/v1/models").json()["data"] == [])


# Anonymous writes: nothing is stored without its owner's signature.


def test_a_document_is_published_by_its_owner(world: World, gateway: Running) -> None:
    document = a_model("@acme/other")
    before = rows(world, DocumentRow)

    def post(body: dict[str, Any]) -> int:
        return gateway.http.post("/v1/documents", json=body).status_code

    def by(signer: Signer, domain: Domain = DOMAIN) -> dict[str, object]:
        return signing.document(signer, domain, document)

    maker = a_signer("maker")
    offer_like = maker.sign(signing_digest(DOMAIN, offer_hash(digest(document))))
    for body in (
        document,
        {"document": document},
        {"document": document, "signature": "0x"},
        {"document": document, "signature": "zz"},
        {"document": document, "signature": to_hex(offer_like)},
        {**by(maker), "more": 1},
        by(a_signer("thief")),
        by(maker, Domain(1)),
        {**by(maker), "document": {**document, "version": "1.0.1"}},
    ):
        assert post(body) == 400, body
    assert rows(world, DocumentRow) == before
    assert [post(by(maker)) for _ in range(2)] == [201, 201]
    shown = gateway.http.get(f"/v1/documents/{cid(digest(document))}")
    signature = bytes.fromhex(shown.headers["tollway-signature"][2:])
    assert signature == maker.sign(signing_digest(DOMAIN, document_hash(digest(document))))


@pytest.fixture
def chain(engine: Engine, postgres_url: str, tmp_path: Path) -> Iterator[World]:
    """A lane of a chain."""
    world = World(engine, postgres_url, deployment=save(a_deployment(), tmp_path))
    world.open_lane()
    yield world
    world.stop()


def by_voucher(at: Running, party: Signer, path: str) -> int:
    """The status of a call, or of a request for a key, by a party's voucher."""
    voucher = at.voucher(party, 10**6)
    if path == "/v1/keys":
        return at.http.post(path, json={"voucher": voucher}).status_code
    return at.http.post(path, json=BODY, headers={"Tollway-Voucher": json.dumps(voucher)}).status_code


def test_a_voucher_of_an_account_without_a_deposit_leaves_no_row(chain: World) -> None:
    strangers, at = [a_signer(f"stranger {n}") for n in range(3)], chain.gateway()
    for path in (CALL, "/v1/keys"):
        assert [by_voucher(at, one, path) for one in strangers] == [402] * 3
    assert rows(chain, VoucherRow) == 0
    chain.deposit(strangers[0].address, 10**6)
    assert [by_voucher(at, one, "/v1/keys") for one in strangers] == [201, 402, 402]
    assert rows(chain, VoucherRow) == 1


def test_on_a_private_grid_a_key_may_come_before_the_credit(world: World, gateway: Running) -> None:
    early = a_signer("early")
    assert by_voucher(gateway, early, CALL) == 402
    assert rows(world, VoucherRow) == 0
    assert by_voucher(gateway, early, "/v1/keys") == 201


def test_a_deposit_is_stored_when_its_account_signed_it(engine: Engine, postgres_url: str, tmp_path: Path) -> None:
    world = World(engine, postgres_url, deployment=save(a_deployment(), tmp_path))
    world.open_lane()
    gateway, payer = world.gateway(), a_signer("payer")
    token = a_deployment().token_domain
    until = int(time.time()) + 3_600

    def deposit(amount: int, signature: bytes | None = None) -> int:
        salt = Digest(os.urandom(32))
        nonce = keccak256(word(world.lane), word(payer.address), salt)
        asked = TokenAuthorization(payer.address, world.lane, 1_000, 0, until, nonce)
        given = signature or payer.sign(signing_digest(token, asked.hash(RECEIVE_TYPEHASH)))
        body = {"account": to_hex(payer.address), "amount": str(amount), "valid_after": 0, "valid_before": until}
        body |= {"salt": to_hex(salt), "signature": to_hex(given)}
        return gateway.http.post("/v1/deposits", json=body).status_code

    try:
        assert [deposit(1_000, os.urandom(64) + b"\x1b") for _ in range(3)] == [401] * 3
        assert deposit(1_001) == 401
        assert rows(world, DepositRow) == 0
        assert deposit(1_000) == 202
        assert rows(world, DepositRow) == 1
    finally:
        world.stop()
