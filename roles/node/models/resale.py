"""Resell an existing server: any URL that speaks the OpenAI API or the Open Inference Protocol.

Calls pass through unchanged, so tools, images and other features of the server work. Its own usage figures are
metered; an answer without them is refused, because it could not be priced.

Whoever runs the server may be a stranger: redirects are not followed, else it would have the node ask for what only the
node reaches, and its answers have an end.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import orjson
from aiohttp.http_exceptions import LineTooLong

from ledger.core.values.call_heads import PARENT
from ledger.core.values.errors import Rejected, Unavailable
from roles.client.gateway import segment
from roles.client.model_server import ModelServer
from roles.node.models.batching import Busy
from roles.node.models.model import Talk

MAX_ANSWER_BYTES = 16 << 20
"""Of a whole answer, or of all events of a stream."""
MAX_SOUND_BYTES = 24 << 20
"""Of speech that is passed on as it comes: more than a gateway takes, so that it ends there, full and paid."""
HEADER_LENGTH = "Inference-Header-Content-Length"
WITHOUT_OUTPUT = frozenset(("/v1/embeddings", "/v1/rerank"))
"""Paths whose answers hold nothing that was generated."""
MAX_EVENT_BYTES = 1 << 20
MAX_WAIT_SECONDS = 3_600
TOLLWAY_KEY = "tw_"
MEDIA_TYPE = re.compile(r"[a-z]{1,20}/[a-z0-9.+-]{1,60}")
OURS = frozenset((401, 402, 403, 407))
"""Statuses by which the server refuses the provider, and not the caller's request."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server to resell: its root URL, its name for the model, and its API key, never shown."""

    root: str
    model: str
    key: str | None = field(default=None, repr=False)

    @classmethod
    def typed(cls, text: str, key: str | None) -> tuple[str, Upstream]:
        """Parse NAME=URL[#MODEL]: sold as NAME; the server calls the model MODEL, or NAME without it."""
        name, _, url = text.partition("=")
        if not name or not url.startswith(("http://", "https://")):
            raise Rejected(
                f"{text!r} is not an upstream: write @org/name=http://127.0.0.1:11434/v1#MODEL", upstream=text
            )
        server = ModelServer.typed(url, key)
        return name, cls(server.root, server.named or name, key)

    def headers(self, parent: str | None = None) -> dict[str, str]:
        """The headers of a request. `parent` came with the call that is served: a Tollway gateway, by its key, gets it,
        so that what is paid there names that call. Nobody else does.
        """
        said = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self.key:
            said["Authorization"] = f"Bearer {self.key}"
        return said | {PARENT: parent} if parent and self.key and self.key.startswith(TOLLWAY_KEY) else said


class UpstreamFailed(Unavailable):
    """The server did not answer as it should."""


class Refused(Rejected):
    """The server refused the caller's request. Its status, and what it says in OpenAI's shape or as a text, are passed
    on.
    """

    def __init__(self, status: int, words: str) -> None:
        said = _error_in(words)
        known = {name: str(said[name]) for name in ("code", "type", "param") if said.get(name)}
        message = str(said.get("message") or f"the upstream refused the request: {words}")
        super().__init__(message, **{"code": "upstream_refused", "upstream_status": status, **known})
        self.status = status


@dataclass(frozen=True, slots=True)
class Packed:
    """A body as it goes over the wire: JSON, and after `length` bytes of it binary tensors, if there are any; or
    whatever its media type, `kind`, says.
    """

    body: bytes
    length: str | None = None
    kind: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        if self.length is None:
            return {"Content-Type": self.kind or "application/json"}
        return {"Content-Type": "application/octet-stream", HEADER_LENGTH: self.length}


