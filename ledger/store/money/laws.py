"""Sums that the laws compare: tables that must agree, added up in different ways.

Plain SQL, so that a law can be read, and typed into psql, as it is checked.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlmodel import Session

from ledger.core.accounts import permissions
from ledger.core.values.ids import Address, Lane


def leases_handed_out(session: Session, lane: Lane) -> dict[tuple[Address, Address], tuple[int, int]]:
    """By consumer and gateway: what was ever leased, and what came back when leases were closed."""
    rows = _rows(
        session,
        lane,
        "SELECT consumer, gateway, sum(amount), sum(CASE WHEN state = 'open' THEN 0 ELSE amount - spent END) "
        "FROM leases WHERE lane = :lane GROUP BY 1, 2",
    )
    return {(Address(bytes(c)), Address(bytes(g))): (int(out), int(back)) for c, g, out, back in rows}


def posted_charges(session: Session, lane: Lane) -> dict[tuple[Address, Address], int]:
    """By consumer and gateway: what posted receipts charge. Reads every receipt."""
    rows = _rows(
        session,
        lane,
        "SELECT r.consumer, r.gateway, sum(r.charge) FROM receipts r JOIN watermarks w "
        "ON w.lane = r.lane AND w.gateway = r.gateway WHERE w.lane = :lane AND r.seq <= w.posted_seq GROUP BY 1, 2",
    )
    return {(Address(bytes(c)), Address(bytes(g))): int(amount) for c, g, amount in rows}


def segment_totals(session: Session, lane: Lane, *, unbatched: bool = False) -> list[tuple[Address, int, int, int]]:
    """By gateway: receipts posted, receipts in segments up to there, and what those segments charge.

    `unbatched` counts only what is in no batch yet.
    """
    low = "w.batched_seq" if unbatched else "0"
    rows = _rows(
        session,
        lane,
        f"SELECT w.gateway, w.posted_seq - {low}, coalesce(sum(s.count), 0), coalesce(sum(s.total), 0) "
        f"FROM watermarks w LEFT JOIN segments s ON s.lane = w.lane AND s.gateway = w.gateway AND s.first > {low} "
        "AND s.last <= w.posted_seq WHERE w.lane = :lane GROUP BY w.lane, w.gateway",
    )
    return [(Address(bytes(g)), int(posted), int(count), int(total)) for g, posted, count, total in rows]


def charged_by_transactions(session: Session, lane: Lane) -> int:
    """The sum of all charges of a lane."""
    query = (
        "SELECT coalesce(sum(p.amount), 0) FROM postings p JOIN transactions t ON t.lane = p.lane "
        "AND t.id = p.transaction WHERE t.lane = :lane AND t.kind = 'charge'"
    )
    return int(session.execute(text(query), {"lane": lane}).scalar_one())


def barred_charges(session: Session, lane: Lane, *, unbatched: bool = False) -> int:
    """The sum of what barred receipts charged before they gave it back; `unbatched`: of those in no batch."""
    later = "AND b.seq > w.batched_seq" if unbatched else ""
    query = (
        "SELECT coalesce(sum(b.charge), 0) FROM barred_receipts b JOIN watermarks w ON w.lane = b.lane "
        f"AND w.gateway = b.gateway WHERE b.lane = :lane {later}"
    )
    return int(session.execute(text(query), {"lane": lane}).scalar_one())


def fallen_leaves(session: Session, lane: Lane) -> list[tuple[int, int, int]]:
    """Leaves of the cumulative trees that fell from one batch to the next: tree, index, batch."""
    rows = _rows(
        session,
        lane,
        "SELECT tree, index, number FROM (SELECT tree, index, number, substr(word, 25) AS now, "
        "lag(substr(word, 25)) OVER (PARTITION BY tree, index ORDER BY number) AS before FROM tree_nodes "
        "WHERE lane = :lane AND level = 0) v "
        "WHERE before > now ORDER BY 1, 2, 3",
    )
    return [(int(tree), int(index), int(number)) for tree, index, number in rows]


def batched_shares(session: Session, lane: Lane) -> dict[Address, int]:
    """Each payee's total in batches that are not void."""
    rows = _rows(
        session,
        lane,
        "SELECT s.payee, sum(s.amount) FROM batch_shares s JOIN batches b USING (lane, number) "
        "WHERE s.lane = :lane AND b.status <> 'void' GROUP BY 1",
    )
    return {Address(bytes(payee)): int(amount) for payee, amount in rows}


def batches_total(session: Session, lane: Lane, *, on_chain: bool) -> int:
    """What the batches charge that are on chain, or those that are not yet."""
    states = "'posted', 'final'" if on_chain else "'built', 'signed'"
    query = f"SELECT coalesce(sum(total), 0) FROM batches WHERE lane = :lane AND status IN ({states})"
    return int(session.execute(text(query), {"lane": lane}).scalar_one())


def mandates(session: Session, lane: Lane) -> dict[Address, int]:
    """The most each consumer that signed a voucher or paid by x402 allowed the lane to debit, ever."""
    rows = _rows(
        session,
        lane,
        "SELECT c.account, coalesce(v.cum_max, 0), c.debit_at_exit, sum(d.amount) FROM consumers c "
        "LEFT JOIN (SELECT account, max(cum_max) AS cum_max FROM vouchers WHERE lane = :lane GROUP BY account) v "
        "ON v.account = c.account LEFT JOIN deposits_requested d "
        "ON d.lane = c.lane AND d.account = c.account AND d.kind = 'inbox' AND d.status = 'credited' "
        "AND (c.left_in_block IS NULL OR d.block > c.left_in_block) WHERE c.lane = :lane "
        "GROUP BY c.account, v.cum_max, c.debit_at_exit HAVING v.cum_max IS NOT NULL OR sum(d.amount) IS NOT NULL",
    )
    return {
        Address(bytes(account)): permissions.mandate(int(cum_max), int(at_exit), int(paid_in or 0))
        for account, cum_max, at_exit, paid_in in rows
    }


def gaps(session: Session, lane: Lane) -> list[tuple[Address, int]]:
    """Receipts up to the watermark that are missing from the receipt log: gateway, how many. Reads the whole index."""
    rows = _rows(
        session,
        lane,
        "SELECT w.gateway, w.posted_seq - (SELECT count(*) FROM receipts r WHERE r.lane = w.lane "
        "AND r.gateway = w.gateway AND r.seq <= w.posted_seq) AS missing FROM watermarks w WHERE w.lane = :lane",
    )
    return [(Address(bytes(gateway)), int(missing)) for gateway, missing in rows if missing]


def _rows(session: Session, lane: Lane, query: str) -> Sequence[Any]:
    return session.execute(text(query), {"lane": lane}).all()
