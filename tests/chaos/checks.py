"""What must hold once the network has come to rest: every law, every call once, every payee paid once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import text

from ledger.core.accounts import statements
from ledger.core.accounts.accounts import CUSTODY, available, claimable, leased
from ledger.core.catalog.bids import decode
from ledger.core.settlement.batches import Status
from ledger.core.values.ids import Address, to_hex
from ledger.flows import audits
from ledger.flows.audits import Scope
from ledger.store.chain import chain_time, lanes
from ledger.store.money import postings
from ledger.store.receipts import receipts, terms, watermarks
from ledger.store.session import unit_of_work
from ledger.store.settlement import alarms, batches
from tests.chaos.load import Load
from tests.chaos.network import CONSUMERS, DEPOSIT, GATEWAY, Network, payees


@dataclass(frozen=True)
class Totals:
    """What a run came to."""

    calls: int
    abandoned: int
    charged_atoms: int
    paid_atoms: int
    batches: int
    differences: tuple[str, ...]


def come_to_rest(network: Network, seconds: float = 240) -> None:
    """Until everything is posted, in final batches, and claimed."""

    def rested() -> bool:
        network.chain.rpc("evm_increaseTime", 10)
        network.chain.rpc("evm_mine")
        with unit_of_work(network.engine) as session:
            marks = watermarks.of_lane(session, network.lane)
            waiting = batches.with_status(session, network.lane, Status.built, Status.signed, Status.posted)
            owed = sum(postings.balance(session, network.lane, claimable(payee)) for payee in payees())
            last = session.execute(text("SELECT coalesce(max(last), 0) FROM segments")).scalar_one()
            done = bool(marks) and all(m.posted_seq == m.batched_seq == last for m in marks)
        return done and not waiting and not owed

    network.until(rested, seconds, "everything posted, final and claimed")


def recompute(network: Network, load: Load, before: dict[Address, int]) -> Totals:
    """Ledger, chain and the consumers' own memory, side by side."""
    differences: list[str] = []

    def same(what: str, is_: object, ought: object) -> None:
        if is_ != ought:
            differences.append(f"{what}: {is_} instead of {ought}")

    with unit_of_work(network.engine) as session:
        held = network.chain.held
        found = audits.reconcile(session, Scope(network.lane, network.domain, held), 1, thorough=True)
        same("laws", [f"{alarm.law} {alarm.message}" for alarm in found], [])
        same("alarms", [alarm.message for alarm in alarms.active(session, network.lane)], [])
        (mark,) = watermarks.of_lane(session, network.lane)
        chunk = receipts.chunk(session, network.lane, GATEWAY.address, 1, mark.posted_seq)
        read = {name: decode(body) for name, body in terms.get(session, chunk.terms_ids()).items()}
        written = [
            s
            for s in (receipts.by_seq(session, network.lane, GATEWAY.address, n + 1) for n in range(mark.posted_seq))
            if s
        ]
        balance = {
            name: postings.balance(session, network.lane, name) for name in postings.entries(session, network.lane)
        }
        clock, consumers = chain_time.get(session), lanes.consumers(session, network.lane)
        counted = len(batches.with_status(session, network.lane, Status.final))
    ids = Counter(to_hex(s.receipt.call_id) for s in written)
    told = Counter(told for caller in load.callers for told in caller.told.values())
    told.update(network.told)
    abandoned = sum(len(caller.abandoned) for caller in load.callers)
    same("answered calls without a receipt", sorted((told - ids).elements())[:3], [])
    same("calls with one receipt each", max(told.values()), 1)
    unknown = sum((ids - told).values())
    if unknown > abandoned:
        differences.append(f"{unknown} receipts nobody was told of, {abandoned} calls were abandoned")
    earned: Counter[Address] = Counter()
    for signed in written:
        for item in statements.items(signed.receipt, read[signed.receipt.terms]):
            earned[item.payee] += item.amount
    charged = sum(signed.receipt.charge for signed in written)
    for payee in payees():
        same(f"tokens of {to_hex(payee)}", network.chain.balance(payee) - before[payee], earned[payee])
    for consumer in CONSUMERS:
        who = consumer.address
        spent = sum(s.receipt.charge for s in written if s.receipt.consumer == who)
        left = balance.get(available(who), 0) + balance.get(leased(who, GATEWAY.address), 0)
        same(f"left of {to_hex(who)}", left, DEPOSIT - spent)
        same(f"deposited by {to_hex(who)}", consumers[who].deposited, DEPOSIT)
    same("custody", balance[CUSTODY], network.chain.balance(network.lane))
    same("the indexer's place", clock is not None, True)
    calls = sum(told.values()) - len(network.told) + abandoned
    return Totals(calls, abandoned, charged, sum(earned.values()), counted, tuple(differences))
