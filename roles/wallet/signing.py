"""What people sign besides transactions: vouchers, token authorizations, offers, requests to leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.core.values.documents import Document, canonical, digest, unsigned, validate
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, to_hex
from ledger.core.values.typed_data import Domain, Signer, Voucher, offer_hash, signing_digest, voucher_hash, word

if TYPE_CHECKING:
    from ledger.chain.calls import Authorization

RECEIVE_TYPEHASH = keccak256(
    b"ReceiveWithAuthorization(address from,address to,uint256 value,"
    b"uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)
LEAVE_TYPEHASH = keccak256(b"RequestWithdraw(uint32 lane,address account,uint256 nonce,uint256 deadline)")


def voucher(signer: Signer, domain: Domain, signed: Voucher) -> dict[str, object]:
    """A voucher as the gateway takes it."""
    signature = signer.sign(signing_digest(domain, voucher_hash(signed)))
    return {
        "lane": signed.lane,
        "account": to_hex(signed.account),
        "cum_max": str(signed.cum_max),
        "signature": to_hex(signature),
    }


def deposit_authorization(signer: Signer, token: Domain, settlement: Address, asked: Authorization) -> bytes:
    """An ERC-3009 receive authorization. Its nonce binds lane and account, whoever relays it."""
    nonce = keccak256(word(asked.lane), word(asked.account), asked.salt)
    window = (word(asked.valid_after), word(asked.valid_before))
    words = (word(asked.account), word(settlement), word(asked.amount), *window, nonce)
    return signer.sign(signing_digest(token, keccak256(RECEIVE_TYPEHASH, *words)))


def leave(signer: Signer, domain: Domain, lane: int, nonce: int, deadline: int) -> bytes:
    """A consumer's request to leave a lane, for anybody to relay."""
    hashed = keccak256(LEAVE_TYPEHASH, word(lane), word(signer.address), word(nonce), word(deadline))
    return signer.sign(signing_digest(domain, hashed))


def offer(signer: Signer, domain: Domain, document: Document) -> Document:
    """An offer with its party's signature over the sha256 of its canonical bytes. Rejected unless it fits."""
    body = unsigned(document)
    signature = to_hex(signer.sign(signing_digest(domain, offer_hash(digest(body)))))
    signed = {**body, "signature": signature}
    validate(signed, "offer")
    assert canonical(unsigned(signed)) == canonical(body)
    return signed
