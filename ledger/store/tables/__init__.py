"""Every table, by the noun of its row. Rows are columns only: what they mean lives in `ledger.core`."""

from sqlmodel import SQLModel

from ledger.store.tables.doors import ApiKeyRow, CredentialRow, DepositRow, KeyAllowanceRow, LeaseRow, VoucherRow
from ledger.store.tables.journal import QuarantineRow, ReceiptRow, SegmentRow, TermsRow, WatermarkRow
from ledger.store.tables.mirrors import (
    BidRow,
    BlockRow,
    ClaimRow,
    ConsumerRow,
    CursorRow,
    EventRow,
    LaneRow,
    ModelRow,
    PartyRow,
    PrivatePlaceRow,
    SessionKeyRow,
    StakeRow,
)
from ledger.store.tables.money import AccountRow, AuditedSumRow, AuditedUntilRow, PostingRow, TransactionRow
from ledger.store.tables.network import BookRow, DocumentRow, MeasurementRow, OfferRow, TunnelRow
from ledger.store.tables.settlement import (
    AlarmRow,
    AttemptRow,
    BatchRangeRow,
    BatchRow,
    BatchShareRow,
    ChallengeRow,
    NodeRow,
    TransmissionRow,
)

metadata = SQLModel.metadata

__all__ = [
    "AccountRow",
    "AlarmRow",
    "ApiKeyRow",
    "AttemptRow",
    "AuditedSumRow",
    "AuditedUntilRow",
    "BatchRangeRow",
    "BatchRow",
    "BatchShareRow",
    "BidRow",
    "BlockRow",
    "BookRow",
    "ChallengeRow",
    "ClaimRow",
    "ConsumerRow",
    "CredentialRow",
    "CursorRow",
    "DepositRow",
    "DocumentRow",
    "EventRow",
    "KeyAllowanceRow",
    "LaneRow",
    "LeaseRow",
    "MeasurementRow",
    "ModelRow",
    "NodeRow",
    "OfferRow",
    "PartyRow",
    "PostingRow",
    "PrivatePlaceRow",
    "QuarantineRow",
    "ReceiptRow",
    "SegmentRow",
    "SessionKeyRow",
    "StakeRow",
    "TermsRow",
    "TransactionRow",
    "TransmissionRow",
    "TunnelRow",
    "VoucherRow",
    "WatermarkRow",
    "metadata",
]
