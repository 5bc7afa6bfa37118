"""Webhooks, the messages that wait for them, and what they were told of and still holds.

The messages are the queue. One is written in the transaction of its cause; taking it moves its next attempt on, before
it is sent: whoever crashes meanwhile leaves it due again.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import islice
from typing import Any

from sqlalchemy import delete, exists, func, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from ledger.core.accounts import webhooks
from ledger.core.accounts.webhooks import Event, Kind, Outcome, Status, Webhook
from ledger.core.values.ids import Address, Lane
from ledger.store.access.tables import WebhookConditionRow, WebhookMessageRow, WebhookRow
from ledger.store.session import change as execute
from ledger.store.session import insert_once, lock

ROWS = 1_000
"""Messages that one statement writes or deletes."""
NAMED_ACCOUNTS = 100
"""Up to so many accounts are named in a query; for more all webhooks of a kind are read."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message to a webhook, as it stands. `answer` is the HTTP status of the last attempt, `error` why it failed."""

    hook: str
    id: str
    kind: Kind
    body: str
    created_at: int
    status: Status
    attempts: int
    next_at: int | None
    answer: int | None = None
    error: str | None = None
    ended_at: int | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """A webhook, and the messages that are to be sent to it now, the oldest first."""

    hook: Webhook
    messages: tuple[Message, ...]


def add(session: Session, lane: Lane, hook: Webhook) -> bool:
    """Add a webhook. False when its account has as many as it may; who adds at the same time waits."""
    lock(session, f"webhooks {lane.hex()} {hook.account.hex()}")
    count = select(func.count()).select_from(WebhookRow).filter_by(lane=lane, account=hook.account)
    if session.exec(count).one() >= webhooks.MAX_WEBHOOKS:
        return False
    return insert_once(session, WebhookRow, asdict(hook) | {"lane": lane, "kinds": _stored(hook.kinds)})


def of_account(session: Session, lane: Lane, account: Address) -> list[Webhook]:
    """An account's webhooks, the oldest first."""
    query = select(WebhookRow).filter_by(lane=lane, account=account)
    return [_value(row) for row in session.exec(query.order_by(col(WebhookRow.created_at), col(WebhookRow.id)))]


def by_id(session: Session, lane: Lane, account: Address, hook: str) -> Webhook | None:
    """An account's webhook. None for another account's, as if it were not there."""
    query = select(WebhookRow).filter_by(lane=lane, id=hook, account=account)
    row = session.exec(query.execution_options(populate_existing=True)).first()
    return _value(row) if row is not None else None


def change(session: Session, lane: Lane, hook: str, values: dict[str, Any]) -> None:
    """Change a webhook's URL, kinds, threshold or state."""
    stored = values | ({"kinds": _stored(values["kinds"])} if "kinds" in values else {})
    execute(session, update(WebhookRow).filter_by(lane=lane, id=hook).values(**stored))


def remove(session: Session, lane: Lane, hook: str) -> None:
    """Delete a webhook with its messages. One that is being sent just now may still arrive."""
    for table in (WebhookMessageRow, WebhookConditionRow):
        execute(session, delete(table).filter_by(lane=lane, hook=hook))
    execute(session, delete(WebhookRow).filter_by(lane=lane, id=hook))


def renew(session: Session, lane: Lane, hook: Webhook, nonce: bytes, encrypted: bytes) -> None:
    """Keep a webhook's secret encrypted anew, unless another gateway did so."""
    this = update(WebhookRow).filter_by(lane=lane, id=hook.id, nonce=hook.nonce)
    execute(session, this.values(nonce=nonce, encrypted=encrypted))


def every(session: Session, lane: Lane) -> Iterator[Webhook]:
    """All webhooks of a lane, one after the other."""
    query = select(WebhookRow).filter_by(lane=lane).order_by(col(WebhookRow.id))
    for row in session.exec(query.execution_options(yield_per=ROWS)):
        yield _value(row)


def are_there(session: Session, lane: Lane) -> bool:
    """Whether a lane has any webhook."""
    return bool(session.exec(select(exists(select(WebhookRow.id).filter_by(lane=lane)))).one())


def write(session: Session, lane: Lane, events: Sequence[Event], now: int) -> int:
    """Write the messages of events that were seen now: one for each webhook of their accounts that chose their kind,
    and for none twice. Returns how many are new.
    """
    written = 0
    by_account: dict[tuple[Kind, Address | None], list[Event]] = {}
    for event in events:
        by_account.setdefault((event.kind, event.account), []).append(event)
    wanting = {kind: _wanting(session, lane, kind, events) for kind in {event.kind for event in events}}
    pairs = (
        (hook, event)
        for kind, hooks in wanting.items()
        for hook in hooks
        for whose in (hook.account, None)
        for event in by_account.get((kind, whose), ())
    )
    while rows := [_row(lane, hook, event, now) for hook, event in islice(pairs, ROWS)]:
        written += execute(session, insert(WebhookMessageRow).values(rows).on_conflict_do_nothing())
    return written


