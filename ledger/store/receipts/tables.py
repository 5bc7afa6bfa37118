"""Tables that gateways write: receipts, in dense segments, priced by content-addressed terms."""

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from ledger.store.columns import big, cut, maybe_octets, octets


class ReceiptRow(SQLModel, table=True):
    """One charged call, signed. The shares it pays are a function of it and its terms, and are not stored.

    `record` is the 277 to 361 bytes that are signed for and published (`core.receipts`); the database cuts the columns
    calls are searched by from it, whose places are fixed. Posting reads records by the hundred thousand.
    """

    __tablename__ = "receipts"
    __table_args__ = (
        Index("receipts_ended_at", "ended_at", postgresql_using="brin"),
        Index("receipts_consumer", "lane", "consumer", "ended_at"),
        UniqueConstraint("lane", "call_id", name="receipts_call_id"),
    )
    lane: bytes = cut(65, 20, key=True)
    gateway: bytes = cut(85, 20, key=True)
    seq: int = big(key=True)
    call_id: bytes = cut(1, 32)
    parent: bytes = cut(33, 32)
    consumer: bytes = cut(113, 20)
    terms: bytes = cut(133, 32)
    charge: int = big()
    ended_at: int = big()
    record: bytes = octets()
    digest: bytes = octets()
    signature: bytes = octets()
    extra: bytes | None = maybe_octets()


class SegmentRow(SQLModel, table=True):
    """One group commit: receipts first..last of a gateway, their count, their charges' sum, and a chained digest."""

    __tablename__ = "segments"
    lane: bytes = octets(key=True)
    gateway: bytes = octets(key=True)
    first: int = big(key=True)
    last: int = big()
    count: int = big()
    total: int = big()
    digest: bytes = octets()
    previous: bytes = octets()


class CallLockRow(SQLModel, table=True):
    """A call under way that can be sent again by the same name, and the one run of a gateway that may charge it.

    `fingerprint` is H(call, body). It ends with the call: in the transaction that writes the receipt, if there is one.
    """

    __tablename__ = "call_locks"
    lane: bytes = octets(key=True)
    call: bytes = octets(key=True)
    fingerprint: bytes = octets()
    gateway: bytes = octets()
    boot: bytes = octets()


class ReferralBudgetRow(SQLModel, table=True):
    """What is used of a budget of referrals or slots, at all gateways: by calls that were charged, and open ones."""

    __tablename__ = "referral_budgets"
    lane: bytes = octets(key=True)
    budget: bytes = octets(key=True)
    used: int = big()


class ReferralClaimRow(SQLModel, table=True):
    """What an open call takes of a budget. `until` (ms) it is over, or its gateway is gone."""

    __tablename__ = "referral_claims"
    lane: bytes = octets(key=True)
    budget: bytes = octets(key=True)
    call: bytes = octets(key=True)
    amount: int = big()
    until: int = big()


class HeartbeatRow(SQLModel, table=True):
    """When a gateway last showed that it is alive, in ms by the database's clock, and which run of it (`boot`)."""

    __tablename__ = "gateway_heartbeats"
    lane: bytes = octets(key=True)
    gateway: bytes = octets(key=True)
    boot: bytes = octets()
    seen_at: int = big()


class TermsRow(SQLModel, table=True):
    """The frozen bids of a route, by their keccak256."""

    __tablename__ = "terms"
    id: bytes = octets(key=True)
    body: bytes = octets()


class WatermarkRow(SQLModel, table=True):
    """The posted and batched end of a gateway's receipt log. Its row lock serialises workers."""

    __tablename__ = "watermarks"
    lane: bytes = octets(key=True)
    gateway: bytes = octets(key=True)
    posted_seq: int = big()
    batched_seq: int = big()


class BarredRow(SQLModel, table=True):
    """A posted receipt that no batch may charge: what it took is its consumer's again."""

    __tablename__ = "barred_receipts"
    lane: bytes = octets(key=True)
    gateway: bytes = octets(key=True)
    seq: int = big(key=True)
    charge: int = big()


class QuarantineRow(SQLModel, table=True):
    """A segment that does not check out: posting of its gateway stops before it until a person looks."""

    __tablename__ = "quarantine"
    lane: bytes = octets(key=True)
    gateway: bytes = octets(key=True)
    first: int = big(key=True)
    last: int = big()
    reason: str = Field()
    at: int = big()
