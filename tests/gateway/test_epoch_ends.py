"""What a call was sold for ends in its middle, with its epoch or its offer: it costs that, and is settled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy import update

from gateway.clock import now_ms
from ledger.core.catalog.bids import Bid, Role
from ledger.core.disputes import audit
from ledger.core.pricing.epochs import BidInForce
from ledger.core.settlement import batch_file
from ledger.core.values.documents import digest
from ledger.core.values.ids import PRIVATE_LANE, Digest, to_hex
from ledger.core.values.meters import rates
from ledger.core.values.typed_data import Signer, offer_hash, signing_digest
from ledger.flows import audits, publications
from ledger.flows.audits import Scope
from ledger.store.chain import bids
from ledger.store.chain.tables import BidRow
from ledger.store.session import unit_of_work
from tests.gateway.clocks import WallClock
from tests.gateway.nodes import Behaviour, Node, amid, answering
from tests.gateway.processes import PRICE
from tests.gateway.test_private_grid import a_credit, work
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import DOMAIN, EPOCH_SECONDS, PROVIDER, Running, World, epoch_now


def during(happens: Callable[[], object], is_known: Callable[[], bool]) -> Behaviour:
    """A node in the middle of whose answer something happens, and goes on once the gateway knows of it."""

    async def wait() -> None:
        happens()
        while not is_known():
            await asyncio.sleep(0.01)

    return amid(wait)


def bid_of_next_epoch(world: World, subject: Digest, ask: str | None) -> None:
    """The provider's bid from the next epoch on; None: the one that it has now ends then."""
    following = epoch_now() + 1
    with unit_of_work(world.engine) as session:
        if ask is None:
            session.execute(update(BidRow).filter_by(role=int(Role.compute)).values(until_epoch=following))
            return
        world.placed += 1
        asked = Bid(0, rates({"call": ask}))
        bid = BidInForce(subject, Role.compute, PROVIDER.address, asked, following, following + 20)
        bids.place(session, bid, 0, world.placed)


@pytest.mark.parametrize("dearer", [True, False], ids=["dearer", "gone"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_call_in_which_its_epoch_ends_costs_what_it_was_sold_for(
    world: World, node: Node, consumer: Signer, wall: WallClock, *, stream: bool, dearer: bool
) -> None:
    """Then its provider asks for three times as much, or is not in the book any more."""
    subject = world.a_model_at(node.url)
    bid_of_next_epoch(world, subject, "300" if dearer else None)
    gateway = world.gateway()
    assert gateway.http.post("/v1/credits", json=a_credit(consumer, 10**6, "before the end")).is_success
    work(world)
    key, sold = gateway.key(consumer), gateway.gateway.catalog.epoch
    node.behaviour = during(lambda: wall.jump(EPOCH_SECONDS), lambda: gateway.gateway.catalog.epoch == sold + 1)
    answer = gateway.chat(key, stream=stream)
    assert answer.status_code == 200
    assert not stream or "data: [DONE]" in answer.text
    assert gateway.gateway.leases.outstanding() == 0
    [signed] = world.receipts_of(consumer.address)
    ended = signed.receipt.ended_at // 1_000 // EPOCH_SECONDS
    assert (signed.receipt.epoch, signed.receipt.charge, ended) == (sold, PRICE, sold + 1)
    node.behaviour = answering()
    following = gateway.chat(key)
    charges = [one.receipt.charge for one in world.receipts_of(consumer.address)]
    if dearer:
        assert following.status_code == 200
        assert charges[0] > 2.9 * charges[1]
    else:
        assert (following.status_code, following.json()["error"]["code"]) == (503, "no_provider")
        assert charges == [PRICE]
    settled(world, gateway, len(charges))


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_call_in_which_its_offer_is_withdrawn_is_served_and_paid(
    world: World, node: Node, consumer: Signer, *, stream: bool
) -> None:
    subject = world.a_model_at(node.url)
    gateway = world.gateway()
    assert gateway.http.post("/v1/credits", json=a_credit(consumer, 10**6, "before the withdrawal")).is_success
    work(world)
    key = gateway.key(consumer)

    def withdraw() -> None:
        body = {**world.offer(subject, node.url), "withdrawn": True}
        del body["signature"], body["serve"]
        signature = PROVIDER.sign(signing_digest(DOMAIN, offer_hash(digest(body))))
        with unit_of_work(world.engine) as session:
            signed = {**body, "signature": to_hex(signature)}
            publications.publish_offer(session, signed, DOMAIN, epoch_now(), None, now_ms())

    def is_gone() -> bool:
        return not getattr(gateway.gateway.catalog.by_id[subject], "candidates", ())

    node.behaviour = during(withdraw, is_gone)
    answer = gateway.chat(key, stream=stream)
    assert answer.status_code == 200
    assert not stream or "data: [DONE]" in answer.text
    assert [one.receipt.charge for one in world.receipts_of(consumer.address)] == [PRICE]
    following = gateway.chat(key)
    assert (following.status_code, following.json()["error"]["code"]) == (503, "no_provider")
    settled(world, gateway, 1)


def settled(world: World, gateway: Running, calls: int) -> None:
    """All that was charged is in a batch that anybody finds right, and every law holds."""
    eventually(lambda: gateway.gateway.leases.outstanding() == 0)
    work(world)
    [batch] = gateway.http.get("/v1/settlement/batches").json()["data"]
    file = batch_file.read(gateway.http.get(batch["file"]).content)
    verdict = audit.verify(file, None, file.header, epoch_seconds=EPOCH_SECONDS)
    assert (verdict.ok, verdict.receipts) == (True, calls), str(verdict)
    with unit_of_work(world.engine) as session:
        assert audits.reconcile(session, Scope(PRIVATE_LANE, DOMAIN), 1, thorough=True) == []
