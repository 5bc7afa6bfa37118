"""Any other ONNX graph, served with its own input and output tensors."""

from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from ledger.core.catalog.protocols import Protocol
from ledger.core.values.errors import Rejected
from roles.node.models.batching import Batcher
from roles.node.models.engine import Engine
from roles.node.models.model import Folder, Inferred, Message, Sampling, Talk, Tensor

DATATYPES = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
_OF_ONNX = {f"tensor({np.dtype(kind).name})": name for name, kind in DATATYPES.items()}
_OF_ONNX |= {"tensor(float)": "FP32", "tensor(double)": "FP64", "tensor(string)": "BYTES"}
Feeds = dict[str, NDArray[np.generic]]


class Tensors:
    """Serves a graph as it is. Calls are not batched, because the first axis need not be a batch axis."""

    speaks = frozenset[Protocol]()

    def __init__(self, folder: Folder, executor: Executor, *, most: int, queue: int) -> None:
        self.name, self.about = str(folder.about["name"]), folder.about
        self._engine = Engine(folder.graph)
        self._batcher = Batcher[Feeds, Feeds](self._run, executor, most=1, queue=queue)
        self.inputs = [_described(*value) for value in self._engine.inputs]
        self.outputs = [_described(*value) for value in self._engine.outputs]

    async def infer(self, tensors: Sequence[Tensor]) -> Inferred:
        declared = {str(value["name"]): value for value in self.inputs}
        if {tensor.name for tensor in tensors} != set(declared) or len(tensors) != len(declared):
            raise Rejected(f"this model takes {', '.join(declared)}", expected=list(declared))
        for tensor in tensors:
            _check(tensor, declared[tensor.name])
        measured = await self._batcher.submit({tensor.name: _array(tensor) for tensor in tensors})
        outputs = []
        for name, datatype in ((str(value["name"]), str(value["datatype"])) for value in self.outputs):
            given = measured.value[name]
            outputs.append(Tensor(name, datatype, given.shape, _data(given)))
        return Inferred(outputs, measured.compute_us)

    async def converse(self, messages: Sequence[Message], sampling: Sampling, talk: Talk) -> AsyncIterator[str]:
        raise Rejected(f"model {self.name!r} takes tensors and does not support chat", model=self.name)
        yield ""

    async def warm(self) -> None:
        """Does nothing: valid inputs of an unknown graph are not known."""

    def _run(self, calls: Sequence[Feeds]) -> list[Feeds]:
        try:
            return [self._engine.run(feeds) for feeds in calls]
        except Exception as error:  # onnxruntime's pybind errors have no common public base
            raise Rejected(f"the graph refused these tensors: {error}") from error


def _array(tensor: Tensor) -> NDArray[np.generic]:
    return np.asarray(tensor.data, dtype=object if tensor.datatype == "BYTES" else None).reshape(tensor.shape)


def _data(value: NDArray[np.generic]) -> list[str] | NDArray[np.generic]:
    return [str(item) for item in value.ravel()] if value.dtype == object else value


def _described(name: str, kind: str, shape: tuple[object, ...]) -> dict[str, object]:
    if kind not in _OF_ONNX:
        remedy = "; skl2onnx leaves it out with options={'zipmap': False}" if kind.startswith("seq(map(") else ""
        raise Rejected(f"{name} is {kind}, which no call can carry{remedy}", tensor=name)
    return {
        "name": name,
        "datatype": _OF_ONNX[kind],
        "shape": [size if isinstance(size, int) else -1 for size in shape],
    }


def _check(tensor: Tensor, declared: dict[str, object]) -> None:
    shape = declared["shape"]
    assert isinstance(shape, list)
    fits = len(shape) == len(tensor.shape) and all(
        want in (-1, size) for want, size in zip(shape, tensor.shape, strict=True)
    )
    if tensor.datatype != declared["datatype"] or not fits:
        raise Rejected(
            f"{tensor.name} must be {declared['datatype']} {shape}, got {tensor.datatype} {list(tensor.shape)}",
            tensor=tensor.name,
        )
