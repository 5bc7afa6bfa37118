"""What a name means at a gateway, who may publish under it, and what `maker versions` shows of it."""

from functools import partial
from typing import Any

from ledger.core.settlement.events import Log, NamePublished, OrganisationChanged, OrganisationKeySet
from ledger.core.values.documents import digest
from ledger.core.values.ids import Address, Digest, cid, did, to_hex
from ledger.core.values.typed_data import Signer
from ledger.store.chain import mirror, parties
from ledger.store.session import unit_of_work
from roles.cli.maker import version_row
from roles.wallet import signing
from tests.gateway.nodes import Node
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import MAKER, Running, World, a_model, a_signer, epoch_now

TERMS = {"open": True, "royalty_ppm": 120_000, "floor": {"call": "40"}}


def versions(gateway: Running, name: str = "@acme/chat") -> dict[str, dict[str, Any]]:
    """The rows of `maker versions`, by version."""
    listed = gateway.http.get("/v1/models", params={"all": "1"}).json()["data"]
    rows = [version_row(row) for row in listed if row["id"].startswith(name)]
    return {row["version"]: row for row in rows}


def publish(gateway: Running, document: dict[str, Any], by: Signer = MAKER) -> tuple[int, str]:
    """Publish over HTTP: the status, and what was said."""
    body = signing.document(by, gateway.world.domain, document)
    answer = gateway.http.post("/v1/documents", json=body)
    return answer.status_code, str(answer.json().get("error", {}).get("message", ""))


def test_off_chain_an_organisation_is_its_first_publishers_and_a_version_one_document(world: World) -> None:
    gateway, thief = world.gateway(), a_signer("thief")
    theirs = a_model("@acme/other", owner=did(0, thief.address))
    first = a_model("@acme/chat")
    assert publish(gateway, first)[0] == 201
    status, said = publish(gateway, theirs, thief)
    assert (status, f"{to_hex(thief.address)} does not speak for @acme" in said) == (400, True)
    status, said = publish(gateway, {**first, "license": "MIT"})
    assert (status, "another document already, for ever" in said) == (400, True)
    assert publish(gateway, first)[0] == 201, "the same one again changes nothing"
    assert publish(gateway, {**first, "version": "1.0.1"})[0] == 201
    assert publish(gateway, {**first, "version": "1.0 beta"})[0] == 400
    assert publish(gateway, {**theirs, "name": "@acme-2/other"}, thief)[0] == 201


def test_off_chain_a_child_freezes_at_least_what_its_parent_grants(world: World) -> None:
    gateway = world.gateway()
    open_one, closed = a_model("@acme/base", derivative_terms=TERMS), a_model("@acme/closed")
    world.publish(open_one)
    world.publish(closed)

    def child(parent: Digest, royalty_ppm: int = 120_000, call: str = "40") -> tuple[int, str]:
        terms = {"royalty_ppm": royalty_ppm, "floor": {"call": call}, "offer": f"sha256:{'cd' * 32}"}
        lineage = [{"id": cid(parent), "relation": "finetune", "terms": terms}]
        return publish(gateway, a_model(f"@acme/child-{royalty_ppm}-{call}", lineage=lineage))

    for worse in (child(digest(open_one), 119_999), child(digest(open_one), 120_000, "39")):
        assert (worse[0], "grants itself 120000 ppm" in worse[1]) == (400, True)
    assert "offers no terms" in child(digest(closed))[1]
    assert "is not published" in child(Digest(b"\x09" * 32))[1]
    assert child(digest(open_one))[0] == 201
    assert child(digest(open_one), 120_001, "41")[0] == 201


