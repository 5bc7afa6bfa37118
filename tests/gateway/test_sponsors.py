"""Orders for slots through a real gateway: of every role, paid by its own line; what is refused, and the remedy."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ledger.core.catalog.bids import Role
from ledger.core.pricing.promotion import RESERVE
from ledger.core.values.documents import digest
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, cid, did, to_hex
from ledger.core.values.meters import rates
from ledger.core.values.typed_data import Signer, offer_hash, signing_digest
from ledger.store.network import offers
from ledger.store.session import unit_of_work
from roles.cli import main
from roles.wallet import keystore
from tests.gateway.nodes import Node
from tests.gateway.test_referrals import CURATOR, a_token, find, paid
from tests.gateway.test_who_pays import eventually
from tests.gateway.workflows import LAST, Loom, inferring, pinned
from tests.gateway.world import DOMAIN, MAKER, OPERATOR, PROVIDER, WEAVER, Running, World, a_model, a_signer, epoch_now

DELIVERER, OTHER, STRANGER, SURFACE, NOT_NAMED = (
    a_signer(f"sponsors {name}") for name in ("dora", "other", "stranger", "surface", "not named")
)
TASK = "text-generation"
SLOT = {"bid": "400", "daily_cap": "4000", "tasks": [TASK]}
CURATION = {"offer_ppm": 500_000, "window_calls": 3}


def an_order(subject: Digest, by: Signer, role: str, **parts: Any) -> dict[str, Any]:
    """A signed order, as it is posted."""
    body = {
        "schema": "tollway/offer/1",
        "subject": cid(subject),
        "party": did(0, by.address),
        "role": role,
        "bid": {"ratio_ppm": 0, "ask": {}},
        "valid_from_epoch": epoch_now(),
        "expires_epoch": epoch_now() + 20,
        "nonce": time.time_ns() // 1_000_000,
        "chain_id": 0,
        **parts,
    }
    return {**body, "signature": to_hex(by.sign(signing_digest(DOMAIN, offer_hash(digest(body)))))}


def order(gateway: Running, subject: Digest, by: Signer, role: str, **parts: Any) -> dict[str, Any]:
    """What the gateway answers to an order that it takes."""
    response = gateway.http.post("/v1/offers", json=an_order(subject, by, role, **parts))
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


def refusal(gateway: Running, subject: Digest, by: Signer, role: str, **parts: Any) -> str:
    response = gateway.http.post("/v1/offers", json=an_order(subject, by, role, **parts))
    assert response.status_code == 400, response.text
    return str(response.json()["error"]["message"])


def slots(gateway: Running, key: str | None) -> list[dict[str, Any]]:
    rows = find(gateway, key, headers={"tollway-surface": to_hex(SURFACE.address)})
    return [row for row in rows if row["sponsored"]]


def sees_slots(gateway: Running, count: int) -> None:
    """Wait until the catalog has the orders."""
    eventually(lambda: len(slots(gateway, None)) == count)


@pytest.fixture
def model(world: World, node: Node) -> Digest:
    """A model at 1000 atoms a call and 100 for its delivery; its maker takes a tenth. A stranger bids to deliver it."""
    made = world.publish(a_model(owner=did(0, MAKER.address), delivery=[did(0, DELIVERER.address)]))
    world.bid(made, Role.delivery, DELIVERER.address, asks=rates({"call": "100"}))
    world.bid(made, Role.delivery, NOT_NAMED.address, asks=rates({"call": "1"}))
    world.serve(made, node.url, {"call": "1000"})
    return made


def bought(world: World, gateway: Running, who: Signer, *, looks: bool) -> dict[tuple[Address, Role], int]:
    """Who earns of a consumer's first call, with or without a look at what is on sale before."""
    world.deposit(who.address, 10**6)
    key = gateway.key(who)
    if looks:
        assert [row["promo_second_price"] for row in slots(gateway, key)] == [str(RESERVE)]
    assert gateway.chat(key).status_code == 200
    return paid(world, who)


