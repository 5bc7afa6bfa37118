"""The operator's key: from the environment, or from an encrypted keystore file."""

import json

from eth_account import Account
from eth_account.signers.local import LocalAccount

from ledger.core.values.errors import Rejected
from ledger.settings import Settings


def operator(settings: Settings) -> LocalAccount | None:
    """The account that signs the lane's transactions; None when this ledger has no key and only reads the chain.

    Opening a keystore takes about a second, by design.
    """
    if settings.operator_key is not None:
        return _account(bytes.fromhex(settings.operator_key.get_secret_value().removeprefix("0x")))
    if settings.operator_keystore is None:
        return None
    if settings.operator_password is None:
        raise Rejected(f"{settings.operator_keystore} needs LEDGER_OPERATOR_PASSWORD")
    keystore = json.loads(settings.operator_keystore.read_text())
    try:
        return _account(bytes(Account.decrypt(keystore, settings.operator_password.get_secret_value())))
    except ValueError as error:
        raise Rejected(f"LEDGER_OPERATOR_PASSWORD does not open {settings.operator_keystore}") from error


def _account(secret: bytes) -> LocalAccount:
    account: LocalAccount = Account.from_key(secret)
    return account
