"""A chain with the contracts on it, an operator's lane, and an auditor with fees to pay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ledger.chain.calls import LaneTerms
from ledger.chain.deploy import Parameters, deploy
from ledger.chain.reads import Chain
from ledger.core.settlement.events import BidPlaced
from ledger.core.values.ids import ZERO_DIGEST, Address, Digest, Lane, to_hex
from ledger.core.values.typed_data import Domain, Signer
from tests.conftest import an_anvil

FUNDS_KEY = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
FUNDS = Signer(FUNDS_KEY)
BOND = 10**10
WINDOW = 86_400
ANSWER = 600
TERMS = LaneTerms(WINDOW, ANSWER)
SALT = Digest(bytes(32))
DEPOSIT = 10**9


@dataclass(frozen=True)
class Stage:
    """One lane on one chain; `signers` are the operator, two consumers, and the auditor."""

    chain: Chain
    lane: Lane
    operator: Signer
    consumers: tuple[Signer, Signer]
    auditor: Signer

    @property
    def domain(self) -> Domain:
        """Where the lane's signatures count."""
        return Domain(self.chain.deployment.chain_id, self.chain.calls.settlement)

    def key(self, signer: Signer) -> Signer:
        """The same key for transactions."""
        return next(key for key in map(_account, range(1, 9)) if key.address == signer.address)

    def wait(self, seconds: int) -> None:
        """Let the chain's time pass."""
        self.chain.rpc("evm_increaseTime", seconds)
        self.chain.rpc("evm_mine")


@contextmanager
def a_chain(folder: Path, epoch_seconds: int = 3_600) -> Iterator[Chain]:
    """A chain of one's own with the contracts on it."""
    with an_anvil() as url:
        yield Chain(url, deploy(url, FUNDS, Parameters(epoch_seconds), folder))


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with a_chain(tmp_path) as chain:
        yield a_stage(chain)


def a_stage(chain: Chain) -> Stage:
    """A lane with two consumers who deposited. Its operator's key signs its receipts, as gateway 1."""
    signers = [Signer(bytes(31) + bytes((number,))) for number in range(1, 5)]
    calls, operator = chain.calls, _account(1)
    for number in range(1, 5):
        key = _account(number)
        chain.rpc("anvil_setBalance", to_hex(key.address), hex(10**20))
        chain.transact(FUNDS, calls.transfer(key.address, 10**12))
        for contract in (calls.settlement, calls.consumers):
            chain.transact(key, calls.approve(contract, 2**256 - 1))
    chain.transact(operator, calls.open_lane(SALT, TERMS, BOND))
    lane = calls.lane_of(operator.address, SALT, TERMS)
    chain.transact(operator, calls.add_gateway(lane, operator.address))
    chain.transact(FUNDS, calls.approve(calls.consumers, 2**256 - 1))
    for consumer in signers[1:3]:
        chain.transact(FUNDS, calls.deposit(lane, consumer.address, DEPOSIT))
    return Stage(chain, lane, signers[0], (signers[1], signers[2]), signers[3])


def open_lane(chain: Chain, operator: Signer, terms: LaneTerms, bond: int) -> Lane:
    """A lane of an operator that has approved its bond."""
    chain.transact(operator, chain.calls.open_lane(ZERO_DIGEST, terms, bond))
    return chain.calls.lane_of(operator.address, ZERO_DIGEST, terms)


def register(chain: Chain, *parties: Address) -> dict[Address, int]:
    """Payee indices for these parties."""
    for party in parties:
        chain.transact(FUNDS, chain.calls.register_payee(party))
    return {party: chain.payee_index(party) for party in parties}


def epoch_of(chain: Chain) -> int:
    """The epoch of the latest block."""
    return time_of(chain) // chain.deployment.epoch_seconds


def time_of(chain: Chain) -> int:
    """The time of the latest block, in seconds."""
    block = chain.block()
    assert block is not None, "a chain has a first block"
    return block.timestamp


def bids_of(chain: Chain, party: Address) -> list[BidPlaced]:
    """All bids of a party, oldest first."""
    said = (log.event for log in chain.logs(0, chain.tip()))
    return [event for event in said if isinstance(event, BidPlaced) and event.party == party]


def _account(number: int) -> Signer:
    return Signer(bytes(31) + bytes((number,)))
