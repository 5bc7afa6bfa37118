"""Proofs against a batch, as calls: which function of which contract, with which arguments, in the words of the ABI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.core.disputes.recomputation import CONSUMER, DEBITS, RECEIPTS, Arguments, LineLeaf, Recomputation, boundary
from ledger.core.receipts.receipt import Receipt, unpack
from ledger.core.settlement.batch_file import BatchFile
from ledger.core.settlement.closing import RUN
from ledger.core.settlement.header import Header, receipt_logs_table
from ledger.core.values.ids import Address
from ledger.core.values.sum_tree import Tree, Word

Opened = tuple[bytes, bytes, int, list[Word]]
"""A leaf as `proveUnevenTree` takes it: preimage, terms, index, proof."""
_WORD = 32
_HASHES, _ADDRESSES = (0, 1, 6, 19, 20), (3, 5)
"""Which of a receipt's 21 words are no numbers."""


@dataclass(frozen=True, slots=True)
class FraudProof:
    """A call that convicts, or a paid question on the way to it. `arguments` follow (lane, id, header)."""

    contract: str
    function: str
    arguments: Arguments
    why: str
    paid: bool = False

    @property
    def voids(self) -> bool:
        """Whether the batch falls with it. A call charged twice costs bond and stake; the batch stands."""
        return self.function != "proveDoubleReceipt"


def demand(tree: int, node: Word, index: int, proof: Sequence[Word], why: str) -> FraudProof:
    """The question what a node hides."""
    return FraudProof("Settlement", "demandNode", (tree, node, index, list(proof)), why, paid=True)


def bad_sum(tree: int, node: Word, children: tuple[Word, Word], index: int, proof: Sequence[Word]) -> FraudProof:
    """A node that hashes its children and does not add them up."""
    why = f"the sum of node {index} at depth {len(proof)} of tree {tree} is not its children's"
    return FraudProof("Settlement", "proveBadSum", (tree, node, *children, index, list(proof)), why)


def uneven(tree: int, a: Opened, b: Opened) -> FraudProof:
    """Two leaves at different depths, or one receipt at a wrong one."""
    why = f"a leaf of tree {tree} stands at depth {len(a[3])}"
    return FraudProof("Referee", "proveUnevenTree", (tree, a, b), why)


def omitted(file: BatchFile, receipt: Receipt, signature: bytes, leaf: Word, proof: Sequence[Word]) -> FraudProof:
    """A receipt its gateway signed has another leaf at its place."""
    arguments = (receipt_logs_table(file.opening.ranges), (tuple(receipt), signature), leaf, list(proof))
    return FraudProof("Referee", "proveOmittedReceipt", arguments, f"receipt {receipt.seq} was left out")


def misplaced(file: BatchFile, opening: Arguments, why: str) -> FraudProof:
    """A receipt stands where the journals table has another, or none."""
    return FraudProof("Referee", "proveMisplacedReceipt", (receipt_logs_table(file.opening.ranges), opening), why)


def bad_run(made: Recomputation, party: int, run: int, account: Address, line: Arguments) -> FraudProof:
    """A posted line is not what its run's 64 receipts give. `line` is the boundary that shows it."""
    start = run * RUN
    receipts = made.receipts[start : start + RUN]
    names = sorted({receipt.terms for receipt in receipts})
    bodies = [made.file.terms[name] for name in names]
    which = [names.index(receipt.terms) for receipt in receipts]
    tree = made.trees[RECEIPTS]
    proof = tree.range_proof(start, len(receipts))
    arguments = (run, party, account, [tuple(one) for one in receipts], bodies, which, tree.height, proof, line)
    return FraudProof("Referee", "proveBadRun", arguments, f"run {run} does not give party {party} what its line says")


def unsorted(rank: int, left: LineLeaf, right: LineLeaf) -> FraudProof:
    """Two neighbours among the lines are out of order, or one belongs to nothing."""
    return FraudProof("Referee", "proveUnsortedLines", (rank, left, right), f"line {rank} or the next is out of place")


def bad_payout(
    made: Recomputation, previous: Header | None, tree: int, index: int, before: Arguments, after: Arguments
) -> FraudProof:
    """A cumulative did not grow by its lines. Leaves are (account, cumulative, proof)."""
    party = index | CONSUMER if tree == DEBITS else index
    edges = (boundary(made, (party, 0)), boundary(made, (party + 1, 0)))
    why = f"index {index} of tree {tree} did not grow by its lines"
    return FraudProof("Referee", "provePayout", (previous, tree, index, before, after, *edges), why)


def opening(file: BatchFile, receipt: Receipt, place: int, tree: Tree) -> Arguments:
    """A receipt of the file with its terms and its proof."""
    return tuple(receipt), file.terms.get(receipt.terms, b""), place, tree.proof(place)


def opened_receipt(preimage: bytes, terms: bytes, place: int, proof: Sequence[Word]) -> Arguments:
    """As `opening`, of a receipt that only the chain has: 21 words as they were opened."""
    words = [preimage[at : at + _WORD] for at in range(0, len(preimage), _WORD)]
    values: list[int | bytes] = [int.from_bytes(word, "big") for word in words]
    for at in _HASHES:
        values[at] = words[at]
    for at in _ADDRESSES:
        values[at] = words[at][12:]
    return tuple(values), terms, place, list(proof)


def signed(file: BatchFile, place: int) -> Arguments:
    """A receipt of the file with its signature."""
    row = file.signed[place]
    return tuple(unpack(row["receipt"].tobytes())), row["signature"].tobytes()
