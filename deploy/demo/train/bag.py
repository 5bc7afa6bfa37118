"""The small text network both retriever and classifier use, and its ONNX graph written node by node.

ids [n, length] -> embedding rows, averaged over what is not padding -> one hidden layer -> `width` outputs.
The graph is built with onnx.helper, so its bytes depend on the weights alone and not on an exporter's version.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from roles.node.models.features import HashedNgrams


def settle(seed: int) -> None:
    """One thread and fixed seeds: the same machine trains the same weights twice."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


class Bag(torch.nn.Module):
    """A masked mean of embeddings and a hidden layer."""

    def __init__(self, features: HashedNgrams, embedding: int, hidden: int, width: int) -> None:
        super().__init__()
        self.features = features
        self.table = torch.nn.Embedding(features.buckets, embedding, padding_idx=0)
        torch.nn.init.normal_(self.table.weight, std=0.02)  # an n-gram never trained on stays nearly silent
        self.first = torch.nn.Linear(embedding, hidden)
        self.second = torch.nn.Linear(hidden, width)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        kept = (ids != 0).float().unsqueeze(-1)
        mean = (self.table(ids) * kept).sum(1) / kept.sum(1).clamp(min=1)
        return self.second(torch.relu(self.first(mean)))

    def encode(self, texts: Sequence[str], drop: float = 0.0) -> torch.Tensor:
        """Ids of the texts; `drop` blanks that share of them, so that no single n-gram decides alone."""
        ids = torch.from_numpy(self.features.tensor(texts))
        return ids * (torch.rand(ids.shape) >= drop) if drop else ids


def save(model: Bag, path: Path, *, output: str, finish: str) -> None:
    """Write the graph. `finish` is Softmax (a classifier's scores) or LpNormalization (a unit vector)."""
    weights = {
        "table": model.table.weight,
        "w1": model.first.weight,
        "b1": model.first.bias,
        "w2": model.second.weight,
        "b2": model.second.bias,
    }
    initializers = [
        numpy_helper.from_array(value.detach().numpy().astype(np.float32), name) for name, value in weights.items()
    ] + [
        numpy_helper.from_array(np.array(0, dtype=np.int64), "zero"),
        numpy_helper.from_array(np.array(1, dtype=np.float32), "one"),
        numpy_helper.from_array(np.array([1], dtype=np.int64), "axis"),
        numpy_helper.from_array(np.array([-1], dtype=np.int64), "last"),
    ]
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "ids"], ["rows"]),
        node("Equal", ["ids", "zero"], ["padding"]),
        node("Not", ["padding"], ["real"]),
        node("Cast", ["real"], ["flat"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["flat", "last"], ["kept"]),
        node("Mul", ["rows", "kept"], ["masked"]),
        node("ReduceSum", ["masked", "axis"], ["sum"], keepdims=0),
        node("ReduceSum", ["kept", "axis"], ["count"], keepdims=0),
        node("Max", ["count", "one"], ["atleast"]),
        node("Div", ["sum", "atleast"], ["mean"]),
        node("Gemm", ["mean", "w1", "b1"], ["h"], transB=1),
        node("Relu", ["h"], ["hidden"]),
        node("Gemm", ["hidden", "w2", "b2"], ["raw"], transB=1),
        node(finish, ["raw"], [output], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        path.parent.name,
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", "length"])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", model.second.out_features])],
        initializers,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="tollway")
    made.ir_version = 9
    onnx.checker.check_model(made)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made.SerializeToString(deterministic=True))
