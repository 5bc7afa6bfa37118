"""What a posted batch lies about, and the proof that convicts it.

`accuse` recomputes a batch from its public file and the file before it, and returns the first lie it can prove: which
function of which contract, with which arguments, in the words of the ABI. Nothing is read or sent here. What a file
does not show (leaves withheld, a line kept aside) is asked for: a demand whose answer is the next clue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ledger.core.batches import BatchFile
from ledger.core.bids import Bid, Role, decode
from ledger.core.closing import RUN
from ledger.core.errors import Rejected
from ledger.core.headers import Header, journals_table
from ledger.core.ids import ZERO_ADDRESS, Address, Digest
from ledger.core.pricing import payees, price
from ledger.core.receipts import Receipt, fields, struct_hash, unpack
from ledger.core.sumtree import DEBIT_TAG, PAYOUT_TAG, Tree, Word, leaf, line_leaf, parent, receipt_leaf

RECEIPTS, PAYOUTS, DEBITS, LINES = 0, 1, 2, 3
"""Trees of a header, as the contract numbers them."""
CONSUMER = 1 << 31
PROTOCOL_PPM = 20_000
BOOKED = (Role.compute, Role.delivery, Role.gateway)
"""Roles whose lines must be bids in force."""

Arguments: TypeAlias = tuple[object, ...]
LineLeaf: TypeAlias = tuple[int, int, int, list[Word]]
Row: TypeAlias = tuple[int, Address, int]
NO_LINE: LineLeaf = (0, 0, 0, [])


@dataclass(frozen=True, slots=True)
class Accusation:
    """A call that convicts, or a paid question on the way to it. `arguments` follow (lane, id, header)."""

    contract: str
    function: str
    arguments: Arguments
    why: str
    paid: bool = False


@dataclass(frozen=True, slots=True)
class PlacedBid:
    """A bid as the book's history has it."""

    bid: Bid
    first: int
    until: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What the chain says, as far as a batch can contradict it."""

    treasury: Address
    payees: Mapping[int, Address]
    deposits: Mapping[Address, tuple[int, int]]
    """Consumer -> (lane index, most it may have been debited)."""
    bids: Mapping[tuple[Digest, Role, Address], Sequence[PlacedBid]] | None = None
    """Whole histories, oldest first. None: do not judge lines by the book."""


@dataclass(frozen=True)
class Recomputed:
    """The honest batch that the file's receipts make, and where the file differs from it."""

    file: BatchFile
    receipts: tuple[Receipt, ...]
    shares: tuple[tuple[tuple[Address, int], ...], ...]
    """Per receipt: (payee, amount)."""
    trees: tuple[Tree, Tree, Tree, Tree]
    lines: tuple[tuple[int, int, int], ...] = field(default=())
    """(party, run, amount), sorted."""


def accuse(file: BatchFile, previous: BatchFile | None, committed: Header, facts: Facts) -> Accusation | None:
    """The first provable lie of the batch with this file and this header on chain; None if it is honest."""
    if file.header != committed:
        return withheld(committed)
    for found in _of_receipts(file, previous, facts):
        return found
    made = recompute(file, facts)
    for found in _of_accounts(file, previous, facts):
        return found
    for found in _of_roots(made, committed):
        return found
    for found in _of_sums(made, previous):
        return found
    return None


def withheld(committed: Header) -> Accusation:
    """Nobody shows the file: demand the root of the receipts."""
    return demand(RECEIPTS, committed.receipts_root, 0, [], "the batch file is withheld")


def demand(tree: int, node: Word, index: int, proof: Sequence[Word], why: str) -> Accusation:
    """The question what a node hides."""
    return Accusation("Settlement", "demandNode", (tree, node, index, list(proof)), why, paid=True)


def recompute(file: BatchFile, facts: Facts) -> Recomputed:
    """What the file's receipts and rows make, leaf by leaf. The prices must have been checked."""
    receipts = tuple(unpack(row.tobytes()) for row in file.signed["receipt"])
    shares = tuple(tuple(_shares(file, receipt)) for receipt in receipts)
    lines = tuple(_lines(receipts, shares, facts))
    trees = (
        Tree.build([receipt_leaf(struct_hash(receipt), receipt.charge) for receipt in receipts]),
        account_tree(file, PAYOUTS),
        account_tree(file, DEBITS),
        Tree.build([line_leaf(*line) for line in lines]),
    )
    return Recomputed(file, receipts, shares, trees, lines)


