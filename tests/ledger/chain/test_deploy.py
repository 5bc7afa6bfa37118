"""Deployment: found again, checked, and refused in plain words where it cannot work."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from eth_account import Account

from ledger.chain.calls import LaneTerms
from ledger.chain.deploy import (
    DEPLOYER,
    DEPLOYER_SENDER,
    DEPLOYER_TRANSACTION,
    DeploymentFailed,
    Parameters,
    check,
    deploy,
    put_token,
)
from ledger.chain.reads import Chain
from ledger.core.values.atoms import Currency
from ledger.core.values.errors import Rejected
from ledger.deployments import Deployment, path, read
from tests.conftest import an_anvil
from tests.ledger.chain.conftest import FUNDS, open_lane

USDC = Currency("USDC", 6)


def test_deploying_again_sends_nothing_and_finds_the_same(anvil: str, tmp_path: Path) -> None:
    first = deploy(anvil, FUNDS, Parameters(77), tmp_path)
    again = deploy(anvil, FUNDS, Parameters(77), tmp_path)
    assert first == again == read(first.chain_id, tmp_path)
    other = deploy(anvil, FUNDS, Parameters(78), tmp_path)
    assert other.bid_book != first.bid_book
    assert other.token == first.token


def test_amounts_domain_and_least_stakes_are_of_the_token_that_settles(anvil: str, tmp_path: Path) -> None:
    token = put_token(anvil, FUNDS, "test/LocalUsdc")
    assert put_token(anvil, FUNDS, "test/LocalUsdc") == token
    deployed = deploy(anvil, FUNDS, Parameters(82, token), tmp_path)
    assert (deployed.currency, deployed.min_bond_atoms, deployed.name_stake_atoms) == (USDC, 10**6, 10**7)
    assert (deployed.token_name, deployed.token_version) == ("USDC", "2")
    with pytest.raises(DeploymentFailed, match="token_symbol is AIC in the deployment's file, and USDC"):
        check(anvil, replace(deployed, token_symbol="AIC"))
    with pytest.raises(DeploymentFailed, match="not an ERC-20 token"):
        deploy(anvil, FUNDS, Parameters(82, deployed.registry), tmp_path)


def test_a_deployment_of_an_older_version_says_how_to_write_what_it_lacks(anvil: str, tmp_path: Path) -> None:
    deployed = deploy(anvil, FUNDS, Parameters(83), tmp_path)
    file = path(deployed.chain_id, tmp_path)
    older = json.loads(file.read_text())
    del older["token_symbol"]
    file.write_text(json.dumps(older))
    with pytest.raises(Rejected, match="no token symbol: its operator runs `tollway operator deploy` again"):
        read(deployed.chain_id, tmp_path)
    assert deploy(anvil, FUNDS, Parameters(83), tmp_path) == deployed == read(deployed.chain_id, tmp_path)


def test_code_that_is_missing_or_another_is_told(anvil: str, tmp_path: Path) -> None:
    deployed = deploy(anvil, FUNDS, Parameters(79), tmp_path)
    with pytest.raises(DeploymentFailed, match="no code at Registry"):
        check(anvil, replace(deployed, registry="0x" + "11" * 20))
    with pytest.raises(DeploymentFailed, match="not this version's Registry"):
        check(anvil, replace(deployed, registry=deployed.bid_book))
    with pytest.raises(DeploymentFailed, match="is chain 31337"):
        check(anvil, replace(deployed, chain_id=1))


@pytest.mark.parametrize(
    "name",
    [field.name for field in fields(Deployment) if field.type is int and field.name not in ("chain_id", "block")],
)
def test_a_parameter_that_is_not_the_contracts_own_is_told(anvil: str, tmp_path: Path, name: str) -> None:
    """F25: a file that states another parameter names other addresses than those that are there."""
    deployed = deploy(anvil, FUNDS, Parameters(81), tmp_path)
    with pytest.raises(DeploymentFailed, match="in the deployment's file"):
        check(anvil, replace(deployed, **{name: getattr(deployed, name) + 1}))


def test_a_treasury_that_operates_a_lane_is_refused_where_money_is_real(tmp_path: Path) -> None:
    """F25: such an operator would be paid for its own falls."""
    with an_anvil("--chain-id", "8453") as url:
        deployed = deploy(url, FUNDS, Parameters(), tmp_path)
        chain = Chain(url, deployed)
        chain.transact(FUNDS, chain.calls.approve(chain.calls.settlement, 10**18))
        open_lane(chain, FUNDS, LaneTerms(86_400, 14_400), 10**9)
        with pytest.raises(DeploymentFailed, match="operates a lane"):
            check(url, deployed)


def test_a_chain_older_than_shanghai_is_refused_in_plain_words(tmp_path: Path) -> None:
    with an_anvil("--hardfork", "paris") as url, pytest.raises(DeploymentFailed, match="Shanghai fork or later"):
        deploy(url, FUNDS, Parameters(), tmp_path)


def test_a_chain_without_the_deterministic_deployer_is_given_it(tmp_path: Path) -> None:
    with an_anvil("--disable-default-create2-deployer") as url:
        deploy(url, FUNDS, Parameters(80), tmp_path)
    assert Account.recover_transaction(DEPLOYER_TRANSACTION) == DEPLOYER_SENDER
    assert len(DEPLOYER) == len(DEPLOYER_SENDER) == 42
