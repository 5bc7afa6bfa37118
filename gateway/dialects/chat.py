"""Reads chat answers, whole or event by event, into the items that other protocols' answers are made of.

A node writes what it likes, and what it wrote is charged already: so nothing here raises. What has another type than
it should is left out.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from gateway import bounds
from gateway.metering import usage
from gateway.metering.openai import text_in
from gateway.metering.usage import Usage
from ledger.core.values.meters import Meter


class Kind(StrEnum):
    """What a model generates."""

    reasoning = "reasoning"
    text = "text"
    refusal = "refusal"
    call = "call"
    """The call of a function: its text are the arguments."""


class Item(msgspec.Struct):
    """One thing that a model generated. A call has an id and a name."""

    kind: Kind
    id: str = ""
    name: str = ""
    index: Any = None
    """A call's, as the node numbers it."""
    texts: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self.texts)


class Piece(NamedTuple):
    """What is new of an item, which is one that was there, or the next."""

    number: int
    text: str


class Tokens(NamedTuple):
    """What an answer used."""

    inputs: int
    outputs: int
    cached: int
    cache_written: int
    reasoning: int


class ChatAnswer:
    """A chat answer, as far as it was read: of its choices the first."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.finish_reason: str | None = None
        self.stopped_by: str | None = None
        """The text at which a node stopped, if it says so."""
        self.created: int | None = None
        self.note: dict[str, Any] | None = None
        """What our own last event says of the call and its receipt."""
        self.is_mixed = False
        """A call went on after another had begun. No other protocol can say that."""
        self._usage = Usage()
        self._ids: set[str] = set()

    def take(self, data: bytes) -> list[Piece]:
        """Read a whole answer, or the data of one event. Returns what is new."""
        said = _object(data)
        if type(said.get("created")) is int and 0 <= said["created"] < 2**53:
            self.created = said["created"]
        if isinstance(said.get("usage"), dict):
            self._usage = msgspec.convert(said["usage"], Usage)
        if isinstance(said.get("tollway"), dict):
            self.note = said["tollway"]
        choices = said.get("choices")
        first = [one for one in choices if isinstance(one, dict)] if isinstance(choices, list) else []
        return [piece for choice in first if choice.get("index", 0) == 0 for piece in self._choice(choice)]

    def tokens(self, request_bytes: int) -> Tokens:
        """What it used, by the node's word; estimated where the node says nothing."""
        said, finer = self._usage, self._usage.finer()
        text_bytes = sum(len(text.encode()) for item in self.items for text in (item.name, *item.texts))
        inputs = said.inputs if said.inputs is not None else usage.estimate(request_bytes)
        outputs = said.outputs if said.outputs is not None else usage.estimate(text_bytes)
        parts = [finer.get(meter, 0) for meter in (Meter.cached_input_token, Meter.cache_write_token)]
        cached, cache_written = (_within(part, inputs) for part in parts)
        reasoning = _within(finer.get(Meter.reasoning_token, 0), outputs)
        return Tokens(_within(inputs), _within(outputs), cached, cache_written, reasoning)

    def _choice(self, choice: dict[str, Any]) -> Iterator[Piece]:
        if isinstance(choice.get("finish_reason"), str):
            self.finish_reason = choice["finish_reason"]
        if isinstance(choice.get("stop_reason"), str):
            self.stopped_by = choice["stop_reason"]
        said = choice.get("delta") or choice.get("message")
        if not isinstance(said, dict):
            return
        yield from self._text(Kind.reasoning, said.get("reasoning_content") or said.get("reasoning"))
        yield from self._text(Kind.text, text_in(said.get("content")))
        yield from self._text(Kind.refusal, said.get("refusal"))
        calls = said.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            yield from self._call(call)
        if isinstance(said.get("function_call"), dict):
            yield from self._call({"function": said["function_call"]})

    def _text(self, kind: Kind, text: Any) -> Iterator[Piece]:
        if not isinstance(text, str) or not text:
            return
        if not self.items or self.items[-1].kind is not kind:
            self.items.append(Item(kind))
        self.items[-1].texts.append(text)
        yield Piece(len(self.items) - 1, text)

    def _call(self, call: Any) -> Iterator[Piece]:
        """A call, or a part of one: whose it is says its index or its id, and the last call's if there is neither."""
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            return
        name, arguments = _text_of(function, "name"), _text_of(function, "arguments")
        known, index = _text_of(call, "id"), call.get("index")
        last = self.items[-1] if self.items and self.items[-1].kind is Kind.call else None
        if last is None or _is_other(last, known, name, index):
            if not name or known in self._ids:
                self.is_mixed |= bool(arguments)
                return
            if len(self._ids) >= bounds.TOOL_CALLS:
                return
            last = Item(Kind.call, known or f"call_{len(self._ids)}", name, index)
            self.items.append(last)
            self._ids.add(last.id)
            yield Piece(len(self.items) - 1, "")
        if arguments:
            last.texts.append(arguments)
            yield Piece(len(self.items) - 1, arguments)


def _is_other(last: Item, known: str, name: str, index: Any) -> bool:
    """Whether what came is of another call than the last one."""
    if type(index) is int and index != last.index:
        return True
    return known != last.id if known else bool(name) and type(index) is not int


def _within(count: int, most: int = 2**53) -> int:
    """A node's number, as one that every client can read."""
    return max(0, min(count, most, 2**53))


def _text_of(said: dict[str, Any], name: str) -> str:
    text = said.get(name)
    return text if isinstance(text, str) else ""


def _object(data: bytes) -> dict[str, Any]:
    try:
        said = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