def account_tree(file: BatchFile, tree: int) -> Tree:
    """The payout or debit tree that the file's rows make, position 0 empty."""
    rows = _rows(file, tree)
    tag = PAYOUT_TAG if tree == PAYOUTS else DEBIT_TAG
    leaves = [bytes(32)] * (max((index for index, _, _ in rows), default=0) + 1)
    for index, account, cumulative in rows:
        leaves[index] = leaf(tag, index, account, cumulative)
    return Tree.build(leaves)


def _of_receipts(file: BatchFile, previous: BatchFile | None, facts: Facts) -> Iterator[Accusation]:
    """Lies a receipt or the journals tell by themselves."""
    tables = [journals_table(one.opening.ranges) if one else b"" for one in (previous, file)]
    if _journals_broken(file, previous):
        before = previous.header if previous else None
        yield Accusation("Referee", "proveBrokenJournal", (before, *tables), "the journals skip or repeat receipts")
    receipts = [unpack(row.tobytes()) for row in file.signed["receipt"]]
    tree = Tree.build([receipt_leaf(struct_hash(receipt), receipt.charge) for receipt in receipts])
    expected = [(row.gateway, seq) for row in sorted(file.opening.ranges) for seq in range(row.first, row.last + 1)]
    seen: dict[Digest, int] = {}
    for place, receipt in enumerate(receipts):
        opening = _opening(file, receipt, place, tree)
        if (receipt.gateway, receipt.seq) != expected[place] or receipt.lane != file.opening.lane:
            why = f"receipt {receipt.seq} stands at place {place}, which is another's"
            yield Accusation("Referee", "proveMisplacedReceipt", (tables[1], opening), why)
        if not _priced_right(file, receipt):
            yield Accusation("Referee", "proveBadLine", (opening,), f"receipt {receipt.seq} costs what no terms give")
        twin = seen.setdefault(receipt.call_id, place)
        if twin != place:
            pair = [_signed(file, receipts[one], one) for one in (twin, place)]
            yield Accusation("Referee", "proveDoubleReceipt", tuple(pair), f"one call is charged at {twin} and {place}")
        yield from _of_terms(file, receipt, opening, facts)


def _of_terms(file: BatchFile, receipt: Receipt, opening: Arguments, facts: Facts) -> Iterator[Accusation]:
    """Lines that are not the bids in force."""
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
            bids = [(one.bid.ratio_ppm, list(one.bid.asks), one.first) for one in history]
            why = f"line {number} of receipt {receipt.seq} is not the bid in force"
            yield Accusation("Referee", "proveBadBid", (opening, number, bytes(24), bids), why)


def in_force(history: Sequence[PlacedBid], epoch: int) -> Bid | None:
    """The bid a history has in force at an epoch."""
    entered = [one for one in history if one.first <= epoch]
    return entered[-1].bid if entered and epoch < entered[-1].until else None


def _of_accounts(file: BatchFile, previous: BatchFile | None, facts: Facts) -> Iterator[Accusation]:
    """Lies the rows of payouts and debits tell by themselves."""
    for tree in (PAYOUTS, DEBITS):
        now, before = account_tree(file, tree), account_tree(previous, tree) if previous else Tree.build([])
        rows = {row[0]: row for row in (file.payouts if tree == PAYOUTS else file.debits).rows()}
        for index, account, cumulative in (
            (previous.payouts if tree == PAYOUTS else previous.debits).rows() if previous else ()
        ):
            _, holder, amount_ = rows.get(index, (index, ZERO_ADDRESS, 0))
            if previous and (holder != account or amount_ < cumulative):
                leaves = (_account(before, index, account, cumulative), _account(now, index, holder, amount_))
                why = f"index {index} fell from {cumulative} to {amount_}, or changed hands"
                yield Accusation("Referee", "proveRegression", (previous.header, tree, index, *leaves), why)
        for index, account, cumulative in rows.values():
            accused = (index, _account(now, index, account, cumulative))
            if tree == PAYOUTS and facts.payees.get(index) != account:
                yield Accusation("Referee", "proveWrongPayee", accused, f"payee {index} is somebody else")
            if tree == DEBITS:
                known, most = facts.deposits.get(account, (0, 0))
                if known != index or cumulative > most:
                    why = f"consumer {index} is debited {cumulative} of {most}"
                    yield Accusation("Referee", "proveOverdraft", accused, why)


