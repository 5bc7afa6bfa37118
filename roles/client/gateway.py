"""The gateway's client: HTTP and JSON, and errors in the gateway's own words. The only page of its folder: answers are
shown as JSON, so there are no models of them.

httpx is imported with the first request: help, and commands that only read the home, do not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

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
        self.url = url.rstrip("/")
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

    def call(self, path: str, body: Json) -> tuple[Json, Mapping[str, str]]:
        """POST a call to a model: its answer, and the headers that say what it cost."""
        response = self._send("POST", path, json=body)
        return _body(response), response.headers

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
            return response.json() if response.content else {}
        except ValueError as error:
            raise Unavailable(f"{self.url}{path} did not answer JSON: is this a Tollway gateway?") from error

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        import httpx

        try:
            request = self._http.build_request(method, path, **options)
            if self._sign is not None:
                request.headers["Tollway-Account"] = self._sign(method, request.url.raw_path, request.read())
            response = self._http.send(request)
        except httpx.TimeoutException as error:
            raise Unavailable(f"the gateway at {self.url} did not answer in time") from error
        except httpx.TransportError as error:
            raise Unavailable(
                f"no gateway answers at {self.url}: start one with `tollway up`, or use --gateway URL"
            ) from error
        if response.is_error:
            raise refusal(response.status_code, _body(response))
        return response


def segment(text: str) -> str:
    """What a person typed as a part of a path: whatever it is, the path stays within its route."""
    quoted = quote(text, safe="@/").split("/")
    return "/".join(part.replace(".", "%2E") if part in (".", "..") else part or "%20" for part in quoted)


def refusal(status: int, body: Mapping[str, Json]) -> Rejected | Unavailable:
    """The error in a gateway's answer: Unavailable from status 500 on, Rejected below."""
    said = body.get("error") or body.get("detail") or body or f"the gateway answered {status}"
    facts = {name: value for name, value in said.items() if name != "message"} if isinstance(said, dict) else {}
    message = said.get("message", f"the gateway answered {status}") if isinstance(said, dict) else str(said)
    return (Unavailable if status >= 500 else Rejected)(message, status=status, **facts)


def _body(response: httpx.Response) -> Mapping[str, Json]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {"detail": body}
