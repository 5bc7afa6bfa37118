"""What a model's graph says of itself: its tensors and the protocols it speaks. So it is registered, and so it is
compared with its document before it is served.
"""

import glob
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ledger.core.catalog import protocols, tensors
from ledger.core.catalog.protocols import Protocol
from ledger.core.catalog.tensors import MAX_TENSORS, Tensor
from ledger.core.values.documents import Document
from ledger.core.values.errors import Rejected
from roles.node.models.loader import load
from roles.node.models.model import Model

TASKS = {"generator": "text-generation", "retriever": "retrieval", "classifier": "text-classification"}
MODES = {"image": "image/*", "text": "text/plain", "tabular": "application/json"}


@dataclass(frozen=True, slots=True)
class Described:
    """A model as it loads. `card` is what its `model.json` declares for the document, where there is one."""

    inputs: list[Tensor]
    outputs: list[Tensor]
    speaks: frozenset[Protocol]
    """The protocols that it speaks besides tensors."""
    task: str
    card: Document

    @property
    def interfaces(self) -> list[Document]:
        """Every interface by which it can be called."""
        sides = {"inputs": self.inputs, "outputs": self.outputs}
        inference = {
            "protocol": Protocol.tensors,
            **{side: [one.document for one in some] for side, some in sides.items()},
        }
        return [inference, *({"protocol": protocol} for protocol in sorted(self.speaks))]

    @property
    def input_mode(self) -> str:
        """The media type that a caller has at hand."""
        return MODES.get(self.task.partition("-")[0], MODES["text" if Protocol.chat in self.speaks else "tabular"])

    def __str__(self) -> str:
        taken, given = ("; ".join(map(str, some)) for some in (self.inputs, self.outputs))
        return f"takes {taken} and gives {given}"


def describe(path: Path) -> Described:
    """Load a model's folder or .onnx file. Rejected, with the reason, when no call of it could be answered."""
    path.stat()  # says which file is missing
    beside = [one.name for one in path.parent.glob(f"{glob.escape(path.name)}[._]*")] if path.is_file() else []
    if beside:
        raise Rejected(f"a part of {path} seems to lie beside it, in {beside[0]}: name the folder that holds both")
    with ThreadPoolExecutor(1) as executor:
        return of(load(path, executor, most=1, queue=1))


def of(model: Model) -> Described:
    """What a loaded model says of itself. Rejected when it takes or gives nothing, or more than can be said."""
    inputs, outputs = tensors.tensors(model.inputs), tensors.tensors(model.outputs)
    for what, some in (("input", inputs), ("output", outputs)):
        if not 1 <= len(some) <= MAX_TENSORS:
            raise Rejected(f"{model.name} has {len(some)} {what}s: a model that can be called has 1 to {MAX_TENSORS}")
    task = TASKS.get(str(model.about.get("kind"))) or tensors.task_of(inputs, outputs)
    return Described(inputs, outputs, model.speaks, task, dict(model.about.get("card") or {}))


def check(described: Described, interfaces: Sequence[Document]) -> None:
    """Rejected unless the model serves every call that these interfaces promise."""
    for promised in interfaces:
        if promised["protocol"] == Protocol.tensors:
            tensors.check_promise(promised, described.inputs, described.outputs)
        elif promised["protocol"] not in described.speaks:
            speaks = protocols.listed(one["protocol"] for one in described.interfaces)
            raise Rejected(f"its document says that it speaks {promised['protocol']}, and a node serves it by {speaks}")
