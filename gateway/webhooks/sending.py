"""Sending the messages that wait for webhooks: every gateway of a lane sends, each what it takes.

One that is slow delays its own account alone: each webhook gets its messages one after the other, an account and an
address have few places at a time, and an attempt has few seconds. Of an answer only its status is read; then the
connection is closed. Whoever crashes between an attempt and its record leaves the message due, with the same id.
"""

import asyncio
import logging
from dataclasses import replace

from sqlmodel import Session

from gateway import bounds
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import NodeFailed, Refusal
from gateway.upstream.guard import NotLookedUp
from gateway.upstream.target import Target
from gateway.webhooks import targets
from ledger.core.accounts import webhooks as rules
from ledger.core.accounts.webhooks import Status, Webhook
from ledger.core.values.errors import Rejected, TollwayError
from ledger.store.access import webhooks
from ledger.store.access.webhooks import Due, Message

log = logging.getLogger("tollway.webhooks")

EVERY_SECONDS = 0.5
REASONS = {
    "unreachable": "it cannot be reached",
    "timeout": "it did not answer in time",
    "cut": "it closed the connection before it had answered",
    "too_long": "the head of its answer is too long",
}
"""Why nothing was answered, by the kind of a failure."""


async def send_due(gateway: Gateway) -> None:
    """Begin to send what is due. It goes on by itself."""
    outbox = gateway.outbox
    if gateway.draining or outbox.room <= 0:
        return
    now, busy, limits = now_ms(), outbox.busy, (outbox.room, bounds.WEBHOOK_MESSAGES)
    for due in await gateway.aside(lambda session: webhooks.take(session, gateway.lane, now, limits, busy)):
        await _begin(gateway, due)


async def _begin(gateway: Gateway, due: Due) -> None:
    outbox, account = gateway.outbox, due.hook.account
    try:
        target = targets.parse(due.hook.url, outbox.guard_of(account))
    except Refusal as refused:  # the operator took back what it allowed
        reason = refused.message
        await gateway.aside(lambda session: webhooks.disable(session, gateway.lane, due.hook, reason, now_ms()))
        return
    if not outbox.has_room(account):
        await _give_back(gateway, due)
        return
    outbox.begin(due.hook, _send_all(gateway, target, due))


async def _send_all(gateway: Gateway, target: Target, due: Due) -> None:
    """Send messages to where the webhook's host is now: it is looked up once for all of them."""
    try:
        secret = targets.secret_of(gateway.settings.secret, gateway.lane, due.hook)
        found = await _look_up(gateway, target, due.hook)
        if found is None:
            await _record(gateway, due, 0, (None, rules.NOT_FOUND))
            return
        with gateway.outbox.at(found.address) as is_free:
            await (_send_each(gateway, found, secret, due) if is_free else _give_back(gateway, due))
    except NotLookedUp:
        await _give_back(gateway, due)
    except (TollwayError, OSError) as error:
        log.error("webhook_not_sent", extra={"webhook": due.hook.id, "reason": str(error)})


async def _look_up(gateway: Gateway, target: Target, hook: Webhook) -> Target | None:
    """A target at the address where it may be called now; None without. Few names of an account are looked up at once:
    their server may let each wait. Raises NotLookedUp when those of others take all threads.
    """
    guard = gateway.outbox.guard_of(hook.account)
    try:
        async with asyncio.timeout(bounds.WEBHOOK_SECONDS):
            return replace(target, address=await guard.resolve(target.host, target.port, hook.account.hex()))
    except (TimeoutError, NodeFailed, Rejected, Refusal):
        return None


async def _send_each(gateway: Gateway, target: Target, secret: bytes, due: Due) -> None:
    """Send messages one after the other, until one fails: then the others wait until it is tried again."""
    for place, message in enumerate(due.messages):
        if not await _record(gateway, due, place, await _send(gateway, target, secret, message)):
            return


async def _give_back(gateway: Gateway, due: Due) -> None:
    names = [one.id for one in due.messages]
    await gateway.aside(lambda session: webhooks.give_back(session, gateway.lane, due.hook.id, names, now_ms()))


async def _send(gateway: Gateway, target: Target, secret: bytes, message: Message) -> tuple[int | None, str | None]:
    """Send a message: the status of the answer, and why that, or its absence, is no success."""
    body = message.body.encode()
    head = targets.headers(secret, message.id, now_ms() // 1_000, body)
    try:
        async with asyncio.timeout(bounds.WEBHOOK_SECONDS):
            reply = await gateway.outbox.pool.request(target, "", body, head)
        status = reply.status
        reply.cancel()
    except TimeoutError:
        return None, f"it did not answer within {bounds.WEBHOOK_SECONDS:g} s"
    except NodeFailed as failed:
        return None, REASONS.get(failed.kind, "what it answered is not HTTP/1.1")
    if 200 <= status < 300:
        return status, None
    return status, "redirects are not followed" if 300 <= status < 400 else f"it answered {status}"


async def _record(gateway: Gateway, due: Due, place: int, said: tuple[int | None, str | None]) -> bool:
    """Record how the attempt to send one of the messages ended. Returns whether it was delivered: the others go on."""
    now, hook, message = now_ms(), due.hook, due.messages[place]
    failing_since = hook.failing_since if place == 0 else None  # an earlier one was delivered
    end = rules.outcome(failing_since, message.attempts + 1, said[0], now)
    is_delivered = end.status is Status.delivered
    rest = [one.id for one in due.messages[place + 1 :]] if not is_delivered else []

    def work(session: Session) -> None:
        webhooks.record(session, gateway.lane, message, said, end, now)
        webhooks.give_back(session, gateway.lane, hook.id, rest, now)
        if end.disabled_because is not None:
            webhooks.disable(session, gateway.lane, hook, end.disabled_because, now)

    await gateway.aside(work)
    gateway.metrics.webhook_attempted("delivered" if is_delivered else "failed")
    if end.disabled_because is not None:
        log.info("webhook_disabled", extra={"webhook": hook.id, "reason": end.disabled_because})
    return is_delivered
