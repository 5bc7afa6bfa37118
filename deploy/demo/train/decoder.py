"""The decoder behind `dialog`, and its ONNX graph: one step with a key-value cache, for prompts and for single tokens
alike.

Each token also carries the one before it (`before`), so that "what followed this token last time" is one look away: a
model this small learns to copy a fact in hundreds of steps instead of thousands.

Inputs: ids, before and positions [n, t], bias [n, 1, t, past + t] (0 where a token may look, -1e9 where not) and past
[2 * layers, n, heads, past, head width]. Outputs: logits [n, vocabulary] of the last token, and the longer cache,
`present`. The bias lets sequences of different length share a batch: the shorter ones are padded on the left and told
not to look there.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

FORBIDDEN = -1e9


class Block(torch.nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.qkv = torch.nn.Linear(width, 3 * width)
        self.mix = torch.nn.Linear(width, width)
        self.up, self.down = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, width = x.shape
        q, k, v = (
            part.reshape(n, t, self.heads, -1).transpose(1, 2) for part in self.qkv(self.norm1(x)).split(width, 2)
        )
        seen = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.mix(seen.transpose(1, 2).reshape(n, t, width))
        return x + self.down(torch.relu(self.up(self.norm2(x))))


class Decoder(torch.nn.Module):
    def __init__(self, vocabulary: int, context: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.tokens, self.places = torch.nn.Embedding(vocabulary, width), torch.nn.Embedding(context, width)
        self.before = torch.nn.Embedding(vocabulary, width)
        torch.nn.init.normal_(self.tokens.weight, std=0.02)
        torch.nn.init.normal_(self.before.weight, std=0.02)
        torch.nn.init.normal_(self.places.weight, std=0.02)
        self.blocks = torch.nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = torch.nn.LayerNorm(width)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        before = torch.nn.functional.pad(ids, (1, 0))[:, :-1]
        x = self.tokens(ids) + self.before(before) + self.places(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ self.tokens.weight.T

    @torch.no_grad()
    def greedy(self, prompt: list[int], stop: int, limit: int) -> list[int]:
        """The answer's tokens, without the stop token; no cache, for evaluation only."""
        ids = list(prompt)
        while len(ids) < limit:
            token = int(self(torch.tensor([ids]))[0, -1].argmax())
            if token == stop:
                break
            ids.append(token)
        return ids[len(prompt) :]


class _Graph:
    """Collects nodes and weights; `add` returns the name of the new value."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: object) -> str:
        name = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def weight(self, value: torch.Tensor | list[int] | float, dtype: type = np.float32) -> str:
        name = f"w{len(self.weights)}"
        array = value.detach().numpy() if isinstance(value, torch.Tensor) else np.array(value)
        self.weights.append(numpy_helper.from_array(array.astype(dtype, order="C"), name))
        return name

    def linear(self, x: str, layer: torch.nn.Linear) -> str:
        return self.add("Add", self.add("MatMul", x, self.weight(layer.weight.T)), self.weight(layer.bias))

    def norm(self, x: str, layer: torch.nn.LayerNorm) -> str:
        return self.add(
            "LayerNormalization", x, self.weight(layer.weight), self.weight(layer.bias), axis=-1, epsilon=layer.eps
        )


def save(model: Decoder, path: Path) -> None:
    """Write the step graph."""
    graph = _Graph()
    table = graph.weight(model.tokens.weight)
    x = graph.add(
        "Add", graph.add("Gather", table, "ids"), graph.add("Gather", graph.weight(model.before.weight), "before")
    )
    x = graph.add("Add", x, graph.add("Gather", graph.weight(model.places.weight), "positions"))
    width, present = model.tokens.embedding_dim, []
    heads = model.blocks[0].heads
    split = graph.weight([0, 0, heads, width // heads], np.int64)
    join = graph.weight([0, 0, width], np.int64)
    scale = graph.weight(1 / math.sqrt(width // heads))
    for place, block in enumerate(model.blocks):
        qkv = graph.linear(graph.norm(x, block.norm1), block.qkv)
        parts = []
        for at in range(3):
            cut = graph.add(
                "Slice",
                qkv,
                graph.weight([at * width], np.int64),
                graph.weight([(at + 1) * width], np.int64),
                graph.weight([2], np.int64),
            )
            parts.append(graph.add("Transpose", graph.add("Reshape", cut, split), perm=[0, 2, 1, 3]))
        whole = []
        for at in range(2):
            before = graph.add("Gather", "past", graph.weight(2 * place + at, np.int64), axis=0)
            whole.append(graph.add("Concat", before, parts[1 + at], axis=2))
            present.append(graph.add("Unsqueeze", whole[at], graph.weight([0], np.int64)))
        looks = graph.add(
            "Mul", graph.add("MatMul", parts[0], graph.add("Transpose", whole[0], perm=[0, 1, 3, 2])), scale
        )
        seen = graph.add("MatMul", graph.add("Softmax", graph.add("Add", looks, "bias"), axis=-1), whole[1])
        seen = graph.add("Reshape", graph.add("Transpose", seen, perm=[0, 2, 1, 3]), join)
        x = graph.add("Add", x, graph.linear(seen, block.mix))
        x = graph.add(
            "Add", x, graph.linear(graph.add("Relu", graph.linear(graph.norm(x, block.norm2), block.up)), block.down)
        )
    last = graph.add("Gather", graph.norm(x, model.norm), graph.weight(-1, np.int64), axis=1)
    graph.add("MatMul", last, graph.add("Transpose", table, perm=[1, 0]), output="logits")
    graph.add("Concat", *present, output="present", axis=0)
    value = helper.make_tensor_value_info
    layers = 2 * len(model.blocks)
    made = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "dialog",
            [
                value("ids", TensorProto.INT64, ["n", "t"]),
                value("before", TensorProto.INT64, ["n", "t"]),
                value("positions", TensorProto.INT64, ["n", "t"]),
                value("bias", TensorProto.FLOAT, ["n", 1, "t", "all"]),
                value("past", TensorProto.FLOAT, [layers, "n", heads, "past", width // heads]),
            ],
            [
                value("logits", TensorProto.FLOAT, ["n", model.tokens.num_embeddings]),
                value("present", TensorProto.FLOAT, [layers, "n", heads, "all", width // heads]),
            ],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        producer_name="tollway",
    )
    made.ir_version = 9
    onnx.checker.check_model(made)
    path.write_bytes(made.SerializeToString(deterministic=True))
