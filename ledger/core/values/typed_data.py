"""EIP-712: domains, struct hashes of what Tollway signs, and signatures.

A signature is 65 bytes r | s | v, with v 27 or 28 and s in the low half of the curve's order. Any other encoding of the
same signature is Rejected, and no id depends on the bytes of a signature.
"""

import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

from coincurve import PrivateKey, PublicKey

from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import Digest, keccak256
from ledger.core.values.ids import ZERO_ADDRESS, Address, Lane
from ledger.core.values.meters import Units, counted

ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

DOMAIN_TYPEHASH = keccak256(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
VOUCHER_TYPEHASH = keccak256(b"Voucher(address lane,address account,uint64 cumMax)")
UNIT_TYPE = "Unit(uint8 meter,uint64 count)"
UNIT_TYPEHASH = keccak256(UNIT_TYPE.encode())
_UNIT = struct.Struct(">32s31xB24xQ")
"""The words of a unit: typehash, meter, count."""
OFFER_TYPEHASH = keccak256(b"Offer(bytes32 document)")
DOCUMENT_TYPEHASH = keccak256(b"Document(bytes32 document)")
REQUEST_TYPEHASH = keccak256(b"Request(address lane,address account,bytes32 request,uint64 at)")
CREDIT_TYPEHASH = keccak256(b"Credit(address lane,address account,uint64 amount,bytes32 reference)")


RECEIVE_TYPEHASH, TRANSFER_TYPEHASH = (
    keccak256(
        name + b"WithAuthorization(address from,address to,uint256 value,"
        b"uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    )
    for name in (b"Receive", b"Transfer")
)
"""ERC-3009: the first may be sent by its payee alone, the second by anybody."""


@dataclass(frozen=True, slots=True)
class Domain:
    """The EIP-712 domain in which a signature is valid. A private grid has chain 0 and the zero address."""

    chain_id: int = 0
    contract: Address = ZERO_ADDRESS
    name: str = "Tollway"
    version: str = "2"
    separator: Digest = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        name, version = keccak256(self.name.encode()), keccak256(self.version.encode())
        separator = keccak256(DOMAIN_TYPEHASH, name, version, word(self.chain_id), word(self.contract))
        object.__setattr__(self, "separator", separator)


@dataclass(frozen=True, slots=True)
class Voucher:
    """The most that this account may ever be debited in this lane, in atoms, in total. A mandate, not a payment."""

    lane: Lane
    account: Address
    cum_max: int


class Mandate(NamedTuple):
    """A voucher as a batch file shows it: of the consumer at an index, the most to debit in all, and the signature.

    The chain knows what else covers a debit: x402 payments, and the debit at the last exit.
    """

    consumer: int
    cum_max: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class TokenAuthorization:
    """An ERC-3009 authorization: tokens from payer to payee, good after and before these times (seconds)."""

    payer: Address
    payee: Address
    amount: int
    valid_after: int
    valid_before: int
    nonce: Digest

    def hash(self, typehash: Digest) -> Digest:
        """Its struct hash, as a transfer or as a receipt."""
        window = (word(self.valid_after), word(self.valid_before))
        return keccak256(typehash, word(self.payer), word(self.payee), word(self.amount), *window, self.nonce)


def word(value: int | bytes) -> bytes:
    """One ABI word of 32 bytes: numbers big endian, shorter bytes right-aligned."""
    return value.to_bytes(32, "big") if isinstance(value, int) else value.rjust(32, b"\0")


def voucher_hash(voucher: Voucher) -> Digest:
    if not 0 <= voucher.cum_max < 2**64:
        raise Rejected(f"voucher out of range: cum_max {voucher.cum_max}")
    return keccak256(VOUCHER_TYPEHASH, word(voucher.lane), word(voucher.account), word(voucher.cum_max))


def units_hash(units: Units) -> Digest:
    """The hash of a `Unit[]`: of the counts above 0, meters ascending."""
    return keccak256(*[_unit_hash(meter, count) for meter, count in counted(units)])


@lru_cache(1 << 14)
def _unit_hash(meter: int, count: int) -> Digest:
    """One count's hash. Calls resemble each other: each has one `call`, and most have a few tokens or ms."""
    return keccak256(_UNIT.pack(UNIT_TYPEHASH, meter, count))


def offer_hash(document: bytes) -> Digest:
    """Struct hash of an offer. `document` is the SHA-256 of its canonical JSON without the signature."""
    return keccak256(OFFER_TYPEHASH, word(document))


def document_hash(document: bytes) -> Digest:
    """Struct hash by which an owner publishes a model or capsule. `document` is the SHA-256 of its canonical JSON."""
    return keccak256(DOCUMENT_TYPEHASH, word(document))


def request_hash(lane: Lane, account: Address, request: bytes, at: int) -> Digest:
    """Struct hash of one request of an account to a lane's gateway. `request` is its `request_digest`, `at` in ms."""
    return keccak256(REQUEST_TYPEHASH, word(lane), word(account), word(request), word(at))


def request_digest(method: str, target: bytes, body: bytes) -> Digest:
    """keccak256(method | space | target | newline | body), the target as it is sent: a path and what follows `?`.

    Neither method nor target can have a space or a newline.
    """
    return keccak256(method.encode(), b" ", target, b"\n", body)


def credit_hash(lane: Lane, account: Address, amount: int, reference: bytes) -> Digest:
    """Struct hash of a credit: a private grid's operator owes an account `amount` more."""
    return keccak256(CREDIT_TYPEHASH, word(lane), word(account), word(amount), word(reference))


def signing_digest(domain: Domain, hashed: bytes) -> Digest:
    """The digest to sign: keccak256(0x1901 | domain separator | struct hash)."""
    return keccak256(b"\x19\x01", domain.separator, hashed)


class Signer:
    """A private key and its address. The repr shows only the address."""

    __slots__ = ("_key", "address", "public")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:
            raise Rejected("a private key is 32 bytes")
        self._key = PrivateKey(secret)
        self.address = _address(self._key.public_key)
        self.public = self._key.public_key.format()
        """The public key, 33 bytes compressed."""

    def __repr__(self) -> str:
        return f"Signer(0x{self.address.hex()})"

    def exchange(self, public: bytes) -> bytes:
        """The 32-byte Diffie-Hellman secret with the holder of another key. Rejected when `public` is no key."""
        try:
            return self._key.ecdh(public)
        except ValueError as error:
            raise Rejected("this is not a public key of secp256k1") from error

    def sign(self, digest: bytes) -> bytes:
        """Sign a 32-byte digest: 65 bytes r | s | v, deterministic, low s."""
        raw = self._key.sign_recoverable(digest, hasher=None)
        return raw[:64] + bytes((27 + raw[64],))


def recover(digest: bytes, signature: bytes) -> Address:
    """The address that signed `digest`. Rejected unless the signature is in its canonical 65-byte form."""
    return _address(_recovered(digest, signature))


def recover_public(digest: bytes, signature: bytes) -> bytes:
    """The public key that signed `digest`, 33 bytes compressed. Rejected like `recover`."""
    return _recovered(digest, signature).format()


def _recovered(digest: bytes, signature: bytes) -> PublicKey:
    if len(signature) != 65 or signature[64] not in (27, 28):
        raise Rejected(f"a signature is 65 bytes r|s|v with v 27 or 28, not {len(signature)} bytes")
    if int.from_bytes(signature[32:64], "big") > ORDER // 2:
        raise Rejected("the signature's s is in the high half of the order: only the low half is valid")
    try:
        raw = signature[:64] + bytes((signature[64] - 27,))
        return PublicKey.from_signature_and_message(raw, digest, hasher=None)
    except Exception as error:  # coincurve raises bare Exception for a point that is not on the curve
        raise Rejected("this is not a signature of this digest") from error


def signed_by(digest: bytes, signature: bytes, account: Address) -> bool:
    """Whether `account` signed `digest`, in the canonical form."""
    try:
        return recover(digest, signature) == account
    except Rejected:
        return False


def address_of(public: bytes) -> Address:
    """The address of a public key. Rejected when it is no key."""
    try:
        return _address(PublicKey(public))
    except ValueError as error:
        raise Rejected("this is not a public key of secp256k1") from error


def _address(public: PublicKey) -> Address:
    return Address(keccak256(public.format(compressed=False)[1:])[12:])
