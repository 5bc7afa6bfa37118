"""Law L6, from where the last audit stopped: it costs as much as what was booked since. Plain SQL, like the laws.

An audit numbers a lane's transactions that it sees for the first time, and adds their postings to the audited sums. A
transaction that commits later is seen, numbered and added later, so no number is ever passed over.
"""

from sqlalchemy import text
from sqlmodel import Session

from ledger.core.accounts.postings import Balance
from ledger.core.values.ids import Lane, to_hex
from ledger.store.session import lock

_SIDES = (
    "WITH fresh AS (SELECT p.debit, p.credit, p.amount FROM postings p JOIN transactions t ON t.lane = p.lane "
    "AND t.id = p.transaction WHERE t.lane = :lane AND {which}), sides AS (SELECT debit AS name, amount AS debits, "
    "0 AS credits FROM fresh UNION ALL SELECT credit, 0, amount FROM fresh"
)
_DRIFT = text(
    _SIDES.format(which="(t.booked_in > :since OR t.booked_in IS NULL)")
    + " UNION ALL SELECT name, debits, credits FROM audited_sums WHERE lane = :lane AND :since > 0), sums AS (SELECT "
    "name, sum(debits) AS debits, sum(credits) AS credits FROM sides GROUP BY name) SELECT coalesce(a.name, s.name), "
    "coalesce(a.debits, 0), coalesce(a.credits, 0), coalesce(s.debits, 0), coalesce(s.credits, 0) FROM "
    "(SELECT name, debits, credits FROM accounts WHERE lane = :lane) a FULL JOIN sums s ON a.name = s.name "
    "WHERE (a.debits, a.credits) IS DISTINCT FROM (s.debits, s.credits) ORDER BY 1"
)
_NUMBER = text(
    "UPDATE transactions t SET booked_in = n.number FROM (SELECT id, row_number() OVER (ORDER BY at, id) + (SELECT "
    "coalesce(max(booked_in), 0) FROM transactions WHERE lane = :lane) AS number FROM transactions WHERE lane = :lane "
    "AND booked_in IS NULL) n WHERE t.lane = :lane AND t.id = n.id"
)
_ADD_SUMS = text(
    "INSERT INTO audited_sums AS known (lane, name, debits, credits) "
    + _SIDES.format(which="t.booked_in > :since")
    + ") SELECT :lane, name, sum(debits), sum(credits) FROM sides GROUP BY name ON CONFLICT (lane, name) DO UPDATE "
    "SET debits = known.debits + excluded.debits, credits = known.credits + excluded.credits"
)
_MARK = text(
    "INSERT INTO audited_until (lane, booked_in) SELECT :lane, coalesce(max(booked_in), 0) FROM transactions "
    "WHERE lane = :lane ON CONFLICT (lane) DO UPDATE SET booked_in = excluded.booked_in"
)

_SINCE = text(
    "SELECT u.booked_in FROM audited_until u JOIN transactions t ON t.lane = u.lane AND t.booked_in = u.booked_in "
    "WHERE u.lane = :lane"
)


def since(session: Session, lane: Lane) -> int:
    """The number of the last transaction that was audited; 0 when there is none, so that all is audited again.

    Other audits of the lane wait from here on: what one adds to the sums behind this number would count twice.
    """
    _lock(session, lane)
    return int(session.execute(_SINCE, {"lane": lane}).scalar() or 0)


def drifted(session: Session, lane: Lane, start: int) -> list[tuple[str, Balance, Balance]]:
    """Accounts whose running sums are not the audited sums and all postings after `start`: name, both.

    Other audits of the lane wait until the transaction ends.
    """
    _lock(session, lane)
    rows = session.execute(_DRIFT, {"lane": lane, "since": start})
    return [(str(name), Balance(int(a), int(b)), Balance(int(c), int(d))) for name, a, b, c, d in rows]


def go_on(session: Session, lane: Lane, start: int) -> None:
    """Number what was booked after `start` and add it to the audited sums; from 0, begin again."""
    if start == 0:
        session.execute(text("DELETE FROM audited_sums WHERE lane = :lane"), {"lane": lane})
    session.execute(_NUMBER, {"lane": lane})
    session.execute(_ADD_SUMS, {"lane": lane, "since": start})
    session.execute(_MARK, {"lane": lane})


def _lock(session: Session, lane: Lane) -> None:
    lock(session, f"audit:{to_hex(lane)}")
