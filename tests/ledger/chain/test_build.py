"""The committed artifacts are what the sources compile to, bit for bit, and fit a chain."""

from __future__ import annotations

import json

import pytest

from contracts import build, load


@pytest.mark.parametrize("name", build.CONTRACTS)
def test_the_artifact_is_of_these_sources(name: str) -> None:
    assert build.is_current(name), "run: make contracts"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("unit", build.UNITS, ids="+".join)
def test_rebuilding_gives_the_same_bytes(unit: tuple[str, ...]) -> None:
    for name, rebuilt in build.compile_unit(unit).items():
        committed = json.loads((build.ARTIFACTS / f"{name}.json").read_text())
        committed.pop("fingerprint")
        assert json.loads(build.render(rebuilt)) == committed, name


@pytest.mark.parametrize("name", build.CONTRACTS)
def test_no_chain_refuses_it_for_its_size(name: str) -> None:
    artifact = load(name)
    assert len(artifact.deployed_bytecode) <= build.MAX_RUNTIME_BYTES
    assert len(artifact.bytecode) <= 49_152 - 32 * 8
