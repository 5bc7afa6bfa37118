"""Publications: documents, offers, realms and measurements that every gateway of the lane reads; and requests for
deposits.

Nothing here moves money. A document is stored if it fits its schema and its owner signed it, an offer if its party
did. A deposit is a request: the worker relays it and the chain decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from sqlmodel import Session

from ledger.core.catalog import capsules, lineage, models, names, realms
from ledger.core.catalog.bids import Role
from ledger.core.catalog.models import Offer
from ledger.core.catalog.names import Published
from ledger.core.catalog.realms import Members
from ledger.core.pricing import commissions, sponsors, terms
from ledger.core.pricing.commissions import Sponsorship
from ledger.core.pricing.sponsors import Promoted
from ledger.core.values.documents import Document, canonical, digest, parse, validate
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, Lane, cid, parse_did, to_hex
from ledger.core.values.typed_data import Domain, document_hash, signed_by, signing_digest
from ledger.store.access import deposits, permits
from ledger.store.access.deposits import DepositRequest
from ledger.store.access.permits import StoredPermit
from ledger.store.chain import bids, parties
from ledger.store.chain import names as organisations
from ledger.store.network import documents, measurements, offers
from ledger.store.network import realms as lists
from ledger.store.network.measurements import Measurement
from ledger.store.network.offers import Credential
from ledger.store.session import lock
from ledger.store.settlement import transactions


@dataclass(frozen=True, slots=True)
class Signed:
    """A document, and its owner's signature of it."""

    document: Document
    signature: bytes


def publish_document(session: Session, signed: Signed, domain: Domain, now: int) -> Digest:
    """Store a model document or a capsule. Rejected when it does not fit its schema, names another chain, is not signed
    by its owner, has a name that is another document's or another organisation's, or froze less than a parent grants.
    """
    document, chain_id = signed.document, domain.chain_id
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
    if not signed_by(signing_digest(domain, document_hash(document_id)), signed.signature, party):
        raise Rejected(f"the document is not signed by its owner {to_hex(party)}", field="signature")
    new = Published(names.of_document(document), document_id)
    if domain.chain_id:
        speakers = organisations.speakers(session).get(new.name.organisation, set())
        names.check_publication(new, party, speakers, organisations.meaning(session, new.name))
    else:
        _check_off_chain(session, new, party, document)
    stored = documents.Stored(document_id, kind, document["name"], party, body, now, signed.signature)
    documents.put(session, stored)
    return document_id


def _check_off_chain(session: Session, new: Published, party: Address, document: Document) -> None:
    """What the Registry checks on a chain: a name is its organisation's, which is the first publisher's; one with a
    version is one document; a child's terms are no worse for its parents than what they grant.
    """
    lock(session, f"organisation:{new.name.organisation}")
    theirs = documents.of_organisation(session, new.name.organisation)
    known = names.of_documents((one.id, parse(one.body)) for one in theirs)
    holder = {theirs[0].party} if theirs else {party}
    names.check_publication(new, party, holder, next((one.id for one in known if one.name == new.name), None))
    for parent in models.parents(document):
        stored = documents.get(session, parent.model)
        if stored is None or stored.kind == "glue":
            raise Rejected(f"the parent {cid(parent.model)} is not published", field="$.lineage")
        lineage.check_granted(parent, models.granted(parse(stored.body)))


def publish_glue(session: Session, module: bytes, publisher: Address, now: int) -> Digest:
    """Store a checked WebAssembly module under the sha256 of its bytes, by which capsules name it."""
    module_id = Digest(sha256(module).digest())
    documents.put(session, documents.Stored(module_id, "glue", "", publisher, module, now))
    return module_id


def publish_offer(
    session: Session, document: Document, domain: Domain, epoch: int, credential: Credential | None, now: int
) -> tuple[Offer, bool]:
    """Store a party's signed offer, or withdraw the one it has by one that says so; and whether that changed anything:
    the same offer again does not, nor what withdraws none in force. Rejected when it is not signed, has expired, is not
    newer than the stored one, or is an order that its party cannot give (`core.pricing.sponsors`). What was withdrawn
    stays stored for its nonce: no older offer comes after it, and a party's nodes are told if that was `final`.

    Credentials of an earlier offer end with it.
    """
    offer = models.offer(document, domain)
    _check_realm(session, offer, domain)
    if offer.until <= epoch:
        raise Rejected(f"the offer expired at epoch {offer.until}; this is {epoch}", field="$.expires_epoch")
    is_order = sponsors.is_order(offer)
    serves = offer.role is Role.compute and offer.serving is not None
    if is_order and offer.serving is not None:
        raise Rejected("an offer says where a model is served, or it sponsors: sign one of each", field="$.serve")
    if not (is_order or serves or offer.withdrawn or domain.chain_id == 0):
        raise Rejected(
            "only compute offers with `serve`, or orders with `curation` or `promotion`, can be published; "
            "bids are placed on the chain",
            field="role",
        )
    if is_order and not offer.withdrawn:
        sponsors.check(ordered(offer), promoted(session, offer.subject, domain, epoch))
    before = offers.get(session, offer.subject, offer.party, offer.role, sponsors=is_order)
    stood = before is not None and before.expires_at > epoch
    at = offer.serving if not offer.withdrawn else None
    stored = offers.Stored(
        subject=offer.subject,
        party=offer.party,
        role=offer.role,
        body=canonical(document),
        nonce=offer.nonce,
        url=at.url if at else "",
        tier=at.tier if at else "",
        capacity=at.capacity if at else 0,
        expires_at=offer.until if not offer.withdrawn else 0,
        at=now,
        since=before.since if before is not None and stood else now,
        sponsors=is_order,
    )
    if not offers.put(session, stored):
        known = offers.get(session, offer.subject, offer.party, offer.role, sponsors=is_order) or stored
        if known.body != stored.body:
            said = f"an offer with nonce {known.nonce} is known: sign one with a higher nonce"
            final = known.expires_at == 0 and bool(parse(known.body).get("final"))
            raise Rejected(said, field="$.nonce", known_nonce=known.nonce, final=final)
        return offer, False
    if offer.role is Role.compute and not is_order:
        offers.put_credential(session, offer.subject, offer.party, credential, now)
    return offer, stood or not offer.withdrawn


