"""An operator for each kind of lie, whose files a gateway shows, and which answers what it is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, replace

from ledger.chain.reads import Chain
from ledger.core.catalog.bids import Bid, Line, Role, encode
from ledger.core.disputes.recomputation import PAYOUTS
from ledger.core.receipts.receipt import Receipt, struct_hash
from ledger.core.settlement.batch_file import Roots
from ledger.core.values.ids import Address, Digest
from ledger.core.values.meters import Rates
from ledger.core.values.sum_tree import EMPTY, Tree, amount, line_leaf, receipt_leaf
from tests import builders as b
from tests.builders import MAKER, a_receipt, an_address, some_terms
from tests.ledger.chain.conftest import FUNDS, a_stage, epoch_of, register
from tests.ledger.chain.lies import Amounts
from tests.ledger.chain.play import Play
from tests.ledger.chain.secrets import Secrets
from tests.rates import asks

ASKS = asks(input_token=100_000_000, output_token=400_000_000)


class Live(Play):
    """A play whose node is in the book, whose files a gateway shows, and whose operator answers when asked."""

    def __init__(self, url: str, chain: Chain) -> None:
        super().__init__(a_stage(chain))
        self.url = url
        self.node = self.stage.consumers[1].address
        bidder = self.stage.key(self.stage.consumers[1])
        chain.transact(bidder, chain.calls.place_bid(self.terms.subject, Role.compute, Bid(0, ASKS)))
        self.stage.wait(3_600)
        self.payees |= register(chain, self.node)
        self.book.payees = self.payees
        self.agree(ASKS)
        self.secrets, self.shown = Secrets(), True
        self.start = chain.rpc("evm_snapshot")

    def agree(self, asks: Rates) -> None:
        """Terms with the node's line at these asks."""
        lines = [Line(MAKER, Role.maker, 100_000), Line(self.node, Role.compute, 0, asks)]
        self.terms = some_terms(lines=[*lines, Line(self.treasury, Role.protocol, 20_000)])
        self.book.terms = [self.terms]

    def receipts(self, count: int = 3) -> list[Receipt]:
        epoch = epoch_of(self.chain)
        return [receipt._replace(epoch=epoch) for receipt in super().receipts(count)]

    def begin(self) -> None:
        """Back to before anything was posted."""
        self.chain.rpc("evm_revert", self.start)
        self.start = self.chain.rpc("evm_snapshot")
        self.book.paid, self.book.owed, self.number = {}, {}, 0
        self.book.files, self.book.bodies = [], []
        self.secrets, self.shown = Secrets(), True
        self.agree(ASKS)


def a_price_above_the_real_one(play: Live) -> None:
    receipts = play.receipts()
    receipts[1] = receipts[1]._replace(price=receipts[1].price + 5, charge=receipts[1].charge + 5)
    play.post(play.book.honest(receipts))


def a_payee_short_changed(play: Live) -> None:
    draft = play.honest()
    _move(draft.paid, play.payees[MAKER], play.payees[play.node], 7)
    play.post(draft)


def a_consumer_debited_for_another(play: Live) -> None:
    draft = play.honest()
    _move(draft.owed, 1, 2, 7)
    play.post(draft)


def a_cumulative_that_falls(play: Live) -> None:
    draft = play.honest()
    maker = play.payees[MAKER]
    _move(draft.paid, maker, play.payees[play.node], draft.paid[maker][1])
    play.post(draft)


def a_payee_swapped(play: Live) -> None:
    draft, maker = play.honest(), play.payees[MAKER]
    draft.paid[maker] = (an_address(99), draft.paid[maker][1])
    play.post(draft)


def a_debit_above_the_deposit(play: Live) -> None:
    play.chain.transact(FUNDS, play.chain.calls.deposit(b.LANE, play.stage.consumers[1].address, 10**11))
    (few,) = play.receipts(1)
    units = few.units._replace(output_token=10_000_000)
    much = a_receipt(few.seq, play.terms, consumer=play.stage.consumers[0].address, gateway=few.gateway, units=units)
    play.post(play.book.honest([much._replace(epoch=few.epoch)]))


def a_receipt_at_anothers_place(play: Live) -> None:
    first, second, third = play.receipts(3)
    play.post(play.book.honest([first, third, second]))


def a_call_charged_twice_before_a_payee_short_changed(play: Live) -> None:
    receipts = play.receipts(3)
    receipts[2] = receipts[0]._replace(seq=receipts[2].seq)
    draft = play.book.honest(receipts)
    _move(draft.paid, play.payees[MAKER], play.payees[play.node], 7)
    play.post(draft)


def a_receipt_skipped_between_batches(play: Live) -> None:
    play.receipts(1)
    draft = play.honest()
    draft.first += 1
    play.post(draft)


def a_line_that_is_not_the_bid_in_force(play: Live) -> None:
    play.agree(asks(input_token=100_000_001, output_token=400_000_000))
    play.post(play.honest())


def an_interior_sum_that_lies(play: Live) -> None:
    draft = play.honest()
    honest = draft.roots()
    raised = [_plus(word, atoms) for word, atoms in zip(astuple(honest), (1, 1, 1, 2), strict=True)]
    draft.bend_roots = lambda roots: Roots(*raised)
    play.post(draft)


def a_file_withheld(play: Live) -> None:
    play.shown = False
    play.post(play.honest())


