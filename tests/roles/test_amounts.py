"""Amounts and ratios as people type and read them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.values.errors import Rejected
from ledger.deployments import save
from roles.cli import amounts
from tests.gateway.world import a_deployment
from tests.rates import asks


@pytest.mark.parametrize(
    ("text", "atoms"),
    [("1", 10**9), ("12.5", 12_500_000_000), ("0.000000001", 1), ("3AIC", 3 * 10**9), ("1500atoms", 1500), ("7a", 7)],
)
def test_amounts_are_exact(text: str, atoms: int) -> None:
    assert amounts.parse(text) == atoms


@pytest.mark.parametrize("text", ["", "-1", "1e9", "0.0000000001", "1.5atoms", "1,5", "ten", "99999999999999999999"])
def test_a_text_that_is_not_an_amount_is_refused(text: str) -> None:
    with pytest.raises(Rejected):
        amounts.parse(text)


@given(st.integers(0, 10**18))
def test_only_zero_is_shown_as_zero(atoms: int) -> None:
    assert (amounts.format(atoms) == "0 AIC") == (atoms == 0)


@given(st.integers(10**5, 10**18))
def test_a_shown_amount_can_be_typed_again(atoms: int) -> None:
    assert amounts.parse(amounts.format(atoms).replace(",", "").removesuffix(" AIC")) == atoms


@pytest.fixture
def dollars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person of a network that settles in a token of six decimals."""
    monkeypatch.setenv("TOLLWAY_HOME", str(tmp_path))
    file = save(a_deployment(token_symbol="USDC", token_decimals=6), tmp_path)
    monkeypatch.setenv("TOLLWAY_DEPLOYMENT", str(file))


@pytest.mark.usefixtures("dollars")
@pytest.mark.parametrize(
    ("typed", "atoms", "shown"),
    [
        ("12.5", 12_500_000, "12.5 USDC"),
        ("0.000115usdc", 115, "0.000115 USDC"),
        ("1500atoms", 1500, "0.0015 USDC"),
        ("0.000099", 99, "99 atoms"),
        ("1234USDC", 1_234_000_000, "1,234 USDC"),
    ],
)
def test_amounts_are_in_the_token_of_the_deployment(typed: str, atoms: int, shown: str) -> None:
    assert (amounts.parse(typed), amounts.format(atoms)) == (atoms, shown)
    assert amounts.parse(amounts.typed(atoms)) == atoms


@pytest.mark.usefixtures("dollars")
@pytest.mark.parametrize(("text", "why"), [("3AIC", "not an amount in USDC"), ("0.0000001", "USDC has 6 decimals")])
def test_another_token_and_less_than_an_atom_are_refused(text: str, why: str) -> None:
    with pytest.raises(Rejected, match=why):
        amounts.parse(text)


@pytest.mark.parametrize(("text", "ppm"), [("12.5%", 125_000), ("0.0001%", 1), ("300000ppm", 300_000), ("7", 7)])
def test_ratios_are_exact(text: str, ppm: int) -> None:
    assert amounts.parse_ratio(text) == ppm


@pytest.mark.parametrize("text", ["101%", "1000001", "-1%", "0.00001%", "a third"])
def test_a_text_that_is_not_a_ratio_is_refused(text: str) -> None:
    with pytest.raises(Rejected):
        amounts.parse_ratio(text)


def test_asks_are_in_meter_order() -> None:
    assert amounts.parse_asks(["output_token=4000", "call=200"]) == asks(call=200, output_token=4000)


@pytest.mark.parametrize("word", ["calls=1", "call", "call=", "call=1.5", "call=-1"])
def test_an_unknown_meter_or_a_fraction_is_refused(word: str) -> None:
    with pytest.raises(Rejected, match="METER=ATOMS"):
        amounts.parse_asks([word])
