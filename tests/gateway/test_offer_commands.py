"""`tollway provider offer` asks the server: what it calls the model, whether it is there, and whether it fits."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.core.catalog.bids import Role
from ledger.core.values.ids import Digest
from ledger.core.values.meters import rates
from tests.gateway.conftest import Refused, Run
from tests.gateway.nodes import answering
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import MAKER, Running, World, a_model, a_signer
from tests.roles.model_servers import chats, locked, paths, serving, tensors

DORA = a_signer("dora")
FLOWER = {"name": "flower", "datatype": "FP64", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}
ANSWER = {"model_name": "Iris 2", "outputs": [{"name": "predict", "datatype": "INT64", "shape": [1, 1], "data": [0]}]}
DEAD = "http://127.0.0.1:9"


@pytest.fixture
def iris(world: World) -> Digest:
    """A model of tensors, with bids in force and no offer."""
    document = a_model("@acme/iris", "oip/2")
    document["interfaces"] = [
        {
            "protocol": "oip/2",
            "inputs": [{"name": "flower", "datatype": "FP64", "shape": [-1, 4]}],
            "outputs": [{"name": "predict", "datatype": "INT64", "shape": [-1, 1]}],
        }
    ]
    subject = world.publish(document)
    world.bid(subject, Role.maker, MAKER.address, 100_000)
    world.bid(subject, Role.compute, DORA.address, 0, rates({"call": "100"}))
    return subject


def call(gateway: Running, world: World) -> Any:
    """A paid call of the model."""
    consumer = a_signer("who calls")
    world.deposit(consumer.address, 10**6)
    headers = {"Authorization": f"Bearer {gateway.key(consumer)}"}
    return gateway.http.post("/v2/models/@acme/iris/infer", json={"inputs": [FLOWER]}, headers=headers)


def until_listed(gateway: Running) -> None:
    eventually(lambda: gateway.http.get("/v1/models/@acme/iris").json().get("ready"))


def test_the_name_at_the_server_is_learned(iris: Digest, world: World, gateway: Running, run: Run) -> None:
    known = tensors("Iris 2") | {
        f"/v2/models/Iris%202{tail}": said
        for tail, said in (("", tensors("Iris 2")["/v2/models/Iris 2"]), ("/ready", b""), ("/infer", ANSWER))
    }
    with serving(paths(known)) as server:
        offered = run(f"provider offer @acme/iris --url {server.url} -w dora")
        assert (offered["served_as"], offered["url"]) == ("Iris 2", server.url)
        until_listed(gateway)
        answer = call(gateway, world)
        assert answer.json()["outputs"] == ANSWER["outputs"]
        assert int(answer.headers["tollway-charge"]) > 100


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (tensors("a", "b"), "say which one is @acme/iris with"),
        (tensors(), "load one"),
        (chats("iris"), "does not list models as an Open Inference Protocol server does"),
        (tensors("iris", inputs=[{"name": "petal", "datatype": "FP64", "shape": [4]}]), "is not there"),
        (tensors("iris", inputs=[{"name": "flower", "datatype": "FP32", "shape": [4]}]), "is FP32"),
    ],
    ids=["several", "none", "another protocol", "other inputs", "other types"],
)
def test_a_server_that_does_not_fit_gets_no_offer(
    known: dict[str, Any], said: str, iris: Digest, gateway: Running, refused: Refused
) -> None:
    with serving(paths(known)) as server:
        assert said in refused(f"provider offer @acme/iris --url {server.url} -w dora")["error"]
    assert not gateway.http.get("/v1/models/@acme/iris").json()["ready"]


def test_of_several_models_one_is_named(iris: Digest, gateway: Running, run: Run, refused: Refused) -> None:
    with serving(paths(tensors("a", "b"))) as server:
        assert run(f"provider offer @acme/iris --url {server.url}#b -w dora")["served_as"] == "b"
        said = refused(f"provider offer @acme/iris --url {server.url}#c -w dora")["error"]
        assert "has no model 'c' that is ready: it has 'a', 'b'" in said


def test_a_server_that_only_gateways_reach_is_offered_by_its_name_there(
    iris: Digest, gateway: Running, run: Run
) -> None:
    assert run(f"provider offer @acme/iris --url {DEAD}#b -w dora")["served_as"] == "b"


def test_a_server_that_wants_a_key_is_called_with_it(
    iris: Digest, world: World, gateway: Running, run: Run, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = tensors("iris") | {"/v2/models/iris/infer": ANSWER}
    with serving(locked("sesame", known)) as server:
        offer = f"provider offer @acme/iris --url {server.url} -w dora"
        assert "TOLLWAY_UPSTREAM_KEY" in refused(offer)["error"]
        monkeypatch.setenv("TOLLWAY_UPSTREAM_KEY", "sesame")
        assert "sesame" not in str(run(offer))
        until_listed(gateway)
        assert call(gateway, world).json()["outputs"] == ANSWER["outputs"]


def test_a_key_is_not_shown_to_a_server_that_wants_none(
    iris: Digest, gateway: Running, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLLWAY_UPSTREAM_KEY", "sesame")
    with serving(paths(tensors("iris"))) as server:
        run(f"provider offer @acme/iris --url {server.url} -w dora")
        assert server.asked
        assert not [asked for asked in server.asked if "authorization" in asked.headers]


def test_a_chat_server_is_offered_by_its_own_name_for_the_model(world: World, gateway: Running, run: Run) -> None:
    subject = world.publish(a_model("@acme/talk"))
    world.bid(subject, Role.maker, MAKER.address, 100_000)
    eventually(lambda: gateway.http.get("/v1/models/@acme/talk").status_code == 200)
    with serving(answering()) as server:
        assert run(f"provider offer @acme/talk --url {server.url}/v1 -w dora")["served_as"] == "m"
