"""An operator for each kind of lie, whose files a gateway shows, and which answers what it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ledger.chain.deploy import Parameters, deploy
from ledger.chain.reads import Chain
from ledger.core.catalog.bids import Bid, Line, Role, Terms, ordered
from ledger.core.catalog.models import granted
from ledger.core.disputes.questions import LINES, PAYOUTS, RECEIPTS
from ledger.core.receipts.receipt import struct_hash
from ledger.core.settlement.batch_file import Roots
from ledger.core.values.documents import Document, digest, document_id
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_DIGEST, Address, Digest
from ledger.core.values.meters import Rates
from ledger.core.values.sum_tree import PAYOUT_TAG, ZERO, amount, leaf, line_leaf, receipt_leaf
from ledger.core.values.typed_data import Signer, word
from tests.builders import MAKER, TREASURY, a_receipt, an_address, some_terms
from tests.conftest import an_anvil
from tests.ledger.chain.conftest import FUNDS, Stage, a_stage, register
from tests.ledger.chain.play import Play
from tests.ledger.chain.secrets import Shows, answer, show_own
from tests.ledger.core.examples import a_base, a_model
from tests.rates import asks

ASKS = asks(input_token=100_000_000, output_token=400_000_000)

BASE = a_base()
OTHER_BASE = {
    **a_base(),
    "name": "@alpha/other",
    "derivative_terms": {**a_base()["derivative_terms"], "royalty_ppm": 30_000},
}
CHILD = {
    **a_model(),
    "lineage": [
        {
            **a_model()["lineage"][0],
            "id": document_id(one),
            "terms": {**a_model()["lineage"][0]["terms"], "royalty_ppm": one["derivative_terms"]["royalty_ppm"]},
        }
        for one in (BASE, OTHER_BASE)
    ],
}


def register_model(stage: Stage, document: Document, owner: Signer, *parents: Document) -> None:
    """Commit and reveal a model, with what it grants its children, as publication does."""
    chain, model, royalty = stage.chain, digest(document), granted(document)
    commitment = keccak256(word(model), word(owner.address), word(ZERO_DIGEST))
    chain.transact(owner, chain.calls.to("Registry", "commit", commitment))
    stage.wait(1)
    named = [chain.as_parent(digest(one)) for one in parents]
    terms = royalty.digest if royalty else ZERO_DIGEST
    chain.transact(owner, chain.calls.register_model(model, named, terms, ZERO_DIGEST))


@contextmanager
def playing(folder: Path) -> Iterator[Live]:
    """A play on a chain of its own; the deployment's file is in the folder."""
    with an_anvil() as url:
        yield Live(url, Chain(url, deploy(url, FUNDS, Parameters(3_600), folder)))


