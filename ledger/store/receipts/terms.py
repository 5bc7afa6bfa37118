"""Terms, stored once under the hash of their bytes."""

from collections.abc import Iterable

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.catalog.bids import terms_id
from ledger.core.values.errors import Conflict
from ledger.core.values.ids import Digest, to_hex
from ledger.store.receipts.tables import TermsRow


def put(session: Session, body: bytes) -> Digest:
    """Store encoded terms; storing them again changes nothing."""
    made = terms_id(body)
    session.execute(insert(TermsRow).values(id=made, body=body).on_conflict_do_nothing())
    return made


def get(session: Session, ids: Iterable[Digest]) -> dict[Digest, bytes]:
    """The bodies of these terms. A missing one is a Conflict: no receipt may name terms nobody can read."""
    wanted = set(ids)
    rows = session.exec(select(TermsRow).where(col(TermsRow.id).in_(wanted)))
    found = {Digest(row.id): row.body for row in rows}
    for missing in wanted - found.keys():
        raise Conflict(f"terms {to_hex(missing)} are named by a receipt and stored nowhere", terms=to_hex(missing))
    return found
