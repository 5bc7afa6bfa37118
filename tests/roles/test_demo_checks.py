"""The demo's check of payments: the consumer's to the atom, beside what bonds and the operator paid."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from roles.local import checks
from roles.local.checks import Seen
from roles.local.console import DemoConsole
from roles.wallet import keystore

SEEN = Seen(charged=900, deposited=2_000, withdrawn=1_100)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home with the wallets of the demo that pay, and another one."""
    monkeypatch.setenv("TOLLWAY_HOME", str(tmp_path))
    monkeypatch.setenv("TOLLWAY_PASSWORD", "correct horse")
    for name in ("alice", "wanda", "olga", "mallory"):
        keystore.create(name, strength=keystore.LIGHT)


@pytest.mark.parametrize(
    ("paid", "settled", "seen", "failed"),
    [
        ({"alice": 900}, 900, SEEN, []),
        ({"alice": 900, "wanda": 120}, 1_020, SEEN, []),
        ({"alice": 900, "wanda": 120, "olga": 3}, 1_023, SEEN, []),
        ({"alice": 900, "wanda": 120}, 1_021, SEEN, ["sum of all payments"]),
        ({"alice": 900, "mallory": 1}, 901, SEEN, ["nobody paid besides"]),
        ({"alice": 900, "wanda": 1}, 901, Seen(901, 2_000, 1_100), ["sum of all charges"]),
        ({"alice": 900, "wanda": 1}, 901, Seen(900, 2_000, 1_099), ["deposited - withdrawn"]),
    ],
    ids=["alone", "a bond", "a bond and probes", "an atom lost", "a stranger", "an atom charged", "an atom kept"],
)
def test_what_a_bond_pays_is_no_difference_and_an_atom_is(
    paid: dict[str, int], settled: int, seen: Seen, failed: list[str]
) -> None:
    console = DemoConsole(lambda _: None, quiet=True)
    by_account = Counter({keystore.address_of(name): atoms for name, atoms in paid.items()})
    checks.compare_payments(console, by_account, settled, seen)
    assert len(console.checks) == 4
    assert [one.name.startswith(name) for one, name in zip(console.failed, failed, strict=True)] == [True] * len(failed)
