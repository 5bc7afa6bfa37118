"""What the journal says of curators and sponsored slots: nothing is counted twice, nothing is kept beside it.

A receipt's terms carry who referred or showed it (`core.bids`, the carve after the lines); a window is how many of
those there are. They are asked once for a consumer and a subject, and remembered by the gateway that asked.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlmodel import Session

from ledger.core.values.ids import Address, Digest

_SUBJECT = "substring(t.body FROM 12 FOR 32) = :subject"
_DEDUCTED = "(get_byte(t.body, 1) & 2) = 2"
_DEDUCTION = "45 + 72 * get_byte(t.body, 43)"
"""Where the carve begins, counted from 1 as SQL does: sponsor 1, curator 20, two ratios of 3, promotion 8, ..."""
_CURATOR = f"substring(t.body FROM {_DEDUCTION} + 1 FOR 20)"
_PROMOTION = f"('x' || encode(substring(t.body FROM {_DEDUCTION} + 27 FOR 8), 'hex'))::bit(64)::bigint"
_ROOTS = "FROM receipts r JOIN terms t ON t.id = r.terms WHERE r.parent = :root"


def referred_calls(session: Session, consumer: Address, subject: Digest) -> int:
    """How many paid calls of a subject a consumer has made on anybody's referral."""
    query = (
        f"SELECT count(*) {_ROOTS} AND r.consumer = :consumer AND {_SUBJECT} AND {_DEDUCTED} AND {_CURATOR} <> :nobody"
    )
    values = {"consumer": consumer, "subject": subject, "root": bytes(32), "nobody": bytes(20)}
    return int(session.execute(text(query), values).scalar_one())


def bought_since(session: Session, consumer: Address, subject: Digest, since: int) -> bool:
    """Whether a consumer has paid for a subject at or after a time (ms)."""
    query = (
        f"SELECT EXISTS (SELECT 1 {_ROOTS} AND r.consumer = :consumer AND {_SUBJECT} AND r.ended_at >= :since"
        " AND substring(r.record FROM 213 FOR 8) > :free)"
    )
    values = {"consumer": consumer, "subject": subject, "root": bytes(32), "since": since, "free": bytes(8)}
    return bool(session.execute(text(query), values).scalar_one())


def promoted_since(session: Session, subject: Digest, since: int) -> int:
    """The slot prices of a subject's sales at or after a time (ms): never less than what they took of its line."""
    query = f"SELECT coalesce(sum({_PROMOTION}), 0) {_ROOTS} AND {_SUBJECT} AND {_DEDUCTED} AND r.ended_at >= :since"
    return int(session.execute(text(query), {"subject": subject, "root": bytes(32), "since": since}).scalar_one())
