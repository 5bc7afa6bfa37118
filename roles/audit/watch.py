"""What `tollway auditor watch` does: recompute every pending batch from its public file, and send the proof of a lie.

A file that is not what the chain has, or is not shown, is asked for on chain, node by node: each answer leads to the
next question or to the lie, and a question unanswered past its deadline convicts. The auditor earns half the bond, and
gets back the fee of a question that was not answered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ledger.chain.calls import words
from ledger.chain.logs import demand_key
from ledger.chain.reads import Chain
from ledger.core.catalog.bids import Role
from ledger.core.disputes.faults import find_fraud_proof
from ledger.core.disputes.proofs import FraudProof
from ledger.core.disputes.recomputation import Facts, PlacedBid
from ledger.core.settlement import events
from ledger.core.settlement.batch_file import BatchFile
from ledger.core.settlement.header import Header
from ledger.core.settlement.transactions import Call
from ledger.core.values.ids import ZERO_ADDRESS, Address, Digest, address

QUESTIONS = 64
"""Paid questions about one batch before a person must look: a dialogue over one tree takes its height and one."""

Files = Callable[[bytes], BatchFile | None]
"""A public batch file by the first 24 bytes of its header's hash; None when nobody shows it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What to do about a pending batch: `call` with `value` wei, or wait when there is none."""

    batch: int
    said: str
    call: Call | None = None
    value: int = 0


def inspect(
    chain: Chain, lane: int, files: Files, *, book: bool = False, questions_at_most: int = QUESTIONS
) -> list[Finding]:
    """One finding per pending batch, oldest first, up to the first that falls: all after it fall with it.

    `book`: also hold lines against the bids in force. `questions_at_most` are paid for about one batch, by anybody.
    """
    head, facts = chain.head(lane), gather(chain, lane, book=book)
    found: list[Finding] = []
    for batch in range(head.finalized + 1, head.next):
        header = chain.committed_header(lane, batch)
        file = files(header.hash[:24])
        previous = files(header.prev[:24]) if any(header.prev) else None
        shown = file is not None and file.header == header
        lie = find_fraud_proof(file, previous, header, facts)
        if lie is None:
            found.append(
                Finding(batch, "honest" if shown else "a person must look: all of it is open on chain, no file")
            )
            continue
        found.append(_act(chain, lane, batch, header, lie, questions_at_most))
        if lie.voids:
            break
    return found


def gather(chain: Chain, lane: int, *, book: bool) -> Facts:
    """What the chain says that a batch could contradict."""
    said = [log.event for log in chain.logs(chain.deployment.block, chain.tip())]
    payees = {event.index: event.payee for event in said if isinstance(event, events.PayeeRegistered)}
    depositors = {event.account for event in said if isinstance(event, events.Deposited) and event.lane == lane}
    histories: dict[tuple[Digest, Role, Address], list[PlacedBid]] = {}
    for event in said:
        if isinstance(event, events.BidPlaced):
            placed = PlacedBid(event.bid, event.first, event.until)
            histories.setdefault((event.subject, event.role, event.party), []).append(placed)
    deposits = {who: _most(chain, lane, who) for who in depositors}
    return Facts(address(chain.deployment.treasury), payees, deposits, histories if book else None, chain.answers())


def _most(chain: Chain, lane: int, who: Address) -> tuple[int, int]:
    account = chain.account(lane, who)
    return account.index, account.deposited - (0 if account.escaped else account.withdrawn)


def _act(chain: Chain, lane: int, batch: int, header: Header, lie: FraudProof, most: int) -> Finding:
    """Convict, ask, wait for the answer, or convict for want of one."""
    call = chain.calls.prove(lane, batch, header, lie)
    if not lie.paid:
        return Finding(batch, lie.why, call)
    tree, node, index, proof = lie.arguments
    assert isinstance(tree, int), "demands name a tree"
    assert isinstance(node, bytes), "demands name a node"
    assert isinstance(index, int), "demands name a place"
    assert isinstance(proof, list), "demands carry a proof"
    key = demand_key(tree, node, index, len(proof))
    challenger, deadline = chain.challenge(lane, batch, header.hash, key)
    if challenger == ZERO_ADDRESS:
        if _asked(chain, lane, batch) >= most:
            return Finding(batch, f"a person must look: {most} questions were asked already; next: {lie.why}")
        return Finding(batch, f"asked: {lie.why}", call, int(chain.settlement("challengeFee")))
    tip = chain.block()
    if tip is None or tip.timestamp <= deadline:
        return Finding(batch, f"waits for an answer: {lie.why}")
    convict = chain.calls.to_settlement("timeout", lane, batch, words(header), key)
    return Finding(batch, f"unanswered: {lie.why}", convict)


def _asked(chain: Chain, lane: int, batch: int) -> int:
    said = (log.event for log in chain.logs(chain.deployment.block, chain.tip()))
    return sum(isinstance(one, events.NodeDemanded) and (one.lane, one.id) == (lane, batch) for one in said)
