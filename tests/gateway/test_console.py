"""The console's pages: served to everybody, whole by themselves, and with what strangers wrote as text."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.gateway.world import Running

PAGES = ("/",)
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
LOADED = re.compile(r"""(?:src|href|action|data|poster|srcset)\s*=\s*["']?([^"'\s>]+)""")
INLINE = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", re.IGNORECASE)


def shown(gateway: Running, path: str, status: int = 200) -> str:
    """A page's text."""
    response = gateway.http.get(path, headers={"accept": "text/html"})
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    return response.text


def policy(response: httpx.Response) -> dict[str, str]:
    """The directives of a page's Content-Security-Policy."""
    said = response.headers["content-security-policy"].split("; ")
    return {name: value for name, _, value in (one.partition(" ") for one in said)}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_served_whole_by_this_gateway_under_a_strict_policy(path: str, gateway: Running) -> None:
    response = gateway.http.get(path)
    assert (response.status_code, policy(response)) == (200, POLICY)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in response.headers
    assert not INLINE.search(response.text)
    loaded = LOADED.findall(response.text)
    assert [url for url in loaded if not re.match(r"[/#](?!/)", url)] == []
    assert re.search(r"<h1>.+</h1>", response.text)


def test_the_first_page_with_all_it_loads_is_under_200_kb(gateway: Running) -> None:
    page = gateway.http.get("/")
    sizes = [len(page.content)]
    for url in {url for url in LOADED.findall(page.text) if url.startswith("/static/")}:
        response = gateway.http.get(url)
        assert (response.status_code, response.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
        sizes.append(len(response.content))
    assert len(sizes) > 2
    assert sum(sizes) < 200_000


def test_a_file_is_sent_again_only_when_it_changed(gateway: Running) -> None:
    first = gateway.http.get("/static/console.css")
    again = gateway.http.get("/static/console.css", headers={"if-none-match": first.headers["etag"]})
    assert (first.headers["cache-control"], again.status_code, again.content) == ("no-cache", 304, b"")
    plain = gateway.http.get("/static/console.css", headers={"accept-encoding": "identity"})
    assert (plain.content, "content-encoding" in plain.headers) == (first.content, False)


@pytest.mark.parametrize("name", ["none.css", "..%2Frendering.py", "%2e%2e/rendering.py"])
def test_no_other_file_is_sent(name: str, gateway: Running) -> None:
    assert gateway.http.get(f"/static/{name}").status_code == 404


def test_the_overview_of_a_young_network_says_what_there_is_and_what_comes(gateway: Running) -> None:
    text = shown(gateway, "/")
    assert re.search(r"<dt>Models</dt><dd><a href=\"/models\">1</a>", text)
    assert "1 center" in text
    assert "There is no batch yet" in text


def test_an_unknown_period_is_refused_on_a_page(gateway: Running) -> None:
    response = gateway.http.get("/?of=century")
    assert (response.status_code, policy(response)) == (422, POLICY)
    assert "Not possible" in response.text
