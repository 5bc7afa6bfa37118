"""A chain under bad weather: everything that can go wrong between a worker and a node, from one seed.

Requests are lost before or after they did their work, answers are minutes old, the pool forgets, fees jump, blocks are
replaced, somebody else uses our nonces. The chain itself is consistent: a block's state follows from its parent's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from random import Random

from ledger.chain.calls import Calls
from ledger.core.settlement import events
from ledger.core.settlement.events import Block, Event, Log
from ledger.core.settlement.header import EMPTY_HEADER, NO_BATCH, NO_HEADER, Header, HeaderId
from ledger.core.settlement.transactions import Call, Mined
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, Lane

SENDER = Address(b"\x5e" * 20)
CONSUMER = Address(b"\xc0" * 20)
PAYEES = (Address(b"\xa1" * 20), Address(b"\xa2" * 20))
LANE = Lane(bytes(19) + b"\1")
TARGET = Address(b"\x7a" * 20)
WINDOW = 60
"""Seconds a batch can be challenged: five blocks."""
FIRST_ERA = 1
HEADERS: dict[HeaderId, Header] = {}
"""Every header that was ever committed, by its id: what a real commit's calldata would carry."""
_RAW = struct.Struct(">QQH")
_PAIR = struct.Struct(">QQ")


@dataclass(frozen=True)
class State:
    """What the settlement contract holds after a block."""

    headers: tuple[bytes, ...] = ()
    posted: tuple[int, ...] = ()
    """When each was posted, in seconds."""
    cumulative: tuple[tuple[int, int], ...] = ((0, 0),)
    """What each payee has earned, before any batch and after each."""
    finalized: int = 0
    era: int = FIRST_ERA
    claimed: tuple[int, int] = (0, 0)
    deposited: int = 0
    nonces: int = 0


@dataclass(frozen=True)
class Mining:
    """A block, what is in it, and the state after it."""

    block: Block
    state: State
    logs: tuple[Log, ...] = ()
    mined: dict[Digest, Mined] = field(default_factory=dict)


@dataclass(frozen=True)
class Weather:
    """How often things go wrong, per thousand requests or per thousand ticks."""

    lost: int = 0
    ambiguous: int = 0
    stale: int = 0
    dropped: int = 0
    duplicated: int = 0
    forgotten: int = 0
    reorganised: int = 0
    jumping_fees: int = 0
    stolen_nonces: int = 0
    verdicts: int = 0
    crashes: int = 0
    claims: bool = True
    """Others are about: payees claim, consumers deposit."""


CLEAR = Weather(claims=False)
STORM = Weather(
    *(60, 60, 80),
    dropped=80,
    duplicated=80,
    forgotten=15,
    reorganised=30,
    jumping_fees=40,
    stolen_nonces=6,
    crashes=8,
)
TRIALS = replace(STORM, verdicts=20)
"""Batches are voided, and reorganisations undo that too."""
MAX_REORGANISED = 6
MAX_BEHIND = 3


