"""`tollway auditor watch`: recompute every pending batch from its public file, and send the fraud proof of a false one.

Where the file is missing or differs from the chain, the auditor demands its tree nodes on chain, one by one. Each
answer leads to the next question or to the bad leaf; a question unanswered at its deadline convicts the operator. The
auditor earns half the bond, and the fee of an unanswered question comes back.
"""

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
from ledger.core.values.ids import ZERO_ADDRESS, Address, Digest, Lane, address

QUESTIONS = 64
"""Paid questions about one batch before a person must look. One tree takes its height plus one."""

Files = Callable[[bytes], BatchFile | None]
"""A public batch file by the first 24 bytes of its header's hash; None if it is withheld."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for a pending batch: `said` in words, and the `call` to send with `value` wei, if any."""

    batch: int
    said: str
    call: Call | None = None
    value: int = 0


def inspect(
    chain: Chain, lane: Lane, files: Files, *, book: bool = False, questions_at_most: int = QUESTIONS
) -> list[Finding]:
    """One finding per pending batch, oldest first, up to the first that is void: later ones are void with it.

    `book`: also compare lines with the bids in force. `questions_at_most`: paid questions about one batch, by anybody.
    """
    head, facts = chain.head(lane), gather(chain, lane, book=book)
    findings: list[Finding] = []
    for batch in range(head.finalized + 1, head.next):
        header = chain.committed_header(lane, batch)
        file = files(header.hash[:24])
        previous = files(header.prev[:24]) if any(header.prev) else None
        proof = find_fraud_proof(file, previous, header, facts)
        if proof is None:
            shown = file is not None and file.header == header
            said = "honest" if shown else "a person must look: there is no file, and every part was shown on chain"
            findings.append(Finding(batch, said))
            continue
        findings.append(_act(chain, lane, batch, header, proof, questions_at_most))
        if proof.voids:
            break
    return findings


def gather(chain: Chain, lane: Lane, *, book: bool) -> Facts:
    """The facts on chain that a batch could contradict."""
    logged = _events(chain)
    payees = {event.index: event.payee for event in logged if isinstance(event, events.PayeeRegistered)}
    depositors = {event.account for event in logged if isinstance(event, events.Deposited) and event.lane == lane}
    histories: dict[tuple[Digest, Role, Address], list[PlacedBid]] = {}
    for event in logged:
        if isinstance(event, events.BidPlaced):
            placed = PlacedBid(event.bid, event.first, event.until)
            histories.setdefault((event.subject, event.role, event.party), []).append(placed)
    deposits = {}  # a consumer's index on chain, and the most it can have spent, in atoms
    for party in depositors:
        account = chain.account(lane, party)
        deposits[party] = account.index, account.deposited - (0 if account.escaped else account.withdrawn)
    return Facts(address(chain.deployment.treasury), payees, deposits, histories if book else None, chain.answers())


def _act(chain: Chain, lane: Lane, batch: int, header: Header, proof: FraudProof, questions_at_most: int) -> Finding:
    """Send the proof; for a withheld part ask, wait for the answer, or convict after the deadline."""
    call = chain.calls.prove(lane, batch, header, proof)
    if not proof.paid:
        return Finding(batch, proof.why, call)
    tree, node, index, siblings = proof.arguments
    assert isinstance(tree, int), "demands name a tree"
    assert isinstance(node, bytes), "demands name a node"
    assert isinstance(index, int), "demands name an index"
    assert isinstance(siblings, list), "demands carry a proof"
    key = demand_key(tree, node, index, len(siblings))
    challenger, deadline = chain.challenge(lane, batch, header.hash, key)
    if challenger == ZERO_ADDRESS:
        asked = [one for one in _events(chain) if isinstance(one, events.NodeDemanded)]
        if sum((one.lane, one.id) == (lane, batch) for one in asked) >= questions_at_most:
            said = f"a person must look: {questions_at_most} questions were asked already; next: {proof.why}"
            return Finding(batch, said)
        return Finding(batch, f"asked: {proof.why}", call, int(chain.settlement("challengeFee")))
    tip = chain.block()
    if tip is None or tip.timestamp <= deadline:
        return Finding(batch, f"waits for an answer: {proof.why}")
    convict = chain.calls.to_settlement("timeout", lane, batch, words(header), key)
    return Finding(batch, f"unanswered: {proof.why}", convict)


def _events(chain: Chain) -> list[events.Event]:
    return [log.event for log in chain.logs(chain.deployment.block, chain.tip())]
