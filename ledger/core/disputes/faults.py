"""What a posted batch lies about, and the proof that convicts it.

`find_fraud_proof` recomputes a batch from its public file and the file before it, and returns the first lie it
can prove. Nothing is read or sent here. What a file does not show (leaves withheld, a line kept aside) is
asked for (`challenge_game`): a question whose answer on chain is the next clue.

The order is the order of trust: the journals, then the receipts tree, the receipts in it, the lines they make, the rows
the lines make. So each proof stands on trees that were compared before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ledger.core.catalog.bids import BOOKED, Role, decode
from ledger.core.disputes.challenge_game import Found, compare, withheld
from ledger.core.disputes.proofs import (
    FraudProof,
    bad_payout,
    bad_run,
    demand,
    misplaced,
    omitted,
    opened_receipt,
    opening,
    signed,
    unsorted,
)
from ledger.core.disputes.recomputation import (
    CONSUMER,
    DEBITS,
    LINES,
    NO_LINE,
    PAYOUTS,
    RECEIPTS,
    Arguments,
    Facts,
    LineLeaf,
    PlacedBid,
    Recomputation,
    Row,
    account_leaf,
    account_leaves,
    edge,
    in_force,
    receipts_of,
    recompute,
    rows,
)
from ledger.core.pricing.caps import PROTOCOL_PPM
from ledger.core.pricing.price import price
from ledger.core.receipts.receipt import Receipt, struct_hash
from ledger.core.settlement.batch_file import BatchFile
from ledger.core.settlement.closing import RUN
from ledger.core.settlement.header import Header, receipt_logs_table
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import ZERO_ADDRESS, Address, Digest
from ledger.core.values.sum_tree import ZERO, Tree, Word, line_leaf, receipt_leaf
from ledger.core.values.typed_data import receipt_digest, signed_by


def find_fraud_proof(
    file: BatchFile | None, previous: BatchFile | None, committed: Header, facts: Facts
) -> FraudProof | None:
    """The first provable lie of the batch with this file and this header on chain; None if it is honest.

    A lie that voids the batch comes before one that does not: an operator must not hide the one behind the other.
    `file` None, or another's than the header's: nobody shows it. Then None says that everything is open on chain.
    """
    if file is None or file.header != committed:
        return withheld(committed, facts.answers)
    lesser = None
    for lie in _lies(file, previous, committed, facts):
        if lie.voids:
            return lie
        lesser = lesser or lie
    return lesser


def _lies(file: BatchFile, previous: BatchFile | None, committed: Header, facts: Facts) -> Iterator[FraudProof]:
    if _receipt_logs_broken(file, previous):
        tables = [receipt_logs_table(one.opening.ranges) if one else b"" for one in (previous, file)]
        before = previous.header if previous else None
        yield FraudProof("Referee", "proveBrokenJournal", (before, *tables), "the journals skip or repeat receipts")
    receipts = receipts_of(file)
    yield from _of_receipts_root(file, receipts, committed, facts)
    yield from _of_receipts(file, receipts, facts)
    made = recompute(file, facts)
    compared = compare(LINES, [line_leaf(*line) for line in made.lines], committed.lines_root, facts.answers)
    if not isinstance(compared, Tree):
        yield compared if isinstance(compared, FraudProof) else _of_line(made, compared, facts)
        return
    made = replace(made, trees=(*made.trees[:3], compared))
    if len(made.lines) > 1 << compared.height:  # the posted tree ends before the lines do
        yield _missing(made, 1 << compared.height, edge(made, 1 << compared.height), facts)
    for tree, root in ((PAYOUTS, committed.payout_root), (DEBITS, committed.debit_root)):
        yield from _of_accounts(made, previous, tree, root, facts)


def _of_receipts_root(
    file: BatchFile, receipts: Sequence[Receipt], committed: Header, facts: Facts
) -> Iterator[FraudProof]:
    """A receipts tree that is not over the file's receipts, which the gateway signed one by one."""
    leaves = [receipt_leaf(struct_hash(receipt), receipt.charge) for receipt in receipts]
    height = max(0, len(leaves) - 1).bit_length()
    found = compare(RECEIPTS, leaves, committed.receipts_root, facts.answers, height)
    if isinstance(found, FraudProof):
        yield found
    elif isinstance(found, Found) and found.index < len(receipts):
        receipt, signature = receipts[found.index], file.signed["signature"][found.index].tobytes()
        if signed_by(receipt_digest(file.opening.domain, receipt), signature, receipt.gateway):
            yield omitted(file, receipt, signature, found.word, found.proof)
        elif (asked := withheld(committed, facts.answers)) is not None:  # what is not signed is not shown
            yield asked
    elif isinstance(found, Found) and found.word in facts.answers.leaves:
        body = opened_receipt(*facts.answers.leaves[found.word], found.index, found.proof)
        yield misplaced(file, body, f"a receipt stands at place {found.index}, after the last")
    elif isinstance(found, Found):
        yield demand(RECEIPTS, found.word, found.index, found.proof, "a leaf after the last receipt")


