"""Load model folders, and find loaded models by name."""

import difflib
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from pathlib import Path

from ledger.core.values.errors import Rejected
from roles.node.models.generator import Generator
from roles.node.models.model import Folder, Model
from roles.node.models.resale import Resold
from roles.node.models.tensors import Tensors
from roles.node.models.text_models import Classifier, Retriever
from roles.node.protocols.errors import NotFound

KINDS: dict[str, Callable[..., Model]] = {
    "classifier": Classifier,
    "retriever": Retriever,
    "generator": Generator,
    "tensors": Tensors,
}


def load(path: Path, executor: Executor, *, most: int, queue: int) -> Model:
    """Load the model in a folder. Rejected, with the reason, when the folder is not valid."""
    folder = Folder.read(path)
    kind = KINDS.get(str(folder.about["kind"]))
    if kind is None:
        raise Rejected(f"{path}: kind {folder.about['kind']!r} is not one of {', '.join(KINDS)}", path=str(path))
    try:
        return kind(folder, executor, most=most, queue=queue)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise Rejected(f"{path}: the model folder is not complete: {error!r}", path=str(path)) from error


class LoadedModels:
    """The models of a node by name. A node with a single model accepts any name."""

    def __init__(self, models: Iterable[tuple[str, Model | Resold]]) -> None:
        self._models: dict[str, Model | Resold] = {}
        for name, model in models:
            if name in self._models:
                raise Rejected(f"two models are named {name!r}", model=name)
            self._models[name] = model

    def names(self) -> list[str]:
        return list(self._models)

    def find(self, name: str) -> Model | Resold:
        """The model of that name. Raises NotFound with the nearest names."""
        if found := self._models.get(name):
            return found
        if len(self._models) == 1:
            return next(iter(self._models.values()))
        near = difflib.get_close_matches(name, self._models, n=3, cutoff=0.3) or list(self._models)
        raise NotFound(f"no model {name!r} on this node; there is {', '.join(near)}", model=name, nearest=near)
