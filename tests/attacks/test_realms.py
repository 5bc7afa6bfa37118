"""A realm, from outside: whoever does not belong to it gets, in every way there is to ask, the answer that was given
before there was one.
"""

from __future__ import annotations

import base64
import json
import re
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from gateway.api.schemas.bodies import Format
from ledger.core.catalog import realms
from ledger.core.catalog.bids import Role
from ledger.core.values.documents import digest
from ledger.core.values.ids import Digest, cid, did, to_hex
from ledger.core.values.typed_data import Signer
from tests.gateway.nodes import Node, dying, streaming
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import DOMAIN, MAKER, PROVIDER, Running, World, a_model, a_realm, a_signer

ACME, RIVAL = a_signer("acme"), a_signer("rival")
MEMBER, HOLDER = a_signer("a member"), a_signer("a holder of a token")
STRANGER, EXPELLED, EXPIRED = a_signer("a stranger"), a_signer("an expelled member"), a_signer("a former holder")
NEIGHBOUR, THIEF, FORGER = a_signer("a rival's member"), a_signer("who saw a token"), a_signer("who signs tokens")
REALM, OTHER = f"{to_hex(ACME.address)}/inside", f"{to_hex(RIVAL.address)}/inside"
SECRET, PUBLIC = "@acme/secret", "@acme/chat"
SECRET_MODEL = a_model(SECRET, execution={"runtime": "test", "determinism": "none", "min_memory_mb": 64})
SECRET_ID = cid(digest(SECRET_MODEL))
HOUR_MS = 3_600_000
VOLATILE = re.compile(r'"(book_root|root|required)":("[^"]*"|\{[^{}]*\}),?')
"""The book is public, and so is its root. `required` repeats what was asked."""


def a_token(account: Signer, owner: Signer = ACME, ends_in_ms: int = HOUR_MS) -> str:
    """A token of the owner's realm."""
    return realms.sign_token(owner, DOMAIN, "inside", account.address, int(time.time() * 1000) + ends_in_ms)


def a_forged_token(account: Signer) -> str:
    """A token of ACME's realm that somebody else signed."""
    honest, theirs = realms.read_token(a_token(account)), realms.read_token(a_token(account, FORGER))
    raw = realms._TOKEN.pack(ACME.address, account.address, honest.until, theirs.signature) + b"inside"
    return realms.PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Outsider:
    """Somebody who does not belong to the realm, and what it says to get in."""

    who: Signer | None
    says: str | None


OUTSIDERS = {
    "nobody": Outsider(None, None),
    "nobody who names it": Outsider(None, REALM),
    "a stranger": Outsider(STRANGER, None),
    "a stranger who names it": Outsider(STRANGER, REALM),
    "an expelled member": Outsider(EXPELLED, REALM),
    "an expelled member with its token": Outsider(EXPELLED, a_token(EXPELLED)),
    "a former holder whose token has ended": Outsider(EXPIRED, a_token(EXPIRED, ends_in_ms=-1)),
    "a member of another realm": Outsider(NEIGHBOUR, REALM),
    "a member of another realm with its token of it": Outsider(NEIGHBOUR, a_token(NEIGHBOUR, RIVAL)),
    "who stole a token": Outsider(THIEF, a_token(HOLDER)),
    "who forged a token": Outsider(FORGER, a_forged_token(FORGER)),
    "the owner's namesake": Outsider(STRANGER, f"{to_hex(STRANGER.address)}/inside"),
}