class Live(Play):
    """A play whose node is in the book, whose files a gateway shows, and whose operator answers when asked."""

    def __init__(self, url: str, chain: Chain) -> None:
        super().__init__(a_stage(chain))
        self.url = url
        self.node = self.stage.consumers[1].address
        bidder = self.stage.key(self.stage.consumers[1])
        chain.transact(bidder, chain.calls.place_bid(self.terms.subject, Role.compute, Bid(0, ASKS)))
        self.derive(bidder)
        self.stage.wait(chain.deployment.epoch_seconds)
        self.payees |= register(chain, self.node, FUNDS.address, self.stage.auditor.address)
        self.book.payees = self.payees
        self.agree(ASKS)
        self.shown = True
        self.shows: Shows = show_own
        self.start = chain.rpc("evm_snapshot")

    def agree(self, asks: Rates, treasury: Address | None = None) -> None:
        """Terms with the node's line at these asks."""
        lines = [Line(MAKER, Role.maker, 100_000), Line(self.node, Role.compute, 0, asks)]
        self.terms = some_terms(lines=[*lines, Line(treasury or self.treasury, Role.protocol, 20_000)])
        self.book.terms = [self.terms]

    def begin(self) -> None:
        """Back to before anything was posted."""
        self.chain.rpc("evm_revert", self.start)
        self.start = self.chain.rpc("evm_snapshot")
        self.chain.rpc("evm_mine")
        self.book.paid, self.book.owed, self.number = {}, {}, 0
        self.book.files, self.book.bodies, self.drafts = [], [], []
        self.book.allowed = 10**12
        self.book.vouchers = {1 + n: signer for n, signer in enumerate(self.stage.consumers)}
        self.shown, self.shows, self.held = True, show_own, []
        self.documents = {digest(one): one for one in (BASE, OTHER_BASE, CHILD)}
        self.agree(ASKS)

    def derive(self, owner: Signer) -> None:
        """Register a model and its two parents, with the bids of its owner, who serves it too."""
        register_model(self.stage, BASE, FUNDS)
        register_model(self.stage, OTHER_BASE, FUNDS)
        register_model(self.stage, CHILD, owner, BASE, OTHER_BASE)
        for role, bid in ((Role.oem, Bid(50_000)), (Role.weaver, Bid(10_000)), (Role.compute, Bid(0, ASKS))):
            self.chain.transact(owner, self.chain.calls.place_bid(digest(CHILD), role, bid))

    def agree_on_the_child(self, *owners: Line, weaver: int = 10_000) -> None:
        """Terms of the child's calls, with these lines of makers and OEMs."""
        lines = [Line(self.node, Role.compute, 0, ASKS), Line(self.treasury, Role.protocol, 20_000)]
        lines = [*owners, *lines, Line(self.node, Role.weaver, weaver)]
        self.terms = Terms(digest(CHILD), ordered(lines))
        self.book.terms = [self.terms]

    @property
    def due(self) -> list[Line]:
        """The lines of the child's owner and of its parents' owner."""
        ancestors = [Line(FUNDS.address, Role.maker, ratio, asks(call=40)) for ratio in (120_000, 30_000)]
        return [Line(self.node, Role.oem, 50_000), *ancestors]

    def answer(self) -> bool:
        """Answer what is asked. False when there is no answer to a question."""
        return answer(self, self.shows)


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
    _move(draft.paid, maker, play.payees[play.node], draft.paid[maker][1] - 1)
    play.post(draft)


def a_payee_swapped(play: Live) -> None:
    draft, maker = play.honest(), play.payees[MAKER]
    draft.paid[maker] = (an_address(99), draft.paid[maker][1])
    play.post(draft)


def a_consumer_swapped(play: Live) -> None:
    draft = play.honest()
    draft.owed[1] = (an_address(99), draft.owed[1][1])
    play.post(draft)


def a_debit_above_the_deposit(play: Live) -> None:
    other, spender = play.stage.consumers[1].address, play.stage.consumers[0].address
    play.chain.transact(FUNDS, play.chain.calls.deposit(play.stage.lane, other, 10**11))
    (few,) = play.receipts(1)
    units = few.units._replace(output_token=10_000_000)
    play.post(play.book.honest([play.receipt(few.seq, spender, units=units)]))


def a_debit_without_a_voucher(play: Live) -> None:
    del play.book.vouchers[1]
    play.post(play.honest())


def a_debit_above_its_voucher(play: Live) -> None:
    play.book.allowed = 10
    play.post(play.honest())


def a_voucher_that_another_signed(play: Live) -> None:
    play.book.vouchers[1] = play.stage.operator
    play.post(play.honest())


def a_debit_after_an_exit(play: Live) -> None:
    leaver = play.stage.consumers[0]
    play.chain.transact(play.stage.key(leaver), play.chain.calls.to("Consumers", "requestWithdraw", play.stage.lane))
    play.stage.wait(play.chain.deployment.exit_notice_seconds + 2)
    play.post(play.honest())
    play.post(play.honest())


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


def a_gateway_that_nobody_named(play: Live) -> None:
    draft = play.honest()
    draft.number = 2
    play.post(draft)


def a_line_that_is_not_the_bid_in_force(play: Live) -> None:
    play.agree(asks(input_token=100_000_001, output_token=400_000_000))
    play.post(play.honest())


def a_protocol_fee_to_somebody_else(play: Live) -> None:
    play.agree(ASKS, TREASURY)
    play.payees |= register(play.chain, TREASURY)
    play.post(play.honest())


def a_line_of_an_owner_that_owns_nothing(play: Live) -> None:
    owner, *ancestors = play.due
    play.agree_on_the_child(replace(owner, party=MAKER), *ancestors)
    play.post(play.honest())


def a_line_of_an_owner_that_sold_its_model(play: Live) -> None:
    sold = play.chain.calls.to("Registry", "transfer", digest(CHILD), play.stage.auditor.address)
    play.chain.transact(play.stage.key(play.stage.consumers[1]), sold)
    play.stage.wait(play.chain.deployment.epoch_seconds)
    play.agree_on_the_child(*play.due)
    play.post(play.honest())