@pytest.mark.parametrize(
    ("by", "role", "line"),
    [
        (MAKER, "maker", (MAKER.address, Role.maker)),
        (PROVIDER, "compute", (PROVIDER.address, Role.compute)),
        (DELIVERER, "delivery", (DELIVERER.address, Role.delivery)),
    ],
)
def test_a_lone_sponsor_of_each_role_pays_the_reserve_of_its_first_sale(
    world: World, model: Digest, consumer: Signer, by: Signer, role: str, line: tuple[Address, Role]
) -> None:
    gateway = world.gateway()
    taken = order(gateway, model, by, role, promotion=SLOT)
    assert f"as {role} of @acme/chat" in taken["order"]
    assert "you pay 10 to 400 atoms" in taken["order"]
    assert time.strftime("It ends at %Y-%m-%d %H:00 UTC", time.gmtime(3600 * (epoch_now() + 20))) in taken["order"]
    sees_slots(gateway, 1)
    before = bought(world, gateway, OTHER, looks=False)
    after = bought(world, gateway, consumer, looks=True)
    changed = {one: after.get(one, 0) - before.get(one, 0) for one in {*before, *after}}
    treasury = next(who for who, role in before if role is Role.protocol)
    expected = {line: -RESERVE, (SURFACE.address, Role.curator): 7, (treasury, Role.protocol): 3}
    assert {one: more for one, more in changed.items() if more} == expected
    assert sum(changed.values()) == 0, "the price is the same"
    newest = gateway.of(consumer).get("/v1/receipts").json()["data"][0]
    assert newest["noted"]["slot"] == f"{to_hex(by.address)}/{role}"
    assert slots(gateway, gateway.key(consumer, 2 * 10**12)) == [], "who buys already is not shown it again"


def test_a_curators_slot_is_paid_out_of_its_commission(world: World, model: Digest, consumer: Signer) -> None:
    gateway = world.gateway()
    order(gateway, model, MAKER, "maker", curation=CURATION)
    order(gateway, model, CURATOR, "curator", promotion=SLOT)
    sees_slots(gateway, 1)
    before = bought(world, gateway, OTHER, looks=False)
    after = bought(world, gateway, consumer, looks=True)
    line = before[MAKER.address, Role.maker]
    given = line - after[MAKER.address, Role.maker]
    assert line // 2 - 1 <= given <= line // 2, "the commission, and nothing more"
    assert after[CURATOR.address, Role.curator] == given - RESERVE
    assert after[SURFACE.address, Role.curator] == 7
    gateway.chat(gateway.key(consumer, 2 * 10**12))
    assert paid(world, consumer)[CURATOR.address, Role.curator] == given - RESERVE, "the next call has no referral"


def test_a_curator_whose_token_comes_with_its_slots_sale_pays_for_the_slot(
    world: World, model: Digest, consumer: Signer
) -> None:
    """Else it would put its token where its slot is shown, and have the slot for nothing."""
    gateway = world.gateway()
    order(gateway, model, MAKER, "maker", curation=CURATION)
    order(gateway, model, CURATOR, "curator", promotion=SLOT)
    sees_slots(gateway, 1)
    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    assert slots(gateway, key)
    assert gateway.chat(key, header_tollway_referral=a_token(model, keep=1_000_000)).status_code == 200
    assert paid(world, consumer)[SURFACE.address, Role.curator] == 7


def test_a_curator_is_not_sold_its_own_slot(world: World, model: Digest) -> None:
    gateway = world.gateway()
    order(gateway, model, MAKER, "maker", curation=CURATION)
    order(gateway, model, CURATOR, "curator", promotion=SLOT)
    sees_slots(gateway, 1)
    world.deposit(CURATOR.address, 10**6)
    key = gateway.key(CURATOR)
    assert slots(gateway, key) == []
    gateway.chat(key)
    assert not any(role is Role.curator for _, role in paid(world, CURATOR))


def test_a_workflow_is_shown_in_a_slot_and_its_weaver_pays(loom: Loom, world: World, consumer: Signer) -> None:
    inner = loom.classifier("m", inferring("a"), ask="5000")
    capsule = loom.capsule(pinned("m", inner, {"text": LAST}), output={"content": "$steps.m.output.label"})
    order(loom.gateway, capsule, WEAVER, "weaver", promotion=SLOT)
    sees_slots(loom.gateway, 1)
    key = loom.consumer(consumer)
    (row,) = slots(loom.gateway, key)
    assert (row["name"], row["promo_second_price"], row["sponsor_role"]) == ("@wanda/flow", "10", "weaver")
    assert int(row["price"]) > 5_000, "with its step"
    assert loom.gateway.chat(key, "@wanda/flow").status_code == 200
    plain = loom.consumer(OTHER)
    loom.gateway.chat(plain, "@wanda/flow")
    mine, theirs = paid(world, consumer), paid(world, OTHER)
    assert mine[WEAVER.address, Role.weaver] == theirs[WEAVER.address, Role.weaver] - RESERVE
    assert mine[SURFACE.address, Role.curator] == 7


