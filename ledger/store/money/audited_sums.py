"""Law L6, from where the last audit stopped: it costs as much as what was booked since. Plain SQL, like the laws.

A transaction carries the number of the database transaction that booked it. All below the oldest one still running are
visible, so sums up to that number are final; what is above it is added up again each time.
"""

from sqlalchemy import text
from sqlmodel import Session

from ledger.core.accounts.postings import Balance

_SIDES = (
    "WITH fresh AS (SELECT p.debit, p.credit, p.amount FROM postings p JOIN transactions t ON t.id = p.transaction "
    "WHERE t.booked_in >= :since AND t.booked_in < :until), sides AS (SELECT debit AS name, amount AS debits, "
    "0 AS credits FROM fresh UNION ALL SELECT credit, 0, amount FROM fresh"
)
_DRIFT = text(
    f"{_SIDES} UNION ALL SELECT name, debits, credits FROM audited_sums WHERE :since > 0), sums AS (SELECT name, "
    "sum(debits) AS debits, sum(credits) AS credits FROM sides GROUP BY name) SELECT coalesce(a.name, s.name), "
    "coalesce(a.debits, 0), coalesce(a.credits, 0), coalesce(s.debits, 0), coalesce(s.credits, 0) FROM accounts a "
    "FULL JOIN sums s ON a.name = s.name WHERE (a.debits, a.credits) IS DISTINCT FROM (s.debits, s.credits) ORDER BY 1"
)
_ADD_SUMS = text(
    f"INSERT INTO audited_sums AS known (name, debits, credits) {_SIDES}) SELECT name, sum(debits), sum(credits) "
    "FROM sides GROUP BY name ON CONFLICT (name) DO UPDATE SET debits = known.debits + excluded.debits, "
    "credits = known.credits + excluded.credits"
)
_MARK = text(
    "INSERT INTO audited_until (id, booked_in) VALUES (1, :until) "
    "ON CONFLICT (id) DO UPDATE SET booked_in = excluded.booked_in"
)
_NOW = text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
_NEVER = 2**63 - 1


def since(session: Session) -> int:
    """The end of the last audit, locked; 0 if there was none, or the database is a copy that counts from 0."""
    found = session.execute(text("SELECT booked_in FROM audited_until FOR UPDATE")).scalar()
    return int(found) if found is not None and int(found) <= _settled(session) else 0


def drifted(session: Session, start: int) -> list[tuple[str, Balance, Balance]]:
    """Accounts whose running sums are not the audited sums and all postings from `start` on: name, both."""
    rows = session.execute(_DRIFT, {"since": start, "until": _NEVER})
    return [(str(name), Balance(int(a), int(b)), Balance(int(c), int(d))) for name, a, b, c, d in rows]


def go_on(session: Session, start: int) -> None:
    """Add what was booked from `start` on and is final to the audited sums; from 0, begin again."""
    if start == 0:
        session.execute(text("DELETE FROM audited_sums"))
    until = _settled(session)
    session.execute(_ADD_SUMS, {"since": start, "until": until})
    session.execute(_MARK, {"until": until})


def _settled(session: Session) -> int:
    return int(session.execute(_NOW).scalar_one())
