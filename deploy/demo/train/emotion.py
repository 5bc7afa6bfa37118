"""Train `emotion-base` on everyday sentences, then its fine-tuned child `emotion` on messages to a shop.

python -m deploy.demo.train.emotion        (needs deploy/demo/train/requirements.txt; a minute on one core)
"""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import torch

from deploy.demo.train.bag import Bag, save, settle
from deploy.demo.train.corpus import LABELS, emotions
from roles.node.models.features import HashedNgrams

MODELS = Path(__file__).parent.parent / "models"
FEATURES = HashedNgrams(buckets=8192, length=256)


def train(model: Bag, rows: list[tuple[str, int]], epochs: int, rate: float) -> None:
    """Adam on cross-entropy, mini-batches of 64, a third of the n-grams dropped."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    for _ in range(epochs):
        random.shuffle(rows)
        for at in range(0, len(rows), 64):
            chunk = rows[at : at + 64]
            logits = model(model.encode([text for text, _ in chunk], drop=0.3))
            loss = torch.nn.functional.cross_entropy(
                logits, torch.tensor([label for _, label in chunk]), label_smoothing=0.05
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def accuracy(model: Bag, rows: list[tuple[str, int]]) -> float:
    """The share of rows whose highest score is the label."""
    with torch.no_grad():
        guess = model(model.encode([text for text, _ in rows])).argmax(1)
    return float((guess == torch.tensor([label for _, label in rows])).float().mean())


def card(skill: str) -> dict[str, Any]:
    """What the model document says of it."""
    return {
        "capabilities": [
            {
                "task": "text-classification",
                "skill": skill,
                "languages": ["en"],
                "input_modes": ["text/plain"],
                "output_modes": ["application/json"],
            }
        ],
        "interfaces": [
            {
                "protocol": "oip/2",
                "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
                "outputs": [
                    {"name": "label", "datatype": "BYTES", "shape": [-1]},
                    {"name": "scores", "datatype": "FP32", "shape": [-1, len(LABELS)]},
                ],
            },
            {"protocol": "openai.chat/1"},
        ],
        "execution": {
            "runtime": "onnxruntime",
            "determinism": "projected",
            "projection": "argmax",
            "profile": "cpu/threads-1/graph-extended/fp32",
        },
        "meters": ["call"],
    }


def write(model: Bag, name: str, description: str, skill: str) -> None:
    """The model folder: graph and card."""
    folder = MODELS / name
    save(model, folder / "model.onnx", output="scores", finish="Softmax")
    about = {
        "name": name,
        "kind": "classifier",
        "version": "1.0.0",
        "license": "Apache-2.0",
        "description": description,
        "features": {"buckets": FEATURES.buckets, "length": FEATURES.length},
        "labels": list(LABELS),
        "card": card(skill),
    }
    (folder / "model.json").write_text(json.dumps(about, indent=1) + "\n")


def main() -> None:
    settle(7)
    general, support = emotions("general"), emotions("support")
    base = Bag(FEATURES, embedding=32, hidden=48, width=len(LABELS))
    train(base, general.train, epochs=12, rate=4e-3)
    child = copy.deepcopy(base)
    train(child, support.train + general.train[::4], epochs=8, rate=2e-3)
    write(base, "emotion-base", "Six emotions in short everyday English.", "emotion-6")
    write(child, "emotion", "Six emotions in messages to a shop; fine-tuned from emotion-base.", "emotion-6-support")
    for name, model in (("emotion-base", base), ("emotion (fine-tuned)", child)):
        print(
            f"{name}: accuracy {accuracy(model, general.test):.3f} everyday, {accuracy(model, support.test):.3f} "
            f"support ({len(general.test)} and {len(support.test)} held-out messages)"
        )


if __name__ == "__main__":
    main()
