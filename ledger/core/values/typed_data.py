"""EIP-712: domains, the structs Tollway signs, and signatures that have one spelling only.

A signature is 65 bytes r | s | v, v 27 or 28, s in the low half of the order: a second valid spelling of the same
signature is refused, and no signature byte is ever an id.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from coincurve import PrivateKey, PublicKey

from ledger.core.receipts.receipt import Receipt, struct_hash
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import Digest, keccak256
from ledger.core.values.ids import ZERO_ADDRESS, Address

ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

DOMAIN_TYPEHASH = keccak256(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
VOUCHER_TYPEHASH = keccak256(b"Voucher(uint32 lane,address account,uint64 cumMax)")
OFFER_TYPEHASH = keccak256(b"Offer(bytes32 document)")
CREDIT_TYPEHASH = keccak256(b"Credit(uint32 lane,address account,uint64 amount,bytes32 reference)")


@dataclass(frozen=True, slots=True)
class Domain:
    """Where a signature counts. Tollway's own: name "Tollway", version "1"; the private grid: chain 0, zero address."""

    chain_id: int = 0
    contract: Address = ZERO_ADDRESS
    name: str = "Tollway"
    version: str = "1"
    separator: Digest = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        words = (keccak256(self.name.encode()), keccak256(self.version.encode()))
        separator = keccak256(DOMAIN_TYPEHASH, *words, word(self.chain_id), word(self.contract))
        object.__setattr__(self, "separator", separator)


@dataclass(frozen=True, slots=True)
class Voucher:
    """The most this account may ever have been debited in this lane, in atoms. A mandate, not a payment."""

    lane: int
    account: Address
    cum_max: int


def word(value: int | bytes) -> bytes:
    """One ABI word: a number or an address, right-aligned; 32 bytes stay as they are."""
    return value.to_bytes(32, "big") if isinstance(value, int) else value.rjust(32, b"\0")


def voucher_hash(voucher: Voucher) -> Digest:
    """Struct hash of a voucher."""
    if not (0 <= voucher.lane < 2**32 and 0 <= voucher.cum_max < 2**64):
        raise Rejected(f"voucher out of range: lane {voucher.lane}, cum_max {voucher.cum_max}")
    return keccak256(VOUCHER_TYPEHASH, word(voucher.lane), word(voucher.account), word(voucher.cum_max))


def offer_hash(document: bytes) -> Digest:
    """Struct hash of an offer: over the sha256 of its canonical JSON without the signature."""
    return keccak256(OFFER_TYPEHASH, word(document))


def credit_hash(lane: int, account: Address, amount: int, reference: bytes) -> Digest:
    """Struct hash of a credit entry: a private grid's operator says that it holds `amount` more for an account."""
    return keccak256(CREDIT_TYPEHASH, word(lane), word(account), word(amount), word(reference))


def signing_digest(domain: Domain, hashed: bytes) -> Digest:
    """What is signed for a struct hash in a domain."""
    return keccak256(b"\x19\x01", domain.separator, hashed)


def receipt_digest(domain: Domain, receipt: Receipt) -> Digest:
    """What a gateway signs for a receipt."""
    return signing_digest(domain, struct_hash(receipt))


class Signer:
    """A private key and its address. Its repr shows the address only."""

    __slots__ = ("_key", "address")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:
            raise Rejected("a private key is 32 bytes")
        self._key = PrivateKey(secret)
        self.address = _address(self._key.public_key)

    def __repr__(self) -> str:
        return f"Signer(0x{self.address.hex()})"

    def sign(self, digest: bytes) -> bytes:
        """65 bytes r | s | v over a 32-byte digest; deterministic and low-s."""
        raw = self._key.sign_recoverable(digest, hasher=None)
        return raw[:64] + bytes((27 + raw[64],))


def recover(digest: bytes, signature: bytes) -> Address:
    """Who signed `digest`. Raises Rejected for any but the one canonical 65-byte spelling."""
    if len(signature) != 65 or signature[64] not in (27, 28):
        raise Rejected(f"a signature is 65 bytes r|s|v with v 27 or 28, not {len(signature)} bytes")
    if int.from_bytes(signature[32:64], "big") > ORDER // 2:
        raise Rejected("the signature's s is in the high half: a second spelling is refused")
    try:
        raw = signature[:64] + bytes((signature[64] - 27,))
        return _address(PublicKey.from_signature_and_message(raw, digest, hasher=None))
    except Exception as error:  # coincurve raises bare Exception for a point that is not on the curve
        raise Rejected("the signature is no signature of this digest") from error


def signed_by(digest: bytes, signature: bytes, account: Address) -> bool:
    """True when `account` signed `digest`, in the canonical spelling."""
    try:
        return recover(digest, signature) == account
    except Rejected:
        return False


def _address(public: PublicKey) -> Address:
    return Address(keccak256(public.format(compressed=False)[1:])[12:])