def _of_roots(made: Recomputed, committed: Header) -> Iterator[Accusation]:
    """Roots that are not over the file's leaves: a sum that lies at once, the rest is asked for from the top."""
    roots = (committed.receipts_root, committed.payout_root, committed.debit_root, committed.lines_root)
    for tree, (honest, root) in enumerate(zip(made.trees, roots, strict=True)):
        if honest.root != root:
            yield descend(tree, honest, root, 0, 0)


def descend(tree: int, honest: Tree, node: Word, depth: int, index: int, proof: Sequence[Word] = ()) -> Accusation:
    """What to do about a posted node that the honest tree does not have at (depth, index), known with its proof."""
    level = honest.height - depth
    if level > 0:
        left, right = (_at(honest, level - 1, 2 * index + side) for side in (0, 1))
        if parent(left, right)[:24] == node[:24]:
            why = f"the sum of node {index} at depth {depth} is not its children's"
            return Accusation("Settlement", "proveBadSum", (tree, node, left, right, index, list(proof)), why)
    return demand(tree, node, index, proof, f"node {index} at depth {depth} of tree {tree} is not what the file makes")


def _of_sums(made: Recomputed, previous: BatchFile | None) -> Iterator[Accusation]:
    """Cumulatives that did not grow by their lines. The lines are honest: their root was compared."""
    grown: Counter[int] = Counter()
    for party, _, paid in made.lines:
        grown[party] += paid
    for tree in (PAYOUTS, DEBITS):
        rows = (made.file.payouts if tree == PAYOUTS else made.file.debits).rows()
        was = {
            row[0]: row
            for row in ((previous.payouts if tree == PAYOUTS else previous.debits).rows() if previous else ())
        }
        isnow = {row[0]: row for row in rows}
        parties = {party & ~CONSUMER for party in grown if bool(party & CONSUMER) == (tree == DEBITS)}
        for index in sorted(parties | was.keys() | isnow.keys()):
            before, after = was.get(index, (index, ZERO_ADDRESS, 0)), isnow.get(index, (index, ZERO_ADDRESS, 0))
            if after[2] - before[2] != grown[index | CONSUMER if tree == DEBITS else index]:
                yield _payout(made, previous, tree, index, before, after)


def _payout(made: Recomputed, previous: BatchFile | None, tree: int, index: int, before: Row, after: Row) -> Accusation:
    party = index | CONSUMER if tree == DEBITS else index
    old = _account(account_tree(previous, tree), index, before[1], before[2]) if previous else (ZERO_ADDRESS, 0, [])
    new = _account(made.trees[tree], index, after[1], after[2])
    edges = (boundary(made, (party, 0)), boundary(made, (party + 1, 0)))
    header = previous.header if previous else None
    why = f"index {index} of tree {tree} did not grow by its lines"
    return Accusation("Referee", "provePayout", (header, tree, index, old, new, *edges), why)


def boundary(made: Recomputed, key: tuple[int, int]) -> tuple[int, LineLeaf, LineLeaf]:
    """Where a (party, run) stands among the lines: the rank of the first not below it, and the leaves around."""
    rank = sum(1 for party, run, _ in made.lines if (party, run) < key)
    left = _line(made, rank - 1) if rank else NO_LINE
    right = _line(made, rank) if rank < 1 << made.trees[LINES].height else NO_LINE
    return rank, left, right


def bad_run(made: Recomputed, party: int, run: int, account: Address, line: Arguments) -> Accusation:
    """The proof that a posted line is not what its run's 64 receipts give. `line` is the boundary that shows it."""
    start = run * RUN
    receipts = made.receipts[start : start + RUN]
    names = sorted({receipt.terms for receipt in receipts})
    bodies = [made.file.terms[name] for name in names]
    which = [names.index(receipt.terms) for receipt in receipts]
    tree = made.trees[RECEIPTS]
    proof = tree.range_proof(start, len(receipts))
    arguments = (run, party, account, [fields(one) for one in receipts], bodies, which, tree.height, proof, line)
    return Accusation("Referee", "proveBadRun", arguments, f"run {run} does not give party {party} what its line says")


