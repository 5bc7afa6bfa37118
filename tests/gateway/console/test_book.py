"""GET /help: the book where it was built, under a policy that lets a page load its own files alone; else a sentence."""

from pathlib import Path

import httpx
import pytest

from gateway.console import book
from ledger.core.values.errors import Rejected
from tests.gateway.world import World

SECRET = "what is beside the book"
PAGE = "<!doctype html><title>The book</title>"


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A book of three files, and a link out of it."""
    folder = tmp_path / "book"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(PAGE)
    (folder / "404.html").write_text("not here")
    (folder / "assets" / "style.css").write_text("body {}")
    (tmp_path / "secret").write_text(SECRET)
    (folder / "out").symlink_to(tmp_path / "secret")
    return folder


@pytest.fixture
def url(world: World, built: Path) -> str:
    """The URL of a gateway that has this book."""
    return world.gateway(help=built).url


def test_a_built_book_is_served_and_its_pages_load_nothing_from_elsewhere(url: str) -> None:
    first = httpx.get(f"{url}/help", follow_redirects=True)
    assert (first.status_code, first.text, first.url.path) == (200, PAGE, "/help/")
    assert first.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in first.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {source for said in policy.values() for source in said.split()} <= {"'none'", "'self'", "data:"}
    assert first.headers["x-content-type-options"] == "nosniff"
    style = httpx.get(f"{url}/help/assets/style.css")
    assert (style.status_code, style.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert httpx.get(f"{url}/openapi.json").json()["paths"].keys().isdisjoint({"/help", "/help/{path}"})


def test_what_a_browser_has_already_is_not_sent_again(url: str) -> None:
    tag = httpx.get(f"{url}/help/index.html").headers["etag"]
    again = httpx.get(f"{url}/help/index.html", headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert httpx.get(f"{url}/help/index.html", headers={"if-none-match": '"other"'}).status_code == 200


@pytest.mark.parametrize("path", ["nothing.html", "out", "../secret", "%2e%2e/secret", "..%2fsecret", "%00", "assets"])
def test_no_path_leads_out_of_the_book(url: str, path: str) -> None:
    answer = httpx.get(f"{url}/help/{path}")
    assert answer.status_code == 404
    assert SECRET not in answer.text
    assert httpx.post(f"{url}/help/index.html").status_code == 405


def test_where_no_book_was_built_the_answer_says_how_to_build_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "BUILT", tmp_path / "none")
    url = world.gateway().url
    for path in ("/help/", "/help/index.html"):
        answer = httpx.get(url + path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_book")
        assert "make docs" in answer.json()["error"]["message"]


def test_a_folder_that_is_no_book_stops_the_gateway_before_it_serves(
    tmp_path: Path, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Rejected, match="make docs"):
        book.read(tmp_path)
    monkeypatch.setattr(book, "MOST_FILES", 2)
    with pytest.raises(Rejected, match="no book"):
        book.read(built)
