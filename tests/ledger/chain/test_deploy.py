"""Deployment: found again, checked, and refused in plain words where it cannot work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from eth_account import Account

from ledger.chain.deploy import (
    DEPLOYER,
    DEPLOYER_SENDER,
    DEPLOYER_TRANSACTION,
    DeploymentFailed,
    Parameters,
    check,
    deploy,
)
from ledger.deployments import read
from tests.conftest import an_anvil
from tests.ledger.chain.conftest import FUNDS


def test_deploying_again_sends_nothing_and_finds_the_same(anvil: str, tmp_path: Path) -> None:
    first = deploy(anvil, FUNDS, Parameters(77), tmp_path)
    again = deploy(anvil, FUNDS, Parameters(77), tmp_path)
    assert first == again == read(first.chain_id, tmp_path)
    other = deploy(anvil, FUNDS, Parameters(78), tmp_path)
    assert other.bid_book != first.bid_book
    assert other.token == first.token


def test_code_that_is_missing_or_another_is_told(anvil: str, tmp_path: Path) -> None:
    deployed = deploy(anvil, FUNDS, Parameters(79), tmp_path)
    with pytest.raises(DeploymentFailed, match="no code at Registry"):
        check(anvil, replace(deployed, registry="0x" + "11" * 20))
    with pytest.raises(DeploymentFailed, match="not this version's Registry"):
        check(anvil, replace(deployed, registry=deployed.bid_book))
    with pytest.raises(DeploymentFailed, match="is chain 31337"):
        check(anvil, replace(deployed, chain_id=1))


def test_a_chain_older_than_shanghai_is_refused_in_plain_words(tmp_path: Path) -> None:
    with an_anvil("--hardfork", "paris") as url, pytest.raises(DeploymentFailed, match="Shanghai fork or later"):
        deploy(url, FUNDS, Parameters(), tmp_path)


def test_a_chain_without_the_deterministic_deployer_is_given_it(tmp_path: Path) -> None:
    with an_anvil("--disable-default-create2-deployer") as url:
        deploy(url, FUNDS, Parameters(80), tmp_path)
    assert Account.recover_transaction(DEPLOYER_TRANSACTION) == DEPLOYER_SENDER
    assert len(DEPLOYER) == len(DEPLOYER_SENDER) == 42
