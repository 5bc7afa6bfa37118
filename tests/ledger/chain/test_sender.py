"""A person's sender: what is stuck is replaced by fee; what was interrupted is finished by the next command, once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from ledger.chain import sender
from ledger.chain.deploy import Parameters, deploy
from ledger.chain.errors import Reverted
from ledger.chain.reads import Chain
from ledger.chain.rpc import Endpoint
from ledger.chain.sender import GWEI, Pending, Sender
from ledger.core.settlement.transactions import Call, Policy
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.ids import Address
from ledger.core.values.typed_data import Signer
from roles.wallet import keystore
from tests.conftest import an_anvil
from tests.ledger.chain.conftest import FUNDS

ROOT = Path(__file__).resolve().parents[3]
ALICE, BOB = Address(b"\xa1" * 20), Address(b"\xb0" * 20)
IMPATIENT = Policy(confirmations=0, stuck_ms=400, max_fee=500 * GWEI)


@dataclass
class Kept:
    """An outbox that outlives a sender, and remembers all it stored, as JSON."""

    pending: Pending | None = None
    stored: list[Pending] = field(default_factory=list)

    def load(self) -> Pending | None:
        return self.pending

    def store(self, pending: Pending | None) -> None:
        self.pending = Pending.of_json(pending.to_json()) if pending else None
        self.stored += [pending] if pending else []


class Interrupted(BaseException):
    """Ctrl-C."""


@pytest.fixture
def chain() -> Iterator[Endpoint]:
    with an_anvil() as url:
        yield Endpoint(url, FUNDS)


@pytest.mark.parametrize("accepted", [True, False], ids=["in the pool", "refused by the pool"])
def test_a_transaction_with_too_low_a_fee_is_replaced_at_the_same_nonce(
    chain: Endpoint, monkeypatch: pytest.MonkeyPatch, accepted: bool
) -> None:
    outbox, before = Kept(), chain.nonces(FUNDS.address)
    chain.rpc("evm_setAutomine", False)
    real = chain.send_raw

    def while_fees_jump(raw: bytes) -> None:
        if accepted:
            real(raw)
        monkeypatch.undo()
        chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(60 * GWEI))
        if not accepted:
            real(raw)

    monkeypatch.setattr(Endpoint, "send_raw", lambda endpoint, raw: while_fees_jump(raw))
    with mining(chain):
        done = Sender(chain, outbox, IMPATIENT).transact((ALICE, b""), 5)
    assert (done.succeeded, chain.ether(ALICE), chain.nonces(FUNDS.address)) == (True, 5, before + 1)
    attempts = outbox.stored[-1].attempts
    assert len(attempts) >= 2
    assert attempts[0].fee < 60 * GWEI <= attempts[-1].fee
    assert done.hash in [attempt.hash for attempt in attempts[1:]]
    assert {pending.transaction.nonce for pending in outbox.stored} == {before}
    assert outbox.pending is None


def test_the_fee_never_exceeds_the_policys(chain: Endpoint) -> None:
    outbox, ceiling = Kept(), 4 * GWEI
    chain.rpc("evm_setAutomine", False)
    sender = Sender(chain, outbox, Policy(0, 1, ceiling), timeout_seconds=1)
    with pytest.raises(Unavailable, match=r"is in no block after 1 s; it may still be mined"):
        sender.transact((ALICE, b""), 5)
    assert outbox.pending is not None
    assert max(attempt.fee for attempt in outbox.pending.attempts) <= ceiling


@pytest.mark.parametrize("broadcast", [False, True])
def test_a_command_interrupted_between_store_and_block_is_finished_by_its_repetition(
    chain: Endpoint, monkeypatch: pytest.MonkeyPatch, broadcast: bool
) -> None:
    outbox, before = Kept(), chain.nonces(FUNDS.address)
    real = chain.send_raw

    def interrupted(raw: bytes) -> None:
        assert outbox.pending is not None, "stored before it is sent"
        if broadcast:
            real(raw)
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(Endpoint, "send_raw", lambda endpoint, raw: interrupted(raw))
        with pytest.raises(Interrupted):
            Sender(chain, outbox).transact((ALICE, b""), 5)
    (stored,) = outbox.stored
    done = Sender(chain, outbox).transact((ALICE, b""), 5)
    assert done.hash == stored.attempts[0].hash
    assert (chain.ether(ALICE), chain.nonces(FUNDS.address), outbox.pending) == (5, before + 1, None)


def test_another_command_finishes_what_is_left_and_sends_its_own(
    chain: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox, before = Kept(), chain.nonces(FUNDS.address)
    leave(chain, outbox, (ALICE, b""), monkeypatch)
    Sender(chain, outbox).transact((BOB, b""), 7)
    assert (chain.ether(ALICE), chain.ether(BOB), chain.nonces(FUNDS.address)) == (5, 7, before + 2)


def test_what_another_tool_overtook_is_void_and_the_command_is_sent_anew(
    chain: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox, before = Kept(), chain.nonces(FUNDS.address)
    leave(chain, outbox, (ALICE, b""), monkeypatch)
    chain.transact(FUNDS, (BOB, b""), 7)
    Sender(chain, outbox).transact((ALICE, b""), 5)
    assert (chain.ether(ALICE), chain.ether(BOB), chain.nonces(FUNDS.address)) == (5, 7, before + 2)
    assert outbox.pending is None


def test_a_transaction_whose_receipt_does_not_come_is_never_void_nor_sent_again(
    chain: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox, before = Kept(), chain.nonces(FUNDS.address)
    monkeypatch.setattr(sender, "LATE_RECEIPT_MS", 0)
    monkeypatch.setattr(chain, "mined", lambda transaction: None)
    for _ in range(2):
        with pytest.raises(Unavailable, match="it may still be mined"):
            Sender(chain, outbox, timeout_seconds=1).transact((ALICE, b""), 5)
        assert outbox.pending is not None
    monkeypatch.undo()
    Sender(chain, outbox).transact((ALICE, b""), 5)
    assert (chain.ether(ALICE), chain.nonces(FUNDS.address), outbox.pending) == (5, before + 1, None)


def test_what_the_chain_refuses_at_once_is_not_stored(chain: Endpoint) -> None:
    poor, outbox = chain.with_key(Signer(b"\x07" * 32)), Kept()
    with pytest.raises(Rejected, match=r"[Ii]nsufficient funds"):
        Sender(poor, outbox).transact((ALICE, b""))
    assert outbox.pending is None


def test_a_call_that_would_revert_is_neither_signed_nor_sent(chain: Endpoint, tmp_path: Path) -> None:
    deployed, outbox = Chain(chain.url, deploy(chain.url, FUNDS, Parameters(60), tmp_path), FUNDS), Kept()
    before = chain.nonces(FUNDS.address)
    with pytest.raises(Reverted, match="NotOperator"):
        Sender(deployed, outbox).transact(deployed.calls.to_settlement("setActive", ALICE, True))
    assert (outbox.stored, chain.nonces(FUNDS.address)) == ([], before)


@pytest.mark.slow
def test_a_killed_command_pays_once(chain: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = deploy(chain.url, FUNDS, Parameters(60), tmp_path)
    (tmp_path / "deployment.json").write_text(json.dumps(asdict(deployment)))
    for name, value in {"HOME": tmp_path, "PASSWORD": "x", "DEPLOYMENT": tmp_path / "deployment.json"}.items():
        monkeypatch.setenv(f"TOLLWAY_{name}", str(value))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    alice = Signer(b"\x09" * 32)
    keystore.create("alice", b"\x09" * 32, strength=keystore.LIGHT)
    tokens = Chain(chain.url, deployment)
    tokens.transact(FUNDS, tokens.calls.transfer(alice.address, 100))
    tokens.transact(FUNDS, (alice.address, b""), 10**18)
    chain.rpc("evm_setAutomine", False)
    words = ["wallet", "send", "0x" + BOB.hex(), "40atoms", "--yes", "--json", "--wallet", "alice", "--rpc", chain.url]
    command = [sys.executable, "-m", "roles.cli.main", *words]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ) as killed:
        until(lambda: chain.nonces(alice.address, "pending") == 1)
        killed.kill()
    until(lambda: bool(list((tmp_path / "outbox").glob("*.json"))))
    chain.rpc("evm_setAutomine", True)
    chain.rpc("evm_mine")
    again = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True)
    assert json.loads(again.stdout)["sent"]
    assert (tokens.balance(BOB), chain.nonces(alice.address)) == (40, 1)
    assert list((tmp_path / "outbox").glob("*.json")) == []


def leave(chain: Endpoint, outbox: Kept, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command interrupted after it stored 5 wei to pay, before it sent anything."""

    def interrupted(raw: bytes) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(Endpoint, "send_raw", lambda endpoint, raw: interrupted(raw))
        with pytest.raises(Interrupted):
            Sender(chain, outbox).transact(call, 5)


@contextmanager
def mining(chain: Endpoint) -> Iterator[None]:
    """A block every 0.2 s."""
    ended = threading.Event()

    def mine() -> None:
        other = Endpoint(chain.url)
        while not ended.wait(0.2):
            other.rpc("evm_mine")

    miner = threading.Thread(target=mine)
    miner.start()
    try:
        yield
    finally:
        ended.set()
        miner.join()


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for a fact."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.05)
