"""Payees: what public batches paid an address, for everybody, and what another ask would have brought."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gateway.catalog import payees
from gateway.console import plots
from gateway.console.assets import FOLDER
from ledger.core.pricing import what_if
from ledger.core.values.atoms import PPM
from ledger.core.values.ids import to_hex
from ledger.core.values.typed_data import Signer
from ledger.store.chain import lanes
from ledger.store.session import unit_of_work
from ledger.store.settlement.payees import Bounds
from tests.gateway.nodes import Node
from tests.gateway.test_private_grid import work
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import MAKER, PROVIDER, Running, World, a_signer
from tests.javascript import evaluate

CALLS = 3


@pytest.fixture
def called(world: World, gateway: Running, consumer: Signer) -> Running:
    """A gateway whose provider served three calls that are in no batch yet."""
    with unit_of_work(world.engine) as session:
        lanes.assign(session, world.lane, [consumer.address])
    world.deposit(consumer.address, 10**9)
    key = gateway.key(consumer)
    for _ in range(CALLS):
        assert gateway.chat(key).status_code == 200
    return gateway


@pytest.fixture
def unkept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that was read is shown again."""
    monkeypatch.setattr(payees, "KEPT_SECONDS", 0.0)


def of(gateway: Running, payee: Signer, more: str = "") -> Any:
    """A payee's public record, or what follows it."""
    answer = gateway.http.get(f"/v1/payees/{to_hex(payee.address)}{more}")
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.usefixtures("unkept")
def test_what_a_payee_earned_waits_for_its_batch_and_can_be_claimed_once_that_is_final(
    world: World, called: Running
) -> None:
    assert of(called, PROVIDER)["epochs"] == []
    work(world, window_ms=60_000, now=1_000)
    posted = of(called, PROVIDER)
    (waits,) = posted["waiting"]
    assert (waits["status"], waits["role"], waits["earned"], waits["until"]) == ("posted", "compute", "300", 61_000)
    assert (posted["settled"], posted["claimable"], posted["claimed"]) == ("0", "0", "0")
    work(world, window_ms=60_000, now=61_000)
    final = of(called, PROVIDER)
    assert (final["waiting"], final["settled"], final["claimable"]) == ([], "300", "300")
    (epoch,) = final["epochs"]
    assert (epoch["role"], epoch["earned"]) == ("compute", "300")
    assert epoch["starts_at"] == epoch["epoch"] * called.gateway.calendar.epoch_seconds * 1_000
    assert final["stake"]["active"] == str(10**9)
    (serves,) = final["provides"]
    assert (serves["model"], serves["ready"], serves["errors"]) == ("@acme/chat", True, 0)


def test_calls_of_a_batch_that_is_not_public_are_on_no_page(world: World, called: Running) -> None:
    shown = of(called, PROVIDER)
    assert (shown["epochs"], shown["models"], shown["replayed"]["calls"]) == ([], [], 0)
    assert "No public batch of this lane pays" in called.http.get(f"/payees/{to_hex(PROVIDER.address)}").text


@pytest.mark.usefixtures("unkept")
def test_what_if_replays_the_public_calls_for_each_payee(world: World, called: Running) -> None:
    assert of(called, PROVIDER, "/what-if")["points"] == []
    work(world)
    found = of(called, PROVIDER, "/what-if")
    assert found["replayed"] | {"first": 0, "last": 0} == {"calls": CALLS, "first": 0, "last": 0, "whole": True}
    for point in found["points"]:
        assert int(point["earned"]) == CALLS * 100 * (PPM + point["change_ppm"]) // PPM
        assert point["expected"] == point["earned"], "nobody else serves it"
        assert point["left_out"] == 0
    (model,) = of(called, MAKER)["models"]
    earned = next(one["earned"] for one in of(called, MAKER, "/what-if")["points"] if not one["change_ppm"])
    assert model == {"model": "@acme/chat", "role": "maker", "calls": CALLS, "earned": earned}


