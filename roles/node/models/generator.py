"""Text generator: decodes several conversations at once, token by token; stops one as soon as its caller is gone."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from ledger.core.catalog.protocols import Protocol
from ledger.core.values.errors import Rejected
from roles.node.models.batching import Busy
from roles.node.models.engine import Engine
from roles.node.models.model import Folder, Inferred, Message, Sampling, Talk, Tensor, one_text

Queue = asyncio.Queue[int | Exception]
Floats = NDArray[np.float32]
FORBIDDEN = np.float32(-1e9)


@dataclass(eq=False, slots=True)
class Row:
    """One sequence: its prompt, its sampling, and the tokens produced so far, at most `limit`."""

    prompt: list[int]
    sampling: Sampling
    tokens: list[int] = field(default_factory=list)
    compute_us: int = 0
    limit: int = 0
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.sampling.seed)

    def choose(self, logits: Floats) -> int:
        """Sample the next token and append it to `tokens`."""
        if self.sampling.temperature <= 0:
            token = int(logits.argmax())
        else:
            below = logits.astype(np.float64) - float(logits.max())  # at most 0: divided by little, it is never NaN
            with np.errstate(over="ignore"):
                chances = np.exp(below / self.sampling.temperature)
            chances /= chances.sum()
            if self.sampling.top_p < 1:
                order = np.argsort(-chances, kind="stable")
                kept = np.cumsum(chances[order]) - chances[order] < self.sampling.top_p
                chances[order[~kept]] = 0
                chances /= chances.sum()
            token = int(self.random.choice(len(chances), p=chances))
        self.tokens.append(token)
        return token


class Rows:
    """The batch: sequences of different length that take each decoding step together. Not thread-safe.

    The key-value caches of all rows lie in one array, shorter ones padded on the left; an attention bias masks the
    padding. A row joins after its prompt is processed and leaves when it is done, between any two steps.
    """

    def __init__(self, engine: Engine, layers: int, heads: int, head_width: int) -> None:
        self._engine = engine
        self._empty = np.zeros((2 * layers, 1, heads, 0, head_width), np.float32)
        self._cache: Floats = self._empty[:, :0]
        self.rows: list[Row] = []
        self._lengths: list[int] = []

    def join(self, row: Row) -> int:
        """Process the row's prompt, add the row, and return its first token."""
        ids = np.array([row.prompt], np.int64)
        length = ids.shape[1]
        places = np.arange(length, dtype=np.int64)
        bias = np.where(places[None, :] <= places[:, None], np.float32(0), FORBIDDEN)[None, None]
        logits, cache = self._run(ids, np.pad(ids, ((0, 0), (1, 0)))[:, :-1], places[None], bias, self._empty)
        longest = max([length, *self._lengths])
        self._cache = np.concatenate([_padded(self._cache, longest), _padded(cache, longest)], axis=1)
        self.rows.append(row)
        self._lengths.append(length)
        return row.choose(logits[0])

    def step(self) -> list[int]:
        """One decoding step: the next token of every row, in order."""
        longest = self._cache.shape[3]
        lengths = np.array(self._lengths, np.int64)
        ids = np.array([[row.tokens[-1]] for row in self.rows], np.int64)
        before = np.array(
            [[(row.tokens[-2] if len(row.tokens) > 1 else row.prompt[-1])] for row in self.rows], np.int64
        )
        columns = np.arange(longest + 1)
        bias = np.where(columns[None, :] >= (longest - lengths)[:, None], np.float32(0), FORBIDDEN)[:, None, None]
        logits, self._cache = self._run(ids, before, lengths[:, None], bias, self._cache)
        self._lengths = [length + 1 for length in self._lengths]
        return [row.choose(logits[place]) for place, row in enumerate(self.rows)]

    def leave(self, gone: list[Row]) -> None:
        """Forgets these rows and the padding nobody needs any more."""
        kept = [place for place, row in enumerate(self.rows) if row not in gone]
        self.rows = [self.rows[place] for place in kept]
        self._lengths = [self._lengths[place] for place in kept]
        longest = max(self._lengths, default=0)
        self._cache = self._cache[:, kept, :, self._cache.shape[3] - longest :]

    def _run(
        self,
        ids: NDArray[np.int64],
        before: NDArray[np.int64],
        positions: NDArray[np.int64],
        bias: Floats,
        past: Floats,
    ) -> tuple[Floats, Floats]:
        out = self._engine.run({"ids": ids, "before": before, "positions": positions, "bias": bias, "past": past})
        return out["logits"].astype(np.float32, copy=False), out["present"].astype(np.float32, copy=False)


