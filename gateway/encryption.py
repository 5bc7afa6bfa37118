"""What gateways keep in the database so that who reads it cannot: encrypted (AES-256-GCM) with the operator's secret.

While the secret is changed, gateways have two: what is stored is encrypted with the first, and read with either.
"""

import os
from collections.abc import Sequence

from Crypto.Cipher import AES
from pydantic import SecretStr

from ledger.core.values.errors import Conflict


def keys_of(secret: SecretStr | None) -> tuple[bytes, ...]:
    """The operator's secrets as keys; none without one."""
    if secret is None:
        return ()
    try:
        keys = tuple(bytes.fromhex(one.strip().removeprefix("0x")) for one in secret.get_secret_value().split(","))
    except ValueError as error:
        raise Conflict("GATEWAY_SECRET is 64 hex digits, or two of them with a comma") from error
    if {len(key) for key in keys} != {32}:
        raise Conflict("GATEWAY_SECRET is 64 hex digits, or two of them with a comma")
    return keys


def encrypt(key: bytes, whose: bytes, plain: bytes) -> tuple[bytes, bytes]:
    """A nonce, and what is encrypted with it and its tag. It can be decrypted only as what is `whose`."""
    nonce = os.urandom(12)
    cipher = AES.new(key, AES.MODE_GCM, nonce=nonce)
    cipher.update(whose)
    body, tag = cipher.encrypt_and_digest(plain)
    return nonce, body + tag


def opened(key: bytes, whose: bytes, nonce: bytes, encrypted: bytes) -> bytes | None:
    """What is encrypted; None if it was with another key, or for another one."""
    cipher = AES.new(key, AES.MODE_GCM, nonce=nonce)
    cipher.update(whose)
    try:
        return cipher.decrypt_and_verify(encrypted[:-16], encrypted[-16:])
    except ValueError:
        return None


def renewed(keys: Sequence[bytes], whose: bytes, nonce: bytes, encrypted: bytes) -> tuple[bytes, bytes] | None:
    """A nonce and what is encrypted anew, with the first of the operator's secrets; None where it is already. Conflict
    if it was encrypted with none of them.
    """
    if opened(keys[0], whose, nonce, encrypted) is not None:
        return None
    return encrypt(keys[0], whose, decrypt(keys, whose, nonce, encrypted))


def decrypt(keys: Sequence[bytes], whose: bytes, nonce: bytes, encrypted: bytes) -> bytes:
    """What is encrypted with one of the operator's secrets. Conflict if it was with none of them."""
    found = (opened(key, whose, nonce, encrypted) for key in keys)
    plain = next((plain for plain in found if plain is not None), None)
    if plain is None:
        raise Conflict("none of the secrets in GATEWAY_SECRET is the one that this was encrypted with")
    return plain
