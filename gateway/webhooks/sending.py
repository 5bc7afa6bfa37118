"""Sending the messages that wait for webhooks: every gateway of a lane sends, each what it takes.

One that is slow delays its own account alone: each webhook gets its messages one after the other, an account and a host
have few places at a time, and an attempt has few seconds. Of an answer only its status is read; then the connection is
closed. Whoever crashes between an attempt and its record leaves the message due, with the same id.
"""

import asyncio
import logging

from sqlmodel import Session

from gateway import bounds
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import NodeFailed, Refusal
from gateway.upstream.target import Target
from gateway.webhooks import targets
from ledger.core.accounts import webhooks as rules
from ledger.core.accounts.webhooks import Status, Webhook
from ledger.core.values.errors import TollwayError
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
    try:
        target = targets.parse(due.hook.url, gateway.outbox.pool.guard)
    except Refusal as refused:  # the operator took back what it allowed
        reason = refused.message
        await gateway.aside(lambda session: webhooks.disable(session, gateway.lane, due.hook, reason, now_ms()))
        return
    if not gateway.outbox.has_room(due.hook, target.host):
        names = [one.id for one in due.messages]
        await gateway.aside(lambda session: webhooks.give_back(session, gateway.lane, due.hook.id, names, now_ms()))
        return
    gateway.outbox.begin(due.hook, target.host, _send_all(gateway, target, due))


async def _send_all(gateway: Gateway, target: Target, due: Due) -> None:
    """Send messages one after the other, until one fails: then the others wait until it is tried again."""
    try:
        secret = targets.secret_of(gateway.settings.secret, gateway.lane, due.hook)
        failing_since = due.hook.failing_since
        for place, message in enumerate(due.messages):
            answer, error = await _send(gateway, target, secret, message)
            end = rules.outcome(failing_since, message.attempts + 1, answer, now_ms())
            rest = [one.id for one in due.messages[place + 1 :]] if end.status is not Status.delivered else []
            await _record(gateway, due.hook, message, (answer, error), end, rest)
            if end.status is not Status.delivered:
                return
            failing_since = None
    except (TollwayError, OSError) as error:
        log.error("webhook_not_sent", extra={"webhook": due.hook.id, "reason": str(error)})


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


async def _record(
    gateway: Gateway,
    hook: Webhook,
    message: Message,
    said: tuple[int | None, str | None],
    end: rules.Outcome,
    rest: list[str],
) -> None:
    now = now_ms()

    def work(session: Session) -> None:
        webhooks.record(session, gateway.lane, message, said, end, now)
        webhooks.give_back(session, gateway.lane, hook.id, rest, now)
        if end.disabled_because is not None:
            webhooks.disable(session, gateway.lane, hook, end.disabled_because, now)

    await gateway.aside(work)
    gateway.metrics.webhook_attempted("delivered" if end.status is Status.delivered else "failed")
    if end.disabled_because is not None:
        log.info("webhook_disabled", extra={"webhook": hook.id, "reason": end.disabled_because})
