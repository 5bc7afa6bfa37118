"""Answers as a person reads them: every amount with its unit, every price with what it is for, dates as dates."""

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from ledger.core.values.ids import to_hex
from roles.cli import output
from roles.cli.output import mode
from roles.cli.shared import calls, cells, receipts
from roles.wallet import keystore
from tests.house.source import ROOT, pages

STRANGER = "0x" + "ab" * 20
ENDED = 1_795_862_242_000
BALANCE = {"account": STRANGER, "available": "19800000000", "leased": "1500", "spendable": "0", "calls": 12}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the wallet `alice`, and a terminal of 80 columns."""
    monkeypatch.setenv("TOLLWAY_HOME", str(tmp_path))
    monkeypatch.setenv("TOLLWAY_PASSWORD", "correct horse")
    monkeypatch.setattr(mode, "json", False)
    monkeypatch.setattr(output, "PIPE_COLUMNS", 80)
    keystore.create("alice", strength=keystore.LIGHT)
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    return [" ".join(line.split()) for line in lines]


def test_amounts_have_units_and_counts_have_none(capsys: pytest.CaptureFixture[str]) -> None:
    output.show(BALANCE)
    assert printed(capsys) == [
        f"account {STRANGER}",
        "available 19.8 AIC",
        "leased 1,500 atoms",
        "spendable 0 AIC",
        "calls 12",
    ]


def test_json_is_exact(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mode, "json", True)
    output.show(BALANCE)
    output.show_table([BALANCE])
    assert json.loads("[" + capsys.readouterr().out.replace("}\n[", "},\n[") + "]") == [BALANCE, [BALANCE]]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ended_at", ENDED, "2026-11-28 10:37:22"),
        ("time", ENDED // 1000, "2026-11-28 10:37:22"),
        ("revoked_at", 0, "0"),
        ("latency_ms", 1_200, "1,200"),
        ("ratio_ppm", 125_000, "12.5%"),
        ("size_bytes", 0, "0 bytes"),
        ("size_bytes", 1_023, "1,023 bytes"),
        ("size_bytes", 267_843, "261.6 kB"),
        ("memory_mb", 1, "1 MB"),
        ("memory_mb", 1_536, "1.5 GB"),
        ("memory_mb", 2**31, "2,048 TB"),
        ("charge", "-5", "-5 atoms"),
        ("charge", "12 AIC", "12 AIC"),
        ("ask", {"call": "200", "output_token": "4000", "ms": "7", "byte": "9"},
         "200 atoms per call, 4,000 atoms per million output tokens, 7 atoms per second, 9 atoms per GB"),
        ("ask", {}, ""),
        ("ask", {"call": "0"}, "free"),
        ("units", {"call": 1, "input_token": 12}, "1 call, 12 input tokens"),
        ("steps", ["a", "b"], "a, b"),
        ("party", STRANGER, STRANGER),
        ("note", "[/x] [bold]", "[/x] [bold]"),
        ("well", True, "yes"),
        ("batch", None, "-"),
    ],
)  # fmt: skip
def test_values_are_said_by_what_their_names_hold(name: str, value: Any, said: str) -> None:
    assert cells.text(name, value, {}) == said


def test_wallets_one_has_are_named_where_their_address_is_not_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    alice = to_hex(keystore.address_of("alice"))
    output.show({"payee": alice, "owner": f"did:pkh:eip155:1:{alice}", "address": alice, "other": STRANGER})
    assert printed(capsys) == ["payee alice", "owner alice", f"address {alice}", f"other {STRANGER}"]


def test_a_wallet_that_cannot_be_read_hides_no_answer(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keystore._path("broken").write_text("{")
    output.show({"payee": STRANGER})
    assert printed(capsys) == [f"payee {STRANGER}"]


def test_what_is_inside_an_answer_stands_below_it(capsys: pytest.CaptureFixture[str]) -> None:
    output.show({"receipt": {"charge": "5", "[/x]": "[x]"}, "subs": [{"price": "7"}, {"price": "8"}]}, "[/y]")
    assert printed(capsys) == [
        "[/y]",
        "receipt",
        "charge 5 atoms",
        "[/x] [x]",
        "subs",
        "price 7 atoms",
        "price 8 atoms",
    ]


def test_a_table_that_is_too_wide_is_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_table([{"model": "@acme/a", "cid": "c" * 70, "charge": "5"}] * 2)
    block = ["model @acme/a", f"cid {'c' * 70}", "charge 5 atoms"]
    assert printed(capsys) == [*block, "", *block]
    output.show_table([{"model": "@acme/a", "charge": "5"}], "[/z]")
    assert printed(capsys) == ["[/z]", "model charge", "@acme/a 5 atoms"]


def a_receipt(**changed: Any) -> dict[str, Any]:
    fields = {
        "call_id": "0x" + "12" * 32,
        "parent": "0x" + "00" * 32,
        "subcalls": 0,
        "charge": "2278",
        "ended_at": ENDED,
        "units": {"call": 1, "input_token": 12, "output_token": 30},
        "noted": {"model": "@acme/dialog", "key": "k1", "provider": to_hex(keystore.address_of("alice"))},
    }
    return fields | changed


def test_a_receipt_says_what_was_called_used_and_paid_with_which_key(capsys: pytest.CaptureFixture[str]) -> None:
    step = a_receipt(parent="0x" + "12" * 32, call_id="0x" + "34" * 32, noted={"model": "@acme/b"})
    output.show_table([receipts.row(one, {"k1": "agent"}) for one in (a_receipt(), step)])
    said = " ".join(printed(capsys))
    for part in ("2026-11-28 10:37:22", "@acme/dialog", "12 input tokens, 30 output tokens", "2,278 atoms", "agent",
                 "alice", "0x1212121212", "> @acme/b"):  # fmt: skip
        assert part in said


def test_sums_are_by_day_model_and_key_and_count_a_runs_tokens_once() -> None:
    step = a_receipt(parent="0x" + "12" * 32, charge="100", noted={"model": "@acme/b", "key": "k2"})
    run = a_receipt(subcalls=1, ended_at=ENDED + 86_400_000)
    sums = {by: receipts.sums([run, step], by, {"k1": "agent"}) for by in receipts.SUMS}
    assert [(one["day"], one["calls"], one["input_token"], one["charge"]) for one in sums["day"]] == [
        ("2026-11-28", 1, 12, "100"),
        ("2026-11-29", 1, 0, "2278"),
    ]
    assert [(one["model"], one["charge"]) for one in sums["model"]] == [("@acme/dialog", "2278"), ("@acme/b", "100")]
    assert [(one["key"], one["charge"]) for one in sums["key"]] == [("agent", "2278"), ("k2", "100")]


def test_models_show_who_serves_them_since_when_for_how_much_and_how_fast(capsys: pytest.CaptureFixture[str]) -> None:
    pricing = {"call": "70", "input_token": "2000", "cached_input_token": "2000", "output_token": "80519482", "ms": "0"}
    near: dict[str, Any] = {
        "provider": to_hex(keystore.address_of("alice")),
        "tier": "edge",
        "since": ENDED,
        "ready": True,
    }
    near |= {"ready": True, "pricing": pricing, "latency_ms": 1_240, "round_trip_ms": 9}
    free = {**near, "provider": STRANGER, "pricing": {"call": "0"}, "latency_ms": 0, "round_trip_ms": 0}
    gone = {**free, "ready": False}
    model: dict[str, Any] = {"id": "@acme/dialog", "owned_by": STRANGER, "kind": "endpoint", "pricing": pricing}
    model |= {"cid": "bafk", "providers": [near, gone, free]}
    flow: dict[str, Any] = {"id": "@me/flow", "owned_by": STRANGER, "kind": "capsule", "steps": ["a", "b"]}
    flow["terms"] = {"lines": [{"ratio_ppm": 50_000}, {"ratio_ppm": 30_000}]}
    rows = [line for row in (model, flow) for line in calls.provider_rows(row)]
    prices = "70 atoms per call, 2,000 atoms per million input tokens, 0.080519482 AIC per million output tokens"
    assert [(row["model"], row["price"], row["answers in"]) for row in rows] == [
        ("@acme/dialog", prices, "1,240 ms, 9 ms away"),
        ("", "free", "not measured"),
        ("@me/flow", "what its 2 steps cost, 8% of the price on top", ""),
    ]
    assert calls.model_row(model)["providers"] == [near, free]
    output.show_table(rows)
    said = " ".join(printed(capsys))
    assert "alice" in said
    assert "2026-11-28 10:37:22" in said


def test_the_end_of_a_realms_token_is_a_date(capsys: pytest.CaptureFixture[str]) -> None:
    output.show({"until_ms": ENDED})
    assert printed(capsys) == ["until 2026-11-28 10:37:22"]


NAMES = st.sampled_from(
    ["model", "id", "price", "pricing", "units", "since", "quality_ppm", "size_bytes", "steps", "by", "why", "x" * 128]
)
"""Names that answers use, and one that a stranger chose: a tensor's, which is the name of a field of `infer`."""
TEXTS = st.one_of(st.text(max_size=200), st.sampled_from([STRANGER, "0x" + "ab" * 32, "bafkrei" + "q" * 52, "字" * 90]))
FACTS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(0, 2**53), st.integers(0, 10**18).map(str), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)
ROWS = st.lists(NAMES, min_size=1, max_size=12, unique=True).flatmap(
    lambda names: st.lists(st.fixed_dictionaries(dict.fromkeys(names, FACTS)), min_size=1, max_size=3)
)


def letters(text: str) -> Counter[str]:
    """What is to be read of a text, wherever its lines end."""
    return Counter(char for char in output.plain(text) if char.isascii() and char.isalnum())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(ROWS)
def test_whatever_is_shown_fits_80_columns_and_is_shown_whole(
    capsys: pytest.CaptureFixture[str], rows: list[dict[str, Any]]
) -> None:
    known = cells.wallets()
    for several, show in ((rows, partial(output.show_table, rows)), (rows[:1], partial(output.show, rows[0]))):
        capsys.readouterr()
        show()
        lines = capsys.readouterr().out.split("\n")
        assert all(cell_len(line) <= 80 for line in lines), lines
        printed = letters("".join(lines))
        for row in several:
            for name, value in row.items():
                plain = not isinstance(value, dict | list)
                assert letters(cells.label(name)) <= printed
                assert letters(cells.text(name, value, known) if plain else "") <= printed


def test_every_table_is_of_this_page() -> None:
    """So that the test above is about every command."""
    rich = {page.relative_to(ROOT).as_posix() for page in pages("roles") if "rich.table" in page.read_text()}
    assert rich == {"roles/cli/output.py", "roles/local/checks.py"}, "the latter is the demo's console, of figures"
