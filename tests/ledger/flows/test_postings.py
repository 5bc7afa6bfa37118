"""Posting: receipts become one balanced transaction a chunk, once, and only if they are what they say."""

import contextlib
from threading import Thread

import pytest
from sqlalchemy import Engine, text

from ledger.core.accounts.accounts import accrued, leased
from ledger.core.accounts.postings import Kind
from ledger.core.catalog.bids import Role
from ledger.core.values.errors import Rejected
from ledger.flows import postings as posting
from ledger.store.money import postings
from ledger.store.receipts import segments, watermarks
from ledger.store.session import unit_of_work
from tests import builders as b
from tests.rates import asks

HOLD = 10**12


def a_receipt_log(engine: Engine, sizes: list[int]) -> int:
    """Segments of these sizes written by the gateway for Alice; returns what they charge in all."""
    charged, number = 0, 0
    with unit_of_work(engine) as session:
        b.fund(session, b.ALICE, HOLD)
        for size in sizes:
            charged += b.write(session, [b.a_receipt(number + i + 1) for i in range(size)]).total
            number += size
    return charged


def test_a_chunk_is_posted_as_one_transaction_and_the_watermark_moves_with_it(engine: Engine) -> None:
    charged = a_receipt_log(engine, [3, 1, 5])
    with unit_of_work(engine) as session:
        assert posting.due(session, b.LANE) == [b.GATEWAY.address]
        assert posting.post_chunk(session, b.LANE, b.GATEWAY.address, 100, now=5) == 9
    with unit_of_work(engine) as session:
        assert posting.due(session, b.LANE) == []
        assert posting.post_chunk(session, b.LANE, b.GATEWAY.address, 100, now=6) == 0
        assert postings.balance(session, b.LANE, leased(b.ALICE, b.GATEWAY.address)) == HOLD - charged
        earned = {
            role: postings.balance(session, b.LANE, accrued(who, role))
            for who, role in ((b.MAKER, Role.maker), (b.COMPUTE, Role.compute), (b.OPERATOR, Role.gateway))
        }
        earned[Role.protocol] = postings.balance(session, b.LANE, accrued(b.TREASURY, Role.protocol))
        assert sum(earned.values()) == charged
        assert earned[Role.compute] == 9 * 28_000
        assert len(list(postings.all_transactions(session, b.LANE, Kind.charge))) == 1


def test_chunks_end_at_segments_and_a_large_segment_is_taken_whole(engine: Engine) -> None:
    a_receipt_log(engine, [3, 3, 20])
    with unit_of_work(engine) as session:
        steps = [posting.post_chunk(session, b.LANE, b.GATEWAY.address, 7, now=5) for _ in range(3)]
    assert steps == [6, 20, 0]


def test_a_crash_before_the_commit_leaves_the_chunk_for_the_next_sweep(engine: Engine) -> None:
    charged = a_receipt_log(engine, [4])
    with contextlib.suppress(KeyboardInterrupt), unit_of_work(engine) as session:
        posting.post_chunk(session, b.LANE, b.GATEWAY.address, 100, now=5)
        raise KeyboardInterrupt
    with unit_of_work(engine) as session:
        assert postings.balance(session, b.LANE, leased(b.ALICE, b.GATEWAY.address)) == HOLD
        assert posting.post_chunk(session, b.LANE, b.GATEWAY.address, 100, now=6) == 4
        assert postings.balance(session, b.LANE, leased(b.ALICE, b.GATEWAY.address)) == HOLD - charged


