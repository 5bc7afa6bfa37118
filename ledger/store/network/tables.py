"""Tables of the network: documents, offers, the frozen book of bids, and gateways' measurements."""

from sqlmodel import Field, SQLModel

from ledger.store.columns import big, octets


class DocumentRow(SQLModel, table=True):
    """A canonical JSON document by the sha256 its CID carries. Kind: model, capsule."""

    __tablename__ = "documents"
    id: bytes = octets(key=True)
    kind: str = Field(index=True)
    name: str = Field(default="", index=True)
    party: bytes = octets(index=True)
    body: bytes = octets()
    at: int = big()


class OfferRow(SQLModel, table=True):
    """A provider's URL for a subject, signed by it."""

    __tablename__ = "offers"
    subject: bytes = octets(key=True)
    party: bytes = octets(key=True)
    body: bytes = octets()
    url: str = Field()
    tier: str = Field(default="center")
    capacity: int = big()
    expires_at: int = big()
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
    """A gateway that holds a tunnel of a party's node, how other gateways reach it, and until when (ms)."""

    __tablename__ = "tunnels"
    party: bytes = octets(key=True)
    gateway: bytes = octets(key=True)
    url: str = Field()
    key: bytes = octets()
    until: int = big()
