"""Train the fifteen models: a softmax over hashed n-grams, in numpy, written as ONNX. A minute; the same bytes again.

    python -m bench.triage.train          (needs `onnx`, see deploy/demo/train/requirements.txt; serving does not)

A model's answer may stand in the text of the next as one word, such as `xarefund` for "a says refund"; models that are
meant to hear others are trained on what those really said about messages they had not seen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bench.triage.task import DOMAIN_OF, DOMAINS, LABELS, MODELS, Message, messages
from roles.node.models.features import HashedNgrams

FEATURES = HashedNgrams(buckets=1024, length=192)
SHARPNESS = 40.0
"""The mean of a hundred rows is small; logits are scaled up by this much."""
Floats = NDArray[np.floating[Any]]


class Softmax:
    """A row of logits a bucket; a text's are the mean of its buckets' rows."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.table: Floats = np.zeros((FEATURES.buckets, len(labels)), np.float32)

    def fit(self, rows: Sequence[Message], epochs: int = 120, rate: float = 0.1, decay: float = 1e-4) -> Softmax:
        """Adam on the cross-entropy of all rows at once."""
        counts, wanted = _counts([row.text for row in rows]), np.array([self.labels.index(row.label) for row in rows])
        mean, square = np.zeros_like(self.table), np.zeros_like(self.table)
        for step in range(1, epochs + 1):
            chances = _softmax(counts @ self.table * SHARPNESS)
            chances[np.arange(len(rows)), wanted] -= 1
            slope = counts.T @ chances * (SHARPNESS / len(rows)) + decay * self.table
            mean, square = 0.9 * mean + 0.1 * slope, 0.99 * square + 0.01 * slope**2
            corrected = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.99**step)) + 1e-8)
            self.table -= (rate * corrected).astype(np.float32)
        self.table[0] = 0
        return self

    def says(self, texts: Sequence[str]) -> list[str]:
        """The likeliest labels."""
        return [self.labels[best] for best in (_counts(texts) @ self.table).argmax(axis=1)]

    def save(self, name: str, about: str, task: str) -> None:
        """The model folder: graph and card."""
        folder = MODELS / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.onnx").write_bytes(_graph(name, self.table * np.float32(SHARPNESS)))
        capability = {"task": task, "skill": "triage", "languages": ["en"], "input_modes": ["text/plain"]}
        outputs = [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "scores", "datatype": "FP32", "shape": [-1, len(self.labels)]},
            {"name": "confidence", "datatype": "FP32", "shape": [-1]},
        ]
        inputs = [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
        card = {
            "capabilities": [capability | {"output_modes": ["application/json"]}],
            "interfaces": [{"protocol": "oip/2", "inputs": inputs, "outputs": outputs}],
            "execution": {"runtime": "onnxruntime", "determinism": "projected", "projection": "argmax"},
            "meters": ["call"],
        }
        row: dict[str, Any] = {
            "name": name,
            "kind": "classifier",
            "version": "1.0.0",
            "license": "Apache-2.0",
            "description": about,
        }
        row |= {"features": {"buckets": FEATURES.buckets, "length": FEATURES.length}, "labels": list(self.labels)}
        (folder / "model.json").write_text(json.dumps(row | {"card": card}, indent=1) + "\n")


def main() -> None:
    """Train and write all of them, and say how good each is alone."""
    makers = {who: messages(260, f"maker {who}", known=0.65, noise=0.05) for who in "abc"}
    unseen = {who: messages(900, f"answers {who}", known=0.8) for who in "abcj"}
    general = {who: Softmax(LABELS).fit(rows) for who, rows in makers.items()}
    router_rows = [Message(row.text, DOMAIN_OF[row.label]) for row in messages(1200, "router", known=0.9)]
    router = Softmax(tuple(DOMAINS)).fit(router_rows)
    for who, model in general.items():
        model.save(f"general-{who}", f"Twelve issues; trained on what maker {who} has seen.", "triage")
    router.save("router", "Which department a message is for.", "triage-domain")
    large = Softmax(LABELS).fit(messages(2200, "large", known=0.85, noise=0.03))
    large.save("large", "Twelve issues; a large maker's data.", "triage")
    for domain, issues in DOMAINS.items():
        expert = Softmax(tuple(issues)).fit(messages(900, f"expert {domain}", labels=tuple(issues)))
        expert.save(f"expert-{domain}", f"The issues of {domain}, seen in every wording.", f"triage-{domain}")

    def heard(texts: Sequence[str]) -> list[str]:
        said = [general[who].says(texts) for who in "abc"]
        return [f"xa{a} xb{b} xc{c} {text}" for a, b, c, text in zip(*said, texts, strict=True)]

    def routed(texts: Sequence[str]) -> list[str]:
        return [f"xd{domain} {text}" for domain, text in zip(router.says(texts), texts, strict=True)]

    def listener(how: Callable[[Sequence[str]], list[str]], rows: Sequence[Message]) -> Softmax:
        texts = how([row.text for row in rows])
        return Softmax(LABELS).fit([Message(text, row.label) for text, row in zip(texts, rows, strict=True)])

    for who in "abc":
        listener(heard, unseen[who]).save(
            f"debater-{who}", f"Maker {who}'s second thoughts on what others say.", "triage-debate"
        )
        listener(routed, unseen[who]).save(
            f"refiner-{who}", f"Maker {who}'s issues, told the department.", "triage-refine"
        )
    listener(heard, unseen["j"]).save("judge", "Decides between three answers.", "triage-judge")
    test = messages(2000, "test")
    for name, model in [*((f"general-{who}", one) for who, one in general.items()), ("large", large)]:
        said = model.says([row.text for row in test])
        right = sum(word == row.label for word, row in zip(said, test, strict=True))
        print(f"{name}: {right / len(test):.3f}")


def _counts(texts: Sequence[str]) -> Floats:
    rows = np.zeros((len(texts), FEATURES.buckets), np.float32)
    for place, text in enumerate(texts):
        ids = FEATURES.ids(text) or [0]
        np.add.at(rows[place], ids, np.float32(1 / len(ids)))
    return rows


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Floats = powers / powers.sum(axis=1, keepdims=True)
    return found


def _graph(name: str, table: Floats) -> bytes:
    """ids [n, length] -> rows of the table, averaged over what is not padding -> scores [n, labels]."""
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
        node("Div", ["sum", "atleast"], ["logits"]),
        node("Softmax", ["logits"], ["scores"], axis=-1),
    ]
    constants: list[tuple[str, NDArray[np.generic]]] = [
        ("table", table.astype(np.float32)),
        ("zero", np.array(0, np.int64)),
        ("one", np.array(1, np.float32)),
        ("axis", np.array([1], np.int64)),
        ("last", np.array([-1], np.int64)),
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", "length"])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", table.shape[1]])],
        [numpy_helper.from_array(value, key) for key, value in constants],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="tollway")
    made.ir_version = 9
    onnx.checker.check_model(made)
    body: bytes = made.SerializeToString(deterministic=True)
    return body


if __name__ == "__main__":
    main()