def test_two_workers_on_one_lane_never_post_twice(engine: Engine) -> None:
    charged = a_receipt_log(engine, [2] * 40)
    done: list[int] = []

    def work() -> None:
        while sum(done) < 80:
            with unit_of_work(engine) as session:
                posted = posting.post_chunk(session, b.LANE, b.GATEWAY.address, 4, now=5)
            done.append(posted)

    threads = [Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(done) == 80
    with unit_of_work(engine) as session:
        assert postings.balance(session, b.LANE, leased(b.ALICE, b.GATEWAY.address)) == HOLD - charged


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (b.altered(5, "charge"), "atoms"),
        (
            b.altered(5, "input_token"),
            "receipt 5 is not what its digest says",
        ),
        (b.altered(5, "call"), "malformed receipt record"),
        ("DELETE FROM receipts WHERE seq = 5", "receipts"),
        ("UPDATE segments SET digest = previous WHERE first = 4", "digest"),
        ("UPDATE segments SET total = total + 1 WHERE first = 4", "atoms"),
        ("UPDATE segments SET previous = digest WHERE first = 4", "follow"),
        ("UPDATE receipts SET digest = call_id WHERE seq = 5", "digest"),
        (
            "UPDATE segments SET last = 1099511627776 WHERE first = 4",
            "says 1099511627773 receipts, the log has 6",
        ),
        ("UPDATE segments SET last = 3 WHERE first = 4", "says 0 receipts"),
        ("UPDATE segments SET last = 1 WHERE first = 4", "says -2 receipts"),
    ],
)
def test_a_segment_that_is_not_what_it_says_is_quarantined(engine: Engine, damage: str, says: str) -> None:
    a_receipt_log(engine, [3, 3, 3])
    with unit_of_work(engine) as session:
        session.execute(text(damage))
    with unit_of_work(engine) as session:
        assert posting.post_chunk(session, b.LANE, b.GATEWAY.address, 100, now=5) == 3
        assert posting.post_chunk(session, b.LANE, b.GATEWAY.address, 100, now=6) == 0
    with unit_of_work(engine) as session:
        ((gateway, first, reason),) = segments.quarantined(session, b.LANE)
        assert (gateway, first) == (b.GATEWAY.address, 4)
        assert says in reason
        assert posting.due(session, b.LANE) == []
        assert posting.post_chunk(session, b.LANE, b.GATEWAY.address, 100, now=7) == 0


def test_a_receipt_its_terms_do_not_give_is_quarantined_and_its_neighbours_are_posted(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        b.fund(session, b.ALICE, HOLD)
        b.write(session, [b.a_receipt(1), b.a_receipt(2)])
        dear = b.a_receipt(3, b.some_terms(asks=asks(call=5)))
        lie = dear._replace(terms=b.a_receipt(4).terms)
        b.write(session, [lie])
        b.write(session, [b.a_receipt(4)])
    with unit_of_work(engine) as session:
        assert posting.post_chunk(session, b.LANE, b.GATEWAY.address, 100, now=5) == 2
        assert posting.post_chunk(session, b.LANE, b.GATEWAY.address, 100, now=6) == 0
        ((_, first, reason),) = segments.quarantined(session, b.LANE)
        assert first == 3
        assert "its terms give" in reason


def test_one_gateways_quarantine_does_not_stop_another(engine: Engine) -> None:
    a_receipt_log(engine, [3])
    with unit_of_work(engine) as session:
        b.fund(session, b.BOB, HOLD, b.OTHER_GATEWAY.address)
        b.write(session, [b.a_receipt(1, consumer=b.BOB)], signer=b.OTHER_GATEWAY)
        session.execute(text(b.altered(2, "input_token")))
    with unit_of_work(engine) as session:
        assert {g: posting.post_chunk(session, b.LANE, g, 100, now=5) for g in posting.due(session, b.LANE)} == {
            b.GATEWAY.address: 0,
            b.OTHER_GATEWAY.address: 1,
        }
        assert [mark.posted_seq for mark in watermarks.of_lane(session, b.LANE)].count(1) == 1


def test_receipts_no_lease_covers_are_refused_not_booked(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        b.write(session, [b.a_receipt(1)])
    with pytest.raises(Rejected, match="short by"), unit_of_work(engine) as session:
        posting.post_chunk(session, b.LANE, b.GATEWAY.address, 100, now=5)
