"""Text classifier: hashed n-grams in, label and scores out."""

from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from roles.node.models.batching import Batcher, merged
from roles.node.models.engine import Engine
from roles.node.models.features import HashedNgrams, words
from roles.node.models.model import Folder, Inferred, Message, Sampling, Talk, Tensor, last_user_text, one_text


class Classifier:
    """`text` BYTES [n] -> `label`, `scores` [n, labels], `confidence` [n]. In a conversation: the label."""

    def __init__(self, folder: Folder, executor: Executor, *, most: int, queue: int) -> None:
        self.name, self.about = str(folder.about["name"]), folder.about
        self._labels = [str(label) for label in folder.about["labels"]]
        self._features = HashedNgrams(**folder.about["features"])
        self._engine = Engine(folder.graph)
        self._batcher = Batcher[list[str], NDArray[np.float32]](merged(self.scores), executor, most=most, queue=queue)
        self.inputs = [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
        self.outputs = [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "scores", "datatype": "FP32", "shape": [-1, len(self._labels)]},
            {"name": "confidence", "datatype": "FP32", "shape": [-1]},
        ]

    async def infer(self, tensors: Sequence[Tensor]) -> Inferred:
        texts = one_text(tensors, "text")
        measured = await self._batcher.submit(texts)
        scores = measured.value
        labels = [self._labels[best] for best in scores.argmax(axis=1)]
        outputs = [
            Tensor("label", "BYTES", (len(texts),), labels),
            Tensor("scores", "FP32", scores.shape, scores),
            Tensor("confidence", "FP32", (len(texts),), scores.max(axis=1)),
        ]
        return Inferred(outputs, measured.compute_us)

    async def converse(self, messages: Sequence[Message], sampling: Sampling, talk: Talk) -> AsyncIterator[str]:
        text = last_user_text(messages)
        inferred = await self.infer([Tensor("text", "BYTES", (1,), [text])])
        label = inferred.outputs[0].data[0]
        talk.prompt_tokens, talk.completion_tokens, talk.compute_us = len(words(text)), 1, inferred.compute_us
        yield str(label)

    async def warm(self) -> None:
        await self.infer([Tensor("text", "BYTES", (1,), ["hello"])])

    def scores(self, texts: list[str]) -> NDArray[np.float32]:
        """One row of scores for each text."""
        return self._engine.run({"ids": self._features.tensor(texts)})["scores"].astype(np.float32)
