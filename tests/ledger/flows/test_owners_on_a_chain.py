"""Who is paid for a model that changes hands: what the ledger charges is what the judge of the chain finds right."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import Engine

from ledger.chain.deploy import Parameters, deploy
from ledger.chain.errors import Reverted
from ledger.chain.reads import Chain
from ledger.core.catalog import names
from ledger.core.catalog.bids import Bid, Role, Terms
from ledger.core.catalog.capsules import Capsule
from ledger.core.catalog.lineage import Registration
from ledger.core.catalog.models import Model, model
from ledger.core.disputes import owners, proofs
from ledger.core.disputes.challenge_game import OpenTree
from ledger.core.disputes.facts import Content, Facts, Owned
from ledger.core.disputes.proofs import FraudProof
from ledger.core.disputes.questions import RECEIPTS, height_of
from ledger.core.pricing import epochs, terms
from ledger.core.pricing.terms import Market
from ledger.core.receipts.receipt import Receipt, struct_hash
from ledger.core.values.documents import digest, document_id
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_DIGEST, Address, Digest, address, did
from ledger.core.values.sum_tree import receipt_leaf
from ledger.core.values.typed_data import word
from ledger.store.chain import bids, parties
from ledger.store.chain import names as organisations
from ledger.store.session import unit_of_work
from ledger.store.settlement.batches import Batch
from roles.audit.watch import Auditor, Evidence, gather, inspect, models_of, royalties_of
from tests.conftest import an_anvil
from tests.ledger.chain.conftest import FUNDS, a_stage, epoch_of, time_of
from tests.ledger.chain.liars import register_model
from tests.ledger.core.examples import a_base, a_model
from tests.ledger.flows.test_on_a_chain import Operator
from tests.rates import asks

FREEZE = 300
BASE = {**a_base(), "owner": did(31337, FUNDS.address)}
CHILD = {**a_model(), "owner": did(31337, FUNDS.address)}
CHILD["lineage"] = [{**a_model()["lineage"][0], "id": document_id(BASE)}]
PUBLISHED: dict[Digest, Model | Capsule] = {one.id: one for one in map(model, (BASE, CHILD))}
DOCUMENTS = dict(zip(PUBLISHED, (BASE, CHILD), strict=True))
_, SERVED = PUBLISHED


class Seller(Operator):
    """A ledger that serves a derived model, whose owner and its parent's are one after the other of three."""

    def __init__(self, engine: Engine, chain: Chain) -> None:
        stage = a_stage(chain)
        super().__init__(engine, stage)
        self.provider = stage.key(stage.consumers[1])
        self.owners = {"first": FUNDS, "second": self.provider, "third": stage.key(stage.auditor)}
        self.owner = FUNDS
        self.made: list[Receipt] = []
        register_model(stage, BASE, FUNDS)
        register_model(stage, CHILD, FUNDS, BASE)
        for owner in self.owners.values():
            chain.transact(owner, chain.calls.place_bid(SERVED, Role.oem, Bid(50_000)))
        ask = Bid(0, asks(input_token=10**8))
        chain.transact(self.provider, chain.calls.place_bid(SERVED, Role.compute, ask))

    def go_to(self, epoch: int, before_its_end: int = 3_590) -> None:
        """Let the chain's time come to an epoch, so many seconds before the next one."""
        self.stage.wait((epoch + 1) * epochs.EPOCH_SECONDS - before_its_end - time_of(self.chain))

    def pass_on(self, to: str) -> None:
        """Both models change hands."""
        for sold in PUBLISHED:
            call = self.chain.calls.to("Registry", "transfer", sold, self.owners[to].address)
            self.chain.transact(self.owner, call)
        self.owner = self.owners[to]

    def agree(self, epoch: int) -> str:
        """Take the terms of an epoch, as the ledger knows them now. Whom they pay as owner of both models."""
        self.index()
        with unit_of_work(self.engine) as session:
            market = Market(
                operator=terms.Operator(
                    self.stage.operator.address,
                    self.stage.lane,
                    address(self.chain.deployment.treasury),
                    0,
                    private=False,
                ),
                book=epochs.freeze(bids.placed_until(session, epoch), epoch),
                published=PUBLISHED,
                registered=parties.registrations(session),
                owners=parties.model_owners(session, epoch),
                stakes={},
            )
        served = PUBLISHED[SERVED]
        assert isinstance(served, Model)
        (provider,) = market.book.bidders(SERVED, Role.compute)
        self.terms = terms.of_provider(market, served, terms.model_lines(market, served), provider).root
        (owner,) = {line.party for line in self.terms.lines if line.role in (Role.maker, Role.oem)}
        return next(name for name, key in self.owners.items() if key.address == owner)

    def sell(self, epoch: int) -> None:
        """A call of an epoch, by the terms that are agreed on. It ends now."""
        (made,) = self.call(1, leased=0 if self.made else 10**6)
        self.made.append(made._replace(epoch=epoch))
        self.post(self.made[-1:])

    def facts(self) -> Facts:
        """What anybody can know, with the royalties that the documents show."""
        logged = [log.event for log in self.chain.logs(0, self.chain.tip())]
        facts = gather(self.chain, self.stage.lane, logged, book=True)
        return facts.about(facts.answers, royalties_of([SERVED], facts.models, DOCUMENTS.get))

    def judge(self, batch: Batch, place: int) -> None:
        """Ask PriceJudge whether a receipt of a batch pays the owners of its epoch."""
        receipts, lane = self.file(batch).receipts, self.stage.lane
        leaves = {at: receipt_leaf(lane, struct_hash(one), one.charge) for at, one in enumerate(receipts)}
        tree = OpenTree(leaves, height_of(batch.header, RECEIPTS))
        only_the_provider = Terms(SERVED, tuple(line for line in self.terms.lines if line.role is Role.compute))
        of_nobody = owners.find_fault(only_the_provider, receipts[place].epoch, self.facts())
        assert of_nobody is not None, "the same is shown of any terms"
        shown = (proofs.opening(tree, place, receipts[place]), self.file(batch).terms[receipts[place].terms])
        proof = FraudProof("PriceJudge", of_nobody.function, (*shown, *of_nobody.arguments), "")
        call = self.chain.calls.prove(lane, batch.number, batch.header, proof)
        self.chain.transact(self.stage.key(self.stage.auditor), call)


