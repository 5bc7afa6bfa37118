"""Channels of x402's `batch-settlement`, and the calls that each pays for: stored before any work, counted by their
receipts. Who changes a channel's totals holds its row.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import and_, func, or_, update
from sqlalchemy import delete as remove
from sqlmodel import Session, col, select

from ledger.core.accounts.channels import (
    BUSY_MS,
    FORGET_MS,
    FRESH_MS,
    MOST_A_PAYER,
    MOST_CHANNELS,
    NEXT,
    Answer,
    CallStatus,
    Channel,
    Deposit,
    Seen,
    Status,
    Totals,
    admit,
    is_deposit_due,
)
from ledger.core.values.ids import ZERO_DIGEST, Address, Digest, Lane, to_hex
from ledger.store.access.tables import ChannelCallRow, ChannelRow
from ledger.store.receipts.tables import ReceiptRow
from ledger.store.session import change, insert_once, lock, value_of

REFUSED_MS = 60_000
"""How long a refused channel is kept, for its gateway to read why."""
RELEASED_MS = 600_000
"""How long a call is kept that was not charged: a receipt that was on its way has come long before."""
NO_DEPOSIT = Deposit(0, 0, 0, ZERO_DIGEST, b"")
_WAITING = (Status.requested, Status.opening)


@dataclass(frozen=True, slots=True)
class StoredChannel:
    """A channel as it is known. `deposit` is what was sent with a call last; its amount is 0 when none waits.

    `leaving` (seconds) is when its payer asked for the rest, 0 if it did not; `claiming` the total (atoms) of the claim
    on its way, None if none is; `least` (atoms) what a claim costs. `checked_at`, `used_at` and `claimed_at` (ms) are
    when the worker looked last, a call was let in last, and a claim was intended last; 0 before the first.
    """

    lane: Lane
    id: Digest
    channel: Channel
    totals: Totals
    signature: bytes
    """Of the highest voucher."""
    deposit: Deposit
    status: Status
    leaving: int
    claiming: int | None
    least: int
    error: str | None
    checked_at: int
    used_at: int
    claimed_at: int

    @property
    def opens(self) -> str:
        """What the transaction that takes its deposit is for."""
        return f"channel {to_hex(self.id)} deposit {to_hex(self.deposit.salt)}"

    def claims(self, total: int) -> str:
        """What the transaction that claims a total is for."""
        return f"channel {to_hex(self.id)} claim {total}"


@dataclass(frozen=True, slots=True)
class Shown:
    """What a request shows: a channel, a voucher (atoms and signature), and a deposit if it brings one. `least` (atoms)
    is what a claim costs, as the gateway is set.
    """

    id: Digest
    channel: Channel
    voucher: int
    signature: bytes
    deposit: Deposit = NO_DEPOSIT
    least: int = 1


@dataclass(frozen=True, slots=True)
class Call:
    """A call that a channel is to pay for: which account advances it, the most that it costs in atoms, and when it is
    over at the latest (ms).
    """

    id: Digest
    account: Address
    most: int
    until: int


@dataclass(frozen=True, slots=True)
class Entered:
    """What became of a call, and what is known of its channel. Without an answer the worker has to look first; without
    a channel there are too many.
    """

    answer: Answer | None
    channel: StoredChannel | None


def enter(session: Session, lane: Lane, shown: Shown, call: Call, now: int) -> Entered:
    """Let a call in on a channel, or say what it lacks. A channel that is new, was last looked at long ago, or is sent
    a deposit that it needs, is requested: its answer is None. So is one whose payer reckons with its deposit.
    """
    known = _take(session, lane, shown.id) or _make(session, lane, shown, now)
    if known is None or known.status in _WAITING:
        return Entered(None, known)
    is_new = shown.deposit.amount > 0 and shown.deposit.salt != known.deposit.salt
    if known.status is Status.refused:
        return Entered(None, _ask(session, known, shown, now)) if is_new else Entered(Answer.deposit, known)
    if known.checked_at < now - FRESH_MS:
        return Entered(None, _ask(session, known, None, now))
    if known.status is Status.leaving:
        return Entered(Answer.deposit, known)
    note(session, lane, shown.id)
    change(session, remove(ChannelCallRow).filter_by(lane=lane, call=call.id).where(_is_open()))  # an earlier attempt
    known = _read(session, lane, shown.id)
    answer = admit(known.totals, shown.voucher, call.most)
    if is_new and is_deposit_due(known.totals, answer, shown.voucher, shown.deposit.amount):
        return Entered(None, _ask(session, known, shown, now))
    return _let_in(session, known, shown, call, now) if answer is Answer.admitted else Entered(answer, known)


def _let_in(session: Session, known: StoredChannel, shown: Shown, call: Call, now: int) -> Entered:
    """Store a call that is admitted, and its voucher if that is the highest."""
    row = {"lane": known.lane, "call": call.id, "channel": shown.id, "account": call.account, "most": call.most}
    if not insert_once(session, ChannelCallRow, row | {"status": CallStatus.held, "until": call.until}):
        return Entered(Answer.voucher, known)  # it was charged before
    higher = {"voucher": shown.voucher, "signature": shown.signature} if shown.voucher > known.totals.voucher else {}
    _set(session, known, used_at=now, least=shown.least, **higher)
    return Entered(Answer.admitted, _read(session, known.lane, known.id))


def _make(session: Session, lane: Lane, shown: Shown, now: int) -> StoredChannel | None:
    """A new channel for the worker to look at. None when there are too many, of the lane or of its payer."""
    lock(session, f"channels:{lane.hex()}")
    known = _take(session, lane, shown.id)
    if known is not None:
        return known
    counted = (col(ChannelRow.lane) == lane, col(ChannelRow.status) != Status.refused)
    of_lane = select(func.count()).select_from(ChannelRow).where(*counted)
    if session.exec(of_lane).one() >= MOST_CHANNELS:
        return None
    of_payer = of_lane.where(col(ChannelRow.payer) == shown.channel.payer).where(
        or_(  # what others merely wrote its name into is none of its own
            col(ChannelRow.payer_authorizer) == shown.channel.payer_authorizer,
            col(ChannelRow.balance) > 0,
            col(ChannelRow.status) == Status.opening,
        )
    )
    if session.exec(of_payer).one() >= MOST_A_PAYER:
        return None
    zeros = ("balance", "claimed", "leaving", "charged", "voucher", "published", "checked_at", "claimed_at")
    row = {"lane": lane, "id": shown.id, **asdict(shown.channel), **dict.fromkeys(zeros, 0), **_columns(shown.deposit)}
    row |= {"signature": b"", "least": shown.least, "status": Status.requested}
    insert_once(session, ChannelRow, row | {"requested_at": now, "used_at": now})
    return _read(session, lane, shown.id)


def _ask(session: Session, known: StoredChannel, shown: Shown | None, now: int) -> StoredChannel:
    """Have the worker look, and take the deposit that is shown."""
    offered = _columns(shown.deposit) if shown is not None else {}
    set_status(session, known, Status.requested, error=None, requested_at=now, **offered)
    return _read(session, known.lane, known.id)


def leave(session: Session, lane: Lane, channel: Digest, call: Digest, now: int) -> StoredChannel:
    """Note that a call that was let in is over: what its receipt charged, or else nothing. What is known now."""
    known = _take(session, lane, channel)
    assert known is not None, "it is kept while it has calls"
    note(session, lane, channel)
    ended = update(ChannelCallRow).filter_by(lane=lane, call=call, status=CallStatus.held)
    change(session, ended.values(status=CallStatus.released, until=now))
    return _read(session, lane, channel)


def note(session: Session, lane: Lane, channel: Digest) -> int:
    """Count what the receipts of a channel's calls charged, which are not counted yet. How many. The channel is held.

    A receipt of the same call that somebody else paid for is none of the channel's.
    """
    noted = 0
    for call, charge in session.exec(_uncounted(lane).where(col(ChannelCallRow.channel) == channel)).all():
        this = update(ChannelCallRow).filter_by(lane=lane, call=call).where(_is_open())
        if change(session, this.values(status=CallStatus.charged, charged=charge)):
            total = update(ChannelRow).filter_by(lane=lane, id=channel)
            change(session, total.values(charged=col(ChannelRow.charged) + charge))
            noted += 1
    return noted


def note_all(session: Session, lane: Lane) -> int:
    """Count what the receipts charged of calls whose gateway did not. How many."""
    found = session.exec(_uncounted(lane).with_only_columns(col(ChannelCallRow.channel)).distinct()).all()
    channels = sorted(Digest(one) for (one,) in found)
    return sum(note(session, lane, one) for one in channels if _take(session, lane, one) is not None)


def _uncounted(lane: Lane) -> Any:
    is_its = and_(
        col(ReceiptRow.lane) == col(ChannelCallRow.lane),
        col(ReceiptRow.call_id) == col(ChannelCallRow.call),
        col(ReceiptRow.consumer) == col(ChannelCallRow.account),
    )
    query = select(ChannelCallRow.call, ReceiptRow.charge).join(ReceiptRow, is_its)
    return query.where(col(ChannelCallRow.lane) == lane, _is_open())


def _is_open() -> Any:
    return col(ChannelCallRow.status).in_((CallStatus.held, CallStatus.released))


def get(session: Session, lane: Lane, channel: Digest) -> StoredChannel | None:
    found = _values(session, _query(lane).where(col(ChannelRow.id) == channel))
    return found[0] if found else None


def of_lane(session: Session, lane: Lane) -> list[StoredChannel]:
    """Every channel of a lane: a bounded number."""
    return _values(session, _query(lane).order_by(col(ChannelRow.requested_at)))


def claimable(session: Session, lane: Lane) -> list[StoredChannel]:
    """Channels of which something is not claimed, and no claim is on its way: those first whose payer leaves."""
    owes = (col(ChannelRow.charged) > col(ChannelRow.claimed), col(ChannelRow.claiming).is_(None))
    is_leaving = (col(ChannelRow.status) == Status.leaving).desc()
    return _values(session, _query(lane).where(*owes).order_by(is_leaving, col(ChannelRow.claimed_at)))


def claiming(session: Session, lane: Lane) -> list[StoredChannel]:
    """Channels with a claim on its way."""
    return _values(session, _query(lane).where(col(ChannelRow.claiming).is_not(None)))


def debt(session: Session, payer: Address, but: Digest) -> int:
    """What a payer's other channels were charged and cannot be claimed, in every lane, in atoms."""
    others = _query(None).where(col(ChannelRow.payer) == payer, col(ChannelRow.id) != but)
    return sum(one.totals.lost for one in _values(session, others))