class Generator:
    """A prompt is the conversation's messages, each after the mark of its role. Text cannot forge a mark, because it is
    encoded without special tokens.
    """

    speaks = frozenset((Protocol.chat, Protocol.completions))

    def __init__(self, folder: Folder, executor: Executor, *, most: int, queue: int) -> None:
        self.name, self.about = str(folder.about["name"]), folder.about
        self._executor, self._most, self._limit = executor, most, queue
        self._context = int(folder.about["context"])
        self._tokenizer = Tokenizer.from_file(str(folder.path / "tokenizer.json"))
        marks: dict[str, str] = folder.about["marks"]
        self._marks: dict[str, int] = {}
        for role, mark in marks.items():
            token = self._tokenizer.token_to_id(mark)
            if token is None:
                raise Rejected(f"{folder.path}: the tokenizer has no mark {mark!r}", mark=mark)
            self._marks[role] = token
        self._tokenizer.encode_special_tokens = True
        layers, heads, width = (int(folder.about[name]) for name in ("layers", "heads", "head_width"))
        self._rows = Rows(Engine(folder.graph), layers, heads, width)
        self._queues: dict[Row, Queue] = {}
        self._waiting: deque[Row] = deque()
        self._task: asyncio.Task[None] | None = None
        self.inputs: list[dict[str, object]] = [{"name": "text", "datatype": "BYTES", "shape": [1]}]
        self.outputs: list[dict[str, object]] = [{"name": "text", "datatype": "BYTES", "shape": [1]}]

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The token ids of the conversation, up to the start of the assistant's answer."""
        ids: list[int] = []
        for message in messages:
            if message.role not in self._marks or message.role == "end":
                known = ", ".join(list(self._marks)[:-1])
                raise Rejected(f"role {message.role!r} is not one of {known}", role=message.role)
            ids += [self._marks[message.role], *self._tokenizer.encode(message.content).ids]
        ids.append(self._marks["assistant"])
        if len(ids) >= self._context:
            raise Rejected(
                f"the conversation is {len(ids)} tokens long and the context holds {self._context}",
                code="context_length_exceeded",
                prompt_tokens=len(ids),
                context=self._context,
            )
        return ids

    async def infer(self, tensors: Sequence[Tensor]) -> Inferred:
        texts, talk = one_text(tensors, "text"), Talk()
        if len(texts) != 1:
            raise Rejected(f"expected one text, got {len(texts)}", expected="text")
        pieces = [piece async for piece in self.converse([Message("user", texts[0])], Sampling(), talk)]
        return Inferred([Tensor("text", "BYTES", (1,), ["".join(pieces)])], talk.compute_us)

    async def converse(self, messages: Sequence[Message], sampling: Sampling, talk: Talk) -> AsyncIterator[str]:
        row = Row(self.prompt(messages), sampling)
        talk.prompt_tokens = len(row.prompt)
        room = self._context - len(row.prompt)
        row.limit = room if sampling.max_tokens is None else min(room, sampling.max_tokens)
        if len(self._waiting) >= self._limit:
            raise Busy(f"{self._limit} conversations are waiting already", waiting=self._limit)
        queue = self._queues[row] = Queue()
        self._waiting.append(row)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        stream = DecodeStream(skip_special_tokens=True)
        said = ""
        try:
            while True:
                token = await queue.get()
                if isinstance(token, Exception):
                    raise token
                talk.compute_us = row.compute_us
                if token == self._marks["end"]:
                    return
                piece = stream.step(self._tokenizer, token) or ""
                talk.completion_tokens += 1
                said += piece
                if cut := _stop_at(said, len(said) - len(piece), sampling.stop):
                    yield piece[: max(0, cut - 1 - (len(said) - len(piece)))]
                    return
                if talk.completion_tokens >= row.limit:
                    talk.finish_reason = "length"
                    yield piece
                    return
                yield piece
        finally:
            self._queues.pop(row, None)

    async def warm(self) -> None:
        async for _ in self.converse([Message("user", "hello")], Sampling(max_tokens=2), Talk()):
            pass

    async def _work(self) -> None:
        """Step the rows until no caller is left. A failure ends every open conversation with its error."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiting or self._rows.rows:
                for row, token in await loop.run_in_executor(self._executor, self._step):
                    if queue := self._queues.get(row):
                        queue.put_nowait(token)
        except Exception as error:  # the listeners are the callers of this loop: they must hear why it ended
            for queue in self._queues.values():
                queue.put_nowait(error)
            self._rows.leave(list(self._rows.rows))
            self._waiting.clear()

    def _step(self) -> list[tuple[Row, int]]:
        """One step, in a thread: drop finished and abandoned rows, advance the others, let one row join."""
        rows, end = self._rows, self._marks["end"]
        gone = [
            row for row in rows.rows if row not in self._queues or row.tokens[-1] == end or len(row.tokens) >= row.limit
        ]
        if gone:
            rows.leave(gone)
        began = time.perf_counter_ns()
        made = list(zip(rows.rows, rows.step(), strict=True)) if rows.rows else []
        share = _microseconds(began) // max(1, len(made))
        for row, _ in made:
            row.compute_us += share
        while self._waiting and len(rows.rows) < self._most:
            row = self._waiting.popleft()
            if row in self._queues:
                began = time.perf_counter_ns()
                made.append((row, rows.join(row)))
                row.compute_us += _microseconds(began)
                break
        return made


def _stop_at(said: str, fresh: int, stops: Sequence[str]) -> int:
    """1 + the start of the earliest stop string that ends in the fresh part; 0 if there is none."""
    places = [said.find(stop, max(0, fresh - len(stop) + 1)) for stop in stops]
    return 1 + min((place for place in places if place >= 0), default=-1)


def _microseconds(began_ns: int) -> int:
    return -(-(time.perf_counter_ns() - began_ns) // 1000)


def _padded(cache: Floats, longest: int) -> Floats:
    missing = longest - cache.shape[3]
    return np.pad(cache, ((0, 0), (0, 0), (0, 0), (missing, 0), (0, 0))) if missing else cache