class SimChain:
    """One sender, one settlement contract, in the weather of the moment. Satisfies `ledger.chain.sender.Wire`."""

    def __init__(self, random: Random, weather: Weather) -> None:
        self.random, self.weather = random, weather
        genesis = Block(0, keccak256(b"genesis"), 1_000)
        opened = Block(1, keccak256(b"opened"), 1_012)
        lane = events.LaneOpened(LANE, SENDER, WINDOW, answer_time=0, leverage=1, min_deposit=0)
        self.blocks = [
            Mining(genesis, State()),
            Mining(opened, State(), (Log(lane, 1, keccak256(b"opening"), 0, opened.timestamp),)),
        ]
        self.pool: dict[int, bytes] = {}
        self.seen: list[bytes] = []
        self.fresh: list[bytes] = []
        self.base_fee = 100
        self.salt = 0
        self.deposits = 0

    # ---------------------------------------------------------------- the world goes on

    def tick(self) -> None:
        """Some time passes: perhaps a block, a fork, a jump of fees, a deposit, a thief of nonces."""
        if self._chance(self.weather.jumping_fees):
            self.base_fee = self.random.choice((50, 100, 150, 400))
        if self._chance(self.weather.forgotten):
            self.pool.clear()
        if self._chance(self.weather.stolen_nonces):
            self.pool[self.tip.state.nonces] = _raw(self.tip.state.nonces, 10**6, b"other business")
        if self._chance(self.weather.duplicated) and self.seen:
            self._into_pool(self.random.choice(self.seen))
        if self._chance(self.weather.reorganised):
            self._fork(self.random.randint(1, MAX_REORGANISED))
        if self.random.random() < 0.7:
            self.mine(deposit=self.weather.claims and self.random.random() < 0.1)

    def just_sent(self) -> list[bytes]:
        """What was sent since this was last asked."""
        sent, self.fresh = self.fresh, []
        return sent

    @property
    def tip(self) -> Mining:
        """The newest block."""
        return self.blocks[-1]

    def mine(self, deposit: bool = False) -> None:
        """The next block: whatever of the pool is due and pays enough, and perhaps a deposit."""
        before = self.tip
        number, state = before.block.number + 1, before.state
        hashed = keccak256(before.block.hash, self.salt.to_bytes(4, "big"), number.to_bytes(4, "big"))
        block = Block(number, hashed, before.block.timestamp + 12)
        logs: list[Log] = []
        mined: dict[Digest, Mined] = {}
        while (raw := self.pool.get(state.nonces)) is not None and _read(raw)[1] >= self.base_fee:
            del self.pool[state.nonces]
            name = keccak256(raw)
            after, emitted = apply(state, _read(raw)[2], block.timestamp)
            state = replace(after, nonces=state.nonces + 1)
            mined[name] = Mined(name, number, emitted is not None)
            logs += [Log(e, number, name, len(logs) + at, block.timestamp) for at, e in enumerate(emitted or ())]
        if self._chance(self.weather.verdicts):
            state, emitted = verdict(state)
            logs += self._logged(emitted, b"verdict", block, len(logs))
        if self.weather.claims and self.random.random() < 0.1:
            state, emitted = claim(state)
            logs += self._logged(emitted, b"claim", block, len(logs))
        if deposit:
            amount, name = 1_000 + self.deposits, keccak256(b"deposit", self.deposits.to_bytes(4, "big"))
            self.deposits += 1
            state = replace(state, deposited=state.deposited + amount)
            logs.append(Log(events.Deposited(LANE, CONSUMER, 1, amount), number, name, len(logs), block.timestamp))
        self.blocks.append(Mining(block, state, tuple(logs), mined))

    @staticmethod
    def _logged(emitted: list[Event], name: bytes, block: Block, first: int) -> list[Log]:
        """Events of one transaction of somebody else's, in a block."""
        hashed = keccak256(name, block.hash)
        return [Log(e, block.number, hashed, first + at, block.timestamp) for at, e in enumerate(emitted)]

    def _fork(self, depth: int) -> None:
        """Drop blocks; half of the time what they held returns to the pool, otherwise it is gone."""
        depth = min(depth, len(self.blocks) - 2)
        if not depth:
            return
        kept = self.random.random() < 0.5
        gone, self.blocks[-depth:] = self.blocks[-depth:], []
        names = {name for made in gone for name in made.mined}
        self.salt += 1
        if kept:
            for raw in self.seen:
                if keccak256(raw) in names:
                    self._into_pool(raw)
        while self.random.random() < 0.8:
            self.mine()

    def _into_pool(self, raw: bytes) -> None:
        nonce, fee, _ = _read(raw)
        known = self.pool.get(nonce)
        if nonce >= self.tip.state.nonces and (known is None or fee * 8 >= _read(known)[1] * 9):
            self.pool[nonce] = raw

    def _chance(self, per_mille: int) -> bool:
        return self.random.random() * 1_000 < per_mille

    # ---------------------------------------------------------------- Wire

    def block(self, number: int | None = None) -> Block | None:
        """A block, or the tip."""
        blocks = self._answer() if number is None else self._answer(fresh=True)
        at = len(blocks) - 1 if number is None else number
        return blocks[at].block if 0 <= at < len(blocks) else None

    def logs(self, first: int, last: int) -> list[Log]:
        """Events of blocks first..last. A node that does not have `last` yet says so."""
        blocks = self._answer()
        if last >= len(blocks):
            raise Unavailable(f"block {last} is not known here")
        return [log for made in blocks[first : last + 1] for log in made.logs]

    @property
    def sender(self) -> Address:
        """Whose key it has."""
        return SENDER

    def nonces(self, sender: Address, at: int | None = None) -> int:
        """Nonces used up to a block."""
        blocks = self._answer()
        if at is not None and at >= len(blocks):
            raise Unavailable(f"block {at} is not known here")
        return blocks[-1 if at is None else at].state.nonces

    def fee(self) -> int:
        """The market's fee."""
        self._answer()
        return self.base_fee

    def gas(self, sender: Address, target: Address, data: bytes, *, most: int | None = None) -> int:
        """Raises Rejected when the contract, as this node sees it, would refuse."""
        view = self._answer()[-1]
        if apply(view.state, data, view.block.timestamp + 12)[1] is None:
            raise Rejected("the contract refuses")
        return 100_000

    def sign(self, call: Call, nonce: int, gas: int, fee: int, value: int = 0) -> tuple[bytes, Digest]:
        """Bytes that say all there is to say."""
        raw = _raw(nonce, fee, call[1])
        return raw, keccak256(raw)

    def send_raw(self, raw: bytes) -> None:
        """Into the pool, or not, whatever the answer says."""
        self._answer(fresh=True)
        nonce, fee, _ = _read(raw)
        known = self.pool.get(nonce)
        if nonce < self.tip.state.nonces:
            raise Rejected("nonce too low")
        if known is not None and known != raw and fee * 8 < _read(known)[1] * 9:
            raise Rejected("replacement transaction underpriced")
        self.seen.append(raw)
        self.fresh.append(raw)
        if not self._chance(self.weather.dropped):
            self.pool[nonce] = raw
        if self._chance(self.weather.ambiguous):
            raise Unavailable("the answer was lost")

    def mined(self, transaction: Digest) -> Mined | None:
        """Where a transaction is, as far as this node knows."""
        blocks = self._answer()
        return next((made.mined[transaction] for made in reversed(blocks) if transaction in made.mined), None)

    def _answer(self, *, fresh: bool = False) -> list[Mining]:
        """The blocks of the node that answers: perhaps one that is behind, perhaps none."""
        if self._chance(self.weather.lost):
            raise Unavailable("no answer")
        if not fresh and self._chance(self.weather.stale):
            return self.blocks[: max(1, len(self.blocks) - self.random.randint(1, MAX_BEHIND))]
        return self.blocks