@pytest.fixture
def seller(engine: Engine, tmp_path: Path) -> Iterator[Seller]:
    with an_anvil() as url:
        made = Parameters(epochs.EPOCH_SECONDS, freeze_seconds=FREEZE)
        yield Seller(engine, Chain(url, deploy(url, FUNDS, made, tmp_path)))


def test_every_call_pays_the_owner_of_its_epoch_however_often_the_model_changed_hands(seller: Seller) -> None:
    now = epoch_of(seller.chain) + 2
    seller.go_to(now)
    seller.pass_on("second")
    seller.pass_on("third")  # in one epoch: the later counts
    seller.go_to(now, FREEZE // 2)
    seller.pass_on("second")  # in the same epoch, but from one later still: its book is closed
    assert seller.agree(now) == "first"
    seller.sell(now)

    seller.go_to(now + 1)
    seller.sell(now)  # began in the epoch before
    assert seller.agree(now + 1) == "third"
    seller.sell(now + 1)
    seller.pass_on("first")  # from the same epoch on as the one that was late
    seller.go_to(now + 1, FREEZE // 2)
    seller.pass_on("third")
    assert [seller.agree(now), seller.agree(now + 1)] == ["first", "third"]
    seller.sell(now + 1)

    for epoch, owner in ((now + 2, "first"), (now + 3, "third")):
        seller.go_to(epoch)
        assert seller.agree(epoch) == owner
        seller.sell(epoch)

    honest = seller.settle()
    assert [one.epoch - now for one in seller.file(honest).receipts] == [0, 0, 1, 1, 2, 3]
    auditor, files = Auditor(seller.stage.auditor.address, 0), {honest.header.id: seller.file(honest)}
    (finding,) = inspect(seller.chain, seller.stage.lane, Evidence(files.get, DOCUMENTS.get), auditor, book=True)
    assert finding.said == "honest"
    for place in range(len(seller.made)):
        with pytest.raises(Reverted, match="NotProven"):
            seller.judge(honest, place)

    seller.agree(now + 2)
    seller.sell(now + 3)  # pays who owned it in the epoch before
    seller.judge(seller.settle(), 0)
    assert not seller.chain.books(seller.stage.lane).bond


def test_a_change_of_hands_that_a_reorganisation_takes_away_is_undone(seller: Seller) -> None:
    now = epoch_of(seller.chain) + 2
    seller.go_to(now)
    seller.pass_on("second")
    before = seller.chain.rpc("evm_snapshot")
    seller.go_to(now, FREEZE // 2)
    seller.pass_on("third")
    assert [seller.agree(epoch) for epoch in (now, now + 1, now + 2)] == ["first", "second", "third"]
    seller.chain.rpc("evm_revert", before)
    seller.go_to(now, FREEZE // 3)
    assert [seller.agree(epoch) for epoch in (now, now + 1, now + 2)] == ["first", "second", "second"]


def test_a_contest_changed_terms_and_names_are_indexed_and_undone_with_a_reorganisation(seller: Seller) -> None:
    chain, stage, second = seller.chain, seller.stage, seller.provider
    seller.go_to(epoch_of(chain) + 1)  # what is registered in an epoch's last minutes enters one later
    contested = {**BASE, "name": "@alpha/contested"}
    id, organisation, registry = digest(contested), names.label("alpha"), address(chain.deployment.registry)
    for owner, what in ((second, id), (FUNDS, organisation)):
        salted = keccak256(word(what), word(owner.address), word(ZERO_DIGEST))
        chain.transact(owner, chain.calls.to("Registry", "commit", salted))
    stage.wait(1)
    register_model(stage, contested, FUNDS)
    chain.transact(FUNDS, chain.calls.approve(registry, chain.deployment.name_stake_atoms))
    chain.transact(FUNDS, chain.calls.to("Registry", "registerOrganisation", organisation, ZERO_DIGEST))
    chain.transact(FUNDS, chain.calls.to("Registry", "publishName", organisation, "contested@1.0.0", id))
    first, soon = known_of(seller, id), epoch_of(chain) + 1
    assert (first.registration.by, first.owners[-1].owner, len(first.contents)) == (FUNDS.address, FUNDS.address, 1)
    assert first.speakers == {"alpha": {FUNDS.address}}
    assert [str(one.name) for one in first.names] == ["@alpha/contested@1.0.0"]

    before, height = chain.rpc("evm_snapshot"), chain.tip()
    chain.transact(second, chain.calls.register_model(id, [], ZERO_DIGEST, ZERO_DIGEST))
    chain.transact(second, chain.calls.to("Registry", "changeTerms", *chain.as_parent(id), digest(contested)))
    chain.transact(FUNDS, chain.calls.to("Registry", "setOrganisationKey", organisation, second.address, True))
    chain.transact(second, chain.calls.to("Registry", "publishName", organisation, "contested@2", id))
    then = known_of(seller, id)
    assert (then.registration.by, then.owner_at(soon)) == (second.address, second.address)
    assert then.owners[-1] == Owned(second.address, soon, 1)
    assert [one.terms for one in then.contents[1:]] == [ZERO_DIGEST, digest(contested)]
    assert then.speakers == {"alpha": {FUNDS.address, second.address}}
    assert [str(one.name) for one in then.names] == ["@alpha/contested@1.0.0", "@alpha/contested@2"]
    assert {one.id for one in then.names} == {id}

    chain.rpc("evm_revert", before)
    while chain.tip() < height + 4:  # as long as the one that is gone, so that its last block is another
        chain.rpc("evm_mine")
    assert known_of(seller, id) == first
    chain.transact(FUNDS, chain.calls.to("Registry", "releaseOrganisation", organisation))
    released = known_of(seller, id)
    assert (released.speakers, released.names) == ({}, first.names), "what was published stays"


class Known(NamedTuple):
    """What ledger and watcher know of a model and of names."""

    registration: Registration
    by_epoch: list[Address]
    owners: list[Owned]
    contents: list[Content]
    speakers: dict[str, set[Address]]
    names: list[names.Published]
    start: int

    def owner_at(self, epoch: int) -> Address:
        return self.by_epoch[epoch - self.start]


def known_of(seller: Seller, model: Digest) -> Known:
    """Index what is new, and say what is known by it and by the logs."""
    seller.index()
    start = epoch_of(seller.chain) + 1
    watched = models_of(log.event for log in seller.chain.logs(0, seller.chain.tip()))
    with unit_of_work(seller.engine) as session:
        return Known(
            parties.registrations(session)[model],
            [parties.model_owners(session, epoch)[model] for epoch in (start, start + 1)],
            list(watched.owners[model]),
            list(watched.contents[model]),
            organisations.speakers(session),
            organisations.everything(session),
            start,
        )
