"""The faults of a posted batch, and their fraud proofs.

`find_fraud_proof` recomputes a batch from its public file and the file before it, and returns the first fault that it
can prove. It reads and sends nothing. What a file does not show is requested on chain (`challenge_game`).

Checks run in order of dependence: receipt logs, receipts tree, receipts, lines, rows of accounts. So each proof relies
only on trees that were compared before.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ledger.core.catalog.bids import BOOKED, Role, decode
from ledger.core.disputes import proofs
from ledger.core.disputes.challenge_game import Divergence, compare, withheld
from ledger.core.disputes.proofs import FraudProof
from ledger.core.disputes.recomputation import (
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
    recompute,
    rows,
)
from ledger.core.pricing.caps import PROTOCOL_PPM
from ledger.core.pricing.price import price
from ledger.core.receipts.receipt import Receipt, receipt_digest, struct_hash
from ledger.core.settlement.batch_file import BatchFile
from ledger.core.settlement.closing import RUN
from ledger.core.settlement.header import Header, gaps, receipt_logs_table
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import ZERO_ADDRESS, Address, Digest, lane_subject
from ledger.core.values.meters import NO_RATES
from ledger.core.values.sum_tree import CONSUMER_BIT, ZERO, Tree, Word, line_leaf, receipt_leaf
from ledger.core.values.typed_data import signed_by


def find_fraud_proof(
    file: BatchFile | None, previous: BatchFile | None, committed: Header, facts: Facts
) -> FraudProof | None:
    """The first provable fault of the batch with this file and this header on chain; None if it is honest.

    A fault that voids the batch comes first: an operator must not hide it behind one that does not. If `file` is None
    or not the header's, the file is withheld; then None means that everything is open on chain.
    """
    if file is None or file.header != committed:
        return withheld(committed, facts.answers)
    lesser = None
    for proof in _faults(file, previous, committed, facts):
        if proof.voids:
            return proof
        lesser = lesser or proof
    return lesser


def _faults(file: BatchFile, previous: BatchFile | None, committed: Header, facts: Facts) -> Iterator[FraudProof]:
    if gaps(previous.opening.ranges if previous else (), file.opening.ranges):
        tables = [receipt_logs_table(one.opening.ranges) if one else b"" for one in (previous, file)]
        before = previous.header if previous else None
        yield FraudProof("Referee", "proveBrokenJournal", (before, *tables), "the receipt logs skip or repeat receipts")
    receipts = file.receipts
    yield from _of_receipts_root(file, receipts, committed, facts)
    yield from _of_receipts(file, receipts, facts)
    honest = recompute(file, facts)
    compared = compare(LINES, [line_leaf(*line) for line in honest.lines], committed.lines_root, facts.answers)
    if not isinstance(compared, Tree):
        yield compared if isinstance(compared, FraudProof) else _of_line(honest, compared, facts)
        return
    honest = replace(honest, trees=(*honest.trees[:3], compared))
    if len(honest.lines) > 1 << compared.height:  # the posted tree ends before the lines do
        yield _missing(honest, 1 << compared.height, edge(honest, 1 << compared.height), facts)
    for tree, root in ((PAYOUTS, committed.payout_root), (DEBITS, committed.debit_root)):
        yield from _of_accounts(honest, previous, tree, root, facts)


def _of_receipts_root(
    file: BatchFile, receipts: Sequence[Receipt], committed: Header, facts: Facts
) -> Iterator[FraudProof]:
    """A receipts tree that is not over the file's receipts, each signed by its gateway."""
    leaves = [receipt_leaf(struct_hash(receipt), receipt.charge) for receipt in receipts]
    height = max(0, len(leaves) - 1).bit_length()
    found = compare(RECEIPTS, leaves, committed.receipts_root, facts.answers, height)
    if isinstance(found, FraudProof):
        yield found
    elif isinstance(found, Divergence) and found.index < len(receipts):
        receipt, signature = receipts[found.index], file.signed.signature(found.index)
        if signed_by(receipt_digest(file.opening.domain, receipt), signature, receipt.gateway):
            yield proofs.omitted(file, receipt, signature, found.word, found.proof)
        elif asked := withheld(committed, facts.answers):  # a receipt without its signature counts as withheld
            yield asked
    elif isinstance(found, Divergence) and found.word in facts.answers.leaves:
        body = proofs.opened_receipt(*facts.answers.leaves[found.word], found.index, found.proof)
        yield proofs.misplaced(file, body, f"a receipt is at place {found.index}, after the last")
    elif isinstance(found, Divergence):
        yield proofs.demand(RECEIPTS, found.word, found.index, found.proof, "a leaf after the last receipt")


