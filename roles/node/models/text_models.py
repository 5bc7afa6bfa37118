"""The small text models: hashed n-grams in, a label or the nearest passages out."""

import json
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from ledger.core.catalog.protocols import Protocol
from ledger.core.values.errors import Rejected
from roles.node.models.batching import Batcher
from roles.node.models.engine import Engine
from roles.node.models.features import HashedNgrams, words
from roles.node.models.model import (
    Folder,
    Inferred,
    Message,
    Sampling,
    Talk,
    Tensor,
    Vectors,
    last_user_text,
    one_text,
)

Scores = NDArray[np.float32]
AT_ONCE = 512
"""Texts of a call: a body of 1 MiB may hold 250,000, whose ids in one table would take 512 MB."""


class TextModel:
    """Gives every text one row of scores. A batch of calls, each with several texts, runs as one tensor.

    A kind of model names its input, and says what the scores are, which tensors answer a call, and the pieces that
    answer in a conversation.
    """

    input_name: str
    outputs: list[dict[str, object]]
    speaks = frozenset((Protocol.chat,))

    def __init__(self, folder: Folder, executor: Executor, *, most: int, queue: int) -> None:
        self.name, self.about = str(folder.about["name"]), folder.about
        self.inputs = [{"name": self.input_name, "datatype": "BYTES", "shape": [-1]}]
        self.features = HashedNgrams(**folder.about["features"])
        self.engine = Engine(folder.graph)
        self._batcher = Batcher[list[str], Scores](self._run, executor, most=most, queue=queue)
        self.read(folder)

    def read(self, folder: Folder) -> None:
        """Read what this kind of model needs, and set `outputs`."""
        raise NotImplementedError

    async def infer(self, tensors: Sequence[Tensor]) -> Inferred:
        measured = await self._batcher.submit(one_text(tensors, self.input_name))
        return Inferred(self.answer(measured.value), measured.compute_us)

    async def converse(self, messages: Sequence[Message], sampling: Sampling, talk: Talk) -> AsyncIterator[str]:
        text = last_user_text(messages)
        inferred = await self.infer([Tensor(self.input_name, "BYTES", (1,), [text])])
        talk.prompt_tokens, talk.compute_us = len(words(text)), inferred.compute_us
        for piece in self.pieces(str(inferred.outputs[0].data[0])):
            if sampling.max_tokens is not None and talk.completion_tokens >= sampling.max_tokens:
                talk.finish_reason = "length"
                return
            talk.completion_tokens += 1
            yield piece

    async def warm(self) -> None:
        await self.infer([Tensor(self.input_name, "BYTES", (1,), ["hello"])])

    def scores(self, texts: list[str]) -> Scores:
        """One row of scores for each text."""
        raise NotImplementedError

    def rows(self, texts: list[str], output: str) -> Scores:
        """The graph's output for each text, some at a time: their ids are one table, as wide as the longest text."""
        parts = [
            self.engine.run({"ids": self.features.tensor(texts[at : at + AT_ONCE])})[output]
            for at in range(0, max(1, len(texts)), AT_ONCE)
        ]
        return np.concatenate(parts).astype(np.float32)

    def answer(self, scores: Scores) -> list[Tensor]:
        """The answer's tensors. The first value of the first one answers a conversation."""
        raise NotImplementedError

    def pieces(self, answer: str) -> list[str]:
        """The completion tokens of an answer in a conversation."""
        return [answer]

    def _run(self, calls: Sequence[list[str]]) -> list[Scores]:
        rows = self.scores([text for call in calls for text in call])
        return np.split(rows, np.cumsum([len(call) for call in calls])[:-1])


class Classifier(TextModel):
    """`text` BYTES [n] -> `label`, `scores` [n, labels], `confidence` [n]. In a conversation: the label."""

    input_name = "text"

    def read(self, folder: Folder) -> None:
        self._labels = [str(label) for label in folder.about["labels"]]
        self.outputs = [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "scores", "datatype": "FP32", "shape": [-1, len(self._labels)]},
            {"name": "confidence", "datatype": "FP32", "shape": [-1]},
        ]

    def scores(self, texts: list[str]) -> Scores:
        return self.rows(texts, "scores")

    def answer(self, scores: Scores) -> list[Tensor]:
        labels = [self._labels[best] for best in scores.argmax(axis=1)]
        return [
            Tensor("label", "BYTES", (len(labels),), labels),
            Tensor("scores", "FP32", scores.shape, scores),
            Tensor("confidence", "FP32", (len(labels),), scores.max(axis=1)),
        ]


class Retriever(TextModel):
    """`query` BYTES [n] -> `passages` BYTES and `scores` FP32, each [top] for one query and [n, top] for more.

    It compares a query's unit vector with an index of passages. In a conversation: the best passage, word by word.
    Embeddings are the same unit vectors, by which it also ranks documents that a caller brings.
    """

    input_name = "query"
    speaks = frozenset((Protocol.chat, Protocol.embeddings, Protocol.rerank))

    def __init__(self, folder: Folder, executor: Executor, *, most: int, queue: int) -> None:
        super().__init__(folder, executor, most=most, queue=queue)
        self._embedder = Batcher[list[str], Scores](self._embed, executor, most=most, queue=queue)

    def read(self, folder: Folder) -> None:
        self._passages: list[str] = json.loads((folder.path / "passages.json").read_text())
        self._index: Scores = np.load(folder.path / "index.npy", allow_pickle=False)
        self._top = min(int(folder.about["top"]), len(self._passages))
        if len(self._index) != len(self._passages):
            raise Rejected(f"{folder.path}: {len(self._index)} vectors for {len(self._passages)} passages")
        self.outputs = [
            {"name": "passages", "datatype": "BYTES", "shape": [-1, self._top]},
            {"name": "scores", "datatype": "FP32", "shape": [-1, self._top]},
        ]

    def scores(self, texts: list[str]) -> Scores:
        """Cosine similarity to each passage."""
        return (self._vectors(texts) @ self._index.T).astype(np.float32)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        measured = await self._embedder.submit(list(texts))
        return Vectors(measured.value, sum(len(words(text)) for text in texts), measured.compute_us)

    def _embed(self, calls: Sequence[list[str]]) -> list[Scores]:
        return [self._vectors(texts) for texts in calls]

    def _vectors(self, texts: list[str]) -> Scores:
        return self.rows(texts, "vector")

    def answer(self, scores: Scores) -> list[Tensor]:
        order = np.argsort(-scores, axis=1, kind="stable")[:, : self._top]
        shape = (self._top,) if len(scores) == 1 else (len(scores), self._top)
        best = np.take_along_axis(scores, order, axis=1).reshape(shape)
        found = [self._passages[place] for place in order.ravel()]
        return [Tensor("passages", "BYTES", shape, found), Tensor("scores", "FP32", shape, best)]

    def pieces(self, answer: str) -> list[str]:
        first, *rest = answer.split(" ")
        return [first, *(f" {word}" for word in rest)]
