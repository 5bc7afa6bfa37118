"""The gateway as one value: what routes and calls need, made once at start."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import Engine
from sqlmodel import Session

from gateway import bounds
from gateway.bounds import Rates, Tasks
from gateway.call.call_locks import CallLocks
from gateway.call.health import Unwell
from gateway.call.idempotency import Answers
from gateway.call.referrals import Referrals
from gateway.catalog.catalog import EMPTY, Catalog, UnknownModel
from gateway.catalog.exports import Place
from gateway.catalog.loader import CatalogLoader
from gateway.catalog.realms import Realms
from gateway.clock import now_ms
from gateway.database import transact, transact_aside
from gateway.errors import Refusal, refusal
from gateway.metering.usage import Tokenizers
from gateway.metrics import Metrics
from gateway.payment import lane as lanes
from gateway.payment.advances import Advance
from gateway.payment.auth import Authenticator
from gateway.payment.decisions import Decisions
from gateway.payment.lane import NOT_READ, LaneState
from gateway.payment.leases import BalanceLeases
from gateway.payment.receipt_log import ReceiptLog
from gateway.payment.turns import Turns
from gateway.server import Connections
from gateway.settings import Settings
from gateway.tracing import Tracing
from gateway.upstream.pool import Pool
from gateway.webhooks.outbox import Outbox
from gateway.workflow.guarantees import Guarantees
from gateway.workflow.wasm import Workshop
from ledger.core.accounts.channels import Status
from ledger.core.pricing.epochs import Calendar
from ledger.core.values.atoms import AIC, Currency
from ledger.core.values.errors import TollwayError
from ledger.core.values.ids import Address, Lane, to_hex
from ledger.core.values.typed_data import Domain, Signer
from ledger.deployments import Deployment
from ledger.store.access.deposits import DepositRequest
from ledger.store.access.permits import StoredPermit
from ledger.store.receipts.receipts import Signed

T = TypeVar("T")
log = logging.getLogger("tollway.calls")
BOOK_READ_SECONDS = 5.0
"""How long whoever changes the book waits until this gateway has read it."""


@dataclass
class Gateway:
    """One process of a lane's gateway."""

    settings: Settings
    deployment: Deployment | None
    """None on a private grid."""
    lane: Lane
    operator: Address
    treasury: Address
    signer: Signer
    engine: Engine
    receipt_log: ReceiptLog
    leases: BalanceLeases
    authenticator: Authenticator
    upstream: Pool
    loader: CatalogLoader
    realms: Realms
    tokenizers: Tokenizers
    answers: Answers
    call_locks: CallLocks
    referrals: Referrals
    metrics: Metrics
    connections: Connections
    relays: Decisions[DepositRequest]
    permits: Decisions[StoredPermit]
    channels: Decisions[Status]
    workshop: Workshop
    outbox: Outbox
    calendar: Calendar
    limits: lanes.Limits
    batch_ms: int
    """How old a lane's oldest receipt is when its batch is due."""
    parent_keys: Sequence[bytes] = field(repr=False)
    """Makes `Tollway-Parent`, by which a node's own paid call names the call that it serves."""
    advance: Advance | None = None
    """Set where the operator offers x402's `upto` and `batch-settlement`."""
    lane_state: LaneState = NOT_READ
    catalog: Catalog = EMPTY
    open_calls: int = 0
    """Admitted calls that are under way."""
    unpaid_bodies: Tasks = field(default_factory=lambda: Tasks(bounds.UNPAID_BODIES_AN_ADDRESS, bounds.UNPAID_BODIES))
    agents: Tasks = field(default_factory=lambda: Tasks(bounds.AGENT_REQUESTS_AN_ADDRESS, bounds.AGENT_REQUESTS))
    """Requests by MCP and A2A of those who have not shown yet that they pay."""
    payments: Tasks = field(default_factory=lambda: Tasks(bounds.PAYMENTS_A_PAYER, bounds.PAYMENTS))
    """x402 payments, by payer: those whose bodies are read, or that wait for the chain."""
    permitted: Tasks = field(default_factory=lambda: Tasks(bounds.PAYMENTS_A_PAYER, bounds.PAYMENTS))
    """The same of x402's permits, which cost their signer nothing: they take no place of a payment."""
    vouching: Tasks = field(default_factory=lambda: Tasks(bounds.CHANNEL_CALLS_A_PAYER, bounds.CHANNEL_CALLS))
    """The same of calls that a channel is to pay for."""
    turns: Turns = field(default_factory=Turns)
    tunnels: Tasks = field(default_factory=lambda: Tasks(bounds.TUNNELS_AN_ADDRESS, bounds.TUNNELS))
    failures: Rates = field(default_factory=lambda: Rates(bounds.FAILURES_A_MINUTE))
    writes: Rates = field(
        default_factory=lambda: Rates(bounds.WRITES_A_MINUTE, bounds.WRITES_TOGETHER, bounds.WRITES_WHEN_BUSY)
    )
    pages: Rates = field(default_factory=lambda: Rates(bounds.PAGES_A_MINUTE))
    trials: Rates = field(default_factory=lambda: Rates(bounds.TRIALS_A_MINUTE))
    guarantees: Guarantees = field(default_factory=Guarantees)
    tracing: Tracing | None = None
    draining: bool = False
    unwell: Unwell = field(default_factory=Unwell)
    looking_for_names: bool = False
    book_changed: asyncio.Event = field(default_factory=asyncio.Event)
    book_read: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the next reading of the book to begin, when it has ended."""

    @property
    def domain(self) -> Domain:
        """The EIP-712 domain of the lane's signatures."""
        return self.deployment.domain if self.deployment is not None else Domain()

    @property
    def currency(self) -> Currency:
        """What amounts are in."""
        return self.deployment.currency if self.deployment is not None else AIC

    @property
    def private(self) -> bool:
        """Whether this is a private grid, without a chain."""
        return self.deployment is None

    def place(self, host: str, realm: str = "") -> Place:
        """Where it is called, in a realm or in none: at its public URL, or the host that a request named."""
        asset = f"eip155:{self.deployment.chain_id}/erc20:{self.deployment.token}" if self.deployment else ""
        return Place(self.settings.public_url.rstrip("/") or f"http://{host}", asset, realm)

    def now_ms(self) -> int:
        """The network's time in ms: the last indexed block's, and the time since. A private grid's is the clock's."""
        return now_ms() + self.lane_state.clock_ms

    def end_of(self, epoch: int) -> int:
        """When a call of an epoch ends that ends now, in ms: in this epoch or the next, though the clock may jump. A
        receipt that names another time can be proven wrong.
        """
        epoch_ms = self.calendar.epoch_seconds * 1_000
        return min(max(self.now_ms(), epoch * epoch_ms), (epoch + 2) * epoch_ms - 1)

    async def read_book(self) -> None:
        """Have the book read again. Back when what was written before is in force here, or if that takes long."""
        read = self.book_read
        self.book_changed.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(BOOK_READ_SECONDS):
                await read.wait()

    def catalog_for(self, account: Address | None, realm: str, now: int) -> Catalog:
        """The catalog that an account, None for a stranger, sees in a realm; with "" outside of every realm."""
        return self.realms.catalog(self.catalog, account, realm, now) if realm else self.catalog

    def refusal(self) -> Refusal | None:
        """Why the lane serves no call now; None when it does."""
        return self.lane_state.refusal(self.limits, self.lane, self.signer.address)

    async def explain(self, error: TollwayError) -> Refusal:
        """The refusal for an error. An unknown model's gets the nearest names, in a thread, one at a time."""
        if not isinstance(error, UnknownModel) or self.looking_for_names:
            return refusal(error)
        self.looking_for_names = True
        try:
            return await asyncio.to_thread(error.with_nearest)
        finally:
            self.looking_for_names = False

    async def read_lane(self) -> None:
        """Read the lane's state again."""
        before, key = self.lane_state.at_stake.is_near, self.signer.address
        self.lane_state = await self.db(lambda session: lanes.read(session, self.lane, key, now_ms()))
        stake = self.lane_state.at_stake
        self.metrics.at_stake.set(stake.charged + stake.leased)
        self.metrics.at_stake_limit.set(stake.limit)
        if stake.is_near and not before:
            facts = {"charged": str(stake.charged), "leased": str(stake.leased), "limit": str(stake.limit)}
            log.warning("bond_nearly_reached", extra=facts | {"remedy": "tollway operator add-bond"})

    def note(self, endpoint: str, model: str | None, end: str, signed: tuple[Signed, ...], took_ms: int) -> None:
        """Count an ended call, and log it if calls are logged. `model` is empty when none was found. If it is None, the
        call was made in a realm, and is not counted.
        """
        if model is not None:
            self.metrics.ended(endpoint, model, end, took_ms)
        if self.settings.log_calls:
            root = signed[-1].receipt if signed else None
            facts = {"end": end, "took_ms": took_ms, "call": to_hex(root.call_id) if root else None}
            log.info("call_ended", extra=facts | {"charge": str(root.charge) if root else "0"})

    async def db(self, work: Callable[[Session], T]) -> T:
        """Run `work` in one transaction, in a thread: for calls, and what the gateway does by itself."""
        return await transact(self.engine, work)

    async def aside(self, work: Callable[[Session], T]) -> T:
        """The same for routes that are no call: none of those waits for it."""
        return await transact_aside(self.engine, work)
