"""A batch file holds all that is needed to recompute it, and every lie in it is named."""

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.core.catalog.bids import Line, Role, Terms, encode, ordered, terms_id
from ledger.core.disputes import audit
from ledger.core.disputes.challenge_game import open_tree
from ledger.core.disputes.questions import RECEIPTS
from ledger.core.kernels.records import SignedRecords
from ledger.core.pricing import price
from ledger.core.receipts.receipt import EndReason, Receipt, pack, struct_hash
from ledger.core.settlement import batch_file
from ledger.core.settlement.batch_file import ROOTS, BatchFile, Opening
from ledger.core.settlement.closing import Closed, Writer
from ledger.core.settlement.cumulatives import NOTHING, Cumulatives
from ledger.core.settlement.header import NO_HEADER, RUN, Range, gateways_tree
from ledger.core.values import sum_tree
from ledger.core.values.errors import Conflict, Rejected, Unavailable
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_DIGEST, Address, Digest
from ledger.core.values.meters import Units
from ledger.core.values.sum_tree import ZERO, Tree, gateway_leaf, verify
from ledger.core.values.typed_data import Domain, Mandate, Signer, signing_digest
from tests.rates import asks

DOMAIN = Domain(31337, Address(b"\x42" * 20))
GATEWAYS = sorted((Signer(b"\x01" * 32), Signer(b"\x02" * 32)), key=lambda signer: signer.address)
NUMBERS = {signer.address: number for number, signer in enumerate(GATEWAYS, 1)}
CONSUMERS = {Address(bytes((number,)) * 20): number for number in (1, 2, 3)}
PAYEES = {Address(bytes((number,)) * 20): number - 9 for number in range(11, 17)}
VOUCHERS = {number: Mandate(number, 10**9 + number, bytes((number,)) * 65) for number in (1, 3)}
OPERATOR, TREASURY, WEAVER = (Address(bytes((number,)) * 20) for number in (14, 15, 16))


def some_terms(number: int) -> Terms:
    """A model's terms; number 0 is a workflow's, with a weaver."""
    maker, compute = (Address(bytes((at,)) * 20) for at in (11 + number % 2, 13))
    lines = [
        Line(maker, Role.maker, 100_000),
        Line(compute, Role.compute, 0, asks(call=100 + number, input_token=10**7, output_token=4 * 10**7)),
        Line(OPERATOR, Role.gateway, 10_000),
        Line(TREASURY, Role.protocol, 20_000),
    ]
    return Terms(
        Digest(bytes((number,)) * 32), ordered([*lines, *([] if number else [Line(WEAVER, Role.weaver, 50_000)])])
    )


TERMS = {terms_id(encode(terms)): terms for terms in map(some_terms, range(4))}
BODIES = {name: encode(terms) for name, terms in TERMS.items()}
NAMES = list(TERMS)

LANE = Address(bytes(19) + b"\1")


def a_receipt(
    seq: int, gateway: Signer, name: Digest, units: Units, passed: int = 0, parent: Digest = ZERO_DIGEST
) -> Receipt:
    """A receipt that costs what its terms say."""
    due = price.price(TERMS[name], units, passed)
    consumer = list(CONSUMERS)[seq % 3]
    return Receipt(
        call_id=keccak256(consumer, gateway.address + bytes((seq >> 8, seq & 255))),
        parent=parent,
        lane=LANE,
        gateway=gateway.address,
        seq=seq,
        consumer=consumer,
        terms=name,
        epoch=0,
        subcalls=int(passed > 0),
        subcall_total=passed,
        price=due.price,
        charge=due.charge,
        end=EndReason.normal,
        ended_at=1_000,
        units=units,
    )