@dataclass
class Asker:
    """One outsider at the gateway: what it is answered, in every way."""

    gateway: Running
    outsider: Outsider
    key: str | None = None
    answers: dict[str, str] = field(default_factory=dict)

    def headers(self, **more: str) -> dict[str, str]:
        """What it sends with a request."""
        realm = {"Tollway-Realm": self.outsider.says} if self.outsider.says else {}
        return ({"Authorization": f"Bearer {self.key}"} if self.key else {}) | realm | more

    def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        """Send a body."""
        return self.gateway.http.post(path, content=json.dumps(body), headers=self.headers(**headers))

    def get(self, path: str) -> httpx.Response:
        """Ask for something."""
        return self.gateway.http.get(path, headers=self.headers())

    def tool(self, name: str, **arguments: object) -> httpx.Response:
        """Use a tool of MCP."""
        asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
        return self.post("/mcp", asked, **{"Accept": "application/json", "Content-Type": "application/json"})

    def say(self, name: str, method: str) -> httpx.Response:
        """Send a message by A2A."""
        message = {"messageId": name, "role": "ROLE_USER", "parts": [{"text": "hi"}]}
        return self.post(f"/a2a/{name}", {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"message": message}})

    def ask(self) -> dict[str, str]:
        """Every way there is to ask for the secret model, and for what there is. Answers are compared as texts."""
        messages = [{"role": "user", "content": "hi"}]
        said: dict[str, httpx.Response] = {}
        for name in (SECRET, SECRET_ID):
            chat = {"model": name, "messages": messages, "max_tokens": 5}
            said |= {
                f"chat {name}": self.post("/v1/chat/completions", chat),
                f"stream {name}": self.post("/v1/chat/completions", {**chat, "stream": True}),
                f"keyed {name}": self.post("/v1/chat/completions", chat, **{"Idempotency-Key": f"same {name}"}),
                f"cheap {name}": self.post("/v1/chat/completions", chat, **{"Tollway-Max-Price": "1"}),
                f"near {name}": self.post("/v1/chat/completions", chat, **{"Tollway-Tiers": "enterprise"}),
                f"completion {name}": self.post("/v1/completions", {"model": name, "prompt": "hi"}),
                f"embeddings {name}": self.post("/v1/embeddings", {"model": name, "input": "hi"}),
                f"rerank {name}": self.post("/v1/rerank", {"model": name, "query": "hi", "documents": ["ho"]}),
                f"invoke {name}": self.post("/v1/invoke", {"model": name, "input": {"messages": messages}}),
                f"infer {name}": self.post(f"/v2/models/{name}/infer", {"inputs": []}),
                f"quote {name}": self.post("/v1/quote", {"model": name}),
                f"model {name}": self.get(f"/v1/models/{name}"),
                f"infer version {name}": self.post(f"/v2/models/{name}/versions/1.0.0/infer", {"inputs": []}),
                f"version {name}": self.get(f"/v2/models/{name}/versions/1.0.0"),
                f"metadata {name}": self.get(f"/v2/models/{name}"),
                f"ready {name}": self.get(f"/v2/models/{name}/ready"),
            } | {f"{one} of {name}": self.get(f"/v1/models/{name}/exports/{one.value}") for one in Format}
        discover = {"task": "text-generation", "sponsored": True}
        said |= {
            "nearest": self.get("/v1/models/@acme/secrets"),
            "models": self.get("/v1/models"),
            "all models": self.get("/v1/models?all=true"),
            "discover": self.post("/v1/discover", discover),
            "discover dear": self.post("/v1/discover", {**discover, "tiers": ["enterprise"]}),
            "discover other": self.post("/v1/discover", {"task": "image-generation"}),
            "agent finds": self.tool("find_models", task="text-generation"),
            "agent calls": self.tool("call", model=SECRET, input={"messages": messages}),
            "agent says": self.say(SECRET, "SendMessage"),
            "agents' card": self.get("/.well-known/agent-card.json"),
            "llms.txt": self.get("/llms.txt"),
            "document": self.get(f"/v1/documents/{SECRET_ID}"),
            "flow": self.get("/v1/models/@acme/flow"),
            "overview page": self.get("/"),
            "models page": self.get("/models?all=true"),
            "found page": self.get("/models?all=true&q=secret"),
            "model page": self.get(f"/models/{SECRET}"),
            "id page": self.get(f"/models/{SECRET_ID}"),
            "realm": self.get(f"/v1/realms/{REALM}"),
            "offer": self.get(f"/v1/offers/{SECRET_ID}/{to_hex(PROVIDER.address)}"),
        }
        if self.outsider.who is not None:
            said |= self.sign(self.outsider.who)
        texts = {way: f"{one.status_code} {one.text}".replace('\\"', '"') for way, one in said.items()}
        return {way: VOLATILE.sub("", text) for way, text in texts.items()}  # also in a text that is JSON itself

    def sign(self, who: Signer) -> dict[str, httpx.Response]:
        """The same by the account's own signature, and what only an account may ask."""
        realm = {"Tollway-Realm": self.outsider.says} if self.outsider.says else {}
        mine = f"/v1/statements/{to_hex(who.address)}"
        offers = [
            self.gateway.world.offer(digest(SECRET_MODEL), "http://127.0.0.1:9", who, memory_mb=1, **more)
            for more in ({}, {"realm": REALM})
        ]
        with self.gateway.of(who) as http:
            return {
                "signed models": http.get("/v1/models?all=true", headers=realm),
                "signed model": http.get(f"/v1/models/{SECRET}", headers=realm),
                "signed document": http.get(f"/v1/documents/{SECRET_ID}", headers=realm),
                "signed realm": http.get(f"/v1/realms/{REALM}", headers=realm),
                "statement": http.get(f"{mine}?model={SECRET}", headers=realm),
                "statement by id": http.get(f"{mine}?model={SECRET_ID}", headers=realm),
                "offer of too little memory": http.post("/v1/offers", json=offers[0]),
                "offer of too little memory in it": http.post("/v1/offers", json=offers[1]),
            }


