"""`tollway auditor watch`: recompute every pending batch from its public file, and send the fraud proof of a false one.

Where the file is missing or differs from the chain, the auditor asks on chain for the words of its trees, eight levels
at a time, and for its receipts. Each answer leads to the next question or to the bad leaf; a question unanswered at its
deadline convicts the operator. The auditor earns half the bond, and the fee of an unanswered question comes back.

Anybody may ask too. A question that is open already is waited for, whoever asked it, and costs nothing; only the
auditor's own questions count against its budget.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ledger.chain.reads import Chain
from ledger.core.disputes import questions
from ledger.core.disputes.facts import BidKey, Consumer, Facts, PlacedBid
from ledger.core.disputes.faults import State, examine, state_of
from ledger.core.disputes.proofs import FraudProof
from ledger.core.settlement import events
from ledger.core.settlement.batch_file import BatchFile
from ledger.core.settlement.events import Event
from ledger.core.settlement.header import Header, HeaderId
from ledger.core.settlement.transactions import Call
from ledger.core.values.ids import ZERO_ADDRESS, Address, Lane, address

FEE_ROOM = 8
"""A question is sent with an eighth more than its fee now, for the base fee may rise. The rest is owed back."""

Files = Callable[[HeaderId], BatchFile | None]
"""A public batch file by its header's id; None if it is withheld."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for a pending batch: `said` in words, and the `call` to send with `value` wei, if any."""

    batch: int
    said: str
    call: Call | None = None
    value: int = 0


@dataclass(frozen=True, slots=True)
class Auditor:
    """Who watches: `account` sends, and spends at most `budget` wei on questions whose fees are not owed back."""

    account: Address
    budget: int


def inspect(chain: Chain, lane: Lane, files: Files, auditor: Auditor, *, book: bool = False) -> list[Finding]:
    """One finding per pending batch, oldest first, up to the first that is proven false: all of them fall with it.

    `book`: also compare lines with the bids in force.
    """
    logged = [log.event for log in chain.logs(chain.deployment.block, chain.tip())]
    head, facts = chain.head(lane), gather(chain, lane, logged, book=book)
    left = auditor.budget - spent(logged, auditor.account, chain)
    headers = _headers(logged, lane)
    before = _final_state(headers, head.finalized, files)
    findings: list[Finding] = []
    for batch in range(head.finalized + 1, head.next):
        header = headers.get(batch)
        if header is None or chain.posted(lane, batch).hash != header.id:
            break  # the chain moved on while its logs were read: the next look is right
        answers = questions.answers_about(header.id, lane, logged)
        file = files(header.id)
        found = examine(file, before, header, lane, facts.about(answers))
        was_known = before is not None or batch == 1
        before = found.state or (state_of(file, header) if file is not None else None)
        if found.proof is not None:
            finding = _act(chain, lane, (batch, header), found.proof, left)
            left -= finding.value
            findings.append(finding)
            if not found.proof.paid:
                break
        elif found.state is not None:
            findings.append(Finding(batch, "honest"))
        else:
            assert not was_known, "a batch is judged by the one before it"
            findings.append(Finding(batch, _said_of_unknown(batch, head.finalized)))
    return findings


def gather(chain: Chain, lane: Lane, logged: Iterable[Event], *, book: bool) -> Facts:
    """The facts on chain that a batch could contradict."""
    payees: dict[int, Address] = {}
    gateways: dict[int, Address] = {}
    depositors: set[Address] = set()
    histories: dict[BidKey, list[PlacedBid]] = {}
    for event in logged:
        match event:
            case events.PayeeRegistered(index, payee):
                payees[index] = payee
            case events.GatewayAdded(of, key, number) if of == lane:
                gateways[number] = key
            case events.Deposited(of, account) if of == lane:
                depositors.add(account)
            case events.BidPlaced(subject, role, party, bid, first, _, number):
                histories.setdefault((subject, role, party), []).append(PlacedBid(bid, first, number))
            case _:
                pass
    deployment = chain.deployment
    return Facts(
        treasury=address(deployment.treasury),
        operator=chain.lane(lane).operator,
        payees=payees,
        consumers={account: _consumer(chain, lane, account) for account in depositors},
        gateways=gateways,
        epoch_seconds=deployment.epoch_seconds,
        exit_notice=deployment.exit_notice_seconds,
        bids=histories if book else None,
    )