def _of_receipts(file: BatchFile, receipts: Sequence[Receipt], facts: Facts) -> Iterator[FraudProof]:
    """Lies a receipt tells by itself."""
    tree = Tree.build([receipt_leaf(struct_hash(receipt), receipt.charge) for receipt in receipts])
    expected = [(row.gateway, seq) for row in sorted(file.opening.ranges) for seq in range(row.first, row.last + 1)]
    seen: dict[Digest, int] = {}
    for place, receipt in enumerate(receipts):
        if (receipt.gateway, receipt.seq) != expected[place] or receipt.lane != file.opening.lane:
            why = f"receipt {receipt.seq} stands at place {place}, which is another's"
            yield misplaced(file, opening(file, receipt, place, tree), why)
        if not _priced_right(file, receipt):
            shown = (opening(file, receipt, place, tree),)
            yield FraudProof("Referee", "proveBadLine", shown, f"receipt {receipt.seq} costs what no terms give")
        twin = seen.setdefault(receipt.call_id, place)
        if twin != place:
            pair = (signed(file, twin), signed(file, place))
            yield FraudProof("Referee", "proveDoubleReceipt", pair, f"one call is charged at {twin} and {place}")
        for number, bids in _not_in_force(file, receipt, facts):
            why = f"line {number} of receipt {receipt.seq} is not the bid in force"
            history = (opening(file, receipt, place, tree), number, bytes(24), bids)
            yield FraudProof("Referee", "proveBadBid", history, why)


def _not_in_force(file: BatchFile, receipt: Receipt, facts: Facts) -> Iterator[tuple[int, list[Arguments]]]:
    """Lines that are not the bids in force, and the bidder's history that shows it."""
    terms = decode(file.terms[receipt.terms])
    for number, line in enumerate(terms.lines):
        if line.role is Role.protocol:
            right = (line.party, line.ratio_ppm, line.asks) == (facts.treasury, PROTOCOL_PPM, (0,) * 6)
            history: list[PlacedBid] = []
        elif line.role in BOOKED and facts.bids is not None:
            subject = Digest(file.opening.lane.to_bytes(32, "big")) if line.role is Role.gateway else terms.subject
            history = list(facts.bids.get((subject, line.role, line.party), ()))
            due = in_force(history, receipt.epoch)
            right = due is not None and (due.ratio_ppm, due.asks) == (line.ratio_ppm, line.asks)
        else:
            continue
        if not right:
            yield number, [(one.bid.ratio_ppm, list(one.bid.asks), one.first) for one in history]


def _of_line(made: Recomputation, found: Found, facts: Facts) -> FraudProof:
    """A posted line that is not the one the receipts make. The lines before it are as they should be."""
    rank = found.index
    posted = _opened_line(found.word, found.proof, facts)
    left: LineLeaf = (*made.lines[rank - 1], found.proof_before()) if rank else NO_LINE
    due = made.lines[rank] if rank < len(made.lines) else None
    if found.word == ZERO or (due and posted[:2] > due[:2]):
        return _missing(made, rank, (rank, left, posted), facts)
    if rank and posted[:2] <= left[:2]:
        return unsorted(rank - 1, left, posted)
    party, run, paid, _ = posted
    account = _account_of(party, facts)
    if account is not None and paid and run * RUN < len(made.receipts):
        return bad_run(made, party, run, account, (rank, left, posted))
    if rank:
        return unsorted(rank - 1, left, posted)
    if not found.proof:  # a tree of one leaf that is no line: all lines are missing after it
        return _missing(made, 0, (1, posted, NO_LINE), facts)
    word, proof = found.proof[0], [found.word, *found.proof[1:]]
    if word == ZERO or word in facts.answers.leaves:
        return unsorted(0, posted, _opened_line(word, proof, facts))
    return demand(LINES, word, 1, proof, "the line after a first line that is none")


def _opened_line(word: Word, proof: list[Word], facts: Facts) -> LineLeaf:
    if word == ZERO:
        return 0, 0, 0, proof
    preimage, _ = facts.answers.leaves[word]
    party, run, paid = (int.from_bytes(preimage[at:end], "big") for at, end in ((1, 5), (5, 9), (9, 17)))
    return party, run, paid, proof


def _missing(made: Recomputation, rank: int, line: Arguments, facts: Facts) -> FraudProof:
    """The line the receipts make for this rank is nowhere."""
    party, run, _ = made.lines[rank]
    account = _account_of(party, facts)
    assert account is not None, "lines are made for known parties only"
    return bad_run(made, party, run, account, line)


def _account_of(party: int, facts: Facts) -> Address | None:
    if party & CONSUMER:
        return next((who for who, (index, _) in facts.deposits.items() if index == party ^ CONSUMER), None)
    return facts.payees.get(party)


