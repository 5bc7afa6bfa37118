"""Sending transactions so that a crash or a low fee loses none: the one implementation, for worker and people.

Signed bytes are stored before they are sent, and a nonce never changes: what is stuck is replaced at the same nonce by
a higher fee. What to do next is decided by `core.settlement.transactions.next_step`. The worker stores in PostgreSQL
and takes one step a sweep (`flows.transactions`); a person's command stores in an `Outbox` and waits (`Sender`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from ledger.core.settlement.events import Block
from ledger.core.settlement.transactions import (
    Attempt,
    Call,
    ChainTransaction,
    Mined,
    Policy,
    Seen,
    Status,
    Step,
    bump_fee,
    next_step,
)
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.ids import Address, Digest, to_hex

GWEI = 10**9
COMMAND_POLICY = Policy(confirmations=0, stuck_ms=15_000, max_fee=500 * GWEI)
"""A person's command waits for one block, and raises the fee after 15 s without it."""
TIMEOUT_SECONDS = 120
POLL_SECONDS = 0.05
LATE_RECEIPT_MS = 5_000
"""An endpoint may know a block some time before the receipts in it."""


class Wire(Protocol):
    """The chain as the worker sends to it: `rpc.Endpoint` with a key (which documents the methods), or a simulation.
    Every method may raise Unavailable, and `send_raw` may have worked all the same."""

    @property
    def sender(self) -> Address: ...
    def block(self, number: int | None = None) -> Block | None: ...
    def nonces(self, sender: Address, at: int | None = None) -> int: ...
    def fee(self) -> int: ...
    def gas(self, sender: Address, target: Address, data: bytes, *, most: int | None = None) -> int: ...
    def sign(self, call: Call, nonce: int, gas: int, fee: int, value: int = 0) -> tuple[bytes, Digest]: ...
    def send_raw(self, raw: bytes) -> object: ...
    def mined(self, transaction: Digest) -> Mined | None: ...


class OwnWire(Wire, Protocol):
    """A wire for a person's commands; `rpc.Endpoint` with a key."""

    def nonces(self, sender: Address, at: int | str | None = None) -> int: ...
    def gas(self, sender: Address, target: Address, data: bytes, value: int = 0, *, most: int | None = None) -> int: ...
    def find_sent(self, sender: Address, nonce: int) -> Digest: ...


def look(wire: Wire, sender: Address, attempts: Sequence[Attempt], confirmations: int, indexed: int) -> Seen:
    """Ask the chain about a transaction. The tip is read first: everything read afterwards is at least as new."""
    tip = wire.block()
    if tip is None:
        raise Unavailable("the chain has no block")
    mined = next(filter(None, (wire.mined(attempt.hash) for attempt in reversed(attempts))), None)
    settled = wire.nonces(sender, max(tip.number - confirmations, 0))
    return Seen(tip.number, indexed, mined, wire.nonces(sender), settled)


def sign(wire: Wire, intended: ChainTransaction, ordinal: int, fee: int, now: int) -> Attempt:
    """Sign a transaction that has its nonce and gas, at a fee in wei. `now` is in ms."""
    assert intended.nonce is not None, "it has its nonce"
    assert intended.gas is not None, "it has its gas"
    raw, hashed = wire.sign((intended.target, intended.data), intended.nonce, intended.gas, fee, intended.value)
    return Attempt(intended.id, ordinal, raw, hashed, fee, now)


def replace_by_fee(
    wire: Wire, intended: ChainTransaction, attempts: Sequence[Attempt], now: int, policy: Policy
) -> Attempt:
    """Sign the same nonce at a higher fee."""
    return sign(wire, intended, len(attempts), min(bump_fee(attempts[-1].fee, wire.fee()), policy.max_fee), now)


def broadcast(wire: Wire, attempts: Sequence[Attempt]) -> None:
    """Send the newest bytes, or any older ones that the endpoint prefers to keep."""
    refused: Rejected | None = None
    for attempt in reversed(attempts):
        try:
            wire.send_raw(attempt.raw)
            return
        except Rejected as error:
            refused = error
    assert refused is not None, "there is at least one attempt"
    raise Unavailable(f"the chain takes none of {len(attempts)} attempts: {refused.message}") from refused


@dataclass(frozen=True, slots=True)
class Pending:
    """A signed transaction that a command has not seen in a block yet, with all attempts, oldest first."""

    transaction: ChainTransaction
    attempts: tuple[Attempt, ...]

    @property
    def call(self) -> tuple[Address, bytes, int]:
        """Target, data and value in wei."""
        return self.transaction.target, self.transaction.data, self.transaction.value

    def to_json(self) -> str:
        """The text that an outbox stores."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def of_json(cls, stored: str) -> Pending:
        """The inverse of `to_json`."""
        return msgspec.json.decode(stored, type=cls)


class Outbox(Protocol):
    """Stores a command's signed transaction until it is in a block. One command at a time uses it."""

    def load(self) -> Pending | None:
        """The last one stored, unless it was cleared."""

    def store(self, pending: Pending | None) -> None:
        """Store durably before returning; None clears."""


