"""Quantise `emotion` to 8 bits: a quarter of its size, for nodes with little memory. Seconds; the same bytes again.

python -m deploy.demo.train.quantize        (needs deploy/demo/train/requirements.txt; serving does not)
"""

from __future__ import annotations

import json
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from deploy.demo.train.corpus import emotions
from roles.node.models.engine import Engine
from roles.node.models.features import HashedNgrams

MODELS = Path(__file__).parent.parent / "models"


def main() -> None:
    parent, child = MODELS / "emotion", MODELS / "emotion-int8"
    child.mkdir(exist_ok=True)
    quantize_dynamic(parent / "model.onnx", child / "model.onnx", weight_type=QuantType.QInt8)
    made = onnx.load(child / "model.onnx")
    made.producer_name = "tollway"
    (child / "model.onnx").write_bytes(made.SerializeToString(deterministic=True))
    about = json.loads((parent / "model.json").read_text())
    about |= {"name": "emotion-int8", "description": "Six emotions in messages to a shop; emotion in 8 bits."}
    about["card"]["execution"]["profile"] = "cpu/threads-1/graph-extended/int8"
    (child / "model.json").write_text(json.dumps(about, indent=1) + "\n")
    for kind in ("general", "support"):
        print(kind, {folder.name: f"{accuracy(folder, emotions(kind).test):.3f}" for folder in (parent, child)})


def accuracy(folder: Path, rows: list[tuple[str, int]]) -> float:
    """The share of rows whose highest score is the label."""
    engine, features = Engine(folder / "model.onnx"), HashedNgrams(buckets=8192, length=256)
    scores = engine.run({"ids": features.tensor([text for text, _ in rows])})["scores"]
    return float((scores.argmax(1) == [label for _, label in rows]).mean())


if __name__ == "__main__":
    main()
