"""What a model still needs is said as commands that can be typed for this model."""

from __future__ import annotations

import pytest

from ledger.core.pricing.readiness import Need, Step
from ledger.core.values.ids import Address, Digest
from roles.audit.readiness import Readiness
from roles.cli.context import here
from roles.cli.shared import readiness
from roles.cli.shared.readiness import Asked
from roles.wallet import keystore

ME = Address(b"\x11" * 20)


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("weights", "tollway provider serve PATH=@me/iris -w me"),
        ("endpoint", "tollway provider offer @me/iris --url URL -w me"),
    ],
)
def test_files_are_served_and_a_server_is_offered(kind: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keystore, "names", lambda: ["me"])
    monkeypatch.setattr(keystore, "address_of", lambda name: ME)
    needs = (Step(Need.stake, 0), Step(Need.offer, None))
    found = Readiness(needs, ME, False, "", 0, 0, ("oip/2",), kind)
    asked = Asked(here(), Digest(bytes(32)), "@me/iris", ME)
    assert readiness.said(asked, found)["next"] == command
