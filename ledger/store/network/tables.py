"""Tables of the network: documents, offers, realms, the frozen book of bids, and gateways' measurements."""

from sqlmodel import Field, SQLModel

from ledger.store.columns import big, maybe_octets, octets


class DocumentRow(SQLModel, table=True):
    """A canonical JSON document by the sha256 its CID carries, signed by its owner. Kind: model, capsule, glue."""

    __tablename__ = "documents"
    id: bytes = octets(key=True)
    kind: str = Field(index=True)
    name: str = Field(default="", index=True)
    party: bytes = octets(index=True)
    body: bytes = octets()
    signature: bytes | None = maybe_octets()
    at: int = big()


class OfferRow(SQLModel, table=True):
    """A party's offer in a role for a subject, signed by it; beside it, its order to curators or for slots, which
    `sponsors`. A withdrawn one stays, without a URL, for its nonce.
    """

    __tablename__ = "offers"
    subject: bytes = octets(key=True)
    party: bytes = octets(key=True)
    role: int = big(key=True)
    sponsors: bool = Field(primary_key=True)
    body: bytes = octets()
    nonce: int = big()
    url: str = Field()
    tier: str = Field(default="center")
    capacity: int = big()
    expires_at: int = big()
    at: int = big()
    since: int = big()


class RealmRow(SQLModel, table=True):
    """The newest list of a realm's members, signed by its owner."""

    __tablename__ = "realms"
    name: str = Field(primary_key=True)
    body: bytes = octets()
    nonce: int = big()
    at: int = big()


class BookRow(SQLModel, table=True):
    """All bids in force in an epoch, frozen, with the root that batches carry."""

    __tablename__ = "books"
    epoch: int = big(key=True)
    root: bytes = octets()
    body: bytes = octets()
    frozen_at: int = big()


class MeasurementRow(SQLModel, table=True):
    """Gateways' measurements of a provider on a subject: latency, errors, quality."""

    __tablename__ = "measurements"
    provider: bytes = octets(key=True)
    subject: bytes = octets(key=True)
    calls: int = big()
    errors: int = big()
    latency_p50_ms: int = big()
    quality_ppm: int = big()
    at: int = big()


class TunnelRow(SQLModel, table=True):
    """A gateway that holds a tunnel of a party's node, how other gateways reach it, its round trip to the node, and
    until when (ms) it does.
    """

    __tablename__ = "tunnels"
    party: bytes = octets(key=True)
    gateway: bytes = octets(key=True)
    url: str = Field()
    key: bytes = octets()
    round_trip_ms: int = big()
    until: int = big()
