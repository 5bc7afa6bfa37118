"""Celery tasks. Each calls one flow, carries at most an id, and may run twice or never.

What a flow cannot do now (Unavailable) the next sweep tries again; what a person must look at (Conflict, Rejected)
becomes an alarm. A task that keeps killing its worker is given up.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import redis
from celery import Task, shared_task
from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from ledger.chain.reads import Chain
from ledger.context import Context
from ledger.core.pricing import epochs
from ledger.core.settlement.troubles import find
from ledger.core.values.atoms import AIC
from ledger.core.values.errors import Conflict, Rejected, TollwayError, Unavailable
from ledger.core.values.ids import Lane, address, digest, to_hex
from ledger.flows import (
    audits,
    batches,
    challenges,
    claims,
    credits,
    deposits,
    indexer,
    leases,
    postings,
    transactions,
    webhooks,
)
from ledger.flows.x402 import channels, permits
from ledger.settings import Settings
from ledger.store.access import channels as stored_channels
from ledger.store.access import permits as stored_permits
from ledger.store.access import webhooks as hooks
from ledger.store.chain import chain_time, parties
from ledger.store.session import unit_of_work
from ledger.store.settlement import alarms, troubles

log = logging.getLogger("ledger")

BUSY_SECONDS = 20
"""A task works on what is due for about this long, then leaves the rest to the next task."""
MAX_UNFINISHED = 5
"""The most a task may begin and not end, in the last FORGET_SECONDS, before it is given up."""
FORGET_SECONDS = 600


@cache
def here() -> Context:
    """This process's context, from its environment."""
    return Context(Settings())  # type: ignore[call-arg]


def now() -> int:
    """The edge's clock, in ms."""
    return time.time_ns() // 1_000_000


class CountedTask(Task):  # type: ignore[misc]  # celery has no types
    """A task that Redis counts while it runs, so that one that kills its worker again and again is noticed."""

    alarm_ends = False
    """Its alarm ends when it runs through again: what stopped it, a state of the chain, is gone."""

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Run the task unless it did not end too often. Errors are logged, never raised."""
        name, begun = f"ledger:unfinished:{self.name}:{':'.join(map(str, args))}", 0
        with _counter() as counter:
            begun = counter.incr(name) if counter is not None else 0
            if counter is not None and begun == 1:
                counter.expire(name, FORGET_SECONDS)
        if args and begun > MAX_UNFINISHED:
            log.error("task_given_up", extra={"task": self.name, "arguments": args, "begun": begun})
            return
        try:
            super().__call__(*args, **kwargs)
            if self.alarm_ends:
                with unit_of_work(here().engine) as session:
                    alarms.end(session, here().settings.lane, str(self.name), now())
        except (Unavailable, OperationalError) as error:
            log.warning("task_unavailable", extra={"task": self.name, "reason": str(error)})
        except TollwayError as error:
            log.error("task_stopped", extra={"task": self.name, "reason": error.message})
            with unit_of_work(here().engine) as session:
                alarms.sound(session, here().settings.lane, alarms.Alarm(str(self.name), error.message), now())
        with _counter() as counter:
            if counter is not None:
                counter.delete(name)


@contextmanager
def _counter() -> "Iterator[redis.Redis | None]":
    """Redis, or None while it cannot be reached: then tasks are not counted."""
    try:
        yield _redis()
    except redis.RedisError:
        return


@cache
def _redis() -> redis.Redis:
    return redis.Redis.from_url(here().settings.redis_url, socket_timeout=2)


@shared_task(name="ledger.sweep", base=CountedTask)  # type: ignore[untyped-decorator]
def sweep() -> None:
    """Look for due rows, and start a task for each gateway with receipts to post and one for each flow with work."""
    context = here()
    with unit_of_work(context.engine) as session:
        waiting = postings.due(session, context.settings.lane)
        closing = batches.is_due(session, context.lane, now())
        permitted = stored_permits.is_due(session, context.settings.lane)
        has_channels = stored_channels.are_there(session, context.settings.lane)
        has_webhooks = hooks.are_there(session, context.settings.lane)
    for gateway in waiting:
        post.delay(to_hex(gateway))
    if context.chain is not None:
        index.delay()
        if permitted:
            permit.delay()
        if has_channels:
            channel.delay()
        transmit.delay()
    else:
        publish.delay()
    if closing:
        close.delay()
    if has_webhooks:
        tell.delay()
    reclaim.delay()


@shared_task(name="ledger.post", base=CountedTask)  # type: ignore[untyped-decorator]
def post(gateway: str) -> None:
    """Post a gateway's receipts, chunk by chunk."""
    context = here()

    def step(session: Session) -> int:
        return postings.post_chunk(session, context.settings.lane, address(gateway), context.settings.post_chunk, now())

    _while_due("receipts_posted", step, gateway=gateway)


