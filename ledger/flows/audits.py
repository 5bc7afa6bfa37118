"""Audits: check the ledger against its laws, and against the chain at one block. What is wrong becomes an alarm.

An alarm names the law, what is wrong, and the first account and receipt where it shows. While one is active nothing is
closed or committed; indexing, withdrawals, finalizing and claims go on.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from sqlmodel import Session

from ledger.core.accounts import movements
from ledger.core.accounts import postings as book
from ledger.core.accounts.accounts import CUSTODY, leased
from ledger.core.accounts.postings import Kind
from ledger.core.pricing import shares
from ledger.core.settlement.events import Block
from ledger.core.values import sum_tree
from ledger.core.values.errors import Conflict, Rejected
from ledger.core.values.ids import Address, Lane, to_hex
from ledger.core.values.typed_data import Domain
from ledger.store.chain import chain_time, lanes, parties
from ledger.store.money import audited_sums, laws, postings
from ledger.store.receipts import receipts, terms
from ledger.store.settlement import alarms, batch_files, batches, tree_nodes
from ledger.store.settlement.alarms import Alarm


@dataclass(frozen=True, slots=True)
class Scope:
    """The scope of an audit: a lane, and its receipts' signing domain (None skips rewriting the newest batch).

    `held` reads what the contract holds for the lane at a block (None on a private grid). It raises Unavailable when
    the chain does not have that block any more: the indexer has yet to see what is there instead.
    """

    lane: Lane
    domain: Domain | None = None
    held: Callable[[Lane, Block], int] | None = None


Law = Callable[[Session, Scope], list[Alarm]]


def reconcile(session: Session, scope: Scope, now: int, *, thorough: bool = False) -> list[Alarm]:
    """Check every law and sound an alarm for each that is broken. Thorough: also those that read every receipt.

    A law compares what several statements read. While money moves it holds only within a snapshot: without one, a lease
    that commits between two of them would sound an alarm, and an alarm stops every batch until a person looks.
    """
    checks = (*LAWS.values(), *(THOROUGH if thorough else ()))
    found = [alarm for law in checks for alarm in law(session, scope)]
    for alarm in found:
        alarms.sound(session, scope.lane, alarm, now)
    return found


def no_account_is_overdrawn(session: Session, scope: Scope) -> list[Alarm]:
    """L1: no account but custody is overdrawn; nor is custody."""
    short = ((name, book.balance(name, sums)) for name, sums in postings.entries(session, scope.lane).items())
    return [Alarm("L1", f"{name} is short by {-left} atoms", name) for name, left in short if left < 0][:1]


def leased_is_what_leases_say(session: Session, scope: Scope) -> list[Alarm]:
    """L2, the half without receipts: what was credited to leased accounts is what leases say."""
    sums = postings.entries(session, scope.lane, "leased:")
    for (consumer, gateway), (out, _) in sorted(laws.leases_handed_out(session, scope.lane).items()):
        name = leased(consumer, gateway)
        credits = sums[name].credits if name in sums else 0
        if credits != out:
            return [Alarm("L2", f"{out} atoms were leased, {credits} booked", name)]
    return []


def leased_is_leases_less_receipts(session: Session, scope: Scope) -> list[Alarm]:
    """L2: what is leased is what leases handed out, less what came back, less what posted receipts charge."""
    charged = laws.posted_charges(session, scope.lane)
    for pair, (out, back) in sorted(laws.leases_handed_out(session, scope.lane).items()):
        left, due = postings.balance(session, scope.lane, leased(*pair)), out - back - charged.get(pair, 0)
        if left != due:
            return [Alarm("L2", f"leased holds {left} atoms, leases less receipts come to {due}", leased(*pair))]
    return []


def custody_is_all_that_is_owed(session: Session, scope: Scope) -> list[Alarm]:
    """L3: custody equals the sum of every other account."""
    balances = {name: book.balance(name, sums) for name, sums in postings.entries(session, scope.lane).items()}
    held = balances.pop(CUSTODY, 0)
    owed = sum(balances.values())
    return [] if held == owed else [Alarm("L3", f"custody holds {held} atoms, {owed} are owed", CUSTODY)]


def custody_is_what_the_chain_holds(session: Session, scope: Scope) -> list[Alarm]:
    """L4: custody equals what the contract holds for the lane at the indexed block."""
    clock = chain_time.get(session)
    if scope.held is None or clock is None:
        return []
    ours, theirs = postings.balance(session, scope.lane, CUSTODY), scope.held(scope.lane, clock)
    said = f"custody is {ours} atoms, the contract holds {theirs} at block {clock.number}"
    return [] if ours == theirs else [Alarm("L4", said, CUSTODY)]


def the_newest_batch_raises_cumulatives_by_its_shares(session: Session, scope: Scope) -> list[Alarm]:
    """L5, of the newest batch: no cumulative fell in it, and each payee's rose by its shares."""
    latest = batches.latest(session, scope.lane)
    if latest is None:
        return []
    names, shares = parties.by_index(session, scope.lane), Counter[Address]()
    for (payee, _), amount in batches.earned(session, scope.lane, latest.number).items():
        shares[payee] += amount
    for tree in (tree_nodes.PAYOUT, tree_nodes.DEBIT):
        now = tree_nodes.written(session, scope.lane, tree, latest.number)
        before = tree_nodes.at(session, scope.lane, tree, latest.number - 1, ((0, index) for index in now))
        for index, amount in now.items():
            rise = amount - int.from_bytes(before.get((0, index), b"")[24:], "big")
            if rise < 0:
                return [Alarm("L5", f"leaf {index} of tree {tree} fell in batch {latest.number}")]
            if tree == tree_nodes.PAYOUT and rise != shares[names[index]]:
                who = to_hex(names[index])
                return [Alarm("L5", f"{who} rose by {rise} in the tree, {shares[names[index]]} in batches", who)]
    return []