class Resold:
    """One model of a resold server."""

    def __init__(self, upstream: Upstream, http: aiohttp.ClientSession) -> None:
        self.upstream, self._http = upstream, http

    async def whole(self, path: str, body: bytes, talk: Talk, parent: str | None = None) -> bytes:
        """A whole answer to a request of an OpenAI path, as the server wrote it."""
        async with self._call(path, self._named(body), parent) as answer:
            raw = await _whole(answer)
        self._count(_object(raw).get("usage"), talk, path)
        return raw

    async def events(self, path: str, body: bytes, talk: Talk, parent: str | None = None) -> AsyncIterator[bytes]:
        """The events of a stream. The event that carries only usage is left out and booked in `talk`."""
        asked = self._named(body) | {"stream_options": {"include_usage": True}}
        counted, left = False, MAX_ANSWER_BYTES
        async with self._call(path, asked, parent) as answer:
            async for line in _lines(answer):
                left -= len(line)
                if left < 0:
                    raise UpstreamFailed(f"the upstream's stream is longer than {MAX_ANSWER_BYTES} bytes")
                if not line.startswith(b"data:"):
                    continue
                data = line[5:].strip()
                if data == b"[DONE]":
                    if not counted:
                        raise UpstreamFailed("the upstream does not report the usage of its stream")
                    return
                event = _object(data)
                if event.get("usage"):
                    self._count(event["usage"], talk, path)
                    counted = True
                    if not event.get("choices"):
                        continue
                yield data
        raise UpstreamFailed("the upstream's stream broke off before its end")

    async def infer(self, sent: Packed, parent: str | None = None) -> Packed:
        """An inference, with or without binary tensors, as the server wrote it."""
        async with self._call(f"/v2/models/{segment(self.upstream.model)}/infer", sent, parent) as answer:
            return Packed(await _whole(answer), answer.headers.get(HEADER_LENGTH))

    def renamed(self, body: bytes) -> Packed:
        """A JSON request with the server's name for the model."""
        return Packed(orjson.dumps(self._named(body)))

    async def media(self, path: str, sent: Packed, parent: str | None = None) -> Packed:
        """Images, sound or a transcription, as the server wrote them, and as what."""
        async with self._call(path, sent, parent) as answer:
            return Packed(await _whole(answer), kind=_kind(answer))

    @asynccontextmanager
    async def streamed(
        self, path: str, sent: Packed, parent: str | None = None
    ) -> AsyncIterator[tuple[str, AsyncIterator[bytes]]]:
        """Sound as it comes: its media type and its pieces."""
        async with self._call(path, sent, parent) as answer:
            yield _kind(answer), _pieces(answer)

    async def metadata(self) -> dict[str, object]:
        """The server's Open Inference Protocol metadata of the model."""
        url = f"{self.upstream.root}/v2/models/{segment(self.upstream.model)}"
        async with self._http.get(url, headers=self.upstream.headers(), allow_redirects=False) as answer:
            return _object(await _whole(answer))

    def _named(self, body: bytes) -> dict[str, object]:
        return _request(body) | {"model": self.upstream.model}

    @asynccontextmanager
    async def _call(
        self, path: str, body: Mapping[str, object] | Packed, parent: str | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response to a POST, if its status is good. Refused if the request is at fault, Busy or Unavailable if the
        server says so, else UpstreamFailed. A key of another account than the node's may not name `parent`: without it.
        """
        url, reached = self.upstream.root + path, False
        packed = body if isinstance(body, Packed) else Packed(orjson.dumps(body))
        for said in (parent, None) if parent else (None,):
            try:
                headers = self.upstream.headers(said) | packed.headers
                asking = self._http.post(
                    url,
                    data=packed.body,
                    headers=headers,
                    allow_redirects=False,
                    read_bufsize=MAX_EVENT_BYTES // 2,
                )
                async with asking as answer:
                    reached = True
                    if answer.status < 300:
                        yield answer
                        return
                    words = (await answer.content.read(2_000)).decode(errors="replace")
                    answer.close()
            except (aiohttp.ClientError, OSError) as error:
                if reached and isinstance(error, TimeoutError):
                    raise
                what = "broke off" if reached else "cannot be reached"
                raise UpstreamFailed(f"the upstream {what}: {type(error).__name__}") from error
            if answer.status != 400 or PARENT not in words:
                break
        if answer.status in (429, 503):
            busy = Busy if answer.status == 429 else Unavailable
            raise busy(f"the upstream answered {answer.status}", retry_after=_seconds(answer))
        if 400 <= answer.status < 500 and answer.status not in OURS:
            raise Refused(answer.status, words)
        raise UpstreamFailed(f"the upstream answered {answer.status}")

    def _count(self, usage: object, talk: Talk, path: str) -> None:
        """Book the usage of an answer, which may be absent where only documents were compared."""
        said = usage if isinstance(usage, dict) else {}
        if path == "/v1/rerank" and not said:
            return
        read = said.get("prompt_tokens", said.get("total_tokens") if path in WITHOUT_OUTPUT else None)
        tokens = [read, 0 if path in WITHOUT_OUTPUT else said.get("completion_tokens")]
        if not all(type(count) is int and count >= 0 for count in tokens):
            raise UpstreamFailed("the upstream does not report its usage, so it cannot be sold by the token")
        talk.prompt_tokens, talk.completion_tokens, talk.reported = int(tokens[0] or 0), int(tokens[1] or 0), said


def _seconds(answer: aiohttp.ClientResponse) -> int:
    """How long the server wants to be left alone."""
    said = answer.headers.get("Retry-After", "")
    return min(int(said), MAX_WAIT_SECONDS) if said.isascii() and said.isdigit() and len(said) < 10 else 1


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for line in answer.content:
            yield line
    except LineTooLong as error:
        raise UpstreamFailed(f"the upstream sent an event of more than {MAX_EVENT_BYTES} bytes") from error


def _kind(answer: aiohttp.ClientResponse) -> str:
    """The media type of an answer, without its parameters: only a plain one is passed on."""
    said = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return said if MEDIA_TYPE.fullmatch(said) else "application/octet-stream"


async def _pieces(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    left = MAX_SOUND_BYTES
    async for piece in answer.content.iter_any():
        left -= len(piece)
        if left < 0:
            raise UpstreamFailed(f"the upstream's answer is longer than {MAX_SOUND_BYTES} bytes")
        yield piece


async def _whole(answer: aiohttp.ClientResponse) -> bytes:
    raw = await answer.content.read(MAX_ANSWER_BYTES + 1)
    while len(raw) <= MAX_ANSWER_BYTES and (part := await answer.content.read(MAX_ANSWER_BYTES + 1 - len(raw))):
        raw += part
    if len(raw) > MAX_ANSWER_BYTES:
        raise UpstreamFailed(f"the upstream's answer is longer than {MAX_ANSWER_BYTES} bytes")
    return raw


def _error_in(words: str) -> dict[str, object]:
    """The error that a server's answer is, or names; an empty one if it is none."""
    try:
        said = orjson.loads(words)
    except orjson.JSONDecodeError:
        return {}
    error = said.get("error", said) if isinstance(said, dict) else {}
    return error if isinstance(error, dict) else {"message": error}


def _request(body: bytes) -> dict[str, object]:
    try:
        return _object(body)
    except UpstreamFailed as error:
        raise Rejected("the body is not a JSON object", code="invalid_body") from error


def _object(raw: bytes) -> dict[str, object]:
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise UpstreamFailed(f"the upstream's answer is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UpstreamFailed("the upstream's answer is not an object")
    return found
