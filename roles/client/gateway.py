"""The gateway's client: HTTP and JSON, and errors in the gateway's own words. There are no models of its answers: they
are shown as JSON.

httpx is imported with the first request: help, and commands that only read the home, do not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from ledger.core.values.errors import Rejected, Unavailable

if TYPE_CHECKING:
    import httpx

Json = Any
Sign = Callable[[str, bytes, bytes], str]
"""The header `Tollway-Account` of a request, from its method, its target and its body."""


class GatewayClient:
    """One gateway, with an API key, or signing as an account, or as a stranger; in a realm, if one is named.

    Answers are JSON; an error is raised as the gateway said it.
    """

    def __init__(
        self, url: str, key: str | None = None, seconds: float = 60, sign: Sign | None = None, realm: str = ""
    ) -> None:
        self.url = checked_url(url)
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        if realm:
            self._headers["Tollway-Realm"] = realm
        self._sign = sign
        self._seconds = seconds

    def get(self, path: str, **query: object) -> Json:
        return self._ask("GET", path, params={name: str(value) for name, value in query.items() if value is not None})

    def post(self, path: str, body: Json, **headers: str) -> Json:
        """POST a JSON body. Underscores in names of headers become dashes."""
        return self._ask("POST", path, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def call(self, path: str, body: Json, headers: Mapping[str, str]) -> tuple[Json, Mapping[str, str]]:
        """POST a call to a model: its answer, and the headers that say what it cost."""
        response = self._send("POST", path, json=body, headers=dict(headers))
        return body_of(response), response.headers

    def send(self, path: str, body: bytes, kind: str) -> Json:
        """POST raw bytes of a media type."""
        return self._ask("POST", path, content=body, headers={"content-type": kind})

    def patch(self, path: str, body: Json) -> Json:
        return self._ask("PATCH", path, json=body)

    def delete(self, path: str) -> Json:
        return self._ask("DELETE", path)

    def file(self, path: str) -> bytes:
        return self._send("GET", path).content

    @cached_property
    def _http(self) -> httpx.Client:
        import httpx

        return httpx.Client(base_url=self.url, headers=self._headers, timeout=self._seconds)

    def _ask(self, method: str, path: str, **options: Any) -> Json:
        response = self._send(method, path, **options)
        try:
            answer = response.json(object_hook=Answer) if response.content else Answer()
        except ValueError as error:
            raise Unavailable(f"{self.url}{path} did not answer JSON: is this a Tollway gateway?") from error
        if not isinstance(answer, dict):
            raise Unavailable(f"{self.url}{path} did not answer an object: is this a Tollway gateway?")
        return answer

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        import httpx

        try:
            request = self._http.build_request(method, path, **options)
            if self._sign is not None:
                request.headers["Tollway-Account"] = self._sign(method, request.url.raw_path, request.read())
            response = self._http.send(request)
        except httpx.TimeoutException as error:
            raise Unavailable(f"the gateway at {self.url} did not answer in time") from error
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise unreachable(self.url) from error
        if response.is_error:
            raise refusal(response.status_code, body_of(response))
        return response


class Answer(dict[str, Json]):
    """An object of a gateway's answer. A field that is not there is the gateway's fault, and said so."""

    def __missing__(self, name: str) -> Json:
        raise Unavailable(f"the answer has no {name!r}: is this a Tollway gateway, of this version?", field=name)


def unreachable(url: str) -> Unavailable:
    return Unavailable(f"no gateway answers at {url}: start one with `tollway up`, or use --gateway URL")


def checked_url(text: str) -> str:
    """A server's URL without its last slash. Rejected unless it is one."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not text.isprintable():
        raise Rejected(f"{text!r} is not a URL: write, for example, http://127.0.0.1:8000", url=text)
    return text.rstrip("/")


def segment(text: str) -> str:
    """What a person typed as a part of a path: whatever it is, the path stays within its route."""
    quoted = quote(text, safe="@/").split("/")
    return "/".join(part.replace(".", "%2E") if part in (".", "..") else part or "%20" for part in quoted)


def refusal(status: int, body: Mapping[str, Json]) -> Rejected | Unavailable:
    """The error in a gateway's answer: Unavailable from status 500 on, Rejected below."""
    said = body.get("error") or body.get("detail") or body or f"the gateway answered {status}"
    known = said if isinstance(said, dict) else body  # in the Open Inference Protocol they stand beside the text
    facts = {name: value for name, value in known.items() if name not in ("message", "error", "detail", "status")}
    message = said.get("message", f"the gateway answered {status}") if isinstance(said, dict) else str(said)
    return (Unavailable if status >= 500 else Rejected)(message, status=status, **facts)


def body_of(response: httpx.Response) -> Mapping[str, Json]:
    """The object in an answer; an empty one when there is none."""
    try:
        body = response.json(object_hook=Answer)
    except ValueError:
        return Answer()
    return body if isinstance(body, dict) else Answer(detail=body) if body else Answer()