def cumulatives_are_the_sums_of_batches(session: Session, scope: Scope) -> list[Alarm]:
    """L5: a payee's cumulative never falls, and is the sum of its shares in all batches that are not void."""
    for tree, index, number in laws.fallen_leaves(session, scope.lane):
        return [Alarm("L5", f"leaf {index} of tree {tree} fell in batch {number}")]
    latest = batches.latest(session, scope.lane)
    paid, names = laws.batched_shares(session, scope.lane), parties.by_index(session, scope.lane)
    leaves = tree_nodes.leaves(session, scope.lane, tree_nodes.PAYOUT, latest.number) if latest else []
    cumulative = {names[index]: amount for index, amount in leaves}
    for payee in sorted(paid.keys() | cumulative.keys()):
        said, summed = cumulative.get(payee, 0), paid.get(payee, 0)
        if said != summed:
            return [Alarm("L5", f"{to_hex(payee)} has {said} in the tree, {summed} in batches", to_hex(payee))]
    return []


def accounts_are_their_postings(session: Session, scope: Scope) -> list[Alarm]:
    """L6: running sums are those of the last audit plus what was booked since.

    The thorough audit finds a change of postings that were audited before.
    """
    return _drift(session, scope.lane, audited_sums.since(session, scope.lane))


def accounts_are_all_their_postings(session: Session, scope: Scope) -> list[Alarm]:
    """L6: running sums are the postings' sums, from the first posting on."""
    return _drift(session, scope.lane, 0)


def batches_are_covered_by_deposits(session: Session, scope: Scope) -> list[Alarm]:
    """L7: all that batches ever charged is at most what consumers deposited less what they withdrew."""
    latest = batches.latest(session, scope.lane)
    net = sum(c.deposited - c.withdrawn for c in lanes.consumers(session, scope.lane).values())
    if latest is None or latest.cumulative <= net:
        return []
    return [Alarm("L7", f"batches come to {latest.cumulative} atoms, the lane holds {net}")]


def the_newest_batch_comes_to_its_header(session: Session, scope: Scope) -> list[Alarm]:
    """L8: the newest batch, written again from the rows, is the batch that was committed."""
    latest = batches.latest(session, scope.lane)
    if latest is None or scope.domain is None:
        return []
    try:
        batch_files.write_again(session, batch_files.Discard(), scope.domain, latest)
    except (Conflict, Rejected) as error:
        return [Alarm("L8", error.message)]
    return []


def what_is_accrued_waits_for_a_batch(session: Session, scope: Scope) -> list[Alarm]:
    """L9: what is accrued is what posted segments in no batch, and batches not yet on chain, charge.

    Barred receipts gave it back.
    """
    total, uneven = _segments(session, scope.lane, unbatched=True)
    total -= laws.barred_charges(session, scope.lane, unbatched=True)
    return uneven or _accrued(session, scope.lane, total + laws.batches_total(session, scope.lane, on_chain=False))


def every_charge_has_its_segments(session: Session, scope: Scope) -> list[Alarm]:
    """L9: segments are dense up to each watermark, and charge what was booked and what is not yet on chain."""
    total, uneven = _segments(session, scope.lane, unbatched=False)
    booked = laws.charged_by_transactions(session, scope.lane)
    if booked != total and not uneven:
        return [Alarm("L9", f"charges of {booked} atoms are booked, segments say {total}")]
    settled = laws.batches_total(session, scope.lane, on_chain=True) + laws.barred_charges(session, scope.lane)
    return uneven or _accrued(session, scope.lane, total - settled)


