"""Terms, stored once under the hash of their bytes. Alone, because receipts name them and do not own them."""

from collections.abc import Iterable

from sqlmodel import Session, col, select

from ledger.core.catalog.bids import terms_id
from ledger.core.values.errors import Conflict
from ledger.core.values.ids import Digest, to_hex
from ledger.store.receipts.tables import TermsRow
from ledger.store.session import insert_once


def put(session: Session, body: bytes) -> Digest:
    """Store encoded terms; storing them again changes nothing."""
    made = terms_id(body)
    insert_once(session, TermsRow, {"id": made, "body": body})
    return made


def get(session: Session, ids: Iterable[Digest]) -> dict[Digest, bytes]:
    """The bodies of these terms. A missing one is a Conflict: a receipt must not name unknown terms."""
    wanted = set(ids)
    rows = session.exec(select(TermsRow).where(col(TermsRow.id).in_(wanted)))
    found = {Digest(row.id): row.body for row in rows}
    for missing in wanted - found.keys():
        raise Conflict(f"terms {to_hex(missing)} are named by a receipt and not stored", terms=to_hex(missing))
    return found
