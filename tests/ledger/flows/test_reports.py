"""Reporting: statements equal the ledger to the atom, page by page, and Beancount agrees."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from beancount import loader
from beancount.core import realization
from sqlalchemy import Engine
from sqlmodel import Session

from ledger.core.accounts import beancount, movements, statements
from ledger.core.accounts.accounts import accrued, available, claimable, leased
from ledger.core.accounts.statements import Movement, Row, Side, Stage
from ledger.core.catalog.bids import Deduction, Line, Role, Terms
from ledger.core.values.atoms import AIC
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest
from ledger.flows import postings as posting
from ledger.flows import reports
from ledger.flows.reports import Query
from ledger.store.money import postings
from ledger.store.receipts.statements import Period
from ledger.store.session import unit_of_work
from tests import builders as b

HOLD = 10**12
ALWAYS = Period(0, 10**13)
CURATOR, SURFACE = b.an_address(21), b.an_address(22)


def a_listed_model() -> Terms:
    """A model sold at a list price, with a curator and a sponsored slot."""
    lines = (Line(b.MAKER, Role.maker, 100_000), Line(b.COMPUTE, Role.compute, 0, b.ASKS))
    deduction = Deduction(0, CURATOR, 500_000, 600_000, 100, SURFACE, b.TREASURY)
    return Terms(Digest(bytes(31) + b"\x02"), lines, list_price=50_000, seller=0, deduction=deduction)


@contextmanager
def a_history(engine: Engine) -> Iterator[Session]:
    """Alice calls two models 30 times, Bob one 10 times; 35 calls are posted, what was earned of 20 is settled."""
    plain, listed = b.some_terms(), a_listed_model()
    with unit_of_work(engine) as session:
        b.fund(session, b.ALICE, HOLD)
        b.fund(session, b.BOB, HOLD, number=2)
        for number in range(1, 31):
            terms = listed if number % 3 == 0 else plain
            b.write(session, [b.a_receipt(number, terms, ended_at=1_000 * number)], [plain, listed])
        b.write(session, [b.a_receipt(n, consumer=b.BOB, ended_at=1_000 * n) for n in range(31, 36)])
        while posting.post_chunk(session, b.LANE, b.GATEWAY.address, 5, now=40_000):
            pass
        b.write(session, [b.a_receipt(n, consumer=b.BOB, ended_at=1_000 * n) for n in range(36, 41)])
        earned = {(b.MAKER, Role.maker): 70_000, (b.COMPUTE, Role.compute): 20 * 28_000}
        postings.book(session, movements.settle(b.LANE, b"batch", earned, at=50_000))
        postings.book(session, movements.claim(b.LANE, b"claim", b.MAKER, 30_000, at=60_000))
    with unit_of_work(engine) as session:
        yield session


def whole(session: Session, query: Query, limit: int = 7) -> tuple[list[Row], list[Movement]]:
    """All pages of a statement, joined."""
    rows: list[Row] = []
    moves: list[Movement] = []
    cursor = ""
    while True:
        page = reports.statement(session, query, cursor, limit)
        assert len({(r.item.receipt.gateway, r.item.receipt.seq) for r in page.rows}) <= limit
        rows += page.rows
        moves += page.movements
        cursor = page.next
        if not cursor:
            return rows, moves


def lifetime(session: Session, party: Address, role: Role) -> int:
    """All a payee was ever credited in a role."""
    return postings.entries(session, b.LANE, accrued(party, role))[accrued(party, role)].credits


@pytest.mark.parametrize(
    ("party", "role"),
    [
        (b.MAKER, Role.maker),
        (b.COMPUTE, Role.compute),
        (b.OPERATOR, Role.gateway),
        (b.TREASURY, Role.protocol),
        (CURATOR, Role.curator),
        (SURFACE, Role.curator),
    ],
)
def test_what_a_payee_earned_is_what_the_ledger_credited_it(engine: Engine, party: Address, role: Role) -> None:
    with a_history(engine) as session:
        rows, _ = whole(session, Query(b.LANE, party, ALWAYS))
        posted = [row for row in rows if row.stage is not Stage.logged]
        assert sum(row.item.amount for row in posted) == lifetime(session, party, role) > 0
        assert {row.item.payee for row in rows} == {party}
        assert {row.side for row in rows} == {Side.earned}


def test_what_a_consumer_spent_is_what_left_its_lease(engine: Engine) -> None:
    with a_history(engine) as session:
        for consumer, count in ((b.ALICE, 30), (b.BOB, 10)):
            rows, _ = whole(session, Query(b.LANE, consumer, ALWAYS))
            posted = sum(row.item.amount for row in rows if row.stage is not Stage.logged)
            assert postings.balance(session, b.LANE, leased(consumer, b.GATEWAY.address)) == HOLD - posted
            assert len({row.item.receipt.seq for row in rows}) == count
            assert {row.side for row in rows} == {Side.spent}


def test_a_statement_is_the_same_however_it_is_paged(engine: Engine) -> None:
    with a_history(engine) as session:
        pages = [whole(session, Query(b.LANE, b.MAKER, ALWAYS), limit) for limit in (1, 7, 1_000)]
        assert pages[0] == pages[1] == pages[2]
        with pytest.raises(Rejected, match="a page holds"):
            reports.statement(session, Query(b.LANE, b.MAKER, ALWAYS), "", 1_001)
        with pytest.raises(Rejected, match="not a valid cursor"):
            reports.statement(session, Query(b.LANE, b.MAKER, ALWAYS), "calls:x", 10)


def test_role_model_and_period_narrow_a_statement(engine: Engine) -> None:
    with a_history(engine) as session:
        everything, _ = whole(session, Query(b.LANE, b.MAKER, ALWAYS))
        subject = a_listed_model().subject
        of_model, _ = whole(session, Query(b.LANE, b.MAKER, ALWAYS, subject=subject))
        assert of_model == [row for row in everything if row.item.subject == subject] != []
        some, _ = whole(session, Query(b.LANE, b.MAKER, Period(5_000, 9_000)))
        assert [row.item.receipt.seq for row in some] == [5, 6, 7, 8]
        assert whole(session, Query(b.LANE, b.MAKER, ALWAYS, frozenset({"compute"}))) == ([], [])
        assert whole(session, Query(b.LANE, b.MAKER, ALWAYS, frozenset({"consumer"}))) == ([], [])
        assert whole(session, Query(b.LANE, b.MAKER, ALWAYS, frozenset({"maker"})))[0] == everything
        summed = statements.totals(everything)
        assert sum(atoms for _, atoms in summed.values()) == sum(row.item.amount for row in everything)
    with pytest.raises(Rejected, match="no role"):
        statements.roles_of("maker,landlord")


def test_every_line_says_why_and_the_reasons_add_up(engine: Engine) -> None:
    with a_history(engine) as session:
        rows, _ = whole(session, Query(b.LANE, b.ALICE, ALWAYS))
        charged: Counter[int] = Counter()
        for row in rows:
            charged[row.item.receipt.seq] += row.item.amount
            assert row.item.why != "nothing asked"
        assert charged == {row.item.receipt.seq: row.item.receipt.charge for row in rows}
        reasons = {row.item.role: row.item.why for row in rows if row.item.receipt.seq == 1}
        price = rows[0].item.receipt.price
        assert reasons[Role.maker] == f"100000 ppm of {price} = {-(-price // 10)}"
        assert reasons[Role.compute] == "input_token 100000000, output_token 400000000 on the units = 28000"


@pytest.mark.parametrize("party", [b.ALICE, b.MAKER, b.COMPUTE, CURATOR])
def test_beancount_accepts_a_statement_and_its_balances_are_the_ledgers(
    engine: Engine, party: Address, tmp_path: Path
) -> None:
    with a_history(engine) as session:
        rows, moves = whole(session, Query(b.LANE, party, ALWAYS))
        held = {
            "Assets:Tollway:Deposit": postings.balance(session, b.LANE, available(party))
            + postings.balance(session, b.LANE, leased(party, b.GATEWAY.address)),
            "Assets:Tollway:Claimable": postings.balance(session, b.LANE, claimable(party)),
        } | {
            f"Assets:Tollway:Accrued:{role.name.capitalize()}": postings.balance(session, b.LANE, accrued(party, role))
            for role in Role
        }
    file = tmp_path / "statement.beancount"
    posted = [row for row in rows if row.stage is not Stage.logged]
    halves = beancount.calls(posted[:9], {}, AIC), beancount.calls(posted[9:], {}, AIC)
    file.write_text("".join((beancount.header(party, AIC), *halves, beancount.moves(moves, AIC))))
    check = [str(Path(sys.executable).with_name("bean-check")), str(file)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    entries, errors, _ = loader.load_file(str(file))
    assert not errors
    root = realization.realize(entries)  # type: ignore[no-untyped-call]
    for account, atoms in held.items():
        found = realization.get(root, account)  # type: ignore[no-untyped-call]
        amount = found.balance.get_currency_units("AIC").number if found is not None else Decimal(0)
        assert amount == Decimal(atoms) / 10**9, account


def test_an_unposted_call_is_marked(engine: Engine) -> None:
    with a_history(engine) as session:
        rows, _ = whole(session, Query(b.LANE, b.BOB, ALWAYS))
        assert next(row.stage for row in rows if row.item.receipt.seq == 40) is Stage.logged
        assert '1970-01-01 ! "' in beancount.calls(rows, {}, AIC)
