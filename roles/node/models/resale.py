"""Selling a server one already has: any OpenAI or Open Inference Protocol URL behind the node's doors.

Calls pass through as they are, so tools, images and whatever else the server understands keep working. Its own usage
figures are the meter; an answer without them is refused, because "not metered" is not "free".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import aiohttp
import orjson

from ledger.core.values.errors import Rejected, Unavailable
from roles.node.models.model import Talk

MAX_ANSWER_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server to sell: its root URL (with or without /v1), the name it knows the model by, and a key for it, never
    shown.
    """

    url: str
    model: str
    key: str | None = field(default=None, repr=False)

    @classmethod
    def typed(cls, text: str, key: str | None) -> tuple[str, Upstream]:
        """NAME=URL[#MODEL]: sold here as NAME, known there as MODEL, or as NAME."""
        name, _, url = text.partition("=")
        root, _, model = url.partition("#")
        if not name or not root.startswith(("http://", "https://")):
            raise Rejected(f"{text!r} is no upstream: write @org/name=http://127.0.0.1:11434/v1#MODEL", upstream=text)
        return name, cls(root, model or name, key)

    @property
    def root(self) -> str:
        """Without the trailing /v1, so that a pasted OpenAI base URL serves both doors."""
        return self.url.rstrip("/").removesuffix("/v1")

    @property
    def headers(self) -> dict[str, str]:
        """What every call to it carries."""
        said = {"Content-Type": "application/json"}
        return said | {"Authorization": f"Bearer {self.key}"} if self.key else said


class Refused(Rejected):
    """The upstream refused the caller's request: its status and words are passed on."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message, upstream_status=status, code="upstream_refused")
        self.status = status


class Resold:
    """One model of an upstream."""

    def __init__(self, upstream: Upstream, http: aiohttp.ClientSession) -> None:
        self.upstream, self._http = upstream, http

    async def chat(self, body: bytes, talk: Talk) -> bytes:
        """A whole chat completion, as the upstream wrote it."""
        async with self._call("/v1/chat/completions", self._named(body)) as answer:
            raw = await _whole(answer)
        said = _object(raw)
        self._count(said.get("usage"), talk)
        return raw

    async def chat_events(self, body: bytes, talk: Talk) -> AsyncIterator[bytes]:
        """The events of a stream, without the one that only carries usage: that goes into `talk`."""
        asked = self._named(body) | {"stream_options": {"include_usage": True}}
        counted = False
        async with self._call("/v1/chat/completions", asked) as answer:
            async for line in answer.content:
                if not line.startswith(b"data:"):
                    continue
                data = line[5:].strip()
                if data == b"[DONE]":
                    if not counted:
                        raise Unavailable("the upstream does not say what its stream used")
                    return
                event = _object(data)
                if event.get("usage"):
                    self._count(event["usage"], talk)
                    counted = True
                    if not event.get("choices"):
                        continue
                yield data
        raise Unavailable("the upstream's stream broke off before its end")

    async def infer(self, body: bytes) -> bytes:
        """A tensor call."""
        async with self._call(f"/v2/models/{self.upstream.model}/infer", _object(body)) as answer:
            return await _whole(answer)

    async def metadata(self) -> dict[str, object]:
        """What the upstream says of the model at the tensor door."""
        url = f"{self.upstream.root}/v2/models/{self.upstream.model}"
        async with self._http.get(url, headers=self.upstream.headers) as answer:
            return _object(await _whole(answer))

    def _named(self, body: bytes) -> dict[str, object]:
        return _object(body) | {"model": self.upstream.model}

    def _call(self, path: str, body: Mapping[str, object]) -> _Checked:
        request = self._http.post(self.upstream.root + path, data=orjson.dumps(body), headers=self.upstream.headers)
        return _Checked(request)

    def _count(self, usage: object, talk: Talk) -> None:
        tokens = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")] if isinstance(usage, dict) else []
        if len(tokens) != 2 or not all(type(count) is int and count >= 0 for count in tokens):
            raise Unavailable("the upstream does not say what it used, so it can not be sold by the token")
        talk.prompt_tokens, talk.completion_tokens = int(tokens[0] or 0), int(tokens[1] or 0)


class _Checked:
    """An upstream response whose status is good; anything else becomes an error that names whose fault it is."""

    def __init__(self, request: aiohttp.client._RequestContextManager) -> None:
        self._request = request

    async def __aenter__(self) -> aiohttp.ClientResponse:
        try:
            answer = await self._request.__aenter__()
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"the upstream can not be reached: {type(error).__name__}") from error
        if answer.status < 400:
            return answer
        words = (await answer.content.read(2_000)).decode(errors="replace")
        answer.close()
        if answer.status in (400, 404, 413, 422):
            raise Refused(answer.status, f"the upstream refused the request: {words}")
        raise Unavailable(f"the upstream answered {answer.status}")

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        await self._request.__aexit__(None, None, None)
        if isinstance(error, aiohttp.ClientError | OSError) and not isinstance(error, TimeoutError):
            raise Unavailable(f"the upstream broke off: {type(error).__name__}") from error


async def _whole(answer: aiohttp.ClientResponse) -> bytes:
    raw = await answer.content.read(MAX_ANSWER_BYTES + 1)
    while len(raw) <= MAX_ANSWER_BYTES and (part := await answer.content.read(MAX_ANSWER_BYTES + 1 - len(raw))):
        raw += part
    if len(raw) > MAX_ANSWER_BYTES:
        raise Unavailable(f"the upstream's answer is longer than {MAX_ANSWER_BYTES} bytes")
    return raw


def _object(raw: bytes) -> dict[str, object]:
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Unavailable(f"the upstream's answer is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise Unavailable("the upstream's answer is not an object")
    return found
