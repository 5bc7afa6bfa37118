"""Fraud proofs as contract calls: contract, function and arguments, named as in the ABI."""

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.core.disputes.recomputation import DEBITS, RECEIPTS, Arguments, LineLeaf, Recomputation, boundary
from ledger.core.receipts.receipt import Receipt, unpack
from ledger.core.settlement.batch_file import BatchFile
from ledger.core.settlement.closing import RUN
from ledger.core.settlement.header import Header, receipt_logs_table
from ledger.core.values.ids import Address
from ledger.core.values.meters import counted
from ledger.core.values.sum_tree import CONSUMER_BIT, Tree, Word

Opened = tuple[bytes, bytes, int, list[Word]]
"""A leaf as `proveUnevenTree` takes it: preimage, terms, index, proof."""


@dataclass(frozen=True, slots=True)
class FraudProof:
    """A call that proves fraud, or a paid request that leads to one. `arguments` follow (lane, id, header)."""

    contract: str
    function: str
    arguments: Arguments
    why: str
    paid: bool = False

    @property
    def voids(self) -> bool:
        """Whether the proof voids the batch. A call charged twice costs bond and stake, and the batch stays."""
        return self.function != "proveDoubleReceipt"


def demand(tree: int, word: Word, index: int, proof: Sequence[Word], why: str) -> FraudProof:
    """Request that the operator opens a tree node."""
    return FraudProof("Settlement", "demandNode", (tree, word, index, list(proof)), why, paid=True)


def bad_sum(tree: int, word: Word, children: tuple[Word, Word], index: int, proof: Sequence[Word]) -> FraudProof:
    """A tree node whose hash fits its children and whose sum does not."""
    why = f"the sum of tree node {index} at depth {len(proof)} of tree {tree} is not the sum of its children"
    return FraudProof("Settlement", "proveBadSum", (tree, word, *children, index, list(proof)), why)


def uneven(tree: int, a: Opened, b: Opened) -> FraudProof:
    """Two leaves at different depths, or one receipt at a wrong depth."""
    why = f"a leaf of tree {tree} is at depth {len(a[3])}"
    return FraudProof("Referee", "proveUnevenTree", (tree, a, b), why)


def omitted(file: BatchFile, receipt: Receipt, signature: bytes, leaf: Word, proof: Sequence[Word]) -> FraudProof:
    """A receipt signed by its gateway has another leaf at its place."""
    arguments = (receipt_logs_table(file.opening.ranges), (as_struct(receipt), signature), leaf, list(proof))
    return FraudProof("Referee", "proveOmittedReceipt", arguments, f"receipt {receipt.seq} was left out")


def misplaced(file: BatchFile, opening: Arguments, why: str) -> FraudProof:
    """A receipt is at a place that the table of receipt logs gives to another receipt, or to none."""
    return FraudProof("Referee", "proveMisplacedReceipt", (receipt_logs_table(file.opening.ranges), opening), why)


def bad_run(honest: Recomputation, party: int, run: int, account: Address, line: Arguments) -> FraudProof:
    """A posted line differs from what the 64 receipts of its run give. `line` is the boundary that shows it."""
    receipts = honest.receipts[run * RUN : (run + 1) * RUN]
    names = sorted({receipt.terms for receipt in receipts})
    bodies = [honest.file.terms[name] for name in names]
    which = [names.index(receipt.terms) for receipt in receipts]
    tree = honest.trees[RECEIPTS]
    proof = tree.range_proof(run * RUN, len(receipts))
    arguments = (run, party, account, [as_struct(one) for one in receipts], bodies, which, tree.height, proof, line)
    why = f"run {run} does not give party {party} the amount of its line"
    return FraudProof("Referee", "proveBadRun", arguments, why)


def unsorted(rank: int, left: LineLeaf, right: LineLeaf) -> FraudProof:
    """Two neighbouring lines are out of order, or one of them has no receipts."""
    why = f"line {rank} or the next one is out of order"
    return FraudProof("Referee", "proveUnsortedLines", (rank, left, right), why)


def bad_payout(
    honest: Recomputation, previous: Header | None, tree: int, index: int, before: Arguments, after: Arguments
) -> FraudProof:
    """A cumulative amount did not grow by its lines. Leaves are (account, cumulative, proof)."""
    party = index | CONSUMER_BIT if tree == DEBITS else index
    edges = (boundary(honest, (party, 0)), boundary(honest, (party + 1, 0)))
    why = f"index {index} of tree {tree} did not grow by its lines"
    return FraudProof("Referee", "provePayout", (previous, tree, index, before, after, *edges), why)


def opening(file: BatchFile, receipt: Receipt, place: int, tree: Tree) -> Arguments:
    """A receipt of the file with its terms, place and proof."""
    return as_struct(receipt), file.terms.get(receipt.terms, b""), place, tree.proof(place)


def opened_receipt(record: bytes, terms: bytes, place: int, proof: Sequence[Word]) -> Arguments:
    """The same for a receipt that was opened on chain, as its record."""
    return as_struct(unpack(record)), terms, place, list(proof)


def signed(file: BatchFile, place: int) -> Arguments:
    return as_struct(file.signed.receipt(place)), file.signed.signature(place)


def as_struct(receipt: Receipt) -> Arguments:
    """A receipt as the contracts take it: its counts as (meter, count)."""
    return (*receipt[:-1], counted(receipt.units))
