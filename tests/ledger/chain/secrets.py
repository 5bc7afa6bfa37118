"""What a lying operator keeps to itself: the trees it really posted, shown when it is asked."""

from __future__ import annotations

from collections.abc import Callable

from ledger.chain.calls import words
from ledger.core.catalog.bids import encode, terms_id
from ledger.core.disputes.questions import RECEIPTS, height_of, levels_shown, root_of
from ledger.core.receipts.receipt import Receipt, pack
from ledger.core.settlement import events
from ledger.core.settlement.events import ReceiptAsked, WordsAsked
from ledger.core.settlement.transactions import Call
from ledger.core.values.ids import ZERO_ADDRESS
from ledger.core.values.sum_tree import ZERO
from tests.ledger.chain.conftest import FUNDS
from tests.ledger.chain.lies import Draft
from tests.ledger.chain.play import Play

Shows = Callable[[Draft, int], Receipt | None]
"""The receipt that an operator shows at a place of a draft; None to say nothing."""


def show_own(draft: Draft, place: int) -> Receipt | None:
    return draft.receipts[place] if place < len(draft.receipts) else None


def answer(play: Play, shows: Shows = show_own) -> bool:
    """Answer what is asked and open, from the drafts. False when there is no answer to a question."""
    chain, able = play.chain, True
    for log in chain.logs(chain.deployment.block, chain.tip()):
        asked = log.event
        if not isinstance(asked, WordsAsked | ReceiptAsked | events.MandateAsked):
            continue
        if chain.question(asked.question).asker == ZERO_ADDRESS:
            continue
        files = [file.header.id for file in play.book.files]
        call = None
        if asked.hash in files and not isinstance(asked, events.MandateAsked):
            call = _answer(play, play.drafts[files.index(asked.hash)], asked, shows)
        if call is None:
            able = False
            continue
        chain.transact(FUNDS, call)
    return able


def _answer(play: Play, draft: Draft, asked: WordsAsked | ReceiptAsked, shows: Shows) -> Call | None:
    file = play.book.files[play.drafts.index(draft)]
    tree = draft.tree(asked.tree if isinstance(asked, WordsAsked) else RECEIPTS)
    about = asked.lane, asked.id, words(file.header)
    to = play.chain.calls.to
    if isinstance(asked, WordsAsked):
        if tree.root != root_of(file.header, asked.tree):
            return None  # its sums do not fit: there is no path
        levels = levels_shown(file.header, asked.tree, asked.depth)
        level = height_of(file.header, asked.tree) - asked.depth
        shown = [tree.at(level - levels, (asked.position << levels) + at) for at in range(1 << levels)]
        path = tree.proof(asked.position, level)
        return to("Questions", "answerWords", *about, asked.tree, asked.depth, asked.position, shown, path)
    path = tree.proof(asked.place)
    if tree.leaf(asked.place) == ZERO:
        return to("Questions", "answerReceipt", *about, asked.place, b"", b"", path)
    receipt = shows(draft, asked.place)
    if receipt is None:
        return None
    bodies = {terms_id(encode(one)): encode(one) for one in play.book.terms}
    return to("Questions", "answerReceipt", *about, asked.place, pack(receipt), bodies[receipt.terms], path)
