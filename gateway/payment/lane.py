"""The lane's state, read from the database every second: its clock, this gateway's key, the bond, the chain's age.

A gateway serves only what its lane can settle. Receipts of a key without a number, of a stopped lane, or above what the
bond covers could never be posted.
"""

from dataclasses import dataclass

from sqlmodel import Session

from gateway.errors import Refusal
from ledger.core.settlement.batches import NOTHING_AT_STAKE, AtStake
from ledger.core.values.ids import Address, Lane, to_hex
from ledger.flows import leases
from ledger.store.chain import chain_time, lanes
from ledger.store.chain.lanes import Lane as LaneTerms

READ_SECONDS = 1.0
BLOCK_SECONDS = 12
"""The longest usual time between blocks, by which confirmations are counted."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Up to which age (ms) of the last indexed block this gateway serves; None: any. `private`: there is no chain."""

    private: bool
    max_block_age_ms: int | None = None


@dataclass(frozen=True, slots=True)
class LaneState:
    """`clock_ms`: how far the network's clock is ahead of this machine's.

    `block_age_ms`: how far it is ahead of the last indexed block; None before the first. `terms` is None while the
    lane is not indexed, `number` while the key has none.
    """

    clock_ms: int = 0
    block_age_ms: int | None = None
    terms: LaneTerms | None = None
    number: int | None = None
    at_stake: AtStake = NOTHING_AT_STAKE

    def refusal(self, limits: Limits, lane: Lane, key: Address) -> Refusal | None:
        """Why no call is served now; None when calls are."""
        if limits.private:
            return None
        if self.terms is None or self.block_age_ms is None:
            return _wait("lane_not_indexed", f"lane {to_hex(lane)} is not indexed yet: is the ledger's worker running?")
        if self.number is None:
            said = f"the key {to_hex(key)} signs no receipts of lane {to_hex(lane)}"
            return _wait("gateway_not_in_lane", f"{said}: tollway operator add-gateway {to_hex(key)}")
        if not self.terms.active:
            said = f"lane {to_hex(lane)} is stopped: it takes no batches"
            return _wait("lane_stopped", f"{said}. Its operator continues it with: tollway operator resume")
        if limits.max_block_age_ms is not None and self.block_age_ms > limits.max_block_age_ms:
            said = f"the last indexed block is {self.block_age_ms // 1000} s old"
            return _wait("chain_stale", f"{said}; calls are served up to {limits.max_block_age_ms // 1000} s")
        if self.at_stake.is_reached:
            said = f"what is not final reaches what the lane's bond covers, {self.at_stake.limit} atoms"
            return _wait("bond_reached", f"{said}. It falls as batches become final; more: tollway operator add-bond")
        return None


NOT_READ = LaneState()


def read(session: Session, lane: Lane, key: Address, now: int) -> LaneState:
    """The lane's state when this machine's clock says `now` (ms)."""
    block, terms = chain_time.get(session), lanes.get(session, lane)
    clock = chain_time.now(session, now)
    return LaneState(
        clock - now,
        None if block is None else clock - block.timestamp * 1_000,
        terms,
        lanes.signing_gateways(session, lane).get(key),
        leases.at_stake(session, lane),
    )


def _wait(code: str, message: str) -> Refusal:
    return Refusal(503, code, message, retry_after=5)
