"""A request to a model as the gateway understands it, whichever protocol it came in."""

import os
from collections.abc import Mapping
from functools import cached_property
from typing import Any
from urllib.parse import quote

import msgspec
import orjson

from gateway import bounds
from gateway.errors import Refusal
from ledger.core.catalog.protocols import Protocol
from ledger.core.values import forms, sound
from ledger.core.values.errors import Rejected
from ledger.core.values.forms import Form
from ledger.core.values.meters import Units
from ledger.core.values.sound import Length

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
RERANK = "/v1/rerank"
IMAGES, SPEECH, TRANSCRIPTIONS = "/v1/images/generations", "/v1/audio/speech", "/v1/audio/transcriptions"
INFER = "/v2/models/{model}/infer"
PROTOCOLS = {
    CHAT: Protocol.chat,
    COMPLETIONS: Protocol.completions,
    EMBEDDINGS: Protocol.embeddings,
    RERANK: Protocol.rerank,
    IMAGES: Protocol.images,
    SPEECH: Protocol.speech,
    TRANSCRIPTIONS: Protocol.transcriptions,
    INFER: Protocol.tensors,
}
"""The protocol of each route."""
NO_OUTPUT_TOKENS = frozenset((EMBEDDINGS, RERANK, IMAGES, SPEECH))
"""Paths whose answers hold no generated text: of tokens, only those that are read are metered."""
LIMITS = ("max_tokens", "max_completion_tokens")
"""The names of the output limit. An offer says which its node reads; the other one never reaches it."""


def written(value: Any) -> bytes:
    """Values as JSON, whole numbers of any size as they are. Rejected when they are none that JSON has."""
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise Rejected(f"it cannot be written as JSON: {error}") from error


def _is_image(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in ("image_url", "input_image")


class Media(msgspec.Struct, frozen=True):
    """What a request for images or sound asks for, as far as the gateway counts it: the images, the characters that are
    spoken, the recording that is transcribed. `form` is the body if it is one.
    """

    answer_format: str
    """The format that is asked for: empty for that of the node."""
    images: int = 0
    characters: int = 0
    heard: Length = Length(0, is_exact=True)
    input_tokens: int = 0
    """The most that can be read."""
    form: Form | None = None

    def bound(self, most: Units) -> Units:
        """The most units of such a request, of those of a request for text."""
        most = most._replace(
            input_token=self.input_tokens,
            input_image=0,
            output_image=self.images,
            search=0,
            input_character=self.characters,
        )
        return most._replace(ms=self.heard.ms) if self.form is not None else most


class Ask(msgspec.Struct, frozen=True, dict=True):
    """A request: what its price and route depend on, and its body as it came.

    `fields` are those of an OpenAI body, each as it came. `limit` is the most output tokens of each of its `choices`,
    None when it does not say. `header_bytes` is the length of the
    JSON part of an Open Inference request with binary tensors. `native` requests came through /v1/invoke and are
    answered in its shape. `media` is there in requests for images and sound.
    """

    path: str
    model: str
    body: bytes
    stream: bool = False
    include_usage: bool = False
    fields: Mapping[str, msgspec.Raw] = {}
    limit: int | None = None
    choices: int = 1
    header_bytes: int | None = None
    native: bool = False
    media: Media | None = None

    @cached_property
    def json(self) -> Any:
        """The body, decoded when somebody first needs all of it: large integers as they are. Refused with 400."""
        bounds.check_whole(self.body)
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refusal(400, "invalid_json", f"the body is not JSON: {error}") from error

    @cached_property
    def images(self) -> int:
        """The images among the parts of its messages."""
        if b"image" not in self.body or self.path != CHAT:
            return 0
        messages = self.json.get("messages")
        said = messages if isinstance(messages, list) else ()
        parts = (message.get("content") for message in said if isinstance(message, dict))
        return sum(_is_image(part) for content in parts if isinstance(content, list) for part in content)

    @property
    def most_images(self) -> int:
        """At least as many images as it holds, without decoding it."""
        return self.body.count(b"image_url") + self.body.count(b"input_image") if self.path == CHAT else 0

    @property
    def is_of_text(self) -> bool:
        """Whether it is answered in OpenAI's form of texts and vectors."""
        return self.path != INFER and self.media is None

    def bound(self, most: Units) -> Units:
        """The most units of this request, of those of a request for text of as many bytes."""
        return self.media.bound(most) if self.media is not None else most

    @property
    def protocol(self) -> Protocol:
        """The protocol a model must speak to serve this."""
        return PROTOCOLS[self.path]

    def upstream_path(self, served_as: str) -> str:
        """The path of the request at a node that calls the model `served_as`."""
        return self.path.format(model=quote(served_as, safe="@/")) if self.path == INFER else self.path

    @cached_property
    def boundary(self) -> bytes:
        """The boundary of a form, as it is sent on."""
        return b"tollway-" + os.urandom(24).hex().encode()

    @property
    def headers(self) -> bytes:
        """Header lines that tell a node what the body is."""
        if self.media is not None and self.media.form is not None:
            return f"Content-Type: {forms.content_type(self.boundary)}\r\n".encode()
        if self.header_bytes is None:
            return b"Content-Type: application/json\r\n"
        length = b"Inference-Header-Content-Length: %d\r\n" % self.header_bytes
        return b"Content-Type: application/octet-stream\r\n" + length

    def body_for(self, served_as: str, limit_name: str, limit: int) -> bytes:
        """The body for a node that calls the model `served_as`, with the output limit held for, under its one name.

        Every other field is as it came, to the digit; of a field that came twice, the last.
        """
        if self.path == INFER:
            return self.body
        if self.media is not None and self.media.form is not None:
            return self._form_for(self.media.form, served_as)
        named = {**self.fields, "model": msgspec.Raw(orjson.dumps(served_as))}
        if self.path not in NO_OUTPUT_TOKENS:
            for name in LIMITS:
                named.pop(name, None)
            named[limit_name] = msgspec.Raw(b"%d" % limit)
        if self.stream and not self.include_usage and self.path not in NO_OUTPUT_TOKENS:
            options = msgspec.json.decode(self.fields.get("stream_options", b"null")) or {}
            named["stream_options"] = msgspec.Raw(orjson.dumps({**options, "include_usage": True}))
        return msgspec.json.encode(named)  # joined by hand, 40,000 fields took the loop 0.16 s

    def _form_for(self, form: Form, served_as: str) -> bytes:
        """A form with the node's name for the model, and the file under a name by what it is."""
        kind = sound.kind_of(form.file("file"))
        assert kind is not None, "it was read"
        return form.written(self.boundary, kind.file_name, kind.media_type, model=served_as)
