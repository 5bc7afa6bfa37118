"""The browser of the tests notes what a page must not do: seen on a page that does all of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.browser.browser import Browser
from tests.browser.browser import browser as browser

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' http://127.0.0.1:9"
)
GOOD = """<!doctype html><html lang="en"><head><title>Good</title><link rel="icon" href="data:,"></head>
<body><main><h1>Good</h1><p>Nothing is wrong here.</p></main></body></html>"""
BAD = """<!doctype html><html lang="en"><head><title>Bad</title><link rel="icon" href="data:,">
<style>h1 { color: red }</style><script src="/bad.js"></script></head>
<body><main><h1>Bad</h1><img src="/none.png"><pre>WIDE</pre></main></body></html>""".replace("WIDE", "wide " * 200)
SCRIPT = """console.error('out loud'); fetch('http://127.0.0.1:9/').catch(() => {});
setTimeout(() => { throw new Error('thrown') })"""


class Pages(BaseHTTPRequestHandler):
    """A page on which all is well, and one on which nothing is."""

    def do_GET(self) -> None:
        kind, body = {
            "/": ("text/html", GOOD),
            "/bad": ("text/html", BAD),
            "/bad.js": ("text/javascript", SCRIPT),
        }.get(self.path, ("text/plain", None))
        self.send_response(200 if body else 404)
        self.send_header("content-type", f"{kind}; charset=utf-8")
        self.send_header("content-security-policy", POLICY.replace("img-src 'self'", "img-src 'self' data:"))
        self.end_headers()
        self.wfile.write((body or "").encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_page_on_which_all_is_well_has_no_findings(site: str, browser: Browser) -> None:
    assert browser.visits("every_page", site) == ["/"]


def test_everything_that_a_page_must_not_do_is_found(site: str, browser: Browser) -> None:
    with pytest.raises(AssertionError) as failed:
        browser.visits("every_page", site, begin=["/bad"])
    said = str(failed.value)
    for finding in (
        "console: out loud",
        "script: thrown",
        "asks http://127.0.0.1:9/",
        "policy: style-src-elem forbids inline",
        "axe in light: image-alt",
        "axe in dark: image-alt",
        "pixels wider than a telephone",
        "/none.png",
    ):
        assert finding in said, finding
