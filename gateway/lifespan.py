"""Starting and stopping a gateway, and its periodic jobs: the book, leases, measurements, late clients, heartbeats,
messages to webhooks.
"""

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from time import monotonic

from sqlmodel import Session

from gateway import encryption
from gateway.call import call_locks, probes
from gateway.call.call_locks import CallLocks
from gateway.call.idempotency import Answers
from gateway.call.referrals import Referrals
from gateway.catalog import credentials
from gateway.catalog.catalog import Catalog
from gateway.catalog.loader import CatalogLoader
from gateway.catalog.realms import Realms
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.database import in_transaction
from gateway.metering.usage import Tokenizers
from gateway.metrics import Metrics
from gateway.payment import advancer
from gateway.payment import lane as lane_state
from gateway.payment.advances import advance_of
from gateway.payment.auth import Authenticator
from gateway.payment.decisions import Decisions
from gateway.payment.lane import Limits as LaneLimits
from gateway.payment.leases import BalanceLeases
from gateway.payment.receipt_log import ReceiptLog
from gateway.server import Connections
from gateway.settings import Settings
from gateway.tracing import Tracing
from gateway.upstream import tunnel
from gateway.upstream.guard import Guard, networks
from gateway.upstream.http import Limits
from gateway.upstream.pool import Pool
from gateway.upstream.tunnel import Forwarder, Tunnels
from gateway.webhooks import sending, targets
from gateway.webhooks.outbox import LIMITS, Outbox
from gateway.workflow.wasm import Workshop
from ledger import deployments
from ledger.core.pricing import epochs
from ledger.core.pricing.epochs import Calendar
from ledger.core.pricing.terms import Operator
from ledger.core.values import call_heads
from ledger.core.values.errors import TollwayError
from ledger.core.values.ids import Address, address
from ledger.core.values.typed_data import Domain
from ledger.deployments import Deployment
from ledger.flows import leases, publications
from ledger.settings import Settings as LedgerSettings
from ledger.store.access import channels, deposits, keys
from ledger.store.access.permits import decided
from ledger.store.chain import chain_time, lanes
from ledger.store.network import documents
from ledger.store.receipts.appender import Appender
from ledger.store.receipts.call_locks import GatewayRun
from ledger.store.session import connect, connect_unsynced, unit_of_work

log = logging.getLogger("tollway.gateway")

LATE_CHECK_SECONDS = 1.0
IDLE_CHECK_SECONDS = 2.0
MEASURE_SECONDS = 10.0
LAG_SECONDS = 0.1
CLAIM_SPARE_SECONDS = 60
"""How much longer than the longest call a claim of a referral's budget lasts."""
SWITCH_SECONDS = 0.0005
"""The longest wait of a thread for Python's lock while calls run. The default, 5 ms, delays every database read."""
YOUNG_OBJECTS = 5_000
"""New objects between two runs of the garbage collector: some dozen calls' worth; the default, 700, is two calls'."""