def test_calls_at_the_same_time_do_not_pass_a_daily_cap_together(world: World, model: Digest) -> None:
    gateway = world.gateway()
    order(gateway, model, MAKER, "maker", promotion={**SLOT, "bid": "11", "daily_cap": "11"})
    sees_slots(gateway, 1)
    buyers = [a_signer(f"at once {n}") for n in range(3)]
    keys = []
    for who in buyers:
        world.deposit(who.address, 10**6)
        keys.append(gateway.key(who))
        assert len(slots(gateway, keys[-1])) == 1, "nothing is sold yet"
    for key in keys:
        assert gateway.chat(key).status_code == 200
    sold = [paid(world, who).get((SURFACE.address, Role.curator), 0) for who in buyers]
    assert sorted(sold) == [0, 0, 7]


def test_a_cap_is_counted_for_each_sponsor_from_the_receipts(world: World, model: Digest, consumer: Signer) -> None:
    gateway = world.gateway()
    for by, role in ((MAKER, "maker"), (PROVIDER, "compute")):
        order(gateway, model, by, role, promotion={**SLOT, "bid": "11" if role == "maker" else "12", "daily_cap": "12"})
    eventually(lambda: [row["sponsor_role"] for row in slots(gateway, None)] == ["compute"])
    assert slots(gateway, None)[0]["promo_second_price"] == "11", "the maker's order prices the provider's"
    world.deposit(consumer.address, 10**6)
    key = gateway.key(consumer)
    slots(gateway, key)
    gateway.chat(key)
    gateway.stop()
    again = world.gateway()
    assert slots(again, None)[0]["sponsor_role"] == "maker", "the provider's day is used up; the maker has paid nothing"


REFUSED = [
    (STRANGER, "maker", {"promotion": SLOT}, "not yours to promote as its maker", "tollway curator sponsor @acme/chat"),
    (MAKER, "oem", {"promotion": SLOT}, "no line as oem", "tollway maker sponsor @acme/chat"),
    (STRANGER, "compute", {"promotion": SLOT}, "no bid as compute", "tollway provider bid @acme/chat --ask"),
    (STRANGER, "delivery", {"promotion": SLOT}, "no bid as delivery", "tollway provider deliver @acme/chat --ask"),
    (NOT_NAMED, "delivery", {"promotion": SLOT}, "no bid as delivery of @acme/chat that counts", "has named you"),
    (STRANGER, "curator", {"promotion": SLOT}, "nobody pays curators", "maker sponsor @acme/chat --curators 20%"),
    (MAKER, "curator", {"promotion": SLOT}, "cannot refer itself", "tollway maker sponsor @acme/chat"),
    (OPERATOR, "gateway", {"promotion": SLOT}, "a gateway sponsors nothing", "maker"),
    (MAKER, "maker", {"curation": {"offer_ppm": 950_000}}, "at most 90% of your share, not 95%", "--curators 90%"),
    (MAKER, "maker", {"curation": {"offer_ppm": 0}}, "offers nothing", "--end"),
    (MAKER, "maker", {"curation": {"offer_ppm": 9, "window_calls": 0}}, "1 to 1000000000 calls", "--window"),
    (PROVIDER, "compute", {"curation": CURATION}, "only an owner pays curators", "--slot"),
    (MAKER, "maker", {"promotion": {**SLOT, "bid": "9"}}, "at least 10 atoms, its reserve", "--slot 10atoms"),
    (MAKER, "maker", {"promotion": {**SLOT, "daily_cap": "399"}}, "does not pay one sale at 400", "--daily 400atoms"),
    (MAKER, "maker", {"promotion": {**SLOT, "tasks": []}}, "1 to 16 tasks", "--task"),
    (MAKER, "maker", {"promotion": {**SLOT, "tasks": ["x" * 65]}}, "at most 64 characters", "--task"),
    (MAKER, "maker", {"promotion": {**SLOT, "tasks": ["dancing"]}}, "does not do 'dancing'", f"--task {TASK}"),
]