def write_to(session: Session, lane: Lane, hook: Webhook, event: Event, now: int) -> Message:
    """Write an event's message to one webhook, whatever it chose, and return it."""
    row = _row(lane, hook, event, now)
    insert_once(session, WebhookMessageRow, row)
    return Message(**{name: value for name, value in row.items() if name != "lane"})


def take(session: Session, lane: Lane, now: int, limits: tuple[int, int], without: Iterable[str] = ()) -> list[Due]:
    """Take what is due: of at most `limits[0]` webhooks, those first that were sent to longest ago, at most `limits[1]`
    messages each. Webhooks that another gateway just takes of are passed over, and those `without`.

    The next attempt of each is moved on by `TAKEN_MS`, as the sender may never say how it ended.
    """
    due = select(WebhookMessageRow.id).where(
        col(WebhookMessageRow.lane) == lane,
        col(WebhookMessageRow.hook) == col(WebhookRow.id),
        col(WebhookMessageRow.next_at) <= now,
    )
    ready = [col(WebhookRow.disabled_at).is_(None), col(WebhookRow.rests_until) <= now, exists(due)]
    query = select(WebhookRow).filter_by(lane=lane).where(*ready, col(WebhookRow.id).not_in(list(without)))
    query = query.order_by(col(WebhookRow.tried_at), col(WebhookRow.id)).limit(limits[0])
    hooks = [_value(row) for row in session.exec(query.with_for_update(skip_locked=True))]
    taken = []
    for hook in hooks:
        mine = select(WebhookMessageRow).filter_by(lane=lane, hook=hook.id)
        mine = mine.where(col(WebhookMessageRow.next_at) <= now)
        mine = mine.order_by(col(WebhookMessageRow.next_at), col(WebhookMessageRow.created_at)).limit(limits[1])
        messages = tuple(_message(row) for row in session.exec(mine))
        these = [col(WebhookMessageRow.id).in_([one.id for one in messages])]
        moved = update(WebhookMessageRow).filter_by(lane=lane, hook=hook.id).where(*these)
        execute(session, moved.values(next_at=now + webhooks.TAKEN_MS))
        taken.append(Due(hook, messages))
    if taken:
        names = [hook.id for hook in hooks]
        execute(
            session, update(WebhookRow).filter_by(lane=lane).where(col(WebhookRow.id).in_(names)).values(tried_at=now)
        )
    return taken


def give_back(session: Session, lane: Lane, hook: str, messages: Sequence[str], now: int) -> None:
    """Make messages due again that were taken and not sent."""
    mine = update(WebhookMessageRow).filter_by(lane=lane, hook=hook, status=Status.waiting)
    execute(session, mine.where(col(WebhookMessageRow.id).in_(messages)).values(next_at=now))


def record(
    session: Session, lane: Lane, message: Message, said: tuple[int | None, str | None], end: Outcome, now: int
) -> None:
    """Record how an attempt ended: what came (a status or why none did), and what follows from it."""
    answer, error = said
    over = now if end.status is not Status.waiting else None
    values = {"status": end.status, "attempts": message.attempts + 1, "next_at": end.next_at, "ended_at": over}
    this = update(WebhookMessageRow).filter_by(lane=lane, hook=message.hook, id=message.id)
    execute(session, this.values(**values, answer=answer, error=error))
    hook = update(WebhookRow).filter_by(lane=lane, id=message.hook)
    execute(session, hook.values(failing_since=end.failing_since, rests_until=end.rests_until))


def disable(session: Session, lane: Lane, hook: Webhook, because: str, now: int) -> None:
    """Send nothing more to a webhook, and tell the others of its account."""
    this = update(WebhookRow).filter_by(lane=lane, id=hook.id, disabled_at=None)
    if not execute(session, this.values(disabled_at=now, disabled_because=because)):
        return
    for other in of_account(session, lane, hook.account):
        if other.disabled_at is None:
            write_to(session, lane, other, webhooks.webhook_disabled(lane, hook, because, now), now)


def recent(session: Session, lane: Lane, hook: str, limit: int) -> list[Message]:
    """A webhook's messages, the newest first."""
    query = select(WebhookMessageRow).filter_by(lane=lane, hook=hook)
    newest = (col(WebhookMessageRow.created_at).desc(), col(WebhookMessageRow.id))
    return [_message(row) for row in session.exec(query.order_by(*newest).limit(limit))]


def count_tests(session: Session, lane: Lane, hook: str, since: int) -> int:
    """How many messages a webhook's owner asked for since then, to try it."""
    count = select(func.count()).select_from(WebhookMessageRow).filter_by(lane=lane, hook=hook, kind=Kind.test)
    return session.exec(count.where(col(WebhookMessageRow.created_at) > since)).one()