def ordered(offer: Offer) -> Sponsorship:
    """An order as a value. Rejected when it offers nothing to anybody."""
    order = commissions.sponsorship(offer.party, offer.document)
    if order is None:
        raise Rejected("this order offers nothing: say --curators or --slot, or end the one you have with --end")
    return order


def unknown(subject: Digest) -> Rejected:
    """The refusal of an order for what is not published, or not to be seen by its party."""
    return Rejected(f"there is no model or workflow {cid(subject)} to promote", field="$.subject")


def promoted(session: Session, subject: Digest, domain: Domain, epoch: int) -> Promoted:
    """What an order for a subject would promote, as it stands now. Rejected when nothing of that id is published."""
    stored = documents.get(session, subject)
    if stored is None or stored.kind == "glue":
        raise unknown(subject)
    body, curated = parse(stored.body), False
    placed, may_deliver = bids.of_subject(session, subject, epoch), frozenset[Address]()
    owner = parties.owner_to_be(session, subject) if domain.chain_id else None
    owner = owner or stored.party
    if stored.kind == "model":
        one = models.model(body)
        first, other = one.owner_role, Role.maker if one.owner_role is Role.oem else Role.oem
        roles = {row.role for row in placed if row.party == owner}
        role, tasks = other if other in roles and first not in roles else first, one.tasks
        may_deliver = terms.deliverers(one, owner)
    else:
        role, tasks, curated = Role.weaver, None, bool(capsules.capsule(body).curation_ppm)
    order = offers.get(session, subject, owner, role, sponsors=True)
    if order is not None and order.expires_at > epoch and "curation" in parse(order.body):
        curated = bool(parse(order.body)["curation"]["offer_ppm"])
    bidders = {one: frozenset(row.party for row in placed if row.role is one) for one in (Role.compute, Role.delivery)}
    bidders[Role.delivery] &= may_deliver
    return Promoted(stored.name or cid(subject), tasks, owner, frozenset({role}), bidders, curated)


def publish_realm(session: Session, document: Document, domain: Domain, now: int) -> Members:
    """Store a realm's list in place of its earlier one. Rejected unless its owner signed it, and it is newer."""
    members = realms.members(document, domain)
    stored = lists.Stored(members.realm, canonical(document), members.nonce, now)
    if not lists.put(session, stored):
        known = lists.get(session, members.realm)
        if known is None or known.body != stored.body:
            said = f"a list with nonce {known.nonce if known else 0} is known: sign one with a higher nonce"
            raise Rejected(said, field="$.nonce")
    return members


def _check_realm(session: Session, offer: Offer, domain: Domain) -> None:
    """Rejected when an offer's party does not belong to the realm it serves in, or nobody does: it says the same."""
    realm = offer.serving.realm if offer.serving is not None and not offer.withdrawn else ""
    if not realm:
        return
    stored = lists.get(session, realm)
    members = realms.members(parse(stored.body), domain) if stored is not None else None
    if not realms.is_listed(realm, members, offer.party):
        account = to_hex(offer.party)
        message = (
            f"{account} is not on the list of the realm {realm}: its owner adds it with "
            f"`tollway realm admit {realm} {account}`"
        )
        raise Rejected(message, field="$.serve.realm")


def pay(session: Session, deposit: DepositRequest, request: Digest, now: int) -> bool:
    """Store an x402 payment to relay, for one request. False when it was sent with another one before."""
    deposits.request(session, deposit, now)
    return deposits.bind(session, deposit.lane, deposit.id, request)


def permit(session: Session, asked: StoredPermit, now: int) -> bool:
    """Store a permit of x402's `upto` for the worker to look at, for one request. False when it was sent with another
    one before, or another permit pays for its call.
    """
    return permits.request(session, asked, now)


def deposit_id(lane: Lane, account: Address, salt: bytes) -> Digest:
    """The id of a deposit request, of which the authorization's nonce is made."""
    return keccak256(b"deposit", lane, account, salt)


def record(session: Session, seen: Mapping[tuple[Address, Digest], tuple[int, int, int, int]], now: int) -> None:
    """Store what a gateway measured: calls, errors, p50 latency in ms, quality in ppm."""
    for (provider, subject), row in seen.items():
        measurements.put(session, Measurement(provider, subject, *row), now)


def transaction_of(session: Session, deposit: DepositRequest) -> Digest | None:
    """The hash of the transaction that relayed a payment; None when it is not in a block yet."""
    return transactions.mined(session, deposit.lane, deposit.purpose)