@dataclass
class Lane:
    """A lane as its batches know it."""

    previous: BatchFile | None = None
    next_seq: tuple[int, int] = (1, 1)

    def close(self, counts: Sequence[int], chunk: int = 64) -> tuple[Closed, bytes]:
        """A batch with so many receipts of each gateway."""
        rows: list[tuple[Receipt, Signer]] = []
        ranges = []
        for signer, first, count in zip(GATEWAYS, self.next_seq, counts, strict=True):
            for seq in range(first, first + count):
                units = Units(call=1, input_token=seq % 97, output_token=seq % 31)
                if seq % 10 == 0 and seq > first:  # the root of the workflow whose sub-call came just before
                    passed, place = rows[-1][0].price, len(rows) - 1
                    root = a_receipt(seq, signer, NAMES[0], units, passed)
                    rows[place] = (rows[place][0]._replace(parent=root.call_id), signer)
                else:
                    root = a_receipt(seq, signer, NAMES[seq % 4], units)
                rows.append((root, signer))
            ranges.append(Range(NUMBERS[signer.address], signer.address, first, count))
        return self.write([row for row, _ in rows], [signer for _, signer in rows], tuple(ranges), chunk)

    def write(
        self, rows: list[Receipt], signers: list[Signer], ranges: tuple[Range, ...], chunk: int = 64
    ) -> tuple[Closed, bytes]:
        """Close a batch over these receipts, chunk by chunk, and move on."""
        before = self.previous
        opening = Opening(
            domain=DOMAIN,
            lane=LANE,
            number=before.opening.number + 1 if before else 1,
            epoch=0,
            era=1,
            closed_at=1_000 + (before.opening.number if before else 0),
            prev=before.header.id if before else NO_HEADER,
            book_root=ZERO_DIGEST,
            ranges=ranges,
        )
        sink = io.BytesIO()
        old = (before.payouts, before.debits) if before else (NOTHING, NOTHING)
        writer = Writer(sink, opening, *old, PAYEES, CONSUMERS)
        signed = _signed(rows, signers)
        for begin in range(0, len(rows), chunk):
            writer.add(signed.part(begin, begin + chunk), BODIES)
        closed = writer.close(VOUCHERS)
        self.previous = batch_file.read(sink.getvalue())
        ends = {row.gateway: row.last + 1 for row in ranges}
        one, two = (ends.get(s.address, at) for s, at in zip(GATEWAYS, self.next_seq, strict=True))
        self.next_seq = (one, two)
        return closed, sink.getvalue()


def _signed(rows: list[Receipt], signers: list[Signer], domain: Domain = DOMAIN) -> SignedRecords:
    pairs = zip(rows, signers, strict=True)
    each = (pack(row) + signer.sign(signing_digest(domain, struct_hash(row))) for row, signer in pairs)
    return SignedRecords.read(np.frombuffer(b"".join(each), np.uint8), len(rows))


