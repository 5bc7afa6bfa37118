"""The tensors by which a model is called (Open Inference Protocol v2): which calls fit, and what a model is for.

A dimension of -1 is any size. Values as a person writes them, JSON, become a tensor by these rules:

    1  lists in lists are the tensor as it is; they are as long as their neighbours
    2  what has fewer dimensions than the tensor gets leading ones of 1
    3  a plain list may fill a tensor of which one dimension, or none, is unknown, row by row
    4  a tensor of texts (BYTES) takes texts; one of BOOL true and false; one of integers no fractions
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from ledger.core.values.documents import Document, Json
from ledger.core.values.errors import Rejected

MAX_TENSORS = 64
MAX_DIMENSIONS = 8
MAX_NAME = 128
"""Characters of a tensor's name."""
MAX_VALUES = 8_000_000
"""Values of a tensor that is written out: a call's body has at most 20 MiB."""
CHANNELS = (1, 3)
TEXT, TRUTH = "BYTES", "BOOL"
ANY = -1


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor that a model takes or gives: its name, datatype and shape."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > MAX_NAME or not self.name.isprintable():
            raise Rejected(
                f"a tensor's name has 1 to {MAX_NAME} characters that can be printed, not {self.name[:40]!r}"
            )
        if len(self.shape) > MAX_DIMENSIONS:
            raise Rejected(f"{self.name} has {len(self.shape)} dimensions: at most {MAX_DIMENSIONS} can be called")

    def __str__(self) -> str:
        return f"{self.name} {self.datatype} [{','.join(map(str, self.shape))}]"

    @property
    def document(self) -> Document:
        """As a model's document and an inference request say it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass(frozen=True, slots=True)
class Picture:
    """How a tensor takes an image: its channels (1: grey, 3: red, green, blue) before its rows, or after its columns.

    A height or width of -1 is the image's own. Integers are 0 to 255, other numbers 0 to 1.
    """

    channels: int
    height: int
    width: int
    first: bool


def tensors(described: Sequence[Mapping[str, Json]]) -> list[Tensor]:
    """Tensors as a model's document or a server's metadata describe them."""
    return [Tensor(str(one["name"]), str(one["datatype"]), tuple(map(int, one["shape"]))) for one in described]


def check_interface(interface: Document, place: str) -> None:
    """Rejected unless the tensors of a document's interface, if it has any, can be called: on each side at most
    `MAX_TENSORS`, each of a name of its own.
    """
    for side in ("inputs", "outputs"):
        described, field = interface.get(side, []), f"{place}.{side}"
        if len(described) > MAX_TENSORS:
            raise Rejected(f"{field}: has {len(described)} tensors, more than {MAX_TENSORS}", field=field)
        try:
            found = tensors(described)
        except Rejected as wrong:
            raise Rejected(f"{field}: {wrong.message}", field=field) from wrong
        if len({one.name for one in found}) < len(found):
            raise Rejected(f"{field}: two tensors have one name", field=field)


def picture(tensor: Tensor) -> Picture | None:
    """How a tensor takes an image, if it does: [1, channels, height, width] or [1, height, width, channels]."""
    if len(tensor.shape) != 4 or tensor.datatype in (TEXT, TRUTH) or tensor.shape[0] not in (1, ANY):
        return None
    _, one, two, three = tensor.shape
    if one in CHANNELS:
        return Picture(one, two, three, True)
    return Picture(three, one, two, False) if three in CHANNELS else None


def task_of(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> str:
    """The task that a graph's tensors speak of, as Hugging Face names it. It is a guess, which its maker can replace.

    A whole number or a text in the answer is a class.
    """
    classes = any(one.datatype == TEXT or one.datatype.startswith(("INT", "UINT")) for one in outputs)
    if any(one.datatype == TEXT for one in inputs):
        return "text-classification" if classes else "feature-extraction"
    if any(picture(one) for one in inputs):
        flat = all(len(one.shape) <= 2 for one in outputs)
        return "image-classification" if classes or flat else "image-to-image"
    return "tabular-classification" if classes else "tabular-regression"


def check_promise(promised: Document, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    """Rejected unless a model with these tensors serves every call that an interface of a document promises.

    It takes the promised inputs and no others, in every promised size, and gives the promised outputs.
    """
    ours, theirs = {one.name: one for one in inputs}, tensors(promised["inputs"])
    if set(ours) != {one.name for one in theirs}:
        raise _broken(theirs, inputs, "takes")
    for one in theirs:
        if one.datatype != ours[one.name].datatype or not _within(one.shape, ours[one.name].shape):
            raise _broken(theirs, inputs, "takes")
    given = {one.name: one for one in outputs}
    for one in tensors(promised["outputs"]):
        own = given.get(one.name)
        if own is None or own.datatype != one.datatype or not _alike(one.shape, own.shape):
            raise _broken([one], outputs, "gives")


def _broken(promised: Sequence[Tensor], own: Sequence[Tensor], verb: str) -> Rejected:
    said, known = ("; ".join(map(str, some)) or "nothing" for some in (promised, own))
    return Rejected(f"its document says that it {verb} {said}, and the graph {verb} {known}")


def _within(promised: Sequence[int], own: Sequence[int]) -> bool:
    return len(promised) == len(own) and all(size in (ANY, said) for said, size in zip(promised, own, strict=True))


def _alike(promised: Sequence[int], own: Sequence[int]) -> bool:
    return len(promised) == len(own) and all(
        ANY in (said, size) or said == size for said, size in zip(promised, own, strict=True)
    )


def filled(tensor: Tensor, value: Json) -> Document:
    """A value as an input of an inference request. Rejected when it does not fit the tensor."""
    sizes = _sizes(tensor, value)
    flat: list[Any] = [value]
    for _ in sizes:
        flat = list(chain.from_iterable(flat))
    _check_values(tensor, flat)
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(_shape(tensor, sizes)), "data": flat}


def _sizes(tensor: Tensor, value: Json) -> list[int]:
    """The lengths of lists in lists."""
    sizes: list[int] = []
    level = [value]
    while level and isinstance(level[0], list):
        if len({len(one) if isinstance(one, list) else ANY for one in level}) != 1:
            raise Rejected(f"{tensor.name}: its lists are not all of one length", tensor=tensor.name)
        sizes.append(len(level[0]))
        level = list(chain.from_iterable(level))
        if len(sizes) > MAX_DIMENSIONS or len(level) > MAX_VALUES:
            raise Rejected(f"{tensor.name}: more than {MAX_VALUES} values", tensor=tensor.name)
    return sizes


def _check_values(tensor: Tensor, flat: Sequence[Json]) -> None:
    kinds: tuple[type, ...] = (int, float)
    if tensor.datatype == TEXT:
        kinds = (str,)
    elif tensor.datatype == TRUTH:
        kinds = (bool,)
    elif not tensor.datatype.startswith("FP"):
        kinds = (int,)
    wrong = next((one for one in flat if type(one) not in kinds), None)
    if wrong is not None or None in flat:
        raise Rejected(f"{tensor.name} takes {tensor.datatype}, not {str(wrong)[:40]!r}", tensor=tensor.name)


def _shape(tensor: Tensor, sizes: Sequence[int]) -> Sequence[int]:
    """The shape of what has these sizes."""
    wanted = tensor.shape
    missing = len(wanted) - len(sizes)
    led = [*(1 for _ in range(missing)), *sizes]
    if missing >= 0 and _within(led, wanted):
        return led
    count, known = math.prod(sizes), math.prod(size for size in wanted if size != ANY)
    if len(sizes) <= 1 and wanted.count(ANY) <= 1 and known and count and count % known == 0:
        full = [count // known if size == ANY else size for size in wanted]
        if math.prod(full) == count:
            return full
    raise Rejected(f"{tensor} does not take a value of shape {list(sizes)}", tensor=tensor.name)