class Nowhere:
    """An outbox that stores nothing, for a process whose loss costs nothing: tests, benches, a local network."""

    def load(self) -> None:
        """Nothing."""

    def store(self, pending: Pending | None) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Sender:
    """A person's sender: an endpoint with a key, and where signed bytes are stored."""

    endpoint: OwnWire
    outbox: Outbox
    policy: Policy = COMMAND_POLICY
    timeout_seconds: float = TIMEOUT_SECONDS

    def transact(self, call: Call, value: int = 0) -> Mined:
        """Sign, store, send and wait for a block. `value` is in wei.

        A transaction that an interrupted command left in the outbox is finished first. When it is this same call, that
        was it: nothing else is sent. Raises Reverted (before anything is signed, when it would fail), Rejected when it
        failed in its block, Unavailable when it is in no block in time: it stays in the outbox.
        """
        left = self.outbox.load()
        if left is not None:
            done = self._finish(left)
            if done is not None and left.call == (*call, value):
                return self._succeeded(done, call, value)
        pending = self._sign(call, value)
        self.outbox.store(pending)
        try:
            self.endpoint.send_raw(pending.attempts[0].raw)
        except Rejected:  # refused at first sight: nobody has these bytes
            self.outbox.store(None)
            raise
        except Unavailable:  # it may have arrived all the same, or it needs a higher fee
            pass
        done = self._finish(replace(pending, transaction=replace(pending.transaction, sent_at=_now())))
        if done is None:
            raise Rejected(f"nonce {pending.transaction.nonce} was used by another transaction: this one is void")
        return self._succeeded(done, call, value)

    def _sign(self, call: Call, value: int) -> Pending:
        sender, now = self.endpoint.sender, _now()
        gas, nonce = self.endpoint.gas(sender, *call, value), self.endpoint.nonces(sender, "pending")
        raw, hashed = self.endpoint.sign(call, nonce, gas, fee := self.endpoint.fee(), value)
        one = ChainTransaction(hashed, "command", sender, *call, Status.signed, now, nonce, gas, value=value)
        return Pending(one, (Attempt(hashed, 0, raw, hashed, fee, now),))

    def _finish(self, pending: Pending) -> Mined | None:
        """Send, replace and wait until the nonce is used. None if another transaction used it."""
        intended, attempts = pending.transaction, pending.attempts
        deadline, trouble, lost_at = time.monotonic() + self.timeout_seconds, "", None
        while time.monotonic() < deadline:
            now = _now()
            try:
                seen = look(self.endpoint, intended.sender, attempts, 0, _EVERY_BLOCK)
                step = next_step(intended, attempts, seen, now, self.policy)
                lost_at = None if step is not Step.note_lost else lost_at or now
                if step in (Step.note_confirmed, Step.note_failed) or (
                    lost_at and now - lost_at > LATE_RECEIPT_MS and self._is_overtaken(intended, attempts)
                ):
                    self.outbox.store(None)
                    return seen.mined
                if step is Step.broadcast:
                    intended = replace(intended, sent_at=now)
                    broadcast(self.endpoint, attempts)
                elif step is Step.replace:
                    attempts = (*attempts, replace_by_fee(self.endpoint, intended, attempts, now, self.policy))
                    self.outbox.store(Pending(intended, attempts))
                else:
                    time.sleep(POLL_SECONDS)
            except Unavailable as error:  # no answer, mined since we looked, or too low a fee for the pool
                trouble = f" ({error.message})"
                time.sleep(POLL_SECONDS)
        raise Unavailable(
            f"transaction {to_hex(attempts[-1].hash)} (nonce {intended.nonce}) is in no block after "
            f"{self.timeout_seconds} s; it may still be mined{trouble}",
            transaction=to_hex(attempts[-1].hash),
        )

    def _is_overtaken(self, intended: ChainTransaction, attempts: Sequence[Attempt]) -> bool:
        """Whether another transaction is seen to have used the nonce: a missing receipt alone proves nothing."""
        assert intended.nonce is not None, "it has been signed"
        return self.endpoint.find_sent(intended.sender, intended.nonce) not in {attempt.hash for attempt in attempts}

    def _succeeded(self, done: Mined, call: Call, value: int) -> Mined:
        if not done.succeeded:
            self.endpoint.gas(self.endpoint.sender, *call, value)  # raises in the contract's words, if it still refuses
            hashed = to_hex(done.hash)
            raise Rejected(f"transaction {hashed} failed in block {done.block}", transaction=hashed, gas=done.gas_used)
        return done


_EVERY_BLOCK = 2**63
"""A command has no indexer to wait for."""


def _now() -> int:
    return time.time_ns() // 1_000_000
