"""What would be done with each model of a server that is imported: decided before anything is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ledger.core.catalog.protocols import Protocol
from ledger.core.values.errors import Rejected
from roles.cli import maker
from roles.cli.shared import imports, servers
from roles.client.model_server import Served
from roles.wallet import keystore
from tests.roles.model_servers import IRIS

ME, ANOTHER = "0x" + "11" * 20, "0x" + "22" * 20
CID = "bafkreiegvon2wqs4amkpgbonl5r33dfyn6p3yboo7lhrfbyrgubbntthuq"
TAKES = Served("iris", Protocol.tensors, IRIS["inputs"], IRIS["outputs"])  # type: ignore[arg-type]


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is published by name, and as which document; nothing at first."""
    known: dict[str, Any] = {}
    monkeypatch.setattr(imports, "_published", lambda name: known.get(name))
    monkeypatch.setattr(servers, "published", lambda subject, realm: known.get("document", {}))
    monkeypatch.setenv("TOLLWAY_WALLET", "me")
    monkeypatch.setattr(keystore, "names", lambda: ["me"])
    monkeypatch.setattr(keystore, "address_of", lambda name: bytes.fromhex(ME[2:]))
    return known


def planned(*found: Served, only: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    return [(one.name, one.row()["plan"]) for one in imports.plan("acme", "1.0.0", found, only)]


def chat(*names: str) -> list[Served]:
    return [Served(name, Protocol.chat) for name in names]


def test_each_model_gets_the_name_that_comes_nearest_to_its_own(published: dict[str, Any]) -> None:
    assert planned(*chat("llama3.2:latest", "Qwen/Qwen3 8B", "a")) == [
        ("@acme/llama3.2-latest", "register and sell"),
        ("@acme/qwen-qwen3-8b", "register and sell"),
        ("@acme/a", "register and sell"),
    ]


@pytest.mark.parametrize(("file", "name"), [("Iris (2).onnx", "@me/iris-2"), ("_iris", "@me/iris")])
def test_a_file_gets_its_name_by_the_same_rule(file: str, name: str, published: dict[str, Any]) -> None:
    assert maker.name_for(Path(file)) == name


def test_what_cannot_be_sold_is_left_out_with_the_reason(published: dict[str, Any]) -> None:
    odd = Served("odd", Protocol.tensors, why="it has a tensor of another world")
    plans = dict(planned(*chat("A b", "a-b", "漢", "x" * 100), odd))
    assert plans["@acme/odd"] == "left out: it has a tensor of another world"
    assert plans["@acme/a-b"] == "left out: 'A b' has this name already: rename one of them at the server"
    assert sum("no name here comes near" in plan for plan in plans.values()) == 2


def test_what_is_published_already_is_renewed_by_its_owner_alone(published: dict[str, Any]) -> None:
    published["@acme/a@1.0.0"] = {"owned_by": ME, "cid": CID}
    published["@acme/b@1.0.0"] = {"owned_by": ANOTHER, "cid": CID}
    assert planned(*chat("a", "b")) == [
        ("@acme/a", "renew"),
        ("@acme/b", f"left out: @acme/b belongs to {ANOTHER}"),
    ]


def test_a_model_that_changed_at_the_server_is_not_sold_as_the_old_one(published: dict[str, Any]) -> None:
    published["@acme/iris@1.0.0"] = {"owned_by": ME, "cid": CID}
    published["document"] = {"interfaces": [{**TAKES.interface, "inputs": [{"name": "old", "datatype": "FP64"}]}]}
    [(_, plan)] = planned(TAKES)
    assert plan.startswith("left out: its inputs say 'old'")
    assert "--version" in plan
    published["document"] = {"interfaces": [TAKES.interface]}
    assert planned(TAKES) == [("@acme/iris", "renew")]


def test_some_are_chosen_and_too_many_are_not_sold_at_once(published: dict[str, Any]) -> None:
    many = chat(*(f"m{number}" for number in range(imports.MAX_MODELS + 1)))
    with pytest.raises(Rejected, match="--only NAME"):
        planned(*many)
    assert planned(*many, only=("m3",)) == [("@acme/m3", "register and sell")]
    with pytest.raises(Rejected, match=r"no model 'x'.*'m0'"):
        planned(*many, only=("x",))
