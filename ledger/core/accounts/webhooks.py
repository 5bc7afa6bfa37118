"""Webhooks: what an account is told of, in which words, how often it is tried, and when that ends.

An event is a fact with a cause. Each webhook of an account that chose its kind gets one message of it, whose id follows
from the webhook and the cause: so however often the cause is seen, or the message is sent, the receiver can tell.

The messages and their signatures are those of Standard Webhooks (https://www.standardwebhooks.com).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from ledger.core.accounts.budgets import DAY_MS, Budget, days_of
from ledger.core.catalog.bids import Role
from ledger.core.values.atoms import Atoms, Currency
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Lane, to_hex

MINUTE, HOUR = 60_000, 3_600_000
SCHEDULE_MS = (5_000, 5 * MINUTE, 30 * MINUTE, *(hours * HOUR for hours in (2, 5, 10, 14, 20, 24)))
"""How long after a failed attempt the next one is, as Standard Webhooks suggests: three days together."""
TAKEN_MS = 5 * MINUTE
"""How long messages that a gateway takes are its own: longer than it sends what it takes of one webhook at once, 16
messages of at most 10 s each. What it has not recorded by then was not sent, or is sent again.
"""
DISABLED_MS = 72 * HOUR
"""A webhook that has delivered nothing for this long is disabled when its next attempt fails."""
LEAST_REST_MS, MOST_REST_MS = 5_000, 5 * MINUTE
"""How long a webhook that failed is left alone, the longer the longer it has failed: what waits for it does not try one
after the other.
"""
KEPT_MS = 30 * DAY_MS
"""How long messages are kept, delivered or not."""
MAX_WEBHOOKS = 8
"""Of an account."""
URL_CHARACTERS = 512
TESTS_A_MINUTE = 10
"""Messages of a webhook that its owner may ask for to try it."""
TEXT_CHARACTERS = 500
"""Of what somebody wrote and a message repeats: a label, an alarm's words."""


class Kind(StrEnum):
    """What a message is about."""

    balance_low = "balance.low"
    budget_reached = "budget.reached"
    batch_final = "batch.final"
    claim_paid = "claim.paid"
    challenge_opened = "challenge.opened"
    alarm_sounded = "alarm.sounded"
    webhook_disabled = "webhook.disabled"
    test = "test"


OF_OPERATORS = frozenset({Kind.challenge_opened, Kind.alarm_sounded})
"""Kinds that are about the lane. Only its operator may choose them."""
CHOICES = tuple(kind for kind in Kind if kind not in (Kind.webhook_disabled, Kind.test))
"""Kinds that a webhook chooses. The other two it gets without."""


class Status(StrEnum):
    """What became of a message. `failed`: every attempt of the schedule did, or its receiver is gone."""

    waiting = "waiting"
    delivered = "delivered"
    failed = "failed"


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where an account wants to be told of `kinds`. `threshold` is for a low balance, in atoms.

    `encrypted` is its secret, with the `nonce` of the encryption: only gateways can read it. Times are ms. It has
    failed since `failing_since` without a success, is left alone until `rests_until`, and was sent to at `tried_at`.
    """

    id: str
    account: Address
    url: str
    kinds: tuple[Kind, ...]
    threshold: Atoms | None
    nonce: bytes = field(repr=False)
    encrypted: bytes = field(repr=False)
    created_at: int
    disabled_at: int | None = None
    disabled_because: str | None = None
    failing_since: int | None = None
    rests_until: int = 0
    tried_at: int = 0
    looked_at: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """A fact, for the webhooks of an `account` that chose its kind; for all that did, without one."""

    kind: Kind
    account: Address | None
    cause: bytes
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt leads to: the message's status and next attempt, and the webhook's state."""

    status: Status
    next_at: int | None
    failing_since: int | None
    rests_until: int
    disabled_because: str | None = None


def message_id(lane: Lane, hook: str, cause: bytes) -> str:
    """The `webhook-id` of the message that a cause is to a webhook."""
    return "msg_" + keccak256(b"webhook message", lane, hook.encode(), b"|", cause)[:16].hex()


def body(event: Event, at: int) -> str:
    """A message as it is sent, of an event that was seen at `at` (ms)."""
    seen = datetime.fromtimestamp(at / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"type": event.kind, "timestamp": seen, "data": dict(event.data)}, separators=(",", ":"))


def outcome(failing_since: int | None, attempts: int, answer: int | None, now: int) -> Outcome:
    """What follows from the `attempts`-th attempt (from 1) to send a message. `answer` is the HTTP status that came,
    None for no answer. Any 2xx is a success; 410 says that the receiver is gone for good.
    """
    if answer is not None and 200 <= answer < 300:
        return Outcome(Status.delivered, None, None, now)
    since = failing_since if failing_since is not None else now
    rests_until = now + min(MOST_REST_MS, max(LEAST_REST_MS, now - since))
    if answer == 410:
        return Outcome(Status.failed, None, since, rests_until, "its receiver answered 410, gone")
    next_at = now + SCHEDULE_MS[attempts - 1] if attempts <= len(SCHEDULE_MS) else None
    status = Status.waiting if next_at is not None else Status.failed
    tired = f"nothing was delivered for {DISABLED_MS // HOUR} hours" if now - since >= DISABLED_MS else None
    return Outcome(status, next_at, since, rests_until, tired)


