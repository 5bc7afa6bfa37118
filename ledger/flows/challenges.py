"""Questions on chain are answered from the database, before their deadline.

Each kind has its answer: words of a tree with their path, a receipt with its terms, a voucher, a word of a final tree.
Several answers go in one transaction, which passes over what is closed already. An honest batch has an answer to every
question; a missing one is an alarm.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from sqlmodel import Session

from ledger.chain.calls import Calls, words
from ledger.core.disputes.questions import DEBITS, GATEWAYS, PAYOUTS, RECEIPTS, TREES, height_of, levels_shown
from ledger.core.kernels.sum_tree import Levels, SparseRootBuilder, line_leaves, receipt_leaves
from ledger.core.receipts.receipt import pack
from ledger.core.settlement.batches import Status
from ledger.core.settlement.closing import Trees
from ledger.core.settlement.events import FinalAsked, MandateAsked, ReceiptAsked, WordsAsked
from ledger.core.settlement.header import gateways_tree, name_at
from ledger.core.settlement.transactions import Call, ChainTransaction, may_try_again
from ledger.core.settlement.transactions import Status as Sending
from ledger.core.values.errors import Conflict
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Lane, to_hex
from ledger.core.values.sum_tree import EMPTY, Word
from ledger.store.access import vouchers
from ledger.store.chain import lanes, parties
from ledger.store.receipts import receipts, terms
from ledger.store.settlement import alarms, batch_files, batches, challenges, transactions, tree_nodes
from ledger.store.settlement.batches import Batch
from ledger.store.settlement.challenges import Question

AT_ONCE = 8
"""Answers in one transaction: of 10 KB of calldata each, at most."""
ANSWER_GAS = 600_000
"""Gas for the dearest answer, words of a tall tree, and its part of a transaction."""
_STORED = {PAYOUTS: tree_nodes.PAYOUT, DEBITS: tree_nodes.DEBIT}

Positions = Sequence[tuple[int, int]]
"""Level (0 is the leaves) and index within it, for each of several nodes."""
Nodes = Callable[[Positions], list[Word]]


def answer_all(session: Session, calls: Calls, sender: Address, lane: Lane, now: int) -> int:
    """Intend answers to all open questions, again when the last one failed. Returns how many transactions are new.

    What cannot be answered becomes an alarm, and keeps no other question waiting.
    """
    answers, made = _Answers(session), 0
    ready: list[tuple[Question, Call]] = []
    for question in challenges.unanswered(session, lane):
        try:
            ready.append((question, answers.call(calls, question)))
        except Conflict as error:
            alarm = alarms.Alarm("dispute", error.message, receipt=to_hex(question.asked.question))
            alarms.sound(session, lane, alarm, now)
    waiting = [(one, call) for one, call in ready if _may_answer(session, lane, one, now)]
    for begin in range(0, len(waiting), AT_ONCE):
        made += _intend(session, calls, sender, waiting[begin : begin + AT_ONCE], now)
    return made


def _may_answer(session: Session, lane: Lane, question: Question, now: int) -> bool:
    """Whether no answer is on its way. One that was mined and passed over is sent again, as a failed one is."""
    tries, last = transactions.latest_naming(session, lane, question.cause)
    if last is not None and last.status is Sending.confirmed:
        last = replace(last, status=Sending.failed)
    return may_try_again(last, tries, now)


def _intend(
    session: Session, calls: Calls, sender: Address, waiting: Sequence[tuple[Question, Call]], now: int
) -> bool:
    """Intend one transaction with these answers. It names its gas: an estimate would let the last ones run out."""
    lane, gas = waiting[0][0].asked.lane, None
    causes = ", ".join(question.cause for question, _ in waiting)
    tries = max(transactions.latest_naming(session, lane, question.cause)[0] for question, _ in waiting)
    call = waiting[0][1]
    if len(waiting) > 1:
        call = calls.to("Questions", "multicall", [data for _, (_, data) in waiting])
        gas = ANSWER_GAS * len(waiting)
    purpose = f"answer {causes} {tries}"
    made = ChainTransaction(keccak256(purpose.encode()), purpose, sender, *call, Sending.intended, now, gas=gas)
    return transactions.intend(session, lane, made)


def nodes_of(session: Session, batch: Batch, tree: int) -> Nodes:
    """Reads nodes of one of a batch's trees: from stored rows, or from a tree that is built again from them."""
    if tree in _STORED:
        return lambda positions: _stored(session, batch, tree, positions)
    ranges = batches.ranges(session, batch.lane, batch.number)
    if tree == GATEWAYS:
        gateways = gateways_tree(batch.lane, ranges)
        return lambda positions: [gateways.at(*position) for position in positions]
    payees = {payee: index for index, payee in parties.by_index(session, batch.lane).items()}
    consumers = {account: index for index, account in lanes.by_index(session, batch.lane).items()}
    trees, leaves = Trees(batch.lane, payees, consumers, batch.barred), []
    for chunk, bodies in batch_files.pieces(session, batch.lane, ranges):
        trees.add(chunk.records, bodies, chunk.digests)
        leaves.append(receipt_leaves(batch.lane, chunk.digests, chunk.records["charge"].astype(np.int64)))
    if tree == RECEIPTS:
        words = np.concatenate([np.empty((0, 32), np.uint8), *leaves])
        words[list(batch.barred)] = 0
        built = Levels.build(words)
        return lambda positions: [built.at(*position) for position in positions]
    return _Lines(batch, trees.lines()).nodes


