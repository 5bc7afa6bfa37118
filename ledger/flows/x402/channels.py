"""Channels of x402's `batch-settlement`: take deposits, look at what the chain holds and who leaves, and claim what the
receipts of their calls charged, by the highest voucher.

A claim says a total, so one that is sent twice takes nothing twice; and whatever crashes, the rows say what is claimed
next.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlmodel import Session

from ledger.chain import channels as contracts
from ledger.chain import others
from ledger.chain.reads import Chain
from ledger.core.accounts.channels import (
    EMPTY,
    HAS_CODE,
    LOOK_MS,
    MOST_SENT,
    USED_BEFORE,
    Seen,
    Status,
    Totals,
    holder,
    is_claim_due,
)
from ledger.core.settlement import transactions as intents
from ledger.core.settlement.transactions import ChainTransaction
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.ids import Address, Lane, to_hex
from ledger.store.access import channels, debts
from ledger.store.access.channels import StoredChannel
from ledger.store.session import try_lock
from ledger.store.settlement import transactions

log = logging.getLogger("ledger")

AT_ONCE = 64
"""Channels that one question to the chain is about."""


def note_charged(session: Session, lane: Lane) -> int:
    """Count what receipts charged of calls whose gateway could not. How many."""
    return channels.note_all(session, lane)


def look(session: Session, lane: Lane, chain: Chain, sender: Address, confirmations: int, now: int) -> int:
    """Ask the chain about channels that a call waits for, and about those that are used; intend to take the deposits
    that were sent with calls. Returns how many were looked at; while the chain does not answer they wait.

    One transaction at a time, for all lanes: what a payer owes is counted over all of its channels.
    """
    if not try_lock(session, "channels"):
        return 0
    asked = channels.to_look_at(session, lane, now - LOOK_MS, AT_ONCE)
    missing = contracts.missing(chain) if asked else None
    if missing is not None:
        return sum(_refuse(session, one, missing, now) for one in asked if one.status is Status.requested)
    found = contracts.seen(chain, [one.id for one in asked], confirmations) if asked else []
    done, room = 0, MOST_SENT - len(channels.opening(session, lane))
    offering = [one for one, seen in zip(asked, found, strict=True) if one.deposit.amount and not seen.leaving]
    checked = {one.id: _check(chain, one, sender) for one in offering[: max(0, room)]}
    for one, seen in zip(asked, found, strict=True):  # the chain is not asked any more: from here on calls wait for it
        refused = _why_not(session, one, seen, sender) if one.status is Status.requested else None
        if refused is not None or not one.deposit.amount or seen.leaving:
            done += _note_seen(session, one, seen, refused, now)
        elif _open(session, (one, seen), checked.get(one.id, UNKNOWN), sender, now):
            done += 1
        else:
            channels.set_checked(session, one, now)
    return done


def _why_not(session: Session, one: StoredChannel, seen: Seen, sender: Address) -> str | None:
    """Why no call is made on a channel, whatever the chain holds of it."""
    if seen.claimed > one.totals.charged:
        return USED_BEFORE
    claimer = one.channel.receiver_authorizer
    if claimer != sender:
        return f"the channel is claimed by {to_hex(claimer)}, this lane claims as {to_hex(sender)}"
    if channels.is_elsewhere(session, one.lane, one.id):
        return "this channel was used in another lane"
    payer = one.channel.payer
    debt = debts.of_payer(session, payer, one.id)
    if debt:
        return (
            f"{debt} atoms that {to_hex(payer)} used could not be taken: pay by `exact`, and ask the operator what "
            "becomes of the debt"
        )
    return None


def _note_seen(session: Session, one: StoredChannel, seen: Seen, refused: str | None, now: int) -> bool:
    """Note what the chain holds of a channel, and what that makes of it. A deposit that was sent is done with."""
    totals = one.totals
    status, why = holder(totals, seen, one.least), refused or one.error
    if status is Status.open and (refused is not None or one.status is Status.refused):
        status = Status.refused
    if one.status in (Status.open, Status.leaving) and status not in (one.status, Status.leaving):
        status = Status.requested
    if status is Status.refused:
        why = why or EMPTY
    lost = Totals(seen.balance, seen.claimed, totals.voucher, totals.charged).lost
    if lost > totals.lost:
        facts = {"channel": to_hex(one.id), "payer": to_hex(one.channel.payer), "atoms": str(lost)}
        log.error("channel_unpaid", extra=facts)
    return channels.set_seen(session, one, status, seen, checked_at=now, error=why, deposit=0)


def _refuse(session: Session, one: StoredChannel, why: str, now: int) -> bool:
    return channels.set_status(session, one, Status.refused, checked_at=now, error=why, deposit=0)


@dataclass(frozen=True, slots=True)
class _Checked:
    """Whether the chain said what becomes of a deposit, and why it is not taken."""

    known: bool
    why: str | None = None


UNKNOWN = _Checked(known=False)


def _check(chain: Chain, one: StoredChannel, sender: Address) -> _Checked:
    """Ask the chain whether the deposit that was sent with a call can be taken."""
    try:
        why = _why_not_taken(chain, one)
        if why is None:
            contracts.gas(chain, sender, contracts.deposit(one.channel, one.deposit))
    except Rejected as rejected:
        why = rejected.message
    except Unavailable as unknown:
        log.warning("channel_not_checked", extra={"channel": to_hex(one.id), "reason": unknown.message})
        return UNKNOWN
    return _Checked(known=True, why=why)


def _open(session: Session, found: tuple[StoredChannel, Seen], checked: _Checked, sender: Address, now: int) -> bool:
    """Intend to take the deposit that was sent with a call, or say why not. False while the chain does not say it."""
    one, seen = found
    if not checked.known:
        return False
    if checked.why is not None:
        why = f"the deposit could not be taken: {checked.why}"
        return _note_seen(session, replace(one, error=why), seen, None, now)
    call = contracts.deposit(one.channel, one.deposit)
    if transactions.intend_again(session, one.lane, one.opens, sender, call, now):
        return channels.set_status(session, one, Status.opening)
    return False


def _why_not_taken(chain: Chain, one: StoredChannel) -> str | None:
    """Why a deposit is not taken: its payer first, which costs one question."""
    balance = chain.balance(one.channel.payer)
    if balance < one.deposit.amount:
        return f"its account has {balance} atoms, the deposit is of {one.deposit.amount}"
    return HAS_CODE if others.has_code(chain, one.channel.payer) else None


def claim(session: Session, lane: Lane, sender: Address, now: int) -> int:
    """Intend to claim what is due. Returns how many claims were intended."""
    made, room = 0, MOST_SENT - len(channels.claiming(session, lane))
    for one in channels.claimable(session, lane):
        totals = one.totals
        if room <= 0:
            break
        if not is_claim_due(totals, one.status, one.least, now - one.used_at, now - one.claimed_at):
            continue
        total = totals.claimable
        call = contracts.claim(one.channel, totals.voucher, one.signature, total)
        if transactions.intend_again(session, lane, one.claims(total), sender, call, now):
            shown = max(totals.published, totals.voucher)
            channels.set_claiming(session, one, total, claimed_at=now, published=shown)
            made, room = made + 1, room - 1
    return made


def follow(session: Session, lane: Lane) -> int:
    """Note what became of transactions that take deposits and claim. The chain is asked again what a channel holds."""
    return _follow_deposits(session, channels.opening(session, lane)) + _follow_claims(
        session, channels.claiming(session, lane)
    )


def _follow_deposits(session: Session, opening: Sequence[StoredChannel]) -> int:
    done = 0
    for one in opening:
        last = _latest(session, one, one.opens)
        if last is None or last.status is intents.Status.lost:
            done += channels.set_status(session, one, Status.requested)
        elif last.status is intents.Status.failed:
            why = f"the deposit could not be taken: {last.error or 'it reverted'}"
            done += channels.set_status(session, one, Status.requested, deposit=0, error=why)
        elif last.status is intents.Status.confirmed:
            done += channels.set_status(session, one, Status.requested, deposit=0, error=None)
    return done


def _follow_claims(session: Session, claiming: Sequence[StoredChannel]) -> int:
    done = 0
    for one in claiming:
        assert one.claiming is not None, "it was asked for"
        last = _latest(session, one, one.claims(one.claiming))
        if last is None or last.status in (intents.Status.lost, intents.Status.failed):
            why = last.error if last is not None else None
            log.warning("channel_not_claimed", extra={"channel": to_hex(one.id), "reason": why})
            channels.set_claiming(session, one, None, error=why)
        elif last.status is intents.Status.confirmed:
            channels.set_claiming(session, one, None, error=None, claimed=max(one.totals.claimed, one.claiming))
        else:
            continue
        done += 1
    return done


def _latest(session: Session, one: StoredChannel, purpose: str) -> ChainTransaction | None:
    return transactions.latest(session, one.lane, purpose)[1]


def forget(session: Session, lane: Lane, now: int) -> int:
    """Delete channels that nobody uses, and calls that were not charged. How many channels."""
    return channels.forget(session, lane, now)
