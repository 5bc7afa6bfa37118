"""Twenty well known models, as bids: the plain page and the kernel agree with an independent script to the atom."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ledger.core.catalog.bids import Line, Role, Terms, decode, encode
from ledger.core.kernels import split
from ledger.core.pricing.price import compile_terms, fixed
from ledger.core.values.ids import ZERO_DIGEST, Address
from ledger.core.values.meters import Meter, quoted, rates, units
from tests.vectors import prices

VECTORS = Path(__file__).parents[2] / "vectors" / "prices.json"
DOCUMENT: dict[str, Any] = json.loads(VECTORS.read_text())
MODELS: list[dict[str, Any]] = DOCUMENT["models"]
PARTY = Address(b"\x01" * 20)


def the_terms(model: dict[str, Any]) -> Terms:
    """A provider's asks, and the shares of maker, gateway and protocol."""
    maker, gateway, protocol = DOCUMENT["shares_ppm"]
    lines = (
        Line(PARTY, Role.maker, maker),
        Line(PARTY, Role.compute, 0, rates(model["ask"])),
        Line(PARTY, Role.gateway, gateway),
        Line(PARTY, Role.protocol, protocol),
    )
    return Terms(ZERO_DIGEST, lines)


def test_they_are_twenty_models_and_every_fine_meter_of_tokens_is_sold() -> None:
    assert len({model["name"].partition(":")[0] for model in MODELS}) == 20
    sold = {meter for model in MODELS for meter in model["ask"]}
    unsold = {"call", "input_image", "byte", "fuel"}
    assert sold == {meter.name for meter in Meter} - unsold
    assert any(ask == "0" for model in MODELS for ask in model["ask"].values()), "some units are free by an ask of 0"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["name"])
def test_the_plain_page_prices_them_to_the_atom(model: dict[str, Any]) -> None:
    asks, tariff = rates(model["ask"]), compile_terms(the_terms(model))
    assert quoted(asks) == model["ask"]
    assert decode(encode(the_terms(model))) == the_terms(model)
    for call in model["calls"]:
        used = units(call["units"])
        assert str(fixed(asks, used)) == call["fixed"]
        assert str(tariff.price(used)[0]) == call["price"]
        assert tariff.hold(used) >= int(call["price"])


def test_the_kernel_prices_them_to_the_atom() -> None:
    calls = [(place, call) for place, model in enumerate(MODELS) for call in model["calls"]]
    table, _ = split.build_table([the_terms(model) for model in MODELS])
    used = np.array([units(call["units"]) for _, call in calls], np.uint64)
    subcalls, price, charge = (np.zeros(len(calls), np.uint64) for _ in range(3))
    price[:] = [int(call["price"]) for _, call in calls]
    charge[:] = price
    amounts, status = np.zeros((len(calls), 4), np.uint64), np.zeros(len(calls), np.int64)
    chosen = np.array([place for place, _ in calls])
    assert split.split_amounts(table, chosen, used, subcalls, price, charge, amounts, status) == 0
    assert [str(asked) for asked in amounts[:, 1].tolist()] == [call["fixed"] for _, call in calls]


def test_the_vectors_are_what_the_script_computes() -> None:
    for model in MODELS:
        ask = {meter: int(atoms) for meter, atoms in model["ask"].items()}
        for call in model["calls"]:
            asked = prices.fixed(ask, call["units"])
            assert (call["fixed"], call["price"]) == (str(asked), str(prices.least_price(asked)))
