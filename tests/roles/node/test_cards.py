"""What the demo's folders say of themselves holds: cards make model documents, the capsule is a workflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ledger.core.catalog.capsules import capsule
from ledger.core.values.documents import validate
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, cid, did
from roles.node.artifacts.manifest import artifact
from tests.roles.node.conftest import MODELS, ROOT

SOMEBODY = did(31337, Address(bytes(19) + b"\x01"))
FOLDERS = sorted(path.parent for path in MODELS.glob("*/model.json"))


@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])
def test_a_card_makes_a_valid_model_document(folder: Path) -> None:
    about = json.loads((folder / "model.json").read_text())
    document = {
        "schema": "tollway/model/1",
        "kind": "weights",
        "name": f"@acme/{about['name']}",
        "version": about["version"],
        "owner": SOMEBODY,
        "description": about["description"],
        "license": about["license"],
        "artifact": artifact(folder),
        "lineage": [],
        **about["card"],
    }
    assert validate(document) == "model"


def filled(value: Any) -> Any:
    """The capsule template with ids where it names the demo's models."""
    if isinstance(value, dict):
        return {key: filled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item) for item in value]
    return cid(keccak256(value.encode())) if isinstance(value, str) and value.startswith("model:") else value


def test_the_demos_capsule_is_a_workflow_whose_two_readers_run_side_by_side() -> None:
    template = json.loads((ROOT / "deploy" / "demo" / "capsule.json").read_text())
    found = capsule(filled(template) | {"weaver": SOMEBODY})
    assert found.levels == (("emotion", "kb"), ("reply",))
