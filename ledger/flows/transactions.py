"""Intended transactions become chain transactions. Signed bytes are stored and committed before they are sent.

Whatever the RPC endpoint answers, the blocks decide: each review looks at what is in blocks, and sends, replaces or
notes accordingly. Sending twice is harmless, because the bytes and their nonce never change.
"""

from dataclasses import replace

from sqlmodel import Session

from ledger.chain import channels, permits
from ledger.chain.sender import Wire, broadcast, look, replace_by_fee, sign
from ledger.core.accounts.channels import CONTRACT
from ledger.core.accounts.permits import PROXY
from ledger.core.settlement.transactions import (
    ChainTransaction,
    Mined,
    Policy,
    Status,
    Step,
    missing_nonce,
    next_step,
)
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, Lane, to_hex
from ledger.store.chain import chain_time
from ledger.store.settlement import transactions

BOUNDED = {PROXY: permits.gas, CONTRACT: channels.gas}
"""Contracts that strangers have the worker call, and what bounds the gas of that."""


def sign_next(session: Session, lane: Lane, wire: Wire, sender: Address, now: int) -> Digest | None:
    """Give the oldest intention its nonce and its first signed bytes. Returns its id, None if none waits. What was
    intended for another key of the operator's, which this one followed, is this one's.

    An intention the contract would refuse gets no nonce: it has failed, with the contract's words. What strangers
    cause, for permits and channels, comes last: it may ask for little gas, and one that the chain does not answer about
    is lost, to be intended again later, and stops nothing.
    """
    transactions.lock_sender(session, sender)
    waiting = [replace(one, sender=sender) for one in transactions.intended(session, lane)]
    waiting.sort(key=lambda one: one.target in BOUNDED)
    used = wire.nonces(sender)
    ours = transactions.nonces_from(session, sender, used)
    missing = missing_nonce(used, {nonce: status for nonce, (*_, status) in ours.items()})
    if missing is not None and missing in ours:
        its_lane, lost, _ = ours[missing]
        transactions.set_status(session, its_lane, lost, Status.signed)
        return lost
    if not waiting and missing is None:
        return None
    first = waiting[0] if waiting else _filler(session, lane, sender, missing, now)
    try:
        if first.target in BOUNDED:
            gas = BOUNDED[first.target](wire, sender, (first.target, first.data))
        else:
            gas = max(wire.gas(sender, first.target, first.data), first.gas or 0)
    except Rejected as refused:
        transactions.set_status(session, lane, first.id, Status.failed, error=refused.message)
        return first.id
    except Unavailable as unknown:
        if first.target not in BOUNDED:
            raise
        transactions.set_status(session, lane, first.id, Status.lost, error=unknown.message)
        return first.id
    nonce = missing if missing is not None else transactions.next_nonce(session, sender, used)
    attempt = sign(wire, replace(first, nonce=nonce, gas=gas), 0, wire.fee(), now)
    transactions.set_signed(session, lane, replace(first, nonce=nonce, gas=gas), attempt)
    return first.id


def review(session: Session, lane: Lane, wire: Wire, purpose_id: Digest, now: int, policy: Policy) -> Step:
    """Look at a signed intention and do what is next: send it, replace it, or note what the chain says."""
    found = transactions.take(session, lane, purpose_id)
    if found is None or found.status not in (Status.signed, Status.mined):
        return Step.wait
    attempts = transactions.attempts(session, lane, purpose_id)
    seen = look(wire, found.sender, attempts, policy.confirmations, _indexed(session))
    step = next_step(found, attempts, seen, now, policy)
    if step in (Step.note_confirmed, Step.note_failed):
        # The indexer notes when a block is gone. It must not do so between this look and this note.
        if not chain_time.take(session):
            return Step.wait
        seen = look(wire, found.sender, attempts, policy.confirmations, _indexed(session))
        step = next_step(found, attempts, seen, now, policy)
    if step is Step.broadcast:
        broadcast(wire, attempts)
        transactions.set_sent(session, lane, purpose_id, now)
    elif step is Step.replace and found.sender != wire.sender:
        said = f"its key {to_hex(found.sender)} was followed by another, which cannot raise its fee"
        transactions.set_status(session, lane, purpose_id, Status.lost, error=said)
    elif step is Step.replace:
        replacement = replace_by_fee(wire, found, attempts, now, policy)
        transactions.add_attempt(session, lane, replacement)  # the next review sends it, after this is committed
    elif step is not Step.wait:
        _note(session, lane, found, step, seen.mined)
    return step


def under_way(session: Session, lane: Lane) -> list[Digest]:
    """Intentions to review, in the order they can be mined."""
    return [found.id for found in transactions.under_way(session, lane)]


def _indexed(session: Session) -> int:
    """The last block the indexer has seen; -1 before the first."""
    clock = chain_time.get(session)
    return clock.number if clock else -1


def _filler(session: Session, lane: Lane, sender: Address, missing: int | None, now: int) -> ChainTransaction:
    """A transaction that does nothing but use the nonce our later ones wait for."""
    purpose = f"fill nonce {missing} of {to_hex(sender)}"
    tried = transactions.count(session, lane, purpose)
    name = keccak256(f"{purpose} {tried}".encode())
    made = ChainTransaction(name, f"{purpose} {tried}", sender, sender, b"", Status.intended, now)
    transactions.intend(session, lane, made)
    return made


def _note(session: Session, lane: Lane, found: ChainTransaction, step: Step, mined: Mined | None) -> None:
    if step is Step.note_mined:
        transactions.set_status(session, lane, found.id, Status.mined, mined)
    elif step is Step.note_gone:
        transactions.set_status(session, lane, found.id, Status.signed)
    elif step is Step.note_confirmed:
        transactions.set_status(session, lane, found.id, Status.confirmed, mined)
    elif step is Step.note_failed:
        transactions.set_status(session, lane, found.id, Status.failed, mined, "it reverted on chain")
    else:
        transactions.set_status(session, lane, found.id, Status.lost, error=f"nonce {found.nonce} was used by another")
