"""A private grid: without a chain, the operator's signature decides.

credit            a deposit that the operator signed: custody -> available, and an index in the debit tree
payees            those that have earned get the next indices in the payout tree
publish           post built batches, which makes their payees' earnings claimable; after the window they are final
retire            move to a chain: every balance leaves the ledger, and the operator owes it on the chain

Everything else is as with a chain: receipts, shares, trees, batch files and proofs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlmodel import Session

from ledger.core.accounts import movements, webhooks
from ledger.core.accounts.accounts import CUSTODY, parse
from ledger.core.accounts.postings import balance
from ledger.core.catalog.models import Offer
from ledger.core.pricing import epochs
from ledger.core.pricing.epochs import BidInForce
from ledger.core.settlement.batches import Status, is_window_over
from ledger.core.values.atoms import AIC, Atoms
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.ids import Address, Lane, to_hex
from ledger.core.values.typed_data import Domain, credit_hash, recover, signing_digest
from ledger.store.access import deposits as requests
from ledger.store.access import webhooks as hooks
from ledger.store.access.deposits import DepositRequest
from ledger.store.chain import bids, lanes, parties
from ledger.store.money import postings
from ledger.store.receipts import segments, watermarks
from ledger.store.settlement import alarms, batches

KIND = "credit"


def request(session: Session, credit: DepositRequest, domain: Domain, operator: Address, now: int) -> bool:
    """Store a credit. False when it was stored before. Rejected unless the operator, or its session key, signed it."""
    hashed = credit_hash(credit.lane, credit.account, credit.amount, credit.salt)
    signer = recover(signing_digest(domain, hashed), credit.signature)
    if signer not in parties.signers_of(session, operator):
        raise Rejected(f"{to_hex(signer)} is not the operator {to_hex(operator)}", signer=to_hex(signer))
    return requests.request(session, credit, now)


def credit(session: Session, lane: Lane, now: int) -> int:
    """Book the credits that were requested. Returns how many."""
    waiting = [asked for asked in requests.requested(session, lane) if asked.kind == KIND]
    for asked in waiting:
        lanes.assign(session, lane, [asked.account])
        consumer = lanes.get_consumer(session, lane, asked.account)
        assert consumer is not None, "it was just assigned"
        lanes.deposit(session, lane, asked.account, consumer.index, asked.amount)
        postings.book(session, movements.deposit(lane, KIND.encode() + asked.id, asked.account, asked.amount, now))
        requests.set_credited(session, asked)
    return len(waiting)


def publish(session: Session, lane: Lane, window_ms: int, now: int) -> int:
    """Post built batches, and make those final whose window is over. Returns how many batches changed."""
    if alarms.active(session, lane) or not batches.take(session, lane):
        return 0
    count = 0
    for batch in batches.with_status(session, lane, Status.built):
        cause = movements.batch_cause(lane, batch.number, batch.header.id)
        settled = movements.settle(lane, cause, batches.earned(session, lane, batch.number), now)
        if settled.postings:
            postings.book(session, settled)
        batches.set_posted(session, batch, batch.number, (now, now + window_ms), settled.id)
        count += 1
    for batch in batches.with_status(session, lane, Status.posted):
        if batch.until is not None and is_window_over(batch.until, now):
            batches.set_final(session, batch, now)
            wanted = hooks.accounts(session, lane, webhooks.Kind.batch_final)
            if wanted:  # it may pay very many
                sums = batches.earned(session, lane, batch.number)
                paid = {to: atoms for to, atoms in sums.items() if to[0] in wanted}
                hooks.write(session, lane, webhooks.batch_final(lane, (batch.number, batch.header.id), paid, AIC), now)
            count += 1
    return count


@dataclass(frozen=True, slots=True)
class Owed:
    """An operator's debts when it moves to a chain: deposits to consumers, payments to payees. In atoms."""

    deposits: Mapping[Address, Atoms]
    payments: Mapping[Address, Atoms]


def retire(session: Session, lane: Lane, now: int) -> Owed:
    """Take every balance of a private grid out of the ledger. A chain begins with what is deposited there.

    Receipts, batches, files and proofs stay. Rejected while an alarm is active, a lease open, a receipt not in a final
    batch, or a credit not booked.
    """
    if not batches.take(session, lane):
        raise Unavailable(f"lane {to_hex(lane)} is being settled just now")
    for reason in _under_way(session, lane):
        raise Rejected(f"lane {to_hex(lane)} is not at rest: {reason}", lane=to_hex(lane))
    deposits: dict[Address, Atoms] = {}
    payments: dict[Address, Atoms] = {}
    for name, entries in postings.entries(session, lane).items():
        left, account = balance(name, entries), parse(name)
        if not left or account.party is None:
            continue
        cause = b"retired" + name.encode()
        if account.kind == "claimable":
            payments[account.party] = left
            postings.book(session, movements.claim(lane, cause, account.party, left, now))
        else:
            deposits[account.party] = left
            postings.book(session, movements.request_withdrawal(lane, cause, account.party, left, now))
            postings.book(session, movements.withdraw(lane, cause, account.party, left, 0, now))
            lanes.withdraw(session, lane, account.party, left)
    assert postings.balance(session, lane, CUSTODY) == 0, "L3: custody was all that was owed"
    return Owed(deposits, payments)


def _under_way(session: Session, lane: Lane) -> Iterator[str]:
    """Why a private grid cannot be retired now."""
    if alarms.active(session, lane):
        yield "an alarm is active"
    if any(asked.kind == KIND for asked in requests.requested(session, lane)):
        yield "a credit is not booked"
    if segments.pending(session, lane) or segments.quarantined(session, lane):
        yield "receipts are not posted"
    if any(mark.posted_seq != mark.batched_seq for mark in watermarks.of_lane(session, lane)):
        yield "receipts are in no batch"
    if batches.with_status(session, lane, Status.built, Status.signed, Status.posted):
        yield "a batch is not final"
    for name, entries in postings.entries(session, lane, "leased:").items():
        if balance(name, entries):
            yield f"{name} is leased: stop the gateway first"


def place_bid(session: Session, offer: Offer, epoch: int, now: int) -> BidInForce:
    """Place a signed offer's bid, in force as on a chain: from the next epoch, or the one after it for a raise."""
    mine = [s for s in bids.of_party(session, offer.party) if (s.subject, s.role) == (offer.subject, offer.role)]
    first, until = epochs.place(offer.role, mine[-1] if mine else None, offer.bid, epoch)
    bid = BidInForce(offer.subject, offer.role, offer.party, offer.bid, first, until)
    bids.place(session, bid, epoch, now)
    return bid