@settings(max_examples=12, deadline=None, database=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 80), st.integers(0, 140)), min_size=1, max_size=3), st.sampled_from([64, 192]))
def test_batches_follow_each_other_and_are_what_the_plain_pages_say(sizes: list[tuple[int, int]], chunk: int) -> None:
    lane, earned, debited = Lane(), Counter[Address](), Counter[Address]()
    for counts in sizes:
        previous = lane.previous
        closed, body = lane.close(counts, chunk)
        file = batch_file.read(body)
        assert file.header == closed.header
        assert closed.header.data_ref == hashlib.sha256(body).digest()
        assert str(audit.verify(file, previous, closed.header)).startswith("ok: ")
        lines: Counter[tuple[int, int]] = Counter()
        leaves = []
        for place, receipt in enumerate(file.receipts):
            leaves.append(sum_tree.receipt_leaf(LANE, struct_hash(receipt), receipt.charge))
            debited[receipt.consumer] += receipt.charge
            terms = TERMS[receipt.terms]
            for (payee, _), amount in zip(price.payees(terms), price.of_receipt(receipt, terms), strict=True):
                earned[payee] += amount
                lines[PAYEES[payee], place // 16] += amount
        heights = closed.header.heights
        rows = {
            party << heights.runs | run: sum_tree.line_leaf(LANE, party, run, amount)
            for (party, run), amount in lines.items()
            if amount
        }
        assert closed.header.receipts_root == sum_tree.Tree.build(leaves).root
        assert closed.header.lines_root == sum_tree.SparseTree.build(rows, heights.lines).root
        assert closed.header.gateways_root == gateways_tree(LANE, file.opening.ranges).root
        assert closed.header.calls == len(leaves)
        assert closed.header.payout_root == _plain_tree(1, PAYEES, earned).root
        assert closed.header.debit_root == _plain_tree(2, CONSUMERS, debited).root
        assert sum_tree.amount(closed.header.lines_root) == closed.charged
        assert closed.payouts.total == closed.debits.total == sum(earned.values())
        for index, word in closed.payout_changes.items():
            assert closed.payouts.tree(1, LANE).leaf(index) == word


def _plain_tree(tag: int, indexes: dict[Address, int], amounts: Counter[Address]) -> sum_tree.Tree:
    paid = {index: amounts[who] for who, index in indexes.items() if amounts[who]}
    who = {index: account for account, index in indexes.items()}
    leaves = [
        sum_tree.leaf(tag, LANE, index, who[index], paid[index]) if index in paid else sum_tree.ZERO
        for index in range(max(paid, default=-1) + 1)
    ]
    return sum_tree.Tree.build(leaves)


@pytest.fixture(scope="module")
def two() -> tuple[BatchFile, bytes, Closed]:
    """A first batch, and the bytes of the second one."""
    lane = Lane()
    lane.close((20, 60))
    first = lane.previous
    assert first is not None
    closed, body = lane.close((30, 100))
    return first, body, closed


PAID = 189  # where a record's charge begins


def _flip(at: int, bit: int = 1) -> Callable[[bytearray], None]:
    def lie(body: bytearray) -> None:
        body[at] ^= bit

    return lie


def _receipt_byte(place: int, offset: int) -> Callable[[bytearray], None]:
    """A byte of a receipt; from the end of its signature on where the offset is negative."""

    def lie(body: bytearray) -> None:
        file = batch_file.read(bytes(body))
        body[file.signed.starts[place + (offset < 0)] + offset] ^= 1

    return lie


LIES: list[tuple[str, str, Callable[[bytearray], None]]] = [
    ("another chain", "chain", _flip(11)),
    ("the number before again", "chain", _flip(59, 3)),
    ("another predecessor", "chain", _flip(91 + 3)),
    ("a digest changed", "signature", _receipt_byte(5, 269)),
    ("a signature changed", "signature", _receipt_byte(7, 5 - 65)),
    ("a charge changed", "signature", _receipt_byte(9, PAID + 7)),
    ("a receipt moved", "place", _receipt_byte(9, 104 + 7)),
    ("the receipts root", "receipts root", _flip(-97)),
    ("the payout root", "payout root", _flip(-65)),
    ("the debit root", "debit root", _flip(-33)),
    ("the lines root", "lines root", _flip(-1)),
]


@pytest.mark.parametrize(("name", "difference", "lie"), LIES, ids=[name for name, _, _ in LIES])
def test_a_lie_in_the_file_is_named(
    two: tuple[BatchFile, bytes, Closed], name: str, difference: str, lie: Callable[[bytearray], None]
) -> None:
    first, body, closed = two
    forged = bytearray(body)
    lie(forged)
    verdict = audit.verify(batch_file.read(bytes(forged)), first)
    assert not verdict.ok
    assert verdict.difference == difference, str(verdict)
    committed = audit.verify(batch_file.read(bytes(forged)), first, closed.header)
    assert (committed.ok, committed.difference) == (False, "header")


def test_any_byte_changed_is_another_file(two: tuple[BatchFile, bytes, Closed]) -> None:
    first, body, closed = two
    signed = range(len(body) - ROOTS.size - 77 * len(closed.mandates), len(body) - ROOTS.size)
    for at in [*range(0, len(body), 1_009), *signed[::50]]:
        forged = bytearray(body)
        forged[at] ^= 0x10
        try:
            file = batch_file.read(bytes(forged))
        except Rejected:
            continue
        assert not audit.verify(file, first, closed.header).ok
        assert audit.verify(file, first).ok == (at in signed), f"byte {at}: who signed a voucher the chain knows"


def test_barred_receipts_stand_in_the_file_and_in_no_tree() -> None:
    signer, name = GATEWAYS[0], NAMES[1]
    rows = [a_receipt(seq, signer, name, Units(call=1, input_token=seq)) for seq in range(1, 70)]
    rows[30] = rows[30]._replace(ended_at=1)
    opening = Opening(
        DOMAIN, LANE, 1, 0, 1, 1_000, NO_HEADER, ZERO_DIGEST, (Range(1, signer.address, 1, 69),), (2, 30, 68)
    )
    sink = io.BytesIO()
    writer = Writer(sink, opening, NOTHING, NOTHING, PAYEES, CONSUMERS)
    signed = _signed(rows, [signer] * len(rows))
    writer.add(signed.part(0, 64), BODIES)
    writer.add(signed.part(64, 69), BODIES)
    closed = writer.close({})
    file = batch_file.read(sink.getvalue())
    assert (file.opening, file.receipts) == (opening, rows)
    assert closed.charged == sum(row.charge for at, row in enumerate(rows) if at not in opening.barred)
    assert audit.verify(file, None, closed.header).ok
    leaves = {at: sum_tree.receipt_leaf(LANE, struct_hash(row), row.charge) for at, row in enumerate(rows)}
    tree = open_tree(RECEIPTS, {at: leaves[at] for at in leaves.keys() - set(opening.barred)}, file.header)
    assert tree.root == file.header.receipts_root
    for wrong in ((30, 2, 68), (2, 2, 68), (2, 30, 69)):
        forged = io.BytesIO()
        batch_file.write_head(forged, replace(opening, barred=wrong))
        with pytest.raises(Rejected, match="barred places are ascending"):
            batch_file.read(forged.getvalue() + sink.getvalue()[len(forged.getvalue()) :])


def test_a_cut_or_continued_file_is_refused(two: tuple[BatchFile, bytes, Closed]) -> None:
    _, body, _ = two
    for end in [*range(0, 200, 7), *range(200, len(body), 4_001), len(body) - 1]:
        with pytest.raises(Rejected):
            batch_file.read(body[:end])
    with pytest.raises(Rejected, match="follow the end"):
        batch_file.read(body + b"\0")


def resigned(file: BatchFile, changed: dict[int, Receipt]) -> bytes:
    """The same batch with some receipts replaced, signed again by their gateways: an operator's lie, not a thief's."""
    rows = file.receipts
    for place, receipt in changed.items():
        rows[place] = receipt
    by = {signer.address: signer for signer in GATEWAYS}
    sink = io.BytesIO()
    batch_file.write_head(sink, file.opening)
    batch_file.write_receipts(sink, _signed(rows, [by[row.gateway] for row in rows]))
    batch_file.write_tail(sink, file.terms, file.payouts, file.debits, file.mandates, file.roots)
    return sink.getvalue()


def test_an_operator_that_signs_a_wrong_price_is_found(two: tuple[BatchFile, bytes, Closed]) -> None:
    first, body, _ = two
    file = batch_file.read(body)
    rows = file.receipts
    place = next(i for i, row in enumerate(rows) if row.parent == ZERO_DIGEST and not row.subcall_total)
    dear = rows[place]._replace(price=rows[place].price + 1, charge=rows[place].charge + 1)
    verdict = audit.verify(batch_file.read(resigned(file, {place: dear})), first)
    assert (verdict.ok, verdict.difference) == (False, "price")
    assert f"receipt {dear.seq} says price {dear.price}" in verdict.found
    cheap = next(i for i, row in enumerate(rows) if row.subcall_total)
    root = rows[cheap]._replace(subcall_total=rows[cheap].subcall_total + 5)
    verdict = audit.verify(batch_file.read(resigned(file, {cheap: root})), first)
    assert (verdict.ok, verdict.difference) == (False, "subcall_total")


def test_a_payee_short_changed_and_a_debit_raised_are_named(two: tuple[BatchFile, bytes, Closed]) -> None:
    first, body, _ = two
    file = batch_file.read(body)
    rows = file.payouts.rows()
    index, payee, amount = rows[1]
    short = Cumulatives.of([*rows[:1], (index, payee, amount - 1), *rows[2:]])
    verdict = audit.verify(replace(file, payouts=short), first)
    assert (verdict.difference, verdict.expected, verdict.found) == ("payouts", str(amount), str(amount - 1))
    assert payee.hex() in verdict.where
    more = Cumulatives.of([(i, who, total + (i == 2)) for i, who, total in file.debits.rows()])
    assert audit.verify(replace(file, debits=more), first).difference == "debits"


def test_a_batch_takes_its_receipts_in_place_and_all_of_them() -> None:
    signer = GATEWAYS[0]
    rows = [a_receipt(seq, signer, NAMES[1], Units(1)) for seq in range(1, 11)]
    with pytest.raises(Rejected, match="are missing"):
        Lane().write(rows[:9], [signer] * 9, (Range(1, signer.address, 1, 10),))
    with pytest.raises(Rejected, match="more than the receipt logs hold"):
        Lane().write(rows, [signer] * 10, (Range(1, signer.address, 1, 9),))
    with pytest.raises(Rejected, match="is expected here"):
        Lane().write([*rows[:4], rows[5], rows[4], *rows[6:]], [signer] * 10, (Range(1, signer.address, 1, 10),))
    with pytest.raises(Rejected, match="within a run"):
        Lane().write(rows, [signer] * 10, (Range(1, signer.address, 1, 10),), chunk=7)


def test_who_has_no_index_yet_delays_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    signer = GATEWAYS[0]
    rows = [a_receipt(1, signer, NAMES[1], Units(1))]
    monkeypatch.delitem(PAYEES, OPERATOR)
    with pytest.raises(Unavailable, match=r"payee .* has no index yet"):
        Lane().write(rows, [signer], (Range(1, signer.address, 1, 1),))


def test_an_index_belongs_to_one_account() -> None:
    rows = Cumulatives.of([(3, Address(b"\x01" * 20), 5)])
    assert rows.plus({3: (Address(b"\x01" * 20), 2), 1: (Address(b"\x02" * 20), 1)}).rows() == [
        (1, Address(b"\x02" * 20), 1),
        (3, Address(b"\x01" * 20), 7),
    ]
    with pytest.raises(Conflict):
        rows.plus({3: (Address(b"\x09" * 20), 2)})
    with pytest.raises(Rejected):
        rows.plus({3: (Address(b"\x01" * 20), 2**63 - 1)})


def test_a_gateway_left_out_or_a_receipt_skipped_is_named(two: tuple[BatchFile, bytes, Closed]) -> None:
    first, body, _ = two
    file = batch_file.read(body)
    one, other = file.opening.ranges
    for ranges in ((one,), (one, replace(other, first=other.first + 1))):
        forged = replace(file, opening=replace(file.opening, ranges=ranges, number=2))
        verdict = audit.verify(forged, first)
        assert (verdict.ok, verdict.difference) == (False, "chain")
        assert other.gateway.hex() in verdict.where


def test_a_private_grid_comes_to_the_same_roots_without_a_chain() -> None:
    """Roots, sums and proofs are blind to the domain: only signatures and the file's address know it."""
    signer = GATEWAYS[0]
    rows = [a_receipt(seq, signer, NAMES[1], Units(call=1, input_token=seq, output_token=seq)) for seq in range(1, 70)]
    headers = []
    for domain in (DOMAIN, Domain()):
        ranges = (Range(1, signer.address, 1, 69),)
        opening = Opening(domain, LANE, 1, 0, 1, 1_000, NO_HEADER, ZERO_DIGEST, ranges)
        sink = io.BytesIO()
        writer = Writer(sink, opening, NOTHING, NOTHING, PAYEES, CONSUMERS)
        writer.add(_signed(rows, [signer] * len(rows), domain), BODIES)
        headers.append(writer.close({}).header)
        assert audit.verify(batch_file.read(sink.getvalue()), None, headers[-1]).ok
    assert replace(headers[0], data_ref=ZERO_DIGEST) == replace(headers[1], data_ref=ZERO_DIGEST)
    assert headers[0].data_ref != headers[1].data_ref


def test_an_empty_batch_commits_to_nothing_new() -> None:
    lane = Lane()
    closed, body = lane.close((0, 0))
    assert closed.header.calls == 0
    assert closed.header.receipts_root == closed.header.payout_root == ZERO_DIGEST
    assert audit.verify(batch_file.read(body), None, closed.header).ok
    assert RUN == 16


def test_a_file_may_name_any_number_of_a_gateway_and_a_reader_holds_the_path_to_it_alone() -> None:
    far = Range(2**32 - 1, Signer(bytes(31) + b"\x07").address, 1, 3)
    tree = gateways_tree(LANE, [Range(1, Signer(bytes(31) + b"\x08").address, 1, 1), far])
    assert sum(len(level) for level in tree.levels) <= 2 * 33
    leaf = gateway_leaf(LANE, far.number, far.gateway, far.first, far.count)
    assert verify(tree.root, leaf, far.number, tree.proof(far.number))


@pytest.mark.parametrize("numbers", [(), (1,), (1, 2), (2, 5), (1, 3, 4, 9)])
def test_the_tree_of_gateways_is_that_over_a_leaf_for_each_number(numbers: tuple[int, ...]) -> None:
    rows = [Range(number, Signer(bytes(31) + bytes((number,))).address, 1, number) for number in numbers]
    leaves = [ZERO] * (max(numbers, default=0) + 1)
    for row in rows:
        leaves[row.number] = gateway_leaf(LANE, row.number, row.gateway, row.first, row.count)
    whole = Tree.build(leaves)
    assert gateways_tree(LANE, rows).root == whole.root
    assert gateways_tree(LANE, rows).height == whole.height
