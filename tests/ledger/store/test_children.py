"""A workflow's receipts stand before its root's: as many as a receipt may count, and no more are looked at."""

from sqlalchemy import Engine, text

from ledger.core.receipts.receipt import MAX_SUBCALLS
from ledger.core.values.ids import PRIVATE_LANE, Digest
from ledger.store.receipts import receipts
from ledger.store.session import unit_of_work

ROOT = Digest(b"\x07" * 32)
NESTED = f"""
INSERT INTO receipts (seq, charge, ended_at, record, digest, signature)
SELECT n, 5, n,
  CASE WHEN n = {MAX_SUBCALLS + 1} THEN :root ELSE decode(lpad(to_hex(n), 64, '0'), 'hex') END
  || CASE WHEN n IN (1, {MAX_SUBCALLS}) THEN :root ELSE decode(lpad(to_hex(n % {MAX_SUBCALLS + 1}), 64, '0'), 'hex') END
  || decode(repeat('00', 19) || '01' || repeat('99', 20), 'hex') || int8send(n) || decode(repeat('00', 60), 'hex')
  || CASE WHEN n = {MAX_SUBCALLS + 1} THEN decode('3f', 'hex') ELSE decode('00', 'hex') END
  || decode(repeat('00', 98), 'hex'),
  decode(repeat('00', 32), 'hex'), '\\x'
FROM generate_series(1, {MAX_SUBCALLS + 1}) n
"""


def test_the_first_of_as_many_sub_calls_as_there_may_be_is_found_from_its_root(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        session.execute(text(NESTED), {"root": ROOT})
        assert [one.receipt.seq for one in receipts.children(session, PRIVATE_LANE, ROOT)] == [1, MAX_SUBCALLS]