def omitted(file: BatchFile, receipt: Receipt, signature: bytes) -> Accusation | None:
    """The proof that a receipt its gateway signed is not at its place in this batch; None if it is, or is no business
    of this batch."""
    place = 0
    for row in sorted(file.opening.ranges):
        if row.gateway == receipt.gateway and row.first <= receipt.seq <= row.last:
            place += receipt.seq - row.first
            break
        place += row.count
    else:
        return None
    found = unpack(file.signed["receipt"][place].tobytes())
    if found == receipt:
        return None
    tree = Tree.build([receipt_leaf(row_hash, charge) for row_hash, charge in _hashes(file)])
    signed = (fields(receipt), signature)
    arguments = (journals_table(file.opening.ranges), signed, tree.leaf(place), tree.proof(place))
    return Accusation("Referee", "proveOmittedReceipt", arguments, f"receipt {receipt.seq} was left out")


def _hashes(file: BatchFile) -> Iterator[tuple[Digest, int]]:
    for row in file.signed["receipt"]:
        receipt = unpack(row.tobytes())
        yield struct_hash(receipt), receipt.charge


def _journals_broken(file: BatchFile, previous: BatchFile | None) -> bool:
    next_ = {row.gateway: row.last + 1 for row in previous.opening.ranges} if previous else {}
    found = {row.gateway: row.first for row in file.opening.ranges}
    return any(found.get(gateway) != next_.get(gateway, 1) for gateway in {*next_, *found})


def _priced_right(file: BatchFile, receipt: Receipt) -> bool:
    try:
        due = price(decode(file.terms[receipt.terms]), receipt.units, receipt.passed)
    except (Rejected, KeyError):
        return False
    return (due.price, due.charge) == (receipt.price, receipt.charge)


def _shares(file: BatchFile, receipt: Receipt) -> Iterator[tuple[Address, int]]:
    terms = decode(file.terms[receipt.terms])
    due = price(terms, receipt.units, receipt.passed)
    for (payee, _), paid in zip(payees(terms), due.amounts, strict=True):
        yield payee, paid


def _lines(
    receipts: Sequence[Receipt], shares: Sequence[Sequence[tuple[Address, int]]], facts: Facts
) -> list[tuple[int, int, int]]:
    indexes = {account: index for index, account in facts.payees.items()}
    totals: Counter[tuple[int, int]] = Counter()
    for place, (receipt, paid) in enumerate(zip(receipts, shares, strict=True)):
        run = place // RUN
        for payee, share in paid:
            totals[indexes.get(payee, 0), run] += share
        totals[facts.deposits.get(receipt.consumer, (0, 0))[0] | CONSUMER, run] += receipt.charge
    return sorted((party, run, total) for (party, run), total in totals.items() if total)


def _opening(file: BatchFile, receipt: Receipt, place: int, tree: Tree) -> Arguments:
    return fields(receipt), file.terms.get(receipt.terms, b""), place, tree.proof(place)


def _signed(file: BatchFile, receipt: Receipt, place: int) -> Arguments:
    return fields(receipt), file.signed["signature"][place].tobytes()


def _rows(file: BatchFile | None, tree: int) -> list[Row]:
    if file is None:
        return []
    return (file.payouts if tree == PAYOUTS else file.debits).rows()


def _account(tree: Tree, index: int, account: Address, cumulative: int) -> Arguments:
    """A leaf as the contract takes it; beyond the tree's width, the empty leaf at 0."""
    return account, cumulative, tree.proof(index if index < 1 << tree.height else 0)


def _line(made: Recomputed, rank: int) -> LineLeaf:
    proof = made.trees[LINES].proof(rank)
    return (*made.lines[rank], proof) if rank < len(made.lines) else (0, 0, 0, proof)


def _at(tree: Tree, level: int, index: int) -> Word:
    words = tree.levels[level]
    if index < len(words):
        return words[index]
    empty = bytes(32)
    for _ in range(level):
        empty = parent(empty, empty)
    return empty
