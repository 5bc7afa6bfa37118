"""The operator's consent to x402's `upto` and `batch-settlement`: by which key, to which wallet, and who settles.

Alone, because the gateway is made with it, and what is paid by it needs the gateway.
"""

from dataclasses import dataclass, field

from gateway.payment.auth import PREFIX
from gateway.settings import Settings
from ledger.core.values.atoms import Atoms
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import ZERO_ADDRESS, Address, Lane, address


@dataclass(frozen=True, slots=True)
class Advance:
    """The header of its advancing account's key, the wallet that permits and channels pay, the address that the worker
    sends from, which alone may settle or claim them, and the least (atoms) that is worth a transaction.
    """

    header: bytes = field(repr=False)
    pay_to: Address
    facilitator: Address
    least: Atoms


def advance_of(settings: Settings, lane: Lane, operator: Address) -> Advance | None:
    """What the operator's settings say of `upto`; None where they say nothing. Rejected when they say half of it."""
    file, wallet = settings.upto_key_file, settings.upto_pay_to
    if file is None and not wallet:
        return None
    if file is None or not wallet:
        raise Rejected("`upto` needs both GATEWAY_UPTO_KEY_FILE and GATEWAY_UPTO_PAY_TO: set the other one, or none")
    try:
        secret = file.read_bytes().strip()
    except OSError as error:
        raise Rejected(f"GATEWAY_UPTO_KEY_FILE cannot be read: {error}") from error
    if not secret.startswith(PREFIX):
        raise Rejected(f"{file}, GATEWAY_UPTO_KEY_FILE, holds no API key: its one line begins with {PREFIX.decode()}")
    pay_to = _address("GATEWAY_UPTO_PAY_TO", wallet)
    if pay_to in (lane, ZERO_ADDRESS):
        raise Rejected("GATEWAY_UPTO_PAY_TO is a wallet of the operator's: what is paid to a lane this way is nobody's")
    named = settings.upto_facilitator
    facilitator = _address("GATEWAY_UPTO_FACILITATOR", named) if named else operator
    return Advance(b"Bearer " + secret, pay_to, facilitator, settings.upto_least)


def _address(setting: str, text: str) -> Address:
    try:
        return address(text.lower())
    except Rejected as error:
        raise Rejected(f"{setting} is not an address: {error.message}") from error
