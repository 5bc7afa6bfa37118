"""Challenges on chain are answered from the database, before their deadline.

A challenged debit is answered with the account's voucher; a demanded tree node with its two children, or, at the
bottom, with what the leaf hashes. An honest batch has an answer to every challenge; a missing one is an alarm.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlmodel import Session

from ledger.chain.calls import Calls
from ledger.core.disputes.recomputation import DEBITS, PAYOUTS, RECEIPTS
from ledger.core.kernels.sum_tree import Levels, line_leaves, receipt_leaves
from ledger.core.receipts.receipt import Receipt, pack
from ledger.core.settlement.closing import Trees
from ledger.core.settlement.events import DebitChallenged, NodeDemanded
from ledger.core.settlement.header import Range
from ledger.core.settlement.transactions import Call
from ledger.core.values.errors import Conflict
from ledger.core.values.ids import Address, Lane, to_hex
from ledger.core.values.sum_tree import DEBIT_TAG, EMPTY, LINE_TAG, PAYOUT_TAG, Word
from ledger.store.access import vouchers
from ledger.store.chain import lanes, parties
from ledger.store.receipts import receipts, terms
from ledger.store.settlement import alarms, batch_files, batches, challenges, transactions, tree_nodes
from ledger.store.settlement.batches import Batch

_STORED = {PAYOUTS: (tree_nodes.PAYOUT, PAYOUT_TAG), DEBITS: (tree_nodes.DEBIT, DEBIT_TAG)}


@dataclass(frozen=True, slots=True)
class Opening:
    """The preimage of a tree node: its children, or (a leaf) its bytes and, for a receipt, its terms."""

    children: tuple[Word, Word] | None = None
    preimage: bytes = b""
    terms: bytes = b""


def answer_all(session: Session, calls: Calls, sender: Address, lane: Lane, now: int) -> int:
    """Intend an answer to every open challenge, again when the last one failed. Returns how many are new.

    What cannot be answered becomes an alarm.
    """
    made = 0
    for question in challenges.unanswered(session, lane):
        try:
            call = _answer(session, calls, question.asked)
        except Conflict as error:
            alarm = alarms.Alarm("dispute", error.message, receipt=to_hex(question.asked.key))
            alarms.sound(session, lane, alarm, now)
            continue
        purpose = f"answer {question.cause}"
        made += transactions.intend_again(session, lane, purpose, sender, call, now) is not None
    return made


def open_node(session: Session, batch: Batch, tree: int, depth: int, place: int) -> Opening:
    """Open the node `depth` levels below the root of one of a batch's trees. A Conflict when there is none."""
    if tree in _STORED:
        return _open_stored(session, batch, tree, depth, place)
    levels, leaf = _rebuilt(session, batch, tree)
    level = levels.height - depth
    if level < 0 or place >> depth:
        raise Conflict(f"tree {tree} of batch {batch.number} has no node {place} at depth {depth}")
    if level:
        below = levels.levels[level - 1]
        left, right = (_at(below, level - 1, 2 * place + side) for side in (0, 1))
        return Opening(children=(left, right))
    return leaf(place)


def _answer(session: Session, calls: Calls, asked: DebitChallenged | NodeDemanded) -> Call:
    where = (asked.lane, asked.id)
    if isinstance(asked, DebitChallenged):
        most, signature = vouchers.highest(session, asked.lane, asked.account)
        if not signature or most < asked.cumulative:
            raise Conflict(f"no voucher of {to_hex(asked.account)} covers a debit of {asked.cumulative} atoms")
        debit = (asked.index, asked.account, asked.cumulative)
        return calls.to_settlement("answerDebit", *where, *debit, most, signature)
    batch = batches.by_onchain_id(session, asked.lane, asked.id)
    if batch is None:
        raise Conflict(
            f"batch {asked.id} of lane {to_hex(asked.lane)} is challenged, and this ledger has no such batch"
        )
    opened = open_node(session, batch, asked.tree, asked.depth, asked.index)
    node = (asked.tree, asked.node, asked.index, asked.depth)
    if opened.children is not None:
        return calls.to_settlement("answerNode", *where, *node, *opened.children)
    return calls.to_settlement("answerLeaf", *where, *node, opened.preimage, opened.terms)


