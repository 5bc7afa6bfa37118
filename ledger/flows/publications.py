"""Publications: documents, offers and measurements that every gateway of the lane reads; and requests for deposits.

Nothing here moves money. A document is stored if it fits its schema and its owner is of this chain, an offer if its
party signed it. A deposit is a request: the worker relays it and the chain decides.
"""

from collections.abc import Mapping
from hashlib import sha256

from sqlmodel import Session

from ledger.core.catalog import capsules, models
from ledger.core.catalog.bids import Role
from ledger.core.catalog.models import Offer
from ledger.core.values.documents import Document, canonical, digest, parse, validate
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_ADDRESS, Address, Digest, Lane, parse_did
from ledger.core.values.typed_data import Domain
from ledger.store.access import deposits
from ledger.store.access.deposits import DepositRequest
from ledger.store.network import documents, measurements, offers
from ledger.store.network.measurements import Measurement
from ledger.store.network.offers import Credential


def publish_document(session: Session, document: Document, chain_id: int, now: int) -> Digest:
    """Store a model document or a capsule. Rejected when it does not fit its schema or names another chain."""
    kind = validate(document)
    if kind not in ("model", "capsule"):
        raise Rejected(f"a {kind} is not published as a document", field="$.schema")
    party_chain, party = parse_did(document["owner" if kind == "model" else "weaver"])
    if party_chain != chain_id:
        raise Rejected(f"this is chain {chain_id}, the document's party is of chain {party_chain}", field="$.owner")
    if kind == "model":
        models.model(document)
    else:
        capsules.capsule(document)
    body, document_id = canonical(document), digest(document)
    documents.put(session, documents.Stored(document_id, kind, document["name"], party, body, now))
    return document_id


def publish_glue(session: Session, module: bytes, now: int) -> Digest:
    """Store a checked WebAssembly module under the sha256 of its bytes, by which capsules name it. It has no owner."""
    module_id = Digest(sha256(module).digest())
    documents.put(session, documents.Stored(module_id, "glue", "", ZERO_ADDRESS, module, now))
    return module_id


def publish_offer(
    session: Session, document: Document, domain: Domain, epoch: int, credential: Credential | None, now: int
) -> Offer:
    """Store a provider's signed offer. Rejected when it is not signed, has expired, or is older than the stored one."""
    offer = models.offer(document, domain)
    if offer.until <= epoch:
        raise Rejected(f"the offer expired at epoch {offer.until}; this is {epoch}", field="$.expires_epoch")
    sponsors = offer.role in (Role.maker, Role.oem, Role.weaver) and (offer.curation_ppm or offer.promotion)
    if domain.chain_id == 0 and offer.serving is None and not sponsors:
        return offer
    if not sponsors and (offer.role is not Role.compute or offer.serving is None):
        raise Rejected(
            "only compute offers with `serve`, or owners' offers with `curation` or `promotion`, can be published; "
            "bids are placed on the chain",
            field="role",
        )
    known = offers.get(session, offer.subject, offer.party)
    nonce = int(parse(known.body)["nonce"]) if known is not None else 0
    if nonce > offer.nonce:
        raise Rejected(f"an offer with the higher nonce {nonce} is known", field="$.nonce")
    at = offer.serving
    url, tier, capacity = (at.url, at.tier, at.capacity) if at else ("", "", 0)
    stored = offers.Stored(offer.subject, offer.party, canonical(document), url, tier, capacity, offer.until, now)
    offers.put(session, stored)
    if credential is not None:
        offers.put_credential(session, credential, now)
    return offer


def pay(session: Session, deposit: DepositRequest, call: Digest, now: int) -> bool:
    """Store an x402 payment to relay, for one call. False when it was sent with another call before."""
    deposits.request(session, deposit, now)
    return deposits.bind(session, deposit.lane, deposit.id, call)


def deposit_id(lane: Lane, account: Address, salt: bytes) -> Digest:
    """The id of a deposit request, of which the authorization's nonce is made."""
    return keccak256(b"deposit", lane, account, salt)


def record(session: Session, seen: Mapping[tuple[Address, Digest], tuple[int, int, int, int]], now: int) -> None:
    """Store what a gateway measured: calls, errors, p50 latency in ms, quality in ppm."""
    for (provider, subject), row in seen.items():
        measurements.put(session, Measurement(provider, subject, *row), now)