def test_a_name_calls_the_newest_version_on_sale_and_each_version_says_why_it_cannot_be_called(
    world: World, node: Node
) -> None:
    first = world.a_model_at(node.url)
    second = world.publish(a_model(version="2.0.0"))
    gateway = world.gateway()
    rows = versions(gateway)
    assert [(rows[v]["called"], rows[v]["callable"]) for v in ("1.0.0", "2.0.0")] == [(True, True), (False, False)]
    assert "has no bid" in rows["2.0.0"]["why"]
    world.serve(second, node.url)
    eventually(lambda: versions(gateway)["2.0.0"]["called"])
    assert (versions(gateway)["1.0.0"]["called"], versions(gateway)["1.0.0"]["callable"]) == (False, True)
    for name, id in (("@acme/chat", second), ("@acme/chat@2.0.0", second), ("@acme/chat@1.0.0", first)):
        assert gateway.http.get(f"/v1/models/{name}").json()["cid"] == cid(id), name
    key = gateway.key(a_signer("who names a version"), 10**6)
    assert gateway.chat(key, "@acme/chat@1.0.0").status_code in (200, 402), "it is a model, whether or not it is paid"


def test_on_a_chain_a_name_means_what_the_registry_says_at_every_gateway(chain: World, node: Node) -> None:
    one, other = chain.gateway("gateway-1"), chain.gateway("gateway-2")
    sold = digest(a_model(owner=did(chain.chain_id, MAKER.address)))
    buyer = a_signer("buyer")
    with unit_of_work(chain.engine) as session:
        parties.change_owner(session, sold, buyer.address, epoch_now())
    named(chain, "chat@9", sold)
    for gateway in (one, other):
        eventually(partial(is_meant, gateway, "@acme/chat@9", sold))
        assert {meaning(gateway, name) for name in ("@acme/chat", "@acme/chat@1.0.0", "@acme/chat@9")} == {cid(sold)}

    newer = a_model(version="2.0.0", owner=did(chain.chain_id, MAKER.address))
    status, said = publish(one, {**newer, "version": "1.0.0", "license": "MIT"})
    assert (status, "another document already, for ever" in said) == (400, True)
    chain.serve(chain.publish(newer), node.url)
    for gateway in (one, other):
        eventually(partial(is_meant, gateway, "@acme/chat", digest(newer)))
        assert meaning(gateway, "@acme/chat@1.0.0") == cid(sold), "a version is one id for ever"


def test_on_a_chain_only_who_speaks_for_an_organisation_publishes_under_it(chain: World) -> None:
    gateway, friend = chain.gateway(), a_signer("friend")
    theirs = a_model("@acme/tool", owner=did(chain.chain_id, friend.address))
    nobodys = {**theirs, "name": "@nobody/tool"}
    for document in (theirs, nobodys):
        status, said = publish(gateway, document, friend)
        assert (status, "does not speak for" in said) == (400, True)
    copied(chain, OrganisationKeySet(label("acme"), friend.address, True))
    assert publish(gateway, theirs, friend)[0] == 201
    eventually(lambda: gateway.http.get(f"/v1/models/{cid(digest(theirs))}").status_code == 200)
    shown = gateway.http.get(f"/v1/models/{cid(digest(theirs))}").json()
    assert shown["id"] == cid(digest(theirs)), "what the Registry does not name has no name"
    assert gateway.http.get("/v1/models/@acme/tool").status_code == 404
    copied(chain, OrganisationChanged(label("acme"), friend.address))
    assert publish(gateway, a_model("@acme/more", owner=did(chain.chain_id, MAKER.address)))[0] == 400, "it is sold"
    copied(chain, OrganisationChanged(label("acme"), Address(bytes(20))))
    assert "does not speak for" in publish(gateway, {**theirs, "version": "2"}, friend)[1], "it was given up"


def label(organisation: str) -> Digest:
    """An organisation as the Registry has it."""
    return Digest(organisation.encode().ljust(32, b"\0"))


def copied(world: World, event: OrganisationKeySet | OrganisationChanged | NamePublished) -> None:
    """An event of the Registry, indexed."""
    world.placed += 1
    with unit_of_work(world.engine) as session:
        mirror.copy(session, Log(event, 2, Digest(bytes(32)), world.placed, 0))


def named(world: World, name: str, model: Digest) -> None:
    copied(world, NamePublished(label("acme"), name, model))


def is_meant(gateway: Running, name: str, id: Digest) -> bool:
    return meaning(gateway, name) == cid(id)


def meaning(gateway: Running, name: str) -> str:
    """The CID of what a name means at a gateway."""
    return str(gateway.http.get(f"/v1/models/{name}").json().get("cid"))
