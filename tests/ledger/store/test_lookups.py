"""What a gateway asks of the receipt log while a consumer waits: answered by an index, however long the log is."""

from sqlalchemy import Engine, text

from ledger.core.values.ids import PRIVATE_LANE, Address, Digest
from ledger.store.receipts import receipts, referrals
from ledger.store.session import unit_of_work

CONSUMER = Address(b"\x01" * 20)
SUBJECT = Digest(b"\x02" * 32)
TERMS = b"\x77" * 32
MANY = """
INSERT INTO receipts (seq, charge, ended_at, record, digest, signature)
SELECT n, 5, n, decode(lpad(to_hex(n), 64, '0') || repeat('00', 51) || '01' || repeat('99', 20), 'hex') || int8send(n)
  || decode(repeat(lpad(to_hex(n % 250), 2, '0'), 20) || repeat('77', 32) || repeat('00', 107), 'hex'), '\\x', '\\x'
FROM generate_series(1, 20000) n
"""
SCANS = text("SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'receipts'")


def test_what_a_waiting_consumer_is_asked_about_never_reads_the_whole_receipt_log(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        session.execute(text(MANY))
        session.execute(text("INSERT INTO terms VALUES (:id, decode(repeat('00', 44), 'hex'))"), {"id": TERMS})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE receipts"))
    with unit_of_work(engine) as session:
        before = session.execute(SCANS).scalar_one()
        assert referrals.referred_calls(session, PRIVATE_LANE, CONSUMER, SUBJECT) == 0
        assert not referrals.bought_since(session, PRIVATE_LANE, CONSUMER, SUBJECT, 10)
        assert len(receipts.of_consumer(session, PRIVATE_LANE, CONSUMER, before=19_000, limit=5)) == 5
        assert session.execute(SCANS).scalar_one() == before
