"""What a command says of a model's readiness: nothing contradicts itself, and the next command works."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from ledger.core.pricing.readiness import Need, Step
from ledger.core.values.ids import Address, Digest
from roles.audit.readiness import Readiness
from roles.cli.shared import readiness
from roles.cli.shared.readiness import Asked
from roles.wallet.context import Context

REALM = "0x" + "ab" * 20 + "/club"
UNREAD = cast(Context, None)
"""Nothing is asked of a gateway or a chain here."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOLLWAY_HOME", str(tmp_path))


def found(*steps: Step) -> Readiness:
    return Readiness(steps, None, True, "", 10, 0, ("openai.chat/1",))


def test_a_model_whose_offer_was_withdrawn_is_not_said_to_be_callable() -> None:
    asked = Asked(UNREAD, Digest(bytes(32)), "@acme/iris", Address(bytes(20)))
    said = readiness.said(asked, found(Step(Need.offer, None)))
    assert said["missing"] == ["offer"]
    assert not said["callable"]


def test_a_model_offered_in_a_realm_is_called_in_it() -> None:
    asked = Asked(UNREAD, Digest(bytes(32)), "@acme/iris", None, REALM)
    assert readiness.said(asked, found(Step(Need.offer, 0)))["next"] == (
        f'tollway consumer call @acme/iris "Hello!" --realm {REALM}'
    )
