"""The ledger's settings: read once at the edge, frozen, and passed in."""

from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from ledger.core.values.errors import Rejected
from ledger.core.values.ids import PRIVATE_LANE, Lane, address


def _lane(text: str | bytes) -> Lane:
    try:
        return address(text)
    except Rejected as error:
        raise ValueError(f"a lane is the 0x address of its vault, not {text!r}") from error


LaneAddress = Annotated[Lane, BeforeValidator(_lane)]


class Settings(BaseSettings):
    """Each comes from an environment variable `LEDGER_...`; there is no default for a key or a database.

    An empty `rpc_url` means a private grid: batches close and are published, and nothing is committed.
    """

    model_config = SettingsConfigDict(env_prefix="LEDGER_", frozen=True, extra="ignore", env_ignore_empty=True)

    database_url: str = Field(description="PostgreSQL, as postgresql://user@host/name or with ?host=/socket/folder")
    redis_url: str = Field(default="redis://127.0.0.1:6379/0", description="carries wake-ups only; may be wiped")
    rpc_url: str = Field(default="", description="the chain's JSON-RPC; empty for a private grid")
    deployment: Path | None = Field(default=None, description="deploy/deployments/<chain id>.json")
    lane: LaneAddress = Field(
        default=PRIVATE_LANE, description="the lane this ledger settles: its 0x address; unset on a private grid"
    )

    operator_key: SecretStr | None = Field(default=None, description="hex private key of the lane's operator")
    operator_keystore: Path | None = Field(default=None, description="or its encrypted keystore file")
    operator_password: SecretStr | None = Field(default=None, description="and the keystore's password")

    confirmations: int = Field(default=2, ge=0, description="blocks on top before a log or a transaction counts")
    window_seconds: int = Field(default=86_400, ge=0, description="a private grid's dispute window")
    epoch_seconds: int = Field(default=3_600, ge=1, description="a private grid's epoch; with a chain, BidBook decides")
    post_chunk: int = Field(default=100_000, ge=1, description="receipts a posting transaction takes at most")
    batch_seconds: int = Field(default=60, ge=0, description="close a batch when its oldest receipt is this old")
    batch_calls: int = Field(default=1_000_000, ge=1, description="or when this many receipts wait")
    sweep_seconds: float = Field(default=1.0, gt=0, description="how often Celery beat starts a sweep for due work")
    audit_seconds: float = Field(
        default=15.0, gt=0, description="how often the laws are checked; every 20th time whole"
    )
    relay_claims: bool = Field(default=False, description="claim for payees as soon as a batch is final")
    stuck_seconds: int = Field(default=30, ge=1, description="an unmined transaction is replaced by fee after this")
    max_fee_gwei: int = Field(default=500, ge=1, description="the most a transaction's gas may cost")

    @cached_property
    def sqlalchemy_url(self) -> str:
        """The database URL with the driver SQLAlchemy is to use (psycopg 3)."""
        _, _, rest = self.database_url.partition("://")
        return f"postgresql+psycopg://{rest}"

    @cached_property
    def libpq_url(self) -> str:
        """The database URL as libpq and psycopg want it."""
        _, _, rest = self.database_url.partition("://")
        return f"postgresql://{rest}"

    @property
    def private(self) -> bool:
        """True without a chain: then the operator's signature and the published batch files decide."""
        return not self.rpc_url