def a_file_withheld_and_opened_in_part(play: Live) -> None:
    play.shown = False
    draft = play.honest()
    tree = Tree.build([receipt_leaf(struct_hash(one), one.charge) for one in draft.receipts])
    play.secrets.pair(*tree.levels[-2])
    play.post(draft)


def a_line_dropped_deep_in_a_tree(play: Live) -> None:
    draft, maker, node = play.honest(300), play.payees[MAKER], play.payees[play.node]
    dropped = next(line for line in draft.lines if line[:2] == (maker, 3))
    draft.lines.remove(dropped)
    at = next(rank for rank, line in enumerate(draft.lines) if line[:2] == (node, 3))
    draft.lines[at] = (node, 3, draft.lines[at][2] + dropped[2])
    _move(draft.paid, maker, node, dropped[2])
    play.secrets.lines(draft.lines)
    play.post(draft)


def lines_out_of_order(play: Live) -> None:
    draft = play.honest(70)
    draft.lines[2], draft.lines[3] = draft.lines[3], draft.lines[2]
    play.secrets.lines(draft.lines)
    play.post(draft)


def a_line_for_nobody(play: Live) -> None:
    draft = play.honest(70)
    party, run, paid = draft.lines[1]
    draft.lines[1:2] = [(party, run, paid - 3), (99, 0, 3)]
    draft.lines.sort()
    play.secrets.lines(draft.lines)
    play.post(draft)


def a_line_of_nothing_that_shields_another(play: Live) -> None:
    draft = play.honest(70)
    party, run, paid = draft.lines[0]
    following = draft.lines[1]
    draft.lines[:2] = [(0, 7, 0), (party, run, paid - 3), (following[0], following[1], following[2] + 3)]
    play.secrets.lines(draft.lines)
    play.post(draft)


def a_taller_tree_with_a_lie_in_it(play: Live) -> None:
    draft = play.honest(70)
    (one, run, paid), (other, run_, more) = draft.lines[1], draft.lines[2]
    draft.lines[1:3] = [(one, run, paid - 3), (other, run_, more + 3)]
    root = play.secrets.lines(draft.lines)
    tall = play.secrets.pair(root.root, EMPTY[root.height])
    draft.bend_roots = lambda roots: replace(roots, lines=Digest(tall))
    play.post(draft)


def a_tree_with_leaves_at_two_depths(play: Live) -> None:
    draft = play.honest(3)
    play.secrets.lines(draft.lines)
    words = [line_leaf(*line) for line in draft.lines]
    root = words[-1]
    for word in reversed(words[:-1]):
        root = play.secrets.pair(word, root)
    draft.bend_roots = lambda roots: replace(roots, lines=Digest(root))
    play.post(draft)


def payouts_that_the_file_does_not_show(play: Live) -> None:
    draft, maker, node = play.honest(), play.payees[MAKER], play.payees[play.node]
    hidden: Amounts = dict(draft.paid)
    _move(hidden, maker, node, 5)
    posted = replace(draft, paid=hidden).account_tree(PAYOUTS)
    play.secrets.accounts(PAYOUTS, hidden, posted)
    draft.bend_roots = lambda roots: replace(roots, payout=Digest(posted.root))
    play.post(draft)


def a_receipt_that_the_file_does_not_show(play: Live) -> None:
    draft = play.honest()
    given = draft.receipts[1]
    hidden = [draft.receipts[0], given._replace(call_id=given.request_digest), draft.receipts[2]]
    posted = Tree.build([receipt_leaf(struct_hash(one), one.charge) for one in hidden])
    play.secrets.receipts(hidden, encode(play.terms), posted)
    draft.bend_roots = lambda roots: replace(roots, receipts=Digest(posted.root))
    play.post(draft)


LIES: list[tuple[Callable[[Live], None], str]] = [
    (a_price_above_the_real_one, "does not follow from its terms"),
    (a_payee_short_changed, "did not grow by its lines"),
    (a_consumer_debited_for_another, "did not grow by its lines"),
    (a_cumulative_that_falls, "fell from"),
    (a_payee_swapped, "changed account"),
    (a_debit_above_the_deposit, "is debited"),
    (a_receipt_at_anothers_place, "which belongs to another"),
    (a_call_charged_twice_before_a_payee_short_changed, "did not grow by its lines"),
    (a_receipt_skipped_between_batches, "skip or repeat"),
    (a_line_that_is_not_the_bid_in_force, "not the bid in force"),
    (an_interior_sum_that_lies, "is not the sum of its children"),
    (a_file_withheld, "unanswered: the batch file is withheld"),
    (a_file_withheld_and_opened_in_part, "unanswered: the batch file is withheld: tree node 0 at depth 1"),
    (a_line_dropped_deep_in_a_tree, "does not give party"),
    (lines_out_of_order, "does not give party"),
    (a_line_for_nobody, "does not give party"),
    (a_line_of_nothing_that_shields_another, "out of order"),
    (a_taller_tree_with_a_lie_in_it, "does not give party"),
    (a_tree_with_leaves_at_two_depths, "is at depth"),
    (payouts_that_the_file_does_not_show, "did not grow by its lines"),
    (a_receipt_that_the_file_does_not_show, "was left out"),
]


def _plus(word: Digest, more: int) -> Digest:
    return Digest(word[:24] + (amount(word) + more).to_bytes(8, "big"))


def _move(rows: dict[int, tuple[Address, int]], giver: int, taker: int, atoms: int) -> None:
    rows[giver] = (rows[giver][0], rows[giver][1] - atoms)
    rows[taker] = (rows[taker][0], rows[taker][1] + atoms)
