"""A workflow's receipts stand before its root's: as many as a workflow may have nodes, and no more are looked at."""

from sqlalchemy import Engine, text

from ledger.core.capsules import MAX_NODES
from ledger.core.ids import Digest
from ledger.store import receipts
from ledger.store.session import unit_of_work

ROOT = Digest(b"\x07" * 32)
NESTED = f"""
INSERT INTO receipts (gateway, seq, call_id, parent, lane, consumer, terms, epoch, calls, input_tokens, output_tokens,
  ms, byte_count, fuel, passed, price, charge, end_reason, ended_at, request_digest, response_digest, digest, signature)
SELECT decode(repeat('99', 20), 'hex'), n,
  CASE WHEN n = {MAX_NODES + 1} THEN :root ELSE decode(lpad(to_hex(n), 64, '0'), 'hex') END,
  CASE WHEN n = 1 OR n = {MAX_NODES} THEN :root ELSE decode(lpad(to_hex(n % {MAX_NODES + 1}), 64, '0'), 'hex') END,
  1, decode(repeat('11', 20), 'hex'), decode(repeat('77', 32), 'hex'), 1, 1, 0, 0, 0, 0, 0, 0, 5, 5, 0, n,
  decode(repeat('00', 32), 'hex'), decode(repeat('00', 32), 'hex'), decode(repeat('00', 32), 'hex'), '\\x'
FROM generate_series(1, {MAX_NODES + 1}) n
"""


def test_the_first_of_as_many_nodes_as_there_may_be_is_found_from_its_root(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        session.execute(text(NESTED), {"root": ROOT})
        assert [one.receipt.seq for one in receipts.children(session, ROOT)] == [1, MAX_NODES]
