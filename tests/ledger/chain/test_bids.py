"""Bids and models on a real chain: what the client sends is accepted, and the events say what the contracts hold."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.chain.errors import Reverted
from ledger.chain.reads import Chain
from ledger.core.catalog.bids import Bid, Role
from ledger.core.pricing.epochs import MAX_EPOCHS, NEVER
from ledger.core.settlement import events
from ledger.core.settlement.events import BidPlaced
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_ADDRESS, ZERO_DIGEST, Digest
from ledger.core.values.typed_data import Signer, word
from tests.ledger.chain.conftest import FUNDS, a_chain
from tests.rates import asks

EPOCH_SECONDS = 3_600
PARENT, CHILD = Digest(b"\x0a" * 32), Digest(b"\x0b" * 32)
TERMS, LATER_TERMS = Digest(b"\x0c" * 32), Digest(b"\x0d" * 32)
OTHER = Signer(b"\x05" * 32)


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    with a_chain(tmp_path, EPOCH_SECONDS) as chain:
        yield chain


def bid(chain: Chain, role: Role, wanted: Bid) -> BidPlaced:
    """Bid as the client does; what the chain says of it."""
    chain.transact(FUNDS, chain.bid(PARENT, role, FUNDS.address, wanted))
    placed = chain.last_bid(PARENT, role, FUNDS.address)
    assert placed is not None
    assert placed.bid == wanted
    return placed


def frozen(chain: Chain) -> int:
    return int(chain.view("BidBook", "frozenEpoch"))


def in_force(chain: Chain, epoch: int, placed: BidPlaced) -> bool:
    """Whether BidBook holds this bid for the one in force in an epoch."""
    shown = (placed.bid.ratio_ppm, list(placed.bid.asks), placed.first)
    where = (placed.subject, placed.role, placed.party, epoch, placed.number)
    return bool(chain.view("BidBook", "inForce", *where, shown))


def wait_epochs(chain: Chain, count: int) -> None:
    chain.rpc("evm_increaseTime", count * EPOCH_SECONDS)
    chain.rpc("evm_mine")


def test_a_first_bid_and_a_lower_one_enter_next_epoch_and_a_raise_one_later(chain: Chain) -> None:
    epoch = frozen(chain)
    first = bid(chain, Role.compute, Bid(0, asks(input_token=10, cached_input_token=0)))
    assert (first.first, first.until, first.number) == (epoch + 1, epoch + 1 + MAX_EPOCHS, 1)
    wait_epochs(chain, 1)
    epoch += 1
    lower = bid(chain, Role.compute, Bid(0, asks(input_token=9)))  # cached tokens now pay 9 instead of 0: a raise
    assert (lower.first, lower.number) == (epoch + 2, 2)
    wait_epochs(chain, 2)
    epoch += 2
    lower = bid(chain, Role.compute, Bid(0, asks(input_token=8)))
    assert (lower.first, lower.number) == (epoch + 1, 3)
    wait_epochs(chain, 1)
    assert in_force(chain, lower.first, lower)


def test_a_resources_bid_lapses_and_a_value_roles_stands(chain: Chain) -> None:
    node, maker = bid(chain, Role.compute, Bid(0, asks(input_token=10))), bid(chain, Role.maker, Bid(100_000))
    assert (node.until, maker.until) == (node.first + MAX_EPOCHS, NEVER)
    wait_epochs(chain, MAX_EPOCHS + 1)
    assert frozen(chain) == node.until
    held = [(in_force(chain, at, node), in_force(chain, at, maker)) for at in (node.until - 1, node.until)]
    assert held == [(True, True), (False, True)]
    again = bid(chain, Role.compute, Bid(0, asks(input_token=99)))
    assert again.first == frozen(chain) + 1, "after a lapse a dearer bid is a first one"
    assert bid(chain, Role.maker, Bid(100_001)).first == frozen(chain) + 2


def test_a_bid_gives_its_party_a_payee_index(chain: Chain) -> None:
    placed = bid(chain, Role.maker, Bid(100_000))
    said = [log.event for log in chain.logs(0, chain.tip())]
    assert said[-2:] == [placed, events.PayeeRegistered(1, FUNDS.address)]
    assert chain.payee_index(FUNDS.address) == 1


def test_a_ratio_above_the_roles_limit_is_refused(chain: Chain) -> None:
    with pytest.raises(Reverted, match=r"RatioTooLarge\(ratioPpm=300001, max=300000\)"):
        chain.transact(FUNDS, chain.bid(PARENT, Role.maker, FUNDS.address, Bid(300_001)))


def register(chain: Chain, model: Digest, parents: tuple[Digest, ...] = ()) -> None:
    """Commit and reveal, as publication does."""
    commitment = keccak256(word(model), word(FUNDS.address), word(ZERO_DIGEST))
    chain.transact(FUNDS, chain.calls.to("Registry", "commit", commitment))
    chain.rpc("evm_increaseTime", 1)
    chain.rpc("evm_mine")
    named = [chain.as_parent(parent) for parent in parents]
    chain.transact(FUNDS, chain.calls.register_model(model, named, TERMS, ZERO_DIGEST))


def test_a_model_is_registered_with_its_parents_changes_its_terms_and_its_owner(chain: Chain) -> None:
    register(chain, PARENT)
    lineage = chain.as_parent(PARENT).lineage
    chain.transact(FUNDS, chain.calls.to("Registry", "changeTerms", PARENT, lineage, TERMS, LATER_TERMS))
    register(chain, CHILD, (PARENT,))
    chain.transact(FUNDS, chain.calls.to("Registry", "transfer", CHILD, OTHER.address))
    said = [log.event for log in chain.logs(0, chain.tip())]
    next_epoch = frozen(chain) + 1
    assert said[:4] == [
        events.PayeeRegistered(1, FUNDS.address),
        events.ModelRegistered(PARENT, FUNDS.address, (), TERMS, next_epoch),
        events.TermsChanged(PARENT, LATER_TERMS),
        events.ModelRegistered(CHILD, FUNDS.address, (PARENT,), TERMS, next_epoch),
    ]
    (changed,) = [event for event in said if isinstance(event, events.OwnerChanged)]
    assert (changed.id, changed.to) == (CHILD, OTHER.address)
    assert changed.from_epoch > frozen(chain)
    assert chain.as_parent(PARENT).terms == LATER_TERMS
    assert chain.payee_index(OTHER.address) == 2


def test_who_did_not_commit_registers_nothing(chain: Chain) -> None:
    with pytest.raises(Reverted, match="NotCommitted"):
        chain.transact(FUNDS, chain.calls.register_model(PARENT, [], TERMS, ZERO_DIGEST))
    assert chain.view("Registry", "models", PARENT)[0] == "0x" + ZERO_ADDRESS.hex()
