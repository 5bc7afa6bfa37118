"""What a gateway is told about itself: read once at the edge, frozen, and passed in."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from ledger.core.values.errors import Rejected
from ledger.core.values.ids import ZERO_ADDRESS, Address, address
from ledger.core.values.typed_data import Domain, Signer


class Settings(BaseSettings):
    """Every value comes from an environment variable `GATEWAY_...`; there is no default for a key.

    Each process needs a signing key of its own: the operator's, or a session key of it. Two processes with one key is
    refused, because sequence numbers are dense.
    """

    model_config = SettingsConfigDict(env_prefix="GATEWAY_", frozen=True, extra="ignore", env_ignore_empty=True)

    signing_key: SecretStr | None = Field(default=None, description="hex private key that signs receipts")
    keystore: Path | None = Field(default=None, description="or its encrypted keystore file")
    password: SecretStr | None = Field(default=None, description="and the keystore's password")
    secret: SecretStr | None = Field(default=None, description="64 hex digits; seals upstream credentials")
    operator: str = Field(default="", description="the lane's operator; default: the lane's, or the signing key's")
    treasury: str = Field(default="", description="payee of the protocol fee; default: the deployment's")
    rpc_hint: str = Field(default="", description="an RPC URL consumers may use, told at /v1/lane")
    token_name: str = Field(default="AI Coin", description="the settlement token's EIP-712 name, for x402")
    token_version: str = Field(default="1", description="and version")
    payment_seconds: float = Field(default=30, gt=0, description="how long a call waits for its x402 payment to land")
    public_url: str = Field(default="", description="where consumers reach this gateway")
    internal_url: str = Field(default="", description="where other gateways of the lane do, to reach nodes by tunnels")

    lease_atoms: int = Field(default=50_000_000, ge=1, description="what to lease ahead of a consumer's deposit")
    lease_seconds: int = Field(default=60, ge=2, description="how long a lease lasts unless renewed")
    idle_seconds: float = Field(default=20, gt=0, description="a consumer silent for so long gets its lease back")
    key_seconds: float = Field(default=1.0, gt=0, description="how long a key is believed without looking again")
    book_seconds: float = Field(default=2.0, gt=0, description="how often to look for new bids, offers, documents")

    max_body_bytes: int = Field(default=8 * 2**20, ge=1, description="a longer request is refused")
    max_answer_bytes: int = Field(default=64 * 2**20, ge=1, description="a longer answer of a node is refused")
    metered_answer_bytes: int = Field(default=2**20, ge=1, description="the same where bytes are paid for")
    max_open_calls: int = Field(default=1024, ge=1, description="more at once are told to come back")
    default_output_tokens: int = Field(default=1024, ge=1, description="hold for requests that name no maximum")
    body_seconds: float = Field(default=20, gt=0, description="a request must have arrived by then")
    connect_seconds: float = Field(default=3, gt=0)
    first_byte_seconds: float = Field(default=60, gt=0, description="a node must begin to answer by then")
    idle_stream_seconds: float = Field(default=30, gt=0, description="a stream may be silent for so long")
    drain_seconds: float = Field(default=20, gt=0, description="open calls may take so long at shutdown")
    step_input_bytes: int = Field(default=16_384, ge=0, description="hold for what a workflow's nodes hear from others")
    bond_cap_atoms: int = Field(default=10_000_000, ge=0, description="most a weaver's bond pays for one failed call")
    attempts: int = Field(default=3, ge=1, description="candidates tried for a call before its first byte")
    hedge_ms: int = Field(default=0, ge=0, description="ask a second node after so long; 0: never")

    allowed_networks: str = Field(default="", description="private ranges nodes may be in, as CIDRs")
    tau_ppm: int = Field(default=350_000, ge=0, le=1_000_000, description="how far above the best a chain may be")
    kappa_atoms: int = Field(default=1_000_000, ge=1, description="stake that covers one call at a time")
    tokenizers: Path | None = Field(default=None, description="folder of <model CID>.json tokenizers")
    log_calls: bool = Field(default=False, description="one log line a call")
    trace: bool = Field(default=False, description="OpenTelemetry spans, to OTEL_EXPORTER_OTLP_ENDPOINT")

    def signer(self) -> Signer:
        """The key that signs receipts. Rejected when there is none."""
        if self.signing_key is not None:
            return Signer(bytes.fromhex(self.signing_key.get_secret_value().removeprefix("0x")))
        if self.keystore is None:
            raise Rejected("a gateway needs GATEWAY_SIGNING_KEY, or GATEWAY_KEYSTORE and GATEWAY_PASSWORD")
        from eth_account import Account

        password = self.password.get_secret_value() if self.password else ""
        return Signer(bytes(Account.decrypt(json.loads(self.keystore.read_text()), password)))


class Deployment:
    """The contracts of one chain as `ledger/chain/deploy.py` wrote them; for a private grid, nothing."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts

    @classmethod
    def load(cls, path: Path | None) -> Deployment:
        """From a file, or the private grid's."""
        return cls(json.loads(path.read_text()) if path else {})

    @cached_property
    def chain_id(self) -> int:
        """0 for a private grid."""
        return int(self.facts.get("chain_id", 0))

    @cached_property
    def domain(self) -> Domain:
        """Where receipts and vouchers count."""
        return Domain(self.chain_id, self.address("settlement"))

    def address(self, name: str) -> Address:
        """An address of the deployment; zero when it has none."""
        return address(self.facts[name]) if self.facts.get(name) else ZERO_ADDRESS
