"""What a lying operator keeps to itself: the trees it really posted, opened node by node when it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ledger.core.disputes.recomputation import PAYOUTS
from ledger.core.receipts.receipt import Receipt, pack
from ledger.core.settlement.events import NodeDemanded
from ledger.core.values.ids import ZERO_ADDRESS
from ledger.core.values.sum_tree import DEBIT_TAG, LINE_TAG, PAYOUT_TAG, Tree, Word, line_leaf, parent
from tests.ledger.chain.conftest import FUNDS
from tests.ledger.chain.lies import Amounts, Lines
from tests.ledger.chain.play import Play


@dataclass
class Secrets:
    """Nodes and leaves by their words."""

    nodes: dict[Word, tuple[Word, Word]] = field(default_factory=dict)
    leaves: dict[Word, tuple[bytes, bytes]] = field(default_factory=dict)

    def pair(self, left: Word, right: Word) -> Word:
        """A node over two."""
        made = parent(left, right)
        self.nodes[made] = (left, right)
        return made

    def tree(self, tree: Tree) -> Word:
        """All inner nodes of a tree; its root."""
        for level in range(tree.height):
            for index in range(0, len(tree.levels[level]), 2):
                self.pair(tree.at(level, index), tree.at(level, index + 1))
        return tree.root

    def lines(self, lines: Lines) -> Tree:
        """A lines tree over these, in this order."""
        for party, run, paid in lines:
            packed = bytes((LINE_TAG,)) + party.to_bytes(4, "big") + run.to_bytes(4, "big") + paid.to_bytes(8, "big")
            self.leaves[line_leaf(party, run, paid)] = (packed, b"")
        made = Tree.build([line_leaf(*line) for line in lines])
        self.tree(made)
        return made

    def accounts(self, tree: int, amounts: Amounts, made: Tree) -> Word:
        """A payout or debit tree over these."""
        tag = PAYOUT_TAG if tree == PAYOUTS else DEBIT_TAG
        for index, (who, amount) in amounts.items():
            packed = bytes((tag,)) + index.to_bytes(4, "big") + who + amount.to_bytes(8, "big")
            self.leaves[made.leaf(index)] = (packed, b"")
        return self.tree(made)

    def receipts(self, receipts: Sequence[Receipt], terms: bytes, made: Tree) -> Word:
        """A receipts tree over these."""
        for place, receipt in enumerate(receipts):
            self.leaves[made.leaf(place)] = (pack(receipt), terms)
        return self.tree(made)

    def answer(self, play: Play) -> bool:
        """Open what is demanded and not opened yet. False when there is no answer to a question."""
        chain, able = play.chain, True
        for log in chain.logs(chain.deployment.block, chain.tip()):
            asked = log.event
            if not isinstance(asked, NodeDemanded):
                continue
            hashed = chain.posted(asked.lane, asked.id).hash
            if chain.challenge(asked.lane, asked.id, hashed, asked.key)[0] == ZERO_ADDRESS:
                continue
            where = (asked.lane, asked.id, asked.tree, asked.node, asked.index, asked.depth)
            if asked.node in self.nodes:
                call = chain.calls.to_settlement("answerNode", *where, *self.nodes[asked.node])
            elif asked.node in self.leaves:
                call = chain.calls.to_settlement("answerLeaf", *where, *self.leaves[asked.node])
            else:
                able = False
                continue
            chain.transact(FUNDS, call)
        return able
