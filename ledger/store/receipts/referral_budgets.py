"""Budgets of referrals and slots: what calls used of each, at all gateways of a lane together.

A call claims its part before it is made. When it is over, the claim ends: what was paid stays used, the rest is given
back. The claim of a gateway that died ends at its time: it stays used if the call has a receipt.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from sqlmodel import Session, col, select

from ledger.core.values.ids import Digest, Lane
from ledger.store.receipts.tables import ReceiptRow, ReferralBudgetRow, ReferralClaimRow
from ledger.store.session import insert_once


@dataclass(frozen=True, slots=True)
class Claim:
    """What a call takes of a budget that has `most`, until it is over, at the latest at `until` (ms)."""

    lane: Lane
    call: Digest
    budget: Digest
    amount: int
    most: int
    until: int


def take(session: Session, claim: Claim, before: Callable[[], int], now: int) -> bool:
    """Claim, unless that is more than is left. `before` counts what was used of a budget that is not known yet. The
    same claim again changes nothing.
    """
    key = (claim.lane, claim.budget)
    if session.get(ReferralBudgetRow, key) is None:
        insert_once(session, ReferralBudgetRow, {"lane": claim.lane, "budget": claim.budget, "used": before()})
    row = session.get_one(ReferralBudgetRow, key, with_for_update=True, populate_existing=True)
    _end_old(session, row, now)
    known = session.get(ReferralClaimRow, (*key, claim.call))
    if known is not None:
        known.until = claim.until
        return True
    if row.used + claim.amount > claim.most:
        return False
    row.used += claim.amount
    session.add(
        ReferralClaimRow(lane=claim.lane, budget=claim.budget, call=claim.call, amount=claim.amount, until=claim.until)
    )
    return True


def end(session: Session, lane: Lane, budget: Digest, call: Digest, *, paid: bool) -> None:
    """End a call's claim of a budget, if it has one. If it `paid` out of it, that stays used."""
    row = session.get(ReferralBudgetRow, (lane, budget), with_for_update=True, populate_existing=True)
    claim = session.get(ReferralClaimRow, (lane, budget, call))
    if row is not None and claim is not None:
        row.used -= 0 if paid else claim.amount
        session.delete(claim)


def used(session: Session, lane: Lane, wanted: Collection[Digest]) -> dict[Digest, int]:
    """What is used of these budgets, of those that are known."""
    theirs = (col(ReferralBudgetRow.lane) == lane, col(ReferralBudgetRow.budget).in_(wanted))
    query = select(ReferralBudgetRow).where(*theirs).execution_options(populate_existing=True)
    return {Digest(row.budget): row.used for row in session.exec(query)}


def _end_old(session: Session, row: ReferralBudgetRow, now: int) -> None:
    theirs = (col(ReferralClaimRow.lane) == row.lane, col(ReferralClaimRow.budget) == row.budget)
    for claim in session.exec(select(ReferralClaimRow).where(*theirs, col(ReferralClaimRow.until) <= now)).all():
        receipt = (col(ReceiptRow.lane) == row.lane, col(ReceiptRow.call_id) == claim.call)
        if session.exec(select(ReceiptRow.seq).where(*receipt)).first() is None:
            row.used -= claim.amount
        session.delete(claim)
