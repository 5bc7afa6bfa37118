"""L1 to L10, each seen to hold on a ledger that has lived, and seen to fail when what it guards is damaged."""

import json

import pytest
from sqlalchemy import Engine, text

from ledger import operate
from ledger.core.accounts.accounts import available, claimable
from ledger.core.settlement import events
from ledger.store.session import unit_of_work
from tests import builders as b
from tests.room import Room

ALICE = available(b.ALICE)
MAKER = claimable(b.MAKER)


@pytest.fixture
def room(engine: Engine) -> Room:
    """A ledger that has lived: a final batch partly claimed, a posted one, a built one, and receipts in none."""
    room = Room(engine)
    room.post(70)
    room.see(seconds=61)
    room.post(10)
    room.see(events.Claimed(b.LANE, 3, b.MAKER, 1_000))
    room.deposit(b.ALICE, 500)
    room.serve(10)
    room.close()
    room.serve(10)
    assert [status for _, status, _ in room.batches()] == ["final", "posted", "built"]
    return room


def test_all_laws_hold_on_a_ledger_that_has_lived(room: Room) -> None:
    assert room.laws() == []


@pytest.mark.parametrize(
    ("law", "damage", "shows"),
    [
        ("L1", f"UPDATE accounts SET debits = credits + 7 WHERE name = '{ALICE}'", f"{ALICE} is short by 7 atoms"),
        ("L2", "UPDATE leases SET amount = amount + 1", "were leased"),
        ("L2", "UPDATE leases SET state = 'closed', spent = 0", "leases less receipts come to"),
        ("L3", f"UPDATE accounts SET credits = credits + 1 WHERE name = '{MAKER}'", "are owed"),
        ("L4", "UPDATE accounts SET debits = debits + 1 WHERE name = 'custody'", "the contract holds"),
        ("L5", "UPDATE batch_shares SET amount = amount + 1 WHERE number = 1 AND role = 1", "in batches"),
        (
            "L5",
            "UPDATE tree_nodes SET word = decode(repeat('ff', 32), 'hex') WHERE level = 0 AND number = 1",
            "fell in",
        ),
        ("L6", f"DELETE FROM postings WHERE credit = '{MAKER}'", "its postings"),
        ("L6", "UPDATE postings SET amount = amount + 1 WHERE ordinal = 0", "its postings"),
        ("L7", "UPDATE consumers SET deposited = 1", "the lane holds 2"),
        (
            "L8",
            b.altered(85, "ended_at"),
            "no longer comes to its header",
        ),
        ("L9", "UPDATE segments SET total = total + 1 WHERE first = 1", "segments say"),
        ("L9", "UPDATE watermarks SET posted_seq = posted_seq + 1", "are in segments"),
        ("L9", "DELETE FROM receipts WHERE seq = 5", "are missing"),
        (
            "L9",
            b.altered(5, "input_token"),
            "receipt 5 is not what its digest says",
        ),
        (
            "L10",
            "INSERT INTO vouchers VALUES "
            "(decode('{lane}', 'hex'), decode('{alice}', 'hex'), 10, decode('{alice}', 'hex'), '')",
            "at most 10 were allowed",
        ),
    ],
)
def test_each_law_is_seen_to_fail(room: Room, law: str, damage: str, shows: str) -> None:
    with unit_of_work(room.engine) as session:
        session.execute(text(damage.replace("{alice}", b.ALICE.hex()).replace("{lane}", b.LANE.hex())))
    found = {alarm.law: alarm.message for alarm in room.laws() if shows in alarm.message}
    assert law in found
    assert room.close() is None, "while an alarm stands nothing is closed"


def test_L4_is_seen_to_fail_when_tokens_leave_the_contract(room: Room) -> None:
    room.chain.blocks[1].logs.append(room.chain.blocks[-2].logs[0] if room.chain.blocks[-2].logs else _claim(room))
    assert any(alarm.law == "L4" for alarm in room.laws())


def test_L8_the_order_of_receipts_before_a_batch_does_not_change_what_it_pays(engine: Engine) -> None:
    room = Room(engine)
    room.serve(30)
    first = room.closed()
    with unit_of_work(engine) as session:
        session.execute(text("UPDATE watermarks SET batched_seq = 0"))
        for table in ("batches", "batch_ranges", "batch_shares", "tree_nodes"):
            session.execute(text(f"DELETE FROM {table}"))
        made = [b.a_receipt(30 - i, consumer=(b.BOB, b.ALICE)[i % 2], ended_at=1_000) for i in range(30)]
        session.execute(text("DELETE FROM receipts"))
        session.execute(text("DELETE FROM segments"))
        b.write(session, made)
    again = room.closed()
    assert (again.header.payout_root, again.header.debit_root) == (first.header.payout_root, first.header.debit_root)


