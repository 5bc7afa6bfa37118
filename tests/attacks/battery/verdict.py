"""What the books say of each outcome: receipts, the ledger's accounts and the chain, against what clients heard."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import text

from ledger.core.accounts.accounts import available, claimable
from ledger.core.receipts.receipt import EndReason
from ledger.core.settlement.batches import Status
from ledger.core.values.ids import Address, Digest, to_hex
from ledger.flows import audits
from ledger.flows.audits import Scope
from ledger.store.chain import lanes
from ledger.store.money import postings
from ledger.store.receipts import receipts, watermarks
from ledger.store.receipts.receipts import Signed
from ledger.store.session import unit_of_work
from ledger.store.settlement import batches
from tests.attacks.battery.clients import Heard, Payer
from tests.attacks.battery.kinds import KINDS
from tests.attacks.battery.network import FUNDS, Grid
from tests.attacks.battery.play import Outcome
from tests.chaos.network import CONSUMERS, DEPOSIT, payees

WHOLE, PART, FREE, REFUSED, WINDOW = "whole answer", "part of it", "not charged", "refused", "in the window"
MOST_SAID = 20


@dataclass(frozen=True)
class Facts:
    """One outcome: what its client heard, its receipts, and the kills of the gateways meanwhile (ms since 1970)."""

    number: int
    kind: str
    heard: Heard
    told: frozenset[int]
    """Charges that its answers told."""
    receipts: tuple[Signed, ...]
    unkept: bool = False
    """Every gateway had its receipt, and none an answer."""
    began: int = 0
    ended: int = 0
    kills: Mapping[Address, Sequence[int]] = field(default_factory=dict)

    @property
    def was_killed(self) -> bool:
        """Whether some gateway was killed while it was under way."""
        return any(self.began <= at <= self.ended for kills in self.kills.values() for at in kills)

    @property
    def is_in_the_window(self) -> bool:
        """Whether the gateway that charged it was killed after that, and before its client had the last byte."""
        [signed] = self.receipts
        kills = self.kills.get(signed.receipt.gateway, ())
        return self.unkept and any(max(self.began, signed.receipt.ended_at) <= at <= self.ended for at in kills)


def classify(facts: Facts) -> tuple[str, str]:
    """Where an outcome belongs in the table, and what is wrong with it, if anything is."""
    if len(facts.receipts) > 1:
        return "charged twice", f"{len(facts.receipts)} receipts"
    if not facts.receipts:
        if facts.heard is Heard.whole:
            return FREE, "a whole answer was not charged"
        if facts.heard is Heard.part and not facts.was_killed:
            return FREE, "part of an answer was not charged"
        return FREE, "every gateway said it was charged" if facts.unkept else ""
    [signed] = facts.receipts
    if facts.told - {signed.receipt.charge}:
        return WHOLE, f"told a charge of {sorted(facts.told)}, and charged {signed.receipt.charge}"
    if facts.heard is Heard.whole:
        return WHOLE, ""
    if facts.is_in_the_window:
        return WINDOW, ""
    if facts.heard is Heard.part and signed.receipt.end is not EndReason.normal:
        return PART, ""
    return "charged without an answer", f"it ended {signed.receipt.end.name}"


@dataclass
class Round:
    """What a round came to: outcomes by kind and class, and everything that is not as it ought to be."""

    table: dict[str, dict[str, int]]
    differences: list[str]
    charged_atoms: int = 0
    deposited_atoms: int = 0
    paid_atoms: int = 0
    payments: int = 0
    kills: int = 0
    resets: int = 0
    seconds: int = 0


def judge(grid: Grid, outcomes: Sequence[Outcome]) -> Round:
    """The gateways give back what nobody spends and stop, everything comes to rest, and each outcome is looked up."""
    network = grid.network
    held = still_held(grid)
    for gateway in grid.gateways:
        gateway.stop()
    come_to_rest(grid)
    found = of_calls(grid, outcomes)
    kills = {gateway.key.address: gateway.killed_at for gateway in grid.gateways}
    table: dict[str, dict[str, int]] = {kind.name: {} for kind in KINDS}
    judged = Round(table, [f"{held} atoms are held by gateways that make no call"] if held else [])
    for outcome in outcomes:
        mine = tuple(found[call] for call in outcome.calls(network.lane) if call in found)
        unkept = len(outcome.unkept) == len(grid.gateways)
        facts = Facts(
            outcome.number, outcome.kind, outcome.heard, frozenset(outcome.charges), mine, unkept,
            outcome.began, outcome.ended, kills,
        )  # fmt: skip
        place, wrong = classify(facts)
        row = table[outcome.kind]
        row[place] = row.get(place, 0) + 1
        if wrong:
            said = f"outcome {outcome.number}, {outcome.kind}: {place}, {wrong}; {outcome.heard_codes[-8:]}"
            judged.differences.append(said)
    judged.kills = sum(len(gateway.killed_at) for gateway in grid.gateways)
    judged.resets = sum(gateway.wire.resets for gateway in grid.gateways if gateway.wire is not None)
    judged.payments = sum(len(one.by.payments) for one in outcomes if isinstance(one.by, Payer))
    _compare_books(grid, outcomes, found, judged)
    return judged


def still_held(grid: Grid, seconds: float = 90) -> int:
    """Atoms that the gateways, which make no call, have not given back in time: a wallet with a hold is never idle."""
    deadline = time.monotonic() + seconds
    while True:
        with unit_of_work(grid.network.engine) as session:
            leased = postings.total(session, grid.network.lane, "leased:")
        if not leased or time.monotonic() > deadline:
            return leased
        time.sleep(0.5)


def of_calls(grid: Grid, outcomes: Sequence[Outcome]) -> dict[Digest, Signed]:
    """Every receipt of the lane, by its call."""
    with unit_of_work(grid.network.engine) as session:
        rows = session.execute(text("SELECT call_id FROM receipts")).scalars().all()
        return receipts.by_calls(session, grid.network.lane, [Digest(bytes(row)) for row in rows])


def come_to_rest(grid: Grid, seconds: float = 400) -> None:
    """Until all receipts are posted, in final batches, and claimed."""
    network = grid.network

    def rested() -> bool:
        network.chain.rpc("evm_increaseTime", 2)
        network.chain.rpc("evm_mine")
        with unit_of_work(network.engine) as session:
            last = session.execute(text("SELECT gateway, max(last) FROM segments GROUP BY gateway"))
            newest = {Address(bytes(gateway)): int(seq) for gateway, seq in last}
            marks = watermarks.of_lane(session, network.lane)
            waiting = batches.with_status(session, network.lane, Status.built, Status.signed, Status.posted)
            owed = sum(postings.balance(session, network.lane, claimable(payee)) for payee in payees())
            done = all(mark.posted_seq == mark.batched_seq == newest.get(mark.gateway, 0) for mark in marks)
        return bool(marks) and done and not waiting and not owed

    network.until(rested, seconds, "everything posted, final and claimed")


def _compare_books(grid: Grid, outcomes: Sequence[Outcome], found: Mapping[Digest, Signed], judged: Round) -> None:
    """Whatever the ledger and the chain have that no outcome explains, and whatever they lack."""
    network, chain, lane = grid.network, grid.chain, grid.network.lane

    def same(what: str, is_: object, ought: object) -> None:
        if is_ != ought:
            judged.differences.append(f"{what}: {is_} instead of {ought}")

    explained = {call for outcome in outcomes for call in outcome.calls(lane)}
    strange = [signed for call, signed in found.items() if call not in explained]
    same("receipts that no outcome explains, beside the network's first call", len(strange), 1)
    charged: Counter[Address] = Counter()
    for signed in found.values():
        charged[signed.receipt.consumer] += signed.receipt.charge
    payers = [outcome.account for outcome in outcomes if isinstance(outcome.by, Payer)]
    with unit_of_work(network.engine) as session:
        known = lanes.consumers(session, lane)
        left = {who: postings.balance(session, lane, available(who)) for who in (*payers, *_consumers())}
        leased = postings.total(session, lane, "leased:")
        scope = Scope(lane, network.domain, chain.held)
        broken = audits.reconcile(session, scope, 1, thorough=True)
    same("laws", [f"{alarm.law} {alarm.message}" for alarm in broken], [])
    same("atoms leased to gateways that have stopped", leased, 0)
    for who in payers:
        deposited = known[who].deposited if who in known else 0
        same(f"deposited by {to_hex(who)}", deposited, chain.account(lane, who).deposited)
        same(f"tokens of {to_hex(who)}", chain.balance(who), FUNDS - deposited)
        same(f"left of {to_hex(who)}", left[who], deposited - charged[who])
        judged.deposited_atoms += deposited
    for who in _consumers():
        same(f"left of {to_hex(who)}", left[who], DEPOSIT - charged[who])
    judged.charged_atoms = sum(charged.values())
    judged.paid_atoms = sum(chain.claimed(lane, chain.payee_index(payee)) for payee in payees())
    same("atoms paid to payees", judged.paid_atoms, judged.charged_atoms)


def _consumers() -> list[Address]:
    return [consumer.address for consumer in CONSUMERS]
