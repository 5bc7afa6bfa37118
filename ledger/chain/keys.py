"""The operator's key, and transactions signed with a key. eth_account is imported when it is first needed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Digest
from ledger.core.values.typed_data import Signer

if TYPE_CHECKING:
    from ledger.settings import Settings


def operator(settings: Settings) -> Signer | None:
    """The key that signs the lane's transactions; None when this ledger has no key and only reads the chain.

    Decrypting a keystore takes about a second, by design.
    """
    if settings.operator_key is not None:
        return Signer(bytes.fromhex(settings.operator_key.get_secret_value().removeprefix("0x")))
    if settings.operator_keystore is None:
        return None
    if settings.operator_password is None:
        raise Rejected(f"{settings.operator_keystore} needs LEDGER_OPERATOR_PASSWORD")
    from eth_account import Account

    keystore = json.loads(settings.operator_keystore.read_text())
    try:
        return Signer(bytes(Account.decrypt(keystore, settings.operator_password.get_secret_value())))
    except ValueError as error:
        raise Rejected(f"LEDGER_OPERATOR_PASSWORD does not decrypt {settings.operator_keystore}") from error


def sign_transaction(key: Signer, fields: dict[str, Any]) -> tuple[bytes, Digest]:
    """An EIP-1559 transaction as signed bytes, and its hash. `fields` as JSON-RPC names them."""
    from eth_account.typed_transactions.typed_transaction import TypedTransaction

    unsigned = {"type": 2, "accessList": [], **fields}
    signature = key.sign(bytes(TypedTransaction.from_dict(unsigned).hash()))
    r, s = (int.from_bytes(signature[start : start + 32], "big") for start in (0, 32))
    raw = bytes(TypedTransaction.from_dict({**unsigned, "v": signature[64] - 27, "r": r, "s": s}).encode())
    return raw, keccak256(raw)
