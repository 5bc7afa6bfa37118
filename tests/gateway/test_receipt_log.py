"""The receipt log: groups written whole, bad rows left out, one writer, no gaps."""

from __future__ import annotations

from sqlalchemy import Engine

from ledger.core.receipts.receipt import EndReason, Receipt
from ledger.core.receipts.segments import link
from ledger.core.values.errors import Conflict
from ledger.core.values.ids import PRIVATE_LANE, ZERO_ADDRESS, ZERO_DIGEST, Address, Digest
from ledger.core.values.meters import Units
from ledger.core.values.typed_data import Domain, Signer
from ledger.flows.receipt_log import Bundle, Draft, Outcome, Tail, append, tail_of
from ledger.store.receipts import receipts, segments
from ledger.store.receipts.appender import Appender
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
