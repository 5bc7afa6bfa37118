"""What a gateway asks of the journal while a consumer waits: answered by an index, however long the journal is."""

from sqlalchemy import Engine, text

from ledger.core.ids import Address, Digest
from ledger.store import receipts, referrals
from ledger.store.session import unit_of_work

CONSUMER = Address(b"\x01" * 20)
SUBJECT = Digest(b"\x02" * 32)
MANY = """
INSERT INTO receipts (gateway, seq, call_id, parent, lane, consumer, terms, epoch, calls, input_tokens, output_tokens,
  ms, byte_count, fuel, passed, price, charge, end_reason, ended_at, request_digest, response_digest, digest, signature)
SELECT '\\x99', n, int8send(n), decode(repeat('00', 32), 'hex'), 1, decode(repeat(lpad(to_hex(n % 250), 2, '0'), 20),
  'hex'), '\\x77', 1, 1, 0, 0, 0, 0, 0, 0, 5, 5, 0, n, '\\x', '\\x', '\\x', '\\x' FROM generate_series(1, 20000) n
"""
SCANS = text("SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'receipts'")


def test_what_a_waiting_consumer_is_asked_about_never_reads_the_whole_journal(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        session.execute(text(MANY))
        session.execute(text("INSERT INTO terms (id, body) VALUES ('\\x77', decode(repeat('00', 44), 'hex'))"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE receipts"))
    with unit_of_work(engine) as session:
        before = session.execute(SCANS).scalar_one()
        assert referrals.referred_calls(session, CONSUMER, SUBJECT) == 0
        assert not referrals.bought_since(session, CONSUMER, SUBJECT, 10)
        assert len(receipts.of_consumer(session, CONSUMER, before=19_000, limit=5)) == 5
        assert session.execute(SCANS).scalar_one() == before
