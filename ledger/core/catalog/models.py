"""Models and offers as values, from documents that fit their schemas."""

from collections.abc import Mapping
from dataclasses import dataclass

from ledger.core.catalog import realms, tensors
from ledger.core.catalog.bids import Bid, Role
from ledger.core.catalog.lineage import Parent, Royalty
from ledger.core.values.atoms import PPM, ceil_div
from ledger.core.values.documents import Document, Json, canonical, digest, unsigned, validate
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, address, cid_digest, parse_did
from ledger.core.values.ids import digest as digest_of
from ledger.core.values.meters import rates
from ledger.core.values.typed_data import Domain, address_of, offer_hash, recover_public, signing_digest

MB = 2**20
"""Bytes. Memory is said in MB, by models and by nodes."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model: its immutable facts, and in `document` what else its owner declares of it."""

    id: Digest
    name: str
    owner: Address
    kind: str
    parents: tuple[Parent, ...]
    document: Document

    @property
    def tasks(self) -> frozenset[str]:
        return frozenset(capability["task"] for capability in self.document["capabilities"])

    @property
    def size_bytes(self) -> int | None:
        """The size of its files. None for a server behind a URL."""
        size: int | None = self.document.get("artifact", {}).get("size")
        return size

    @property
    def memory_mb(self) -> int | None:
        """The memory that a node needs to serve it: what its document says, and at least the size of its files. None
        when it says neither.
        """
        said, size = self.document["execution"].get("min_memory_mb"), self.size_bytes
        return max(said or 0, ceil_div(size or 0, MB)) or None

    @property
    def deliverers(self) -> frozenset[Address]:
        """Whom its document names to deliver it, beside its owner."""
        return frozenset(parse_did(one)[1] for one in self.document.get("delivery", ()))

    @property
    def owner_role(self) -> Role:
        """The owner of a model with parents is its OEM; of one without, its maker."""
        return Role.oem if self.parents else Role.maker


@dataclass(frozen=True, slots=True)
class Serving:
    """A provider's URL, tier and limits; the hash of the credentials that its server wants, if it wants any; its
    memory, if it says.
    """

    url: str
    tier: str
    capacity: int
    slo_ms: int
    realm: str
    credentials: Digest | None = None
    memory_mb: int | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """One party's signed offer in one role for one subject, in force in the epochs [first, until). One that is
    `withdrawn` ends those before it.
    """

    subject: Digest
    party: Address
    role: Role
    bid: Bid
    serving: Serving | None
    curation_ppm: int
    window_calls: int
    promotion: int
    first: int
    until: int
    nonce: int
    document: Document
    withdrawn: bool = False


DEFAULT_SLO_MS = 2_000
DEFAULT_WINDOW_CALLS = 1_000


def model(document: Document) -> Model:
    """A model from its document. Rejected when it does not fit its schema, or could not be called as it says."""
    validate(document, "model")
    for place, interface in enumerate(document["interfaces"]):
        tensors.check_interface(interface, f"$.interfaces[{place}]")
    return Model(
        id=digest(document),
        name=document["name"],
        owner=parse_did(document["owner"])[1],
        kind=document["kind"],
        parents=parents(document),
        document=document,
    )


def parents(document: Document) -> tuple[Parent, ...]:
    """The parents that a model or capsule names, with the terms it froze."""
    return tuple(Parent(cid_digest(row["id"]), _royalty(row["terms"])) for row in document.get("lineage", []))


def granted(document: Document) -> Royalty | None:
    """What a model grants itself of its children's calls; None if it offers them no terms."""
    terms = document.get("derivative_terms")
    return _royalty(terms) if terms and terms["open"] else None


def _royalty(terms: Json) -> Royalty:
    return Royalty(terms["royalty_ppm"], rates(terms["floor"]))


def offer(document: Document, domain: Domain) -> Offer:
    """An offer from its document. Rejected unless it fits its schema, its chain, and its party signed it."""
    validate(document, "offer")
    chain_id, party = parse_did(document["party"])
    if document["chain_id"] != domain.chain_id or chain_id != domain.chain_id:
        raise Rejected(f"$.chain_id: this is chain {domain.chain_id}", field="$.chain_id")
    if address_of(signing_key(document, domain)) != party:
        raise Rejected("$.signature: not signed by the offer's party", field="$.signature")
    serve: Json = document.get("serve")
    serving = None
    if serve:
        slo_ms, realm = serve.get("slo_ms", DEFAULT_SLO_MS), serve.get("realm", "")
        credentials = digest_of(serve["credentials"]) if "credentials" in serve else None
        realms.check_tier(serve["tier"], realm)
        memory_mb = serve.get("memory_mb")
        serving = Serving(serve["url"], serve["tier"], serve["capacity"], slo_ms, realm, credentials, memory_mb)
    curation: Json = document.get("curation") or {}
    return Offer(
        subject=cid_digest(document["subject"]),
        party=party,
        role=Role[document["role"]],
        bid=Bid(document["bid"]["ratio_ppm"], rates(document["bid"]["ask"])),
        serving=serving,
        curation_ppm=min(curation.get("offer_ppm", 0), PPM),
        window_calls=curation.get("window_calls", DEFAULT_WINDOW_CALLS),
        promotion=int(document.get("promotion", {}).get("bid", "0")),
        first=document["valid_from_epoch"],
        until=document["expires_epoch"],
        nonce=document["nonce"],
        document=document,
        withdrawn=document.get("withdrawn", False),
    )


def credentials_hash(salt: bytes, credentials: Mapping[str, str]) -> Digest:
    """The hash by which an offer names credentials: keccak256(salt of 32 bytes | canonical JSON)."""
    return keccak256(salt, canonical(dict(credentials)))


def signing_key(document: Document, domain: Domain) -> bytes:
    """The public key that signed an offer, 33 bytes compressed."""
    hashed = offer_hash(digest(unsigned(document)))
    return recover_public(signing_digest(domain, hashed), bytes.fromhex(document["signature"][2:]))


def party_of(text: str) -> Address:
    """An address from a DID or from hex."""
    return parse_did(text)[1] if text.startswith("did:") else address(text)