def lost(session: Session, lane: Lane) -> int:
    """What the channels of a lane were charged and cannot be claimed, in atoms."""
    owes = _query(lane).where(col(ChannelRow.charged) > col(ChannelRow.claimed))
    return sum(one.totals.lost for one in _values(session, owes))


def decided(session: Session, lane: Lane, ids: Sequence[Digest]) -> dict[Digest, Status]:
    """How far those of these channels have come that the worker has looked at, by id."""
    known = col(ChannelRow.status).not_in(_WAITING)
    query = select(ChannelRow.id, ChannelRow.status).where(col(ChannelRow.lane) == lane, col(ChannelRow.id).in_(ids))
    return {Digest(one): Status(status) for one, status in session.exec(query.where(known))}


def to_look_at(session: Session, lane: Lane, older: int, limit: int) -> list[StoredChannel]:
    """Channels that the worker has to look at: those last looked at before `older` (ms) that have calls, or something
    unclaimed, or a payer that leaves; and those that a call waits for, which strangers make as many as they like, so
    half of the places are not theirs.
    """
    asked = col(ChannelRow.status) == Status.requested
    is_used = and_(col(ChannelRow.status) == Status.open, col(ChannelRow.used_at) > older - FRESH_MS)
    owes = col(ChannelRow.charged) > col(ChannelRow.claimed)
    is_live = or_(is_used, owes, col(ChannelRow.status) == Status.leaving)
    due = and_(col(ChannelRow.status).not_in(_WAITING), col(ChannelRow.checked_at) < older, is_live)
    order = (col(ChannelRow.checked_at), col(ChannelRow.requested_at))
    watched = _values(session, _query(lane).where(due).order_by(*order).limit(limit // 2))
    return watched + _values(session, _query(lane).where(asked).order_by(*order).limit(limit - len(watched)))


def opening(session: Session, lane: Lane) -> list[StoredChannel]:
    """Channels whose deposit is on its way."""
    return _values(session, _query(lane).where(col(ChannelRow.status) == Status.opening))


def is_elsewhere(session: Session, lane: Lane, channel: Digest) -> bool:
    """Whether another lane of this database has the same channel: its vouchers pay once."""
    query = select(ChannelRow.id).where(col(ChannelRow.id) == channel, col(ChannelRow.lane) != lane)
    return session.exec(query.limit(1)).first() is not None


def are_there(session: Session, lane: Lane) -> bool:
    """Whether a lane has any channel."""
    return session.exec(select(ChannelRow.id).where(col(ChannelRow.lane) == lane).limit(1)).first() is not None


def set_seen(session: Session, stored: StoredChannel, status: Status, seen: Seen, **more: Any) -> bool:
    """Record what the chain says of a channel, and how far it has come by that. False when something else happened to
    it meanwhile.
    """
    return set_status(session, stored, status, **asdict(seen), **more)


def set_status(session: Session, stored: StoredChannel, status: Status, **more: Any) -> bool:
    """Record how far a channel has come, and what else is known. False when something else happened to it meanwhile."""
    assert status in NEXT[stored.status], f"{status} does not follow {stored.status}"
    this = update(ChannelRow).filter_by(lane=stored.lane, id=stored.id, status=stored.status)
    return change(session, this.values(status=status, **more)) == 1


def forgive(session: Session, lane: Lane, channel: Digest) -> bool:
    """Count what a channel was charged and cannot be claimed as never charged. False when there is nothing of it."""
    known = _take(session, lane, channel)
    if known is None or not known.totals.lost:
        return False
    _set(session, known, charged=known.totals.charged - known.totals.lost)
    return True


def set_checked(session: Session, stored: StoredChannel, now: int) -> None:
    """Record that a channel was looked at, and has to wait."""
    _set(session, stored, checked_at=now)


def set_claiming(session: Session, stored: StoredChannel, total: int | None, **more: Any) -> None:
    """Record the total of the claim on its way, or that none is."""
    _set(session, stored, claiming=total, **more)


def forget(session: Session, lane: Lane, now: int) -> int:
    """Delete calls that were not charged, some time after they were over, and channels that were refused, or that
    nobody used for long and of which nothing is worth a claim. One of which something was claimed does not come again.
    How many channels.
    """
    until = col(ChannelCallRow.until)
    over = update(ChannelCallRow).filter_by(lane=lane, status=CallStatus.held).where(until < now)
    change(session, over.values(status=CallStatus.released, until=now))  # a receipt that is late still counts
    change(
        session,
        remove(ChannelCallRow).filter_by(lane=lane, status=CallStatus.released).where(until < now - RELEASED_MS),
    )
    has_calls = select(ChannelCallRow.call).where(
        col(ChannelCallRow.lane) == col(ChannelRow.lane), col(ChannelCallRow.channel) == col(ChannelRow.id), _is_open()
    )
    idle = and_(
        col(ChannelRow.status).not_in(_WAITING),
        or_(
            col(ChannelRow.used_at) < now - FORGET_MS,
            and_(
                col(ChannelRow.balance) - col(ChannelRow.charged) < col(ChannelRow.least),
                col(ChannelRow.used_at) < now - BUSY_MS,
            ),
        ),
        col(ChannelRow.charged) - col(ChannelRow.claimed) < col(ChannelRow.least),
        col(ChannelRow.claiming).is_(None),
    )
    refused = and_(
        col(ChannelRow.status) == Status.refused,
        col(ChannelRow.checked_at) < now - REFUSED_MS,
        col(ChannelRow.charged) == col(ChannelRow.claimed),
    )
    gone = remove(ChannelRow).filter_by(lane=lane).where(or_(idle, refused), ~has_calls.exists())
    return change(session, gone)


def _columns(deposit: Deposit) -> dict[str, Any]:
    return {
        "deposit": deposit.amount,
        "deposit_after": deposit.valid_after,
        "deposit_before": deposit.valid_before,
        "deposit_salt": deposit.salt,
        "deposit_signature": deposit.signature,
    }


def _set(session: Session, stored: StoredChannel, **values: Any) -> None:
    change(session, update(ChannelRow).filter_by(lane=stored.lane, id=stored.id).values(**values))


def _take(session: Session, lane: Lane, channel: Digest) -> StoredChannel | None:
    """A channel, held until the transaction ends."""
    query = select(ChannelRow.id).where(col(ChannelRow.lane) == lane, col(ChannelRow.id) == channel)
    if session.exec(query.with_for_update()).first() is None:
        return None
    return _read(session, lane, channel)  # as it is since it is held


def _read(session: Session, lane: Lane, channel: Digest) -> StoredChannel:
    known = get(session, lane, channel)
    assert known is not None, "it is held"
    return known


def _query(lane: Lane | None) -> Any:
    """Channels of a lane, or of all, each with what its calls under way may cost."""
    of_it = (col(ChannelCallRow.lane) == col(ChannelRow.lane), col(ChannelCallRow.channel) == col(ChannelRow.id))
    is_held = col(ChannelCallRow.status) == CallStatus.held
    held = select(func.coalesce(func.sum(ChannelCallRow.most), 0)).where(*of_it, is_held).scalar_subquery()
    query = select(ChannelRow, held)
    return query.where(col(ChannelRow.lane) == lane) if lane is not None else query


def _values(session: Session, query: Any) -> list[StoredChannel]:
    found = session.exec(query.execution_options(populate_existing=True)).all()
    return [_value(row, int(held)) for row, held in found]


def _value(row: ChannelRow, held: int) -> StoredChannel:
    salt = Digest(row.deposit_salt)
    deposit = Deposit(row.deposit, row.deposit_after, row.deposit_before, salt, row.deposit_signature)
    kinds = {"channel": value_of(Channel, row), "totals": value_of(Totals, row, held=held)}
    return value_of(StoredChannel, row, deposit=deposit, status=Status(row.status), **kinds)