@shared_task(name="ledger.index", base=CountedTask, alarm_ends=True)  # type: ignore[untyped-decorator]
def index() -> None:
    """Index confirmed blocks, and set aside the balances of leaving consumers."""
    context = here()
    assert context.chain is not None, "started only when there is a chain"
    chain = context.chain
    _while_due("blocks_indexed", lambda session: indexer.index_next(session, chain, context.network, now()))
    with unit_of_work(context.engine) as session:
        indexer.set_aside(session, context.settings.lane, now())


@shared_task(name="ledger.close", base=CountedTask)  # type: ignore[untyped-decorator]
def close() -> None:
    """Close a batch, or first have its payees registered."""
    context = here()
    if context.wire is not None and _register_payees(context):
        return
    with unit_of_work(context.engine) as session:
        if context.chain is None:
            parties.assign(session, context.settings.lane, batches.missing_payees(session, context.settings.lane))
        batch = batches.close(session, context.lane, _epoch(session, context), now())
    if batch is not None:
        facts = {"lane": to_hex(batch.lane), "number": batch.number, "calls": batch.header.calls}
        log.info("batch_closed", extra=facts)


@shared_task(name="ledger.publish", base=CountedTask)  # type: ignore[untyped-decorator]
def publish() -> None:
    """On a private grid: book credits, publish built batches, make ripe ones final."""
    context = here()
    lane, window_ms = context.settings.lane, context.settings.window_seconds * 1_000
    _each(
        lambda session: credits.credit(session, lane, now()),
        lambda session: credits.publish(session, lane, window_ms, now()),
    )


@shared_task(name="ledger.transmit", base=CountedTask)  # type: ignore[untyped-decorator]
def transmit() -> None:
    """Intend what is due on chain, sign it, and send it.

    Claims get their nonces before anything that makes a batch final: that would outdate their proofs.
    """
    context = here()
    if context.wire is None:
        return
    wire, calls, sender, lane = context.wire, context.wire.calls, context.wire.sender, context.lane
    _each(lambda session: challenges.answer_all(session, calls, sender, lane.lane, now()))
    if context.settings.relay_claims:
        _each(lambda session: claims.claim(session, calls, sender, lane.lane, now()))
        _sign(lane.lane, wire)
    _each(
        lambda session: deposits.send_deposits(session, lane.lane, calls, wire.balance, sender, now()),
        lambda session: batches.commit(session, lane, calls, now()),
        lambda session: batches.finalize(session, lane, calls, now()),
    )
    _sign(lane.lane, wire)
    with unit_of_work(context.engine) as session:
        under_way = [to_hex(one) for one in transactions.under_way(session, lane.lane)]
    for one in under_way:
        with unit_of_work(context.engine) as session:
            step = transactions.review(session, lane.lane, wire, digest(one), now(), context.policy)
        log.debug("transaction_reviewed", extra={"transaction": one, "step": step.value})
    _each(lambda session: deposits.follow_deposits(session, lane.lane))


@shared_task(name="ledger.permit", base=CountedTask)  # type: ignore[untyped-decorator]
def permit() -> None:
    """Intend to settle permits of x402's `upto` whose calls were charged, and say which others are good. What is owed
    comes first: strangers choose how many others there are.
    """
    context = here()
    if context.wire is None:
        return
    wire, lane = context.wire, context.settings.lane
    _each(
        lambda session: permits.note_charged(session, lane),
        lambda session: permits.follow(session, lane),
        lambda session: permits.settle(session, lane, wire, wire.sender, now()),
        lambda session: permits.forget(session, lane, wire, now()),
    )
    _while_due("permits_checked", lambda session: permits.check(session, lane, wire, wire.sender, now()))


