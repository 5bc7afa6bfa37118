"""A gateway's settings: read once at start, frozen, and passed in."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from ledger import keystore
from ledger.core.values.errors import Rejected
from ledger.core.values.typed_data import Signer


class Settings(BaseSettings):
    """Each value comes from an environment variable `GATEWAY_...`. There is no default for a key.

    Each process needs a signing key of its own: the operator's, or one of its session keys. A second process with the
    same key is refused, because sequence numbers have no gaps.
    """

    model_config = SettingsConfigDict(env_prefix="GATEWAY_", frozen=True, extra="ignore", env_ignore_empty=True)

    signing_key: SecretStr | None = Field(default=None, description="hex private key that signs receipts")
    keystore: Path | None = Field(default=None, description="encrypted keystore file, instead of the signing key")
    password: SecretStr | None = Field(default=None, description="the keystore's password")
    secret: SecretStr | None = Field(
        default=None,
        description="64 hex digits; encrypts credentials and secrets of webhooks. While it is changed: NEW,OLD",
    )
    operator: str = Field(default="", description="the lane's operator; default: the lane's, or the signing key's")
    treasury: str = Field(default="", description="payee of the protocol fee; default: the deployment's")
    rpc_hint: str = Field(default="", description="an RPC URL for consumers, shown at /v1/lane")
    payment_seconds: float = Field(default=30, gt=0, description="how long a call waits for its x402 payment")
    upto_key_file: Path | None = Field(
        default=None,
        description="offer x402's `upto` and `batch-settlement`: file with the API key, with a budget a day, "
        "whose account advances calls",
    )
    upto_pay_to: str = Field(default="", description="the operator's wallet that permits and channels pay: 0x address")
    upto_facilitator: str = Field(
        default="", description="the address that the worker sends from; default: the lane's operator"
    )
    upto_least: int = Field(
        default=1_000_000,
        ge=1,
        description="atoms that settling a permit, or a claim, costs: `upto` is offered from this price on",
    )
    public_url: str = Field(default="", description="URL of this gateway for consumers")
    internal_url: str = Field(default="", description="URL of this process for the lane's other gateways, for tunnels")

    lease_atoms: int = Field(default=50_000_000, ge=1, description="leased ahead of a consumer's deposit at a time")
    lease_seconds: int = Field(default=60, ge=2, description="how long a lease lasts unless renewed")
    idle_seconds: float = Field(default=20, gt=0, description="a lease is returned after so long without calls")
    key_seconds: float = Field(default=1.0, gt=0, description="how long an API key is cached")
    book_seconds: float = Field(default=2.0, gt=0, description="how often to look for new bids, offers and documents")

    metered_answer_bytes: int = Field(default=2**20, ge=1, description="longest answer where bytes are paid for")
    max_open_calls: int = Field(default=1024, ge=1, description="more calls at once are refused with 503")
    default_output_tokens: int = Field(default=1024, ge=1, description="held for a request that names no maximum")
    connect_seconds: float = Field(default=3, gt=0, description="a connection to a node must be open within this time")
    first_byte_seconds: float = Field(default=60, gt=0, description="a node must begin to answer within this time")
    idle_stream_seconds: float = Field(default=30, gt=0, description="longest silence in a node's answer")
    call_seconds: int = Field(default=600, ge=1, description="the longest call; an old block stops calls this early")
    drain_seconds: float = Field(default=20, gt=0, description="how long open calls may take at shutdown")
    step_input_bytes: int = Field(default=16_384, ge=0, description="held for what a workflow's step reads from others")
    bond_cap_atoms: int = Field(default=10_000_000, ge=0, description="most a weaver's bond pays for one failed call")
    attempts: int = Field(default=3, ge=1, description="providers tried for a call before its first byte")
    hedge_ms: int = Field(default=0, ge=0, description="ask a second node after so long; 0: never")

    trusted_proxies: str = Field(default="", description="proxies in front of this gateway, as CIDRs: X-Forwarded-For")
    allowed_networks: str = Field(
        default="", description="private ranges that nodes and the operator's webhooks may be in, as CIDRs"
    )
    webhook_networks: str = Field(
        default="",
        description="private ranges that webhooks of all accounts may be in, as CIDRs: for tests and private grids",
    )
    tau_ppm: int = Field(default=350_000, ge=0, le=1_000_000, description="how far above the best price a route may be")
    kappa_atoms: int = Field(default=1_000_000, ge=1, description="stake that covers one call at a time")
    tokenizers: Path | None = Field(default=None, description="folder of <model CID>.json tokenizers")
    help: Path | None = Field(
        default=None, description="folder of the built book, served at /help; default: build/book"
    )
    log_calls: bool = Field(default=False, description="write one log line a call")
    trace: bool = Field(default=False, description="send OpenTelemetry spans to OTEL_EXPORTER_OTLP_ENDPOINT")

    def signer(self) -> Signer:
        """The key that signs receipts. Rejected when there is none."""
        key = keystore.load(self.signing_key, self.keystore, self.password)
        if key is None:
            raise Rejected("a gateway needs GATEWAY_SIGNING_KEY, or GATEWAY_KEYSTORE and GATEWAY_PASSWORD")
        return key