def _open_stored(session: Session, batch: Batch, tree: int, depth: int, place: int) -> Opening:
    kept, tag = _STORED[tree]
    level = tree_nodes.height(session, batch.lane, kept, batch.number) - depth
    if level < 0 or place >> depth:
        raise Conflict(f"tree {tree} of batch {batch.number} has no node {place} at depth {depth}")
    if level:
        wanted = [(level - 1, 2 * place), (level - 1, 2 * place + 1)]
        found = tree_nodes.at(session, batch.lane, kept, batch.number, wanted)
        left, right = (found.get(one) or EMPTY[level - 1] for one in wanted)
        return Opening(children=(left, right))
    amount = dict(tree_nodes.leaves(session, batch.lane, kept, batch.number)).get(place)
    names = parties.by_index(session) if tree == PAYOUTS else lanes.by_index(session, batch.lane)
    if amount is None:
        raise Conflict(f"place {place} of tree {tree} is empty: there is nothing to open")
    return Opening(preimage=bytes((tag,)) + place.to_bytes(4, "big") + names[place] + amount.to_bytes(8, "big"))


class _Leaf:
    """Opens the leaves of a rebuilt tree."""

    def __init__(
        self, session: Session, batch: Batch, ranges: Sequence[Range], lines: Sequence[tuple[int, int, int]] | None
    ) -> None:
        self._session, self._lane, self._ranges, self._lines = session, batch.lane, ranges, lines

    def __call__(self, place: int) -> Opening:
        if self._lines is not None:
            if place >= len(self._lines):
                raise Conflict(f"line {place} is empty: there is nothing to open")
            party, run, paid = self._lines[place]
            packed = party.to_bytes(4, "big") + run.to_bytes(4, "big") + paid.to_bytes(8, "big")
            return Opening(preimage=bytes((LINE_TAG,)) + packed)
        receipt = self._receipt(place)
        body = terms.get(self._session, [receipt.terms])[receipt.terms]
        return Opening(preimage=pack(receipt), terms=body)

    def _receipt(self, place: int) -> Receipt:
        for row in sorted(self._ranges):
            if place < row.count:
                found = receipts.by_seq(self._session, self._lane, row.gateway, row.first + place)
                if found is not None:
                    return found.receipt
            place -= row.count
        raise Conflict("the batch has no receipt at that place: there is nothing to open")


def _rebuilt(session: Session, batch: Batch, tree: int) -> tuple[Levels, _Leaf]:
    """The receipts or the lines tree of a batch, whole. It is not stored: challenges are rare."""
    ranges = batches.ranges(session, batch.lane, batch.number)
    payees = {payee: index for index, payee in parties.by_index(session).items()}
    consumers = {account: index for index, account in lanes.by_index(session, batch.lane).items()}
    trees, leaves = Trees(payees, consumers), []
    for chunk, bodies in batch_files.pieces(session, batch.lane, ranges):
        trees.add(chunk.records, bodies, chunk.digests)
        leaves.append(receipt_leaves(chunk.digests, chunk.records["charge"].astype(np.int64)))
    if tree == RECEIPTS:
        return Levels.build(np.concatenate(leaves)), _Leaf(session, batch, ranges, None)
    rows = trees.lines()
    columns = np.array(rows, np.int64).reshape(-1, 3)
    levels = Levels.build(line_leaves(*(np.ascontiguousarray(columns[:, column]) for column in range(3))))
    return levels, _Leaf(session, batch, ranges, rows)


def _at(level: "np.ndarray[tuple[int, int], np.dtype[np.uint8]]", height: int, place: int) -> Word:
    return level[place].tobytes() if place < len(level) else EMPTY[height]