@shared_task(name="ledger.channel", base=CountedTask)  # type: ignore[untyped-decorator]
def channel() -> None:
    """Look at channels of x402's `batch-settlement`, take their deposits, and claim what their calls were charged."""
    context = here()
    if context.wire is None:
        return
    wire, lane, deep = context.wire, context.settings.lane, context.settings.confirmations
    _each(
        lambda session: channels.note_charged(session, lane),
        lambda session: channels.follow(session, lane),
        lambda session: channels.claim(session, lane, wire.sender, now()),
        lambda session: channels.forget(session, lane, now()),
    )
    _while_due("channels_looked_at", lambda session: channels.look(session, lane, wire, wire.sender, deep, now()))


@shared_task(name="ledger.reclaim", base=CountedTask)  # type: ignore[untyped-decorator]
def reclaim() -> None:
    """Return what gateways that are gone leased and did not spend."""
    context = here()
    with unit_of_work(context.engine) as session:
        returned = leases.reclaim(session, context.settings.lane, now())
    if returned:
        log.info("leases_reclaimed", extra={"returned": {to_hex(g): amount for g, amount in returned.items()}})


@shared_task(name="ledger.tell", base=CountedTask)  # type: ignore[untyped-decorator]
def tell() -> None:
    """Write what webhooks are told of balances and alarms, and forget old messages. Gateways send what is written."""
    context, lane = here(), here().settings.lane
    currency = context.deployment.currency if context.deployment is not None else AIC

    def tell_alarms(session: Session) -> int:
        facts = troubles.read(session, lane, context.lane.batch_ms, now())
        found = find(replace(facts, stake=leases.at_stake(session, lane)))
        return webhooks.tell_alarms(session, lane, alarms.active(session, lane), found, now())

    _each(
        lambda session: webhooks.tell_low_balances(session, lane, leases.spendable, currency, now()),
        tell_alarms,
        lambda session: webhooks.forget(session, lane, now()),
    )


@shared_task(name="ledger.reconcile", base=CountedTask)  # type: ignore[untyped-decorator]
def reconcile() -> None:
    """Check the laws that read only sums."""
    _check(thorough=False)


@shared_task(name="ledger.audit", base=CountedTask)  # type: ignore[untyped-decorator]
def audit() -> None:
    """Check all laws, receipt by receipt."""
    _check(thorough=True)


def _check(*, thorough: bool) -> None:
    context = here()
    with unit_of_work(context.engine, snapshot=True) as session:
        found = audits.reconcile(session, context.scope, now(), thorough=thorough)
    for alarm in found:
        log.error("law_broken", extra={"law": alarm.law, "reason": alarm.message, "account": alarm.account})


def _sign(lane: Lane, wire: Chain) -> None:
    """Give intentions their nonces and signed bytes, in the order they were intended."""
    sign = transactions.sign_next
    _while_due("transactions_signed", lambda session: int(bool(sign(session, lane, wire, wire.sender, now()))))


def _register_payees(context: Context) -> bool:
    """Intend to register payees without an index; True while there are any."""
    assert context.wire is not None, "called only with a key"
    calls, sender = context.wire.calls, context.wire.sender
    with unit_of_work(context.engine) as session:
        missing = batches.missing_payees(session, context.settings.lane)
        claims.register_payees(session, context.settings.lane, calls, sender, missing, now())
    return bool(missing)


def _epoch(session: Session, context: Context) -> int:
    block, known = chain_time.get(session), context.deployment
    if known is None:
        calendar = epochs.Calendar(context.settings.epoch_seconds, private=True)
    else:
        calendar = epochs.Calendar(known.epoch_seconds, known.freeze_seconds)
    at = chain_time.now(session, now()) // 1_000
    return epochs.current_epoch(block.timestamp if block else None, at, calendar)


def _while_due(event: str, step: Callable[[Session], int], **facts: object) -> None:
    """Repeat a step, each time in its own transaction, until nothing is due or BUSY_SECONDS are over."""
    until, total = time.monotonic() + BUSY_SECONDS, 0
    while time.monotonic() < until:
        with unit_of_work(here().engine) as session:
            done = step(session)
        if not done:
            break
        total += done
    if total:
        log.info(event, extra={"count": total, **facts})


def _each(*steps: Callable[[Session], object]) -> None:
    """Run steps, each in its own transaction. When one is refused the others still run."""
    for step in steps:
        try:
            with unit_of_work(here().engine) as session:
                step(session)
        except (Rejected, Conflict) as error:
            log.error("step_refused", extra={"reason": error.message})