def _of_receipts(file: BatchFile, receipts: Sequence[Receipt], facts: Facts) -> Iterator[FraudProof]:
    """Faults of single receipts."""
    tree = Tree.build([receipt_leaf(struct_hash(receipt), receipt.charge) for receipt in receipts])
    expected = [(row.gateway, seq) for row in sorted(file.opening.ranges) for seq in range(row.first, row.last + 1)]
    seen: dict[Digest, int] = {}
    for place, receipt in enumerate(receipts):
        if (receipt.gateway, receipt.seq) != expected[place] or receipt.lane != file.opening.lane:
            why = f"receipt {receipt.seq} is at place {place}, which belongs to another"
            yield proofs.misplaced(file, proofs.opening(file, receipt, place, tree), why)
        if not _priced_right(file, receipt):
            shown = (proofs.opening(file, receipt, place, tree),)
            why = f"the price or charge of receipt {receipt.seq} does not follow from its terms"
            yield FraudProof("Referee", "proveBadLine", shown, why)
        twin = seen.setdefault(receipt.call_id, place)
        if twin != place:
            pair = (proofs.signed(file, twin), proofs.signed(file, place))
            yield FraudProof("Referee", "proveDoubleReceipt", pair, f"one call is charged at {twin} and {place}")
        for number, bids in _not_in_force(file, receipt, facts):
            why = f"line {number} of receipt {receipt.seq} is not the bid in force"
            history = (proofs.opening(file, receipt, place, tree), number, bytes(24), bids)
            yield FraudProof("Referee", "proveBadBid", history, why)


def _not_in_force(file: BatchFile, receipt: Receipt, facts: Facts) -> Iterator[tuple[int, list[Arguments]]]:
    """Numbers of lines that are not the bids in force, with the bidder's history that shows it."""
    terms = decode(file.terms[receipt.terms])
    for number, line in enumerate(terms.lines):
        if line.role is Role.protocol:
            right = (line.party, line.ratio_ppm, line.asks) == (facts.treasury, PROTOCOL_PPM, NO_RATES)
            history: list[PlacedBid] = []
        elif line.role in BOOKED and facts.bids is not None:
            subject = lane_subject(file.opening.lane) if line.role is Role.gateway else terms.subject
            history = list(facts.bids.get((subject, line.role, line.party), ()))
            due = in_force(history, receipt.epoch)
            right = due is not None and (due.ratio_ppm, due.asks) == (line.ratio_ppm, line.asks)
        else:
            continue
        if not right:
            yield number, [(one.bid.ratio_ppm, list(one.bid.asks), one.first) for one in history]


def _of_line(honest: Recomputation, found: Divergence, facts: Facts) -> FraudProof:
    """The proof for a posted line that differs from the receipts' line. All lines before it are right."""
    rank = found.index
    posted = _opened_line(found.word, found.proof, facts)
    left: LineLeaf = (*honest.lines[rank - 1], found.proof_before()) if rank else NO_LINE
    due = honest.lines[rank] if rank < len(honest.lines) else None
    if found.word == ZERO or (due and posted[:2] > due[:2]):
        return _missing(honest, rank, (rank, left, posted), facts)
    if rank and posted[:2] <= left[:2]:
        return proofs.unsorted(rank - 1, left, posted)
    party, run, paid, _ = posted
    account = _account_of(party, facts)
    if account is not None and paid and run * RUN < len(honest.receipts):
        return proofs.bad_run(honest, party, run, account, (rank, left, posted))
    if rank:
        return proofs.unsorted(rank - 1, left, posted)
    if not found.proof:  # a tree of one leaf that is not a line: all lines are missing
        return _missing(honest, 0, (1, posted, NO_LINE), facts)
    word, proof = found.proof[0], [found.word, *found.proof[1:]]
    if word == ZERO or word in facts.answers.leaves:
        return proofs.unsorted(0, posted, _opened_line(word, proof, facts))
    return proofs.demand(LINES, word, 1, proof, "the leaf after a first leaf that is not a line")


def _opened_line(word: Word, proof: list[Word], facts: Facts) -> LineLeaf:
    if word == ZERO:
        return 0, 0, 0, proof
    preimage, _ = facts.answers.leaves[word]
    party, run, paid = (int.from_bytes(preimage[at:end], "big") for at, end in ((1, 5), (5, 9), (9, 17)))
    return party, run, paid, proof


