"""`tollway realm`: an owner makes a realm, admits and expels, signs tokens; members call by one command."""

from __future__ import annotations

from pathlib import Path

from ledger.core.catalog.bids import Role
from ledger.core.values.ids import cid, to_hex
from ledger.core.values.meters import rates
from ledger.core.values.typed_data import Signer
from tests.gateway.conftest import Refused, Run
from tests.gateway.nodes import Node
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import MAKER, Running, World, a_model, a_signer

ACME, ALICE, DORA = a_signer("acme"), a_signer("alice"), a_signer("dora")
REALM = f"{to_hex(ACME.address)}/clinic"


def key_of(gateway: Running, who: Signer, home: Path, name: str) -> None:
    """An API key where the command line looks for it."""
    (home / "keys").mkdir(exist_ok=True)
    (home / "keys" / name).write_text(gateway.key(who))


def test_a_realm_from_making_it_to_the_end_of_a_token(
    world: World, gateway: Running, node: Node, tmp_path: Path, run: Run, refused: Refused
) -> None:
    subject = world.publish(a_model("@acme/scan"))
    world.bid(subject, Role.maker, MAKER.address, 100_000)
    world.bid(subject, Role.compute, DORA.address, 0, rates({"call": "100"}))
    eventually(lambda: gateway.http.get("/v1/models/@acme/scan").status_code == 200)
    for name, who in (("alice", ALICE), ("acme", ACME)):
        world.deposit(who.address, 10**6)
        key_of(gateway, who, tmp_path, name)

    assert "tollway realm make" in refused("realm admit clinic alice -w acme")["error"]
    for _ in range(2):
        assert run("realm make clinic -w acme") == {"realm": REALM, "members": 0}
    offer = f"provider offer @acme/scan --url {node.url} --tier enterprise -w dora"
    assert "tollway realm make" in refused(offer)["error"]
    said = refused(f"{offer} --realm {REALM}")["error"]
    assert f"tollway realm admit {REALM} {to_hex(DORA.address)}" in said
    assert run("realm admit clinic dora -w acme")["members"] == 1
    assert run(f"{offer} --realm {REALM}")["callable"]
    its_offer = f"/v1/offers/{cid(subject)}/{to_hex(DORA.address)}"
    assert gateway.http.get(its_offer).status_code == 404, "a stranger is not told of an offer in a realm"

    call = "consumer call @acme/scan hello -w alice"
    eventually(lambda: gateway.http.get("/v1/models/@acme/scan").status_code == 404)
    assert refused(call)["code"] == refused(f"{call} --realm {REALM}")["code"] == "model_not_found"
    run(f"realm admit {REALM} alice -w acme")
    assert run(f"{call} --realm {REALM}")["answer"]
    assert [row["model"] for row in run(f"consumer models --realm {REALM} -w alice")] == ["@acme/scan"]
    assert run(f"consumer quote @acme/scan --realm {REALM} -w alice")["price"] == "115"
    found = run(f"consumer discover text-generation --realm {REALM} -w alice")
    assert [row["name"] for row in found] == ["@acme/scan"]
    assert run("realm list clinic -w acme") == [
        {"account": one, "belongs": True} for one in sorted(to_hex(who.address) for who in (ALICE, DORA))
    ]

    run("realm expel clinic alice -w acme")
    assert "tollway realm admit" in refused(f"{call} --realm {REALM}")["error"]
    assert "tollway realm admit" in refused("realm token clinic alice -w acme")["error"]
    run("realm admit clinic alice -w acme")
    token = run("realm token clinic alice --days 1 -w acme")["token"]
    shown = run(f"realm read {token}")
    assert (shown["realm"], shown["account"], shown["ended"]) == (REALM, to_hex(ALICE.address), False)
    assert run(f"{call} --realm {token}")["answer"]


def test_a_realm_is_changed_by_its_owners_wallet_alone(run: Run, refused: Refused) -> None:
    run("realm make clinic -w acme")
    for command in ("admit {} dora", "expel {} acme", "list {}", "token {} dora", "make {}"):
        said = refused(f"realm {command.format(REALM)} -w dora")
        assert said["owner"] == to_hex(ACME.address)
    assert "small letters" in refused("realm make Clinic -w acme")["error"]
    assert "tollway realm token" in refused("realm read tm_nonsense")["error"]
