"""Models and offers as values: what a published document says, once its schema has been checked."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.core.catalog.bids import Bid, Role
from ledger.core.catalog.lineage import Parent, Royalty
from ledger.core.values.atoms import PPM
from ledger.core.values.documents import Document, Json, digest, unsigned, validate
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest, address, cid_digest, parse_did
from ledger.core.values.meters import Meter, rates
from ledger.core.values.typed_data import Domain, offer_hash, recover, signing_digest


@dataclass(frozen=True, slots=True)
class Model:
    """Immutable facts and declared claims of one model. `derivative` is None when nobody may derive from it."""

    id: Digest
    name: str
    owner: Address
    kind: str
    parents: tuple[Parent, ...]
    derivative: Royalty | None
    meters: tuple[Meter, ...]
    document: Document

    @property
    def tasks(self) -> frozenset[str]:
        """What it says it can do."""
        return frozenset(capability["task"] for capability in self.document["capabilities"])

    @property
    def owner_role(self) -> Role:
        """The owner of a model with parents is its OEM, of one without its maker."""
        return Role.oem if self.parents else Role.maker


@dataclass(frozen=True, slots=True)
class Serving:
    """Where and how a provider serves: live facts of its offer."""

    url: str
    tier: str
    capacity: int
    slo_ms: int
    realm: str


@dataclass(frozen=True, slots=True)
class Offer:
    """One party's signed, short-lived offer in one role for one subject, in force in [first, until)."""

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


DEFAULT_SLO_MS = 2_000
DEFAULT_WINDOW_CALLS = 1_000


def model(document: Document) -> Model:
    """A model from its document. Rejected when it does not fit its schema."""
    validate(document, "model")
    terms: Json = document.get("derivative_terms")
    open_terms = Royalty(terms["royalty_ppm"], rates(terms["floor"])) if terms and terms["open"] else None
    return Model(
        id=digest(document),
        name=document["name"],
        owner=parse_did(document["owner"])[1],
        kind=document["kind"],
        parents=parents(document),
        derivative=open_terms,
        meters=tuple(Meter[name] for name in document.get("meters", ["call"])),
        document=document,
    )


def parents(document: Document) -> tuple[Parent, ...]:
    """The parents a model or capsule names, with the terms it froze."""
    return tuple(
        Parent(cid_digest(row["id"]), Royalty(row["terms"]["royalty_ppm"], rates(row["terms"]["floor"])))
        for row in document.get("lineage", [])
    )


def granted(child: Model, parent: Model) -> None:
    """Check that a child froze what its parent grants: not less than the parent's open derivative terms."""
    frozen = next((row.royalty for row in child.parents if row.model == parent.id), None)
    if frozen is None or parent.derivative is None:
        raise Rejected(f"{parent.name} grants no terms to {child.name}", parent=parent.name, child=child.name)
    if frozen | parent.derivative != frozen:
        raise Rejected(f"{child.name} froze less than {parent.name} asks", parent=parent.name, child=child.name)


def offer(document: Document, domain: Domain) -> Offer:
    """An offer from its document. Rejected unless it fits its schema, its chain, and its party signed it."""
    validate(document, "offer")
    chain_id, party = parse_did(document["party"])
    if document["chain_id"] != domain.chain_id or chain_id != domain.chain_id:
        raise Rejected(f"$.chain_id: this is chain {domain.chain_id}", field="$.chain_id")
    signature = bytes.fromhex(document["signature"][2:])
    signer = recover(signing_digest(domain, offer_hash(digest(unsigned(document)))), signature)
    if signer != party:
        raise Rejected("$.signature: not signed by the offer's party", field="$.signature")
    serve: Json = document.get("serve")
    curation: Json = document.get("curation") or {}
    return Offer(
        subject=cid_digest(document["subject"]),
        party=party,
        role=Role[document["role"]],
        bid=Bid(document["bid"]["ratio_ppm"], rates(document["bid"]["ask"])),
        serving=_serving(serve) if serve else None,
        curation_ppm=min(curation.get("offer_ppm", 0), PPM),
        window_calls=curation.get("window_calls", DEFAULT_WINDOW_CALLS),
        promotion=int(document.get("promotion", {}).get("bid", "0")),
        first=document["valid_from_epoch"],
        until=document["expires_epoch"],
        nonce=document["nonce"],
        document=document,
    )


def _serving(serve: Json) -> Serving:
    return Serving(
        serve["url"], serve["tier"], serve["capacity"], serve.get("slo_ms", DEFAULT_SLO_MS), serve.get("realm", "")
    )


def party_of(text: str) -> Address:
    """An address from a did or from hex."""
    return parse_did(text)[1] if text.startswith("did:") else address(text)