def money(name: str, amount: Atoms, currency: Currency) -> dict[str, str]:
    """An amount in a message: in atoms, and as people read it."""
    return {name: str(amount), f"{name}_text": f"{currency.decimal(amount)} {currency.symbol}"}


def balance_low(lane: Lane, hook: Webhook, spendable: Atoms, since: int, currency: Currency) -> Event:
    """An account can spend less than a webhook's threshold, `since` (ms): each time that it falls below is a cause."""
    assert hook.threshold is not None, "only hooks with a threshold are looked at"
    data = {"account": to_hex(hook.account), "lane": to_hex(lane)}
    data |= money("spendable", spendable, currency) | money("threshold", hook.threshold, currency)
    return Event(Kind.balance_low, hook.account, b"low" + since.to_bytes(8, "big"), data)


def budget_reached(lane: Lane, account: Address, key: str, budget: Budget, day: int) -> Event:
    """A call was refused because one of a key's budgets has too little left. Once in each of its periods."""
    start, end = days_of(budget.period, day)
    data: dict[str, Any] = {"account": to_hex(account), "lane": to_hex(lane), "key": key}
    data |= {"budget": str(budget.amount), "period": budget.period, "model": budget.model}
    data["resets_at"] = end * DAY_MS if budget.period is not None else None
    cause = f"budget|{key}|{budget.amount}|{budget.period or ''}|{budget.model or ''}|{start}"
    return Event(Kind.budget_reached, account, cause.encode(), data)


def batch_final(
    lane: Lane, batch: tuple[int, bytes], earned: Mapping[tuple[Address, Role], Atoms], currency: Currency
) -> list[Event]:
    """A batch, given by its number and its header's id, is final: one event for each payee, with what it pays it."""
    number, header = batch
    roles: dict[Address, dict[Role, Atoms]] = {}
    for (payee, role), amount in earned.items():
        if amount:
            roles.setdefault(payee, {})[role] = amount
    return [
        Event(
            Kind.batch_final,
            payee,
            b"final" + header,
            {"payee": to_hex(payee), "lane": to_hex(lane), "batch": number, "header": to_hex(header)}
            | money("earned", sum(theirs.values()), currency)
            | {"roles": [{"role": role.name} | money("earned", part, currency) for role, part in theirs.items()]},
        )
        for payee, theirs in roles.items()
    ]


def claim_paid(lane: Lane, payee: Address, amount: Atoms, log: tuple[bytes, int], currency: Currency) -> Event:
    """A payee was paid on chain by a log, given by its transaction and its place among that one's logs."""
    transaction, ordinal = log
    data = {"payee": to_hex(payee), "lane": to_hex(lane)} | money("amount", amount, currency)
    cause = b"claimed" + transaction + ordinal.to_bytes(8, "big")
    return Event(Kind.claim_paid, payee, cause, data | {"transaction": to_hex(transaction)})


def challenge_opened(lane: Lane, question: bytes, facts: Mapping[str, Any], log: str) -> Event:
    """A question about the lane's batches was asked on chain; `facts` say what about. `log` names its log."""
    data = {"lane": to_hex(lane), "question": to_hex(question), **facts}
    return Event(Kind.challenge_opened, None, f"asked|{log}".encode(), data)


def alarm_sounded(lane: Lane, subject: str, said: tuple[str, str, str], since: int) -> Event:
    """Something is wrong with the lane, `since` (ms): a name, a message and what helps. Each time that its `subject`
    begins is a cause.
    """
    name, message, remedy = said
    data = {"lane": to_hex(lane), "name": name, "message": message[:TEXT_CHARACTERS], "remedy": remedy}
    return Event(Kind.alarm_sounded, None, f"alarm|{subject}|{since}".encode(), data)


def webhook_disabled(lane: Lane, hook: Webhook, because: str, at: int) -> Event:
    """A webhook was disabled: for the other ones of its account."""
    data = {"lane": to_hex(lane), "webhook": hook.id, "url": hook.url, "reason": because}
    return Event(Kind.webhook_disabled, hook.account, b"disabled" + hook.id.encode() + at.to_bytes(8, "big"), data)


def trial(lane: Lane, hook: Webhook, cause: bytes) -> Event:
    """What a webhook's owner asks for, to see whether it arrives."""
    return Event(Kind.test, hook.account, b"test" + cause, {"lane": to_hex(lane), "webhook": hook.id})