class Running:
    """One gateway from start to stop. `gateway` is None before and until it has started."""

    def __init__(self, settings: Settings, ledger: LedgerSettings) -> None:
        self.settings = settings
        self.ledger = ledger
        self.gateway: Gateway | None = None
        self._periodic: list[asyncio.Task[None]] = []
        self._fingerprint: object = None

    async def start(self) -> Gateway:
        """Take the receipt log, adopt the leases, read the book. Nothing is served before all of it is done."""
        gateway = await asyncio.to_thread(self._make)
        await advancer.check_key(gateway)
        receipt_log = gateway.receipt_log
        await receipt_log.open()
        await gateway.call_locks.open()
        gateway.leases.adopt(
            await gateway.db(lambda session: leases.unspent(session, gateway.lane, gateway.signer.address))
        )
        await self._end_leases(gateway)
        receipt_log.on_reopen = gateway.leases.adopt
        await gateway.read_lane()
        await gateway.upstream.forwarder.read()
        await self._read_book(gateway)
        settings = self.settings
        jobs: list[tuple[float, Callable[[Gateway], Awaitable[None]]]] = [
            (settings.lease_seconds / 3, lambda g: g.leases.renew()),
            (LATE_CHECK_SECONDS, lambda g: g.connections.close_late()),
            (LATE_CHECK_SECONDS, lambda g: g.upstream.close_idle()),
            (IDLE_CHECK_SECONDS, self._return_idle),
            (MEASURE_SECONDS, self._measure),
            (lane_state.READ_SECONDS, lambda g: g.read_lane()),
            (tunnel.ANNOUNCE_SECONDS, lambda g: g.upstream.forwarder.announce()),
            (tunnel.READ_SECONDS, lambda g: g.upstream.forwarder.read()),
            (probes.EVERY_SECONDS, probes.send_due),
            (call_locks.HEARTBEAT_SECONDS, lambda g: g.call_locks.show_alive()),
            (call_locks.CLEAN_SECONDS, lambda g: g.call_locks.clean()),
            (sending.EVERY_SECONDS, sending.send_due),
        ]
        self._periodic = [asyncio.create_task(self._repeat(gateway, every, work)) for every, work in jobs]
        self._periodic.append(asyncio.create_task(self._watch_book(gateway)))
        self._periodic.append(asyncio.create_task(_measure_lag(gateway)))
        self.gateway = gateway
        sys.setswitchinterval(SWITCH_SECONDS)
        gc.collect()
        gc.freeze()  # what exists now stays: the collector skips it from here on
        gc.set_threshold(YOUNG_OBJECTS, 20, 20)
        log.info("gateway_started", extra={"signer": "0x" + gateway.signer.address.hex()})
        return gateway

    async def stop(self) -> None:
        """Refuse new calls, let the open ones end, write what waits, return every lease."""
        gateway = self.gateway
        if gateway is None:
            return
        gateway.draining = True
        deadline = asyncio.get_running_loop().time() + self.settings.drain_seconds
        while gateway.open_calls and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
        jobs = [*self._periodic, *gateway.unwell.probes]
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await gateway.outbox.close()
        await gateway.upstream.close()
        try:
            await gateway.upstream.forwarder.close()
            await gateway.leases.return_idle(-1.0)
            await self._measure(gateway)
        finally:
            await gateway.receipt_log.close()
            await _guarded("call_locks", gateway.call_locks.close())
            await _guarded("referrals", gateway.referrals.close())
            if gateway.tracing is not None:
                await asyncio.to_thread(gateway.tracing.close)
            gateway.engine.dispose()
            log.info("gateway_stopped", extra={"open_calls": gateway.open_calls})

    def _make(self) -> Gateway:
        settings, ledger, lane = self.settings, self.ledger, self.ledger.lane
        deployment = deployments.load(ledger.deployment) if ledger.deployment else None
        domain = deployment.domain if deployment else Domain()
        signer = settings.signer()
        run = GatewayRun(lane, signer.address, os.urandom(16))
        engine = connect(ledger.sqlalchemy_url, pool_size=8)
        with unit_of_work(engine) as session:
            known = lanes.get(session, lane)
            if deployment is None:
                lanes.assign_gateways(session, lane, [signer.address])
            credentials.renew(session, settings.secret, now_ms())
            targets.renew(session, settings.secret, lane)
        operator = address(settings.operator) if settings.operator else known.operator if known else signer.address
        treasury = address(settings.treasury or (deployment.treasury if deployment else operator))
        limits = Limits(
            settings.connect_seconds, settings.first_byte_seconds, settings.idle_stream_seconds, settings.call_seconds
        )
        tunnels = Tunnels(lane, domain, limits)
        forwarder = Forwarder(engine, signer.address, settings.internal_url, tunnels)
        allowed = networks(settings.allowed_networks)
        upstream = Pool(Guard(allowed), limits, tunnels, forwarder)
        others = networks(settings.webhook_networks)
        to_receivers = Pool(Guard(others, targets.SETTING), LIMITS, tunnels, forwarder)
        outbox = Outbox(to_receivers, Guard((*allowed, *others), targets.SETTING), operator)

        def holdings() -> dict[Address, int]:
            return in_transaction(engine, lambda session: leases.unspent(session, lane, signer.address))

        return Gateway(
            settings=settings,
            deployment=deployment,
            lane=lane,
            operator=operator,
            treasury=treasury,
            signer=signer,
            engine=engine,
            receipt_log=ReceiptLog(
                lambda: Appender(ledger.libpq_url, signer.address, lane, run.boot), holdings, signer, domain
            ),
            leases=BalanceLeases(engine, lane, signer.address, settings.lease_atoms, settings.lease_seconds * 1000),
            authenticator=Authenticator(engine, lane, domain, int(settings.key_seconds * 1000)),
            upstream=upstream,
            loader=CatalogLoader(signer, domain, upstream),
            realms=Realms(domain),
            tokenizers=Tokenizers(settings.tokenizers),
            answers=Answers(),
            call_locks=CallLocks(connect_unsynced(ledger.sqlalchemy_url), run),
            referrals=Referrals(engine, lane, domain, treasury, (settings.call_seconds + CLAIM_SPARE_SECONDS) * 1000),
            metrics=Metrics(),
            relays=Decisions(engine, lambda session, ids: deposits.ended(session, lane, ids)),
            permits=Decisions(engine, lambda session, ids: decided(session, lane, ids)),
            channels=Decisions(engine, lambda session, ids: channels.decided(session, lane, ids)),
            advance=advance_of(settings, lane, operator) if deployment is not None else None,
            connections=Connections(networks(settings.trusted_proxies)),
            calendar=_calendar(deployment, ledger),
            limits=_limits(deployment, settings, ledger),
            batch_ms=ledger.batch_seconds * 1_000,
            parent_keys=[
                call_heads.parent_key(one)
                for one in encryption.keys_of(settings.secret) or (signer.exchange(signer.public),)
            ],
            workshop=Workshop(),
            outbox=outbox,
            tracing=Tracing() if settings.trace else None,
        )

    async def _watch_book(self, gateway: Gateway) -> None:
        """Read the book again when a document was published here, and every `book_seconds` for other changes. It rests
        as long as it reads: everybody can publish, and a reading has no bound but what is published.
        """
        while True:
            try:
                async with asyncio.timeout(self.settings.book_seconds):
                    await gateway.book_changed.wait()
            except TimeoutError:
                pass
            gateway.book_changed.clear()
            read, gateway.book_read = gateway.book_read, asyncio.Event()
            began = monotonic()
            await _guarded("book", self._read_book(gateway))
            read.set()
            await asyncio.sleep(monotonic() - began)

    async def _read_book(self, gateway: Gateway) -> None:
        def read(session: Session) -> tuple[Catalog, object] | None:
            block = chain_time.get(session)
            at = chain_time.now(session, now_ms()) // 1_000
            epoch = epochs.current_epoch(block.timestamp if block else None, at, gateway.calendar)
            fingerprint = (epoch, documents.fingerprint(session))
            if fingerprint == self._fingerprint:
                return None
            operator = Operator(
                gateway.operator, gateway.lane, gateway.treasury, self.settings.kappa_atoms, gateway.private
            )
            secrets = credentials.decrypted(session, self.settings.secret)
            return gateway.loader.load(session, epoch, operator, secrets), fingerprint

        loaded = await gateway.db(read)
        if loaded is not None:
            gateway.catalog, self._fingerprint = loaded
            probes.add_paused(gateway)
            gateway.metrics.epoch.set(gateway.catalog.epoch)

    async def _return_idle(self, gateway: Gateway) -> None:
        await self._end_leases(gateway)
        await gateway.leases.return_idle(self.settings.idle_seconds)

    async def _end_leases(self, gateway: Gateway) -> None:
        own = gateway.signer.address
        await gateway.leases.end(await gateway.db(lambda session: leases.ending(session, gateway.lane, own)))

    async def _measure(self, gateway: Gateway) -> None:
        records = gateway.loader.records()
        seen = {
            key: (h.calls, h.errors, h.latency_ms, h.quality_ppm)
            for key, h in records.items()
            if h.calls or h.probed_at
        }
        await gateway.db(lambda session: publications.record(session, seen, now_ms()))
        used = gateway.authenticator.used()
        await gateway.db(lambda session: keys.note_uses(session, gateway.lane, used))

    async def _repeat(self, gateway: Gateway, every: float, work: Callable[[Gateway], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(every)
            await _guarded("job", work(gateway))


async def _measure_lag(gateway: Gateway) -> None:
    """Measure how late the event loop wakes this job. A histogram, and not the worst since the last look: everybody may
    look at the metrics, and would hide it from the operator.
    """
    while True:
        due = monotonic() + LAG_SECONDS
        await asyncio.sleep(LAG_SECONDS)
        gateway.metrics.loop_lag.add(max(0.0, (monotonic() - due) * 1000))


def _calendar(deployment: Deployment | None, ledger: LedgerSettings) -> Calendar:
    if deployment is None:
        return Calendar(ledger.epoch_seconds, private=True)
    return Calendar(deployment.epoch_seconds, deployment.freeze_seconds)


def _limits(deployment: Deployment | None, settings: Settings, ledger: LedgerSettings) -> LaneLimits:
    """A call must end, and be indexed, within the notice of a consumer that leaves.

    A development chain's notice is too short for any call: there the chain's age limits nothing.
    """
    if deployment is None:
        return LaneLimits(private=True)
    confirmed = ledger.confirmations * lane_state.BLOCK_SECONDS
    most = deployment.exit_notice_seconds - settings.call_seconds - confirmed
    return LaneLimits(False, most * 1_000 if most > 0 else None)


async def _guarded(what: str, work: Awaitable[None]) -> None:
    """Log a job's failure. It is tried again next time, and never ends the gateway."""
    try:
        await work
    except (TollwayError, OSError) as error:
        log.warning("job_failed", extra={"job": what, "reason": str(error)})
    except Exception:
        log.exception("job_failed", extra={"job": what})
