"""Web3 Secret Storage, version 3: the encrypted key file that every Ethereum wallet reads.

scrypt stretches the password, AES-128-CTR hides the key, keccak tells a wrong password. Written out here because the
usual package takes longer to import than the rest of a command takes to run; a test holds the two equal.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import uuid
from typing import Any

from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address

SCRYPT_R, SCRYPT_P, KEY_BYTES = 8, 1, 32
MEMORY_BYTES = 1 << 30


def encrypt(secret: bytes, address: Address, password: str, strength: int) -> dict[str, Any]:
    """A key file. `strength` is scrypt's N: 2^18 takes about a second, 2^12 no time at all."""
    salt, vector = os.urandom(32), os.urandom(16)
    derived = _scrypt(password, salt, strength, SCRYPT_R, SCRYPT_P)
    hidden = _aes(derived, vector).encrypt(secret)
    return {
        "version": 3,
        "id": str(uuid.UUID(bytes=os.urandom(16), version=4)),
        "address": address.hex(),
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": vector.hex()},
            "ciphertext": hidden.hex(),
            "kdf": "scrypt",
            "kdfparams": {"n": strength, "r": SCRYPT_R, "p": SCRYPT_P, "dklen": KEY_BYTES, "salt": salt.hex()},
            "mac": keccak256(derived[16:], hidden).hex(),
        },
    }


def decrypt(encrypted: dict[str, Any], password: str) -> bytes:
    """The key. Rejected when the password is wrong, or the file is sealed in a way this page does not know."""
    crypto = encrypted.get("crypto") or encrypted.get("Crypto") or {}
    if (
        encrypted.get("version") != 3
        or crypto.get("cipher") != "aes-128-ctr"
        or crypto.get("kdf") not in ("scrypt", "pbkdf2")
    ):
        raise Rejected("this key file is not Web3 Secret Storage 3 with scrypt or pbkdf2 and aes-128-ctr")
    derived, hidden = _derive(crypto, password), bytes.fromhex(crypto["ciphertext"])
    if not hmac.compare_digest(keccak256(derived[16:], hidden), bytes.fromhex(crypto["mac"])):
        raise Rejected("that is not the password")
    return bytes(_aes(derived, bytes.fromhex(crypto["cipherparams"]["iv"])).decrypt(hidden))


def _derive(crypto: dict[str, Any], password: str) -> bytes:
    told = crypto["kdfparams"]
    salt = bytes.fromhex(told["salt"])
    if crypto["kdf"] == "pbkdf2":
        return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, int(told["c"]), KEY_BYTES)
    return _scrypt(password, salt, int(told["n"]), int(told["r"]), int(told["p"]))


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=MEMORY_BYTES, dklen=KEY_BYTES)


def _aes(derived: bytes, vector: bytes) -> Any:
    from Crypto.Cipher import AES  # most commands read an address and no key
    from Crypto.Util import Counter

    counter = Counter.new(128, initial_value=int.from_bytes(vector, "big"))
    return AES.new(derived[:16], AES.MODE_CTR, counter=counter)