@dataclass
class Grid:
    """A gateway with a public model, and outsiders at it."""

    world: World
    gateway: Running
    inner: Node
    askers: dict[str, Asker] = field(default_factory=dict)

    def open(self) -> None:
        """ACME's realm, with a model of its own: served by a member in tier `enterprise`, called by members."""
        self.world.realm(RIVAL, NEIGHBOUR)
        self.admit(MEMBER, PROVIDER, EXPELLED)
        self.world.publish(SECRET_MODEL)
        self.world.serve(digest(SECRET_MODEL), self.inner.url, realm=REALM, tier="enterprise")
        eventually(lambda: self.chat(MEMBER).status_code == 200)

    def admit(self, *members: Signer, expelled: tuple[Signer, ...] = ()) -> None:
        """ACME's list, published at the gateway."""
        time.sleep(0.002)  # the next list has a higher nonce
        answer = self.gateway.http.post("/v1/realms", json=a_realm(ACME, *members, expelled=expelled))
        assert answer.status_code == 201, answer.text

    def chat(self, who: Signer, says: str = REALM, **more: Any) -> httpx.Response:
        """A call of the secret model in the realm."""
        return self.gateway.chat(self.keys[who.address], SECRET, header_tollway_realm=says, **more)

    def expel(self) -> None:
        """The realm's owner expels a member: it is refused from now on."""
        self.admit(MEMBER, PROVIDER, expelled=(EXPELLED,))
        eventually(lambda: self.askers["an expelled member"].get(f"/v1/models/{SECRET}").status_code == 404)

    def make_keys(self) -> None:
        """Every account has money and a key."""
        self.keys = {}
        for who in (MEMBER, HOLDER, STRANGER, EXPELLED, EXPIRED, NEIGHBOUR, THIEF, FORGER, ACME):
            self.world.deposit(who.address, 10**7)
            self.keys[who.address] = self.gateway.key(who)
        for name, outsider in OUTSIDERS.items():
            key = self.keys[outsider.who.address] if outsider.who is not None else None
            self.askers[name] = Asker(self.gateway, outsider, key)


@pytest.fixture
def grid(world: World, gateway: Running, other_node: Node) -> Grid:
    made = Grid(world, gateway, other_node)
    made.make_keys()
    return made


def test_no_way_to_ask_tells_an_outsider_of_a_realm(grid: Grid) -> None:
    before = {name: asker.ask() for name, asker in grid.askers.items()}
    for name in ("a stranger", "nobody"):
        assert PUBLIC in before[name]["models"], "outsiders see what is for everybody"
    grid.open()
    assert grid.askers["an expelled member"].get(f"/v1/models/{SECRET}").status_code == 200, "not yet expelled"
    grid.expel()
    assert grid.chat(HOLDER, a_token(HOLDER)).status_code == 200
    asked = len(grid.inner.asked)
    for name, asker in grid.askers.items():
        after = asker.ask()
        told = {way: (before[name][way], said) for way, said in after.items() if said != before[name][way]}
        assert told == {}, name
    assert len(grid.inner.asked) == asked, "nothing of an outsider reached the node"


