"""`tollway auditor watch`: recompute every pending batch from its public file, and send the fraud proof of a false one.

Where the file is missing or differs from the chain, the auditor asks on chain for the words of its trees, eight levels
at a time, and for its receipts. Each answer leads to the next question or to the bad leaf; a question unanswered at its
deadline convicts the operator. The auditor earns half the bond, and the fee of an unanswered question comes back.

Anybody may ask too. A question that is open already is waited for, whoever asked it, and costs nothing; only the
auditor's own questions count against its budget.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain as in_turn

from ledger.chain.reads import Chain
from ledger.core.catalog.bids import decode
from ledger.core.catalog.lineage import Royalty
from ledger.core.catalog.models import granted, parents
from ledger.core.disputes import questions
from ledger.core.disputes.facts import BidKey, Consumer, Content, Facts, Life, Models, Owned, PlacedBid, SignedReceipt
from ledger.core.disputes.faults import State, examine, state_of
from ledger.core.disputes.offences import Posted, find_double, find_unposted, signed_receipts, standing
from ledger.core.disputes.proofs import FraudProof
from ledger.core.disputes.questions import Answers
from ledger.core.settlement import events
from ledger.core.settlement.batch_file import BatchFile
from ledger.core.settlement.events import Event, NamedParent
from ledger.core.settlement.header import EMPTY_HEADER, Header, HeaderId
from ledger.core.settlement.transactions import Call
from ledger.core.values.documents import Document, validate
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import ZERO_ADDRESS, Address, Digest, Lane, address
from ledger.core.values.typed_data import Domain

FEE_ROOM = 8
"""A question is sent with an eighth more than its fee now, for the base fee may rise. The rest is owed back."""

Files = Callable[[HeaderId], BatchFile | None]
"""A public batch file by its header's id; None if it is withheld."""
Documents = Callable[[Digest], Document | None]
"""A model's document by its id; None if nobody shows it."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What anybody shows off chain, and the receipts that the auditor holds: their gateways signed them."""

    files: Files
    documents: Documents = lambda model: None
    held: Sequence[SignedReceipt] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for a pending batch: `said` in words, and the `call` to send with `value` wei, if any.

    `batch` 0: about no single batch.
    """

    batch: int
    said: str
    call: Call | None = None
    value: int = 0


@dataclass(frozen=True, slots=True)
class Auditor:
    """Who watches: `account` sends, and spends at most `budget` wei on questions whose fees are not owed back."""

    account: Address
    budget: int


def inspect(chain: Chain, lane: Lane, evidence: Evidence, auditor: Auditor, *, book: bool = False) -> list[Finding]:
    """One finding per pending batch, oldest first, up to the first that is proven false: all of them fall with it.

    Then what the receipts prove that are held: another finding. `book`: also compare lines with the bids in force.
    """
    look = _Look(chain, lane, evidence, auditor, book)
    findings = list(look.at_batches())
    is_over = any(one.call is not None and not one.value for one in findings)
    return findings if is_over else [*findings, *look.at_receipts()]


class _Look:
    """One look at a lane: what the chain says now, and what is known of its batches so far."""

    def __init__(self, chain: Chain, lane: Lane, evidence: Evidence, auditor: Auditor, book: bool) -> None:
        self.chain, self.lane, self.evidence, self.book = chain, lane, evidence, book
        self.logged = [log.event for log in chain.logs(chain.deployment.block, chain.tip())]
        self.head = chain.head(lane)
        self.facts = replace(gather(chain, lane, self.logged, book=book), held=evidence.held)
        self.headers = _headers(self.logged, lane)
        self.left = auditor.budget - spent(self.logged, auditor.account, chain)
        self.royalties: dict[Digest, Royalty] = {}
        self.files: list[BatchFile] = []
        self.states: dict[int, State | None] = {self.head.finalized: self._final_state()}

    def at_batches(self) -> Iterator[Finding]:
        for batch in range(self.head.finalized + 1, self.head.next):
            header = self.headers.get(batch)
            if header is None or self.chain.posted(self.lane, batch).hash != header.id:
                return  # the chain moved on while its logs were read: the next look is right
            finding, is_false = self._at_batch(batch, header)
            yield finding
            if is_false:
                return

    def _at_batch(self, batch: int, header: Header) -> tuple[Finding, bool]:
        """The finding, and whether it proves the batch false."""
        answers = questions.answers_about(header.id, self.lane, self.logged)
        file, before = self.evidence.files(header.id), self.states[batch - 1]
        if file is not None:
            self.files.append(file)
        if self.book:
            subjects = _subjects(file, answers)
            self.royalties |= royalties_of(subjects, self.facts.models, self.evidence.documents)
        found = examine(file, before, header, self.lane, self.facts.about(answers, self.royalties))
        self.states[batch] = found.state or (state_of(file, header) if file is not None else None)
        if found.proof is not None:
            finding = _act(self.chain, self.lane, (batch, header), found.proof, self.left)
            self.left -= finding.value
            return finding, not found.proof.paid
        if found.state is not None:
            return Finding(batch, "honest"), False
        assert before is None, "a batch is judged by the one before it"
        return Finding(batch, _said_of_unknown(batch, self.head.finalized)), False

    def at_receipts(self) -> Iterator[Finding]:
        """What the receipts prove that are held or in a pending file: two where one may be, or one in no batch."""
        tip = self.chain.block()
        assert tip is not None, "a chain has a tip"
        signed = (one for file in self.files for one in signed_receipts(file))
        final, last = self._posted(self.head.finalized), self._posted(self.head.next - 1)
        proof = find_double(in_turn(self.facts.held, signed), final, self.facts, tip.timestamp) if final else None
        proof = proof or (find_unposted(last, self.facts, tip.timestamp) if last else None)
        if proof is not None and self.chain.books(self.lane).bond:
            yield Finding(0, proof.why, self.chain.calls.prove(self.lane, 0, EMPTY_HEADER, proof))
            return
        known = {batch: state for batch, state in self.states.items() if state is not None}
        for one in self.facts.held:
            yield Finding(0, standing(one.receipt, self.lane, known, self.facts, tip.timestamp))

    def _posted(self, batch: int) -> Posted | None:
        """What is posted up to a batch; None if that is not known."""
        state = self.states.get(batch)
        return Posted(self.lane, state) if state is not None or batch == 0 else None

    def _final_state(self) -> State | None:
        header = self.headers.get(self.head.finalized)
        file = self.evidence.files(header.id) if header is not None else None
        return state_of(file, header) if file is not None and header is not None else None


def gather(chain: Chain, lane: Lane, logged: Sequence[Event], *, book: bool) -> Facts:
    """The facts on chain that a batch could contradict."""
    payees: dict[int, Address] = {}
    gateways: dict[int, Address] = {}
    revoked: dict[Address, int] = {}
    depositors: set[Address] = set()
    sessions: dict[Address, dict[Address, int | None]] = {}
    histories: dict[BidKey, list[PlacedBid]] = {}
    for event in logged:
        match event:
            case events.PayeeRegistered(index, payee):
                payees[index] = payee
            case events.GatewayAdded(of, key, number) if of == lane:
                gateways[number] = key
            case events.GatewayRevoked(of, key, counts_until) if of == lane:
                revoked[key] = counts_until
            case events.SessionKeySet(account, key):
                sessions.setdefault(account, {})[key] = None
            case events.SessionKeyRevoked(account, key, counts_until):
                sessions.setdefault(account, {})[key] = counts_until
            case events.Deposited(of, account) if of == lane:
                depositors.add(account)
            case events.BidPlaced(subject, role, party, bid, first, _, number):
                histories.setdefault((subject, role, party), []).append(PlacedBid(bid, first, number))
            case _:
                pass
    deployment, state = chain.deployment, chain.lane(lane)
    life = chain.life(lane)
    return Facts(
        domain=Domain(deployment.chain_id, chain.calls.settlement),
        treasury=address(deployment.treasury),
        operator=state.operator,
        payees=payees,
        consumers={account: _consumer(chain, lane, account) for account in depositors},
        gateways=gateways,
        revoked=revoked,
        sessions=sessions,
        life=Life(state.active, life.fell_at, life.active_since, life.stopped_at),
        epoch_seconds=deployment.epoch_seconds,
        exit_notice=deployment.exit_notice_seconds,
        day=deployment.day_seconds,
        bids=histories if book else None,
        models=models_of(logged),
    )


def models_of(logged: Iterable[Event]) -> Models:
    """What the Registry's events say of models."""
    owners: dict[Digest, list[Owned]] = {}
    contents: dict[Digest, list[Content]] = {}
    named: dict[Digest, tuple[NamedParent, ...]] = {}
    for event in logged:
        match event:
            case events.ModelRegistered():
                owned = Owned(event.owner, event.from_epoch, event.owner_number)
                owners.setdefault(event.id, []).append(owned)
                content = Content(event.lineage, event.terms, event.from_epoch, event.number)
                contents.setdefault(event.id, []).append(content)
                named[event.lineage] = event.parents
            case events.OwnerChanged():
                owners.setdefault(event.id, []).append(Owned(event.to, event.from_epoch, event.number))
            case events.TermsChanged():
                lineage = contents[event.id][-1].lineage
                contents[event.id].append(Content(lineage, event.terms, event.from_epoch, event.number))
            case _:
                pass
    return Models(owners, contents, named)


