"""A preview replays the last day's calls with another bid in place of the line's own; risky bids are warned about."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from ledger.core.catalog.bids import Bid, Line, Role, Terms, encode, terms_id
from ledger.core.pricing.epochs import BidInForce
from ledger.core.receipts.receipt import Receipt
from ledger.core.values.ids import Address, Digest
from ledger.core.values.meters import Units
from roles.audit import batches, previews
from roles.cli.shared import payees
from roles.wallet.context import Context
from tests import builders as b
from tests.rates import asks

SUBJECT, ANOTHER = Digest(b"\x01" * 32), Digest(b"\x02" * 32)
HOURS = 3_600_000
RIVAL = b"\x55" * 20


def terms(ask: int = 1_000, subject: Digest = SUBJECT) -> Terms:
    """A maker's tenth, a provider's ask."""
    return Terms(subject, (Line(b.MAKER, Role.maker, 100_000), Line(b.COMPUTE, Role.compute, 0, asks(call=ask))))


@dataclass
class File:
    """The part of a batch file that a preview reads."""

    terms: dict[Digest, bytes] = field(default_factory=dict)
    receipts: list[Receipt] = field(default_factory=list)

    def call(self, terms: Terms, ended_at: int) -> None:
        self.terms[terms_id(encode(terms))] = encode(terms)
        seq = len(self.receipts) + 1
        self.receipts.append(b.a_receipt(seq, terms, units=Units(call=1), ended_at=ended_at))


@dataclass(frozen=True)
class Somebody(Context):
    """A provider that considers a bid."""

    @property
    def account(self) -> Address:
        return Address(b"\x77" * 20)


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch) -> File:
    """One batch: two calls of the last day, one of the day before, one of another model."""
    file = File()
    file.call(terms(), 30 * HOURS)
    file.call(terms(2_000), 40 * HOURS)
    file.call(terms(), 1 * HOURS)
    file.call(terms(subject=ANOTHER), 40 * HOURS)
    rival = BidInForce(SUBJECT, Role.compute, b.COMPUTE, Bid(0, asks(call=1_000)), 0, 24)
    maker = BidInForce(SUBJECT, Role.maker, b.MAKER, Bid(100_000, asks(call=0)), 0, 24)
    monkeypatch.setattr(batches, "numbers", lambda context: [1])
    monkeypatch.setattr(batches, "read", lambda context, number: file)
    monkeypatch.setattr(previews, "book", lambda context: [rival, maker])
    return file


def test_a_bid_earns_its_ask_on_every_call_of_the_last_day(file: File) -> None:
    shown = previews.preview(Somebody(), SUBJECT, Role.compute, Bid(0, asks(call=1_500)))
    assert shown["calls_of_the_last_day"] == 2
    assert shown["that_role_earned"] == "3000"
    assert shown["this_bid_would_have_earned"] == "3000"
    assert shown["price_change_in_all"] == str(1_667 + 1_667 - 1_112 - 2_223)


def test_a_day_is_a_day_however_many_batches_it_took(monkeypatch: pytest.MonkeyPatch, file: File) -> None:
    files = {}
    for number in range(1, 61):  # half an hour each: thirty hours
        files[number] = File()
        files[number].call(terms(), number * HOURS // 2)
    files[61] = File()
    read: list[int] = []
    monkeypatch.setattr(batches, "numbers", lambda context: list(files))

    def reading(context: Context, number: int) -> File:
        read.append(number)
        return files[number]

    monkeypatch.setattr(batches, "read", reading)
    shown = previews.preview(Somebody(), SUBJECT, Role.compute, Bid(0, asks(call=1_000)))
    assert shown["calls_of_the_last_day"] == 48
    assert min(read) == 12, "no older file is read, except the one that shows its age"


def test_a_cheaper_bid_wins_more_of_the_calls_and_a_dear_one_none(file: File) -> None:
    shares = [
        int(str(previews.preview(Somebody(), SUBJECT, Role.compute, Bid(0, asks(call=ask)))["share_of_calls"])[:-1])
        for ask in (500, 900, 1_000, 1_100, 2_000)
    ]
    assert shares == sorted(shares, reverse=True)
    assert shares[2] == 50
    assert (shares[0], shares[-1]) == (100, 0)


def test_a_ratio_that_leaves_no_room_earns_nothing(file: File) -> None:
    shown = previews.preview(Somebody(), SUBJECT, Role.maker, Bid(950_000, asks(call=0)))
    assert (shown["calls_of_the_last_day"], shown["this_bid_would_have_earned"]) == (0, "0")


@pytest.mark.parametrize(
    ("role", "bid", "warning"),
    [
        (Role.maker, Bid(100_000, asks(call=0)), "a floor of 0 may earn nothing"),
        (Role.compute, Bid(0, asks(call=0)), "an ask of 0 earns nothing"),
        (Role.compute, Bid(10_000, asks(call=5)), "raises your price on every call"),
        (Role.maker, Bid(100_000, asks(call=5)), ""),
    ],
)
def test_a_risky_bid_is_warned_about(role: Role, bid: Bid, warning: str, capsys: pytest.CaptureFixture[str]) -> None:
    payees.warn(role, bid)
    shown = " ".join(capsys.readouterr().err.split())
    assert warning in shown if warning else shown == ""


def test_what_if_replays_every_public_call_of_the_days_asked_for(file: File) -> None:
    rows = {row["change_ppm"]: row for row in previews.what_if(Somebody(), b.COMPUTE, 1)}
    assert {row["calls"] for row in rows.values()} == {3}
    assert (rows[0]["earned"], rows[-50_000]["earned"]) == ("4000", "3800")
    assert rows[-50_000]["expected"] == "3800", "nobody else bids"
    assert {row["calls"] for row in previews.what_if(Somebody(), b.COMPUTE, 2)} == {4}
    assert previews.what_if(Somebody(), Address(b"\x66" * 20), 7) == []


def test_a_payee_with_a_rival_is_drawn_more_often_for_less(monkeypatch: pytest.MonkeyPatch, file: File) -> None:
    bids = [
        BidInForce(SUBJECT, Role.compute, Address(who), Bid(0, asks(call=1_000)), 0, 24) for who in (b.COMPUTE, RIVAL)
    ]
    monkeypatch.setattr(previews, "book", lambda context: bids)
    rows = {row["change_ppm"]: row for row in previews.what_if(Somebody(), b.COMPUTE, 1)}
    assert int(str(rows[-100_000]["expected"])) > int(str(rows[0]["expected"])) > int(str(rows[100_000]["expected"]))
    assert int(str(rows[-100_000]["more_than_now"])) > 0 > int(str(rows[100_000]["more_than_now"]))