def test_a_gateway_shows_no_document_before_it_knows_whose_it_is(world: World, node: Node) -> None:
    """Its id is on the chain before: who asked the lane's other gateways at once was shown a realm's."""
    gateway = world.gateway(book_seconds=3_600)
    world.realm(ACME, PROVIDER)
    world.publish(SECRET_MODEL)
    world.serve(digest(SECRET_MODEL), node.url, realm=REALM, tier="enterprise")
    assert gateway.http.get(f"/v1/documents/{SECRET_ID}").status_code == 404


def test_members_see_and_call_what_is_in_their_realm_and_nothing_else(grid: Grid) -> None:
    grid.open()
    own = {"Tollway-Realm": REALM}
    for who, says in ((MEMBER, REALM), (HOLDER, a_token(HOLDER)), (ACME, REALM)):
        headers = {"Authorization": f"Bearer {grid.keys[who.address]}", "Tollway-Realm": says}
        listed = grid.gateway.http.get("/v1/models", headers=headers).json()["data"]
        assert [(row["id"], row["providers"][0]["tier"]) for row in listed] == [(SECRET, "enterprise")]
        assert grid.gateway.http.get(f"/v1/documents/{SECRET_ID}", headers=headers).status_code == 200
        for one in Format:
            answer = grid.gateway.http.get(f"/v1/models/{SECRET}/exports/{one.value}", headers=headers)
            assert (answer.status_code, REALM in answer.text) == (200, one is not Format.erc8004)
        quote = grid.gateway.http.post("/v1/quote", json={"model": SECRET}, headers=headers)
        assert quote.json()["price"] == "115", quote.text
        found = grid.gateway.http.post("/v1/discover", json={"task": "text-generation"}, headers=headers).json()
        assert [row["name"] for row in found["results"]] == [SECRET]
        assert grid.chat(who, says).status_code == 200
    with grid.gateway.of(MEMBER) as http:
        assert [row["id"] for row in http.get("/v1/models", headers=own).json()["data"]] == [SECRET]
    answer = grid.gateway.chat(grid.keys[MEMBER.address], PUBLIC, header_tollway_realm=REALM)
    assert (answer.status_code, "admit" in answer.json()["error"]["message"]) == (404, True)
    assert grid.gateway.chat(grid.keys[MEMBER.address], PUBLIC).status_code == 200


def test_a_membership_ends_with_its_token_though_the_token_was_seen_before(grid: Grid) -> None:
    grid.open()
    token = a_token(HOLDER, ends_in_ms=1_500)
    assert grid.chat(HOLDER, token).status_code == 200
    until = realms.read_token(token).until
    eventually(lambda: int(time.time() * 1000) >= until)
    assert grid.chat(HOLDER, token).status_code == 404


def test_expelling_ends_tokens_and_kept_answers_at_once(grid: Grid) -> None:
    grid.open()
    token = a_token(HOLDER)
    kept = grid.chat(HOLDER, token, header_idempotency_key="mine")
    assert kept.status_code == 200
    grid.admit(MEMBER, PROVIDER, expelled=(HOLDER,))
    eventually(lambda: grid.chat(HOLDER, token).status_code == 404)
    assert grid.chat(HOLDER, token, header_idempotency_key="mine").status_code == 404


def test_a_key_carries_its_realm(grid: Grid) -> None:
    grid.open()
    key = grid.gateway.key(HOLDER, 10**12 + 1, realm=a_token(HOLDER))
    headers = {"Authorization": f"Bearer {key}"}
    assert grid.gateway.chat(key, SECRET).status_code == 200
    assert [row["id"] for row in grid.gateway.http.get("/v1/models", headers=headers).json()["data"]] == [SECRET]
    assert grid.gateway.chat(key, PUBLIC).status_code == 404
    assert grid.gateway.chat(key, PUBLIC, header_tollway_realm="").status_code == 200
    stolen = grid.gateway.key(THIEF, 10**12 + 1, realm=a_token(HOLDER))
    assert grid.gateway.chat(stolen, SECRET).status_code == 404