@pytest.mark.usefixtures("unkept")
def test_calls_that_a_cap_forbids_at_a_change_are_counted_and_earn_nothing(
    world: World, called: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(world)
    monkeypatch.setattr(what_if, "CHANGES_PPM", (0, 99 * PPM))
    was, dearer = of(called, MAKER, "/what-if")["points"]
    assert (was["left_out"], dearer) == (0, {"change_ppm": 99 * PPM, "earned": "0", "expected": "0", "left_out": CALLS})
    page = called.http.get(f"/payees/{to_hex(MAKER.address)}").text
    assert page.count(f"without {CALLS} calls that a cap or a list price forbids") == 1


@pytest.mark.usefixtures("unkept")
def test_a_rival_draws_what_a_dearer_provider_loses(world: World, called: Running, other_node: Node) -> None:
    work(world)
    entry = called.gateway.catalog.find("@acme/chat")
    world.serve(entry.id, other_node.url, provider=a_signer("dora"))
    eventually(lambda: len(getattr(called.gateway.catalog.find("@acme/chat"), "candidates", ())) == 2)
    points = {one["change_ppm"]: one for one in of(called, PROVIDER, "/what-if")["points"]}
    assert int(points[-50_000]["expected"]) > int(points[-50_000]["earned"])
    assert int(points[200_000]["expected"]) < int(points[200_000]["earned"])


@pytest.mark.usefixtures("unkept")
def test_one_reading_looks_through_a_bounded_number_of_receipts(
    world: World, called: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(world)
    for bounds, calls in ((Bounds(10, 10, 2), 2), (Bounds(10, 1, 10), 1), (Bounds(10, 3, 3), 3), (Bounds(0, 9, 9), 0)):
        monkeypatch.setattr(payees, "MOST", bounds)
        replayed = of(called, PROVIDER)["replayed"]
        assert (replayed["calls"], replayed["whole"]) == (calls, calls in (0, CALLS)), bounds


def test_a_record_is_read_once_for_all_who_ask(world: World, called: Running) -> None:
    before = of(called, PROVIDER)
    work(world)
    assert of(called, PROVIDER) == before
    assert of(called, MAKER)["epochs"], "another payee is another record"


def test_a_payees_page_shows_plots_and_the_same_numbers_as_tables(
    world: World, called: Running, consumer: Signer
) -> None:
    work(world)
    who = to_hex(PROVIDER.address)
    text = called.http.get(f"/payees/{who}").text
    assert text.count('<rect class="block compute" x=') == 1
    assert text.count("<polyline") == 2
    assert '<td>compute</td><td class="number"><span title="300 atoms">' in text
    assert re.search(r'<th scope="row">5% less</th><td class="number"><span title="285 atoms">', text)
    assert f"tollway provider what-if --payee {who}" in text
    assert to_hex(consumer.address) not in text
    listed = called.http.get("/payees").text
    assert f'href="/payees/{who}"' in listed
    found = called.http.get("/payees", params={"address": f" {who} "})
    assert (found.status_code, found.headers["location"]) == (303, f"/payees/{who}")
    for path in ("/payees/nobody", "/payees?address=nobody"):
        assert "Not possible" in called.http.get(path).text


def test_a_column_is_as_high_as_its_share_of_the_axis() -> None:
    plot = plots.columns([("one", {"maker": 100, "compute": 300}), ("two", {"maker": 0, "compute": 200})])
    room = plots.HEIGHT - plots.BOTTOM - plots.TOP
    assert [(one.name, one.kind, one.height) for one in plot.bars] == [
        ("one", "maker", room // 4),
        ("one", "compute", room * 3 // 4 + (room % 4 > 0)),
        ("two", "compute", room // 2),
    ]
    assert plot.ticks[-1] == (plots.TOP, 400)
    amounts = (0, 4, 5, 9, 21, 81)
    assert [plots.round_up(amount) for amount in amounts] == [4, 4, 8, 20, 40, 200]
    script = f"""
const {{ roundUp }} = await import({str(FOLDER / "plots.js")!r});
console.log(JSON.stringify({list(amounts)}.map((amount) => Number(roundUp(BigInt(amount))))));
"""
    assert evaluate(script) == [plots.round_up(amount) for amount in amounts], (
        "a script's axis ends where Python's does"
    )
    assert len(plots.columns([(str(n), {}) for n in range(24)]).names) <= plots.LABELS