def oldest_untried(session: Session, lane: Lane) -> int | None:
    """When the oldest message was written that no gateway has begun to send since, nor another one to its webhook,
    which is ready; None without. A receiver that is slow or away makes nothing untried.
    """
    query = select(func.min(WebhookMessageRow.created_at)).where(
        col(WebhookMessageRow.lane) == lane,
        col(WebhookMessageRow.attempts) == 0,
        col(WebhookMessageRow.status) == Status.waiting,
        col(WebhookMessageRow.hook) == col(WebhookRow.id),
        col(WebhookRow.lane) == lane,
        col(WebhookRow.disabled_at).is_(None),
        col(WebhookRow.failing_since).is_(None),
        col(WebhookRow.tried_at) < col(WebhookMessageRow.created_at),
    )
    return session.exec(query).one()


def to_look_at(session: Session, lane: Lane, before: int, limit: int, now: int) -> list[Webhook]:
    """The webhooks that wait for a low balance and were looked at longest ago, before a time: now they are."""
    query = select(WebhookRow).filter_by(lane=lane, disabled_at=None)
    query = query.where(col(WebhookRow.threshold).is_not(None), col(WebhookRow.looked_at) < before)
    query = query.order_by(col(WebhookRow.looked_at)).limit(limit).with_for_update(skip_locked=True)
    hooks = [_value(row) for row in session.exec(query)]
    names = col(WebhookRow.id).in_([hook.id for hook in hooks])
    execute(session, update(WebhookRow).filter_by(lane=lane).where(names).values(looked_at=now))
    return hooks


def of_kind(session: Session, lane: Lane, kind: Kind) -> list[Webhook]:
    """The webhooks of a lane that chose a kind and are not disabled."""
    return [_value(row) for row in session.exec(_that_chose(lane, kind))]


def accounts(session: Session, lane: Lane, kind: Kind) -> set[Address]:
    """The accounts of a lane with a webhook that chose a kind and is not disabled."""
    return {hook.account for hook in of_kind(session, lane, kind)}


def begin(session: Session, lane: Lane, hook: str, subject: str, now: int) -> bool:
    """Note that something holds. True when it did not before: its webhook is to be told."""
    row = {"lane": lane, "hook": hook, "subject": subject, "since": now}
    return insert_once(session, WebhookConditionRow, row)


def end(session: Session, lane: Lane, hook: str, subject: str) -> None:
    """Note that something holds no more."""
    execute(session, delete(WebhookConditionRow).filter_by(lane=lane, hook=hook, subject=subject))


def holding(session: Session, lane: Lane, hook: str) -> list[str]:
    """What a webhook was told of and still holds, as far as anybody noted."""
    query = select(WebhookConditionRow.subject).filter_by(lane=lane, hook=hook)
    return list(session.exec(query))


def forget(session: Session, lane: Lane, before: int) -> int:
    """Delete messages that were written before a time, at most `ROWS`. Returns how many."""
    old = select(WebhookMessageRow.hook, WebhookMessageRow.id).filter_by(lane=lane)
    old = old.where(col(WebhookMessageRow.created_at) < before).limit(ROWS)
    found = session.exec(old).all()
    for hook in {hook for hook, _ in found}:
        these = col(WebhookMessageRow.id).in_([name for whose, name in found if whose == hook])
        execute(session, delete(WebhookMessageRow).filter_by(lane=lane, hook=hook).where(these))
    return len(found)


def _wanting(session: Session, lane: Lane, kind: Kind, events: Sequence[Event]) -> list[Webhook]:
    """The webhooks that chose a kind, of the accounts of these events of it."""
    accounts = {event.account for event in events if event.kind is kind}
    query = _that_chose(lane, kind)
    if None not in accounts and len(accounts) <= NAMED_ACCOUNTS:
        query = query.where(col(WebhookRow.account).in_([one for one in accounts if one is not None]))
    return [_value(row) for row in session.exec(query)]


def _that_chose(lane: Lane, kind: Kind) -> SelectOfScalar[WebhookRow]:
    query = select(WebhookRow).filter_by(lane=lane, disabled_at=None)
    return query.where(col(WebhookRow.kinds).contains(f'"{kind}"'))


def _row(lane: Lane, hook: Webhook, event: Event, now: int) -> dict[str, Any]:
    return {
        "lane": lane,
        "hook": hook.id,
        "id": webhooks.message_id(lane, hook.id, event.cause),
        "kind": event.kind,
        "body": webhooks.body(event, now),
        "created_at": now,
        "status": Status.waiting,
        "attempts": 0,
        "next_at": now,
    }


def _stored(kinds: Iterable[Kind]) -> str:
    return json.dumps(list(kinds))


def _value(row: WebhookRow) -> Webhook:
    names = [one.name for one in fields(Webhook) if one.name not in ("kinds", "account")]
    kinds = tuple(Kind(name) for name in json.loads(row.kinds))
    return Webhook(**{name: getattr(row, name) for name in names}, kinds=kinds, account=Address(row.account))


def _message(row: WebhookMessageRow) -> Message:
    names = [one.name for one in fields(Message) if one.name not in ("kind", "status")]
    return Message(**{name: getattr(row, name) for name in names}, kind=Kind(row.kind), status=Status(row.status))
