"""Permits of x402's `upto`: look at their payers before a call is made, and settle afterwards what it was charged.

The receipt of the one call that a permit names says whether and how much is settled, and Permit2 takes its nonce once:
so whatever crashes, no payment is lost and none is made twice. Without a receipt nothing is sent.
"""

import logging
from dataclasses import replace

from sqlmodel import Session

from ledger.chain import others
from ledger.chain import permits as contracts
from ledger.chain.reads import Chain
from ledger.core.accounts.permits import HAS_CODE, MOST_REVERTED, MOST_SENT, Status, Verdict, judge, refused
from ledger.core.settlement import transactions as intents
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.ids import Address, Lane, to_hex
from ledger.store.access import debts, permits
from ledger.store.access.permits import StoredPermit
from ledger.store.chain import chain_time
from ledger.store.session import try_lock
from ledger.store.settlement import transactions

log = logging.getLogger("ledger")

AT_ONCE = 16
"""Permits that one transaction looks at: each costs some five questions to the chain."""


def check(session: Session, lane: Lane, chain: Chain, sender: Address, now: int) -> int:
    """Say of requested permits whether their calls may be made. Returns how many were decided; one that its payer's
    tokens cannot pay beside the others it signed waits for those.

    One transaction at a time, for all lanes: what a payer has is counted against all that it promised.
    """
    if not try_lock(session, "permits"):
        return 0
    decided, waiting = 0, permits.wanting(session, lane, AT_ONCE)
    missing = contracts.missing(chain) if waiting else None
    for one in waiting:
        verdict = refused(missing) if missing is not None else _look(session, chain, one, sender)
        if verdict.status is Status.requested:
            permits.set_checked(session, one, now)
        else:
            decided += permits.set_status(session, one, verdict.status, error=verdict.why, checked_at=now)
    return decided


def _look(session: Session, chain: Chain, one: StoredPermit, sender: Address) -> Verdict:
    """What is known of a permit's payer, and whether settling all of it would succeed now. While the chain does not
    say it, the permit waits, and no other one for it.
    """
    if permits.is_elsewhere(session, one.lane, one.id):
        return refused("this permit was sent to another lane")
    try:
        means = contracts.means(chain, one.permit)
        promised, debt = permits.promised(session, one.permit.payer, one.id), debts.of_payer(session, one.permit.payer)
        verdict = judge(one.permit, replace(means, promised=promised, debt=debt), sender)
        if verdict.status is Status.good:
            contracts.gas(chain, sender, contracts.settle(one.permit, one.permit.amount, one.signature))
    except Rejected as rejected:
        return refused(f"the permit could not be settled: {rejected.message}")
    except Unavailable as unknown:
        log.warning("permit_not_checked", extra={"permit": to_hex(one.id), "reason": unknown.message})
        return Verdict(Status.requested)
    return verdict


def note_charged(session: Session, lane: Lane) -> int:
    """Note what the receipts of permitted calls charged. A call that cost nothing, or less than settling it, is settled
    by that.

    What was charged to an earlier permit of the same call may be more than this one permits, which no transaction
    could settle: a debt at once.
    """
    noted = 0
    for one, charge in permits.charged(session, lane):
        if not permits.set_status(session, one, Status.owed, charged=charge, error=None):
            continue
        noted += 1
        if charge < one.least:
            why = f"not asked for: settling costs more, which is said to be {one.least} atoms" if charge else None
            permits.set_status(session, one, Status.settled, error=why)
        elif charge > one.permit.amount:
            most = one.permit.amount
            why = f"its call was charged {charge} atoms, and it permits {most}: it came after the charged one"
            _fail(session, replace(one, charged=charge), why)
    return noted


def settle(session: Session, lane: Lane, chain: Chain, sender: Address, now: int) -> int:
    """Intend to settle what is owed, as much as may be on its way; what failed is tried again until its deadline.
    Returns how many were intended. A payer that delegated to code since is not asked: what it owes is a debt, until it
    has none.
    """
    made, owed = 0, permits.owed(session, lane)
    if not owed:
        return 0
    block, room = chain.block(), MOST_SENT - len(permits.sent(session, lane))
    for one in owed:
        assert one.charged is not None, "its receipt says it"
        if block is not None and block.timestamp > one.permit.deadline:
            _fail(session, one, one.error or "it expired before it was settled")
            continue
        if room <= 0 or not transactions.may_intend(session, lane, one.purpose, now):
            continue
        room -= 1
        if others.has_code(chain, one.permit.payer):
            permits.set_checked(session, one, now, error=HAS_CODE)
            continue
        call = contracts.settle(one.permit, one.charged, one.signature)
        if transactions.intend_again(session, lane, one.purpose, sender, call, now):
            made += permits.set_status(session, one, Status.sent)
    return made


def _fail(session: Session, one: StoredPermit, why: str, block: int | None = None) -> bool:
    """Note that a permit is not settled any more, since a `block` if that decided it. Its charge is a debt."""
    failed = permits.set_status(session, one, Status.failed, error=why, block=block)
    if failed:
        facts = {"payer": to_hex(one.permit.payer), "atoms": str(one.charged), "call": to_hex(one.call)}
        log.error("permit_unsettled", extra={"permit": to_hex(one.id), "reason": why, **facts})
    return failed


def follow(session: Session, lane: Lane) -> int:
    """Note what became of transactions that settle permits, once their block is indexed."""
    clock, done = chain_time.get(session), 0
    indexed = clock.number if clock is not None else -1
    for one in permits.sent(session, lane):
        _, last = transactions.latest(session, lane, one.purpose)
        if last is None or last.status is intents.Status.lost:
            done += permits.set_status(session, one, Status.owed)
        elif last.status is intents.Status.failed:
            why = last.error or "it reverted"
            if transactions.reverted(session, lane, one.purpose) >= MOST_REVERTED:
                done += _fail(session, one, why, last.block)
            else:
                done += permits.set_status(session, one, Status.owed, error=why)
        elif last.status is intents.Status.confirmed and last.block is not None and last.block <= indexed:
            done += permits.set_status(session, one, Status.settled, block=last.block, error=None)
    return done


def forget(session: Session, lane: Lane, chain: Chain, now: int) -> int:
    """Delete permits whose calls were not charged, when they have expired or are done with. How many."""
    block = chain.block()
    return permits.forget(session, lane, block.timestamp, now) if block is not None else 0
