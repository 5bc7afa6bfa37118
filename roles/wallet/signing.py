"""Signatures besides transactions: token authorizations, offers, realms, documents, requests to leave."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from ledger.core.catalog import realms
from ledger.core.values.documents import Document, digest, validate
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Digest, Lane, cid, did, to_hex
from ledger.core.values.typed_data import (
    RECEIVE_TYPEHASH,
    Domain,
    Signer,
    TokenAuthorization,
    document_hash,
    offer_hash,
    signing_digest,
    word,
)

if TYPE_CHECKING:
    from ledger.chain.calls import Authorization
    from ledger.core.catalog.bids import Role
    from roles.wallet.context import Context

LEAVE_TYPEHASH = keccak256(b"RequestWithdraw(address lane,address account,uint256 nonce,uint256 deadline)")
STAY_TYPEHASH = keccak256(b"CancelWithdraw(address lane,address account,uint256 nonce,uint256 deadline)")


def deposit_authorization(signer: Signer, token: Domain, asked: Authorization) -> bytes:
    """An ERC-3009 receive authorization to the lane. Its nonce binds lane and account, whoever relays it."""
    nonce = keccak256(word(asked.lane), word(asked.account), asked.salt)
    signed = TokenAuthorization(asked.account, asked.lane, asked.amount, asked.valid_after, asked.valid_before, nonce)
    return signer.sign(signing_digest(token, signed.hash(RECEIVE_TYPEHASH)))


def offer(context: Context, subject: Digest, role: Role, epochs: int, parts: Document) -> Document:
    """An offer of this wallet from now on, signed over the sha256 of its canonical bytes. Rejected unless it fits.

    `parts` are the fields that depend on the kind of offer, such as `bid`, `serve` or `curation`.
    """
    lane = context.gateway.get("/v1/lane")  # not `context.lane`: a node makes offers for longer than an epoch
    epoch, chain = int(lane["epoch"]), int(lane["chain_id"])
    document: Document = {
        "schema": "tollway/offer/1",
        "subject": cid(subject),
        "party": did(chain, context.account),
        "role": role.name,
        "valid_from_epoch": epoch,
        "expires_epoch": epoch + epochs,
        "nonce": time.time_ns() // 1_000_000,
        "chain_id": chain,
        **parts,
    }
    signature = context.signer.sign(signing_digest(context.domain, offer_hash(digest(document))))
    signed = {**document, "signature": to_hex(signature)}
    validate(signed, "offer")
    return signed


def document(signer: Signer, domain: Domain, published: Document) -> dict[str, object]:
    """A model document or capsule with its owner's signature, as the gateway takes it."""
    signature = signer.sign(signing_digest(domain, document_hash(digest(published))))
    return {"document": published, "signature": to_hex(signature)}


def realm(
    signer: Signer, domain: Domain, name: str, members: Collection[str], expelled: Collection[str], nonce: int
) -> Document:
    """The list of a realm's members, signed by its owner. Rejected unless it fits."""
    document: Document = {
        "schema": "tollway/realm/1",
        "realm": name,
        "members": sorted(members),
        "expelled": sorted(expelled),
        "nonce": nonce,
        "chain_id": domain.chain_id,
    }
    signed = {**document, "signature": to_hex(signer.sign(signing_digest(domain, realms.list_hash(document))))}
    validate(signed, "realm")
    return signed


def leave(signer: Signer, domain: Domain, lane: Lane, nonce: int, deadline: int, *, stay: bool = False) -> bytes:
    """A consumer's request to leave a lane, or with `stay` to stay after all, for anybody to relay."""
    words = (word(lane), word(signer.address), word(nonce), word(deadline))
    return signer.sign(signing_digest(domain, keccak256(STAY_TYPEHASH if stay else LEAVE_TYPEHASH, *words)))