def _claim(room: Room) -> events.Log:
    block = room.chain.blocks[1].block
    return events.Log(events.Claimed(b.LANE, 3, b.MAKER, 5), block.number, block.hash, 99, block.timestamp)


def test_L6_a_routine_audit_goes_on_from_the_last_one_and_a_thorough_one_begins_anew(room: Room) -> None:
    for _ in range(2):
        assert room.laws(thorough=False) == []
    with unit_of_work(room.engine) as session:
        kept = session.execute(text("SELECT count(*) FROM audited_sums")).scalar_one()
        assert kept == session.execute(text("SELECT count(*) FROM accounts")).scalar_one()
        session.execute(text("UPDATE postings SET amount = amount + 1 WHERE debit = 'custody'"))
    assert room.laws(thorough=False) == [], "it was audited, and is not read again"
    assert "L6" in {alarm.law for alarm in room.laws(thorough=True)}
    with unit_of_work(room.engine) as session:
        session.execute(text("UPDATE postings SET amount = amount - 1 WHERE debit = 'custody'"))
    room.serve(5)
    with unit_of_work(room.engine) as session:
        newest = "(SELECT id FROM transactions ORDER BY booked_in DESC LIMIT 1)"
        session.execute(text(f"UPDATE postings SET amount = amount + 1 WHERE ordinal = 0 AND transaction = {newest}"))
    assert "L6" in {alarm.law for alarm in room.laws(thorough=False)}


def test_L10_is_seen_to_fail_when_somebody_who_never_deposited_is_debited(room: Room) -> None:
    with unit_of_work(room.engine) as session:
        session.execute(text(f"DELETE FROM consumers WHERE account = decode('{b.ALICE.hex()}', 'hex')"))
    assert any("debited to consumers that never deposited" in alarm.message for alarm in room.laws(thorough=False))


def test_L6_a_copy_of_a_database_that_numbers_anew_is_audited_from_the_first_posting(room: Room) -> None:
    assert room.laws(thorough=False) == []
    with unit_of_work(room.engine) as session:
        session.execute(text("UPDATE audited_until SET booked_in = booked_in + 1000000"))
    assert room.laws(thorough=False) == []


LATE = {"posting_late", "closing_late", "commit_late"}


def test_an_alarm_is_shown_and_cleared_by_command_and_comes_back_while_its_cause_stands(
    room: Room, postgres_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*arguments: str) -> tuple[int, list[str], bool]:
        code = operate.main(["alarms", *arguments])
        said = json.loads(capsys.readouterr().out)
        names = [alarm["name"] for alarm in said["alarms"] if alarm["name"] not in LATE]
        assert all(alarm["remedy"] for alarm in said["alarms"])
        return code, names, said["cleared"]

    monkeypatch.setenv("LEDGER_DATABASE_URL", postgres_url)
    assert told() == (1, [], False), "what waits is old here, and so it is late"
    with unit_of_work(room.engine) as session:
        session.execute(text("UPDATE segments SET total = total + 1 WHERE first = 1"))
    assert room.laws()
    assert told() == (1, ["L9"], False)
    assert room.close() is None
    assert told("--clear") == (0, ["L9"], True)
    assert room.laws(), "still wrong, sounded again"
    with unit_of_work(room.engine) as session:
        session.execute(text("UPDATE segments SET total = total - 1 WHERE first = 1"))
    assert told("--clear") == (0, ["L9"], True)
    assert (room.laws(), told()) == ([], (1, [], False))
    assert room.close() is not None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (None, "LEDGER_DATABASE_URL: Field required"),
        ("postgresql://nobody@127.0.0.1:1/none", "the database of LEDGER_DATABASE_URL: connection failed"),
    ],
)
@pytest.mark.parametrize("command", ["alarms", "retire"])
def test_what_is_wrong_with_the_environment_is_said_in_a_line(
    url: str | None,
    said: str,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("LEDGER_DATABASE_URL", raising=False)
    if url is not None:
        monkeypatch.setenv("LEDGER_DATABASE_URL", url)
    with pytest.raises(SystemExit) as ended:
        operate.main([command])
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert told.startswith(f"error: {said}")
    assert told.count("\n") == 1
