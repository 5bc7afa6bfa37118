"""The faults of a posted batch, and their fraud proofs.

`examine` compares each posted tree with the one that follows from the batch's receipts, the batch before it, and the
chain's facts. It returns the first fault that it can prove, or the question that leads on. It reads and sends nothing.

The trees come in order of dependence: gateways, receipts, lines, payouts, debits. So each proof relies only on trees
that were compared before. Without a file, every tree is opened on chain from the left; with all receipts shown the rest
follows as it does from a file.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ledger.core.catalog.bids import Bid, Line, Role, Terms, decode
from ledger.core.disputes import owners, proofs
from ledger.core.disputes.challenge_game import Divergence, OpenTree, first_difference, open_tree
from ledger.core.disputes.facts import Facts, History, SignedReceipt, bid_in_force, is_barred
from ledger.core.disputes.proofs import Arguments, FraudProof, Stands, stands_at
from ledger.core.disputes.questions import DEBITS, GATEWAYS, LINES, PAYOUTS, RECEIPTS, root_of
from ledger.core.pricing.caps import PROTOCOL_PPM
from ledger.core.pricing.price import payees, price
from ledger.core.receipts.receipt import MAX_SUBCALLS, Receipt, struct_hash, unpack
from ledger.core.settlement.bars import RECEIPT_LIFE
from ledger.core.settlement.batch_file import BatchFile
from ledger.core.settlement.header import NO_HEADER, RUN, Header, Range
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import ZERO_ADDRESS, ZERO_DIGEST, Address, Digest, Lane, lane_subject
from ledger.core.values.meters import NO_RATES, Rates
from ledger.core.values.sum_tree import (
    DEBIT_TAG,
    PAYOUT_TAG,
    ZERO,
    Word,
    amount,
    gateway_leaf,
    leaf,
    line_leaf,
    receipt_leaf,
)


@dataclass(frozen=True, slots=True)
class State:
    """The trees of a posted batch that the next one goes on from, and its gateways' rows by number."""

    header: Header
    payouts: OpenTree
    debits: OpenTree
    gateways: OpenTree
    rows: Mapping[int, Range]


@dataclass(frozen=True, slots=True)
class Examination:
    """The first provable fault of a batch, or the next question; and its trees, once they are open and right.

    With neither, the batch before it is not known well enough to judge this one.
    """

    proof: FraudProof | None
    state: State | None = None


def state_of(file: BatchFile, header: Header) -> State | None:
    """The state after a batch, by its file; None if the file is not what the header commits to."""
    lane, rows = file.opening.lane, {row.number: row for row in file.opening.ranges}
    gateways = {n: gateway_leaf(lane, n, row.gateway, row.first, row.count) for n, row in rows.items()}
    payouts = {index: leaf(PAYOUT_TAG, lane, index, who, total) for index, who, total in file.payouts.rows()}
    debits = {index: leaf(DEBIT_TAG, lane, index, who, total) for index, who, total in file.debits.rows()}
    trees = ((PAYOUTS, payouts), (DEBITS, debits), (GATEWAYS, gateways))
    opened = [open_tree(tree, leaves, header) for tree, leaves in trees]
    if any(one.root != root_of(header, tree) for one, (tree, _) in zip(opened, trees, strict=True)):
        return None
    return State(header, opened[0], opened[1], opened[2], rows)


def examine(file: BatchFile | None, before: State | None, committed: Header, lane: Lane, facts: Facts) -> Examination:
    """Examine a posted batch. `file` is the one its header names, None if it is withheld; `before` is the batch before.

    A fault that voids the batch comes before one that does not, so that no liar hides behind the latter.
    """
    if file is not None and (file.digest != committed.data_ref or file.opening.lane != lane):
        file = None
    batch = _Batch(lane, committed, before, facts, file)
    proof = next(batch.faults(), None)
    if proof is not None or not batch.is_judged:
        return Examination(proof)
    return Examination(None, State(committed, batch.payouts, batch.debits, batch.gateways, batch.rows))