class _Answers:
    """Answers as calls. A tree that several questions are about is built once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._trees: dict[tuple[int, int], Nodes] = {}

    def call(self, calls: Calls, question: Question) -> Call:
        """The answer to a question. Conflict when there is none."""
        asked = question.asked
        if isinstance(asked, FinalAsked):
            return self._final(calls, asked)
        batch = batches.by_onchain_id(self._session, asked.lane, asked.id)
        if batch is None or batch.header.id != asked.hash:
            raise Conflict(f"batch {asked.id} of lane {to_hex(asked.lane)} is asked about, and this ledger has none")
        about = asked.lane, asked.id, words(batch.header)
        match asked:
            case WordsAsked(tree=tree, depth=depth, position=position):
                shown = self._words(batch, tree, depth, position)
                path = self._path(batch, tree, depth, position)
                return calls.to("Questions", "answerWords", *about, tree, depth, position, shown, path)
            case ReceiptAsked(place=place):
                record, body = self._receipt(batch, place)
                path = self._path(batch, RECEIPTS, batch.header.heights.receipts, place)
                return calls.to("Questions", "answerReceipt", *about, place, record, body, path)
            case MandateAsked(index=index, account=account, cumulative=cumulative):
                most, signature = self._voucher(batch, asked)
                debit = index, account, cumulative
                return calls.to("Questions", "answerMandate", *about, debit, most, signature)

    def _final(self, calls: Calls, asked: FinalAsked) -> Call:
        """The word in the tree that is final now: a batch that becomes final meanwhile asks for another answer.

        Before the first the chain has a tree of one empty place, and takes questions about that.
        """
        final = batches.with_status(self._session, asked.lane, Status.final)
        if not final and asked.index:
            raise Conflict(f"no batch of lane {to_hex(asked.lane)} is final, and index {asked.index} is asked for")
        if not final:
            return calls.to("Questions", "answerFinal", asked.lane, asked.tree, 0, EMPTY[0], [])
        batch = final[-1]
        (shown,) = self._nodes(batch, asked.tree)([(0, asked.index)])
        path = self._path(batch, asked.tree, height_of(batch.header, asked.tree), asked.index)
        return calls.to("Questions", "answerFinal", asked.lane, asked.tree, asked.index, shown, path)

    def _words(self, batch: Batch, tree: int, depth: int, position: int) -> list[Word]:
        height, levels = height_of(batch.header, tree), levels_shown(batch.header, tree, depth)
        if depth > height or position >> depth:
            raise Conflict(f"the {TREES[tree]} tree of batch {batch.number} has no node {position} at depth {depth}")
        level, first = height - depth - levels, position << levels
        return self._nodes(batch, tree)([(level, first + at) for at in range(1 << levels)])

    def _path(self, batch: Batch, tree: int, depth: int, position: int) -> list[Word]:
        """The siblings of the node at this depth, lowest first."""
        level = height_of(batch.header, tree) - depth
        return self._nodes(batch, tree)([(level + up, (position >> up) ^ 1) for up in range(depth)])

    def _nodes(self, batch: Batch, tree: int) -> Nodes:
        key = batch.number, tree
        if key not in self._trees:
            self._trees[key] = nodes_of(self._session, batch, tree)
        return self._trees[key]

    def _receipt(self, batch: Batch, place: int) -> tuple[bytes, bytes]:
        """The record at a place, and its terms; empty where a barred receipt leaves the zero word."""
        if place in batch.barred:
            return b"", b""
        if place < batch.header.calls:
            name = name_at(batches.ranges(self._session, batch.lane, batch.number), place)
            found = receipts.by_seq(self._session, batch.lane, *name)
            if found is not None:
                named = found.receipt.terms
                return pack(found.receipt), terms.get(self._session, [named])[named]
        raise Conflict(f"batch {batch.number} has no receipt at place {place}: there is nothing to show")

    def _voucher(self, batch: Batch, asked: MandateAsked) -> tuple[int, bytes]:
        """The account's highest voucher that counts in the batch. The chain knows its other mandates."""
        counting = vouchers.at_closing(self._session, batch.lane, batch.header.closed_at, asked.account)
        most, signature = counting.get(asked.account, (0, b""))
        if vouchers.mandate_with(self._session, asked.lane, asked.account, most) < asked.cumulative:
            raise Conflict(f"no mandate of {to_hex(asked.account)} covers a debit of {asked.cumulative} atoms")
        return most, signature


class _Lines:
    """The nodes of a lines tree, each computed from the leaves below it: the tree is wide and almost empty."""

    def __init__(self, batch: Batch, rows: Sequence[tuple[int, int, int]]) -> None:
        columns = np.array(rows, np.int64).reshape(-1, 3)
        parties, runs, paid = (np.ascontiguousarray(columns[:, column]) for column in range(3))
        self._positions = (parties.astype(np.uint64) << np.uint64(batch.header.heights.runs)) | runs.astype(np.uint64)
        self._leaves = line_leaves(batch.lane, parties, runs, paid)  # rows are sorted as their positions are

    def nodes(self, positions: Positions) -> list[Word]:
        return [self._node(level, index) for level, index in positions]

    def _node(self, level: int, index: int) -> Word:
        first = np.uint64(index << level)
        begin, end = np.searchsorted(self._positions, [first, first + np.uint64(1 << level)]).tolist()
        tree = SparseRootBuilder(level)
        if begin < end:
            tree.add(self._positions[begin:end] - first, self._leaves[begin:end].copy())
        return tree.root()


def _stored(session: Session, batch: Batch, tree: int, positions: Positions) -> list[Word]:
    found = tree_nodes.at(session, batch.lane, _STORED[tree], batch.number, positions)
    return [found.get(position) or EMPTY[position[0]] for position in positions]
