"""Keystores: an encrypted key in a file, in the format every Ethereum wallet reads (Web3 Secret Storage, version 3).

eth_keyfile is imported when a key is encrypted or decrypted: most commands read an address only.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ledger.core.values.errors import Rejected
from ledger.core.values.typed_data import Signer

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import SecretStr


def load(key: SecretStr | None, file: Path | None, password: SecretStr | None) -> Signer | None:
    """A process's key, as its settings give it: in hex, or in a keystore. None when they give neither.

    Decrypting a keystore takes about a second, by design. Rejected when its password is wrong.
    """
    if key is not None:
        return Signer(bytes.fromhex(key.get_secret_value().removeprefix("0x")))
    if file is None:
        return None
    try:
        return Signer(decrypt(json.loads(file.read_text()), password.get_secret_value() if password else ""))
    except Rejected as error:
        raise Rejected(f"{file}: {error.message}{'' if password else ', none is set'}") from error


def encrypt(secret: bytes, password: str, strength: int) -> dict[str, Any]:
    """A key file. `strength` is scrypt's N."""
    from eth_keyfile.keyfile import create_keyfile_json

    return dict(create_keyfile_json(secret, password.encode(), kdf="scrypt", iterations=strength))


def decrypt(encrypted: dict[str, Any], password: str) -> bytes:
    """The key. Rejected when the password is wrong, or the file is encrypted in a way that is not supported."""
    crypto = encrypted.get("crypto") or encrypted.get("Crypto") or {}
    known = crypto.get("kdf") in ("scrypt", "pbkdf2") and crypto.get("cipher") == "aes-128-ctr"
    if encrypted.get("version") != 3 or not known:
        raise Rejected("this key file is not Web3 Secret Storage 3 with scrypt or pbkdf2 and aes-128-ctr")
    from eth_keyfile.keyfile import decode_keyfile_json

    try:
        return bytes(decode_keyfile_json(encrypted, password.encode()))
    except ValueError as error:
        raise Rejected("wrong password") from error