def a_royalty_left_out(play: Live) -> None:
    play.agree_on_the_child(*play.due[:2])
    play.post(play.honest())


def a_royalty_left_out_beside_a_secret_one(play: Live) -> None:
    del play.documents[digest(CHILD)], play.documents[digest(OTHER_BASE)]
    owner, _, secret = play.due
    play.agree_on_the_child(owner, secret)
    play.post(play.honest())


def a_royalty_of_less_than_was_granted(play: Live) -> None:
    *others, last = play.due
    play.agree_on_the_child(*others, replace(last, ratio_ppm=29_999))
    play.post(play.honest())


def a_royalty_to_no_ancestor(play: Live) -> None:
    play.agree_on_the_child(*play.due, Line(MAKER, Role.maker, 1_000))
    play.post(play.honest())


def a_weavers_line_below_its_bid(play: Live) -> None:
    play.agree_on_the_child(*play.due, weaver=9_999)
    play.post(play.honest())


def a_receipt_of_an_old_epoch(play: Live) -> None:
    receipts = play.receipts()
    receipts[1] = receipts[1]._replace(epoch=receipts[1].epoch - 2)
    play.post(play.book.honest(receipts))


def a_receipt_that_ends_tomorrow(play: Live) -> None:
    receipts = play.receipts()
    late = receipts[2].ended_at + 86_400_000
    receipts[2] = receipts[2]._replace(ended_at=late, epoch=late // 1_000 // play.chain.deployment.epoch_seconds)
    play.post(play.book.honest(receipts))


def a_workflow_without_its_sub_calls(play: Live) -> None:
    receipts = play.receipts()
    made = a_receipt(3, play.terms, consumer=receipts[2].consumer, subcalls=1, subcall_total=50)
    receipts[2] = receipts[2]._replace(price=made.price, charge=made.charge, subcalls=1, subcall_total=50)
    play.post(play.book.honest(receipts))


def an_interior_sum_that_lies(play: Live) -> None:
    draft = play.honest()
    draft.bend_roots = lambda roots: Roots(
        _plus(roots.receipts), _plus(roots.payout), _plus(roots.debit), _plus(roots.lines)
    )
    play.post(draft)


def a_file_withheld(play: Live) -> None:
    play.shown = False
    draft = play.honest()
    draft.bend_roots = lambda roots: replace(roots, receipts=Digest(_other(roots.receipts)))
    play.post(draft)


def a_file_withheld_and_opened_in_part(play: Live) -> None:
    play.shown, play.shows = False, lambda draft, place: None
    play.post(play.honest())


def a_file_withheld_that_hides_a_price(play: Live) -> None:
    play.shown = False
    a_price_above_the_real_one(play)


def a_line_dropped_deep_in_a_tree(play: Live) -> None:
    draft, maker, node = play.honest(300), play.payees[MAKER], play.payees[play.node]
    dropped = draft.lines.pop((maker, 13))
    draft.lines[node, 13] += dropped
    _move(draft.paid, maker, node, dropped)
    play.post(draft)


def a_line_for_nobody(play: Live) -> None:
    draft = play.honest(70)
    maker = play.payees[MAKER]
    draft.lines[maker, 1] -= 3
    draft.lines[0, 2] = 3
    play.post(draft)


def a_line_for_a_run_that_no_receipt_is_in(play: Live) -> None:
    draft = play.honest(70)
    maker = play.payees[MAKER]
    draft.lines[maker, 1] -= 3
    draft.hidden[LINES] = {maker << draft.heights.runs | 7: line_leaf(play.stage.lane, maker, 7, 3)}
    play.post(draft)


def payouts_that_the_file_does_not_show(play: Live) -> None:
    draft, maker, node = play.honest(), play.payees[MAKER], play.payees[play.node]
    rows = dict(draft.paid)
    _move(rows, maker, node, 5)
    lane = play.stage.lane
    draft.hidden[PAYOUTS] = {index: leaf(PAYOUT_TAG, lane, index, *rows[index]) for index in (maker, node)}
    play.post(draft)


def a_receipt_that_the_file_does_not_show(play: Live) -> None:
    draft = play.honest()
    given = draft.receipts[1]
    other = given._replace(call_id=given.request_digest)
    draft.hidden[RECEIPTS] = {1: receipt_leaf(play.stage.lane, struct_hash(other), other.charge)}
    play.post(draft)


def an_empty_place_for_a_receipt(play: Live) -> None:
    receipts = play.receipts()
    draft = play.book.honest([receipts[0], receipts[2]])
    draft.receipts, draft.hidden[RECEIPTS] = receipts, {1: ZERO}
    play.post(draft)


def a_receipt_that_is_said_to_be_barred(play: Live) -> None:
    receipts = play.receipts()
    draft = play.book.honest([receipts[0], receipts[2]])
    draft.receipts, draft.barred, draft.hidden[RECEIPTS] = receipts, (1,), {1: ZERO}
    play.post(draft)


def a_receipt_beyond_the_last(play: Live) -> None:
    draft = play.honest()
    draft.hidden[RECEIPTS] = {3: receipt_leaf(play.stage.lane, bytes(32), 0)}
    play.post(draft)


LIES: list[tuple[Callable[[Live], None], str]] = [
    (a_price_above_the_real_one, "does not follow from its terms"),
    (a_payee_short_changed, "did not grow by its lines"),
    (a_consumer_debited_for_another, "unanswered: consumer 2 is debited"),
    (a_cumulative_that_falls, "fell from"),
    (a_payee_swapped, "is another account"),
    (a_consumer_swapped, "is another account"),
    (a_debit_above_the_deposit, "is debited"),
    (a_debit_without_a_voucher, "unanswered: consumer 1 is debited"),
    (a_debit_above_its_voucher, "which no mandate in the file covers"),
    (a_voucher_that_another_signed, "unanswered: consumer 1 is debited"),
    (a_debit_after_an_exit, "though a batch closed after its request"),
    (a_receipt_at_anothers_place, "which belongs to another"),
    (a_call_charged_twice_before_a_payee_short_changed, "one call is charged at"),
    (a_receipt_skipped_between_batches, "do not continue"),
    (a_gateway_that_nobody_named, "do not continue"),
    (a_line_that_is_not_the_bid_in_force, "not the bid in force"),
    (a_protocol_fee_to_somebody_else, "not those that its lane and call must have"),
    (a_line_of_an_owner_that_owns_nothing, "not those that Registry and book say"),
    (a_line_of_an_owner_that_sold_its_model, "not those that Registry and book say"),
    (a_royalty_left_out, "not those that Registry and book say"),
    (a_royalty_left_out_beside_a_secret_one, "no line that pays what it was granted"),
    (a_royalty_of_less_than_was_granted, "not those that Registry and book say"),
    (a_royalty_to_no_ancestor, "not those that Registry and book say"),
    (a_weavers_line_below_its_bid, "the weaver that owns its subject"),
    (a_receipt_of_an_old_epoch, "the batch was closed at"),
    (a_receipt_that_ends_tomorrow, "the batch was closed at"),
    (a_workflow_without_its_sub_calls, "are not its 1 sub-calls"),
    (an_interior_sum_that_lies, "unanswered: tree node 0 at depth 0 of the receipts tree"),
    (a_file_withheld, "unanswered: tree node 0 at depth 0 of the receipts tree"),
    (a_file_withheld_and_opened_in_part, "unanswered: a receipt stands at place 0"),
    (a_file_withheld_that_hides_a_price, "does not follow from its terms"),
    (a_line_dropped_deep_in_a_tree, "does not give party"),
    (a_line_for_nobody, "does not give party 0"),
    (a_line_for_a_run_that_no_receipt_is_in, "does not give party"),
    (payouts_that_the_file_does_not_show, "did not grow by its lines"),
    (a_receipt_that_the_file_does_not_show, "was left out"),
    (an_empty_place_for_a_receipt, "was left out"),
    (a_receipt_that_is_said_to_be_barred, "was left out"),
    (a_receipt_beyond_the_last, "after the last"),
]


def _plus(word: Digest) -> Digest:
    return Digest(word[:24] + (amount(word) + 1).to_bytes(8, "big"))


def _other(word: bytes) -> bytes:
    """A word of the same sum that is no node."""
    return bytes(24) + word[24:]


def _move(rows: dict[int, tuple[Address, int]], giver: int, taker: int, atoms: int) -> None:
    rows[giver] = (rows[giver][0], rows[giver][1] - atoms)
    rows[taker] = (rows[taker][0], rows[taker][1] + atoms)
