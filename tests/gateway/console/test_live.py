"""The overview as it changes: told to few pages at a time, read once for all of them, and ended with the gateway."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from gateway import bounds
from gateway.console import live, overview
from gateway.console.live import Live
from ledger.core.values.typed_data import Signer
from ledger.store.chain import lanes
from ledger.store.session import unit_of_work
from tests.gateway.console.test_rendered_pages import readings
from tests.gateway.test_private_grid import work
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import Running, World

EVENTS = "/overview/events"


class Page:
    """Somebody who looks at the overview, and what is told meanwhile. `ended` says how the telling ended."""

    def __init__(self, gateway: Running, **asked: str) -> None:
        self.lines: list[str] = []
        self.headers: dict[str, str] = {}
        self.ended = ""
        self._client = httpx.Client(base_url=gateway.url, timeout=None)
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(asked,), daemon=True)
        self._thread.start()
        eventually(lambda: "retry: 5000" in self.lines)

    def _read(self, asked: dict[str, str]) -> None:
        try:
            with self._client.stream("GET", EVENTS, params=asked) as response:
                self.headers = dict(response.headers)
                for line in response.iter_lines():
                    self.lines.append(line)
                    if self._left.is_set():
                        return
            self.ended = "whole"
        except httpx.HTTPError as error:
            self.ended = repr(error)

    def parts(self) -> list[str]:
        """The parts of the page that it was sent."""
        return [json.loads(line[6:]) for line in list(self.lines) if line.startswith('data: "')]

    def leave(self) -> None:
        """Close the page, with the next line that comes."""
        self._left.set()
        self._thread.join(10)
        self._client.close()


@pytest.fixture
def looks(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Page]]:
    """Opens pages, which are told quickly, and closes them."""
    monkeypatch.setattr(live, "EVERY_SECONDS", 0.05)
    monkeypatch.setattr(live, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(overview, "KEPT_SECONDS", 0.0)
    pages: list[Page] = []

    def look(**asked: str) -> Page:
        pages.append(Page(gateway, **asked))
        return pages[-1]

    yield look
    for page in pages:
        page.leave()


def live_of(gateway: Running) -> Live:
    """Who is told by a gateway."""
    told: Any = gateway.app.api_routes.state.live
    assert isinstance(told, Live)
    return told


def shown(gateway: Running, of: str = "day") -> tuple[str, str]:
    """The version of the overview's live part, and the whole page."""
    text = gateway.http.get("/", params={"of": of}).text
    version = re.search(r'id="live" data-period="\w+" data-version="(\w+)"', text)
    assert version is not None
    return version[1], text


def test_a_page_is_told_what_changed_and_nothing_else(
    world: World, gateway: Running, consumer: Signer, looks: Callable[..., Page]
) -> None:
    seen, before = shown(gateway)
    page = looks(of="day", seen=seen)
    eventually(lambda: page.lines.count(":") >= 3)
    assert page.parts() == [], "comments alone, while nothing changes"
    assert {name: page.headers.get(name) for name in ("content-type", "cache-control", "x-accel-buffering")} == {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-store",
        "x-accel-buffering": "no",
    }
    with unit_of_work(world.engine) as session:
        lanes.assign(session, world.lane, [consumer.address])
    world.deposit(consumer.address, 10**9)
    assert gateway.chat(gateway.key(consumer)).status_code == 200
    work(world)
    eventually(lambda: any('<path class="band' in part for part in page.parts()))
    version, after = shown(gateway)
    eventually(lambda: f"id: {version}" in page.lines)
    assert page.parts()[-1] in after
    assert page.parts()[-1] not in before
    other = looks(of="hour", seen="another version")
    eventually(lambda: len(other.parts()) == 1)
    assert other.parts()[0] in shown(gateway, "hour")[1]


def test_what_many_are_told_is_read_once(
    gateway: Running, looks: Callable[..., Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = readings(monkeypatch)
    pages = [looks(of="day") for _ in range(bounds.EVENTS_AN_ADDRESS)]
    eventually(lambda: all(page.parts() and page.lines.count(":") > 2 for page in pages))
    assert len(asked) == 2, "one reading is for all, and one that failed is made again"


def test_an_error_of_ours_does_not_end_what_a_page_is_told(
    looks: Callable[..., Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    written, asked = overview._shown, list[int]()

    def writing(*arguments: Any) -> Any:
        asked.append(1)
        if len(asked) == 1:
            raise ValueError("an error of ours")
        return written(*arguments)

    monkeypatch.setattr(overview, "_shown", writing)
    page = looks()
    eventually(lambda: bool(page.parts()))


def test_one_page_too_many_takes_the_place_of_the_oldest(gateway: Running, looks: Callable[..., Page]) -> None:
    pages = [looks() for _ in range(bounds.EVENTS_AN_ADDRESS)]
    eventually(lambda: all(page.parts() for page in pages))
    newest = looks()
    eventually(lambda: bool(newest.parts()))
    eventually(lambda: pages[0].ended == "whole")
    assert "event: enough" in pages[0].lines, "it is told not to come back"
    assert [page.ended for page in pages[1:]] == [""] * (len(pages) - 1)
    assert gateway.http.get("/health").status_code == 200


def test_who_leaves_gives_its_place_back_and_nothing_is_read_for_nobody(
    gateway: Running, looks: Callable[..., Page]
) -> None:
    told = live_of(gateway)
    page = looks()
    assert len(list(told.listeners)) == 1
    page.leave()
    eventually(lambda: not list(told.listeners))
    eventually(lambda: told._writer is not None and told._writer.done())
    again = looks()
    eventually(lambda: len(again.parts()) == 1)


def test_a_gateway_that_stops_ends_what_it_tells(gateway: Running, looks: Callable[..., Page]) -> None:
    page = looks()
    eventually(lambda: bool(page.parts()))
    gateway.stop()
    assert not gateway.thread.is_alive(), "it waits for no page"
    eventually(lambda: page.ended == "whole")
    assert "event: enough" not in page.lines, "the page connects again, to the gateway's next process"
