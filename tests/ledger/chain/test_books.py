"""`tollway batch verify` holds a batch's lines to the bids that BidBook's events say were in force."""

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from sqlalchemy import Engine

from ledger import deployments
from ledger.core.catalog.bids import Bid, Line, Role
from ledger.core.disputes import audit
from ledger.core.settlement.batch_file import BatchFile
from roles.audit import batches
from roles.wallet import transactions
from roles.wallet.context import Context
from tests import builders as b
from tests.ledger.chain.conftest import Stage, bids_of, register, stage
from tests.ledger.flows import test_on_a_chain as on_a_chain
from tests.rates import asks

__all__ = ["stage"]
pytestmark = pytest.mark.slow
ASKS = asks(input_token=10**8)


def test_the_lines_of_a_batch_are_held_to_the_bids_on_chain(
    engine: Engine, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, miner = stage.chain, stage.consumers[1]
    terms = b.some_terms(lines=[Line(b.MAKER, Role.maker, 100_000), Line(miner.address, Role.compute, 0, ASKS)])
    register(chain, miner.address)
    previous: BatchFile | None = None
    monkeypatch.setattr(transactions, "chain", lambda context: chain)
    chain.transact(stage.key(miner), chain.calls.place_bid(terms.subject, Role.compute, Bid(0, ASKS)))
    (placed,) = bids_of(chain, miner.address)
    operator = on_a_chain.Operator(engine, stage)
    operator.terms = terms
    for epoch, difference in ((placed.first, ""), (placed.first - 1, "bid")):
        monkeypatch.setattr(on_a_chain, "epoch_of", lambda _, at=epoch: at)
        operator.serve(3)
        file = operator.file(operator.settle())
        verdict = audit.verify(file, previous, signature_step=0, books=batches.books(file, batches.placed(Context())))
        assert verdict.difference == difference, str(verdict)
        assert audit.verify(file, previous, signature_step=0).ok
        previous = file


def test_who_has_no_file_of_the_deployment_finds_the_chain_by_the_gateway(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployments, "path", lambda *_: tmp_path / "none.json")
    lane = {"deployment": asdict(stage.chain.deployment)}
    context = cast("Context", SimpleNamespace(rpc_url=stage.chain.url, lane=lane))
    assert transactions.chain(context).deployment == stage.chain.deployment