def _of_accounts(
    made: Recomputation, previous: BatchFile | None, tree: int, root: bytes, facts: Facts
) -> Iterator[FraudProof]:
    """Payouts or debits that fell, changed hands, are nobody's, or are not their lines' sums.

    Where the posted tree is not over the file's rows, its true rows are learnt by asking, one after the other.
    """
    now, judge = rows(made.file, tree), _Judge(made, previous, tree, facts)
    leaves = account_leaves(tree, now)
    while not isinstance(posted := compare(tree, leaves, root, facts.answers), Tree):
        if isinstance(posted, FraudProof):
            yield posted
            return
        row = (posted.index, ZERO_ADDRESS, 0)
        if posted.word != ZERO:
            preimage, _ = facts.answers.leaves[posted.word]
            row = (posted.index, Address(preimage[5:25]), int.from_bytes(preimage[25:], "big"))
        yield from judge.lies(row, (row[1], row[2], posted.proof))
        now[posted.index] = row
        leaves += [ZERO] * (posted.index + 1 - len(leaves))
        leaves[posted.index] = posted.word
    for index in sorted(judge.grown.keys() | judge.before.keys() | now.keys()):
        row = now.get(index, (index, ZERO_ADDRESS, 0)) if index < 1 << posted.height else (index, ZERO_ADDRESS, 0)
        yield from judge.lies(row, account_leaf(posted, row))


class _Judge:
    """What a row of payouts or debits must be: the row before, grown by its lines."""

    def __init__(self, made: Recomputation, previous: BatchFile | None, tree: int, facts: Facts) -> None:
        self.made, self.tree, self.facts = made, tree, facts
        self.header = previous.header if previous else None
        self.before = rows(previous, tree)
        leaves = account_leaves(tree, self.before)
        root = getattr(self.header, "payout_root" if tree == PAYOUTS else "debit_root", ZERO)
        then = compare(tree, leaves, root, facts.answers)
        self.then = then if isinstance(then, Tree) else Tree.build(leaves)
        self.grown: Counter[int] = Counter()
        for party, _, paid in made.lines:
            if bool(party & CONSUMER) == (tree == DEBITS):
                self.grown[party & ~CONSUMER] += paid

    def lies(self, row: Row, leaf: Arguments) -> Iterator[FraudProof]:
        """What a posted row lies about; `leaf` is (account, cumulative, proof)."""
        index, account, cumulative = row
        was = self.before.get(index, (index, ZERO_ADDRESS, 0))
        old = account_leaf(self.then, was)
        if self.header and was[2] and (account != was[1] or cumulative < was[2]):
            why = f"index {index} fell from {was[2]} to {cumulative}, or changed hands"
            yield FraudProof("Referee", "proveRegression", (self.header, self.tree, index, old, leaf), why)
        if cumulative and self.tree == PAYOUTS and self.facts.payees.get(index) != account:
            yield FraudProof("Referee", "proveWrongPayee", (index, leaf), f"payee {index} is somebody else")
        if cumulative and self.tree == DEBITS:
            known, most = self.facts.deposits.get(account, (0, 0))
            if known != index or cumulative > most:
                why = f"consumer {index} is debited {cumulative} of {most}"
                yield FraudProof("Referee", "proveOverdraft", (index, leaf), why)
        if cumulative - was[2] != self.grown[index]:
            yield bad_payout(self.made, self.header, self.tree, index, old, leaf)


def withheld_receipt(file: BatchFile, receipt: Receipt, signature: bytes) -> FraudProof | None:
    """The proof that a receipt its gateway signed is not at its place in this batch; None if it is, or is no business
    of this batch."""
    receipts, place = receipts_of(file), 0
    for row in sorted(file.opening.ranges):
        if row.gateway == receipt.gateway and row.first <= receipt.seq <= row.last:
            place += receipt.seq - row.first
            break
        place += row.count
    else:
        return None
    if receipts[place] == receipt:
        return None
    tree = Tree.build([receipt_leaf(struct_hash(one), one.charge) for one in receipts])
    return omitted(file, receipt, signature, tree.leaf(place), tree.proof(place))


def _receipt_logs_broken(file: BatchFile, previous: BatchFile | None) -> bool:
    next_ = {row.gateway: row.last + 1 for row in previous.opening.ranges} if previous else {}
    found = {row.gateway: row.first for row in file.opening.ranges}
    return any(found.get(gateway) != next_.get(gateway, 1) for gateway in {*next_, *found})


def _priced_right(file: BatchFile, receipt: Receipt) -> bool:
    try:
        due = price(decode(file.terms[receipt.terms]), receipt.units, receipt.passed)
    except (Rejected, KeyError):
        return False
    return (due.price, due.charge) == (receipt.price, receipt.charge)