def spent(logged: Sequence[Event], account: Address, chain: Chain) -> int:
    """The wei that an account's own questions cost, open or answered: a fee that is owed back is not spent."""
    total, ours = 0, set()
    for event in logged:
        match event:
            case events.WordsAsked() | events.ReceiptAsked() | events.MandateAsked() | events.FinalAsked():
                if event.asker == account:
                    ours.add(event.question)
            case events.Answered(question, _, paid) if question in ours:
                total += _fee_of(chain, paid)
                ours.discard(question)
            case events.Closed(question):
                ours.discard(question)
            case _:
                pass
    return total + sum(fee for question in ours for fee in [chain.question(question).fee])


def _fee_of(chain: Chain, paid: int) -> int:
    """The fee of an answered question, from what its answer earned: twice that, and at least the floor."""
    return max(2 * paid, int(chain.deployment.question_floor_wei))


def _headers(logged: Iterable[Event], lane: Lane) -> dict[int, Header]:
    """Headers by the ids of their batches, as their events say: whatever contract the operator committed through."""
    found: dict[int, Header] = {}
    for event in logged:
        if isinstance(event, events.Committed) and event.lane == lane:
            found[event.id] = event.header
    return found


def _said_of_unknown(batch: int, finalized: int) -> str:
    """What to say of a batch whose receipts are right, but whose cumulative amounts cannot be compared."""
    if batch - 1 > finalized:
        return f"waits for batch {batch - 1}, which it goes on from and which is not open yet"
    return f"a person must look: its receipts are right, but the file of final batch {batch - 1} is withheld"


def _final_state(headers: dict[int, Header], finalized: int, files: Files) -> State | None:
    header = headers.get(finalized)
    file = files(header.id) if header is not None else None
    return state_of(file, header) if file is not None and header is not None else None


def _consumer(chain: Chain, lane: Lane, account: Address) -> Consumer:
    at = chain.account(lane, account)
    return Consumer(
        index=at.index,
        deposited=at.deposited,
        withdrawn=at.withdrawn,
        requested_at=at.requested_at,
        left_at=at.left_at,
        debit_at_exit=at.debit_at_exit,
        paid_in=at.paid_in,
    )


def _act(chain: Chain, lane: Lane, posted: tuple[int, Header], proof: FraudProof, left: int) -> Finding:
    """Send the proof; for a withheld part ask, wait for the answer, or convict after the deadline."""
    batch, header = posted
    call = chain.calls.prove(lane, batch, header, proof)
    if proof.subject is None:
        return Finding(batch, proof.why, call)
    asked = chain.question(questions.question_of(lane, batch, header.id, proof.subject))
    tip = chain.block()
    assert tip is not None, "a chain has a tip"
    if asked.asker != ZERO_ADDRESS:
        if tip.timestamp <= asked.deadline:
            return Finding(batch, f"waits for an answer: {proof.why}")
        convict = chain.calls.to("Questions", "close", lane, batch, header.id, proof.subject)
        return Finding(batch, f"unanswered: {proof.why}", convict)
    fee = chain.question_fee(proof.kind)
    value = fee + fee // FEE_ROOM
    if value > left:
        said = f"a person must look: the next question costs {value} wei, {max(left, 0)} of the budget are left"
        return Finding(batch, f"{said}. Raise --budget to ask: {proof.why}")
    until = chain.posted(lane, batch).until - 2 * chain.lane(lane).answer_time
    if tip.timestamp > until:
        return Finding(batch, f"a person must look: it is too late to ask: {proof.why}")
    return Finding(batch, f"asked: {proof.why}", call, value)
