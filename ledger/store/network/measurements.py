"""What gateways measured of providers: latency, errors, quality. Never what providers say of themselves."""

from dataclasses import dataclass

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.values.ids import Address, Digest
from ledger.store.network.tables import MeasurementRow


@dataclass(frozen=True, slots=True)
class Measurement:
    """A provider on a subject: calls and errors seen, p50 latency, quality in ppm."""

    provider: Address
    subject: Digest
    calls: int
    errors: int
    latency_p50_ms: int
    quality_ppm: int


_FIELDS = ("provider", "subject", "calls", "errors", "latency_p50_ms", "quality_ppm")


def put(session: Session, measured: Measurement, now: int) -> None:
    """Record the newest measurement."""
    row = {name: getattr(measured, name) for name in _FIELDS} | {"at": now}
    keys = [col(MeasurementRow.provider), col(MeasurementRow.subject)]
    session.execute(insert(MeasurementRow).values(row).on_conflict_do_update(index_elements=keys, set_=row))


def everything(session: Session) -> dict[tuple[Address, Digest], Measurement]:
    """All measurements, by provider and subject."""
    rows = session.exec(select(MeasurementRow).execution_options(populate_existing=True))
    found = (
        Measurement(Address(r.provider), Digest(r.subject), r.calls, r.errors, r.latency_p50_ms, r.quality_ppm)
        for r in rows
    )
    return {(one.provider, one.subject): one for one in found}