@dataclass
class _Batch:
    """A posted batch as far as it is open. Its trees are the expected ones, corrected by what was shown."""

    lane: Lane
    header: Header
    before: State | None
    facts: Facts
    file: BatchFile | None
    is_judged: bool = False
    rows: dict[int, Range] = field(default_factory=dict)
    receipts: dict[int, Receipt] = field(default_factory=dict)
    """By place. A place without one has the zero word, or is not open yet."""
    terms: dict[Digest, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._decoded: dict[Digest, Terms | None] = {}
        self._owners_judged: set[tuple[Digest, int]] = set()
        self.accounts = {one.index: account for account, one in self.facts.consumers.items()}
        self.mandates = {one.consumer: one for one in self.file.mandates} if self.file else {}
        file = self.file
        if file is not None:
            self.rows = {row.number: row for row in file.opening.ranges}
            barred = set(file.opening.barred)
            self.receipts = {place: one for place, one in enumerate(file.receipts) if place not in barred}
            self.terms = dict(file.terms)
        for place, shown in self.facts.answers.receipts.items():
            if shown.record:
                receipt = unpack(shown.record)
                self.receipts[place], self.terms[receipt.terms] = receipt, shown.terms
            else:
                self.receipts.pop(place, None)
        self.gateways = open_tree(GATEWAYS, self._gateway_leaves(), self.header)
        words = {place: self._receipt_leaf(one) for place, one in self.receipts.items()}
        self.tree = open_tree(RECEIPTS, words, self.header)

    @property
    def previous(self) -> Header | None:
        return self.before.header if self.before else None

    @property
    def is_previous_known(self) -> bool:
        return self.before is not None or self.header.prev == NO_HEADER

    def faults(self) -> Iterator[FraudProof]:
        yield from self._of_logs()
        yield from self._of_places()
        yield from self._of_barred()
        yield from self._of_held()
        yield from self._of_receipts()
        yield from self._of_lines()
        if not self.is_previous_known:
            return
        yield from self._of_payouts()
        yield from self._of_debits()
        self.is_judged = True

    # ------------------------------------------------------------------ gateway logs

    def _gateway_leaves(self) -> dict[int, Word]:
        rows = self.rows.values()
        return {row.number: gateway_leaf(self.lane, row.number, row.gateway, row.first, row.count) for row in rows}

    def _of_logs(self) -> Iterator[FraudProof]:
        """Rows that do not go on where the batch before stopped."""
        while (found := first_difference(GATEWAYS, self.gateways, self.header, self.facts.answers)) is not None:
            if isinstance(found, FraudProof):
                yield found
                return
            self.gateways.put(found.index, found.word)
            self.rows.pop(found.index, None)
            key = self.facts.gateways.get(found.index, ZERO_ADDRESS)
            due = Range(found.index, key, self._first_due(found.index), amount(found.word))
            if found.word == self._row_leaf(due):
                self.rows[found.index] = due
            elif found.word != ZERO and self.is_previous_known:
                yield self._broken_log(found.index, (found.word, found.path))
        earlier = self.before.rows if self.before else {}
        for number in sorted({*self.rows, *earlier}) if self.is_previous_known else ():
            key, row = self.facts.gateways.get(number, ZERO_ADDRESS), self.rows.get(number)
            if row is None or (row.gateway, row.first) != (key, self._first_due(number)):
                yield self._broken_log(number, stands_at(self.gateways, number))

    def _first_due(self, number: int) -> int:
        row = self.before.rows.get(number) if self.before else None
        return row.last + 1 if row else 1

    def _row_leaf(self, row: Range) -> Word:
        return gateway_leaf(self.lane, row.number, row.gateway, row.first, row.count)

    def _broken_log(self, number: int, now: Stands) -> FraudProof:
        key = self.facts.gateways.get(number, ZERO_ADDRESS)
        tree, earlier = (self.before.gateways, self.before.rows.get(number)) if self.before else (None, None)
        return proofs.broken_log(self.previous, proofs.row(tree, number, key, earlier), now)

    # ------------------------------------------------------------------ places

    def _of_places(self) -> Iterator[FraudProof]:
        """A receipts tree that is not over the receipts, each at the place that the gateways tree gives it."""
        while (found := first_difference(RECEIPTS, self.tree, self.header, self.facts.answers)) is not None:
            if isinstance(found, FraudProof):
                yield found
                return
            yield from self._of_place(found)
        for place in sorted(self.receipts):
            if place >= self.header.calls:
                yield proofs.stray(place, stands_at(self.tree, place))

    def _of_place(self, found: Divergence) -> Iterator[FraudProof]:
        place, stands = found.index, (found.word, found.path)
        if place >= self.header.calls and found.word != ZERO:
            yield proofs.stray(place, stands)
        yield from self._omitted(place, stands)
        if found.word != ZERO:
            why = f"a receipt stands at place {place} that no file shows"
            yield proofs.ask_receipt(place, why)
        self.tree.put(place, found.word)
        self.receipts.pop(place, None)

    def _of_barred(self) -> Iterator[FraudProof]:
        """Receipts that the file shows and says are barred, and that are not."""
        for place in self.file.opening.barred if self.file else ():
            yield from self._omitted(place, stands_at(self.tree, place))

    def _omitted(self, place: int, stands: Stands) -> Iterator[FraudProof]:
        """The file's receipt for this place, if its gateway signed it and the batch must hold it."""
        row = self._row_at(place)
        if row is None or self.file is None or place >= len(self.file.signed):
            return
        signed = SignedReceipt(self.file.signed.receipt(place), self.file.signed.signature(place))
        if self._place_in(row, signed.receipt) == place and signed.is_signed(self.facts.domain):
            yield from self._left_out(signed, row.number, stands)

    def _of_held(self) -> Iterator[FraudProof]:
        """Receipts that somebody holds and that this batch leaves out."""
        for signed in self.facts.held:
            receipt = signed.receipt
            number = self.facts.number_of(receipt.gateway, self.header.closed_at)
            if number is None or receipt.lane != self.lane:
                continue
            row = self.rows.get(number)
            if (row is None and self.gateways.leaf(number) != ZERO) or (row is not None and receipt.seq < row.first):
                continue
            place = self._place_in(row, receipt) if row else -1
            if place >= 0:
                yield from self._left_out(signed, number, stands_at(self.tree, place))
            elif self.facts.due_at(receipt) < self.header.closed_at:
                yield from self._left_out(signed, number, (ZERO, []))

    def _left_out(self, signed: SignedReceipt, number: int, stands: Stands) -> Iterator[FraudProof]:
        """A receipt that has to stand where this word does; none if it does, or is barred and nothing does."""
        receipt, before = signed.receipt, self.previous.closed_at if self.previous else 0
        barred = stands[0] == ZERO and is_barred(receipt, self.header.closed_at, before, self.facts)
        if stands[0] == self._receipt_leaf(receipt) or barred or not self.is_previous_known:
            return
        shown = proofs.row(self.gateways, number, receipt.gateway, self.rows.get(number))
        yield proofs.omitted(self.previous, signed.shown, shown, stands, receipt.seq)

    def _row_at(self, place: int) -> Range | None:
        """The row that covers a place."""
        start = 0
        for _, row in sorted(self.rows.items()):
            if place < start + row.count:
                return row
            start += row.count
        return None

    def _place_in(self, row: Range, receipt: Receipt) -> int:
        """The place of a receipt by its gateway's row; -1 if the row does not hold it."""
        if receipt.gateway != row.gateway or not row.first <= receipt.seq <= row.last:
            return -1
        start = sum(one.count for number, one in self.rows.items() if number < row.number)
        return start + receipt.seq - row.first

    # ------------------------------------------------------------------ receipts

    def _of_receipts(self) -> Iterator[FraudProof]:
        """Faults of single receipts and of workflows. The receipts are those that stand."""
        seen: dict[Digest, int] = {}
        for place, receipt in sorted(self.receipts.items()):
            shown = proofs.opening(self.tree, place, receipt)
            yield from self._of_receipt(place, receipt, shown)
            twin = seen.setdefault(receipt.call_id, place)
            if twin != place:
                pair = (proofs.opening(self.tree, twin, self.receipts[twin]), shown)
                yield FraudProof("Referee", "proveDoubleCall", pair, f"one call is charged at {twin} and {place}")
            yield from self._of_terms(place, receipt, shown)

    def _of_receipt(self, place: int, receipt: Receipt, shown: Arguments) -> Iterator[FraudProof]:
        row = self._row_at(place)
        if row is not None and (receipt.lane != self.lane or self._place_in(row, receipt) != place):
            why = f"receipt {receipt.seq} is at place {place}, which belongs to another"
            of_gateway = proofs.row(self.gateways, row.number, row.gateway, row)
            yield FraudProof("Referee", "proveMisplacedReceipt", (shown, of_gateway), why)
        ended, closed = receipt.ended_at // 1_000, self.header.closed_at
        epoch = ended // self.facts.epoch_seconds
        if receipt.epoch not in (epoch, epoch - 1) or not ended <= closed <= ended + RECEIPT_LIFE:
            why = f"receipt {receipt.seq} of epoch {receipt.epoch} ended at {ended}, the batch was closed at {closed}"
            yield FraudProof("Referee", "proveReceiptTime", (shown,), why)
        if not self._adds_up(place, receipt):
            count = receipt.subcalls if receipt.subcalls <= min(MAX_SUBCALLS, place) else 0
            places = range(place - count, place + 1)
            segment = proofs.openings(self.tree, place - count, [self.receipts.get(one) for one in places])
            why = f"the receipts before receipt {receipt.seq} are not its {receipt.subcalls} sub-calls"
            yield FraudProof("Referee", "proveBadSubcalls", (segment,), why)

    def _adds_up(self, place: int, receipt: Receipt) -> bool:
        """Whether the receipts right before one are its sub-calls. `ReceiptProofs` has the same rule."""
        left, total = receipt.subcalls, 0
        if left > place:
            return False
        while left:
            child = self.receipts.get(place - receipt.subcalls + left - 1)
            if child is None:
                return total <= receipt.subcall_total
            if (child.parent, child.gateway) != (receipt.call_id, receipt.gateway) or child.subcalls >= left:
                return False
            total += child.price
            left -= 1 + child.subcalls
        return total == receipt.subcall_total

    # ------------------------------------------------------------------ terms

    def _of_terms(self, place: int, receipt: Receipt, shown: Arguments) -> Iterator[FraudProof]:
        body = self.terms.get(receipt.terms)
        if body is None:
            yield proofs.ask_receipt(place, f"the terms of receipt {receipt.seq} are in no file")
            return
        if not self._is_priced_right(receipt):
            why = f"the price or charge of receipt {receipt.seq} does not follow from its terms"
            yield FraudProof("PriceJudge", "proveBadPrice", (shown, body), why)
        terms = self._terms(receipt.terms)
        if terms is None:
            return
        if not self._has_right_roles(receipt, terms):
            why = f"the lines of receipt {receipt.seq} are not those that its lane and call must have"
            yield FraudProof("PriceJudge", "proveBadRoles", (shown, body), why)
        for number, line in enumerate(terms.lines) if self.facts.bids is not None else ():
            if not self._is_bid(terms, line, receipt.epoch):
                own, hosting = self._histories(terms, line)
                bids = [proofs.bid_shown(one, line.role, receipt.epoch) for one in (own, hosting)]
                why = f"line {number} of receipt {receipt.seq} is not the bid in force"
                yield FraudProof("PriceJudge", "proveBadBid", (shown, body, number, *bids, 0), why)
        yield from self._of_owners(receipt, terms, (shown, body))

    def _of_owners(self, receipt: Receipt, terms: Terms, shown: Arguments) -> Iterator[FraudProof]:
        """Faults of the lines of owners and ancestors."""
        if (receipt.terms, receipt.epoch) in self._owners_judged:
            return
        self._owners_judged.add((receipt.terms, receipt.epoch))
        fault = owners.find_fault(terms, receipt.epoch, self.facts)
        if fault is not None:
            why = f"{fault.why}, receipt {receipt.seq}"
            yield FraudProof("PriceJudge", fault.function, (*shown, *fault.arguments), why)
        found = owners.find_weavers_fault(terms, receipt.epoch, self.facts)
        if found is not None:
            number, owner = found
            history, _ = self._histories(terms, terms.lines[number])
            bid = proofs.bid_shown(history, Role.weaver, receipt.epoch)
            why = f"line {number} of receipt {receipt.seq} is not the bid of the weaver that owns its subject"
            arguments = (*shown, number, bid, proofs.NO_BID, owner.number)
            yield FraudProof("PriceJudge", "proveBadBid", arguments, why)

    def _terms(self, name: Digest) -> Terms | None:
        """Decoded terms; None if they are malformed."""
        if name not in self._decoded:
            try:
                self._decoded[name] = decode(self.terms[name])
            except Rejected:
                self._decoded[name] = None
        return self._decoded[name]

    def _is_priced_right(self, receipt: Receipt) -> bool:
        terms = self._terms(receipt.terms)
        try:
            due = price(terms, receipt.units, receipt.subcall_total) if terms else None
        except Rejected:
            due = None
        return due is not None and (due.price, due.charge) == (receipt.price, receipt.charge)

    def _has_right_roles(self, receipt: Receipt, terms: Terms) -> bool:
        """`PriceJudge.proveBadRoles` has the same rule."""
        is_root, count = receipt.parent == ZERO_DIGEST, Counter(line.role for line in terms.lines)
        protocol = (self.facts.treasury, PROTOCOL_PPM, NO_RATES)
        deduction = terms.deduction
        slot = deduction is not None and deduction.surface != ZERO_ADDRESS and deduction.promotion
        return (
            all(line.party == self.facts.operator for line in terms.lines if line.role is Role.gateway)
            and all(_claim(line) == protocol for line in terms.lines if line.role is Role.protocol)
            and count[Role.protocol] == is_root
            and count[Role.gateway] <= is_root
            and max(count[Role.compute], count[Role.delivery]) <= 1
            and not count[Role.curator]
            and not (slot and deduction is not None and deduction.treasury != self.facts.treasury)
        )

    def _is_bid(self, terms: Terms, line: Line, epoch: int) -> bool:
        """Whether a resource's or a gateway's line is its party's bid; a host's bid on its lane is as good."""
        if line.role not in (Role.compute, Role.delivery, Role.gateway):
            return True
        due = [bid_in_force(history, line.role, epoch) for history in self._histories(terms, line)]
        return Bid(line.ratio_ppm, line.asks) in due

    def _histories(self, terms: Terms, line: Line) -> tuple[History, History]:
        """The bids of a line's party that count for it: on its subject, and as the lane's host."""
        bids, ours = self.facts.bids or {}, lane_subject(self.lane)
        own = bids.get((ours if line.role is Role.gateway else terms.subject, line.role, line.party), ())
        hosts = line.role is Role.compute and line.party == self.facts.operator
        return own, bids.get((ours, line.role, line.party), ()) if hosts else ()

    # ------------------------------------------------------------------ lines

    def _of_lines(self) -> Iterator[FraudProof]:
        """Lines of another amount than the receipts of their run give. A leaf of the right amount harms nobody."""
        due = self._lines_due()
        runs = self.header.heights.runs
        words = {at: line_leaf(self.lane, at >> runs, at & (1 << runs) - 1, paid) for at, paid in due.items()}
        self.lines = open_tree(LINES, words, self.header)
        for at in sorted(words):
            if at >> self.lines.height:
                yield self._bad_run(at, (ZERO, []))
        while (found := first_difference(LINES, self.lines, self.header, self.facts.answers)) is not None:
            if isinstance(found, FraudProof):
                yield found
                return
            if amount(found.word) != due.get(found.index, 0):
                yield self._bad_run(found.index, (found.word, found.path))
            self.lines.put(found.index, found.word)

    def _lines_due(self) -> Counter[int]:
        """What each run pays each payee, by position in the lines tree. Payees without an index have no lines."""
        indexes = {account: index for index, account in self.facts.payees.items()}
        runs, due = self.header.heights.runs, Counter[int]()
        for place, receipt in self.receipts.items():
            terms = self._terms(receipt.terms)
            assert terms is not None, "malformed terms were proven before"
            split = price(terms, receipt.units, receipt.subcall_total)
            for (payee, _), paid in zip(payees(terms), split.amounts, strict=True):
                if paid and payee in indexes:
                    due[indexes[payee] << runs | place // RUN] += paid
        return due

    def _bad_run(self, at: int, line: Stands) -> FraudProof:
        party, run = at >> self.header.heights.runs, at & (1 << self.header.heights.runs) - 1
        places = range(run * RUN, min((run + 1) * RUN, self.header.calls))
        of = [self.receipts.get(place) for place in places]
        return proofs.bad_run(party, run, proofs.openings(self.tree, run * RUN, of), of, self.terms, line)

    # ------------------------------------------------------------------ accounts

    def _of_payouts(self) -> Iterator[FraudProof]:
        due = _sums(self.before.payouts if self.before else None)
        for index, word in self.lines.levels[self.header.heights.runs].items():
            due[index] += amount(word)
        words = {index: self._account_leaf(PAYOUTS, index, self.facts.payees.get(index), due[index]) for index in due}
        self.payouts = open_tree(PAYOUTS, words, self.header)
        for index in sorted(index for index in words if index >> self.payouts.height):
            yield self._bad_payout(index, (ZERO, []))
        while (found := first_difference(PAYOUTS, self.payouts, self.header, self.facts.answers)) is not None:
            if isinstance(found, FraudProof):
                yield found
                return
            index, now = found.index, (found.word, found.path)
            if found.word != self._account_leaf(PAYOUTS, index, self.facts.payees.get(index), amount(found.word)):
                yield proofs.wrong_account(PAYOUTS, index, ZERO_ADDRESS, now)
            yield from self._regression(PAYOUTS, index, now)
            yield self._bad_payout(index, now)
            self.payouts.put(index, found.word)

    def _bad_payout(self, index: int, now: Stands) -> FraudProof:
        runs, upper = self.header.heights.runs, self.header.heights.parties
        inside = not index >> upper
        lines = (self.lines.at(runs, index), self.lines.proof(index, runs)) if inside else (ZERO, [])
        return proofs.bad_payout(self.previous, index, self._before(PAYOUTS, index), now, lines)

    def _of_debits(self) -> Iterator[FraudProof]:
        due = _sums(self.before.debits if self.before else None)
        for receipt in self.receipts.values():
            if receipt.consumer in self.facts.consumers:
                due[self.facts.consumers[receipt.consumer].index] += receipt.charge
        words = {index: self._account_leaf(DEBITS, index, self.accounts.get(index), due[index]) for index in due}
        self.debits = open_tree(DEBITS, words, self.header)
        while (found := first_difference(DEBITS, self.debits, self.header, self.facts.answers)) is not None:
            if isinstance(found, FraudProof):
                yield found
                return
            yield from self._of_debit(found.index, (found.word, found.path), due[found.index])
            self.debits.put(found.index, found.word)
        for index in sorted(self.accounts):
            yield from self._of_right_debit(index, stands_at(self.debits, index))

    def _of_debit(self, index: int, now: Stands, due: int) -> Iterator[FraudProof]:
        """Faults of a debit that is not what the receipts give."""
        who = self.accounts.get(index)
        if now[0] != self._account_leaf(DEBITS, index, who, amount(now[0])):
            yield proofs.wrong_account(DEBITS, index, who or ZERO_ADDRESS, now)
        yield from self._regression(DEBITS, index, now)
        if who is None:
            return
        yield from self._of_right_debit(index, now)
        total, before = amount(now[0]), self._before(DEBITS, index)
        was_shown = (index, total) in self.facts.answers.mandates
        if total > max(due, self.facts.consumers[who].covered) and not was_shown:
            why = f"consumer {index} is debited {total} atoms, which its receipts do not come to"
            yield proofs.ask_mandate((index, who), now, (self.previous, before), why)

    def _of_right_debit(self, index: int, now: Stands) -> Iterator[FraudProof]:
        """Faults of a debit whatever its receipts."""
        who, before = self.accounts[index], self._before(DEBITS, index)
        one = self.facts.consumers[who]
        if amount(now[0]) > one.deposited - one.withdrawn:
            yield proofs.overdraft(index, who, one.deposited - one.withdrawn, now)
        noticed = one.requested_at + self.facts.exit_notice
        if self.before and one.requested_at and self.before.header.closed_at > noticed and now[0][24:] > before[0][24:]:
            yield proofs.debit_after_exit(self.before.header, index, who, before, now)
        if self._is_uncovered(index, amount(now[0])):
            why = f"consumer {index} is debited {amount(now[0])} atoms, which no mandate in the file covers"
            yield proofs.ask_mandate((index, who), now, (self.previous, before), why)

    def _is_uncovered(self, index: int, total: int) -> bool:
        """Whether a debit grew, and neither the file nor the chain shows what allows it. Nobody asks without a file."""
        grew = total > amount(self._before(DEBITS, index)[0])
        if self.file is None or not grew or (index, total) in self.facts.answers.mandates:
            return False
        shown = self.mandates.get(index)
        return total > self.facts.mandate(self.accounts[index], self.lane, shown, self.header.closed_at)

    def _regression(self, tree: int, index: int, now: Stands) -> Iterator[FraudProof]:
        before = self._before(tree, index)
        if self.before is not None and amount(now[0]) < amount(before[0]):
            yield proofs.regression(self.before.header, tree, index, before, now)

    def _account_leaf(self, tree: int, index: int, account: Address | None, total: int) -> Word:
        """The leaf of who stands at an index; the zero word where nobody stands."""
        tag = PAYOUT_TAG if tree == PAYOUTS else DEBIT_TAG
        return ZERO if account is None else leaf(tag, self.lane, index, account, total)

    def _before(self, tree: int, index: int) -> Stands:
        if self.before is None:
            return ZERO, []
        return stands_at(self.before.payouts if tree == PAYOUTS else self.before.debits, index)

    def _receipt_leaf(self, receipt: Receipt) -> Word:
        return receipt_leaf(self.lane, struct_hash(receipt), receipt.charge)


def _sums(tree: OpenTree | None) -> Counter[int]:
    """The amounts of a tree of payouts or debits, by index."""
    return Counter({index: amount(word) for index, word in tree.levels[0].items()} if tree else {})


def _claim(line: Line) -> tuple[Address, int, Rates]:
    return line.party, line.ratio_ppm, line.asks