def _missing(honest: Recomputation, rank: int, line: Arguments, facts: Facts) -> FraudProof:
    """The proof that the receipts' line of this rank is missing."""
    party, run, _ = honest.lines[rank]
    account = _account_of(party, facts)
    assert account is not None, "recomputed lines have known parties only"
    return proofs.bad_run(honest, party, run, account, line)


def _account_of(party: int, facts: Facts) -> Address | None:
    if party & CONSUMER_BIT:
        return next((who for who, (index, _) in facts.deposits.items() if index == party ^ CONSUMER_BIT), None)
    return facts.payees.get(party)


def _of_accounts(
    honest: Recomputation, previous: BatchFile | None, tree: int, root: bytes, facts: Facts
) -> Iterator[FraudProof]:
    """Payouts or debits that fell, changed account, belong to no party, or did not grow by their lines.

    If the posted tree is not over the file's rows, its true rows are requested on chain, one after the other.
    """
    now, check = rows(honest.file, tree), _AccountFaults(honest, previous, tree, facts)
    leaves = account_leaves(tree, now)
    while not isinstance(posted := compare(tree, leaves, root, facts.answers), Tree):
        if isinstance(posted, FraudProof):
            yield posted
            return
        row = (posted.index, ZERO_ADDRESS, 0)
        if posted.word != ZERO:
            preimage, _ = facts.answers.leaves[posted.word]
            row = (posted.index, Address(preimage[5:25]), int.from_bytes(preimage[25:], "big"))
        yield from check.faults(row, (row[1], row[2], posted.proof))
        now[posted.index] = row
        leaves += [ZERO] * (posted.index + 1 - len(leaves))
        leaves[posted.index] = posted.word
    for index in sorted(check.grown.keys() | check.before.keys() | now.keys()):
        row = now.get(index, (index, ZERO_ADDRESS, 0)) if index < 1 << posted.height else (index, ZERO_ADDRESS, 0)
        yield from check.faults(row, account_leaf(posted, row))


class _AccountFaults:
    """Faults of single rows of payouts or debits. A row must be the one before, grown by its lines."""

    def __init__(self, honest: Recomputation, previous: BatchFile | None, tree: int, facts: Facts) -> None:
        self.honest, self.tree, self.facts = honest, tree, facts
        self.header = previous.header if previous else None
        self.before = rows(previous, tree)
        leaves = account_leaves(tree, self.before)
        root = getattr(self.header, "payout_root" if tree == PAYOUTS else "debit_root", ZERO)
        then = compare(tree, leaves, root, facts.answers)
        self.then = then if isinstance(then, Tree) else Tree.build(leaves)
        self.grown: Counter[int] = Counter()
        for party, _, paid in honest.lines:
            if bool(party & CONSUMER_BIT) == (tree == DEBITS):
                self.grown[party & ~CONSUMER_BIT] += paid

    def faults(self, row: Row, leaf: Arguments) -> Iterator[FraudProof]:
        """The faults of a posted row. `leaf` is (account, cumulative, proof)."""
        index, account, cumulative = row
        was = self.before.get(index, (index, ZERO_ADDRESS, 0))
        old = account_leaf(self.then, was)
        if self.header and was[2] and (account != was[1] or cumulative < was[2]):
            why = f"index {index} fell from {was[2]} to {cumulative}, or changed account"
            yield FraudProof("Referee", "proveRegression", (self.header, self.tree, index, old, leaf), why)
        if cumulative and self.tree == PAYOUTS and self.facts.payees.get(index) != account:
            yield FraudProof("Referee", "proveWrongPayee", (index, leaf), f"payee {index} is another account")
        if cumulative and self.tree == DEBITS:
            known, most = self.facts.deposits.get(account, (0, 0))
            if known != index or cumulative > most:
                why = f"consumer {index} is debited {cumulative} of {most}"
                yield FraudProof("Referee", "proveOverdraft", (index, leaf), why)
        if cumulative - was[2] != self.grown[index]:
            yield proofs.bad_payout(self.honest, self.header, self.tree, index, old, leaf)


def _priced_right(file: BatchFile, receipt: Receipt) -> bool:
    try:
        due = price(decode(file.terms[receipt.terms]), receipt.units, receipt.subcall_total)
    except (Rejected, KeyError):
        return False
    return (due.price, due.charge) == (receipt.price, receipt.charge)