def royalties_of(subjects: Iterable[Digest], models: Models, documents: Documents) -> dict[Digest, Royalty]:
    """The royalties in a lineage, by digest, as documents show them: a child's and its parent's have the same."""
    found: dict[Digest, Royalty] = {}
    waiting, seen = list(subjects), set[Digest]()
    while waiting:
        model = waiting.pop()
        above = [parent for one in models.contents.get(model, ()) for parent in models.parents[one.lineage]]
        if model in seen or not above:
            continue
        seen.add(model)
        waiting += [parent.id for parent in above]
        for shown in (documents(one) for one in (model, *(parent.id for parent in above))):
            found |= {royalty.digest: royalty for royalty in (_royalties_in(shown) if shown else ())}
    return found


def _royalties_in(document: Document) -> list[Royalty]:
    """The royalties that a model's document names. None of a malformed one."""
    try:
        validate(document)
        offered = granted(document)
        return [*(parent.royalty for parent in parents(document)), *([offered] if offered else [])]
    except Rejected:
        return []


def _subjects(file: BatchFile | None, answers: Answers) -> set[Digest]:
    """What the calls of a batch were to, as far as it is shown."""
    found: set[Digest] = set()
    shown = [one.terms for one in answers.receipts.values() if one.record]
    for body in [*(file.terms.values() if file else ()), *shown]:
        try:
            found.add(decode(body).subject)
        except Rejected:
            continue
    return found


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
