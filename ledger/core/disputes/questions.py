"""Questions on chain: how they are named, and what their answers show of a batch's trees.

    question = keccak256(abi.encode(lane, id, header id, subject))
    subject  = keccak256(abi.encode(kind, what is asked ...))

An answer of words shows all nodes between the one that was asked for and the words, and those beside its path; the
contract has compared them with the root.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ledger.core.receipts.receipt import struct_hash, unpack
from ledger.core.settlement import events
from ledger.core.settlement.events import Event
from ledger.core.settlement.header import Header, HeaderId
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, Lane
from ledger.core.values.sum_tree import ZERO, Word, parent, receipt_leaf
from ledger.core.values.typed_data import word

RECEIPTS, PAYOUTS, DEBITS, LINES, GATEWAYS = range(5)
"""The trees of a header, as the contracts number them."""
TREES = ("receipts", "payouts", "debits", "lines", "gateways")
WORDS, RECEIPT, MANDATE, FINAL = range(4)
"""Kinds of questions, as the contract numbers them."""
LEVELS = 8
"""Levels between a node and the words that are shown of it."""

Spot = tuple[int, int]
"""A tree node: its depth below the root, and its position in its level."""


def root_of(header: Header, tree: int) -> Word:
    roots = (header.receipts_root, header.payout_root, header.debit_root, header.lines_root, header.gateways_root)
    return roots[tree]


def height_of(header: Header, tree: int) -> int:
    """The levels of one of a header's trees."""
    h = header.heights
    return (h.receipts, h.payouts, h.debits, h.lines, h.gateways)[tree]


def levels_shown(header: Header, tree: int, depth: int) -> int:
    """The levels between a node at this depth and the words that its answer shows."""
    return min(LEVELS, height_of(header, tree) - depth)


def subject_of_words(tree: int, depth: int, position: int) -> Digest:
    return _subject(WORDS, tree, depth, position)


def subject_of_receipt(place: int) -> Digest:
    return _subject(RECEIPT, place)


def subject_of_mandate(index: int, account: Address, cumulative: int) -> Digest:
    return _subject(MANDATE, index, account, cumulative)


def question_of(lane: Lane, batch: int, header_id: HeaderId, subject: Digest) -> Digest:
    """The name of a question. Batch 0 and a zero header id for a final tree."""
    return keccak256(word(lane), word(batch), header_id.ljust(32, b"\0"), subject)


def _subject(*parts: int | bytes) -> Digest:
    return keccak256(*map(word, parts))


@dataclass(frozen=True, slots=True)
class Shown:
    """A receipt as it was shown on chain; `record` is empty where the zero word stands."""

    record: bytes
    terms: bytes


@dataclass(frozen=True, slots=True)
class Answers:
    """What the answers to questions about one batch show. Each was compared with the header on chain."""

    nodes: dict[tuple[int, Spot], Word] = field(default_factory=dict)
    """Words by tree and spot."""
    receipts: dict[int, Shown] = field(default_factory=dict)
    """Receipts by place."""
    mandates: set[tuple[int, int]] = field(default_factory=set)
    """Debits, as (index, cumulative), whose mandate was shown."""

    def children(self, tree: int, spot: Spot) -> tuple[Word, Word] | None:
        """The two nodes below one, if they were shown."""
        depth, position = spot[0] + 1, 2 * spot[1]
        left, right = (self.nodes.get((tree, (depth, position + side))) for side in (0, 1))
        return (left, right) if left is not None and right is not None else None

    def path(self, tree: int, spot: Spot) -> list[Word]:
        """The siblings of a node that was found by way of its ancestors, lowest first."""
        depth, position = spot
        return [self.nodes[tree, (depth - up, (position >> up) ^ 1)] for up in range(depth)]


def answers_about(batch_header: HeaderId, lane: Lane, happened: Iterable[Event]) -> Answers:
    """Collect what was shown of a batch, from the events of Questions in their order."""
    shown = Answers()
    asked: dict[Digest, Event] = {}
    for event in happened:
        match event:
            case events.WordsAsked() | events.ReceiptAsked() | events.MandateAsked():
                if (event.lane, event.hash) == (lane, batch_header):
                    asked[event.question] = event
            case events.WordsShown(question, words, path):
                about = asked.get(question)
                if isinstance(about, events.WordsAsked):
                    _add_words(shown, about.tree, (about.depth, about.position), words, path)
            case events.ReceiptShown(question, record, terms, path):
                about = asked.get(question)
                if isinstance(about, events.ReceiptAsked):
                    shown.receipts[about.place] = Shown(record, terms)
                    _add_words(shown, RECEIPTS, (len(path), about.place), (_leaf(lane, record),), path)
            case events.MandateShown(question):
                about = asked.get(question)
                if isinstance(about, events.MandateAsked):
                    shown.mandates.add((about.index, about.cumulative))
            case _:
                pass
    return shown


def _leaf(lane: Lane, record: bytes) -> Word:
    receipt = unpack(record) if record else None
    return receipt_leaf(lane, struct_hash(receipt), receipt.charge) if receipt else ZERO


def _add_words(shown: Answers, tree: int, spot: Spot, words: Sequence[Word], path: Sequence[Word]) -> None:
    """Add the words below a node, the nodes between, and what its path shows."""
    levels = len(words).bit_length() - 1
    nodes, depth, first = list(words), spot[0] + levels, spot[1] << levels
    while True:
        for at, node in enumerate(nodes):
            shown.nodes[tree, (depth, first + at)] = node
        if len(nodes) == 1:
            break
        nodes = [parent(nodes[at], nodes[at + 1]) for at in range(0, len(nodes), 2)]
        depth, first = depth - 1, first >> 1
    node, (depth, position) = nodes[0], spot
    for sibling in path:
        shown.nodes[tree, (depth, position ^ 1)] = sibling
        node = parent(sibling, node) if position & 1 else parent(node, sibling)
        depth, position = depth - 1, position >> 1
        shown.nodes[tree, (depth, position)] = node