@pytest.mark.parametrize(
    ("by", "role", "parts", "why", "remedy"), REFUSED, ids=lambda one: one if type(one) is str else ""
)
def test_an_order_that_cannot_be_is_refused_with_the_remedy_and_changes_nothing(
    world: World, model: Digest, by: Signer, role: str, parts: dict[str, Any], why: str, remedy: str
) -> None:
    gateway = world.gateway()
    message = refusal(gateway, model, by, role, **parts)
    assert why in message
    assert remedy in message
    with unit_of_work(world.engine) as session:
        assert offers.get(session, model, by.address, Role[role], sponsors=True) is None


def test_an_order_stands_beside_the_offer_to_serve_and_ends_alone(world: World, model: Digest, node: Node) -> None:
    gateway = world.gateway()
    order(gateway, model, PROVIDER, "compute", promotion=SLOT)
    sees_slots(gateway, 1)
    both = an_order(
        model, PROVIDER, "compute", promotion=SLOT, serve={"url": node.url, "tier": "center", "capacity": 1}
    )
    assert "sign one of each" in gateway.http.post("/v1/offers", json=both).json()["error"]["message"]
    assert order(gateway, model, PROVIDER, "compute", promotion=SLOT, withdrawn=True)["withdrawn"]
    sees_slots(gateway, 0)
    assert gateway.http.get("/v1/models/@acme/chat").json()["ready"], "it serves on"


def test_an_order_for_what_a_realm_hides_is_answered_like_one_for_nothing(world: World, node: Node) -> None:
    member = a_signer("sponsors member")
    realm = world.realm(MAKER, MAKER, PROVIDER, member)
    hidden = world.publish(a_model("@acme/hidden", owner=did(0, MAKER.address)))
    world.serve(hidden, node.url, {"call": "1000"}, realm=realm)
    gateway = world.gateway()
    nothing = Digest(b"\x77" * 32)
    for role in ("maker", "curator"):
        messages = [refusal(gateway, one, STRANGER, role, promotion=SLOT) for one in (hidden, nothing)]
        assert messages[0].replace(cid(hidden), "") == messages[1].replace(cid(nothing), "")
    assert "order" in order(gateway, hidden, MAKER, "maker", promotion=SLOT)
    assert "nobody pays curators of @acme/hidden" in refusal(gateway, hidden, member, "curator", promotion=SLOT)


def test_a_command_repeats_the_order_with_its_end_and_ends_it(
    world: World, model: Digest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = world.gateway()
    monkeypatch.setenv("TOLLWAY_HOME", str(tmp_path))
    monkeypatch.setenv("TOLLWAY_PASSWORD", "correct horse")
    monkeypatch.setenv("TOLLWAY_GATEWAY", gateway.url)
    for name, seed in (("mia", b"maker"), ("pia", b"provider"), ("dora", b"sponsors dora"), ("curt", b"curator")):
        keystore.create(name, keccak256(b"test", seed), strength=keystore.LIGHT)
    said = main.ask("maker sponsor @acme/chat --curators 20% --slot 40atoms -w mia")
    assert "curators get 20% of your share" in said["order"]
    assert "10 to 40 atoms, at most 90% of your share of it, and at most 4000 atoms a day (UTC)" in said["order"]
    assert "shown for text-generation. It ends at" in said["order"], "the model's own task, as none was said"
    for command, role in (
        ("provider sponsor @acme/chat --slot 50atoms -w pia", "compute"),
        ("provider sponsor @acme/chat --slot 50atoms --delivery -w dora", "delivery"),
        ("curator sponsor @acme/chat --slot 20atoms --daily 60atoms -w curt", "curator"),
    ):
        assert f"as {role} of @acme/chat" in main.ask(command)["order"]
    assert main.ask("maker sponsor @acme/chat --end -w mia")["withdrawn"]
    eventually(lambda: "curation" not in gateway.http.get("/v1/models/@acme/chat").json())
    capsys.readouterr()
    assert main.run(["maker", "sponsor", "@acme/chat", "--slot", "40atoms", "-w", "curt", "--json", "--yes"]) == 1
    assert "tollway provider sponsor @acme/chat" in capsys.readouterr().out
    assert main.run(["curator", "token", "@acme/chat", "-w", "curt"]) == 0
    assert "nobody pays curators of @acme/chat now" in "".join(capsys.readouterr())