class SimCalls(Calls):
    """Calldata for the contract of this page. A header's `data_ref` says what the batch adds to each payee."""

    def __init__(self) -> None:
        pass

    def commit(
        self, lane: Lane, header: Header, finalize_id: int = NO_BATCH, finalize_header: Header = EMPTY_HEADER
    ) -> Call:
        """A commit, and an older batch to finalize on the way."""
        HEADERS[header.id] = header
        return TARGET, b"c" + finalize_id.to_bytes(8, "big") + header.id

    def finalize(self, lane: Lane, batch_id: int, header: Header) -> Call:
        """Make a batch final."""
        return TARGET, b"f" + batch_id.to_bytes(8, "big")


def apply(state: State, data: bytes, at: int) -> tuple[State, list[Event] | None]:
    """The contract, called at a time in seconds. None for the events means that it reverts."""
    if data[:1] == b"c":
        return _commit(state, HEADERS[data[9:]], int.from_bytes(data[1:9], "big"), at)
    if data[:1] == b"f":
        number = int.from_bytes(data[1:], "big")
        return _finalize(state, number) if _is_ripe(state, number, at) else (state, None)
    return state, []


def claim(state: State) -> tuple[State, list[Event]]:
    """Every payee takes all that is final and not yet taken."""
    final = state.cumulative[state.finalized]
    due = [final[place] - state.claimed[place] for place in (0, 1)]
    made: list[Event] = [
        events.Claimed(LANE, place + 1, PAYEES[place], due[place]) for place in (0, 1) if due[place] > 0
    ]
    return replace(state, claimed=(max(final[0], state.claimed[0]), max(final[1], state.claimed[1]))), made


def verdict(state: State) -> tuple[State, list[Event]]:
    """Somebody proves the oldest batch that is not final wrong: it and all after it are void, and an era begins."""
    kept = state.finalized
    if kept == len(state.headers):
        return state, []
    after = replace(
        state,
        headers=state.headers[:kept],
        posted=state.posted[:kept],
        cumulative=state.cumulative[: kept + 1],
        era=state.era + 1,
    )
    return after, [events.Fell(LANE, kept + 1, after.era, CONSUMER)]


def _commit(state: State, header: Header, finalize_id: int, at: int) -> tuple[State, list[Event] | None]:
    if header.prev != (state.headers[-1] if state.headers else NO_HEADER) or header.era != state.era:
        return state, None
    before, number, amounts = state.cumulative[-1], len(state.headers) + 1, _PAIR.unpack(header.data_ref[:16])
    grown = (before[0] + amounts[0], before[1] + amounts[1])
    state = replace(
        state,
        headers=(*state.headers, header.id),
        posted=(*state.posted, at),
        cumulative=(*state.cumulative, grown),
    )
    made: list[Event] = [events.Committed(LANE, number, header, at + WINDOW)]
    if _is_ripe(state, finalize_id, at):
        state, more = _finalize(state, finalize_id)
        made += more
    return state, made


def _is_ripe(state: State, number: int, at: int) -> bool:
    return number == state.finalized + 1 <= len(state.headers) and at >= state.posted[number - 1] + WINDOW


def _finalize(state: State, number: int) -> tuple[State, list[Event]]:
    return replace(state, finalized=number), [events.Finalized(LANE, number)]


def _raw(nonce: int, fee: int, data: bytes) -> bytes:
    return _RAW.pack(nonce, fee, len(data)) + data


def _read(raw: bytes) -> tuple[int, int, bytes]:
    nonce, fee, size = _RAW.unpack_from(raw)
    return nonce, fee, raw[_RAW.size : _RAW.size + size]


def far_ahead() -> Block:
    """An indexer's place that is ahead of everything."""
    return Block(2**40, keccak256(b""), 0)
