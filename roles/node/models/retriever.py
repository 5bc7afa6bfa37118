"""Retriever: compares a query's unit vector with an index of passages and returns the best few."""

import json
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from ledger.core.values.errors import Rejected
from roles.node.models.batching import Batcher, merged
from roles.node.models.engine import Engine
from roles.node.models.features import HashedNgrams, words
from roles.node.models.model import Folder, Inferred, Message, Sampling, Talk, Tensor, last_user_text, one_text


class Retriever:
    """`query` BYTES [n] -> `passages` BYTES and `scores` FP32, each [top] for one query and [n, top] for more.

    In a conversation it answers with the best passage, word by word.
    """

    def __init__(self, folder: Folder, executor: Executor, *, most: int, queue: int) -> None:
        self.name, self.about = str(folder.about["name"]), folder.about
        self._features = HashedNgrams(**folder.about["features"])
        self._passages: list[str] = json.loads((folder.path / "passages.json").read_text())
        self._index: NDArray[np.float32] = np.load(folder.path / "index.npy", allow_pickle=False)
        self._top = min(int(folder.about["top"]), len(self._passages))
        if len(self._index) != len(self._passages):
            raise Rejected(f"{folder.path}: {len(self._index)} vectors for {len(self._passages)} passages")
        self._engine = Engine(folder.graph)
        self._batcher = Batcher[list[str], NDArray[np.float32]](merged(self.scores), executor, most=most, queue=queue)
        self.inputs = [{"name": "query", "datatype": "BYTES", "shape": [-1]}]
        self.outputs = [
            {"name": "passages", "datatype": "BYTES", "shape": [-1, self._top]},
            {"name": "scores", "datatype": "FP32", "shape": [-1, self._top]},
        ]

    async def infer(self, tensors: Sequence[Tensor]) -> Inferred:
        queries = one_text(tensors, "query")
        measured = await self._batcher.submit(queries)
        scores = measured.value
        order = np.argsort(-scores, axis=1, kind="stable")[:, : self._top]
        shape = (self._top,) if len(queries) == 1 else (len(queries), self._top)
        best = np.take_along_axis(scores, order, axis=1).reshape(shape)
        found = [self._passages[place] for place in order.ravel()]
        return Inferred(
            [Tensor("passages", "BYTES", shape, found), Tensor("scores", "FP32", shape, best)], measured.compute_us
        )

    async def converse(self, messages: Sequence[Message], sampling: Sampling, talk: Talk) -> AsyncIterator[str]:
        text = last_user_text(messages)
        inferred = await self.infer([Tensor("query", "BYTES", (1,), [text])])
        pieces = str(inferred.outputs[0].data[0]).split(" ")
        talk.prompt_tokens, talk.compute_us = len(words(text)), inferred.compute_us
        for place, piece in enumerate(pieces):
            if sampling.max_tokens is not None and talk.completion_tokens >= sampling.max_tokens:
                talk.finish_reason = "length"
                return
            talk.completion_tokens += 1
            yield piece if place == 0 else f" {piece}"

    async def warm(self) -> None:
        await self.infer([Tensor("query", "BYTES", (1,), ["hello"])])

    def scores(self, texts: list[str]) -> NDArray[np.float32]:
        """Cosine similarity to each passage: one row for each text."""
        vectors = self._engine.run({"ids": self._features.tensor(texts)})["vector"]
        return (np.asarray(vectors, np.float32) @ self._index.T).astype(np.float32)
