"""The chain's state as of the last indexed block. It can be rebuilt from the chain's logs."""

from sqlmodel import Field, SQLModel

from ledger.store.columns import big, maybe_big, maybe_octets, octets


class CursorRow(SQLModel, table=True):
    """The last indexed block: its number, hash and timestamp (seconds), and when it was indexed (ms, wall clock)."""

    __tablename__ = "cursor"
    name: str = Field(primary_key=True)
    block: int = big()
    hash: bytes = octets()
    timestamp: int = big()
    indexed_at: int = big()


class BlockRow(SQLModel, table=True):
    """Hashes of recently indexed blocks, to notice a reorganisation below the confirmations."""

    __tablename__ = "blocks"
    number: int = big(key=True)
    hash: bytes = octets()


class PartyRow(SQLModel, table=True):
    """A payee and its index in every payout tree of a chain's lanes."""

    __tablename__ = "parties"
    address: bytes = octets(key=True)
    payee_index: int = big(index=True)


class PrivatePayeeRow(SQLModel, table=True):
    """A payee's index in the payout trees of a private grid's lane. The Registry of a chain gives other indices."""

    __tablename__ = "private_payees"
    lane: bytes = octets(key=True)
    address: bytes = octets(key=True)
    payee_index: int = big()


class StakeRow(SQLModel, table=True):
    """A party's stake: what is active, what is leaving, and when it may (seconds)."""

    __tablename__ = "stakes"
    party: bytes = octets(key=True)
    active: int = big()
    unbonding: int = big()
    release_at: int = big()


class BidRow(SQLModel, table=True):
    """A bid as placed; which one counts in an epoch is decided by `core.pricing.epochs`."""

    __tablename__ = "bids"
    subject: bytes = octets(key=True)
    role: int = big(key=True)
    party: bytes = octets(key=True)
    from_epoch: int = big(key=True)
    until_epoch: int = big()
    ratio_ppm: int = big()
    asks: bytes = octets()
    block: int = big(key=True)
    log_index: int = big(key=True)


class ModelRow(SQLModel, table=True):
    """A registered model: its 32-byte id is the sha256 its CID carries. `lineage` is the hash of the parents it has."""

    __tablename__ = "models"
    id: bytes = octets(key=True)
    registrant: bytes = octets()
    registered_from: int = big()
    lineage: bytes = octets()
    block: int = big()


class ModelOwnerRow(SQLModel, table=True):
    """Whose a model is from an epoch on, until a later row. All stay: a call is paid to the owner of its epoch."""

    __tablename__ = "model_owners"
    model: bytes = octets(key=True)
    from_epoch: int = big(key=True)
    owner: bytes = octets()


class OrganisationRow(SQLModel, table=True):
    """An organisation and its owner, 20 zero bytes when it was given up. `block`: of the last change."""

    __tablename__ = "organisations"
    name: bytes = octets(key=True)
    owner: bytes = octets()
    block: int = big()


class OrganisationKeyRow(SQLModel, table=True):
    """A key of an organisation: whether it speaks for it. `block`: of the last change."""

    __tablename__ = "organisation_keys"
    organisation: bytes = octets(key=True)
    key: bytes = octets(key=True)
    valid: bool = Field()
    block: int = big()


class NameRow(SQLModel, table=True):
    """A name below an organisation, version included, and the id it is for ever; where it was published."""

    __tablename__ = "names"
    organisation: bytes = octets(key=True)
    name: str = Field(primary_key=True)
    model: bytes = octets()
    block: int = big()
    log_index: int = big()


class ConsumerRow(SQLModel, table=True):
    """A consumer's account in a lane, its index in the debit tree; its debit, block and time (s) when it last left."""

    __tablename__ = "consumers"
    lane: bytes = octets(key=True)
    account: bytes = octets(key=True)
    account_index: int = big()
    deposited: int = big()
    withdrawn: int = big()
    requested_at: int | None = maybe_big()
    debit_at_exit: int = big()
    left_in_block: int | None = maybe_big()
    left_at: int | None = maybe_big()


class LaneRow(SQLModel, table=True):
    """A lane: its operator, its terms (times in seconds), its bond, and its era, which falls and escapes count up."""

    __tablename__ = "lanes"
    lane: bytes = octets(key=True)
    operator: bytes = octets()
    window: int = big()
    answer_time: int = big()
    leverage: int = big()
    min_deposit: int = big()
    bond: int = big()
    era: int = big()
    active: bool = Field(default=True)
    url: str = Field(default="")


class GatewayRow(SQLModel, table=True):
    """A key that signs a lane's receipts, and its number there. Once revoked it still counts for a time (seconds)."""

    __tablename__ = "gateways"
    lane: bytes = octets(key=True)
    key: bytes = octets(key=True)
    number: int = big()
    counts_until: int | None = maybe_big()


class SessionKeyRow(SQLModel, table=True):
    """A key that signs vouchers of an account. Once revoked it still counts in proofs for a time (seconds)."""

    __tablename__ = "session_keys"
    account: bytes = octets(key=True)
    key: bytes = octets(key=True)
    counts_until: int | None = maybe_big()


class ClaimRow(SQLModel, table=True):
    """A payee's total payments of a lane."""

    __tablename__ = "claims"
    lane: bytes = octets(key=True)
    payee_index: int = big(key=True)
    payee: bytes = octets()
    claimed: int = big()


class EventRow(SQLModel, table=True):
    """An indexed log and the transaction it booked, so that a reorganisation can be undone.

    `ordinal` is the log's position among its transaction's logs. `booked` is the last transaction booked for it;
    `generation` counts how often the same log came back after it was undone.
    """

    __tablename__ = "events"
    transaction: bytes = octets(key=True)
    ordinal: int = big(key=True)
    block: int = big(index=True)
    kind: str = Field()
    generation: int = big()
    canonical: bool = Field(default=True)
    booked: bytes | None = maybe_octets()
    batch: int | None = maybe_big()