def test_a_voucher_opens_a_realm_to_its_account_only(grid: Grid) -> None:
    grid.open()
    body = {"model": SECRET, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
    for who, status in ((MEMBER, 200), (STRANGER, 404)):
        headers = {"Tollway-Voucher": json.dumps(grid.gateway.voucher(who, 2 * 10**12)), "Tollway-Realm": REALM}
        assert grid.gateway.http.post("/v1/chat/completions", json=body, headers=headers).status_code == status


def test_no_metric_and_no_count_shows_a_realm(grid: Grid) -> None:
    http, metrics = grid.gateway.http, grid.gateway.gateway.metrics
    metrics.text_seconds = 0.0

    def shown() -> tuple[set[str], dict[str, Any]]:
        named = re.compile(r"tollway_(calls|receipts|charged|tokens|call_s|first|node|probes|model|refusals)")
        lines = {line for line in http.get("/metrics").text.splitlines() if named.match(line)}
        health = http.get("/health").json()
        return {line for line in lines if "_created" not in line}, {k: health[k] for k in ("models", "workflows")}

    before = shown()
    grid.world.realm(ACME, MEMBER, PROVIDER)
    grid.world.publish(SECRET_MODEL)
    grid.world.serve(digest(SECRET_MODEL), grid.inner.url, realm=REALM, tier="enterprise")
    catalog = grid.gateway.gateway
    eventually(lambda: REALM in catalog.catalog.inside)
    assert grid.chat(MEMBER).status_code == 200
    grid.inner.behaviour = streaming()
    assert grid.chat(MEMBER, stream=True).status_code == 200
    assert grid.chat(MEMBER, header_tollway_max_price="1").status_code == 402
    grid.inner.behaviour = dying
    assert grid.chat(MEMBER).status_code == 502
    asked = len(grid.inner.asked)
    eventually(lambda: len(grid.inner.asked) > asked)  # it is probed
    assert shown() == before


def test_nobody_offers_in_a_realm_that_does_not_list_it(grid: Grid) -> None:
    def offer(realm: str, url: str | None = None) -> httpx.Response:
        document = grid.world.offer(digest(SECRET_MODEL), url or grid.inner.url, STRANGER, realm=realm)
        return grid.gateway.http.post("/v1/offers", json=document)

    nowhere = f"{to_hex(ACME.address)}/nowhere"
    before, missing = offer(REALM), offer(nowhere)
    grid.open()
    after = offer(REALM)
    assert (before.status_code, before.text) == (400, after.text)
    assert missing.text.replace(nowhere, REALM) == before.text
    assert "tollway realm admit" in before.text
    lone = grid.world.offer(digest(SECRET_MODEL), grid.inner.url, STRANGER, tier="enterprise")
    refused = grid.gateway.http.post("/v1/offers", json=lone)
    assert (refused.status_code, "tollway realm make" in refused.text) == (400, True)


def test_a_provider_that_is_expelled_is_asked_no_more(grid: Grid) -> None:
    grid.open()
    grid.admit(MEMBER)
    eventually(lambda: grid.chat(MEMBER).status_code == 503)
    assert "is not on the list" in grid.chat(MEMBER).json()["error"]["message"]
    asked = len(grid.inner.asked)
    assert grid.gateway.chat(grid.keys[STRANGER.address], SECRET).status_code in (404, 503)
    assert len(grid.inner.asked) == asked


def test_a_tunnel_in_a_realm_is_one_of_a_member(grid: Grid) -> None:
    grid.open()
    grid.world.serve(digest(SECRET_MODEL), f"tunnel://{to_hex(STRANGER.address)}", realm=REALM, tier="enterprise")
    eventually(lambda: grid.chat(MEMBER).status_code == 503)
    assert "is not on the list" in grid.chat(MEMBER).json()["error"]["message"]


def test_only_its_owner_changes_a_realm(grid: Grid) -> None:
    grid.open()
    forged = a_realm(ACME, STRANGER) | {"signature": a_realm(STRANGER, STRANGER)["signature"]}
    older = a_realm(ACME, STRANGER) | {"nonce": 1}
    for refused in (forged, older):
        assert grid.gateway.http.post("/v1/realms", json=refused).status_code == 400
    assert grid.chat(STRANGER).status_code == 404
    with grid.gateway.of(ACME) as http:
        assert to_hex(MEMBER.address) in http.get(f"/v1/realms/{REALM}").json()["members"]
    for who in (STRANGER, MEMBER):
        with grid.gateway.of(who) as http:
            assert http.get(f"/v1/realms/{REALM}").status_code == 404


def test_a_model_for_everybody_does_not_show_its_nodes_in_a_realm(grid: Grid) -> None:
    stranger = grid.askers["a stranger"]
    before = stranger.ask()
    grid.world.realm(ACME, MEMBER, PROVIDER, a_signer("inner"))
    subject = digest(a_model(PUBLIC))
    grid.world.serve(subject, grid.inner.url, {"call": "1"}, a_signer("inner"), realm=REALM, tier="enterprise")
    key = grid.keys[MEMBER.address]
    eventually(lambda: grid.gateway.chat(key, PUBLIC, header_tollway_realm=REALM).status_code == 200)
    assert len(grid.inner.asked) == 1
    assert stranger.ask() == before
    for _ in range(10):
        assert grid.gateway.chat(grid.keys[STRANGER.address], PUBLIC).status_code == 200
    assert len(grid.inner.asked) == 1, "the cheaper node inside serves no stranger"


def test_nobody_hides_anothers_model_by_an_offer_that_serves_nothing(grid: Grid) -> None:
    subject = grid.world.publish(a_model("@acme/new"))
    stranger = grid.gateway.http
    eventually(lambda: stranger.get("/v1/models/@acme/new").status_code == 200)
    offer = grid.world.offer(subject, grid.inner.url, RIVAL, realm=OTHER)
    assert stranger.post("/v1/offers", json=offer).status_code == 201
    eventually(lambda: OTHER in grid.gateway.gateway.catalog.inside)
    assert stranger.get("/v1/models/@acme/new").status_code == 200


def known(grid: Grid, subject: Digest, name: str) -> bool:
    """Whether outsiders see a model, once the gateway has loaded all that was published so far."""
    marker = f"@acme/{time.time_ns()}"
    grid.world.publish(a_model(marker))
    eventually(lambda: grid.gateway.http.get(f"/v1/models/{marker}").status_code == 200)
    seen = {
        grid.gateway.http.get(f"/v1/{path}").status_code for path in (f"models/{name}", f"documents/{cid(subject)}")
    }
    assert len(seen) == 1, seen
    return seen == {200}


def an_own_model(grid: Grid, name: str) -> Digest:
    """A model of the realm's owner."""
    grid.admit(MEMBER, PROVIDER)
    subject = grid.world.publish(a_model(name, owner=did(0, ACME.address)))
    grid.world.bid(subject, Role.maker, ACME.address, 100_000)
    return subject


def test_a_stranger_that_serves_a_realms_own_model_outside_shows_it_to_nobody(grid: Grid) -> None:
    subject = an_own_model(grid, "@inner/own")
    grid.world.serve(subject, grid.inner.url, realm=REALM)
    assert not known(grid, subject, "@inner/own")
    grid.world.serve(subject, grid.inner.url, {"call": "1"}, RIVAL)
    assert not known(grid, subject, "@inner/own")
    assert grid.gateway.chat(grid.keys[MEMBER.address], "@inner/own", header_tollway_realm=REALM).status_code == 200
    grid.world.serve(subject, grid.inner.url, provider=ACME)
    assert known(grid, subject, "@inner/own"), "its owner serves it to everybody"


def test_a_realm_of_its_owner_takes_no_model_from_who_served_it_before(grid: Grid) -> None:
    subject = an_own_model(grid, "@inner/sold")
    grid.world.serve(subject, grid.inner.url, provider=RIVAL)
    assert known(grid, subject, "@inner/sold")
    grid.world.serve(subject, grid.inner.url, realm=REALM)
    assert known(grid, subject, "@inner/sold")


def test_a_realm_of_others_keeps_no_model_from_who_serves_it_outside(grid: Grid) -> None:
    subject = grid.world.publish(a_model("@acme/new"))
    grid.world.realm(RIVAL, MAKER, PROVIDER)
    grid.world.serve(subject, "http://127.0.0.1:9", realm=OTHER)
    grid.world.serve(subject, grid.inner.url, provider=ACME)
    assert known(grid, subject, "@acme/new")
