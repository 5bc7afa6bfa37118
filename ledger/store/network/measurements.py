"""Gateways' measurements of providers: latency, errors, quality. Never what providers say of themselves.

Alone, because an offer is what a provider says and a measurement is not.
"""

from dataclasses import asdict, dataclass

from sqlmodel import Session, select

from ledger.core.values.ids import Address, Digest
from ledger.store.network.tables import MeasurementRow
from ledger.store.session import upsert, value_of


@dataclass(frozen=True, slots=True)
class Measurement:
    """A provider on a subject: calls and errors seen, p50 latency, quality in ppm."""

    provider: Address
    subject: Digest
    calls: int
    errors: int
    latency_p50_ms: int
    quality_ppm: int


def put(session: Session, measured: Measurement, now: int) -> None:
    upsert(session, MeasurementRow, asdict(measured) | {"at": now})


def everything(session: Session) -> dict[tuple[Address, Digest], Measurement]:
    rows = session.exec(select(MeasurementRow).execution_options(populate_existing=True))
    return {(Address(row.provider), Digest(row.subject)): value_of(Measurement, row) for row in rows}