def every_charge_is_its_receipts(session: Session, scope: Scope) -> list[Alarm]:
    """L9: every charge transaction, made again from its receipts, is the one that was booked."""
    for gateway, missing in laws.gaps(session, scope.lane):
        return [Alarm("L9", f"{missing} posted receipts of {to_hex(gateway)} are missing")]
    for booked in postings.all_transactions(session, scope.lane, Kind.charge):
        gateway, first, last = movements.parse_chunk_cause(booked.cause)
        fault = _recharged(session, booked, gateway, first, last)
        if fault:
            return [Alarm("L9", fault, receipt=f"{to_hex(gateway)}-{first}")]
    return []


def no_consumer_is_debited_above_its_means(session: Session, scope: Scope) -> list[Alarm]:
    """L10: no consumer is debited above what it deposited less what it withdrew, or above its mandate."""
    latest, allowed = batches.latest(session, scope.lane), laws.mandates(session, scope.lane)
    if latest is None:
        return []
    positions = {(0, c.index): c for c in lanes.consumers(session, scope.lane).values()}
    leaves = sorted(tree_nodes.at(session, scope.lane, tree_nodes.DEBIT, latest.number, positions).items())
    unknown = latest.cumulative - sum(sum_tree.amount(word) for _, word in leaves)
    if unknown:
        return [Alarm("L10", f"{unknown} atoms were debited to consumers that never deposited")]
    for position, word in leaves:
        consumer, debited = positions[position], sum_tree.amount(word)
        held = consumer.deposited - consumer.withdrawn
        most = min(held, allowed.get(consumer.account, held))
        if debited > most:
            who = to_hex(consumer.account)
            return [Alarm("L10", f"{who} was debited {debited} atoms, at most {most} were allowed", who)]
    return []


LAWS: dict[str, Law] = {
    "L1": no_account_is_overdrawn,
    "L2": leased_is_what_leases_say,
    "L3": custody_is_all_that_is_owed,
    "L4": custody_is_what_the_chain_holds,
    "L5": the_newest_batch_raises_cumulatives_by_its_shares,
    "L6": accounts_are_their_postings,
    "L7": batches_are_covered_by_deposits,
    "L9": what_is_accrued_waits_for_a_batch,
    "L10": no_consumer_is_debited_above_its_means,
}
"""Checked on every sweep: they read balances, and otherwise only what is new."""

THOROUGH: tuple[Law, ...] = (
    leased_is_leases_less_receipts,
    cumulatives_are_the_sums_of_batches,
    accounts_are_all_their_postings,
    the_newest_batch_comes_to_its_header,
    every_charge_has_its_segments,
    every_charge_is_its_receipts,
)
"""Checked from time to time: L2, L5, L6, L8 and L9 from the first receipt on."""


def _drift(session: Session, lane: Lane, start: int) -> list[Alarm]:
    for name, said, posted in audited_sums.drifted(session, lane, start):
        what = f"{name} says {said.debits}/{said.credits}, its postings {posted.debits}/{posted.credits}"
        return [Alarm("L6", what, name)]
    audited_sums.go_on(session, lane, start)
    return []


def _segments(session: Session, lane: Lane, *, unbatched: bool) -> tuple[int, list[Alarm]]:
    """The charges of segments, and an alarm if they do not hold as many receipts as are posted."""
    total = 0
    for gateway, posted, count, amount in laws.segment_totals(session, lane, unbatched=unbatched):
        total += amount
        if posted != count:
            return total, [Alarm("L9", f"{posted} receipts of {to_hex(gateway)} are posted, {count} are in segments")]
    return total, []


def _accrued(session: Session, lane: Lane, waiting: int) -> list[Alarm]:
    accrued = sum(book.balance(name, sums) for name, sums in postings.entries(session, lane, "accrued:").items())
    return [] if accrued == waiting else [Alarm("L9", f"{accrued} atoms are accrued, {waiting} wait for a batch")]


def _recharged(session: Session, booked: book.Transaction, gateway: Address, first: int, last: int) -> str:
    try:
        chunk = receipts.chunk(session, booked.lane, gateway, first, last)
        altered = chunk.first_altered()
        if altered is not None:
            return f"receipt {first + altered} is not what its digest says"
        added = shares.add_up(chunk.records, terms.get(session, chunk.terms_ids()))
    except (Rejected, Conflict) as error:
        return error.message
    again = movements.charge(booked.lane, booked.cause, added.spent, added.earned, booked.at)
    return "" if again.digest == booked.digest else f"receipts {first} to {last} come to another transaction"
