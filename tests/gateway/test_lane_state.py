"""A gateway serves what its lane can settle, by the chain's clock, and says early and clearly when it cannot."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from gateway.payment.lane import LaneState, Limits
from ledger.core.settlement.batches import AtStake
from ledger.core.settlement.events import Block
from ledger.core.values.ids import Digest, to_hex
from ledger.core.values.typed_data import Signer
from ledger.store.chain import chain_time, lanes
from ledger.store.chain.lanes import Lane
from ledger.store.session import unit_of_work
from roles.cli.output import wait_until
from tests import builders as b
from tests.gateway.nodes import Node, streaming
from tests.gateway.world import OPERATOR, Running, World

TERMS = Lane(b.LANE, b.OPERATOR, 86_400, 14_400, bond=1_000)
GOOD = LaneState(0, 5_000, TERMS, 1, AtStake(100, 100, 1_000))
LIMITS = Limits(False, 60_000)


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (GOOD, None),
        (LaneState(0, None, None, 1, GOOD.at_stake), "lane_not_indexed"),
        (LaneState(0, 5_000, TERMS, None, GOOD.at_stake), "gateway_not_in_lane"),
        (LaneState(0, 60_001, TERMS, 1, GOOD.at_stake), "chain_stale"),
        (LaneState(0, 60_000, TERMS, 1, AtStake(999, 0, 1_000)), None),
        (LaneState(0, 5_000, TERMS, 1, AtStake(600, 400, 1_000)), "bond_reached"),
    ],
)
def test_what_the_lane_cannot_settle_is_refused(state: LaneState, code: str | None) -> None:
    refused = state.refusal(LIMITS, b.LANE, b.GATEWAY.address)
    assert (refused and refused.code) == code
    if refused is not None:
        assert (refused.status, refused.headers) == (503, [(b"retry-after", b"5")])
    assert state.refusal(Limits(private=True), b.LANE, b.GATEWAY.address) is None, "a private grid has no chain"


def test_a_development_chain_limits_no_age() -> None:
    old = LaneState(0, 10**9, TERMS, 1, GOOD.at_stake)
    assert old.refusal(Limits(False, None), b.LANE, b.GATEWAY.address) is None


@pytest.mark.parametrize(("charged", "near", "reached"), [(799, False, False), (800, True, False), (1_000, True, True)])
def test_a_bond_is_near_its_end_at_four_fifths(charged: int, near: bool, reached: bool) -> None:
    stake = AtStake(charged, 0, 1_000)
    assert (stake.is_near, stake.is_reached) == (near, reached)
    assert not AtStake(charged).is_reached, "nothing limits a private grid"


def health(gateway: Running) -> dict[str, Any]:
    return dict(gateway.http.get("/health").json())


def until(gateway: Running, status: str) -> dict[str, Any]:
    """The gateway's health, once it is this."""
    assert wait_until(lambda: health(gateway)["status"] == status, 10, 0.1), health(gateway)
    return health(gateway)


def test_a_gateway_without_a_number_says_how_to_get_one(chain: World, consumer: Signer) -> None:
    gateway = chain.gateway()
    key = gateway.gateway.signer.address
    chain.deposit(consumer.address, 10**6)
    bearer = gateway.key(consumer)
    assert gateway.chat(bearer).status_code == 200
    with unit_of_work(chain.engine) as session:
        lanes.revoke_gateway(session, chain.lane, key, 10**12)
    shown = until(gateway, "gateway_not_in_lane")
    refused = gateway.chat(bearer)
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "gateway_not_in_lane"
    assert f"tollway operator add-gateway {to_hex(key)}" in refused.json()["error"]["message"] == shown["reason"]


def test_a_lane_stops_before_its_bond_is_reached_and_warns_early(chain: World, consumer: Signer) -> None:
    gateway = chain.gateway(lease_atoms=1_000)
    chain.deposit(consumer.address, 10**6)
    bearer = gateway.key(consumer)
    assert gateway.chat(bearer).status_code == 200
    chain.open_lane(bond=1_200)
    assert wait_until(lambda: health(gateway)["bond"] == "nearly_reached", 10, 0.1)
    assert gateway.chat(bearer).status_code == 200, "a warning stops nothing"
    assert "tollway_at_stake_limit_atoms 1200.0" in gateway.http.get("/metrics").text
    chain.open_lane(bond=900)
    shown = until(gateway, "bond_reached")
    assert (shown["bond"], shown["at_stake"]["limit"]) == ("reached", "900")
    refused = gateway.chat(bearer)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "bond_reached")
    assert gateway.http.get("/v1/lane").json()["serves"] is False


def test_a_stopped_lane_serves_nobody_until_it_is_resumed(chain: World) -> None:
    gateway = chain.gateway()
    with unit_of_work(chain.engine) as session:
        lanes.change_lane(session, chain.lane, active=False)
    assert "tollway operator resume" in until(gateway, "lane_stopped")["reason"]
    with unit_of_work(chain.engine) as session:
        lanes.change_lane(session, chain.lane, active=True)
    until(gateway, "ok")


def test_receipts_have_the_chains_time_whatever_the_wall_clock_says(chain: World, consumer: Signer) -> None:
    ahead, now = 2 * 3_600, int(time.time())
    gateway = chain.gateway()
    chain.deposit(consumer.address, 10**6)
    bearer = gateway.key(consumer)
    with unit_of_work(chain.engine) as session:
        chain_time.advance(session, Block(2, Digest(b"\x02" * 32), now + ahead), now * 1_000)
    assert wait_until(lambda: gateway.gateway.lane_state.clock_ms > (ahead - 60) * 1_000, 10, 0.1)
    assert wait_until(lambda: gateway.gateway.catalog.epoch == (now + ahead) // 3_600, 10, 0.1)
    assert gateway.chat(bearer).status_code == 200
    (signed,) = chain.receipts_of(consumer.address)
    assert (now + ahead) * 1_000 <= signed.receipt.ended_at <= (int(time.time()) + ahead + 1) * 1_000
    assert signed.receipt.epoch == (now + ahead) // 3_600


@pytest.mark.parametrize("stream", [False, True])
def test_a_clock_that_falls_ends_no_call_before_its_epoch(
    chain: World, node: Node, consumer: Signer, *, stream: bool
) -> None:
    node.behaviour, gateway = streaming(), chain.gateway()
    chain.deposit(consumer.address, 10**6)
    bearer, catalog = gateway.key(consumer), gateway.gateway.catalog
    gateway.gateway.catalog = replace(catalog, epoch=catalog.epoch + 1)
    assert gateway.chat(bearer, stream=stream).status_code == 200
    (signed,) = chain.receipts_of(consumer.address)
    epoch_ms = gateway.gateway.calendar.epoch_seconds * 1_000
    assert (signed.receipt.epoch, signed.receipt.ended_at) == (catalog.epoch + 1, (catalog.epoch + 1) * epoch_ms)


def test_the_lane_shows_what_a_depositor_wants_to_know(chain: World) -> None:
    shown = chain.gateway().http.get("/v1/lane").json()
    assert (shown["window"], shown["answer_time"], shown["leverage"], shown["min_deposit"]) == (86_400, 14_400, 1, "0")
    assert (shown["bond"], shown["active"], shown["gateway_number"], shown["serves"]) == (str(10**12), True, 1, True)
    assert shown["operator"] == to_hex(OPERATOR.address)
    assert shown["deployment"]["settlement"] == shown["domain"]["verifyingContract"]
