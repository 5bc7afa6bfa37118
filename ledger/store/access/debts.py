"""What x402's payers used and cannot be taken of them. Alone, because permits and channels both refuse who owes by the
other.
"""

from sqlmodel import Session

from ledger.core.values.ids import ZERO_DIGEST, Address, Digest
from ledger.store.access import channels, permits


def of_payer(session: Session, payer: Address, but: Digest = ZERO_DIGEST) -> int:
    """What a payer owes by permits and by channels `but` this one, in every lane, in atoms."""
    return permits.debt(session, payer) + channels.debt(session, payer, but)
