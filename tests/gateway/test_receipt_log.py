"""The receipt log: groups written whole, bad rows left out, one writer, no gaps."""

from __future__ import annotations

from msgspec import structs
from sqlalchemy import Engine
from sqlmodel import col, select

from ledger.core.receipts.receipt import EndReason, Receipt
from ledger.core.receipts.segments import link
from ledger.core.values.errors import Conflict, Unavailable
from ledger.core.values.ids import PRIVATE_LANE, ZERO_ADDRESS, ZERO_DIGEST, Address, Digest
from ledger.core.values.meters import Units
from ledger.core.values.typed_data import Domain, Signer
from ledger.flows.receipt_log import Bundle, Draft, Outcome, Tail, append, tail_of
from ledger.store.receipts import call_locks, receipts, segments
from ledger.store.receipts.appender import Appender
from ledger.store.receipts.call_locks import GatewayRun
from ledger.store.receipts.tables import CallLockRow
from ledger.store.session import unit_of_work

SIGNER = Signer(b"\x07" * 32)
CONSUMER = Address(b"\x01" * 20)


def a_draft(call: int, charge: int = 5) -> Draft:
    """A charge that has no number yet."""
    call_id = Digest(call.to_bytes(32, "big"))
    zero = ZERO_DIGEST
    who = (call_id, zero, PRIVATE_LANE, ZERO_ADDRESS, 0, CONSUMER, zero)
    return Draft(Receipt(*who, 7, 0, 0, charge, charge, EndReason.normal, 9, units=Units(call=1, ms=7)), b"{}")


def write(appender: Appender, tail: Tail, bundles: list[Bundle]) -> tuple[Tail, list[Outcome]]:
    """Append, waiting for it here."""
    return appender.finish(append(appender, SIGNER, Domain(), tail, bundles))


def test_a_group_is_a_dense_signed_segment(engine: Engine, postgres_url: str) -> None:
    appender = Appender(postgres_url, SIGNER.address, PRIVATE_LANE)
    tail, results = write(appender, tail_of(appender), [(a_draft(1), a_draft(2)), (a_draft(3),)])
    assert [len(result) for result in results if isinstance(result, tuple)] == [2, 1]
    assert tail == tail_of(appender)
    with unit_of_work(engine) as session:
        [segment] = segments.after(session, PRIVATE_LANE, SIGNER.address, 0, 10)
        found = [receipts.by_seq(session, PRIVATE_LANE, SIGNER.address, seq) for seq in (1, 2, 3)]
    digests = [one.digest for one in found if one is not None]
    assert segment == link(SIGNER.address, 1, b"".join(digests), 15, ZERO_DIGEST)
    appender.close()


def test_a_call_that_has_a_receipt_is_left_out_and_the_rest_is_written(postgres_url: str) -> None:
    appender = Appender(postgres_url, SIGNER.address, PRIVATE_LANE)
    tail, _ = write(appender, tail_of(appender), [(a_draft(1),)])
    tail, results = write(appender, tail, [(a_draft(2),), (a_draft(1),), (a_draft(3),)])
    assert tail.seq == 3
    assert isinstance(results[1], Conflict)
    seqs = [result[0].receipt.seq for result in results if isinstance(result, tuple)]
    assert seqs == [2, 3]
    appender.close()


def test_one_poison_row_does_not_take_its_neighbours_along(postgres_url: str) -> None:
    appender = Appender(postgres_url, SIGNER.address, PRIVATE_LANE)
    poison = a_draft(2, charge=2**63)
    tail, results = write(appender, Tail(0, ZERO_DIGEST), [(a_draft(1),), (poison,), (a_draft(3),)])
    assert tail.seq == 2
    assert [isinstance(result, tuple) for result in results] == [True, False, True]
    appender.close()


def test_a_lock_ends_with_its_receipt_and_a_call_that_is_not_locked_for_us_is_left_out(
    engine: Engine, postgres_url: str
) -> None:
    """It is locked for an earlier run, for another gateway, or not at all: two of five calls are written."""
    us, before = (GatewayRun(PRIVATE_LANE, SIGNER.address, boot) for boot in (b"this run", b"the run before"))
    other = GatewayRun(PRIVATE_LANE, Address(b"\x09" * 20), b"another gateway's")
    calls = [a_draft(n).receipt.call_id for n in range(1, 6)]
    with unit_of_work(engine) as session:
        for run, call in zip((us, before, other, us), calls, strict=False):
            assert call_locks.take(session, run, {call: b"fingerprint"}) == {call: None}
    appender = Appender(postgres_url, SIGNER.address, PRIVATE_LANE, us.boot)
    bundles: list[Bundle] = [(structs.replace(a_draft(n), lock=calls[n - 1]),) for n in range(1, 6)]
    for bundle in bundles[1:3]:
        tail, results = write(appender, tail_of(appender), [bundle])
        assert (tail.seq, [type(result) for result in results]) == (0, [Unavailable])
    tail, results = write(appender, tail_of(appender), bundles)
    assert [type(result) for result in results] == [tuple, Unavailable, Unavailable, tuple, Unavailable]
    assert tail == tail_of(appender)
    assert tail.seq == 2
    appender.close()
    with unit_of_work(engine) as session:
        assert receipts.by_calls(session, PRIVATE_LANE, calls).keys() == {calls[0], calls[3]}
        left = session.exec(select(CallLockRow.call).order_by(col(CallLockRow.call))).all()
        assert list(left) == [calls[1], calls[2]]


def test_the_receipts_of_one_call_end_one_lock(engine: Engine, postgres_url: str) -> None:
    us = GatewayRun(PRIVATE_LANE, SIGNER.address, b"this run")
    root = a_draft(2)
    lock = root.receipt.call_id
    with unit_of_work(engine) as session:
        call_locks.take(session, us, {lock: b"fingerprint"})
    appender = Appender(postgres_url, SIGNER.address, PRIVATE_LANE, us.boot)
    bundle = (structs.replace(a_draft(1), lock=lock), structs.replace(root, lock=lock))
    tail, results = write(appender, tail_of(appender), [bundle, (a_draft(3),)])
    assert tail.seq == 3
    assert [len(result) for result in results if isinstance(result, tuple)] == [2, 1]
    appender.close()
