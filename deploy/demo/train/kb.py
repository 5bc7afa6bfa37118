"""Train `kb`: a question's embedding lands near the embedding of the passage that answers it.

    python -m deploy.demo.train.kb        (needs deploy/demo/train/requirements.txt; a minute on one core)

One network embeds questions and passages. A batch holds one question of each of many passages, and the loss asks each
question to prefer its own passage over all others (InfoNCE). The passages' vectors, each the mean of the passage's
own and of its known questions', are kept in index.npy, so a new passage is a new row and not a new training.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np
import torch

from deploy.demo.train.bag import Bag, save, settle
from deploy.demo.train.corpus import Passage, knowledge, synonyms
from roles.node.models.features import HashedNgrams

FOLDER = Path(__file__).parent.parent / "models" / "kb"
FEATURES = HashedNgrams(buckets=8192, length=256)
WIDTH = 48
MODES = {"languages": ["en"], "input_modes": ["text/plain"], "output_modes": ["application/json"]}
POLITE = (
    "{}",
    "{}",
    "hello, {}",
    "please help, {}",
    "{} please",
    "hi {}",
    "i am angry, {}",
    "sorry, {}",
    "{} this is urgent",
    "thanks, {}",
    "i am worried, {}",
    "this is unacceptable! {}",
    "{} i am fed up",
    "could you tell me, {}",
)


GROUPS = [(re.compile(r"\b(" + "|".join(map(re.escape, group)) + r")\b"), group) for group in synonyms()]


def varied(text: str) -> str:
    """The text with some of its words replaced by words like them."""
    for pattern, group in random.sample(GROUPS, len(GROUPS)):
        if random.random() < 0.5 and pattern.search(text):
            text = pattern.sub(random.choice(group), text)
    return text


def dressed(question: str) -> str:
    """The question as people really write it."""
    return random.choice(POLITE).format(varied(question))


def embed(model: Bag, texts: list[str], drop: float = 0.0) -> torch.Tensor:
    return torch.nn.functional.normalize(model(model.encode(texts, drop=drop)), dim=1)


def train(model: Bag, passages: list[Passage], steps: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.01)
    target = torch.arange(len(passages))
    for _ in range(steps):
        asked = [dressed(random.choice(passage.train)) for passage in passages]
        other = [random.choice((passage.text, varied(random.choice(passage.train)))) for passage in passages]
        scores = embed(model, asked, 0.3) @ embed(model, other, 0.3).T * 14
        loss = torch.nn.functional.cross_entropy(scores, target) + torch.nn.functional.cross_entropy(scores.T, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def index_of(model: Bag, passages: list[Passage]) -> torch.Tensor:
    """One unit vector a passage."""
    with torch.no_grad():
        rows = [embed(model, [passage.text, *passage.train]).mean(0) for passage in passages]
    return torch.nn.functional.normalize(torch.stack(rows), dim=1)


def recall(model: Bag, passages: list[Passage], index: torch.Tensor, top: int) -> float:
    """The share of held-out questions whose passage is among the first `top`."""
    hits = asked = 0
    with torch.no_grad():
        for place, passage in enumerate(passages):
            best = (embed(model, passage.test) @ index.T).topk(top, dim=1).indices
            hits += int((best == place).any(1).sum())
            asked += len(passage.test)
    return hits / asked


def main() -> None:
    settle(11)
    passages = knowledge()
    model = Bag(FEATURES, embedding=WIDTH, hidden=96, width=WIDTH)
    train(model, passages, steps=2400)
    index = index_of(model, passages)
    save(model, FOLDER / "model.onnx", output="vector", finish="LpNormalization")
    np.save(FOLDER / "index.npy", index.numpy().astype(np.float32))
    (FOLDER / "passages.json").write_text(json.dumps([passage.text for passage in passages], indent=1) + "\n")
    about = {
        "name": "kb",
        "kind": "retriever",
        "version": "1.0.0",
        "license": "Apache-2.0",
        "description": "Finds the passage of the Larkspur shop's knowledge base that answers a question.",
        "features": {"buckets": FEATURES.buckets, "length": FEATURES.length},
        "top": 3,
        "card": {
            "capabilities": [
                {"task": "retrieval", "skill": "shop-knowledge", **MODES},
                {
                    "task": "feature-extraction",
                    "skill": "shop-embeddings",
                    "description": f"The unit vector of a question, {WIDTH} numbers.",
                    **MODES,
                },
                {
                    "task": "text-ranking",
                    "skill": "shop-reranking",
                    "description": "Documents by how near they are to a question.",
                    **MODES,
                },
            ],
            "interfaces": [
                {
                    "protocol": "oip/2",
                    "inputs": [{"name": "query", "datatype": "BYTES", "shape": [-1]}],
                    "outputs": [
                        {"name": "passages", "datatype": "BYTES", "shape": [-1, 3]},
                        {"name": "scores", "datatype": "FP32", "shape": [-1, 3]},
                    ],
                },
                {"protocol": "openai.chat/1"},
                {"protocol": "openai.embeddings/1"},
                {"protocol": "rerank/1"},
            ],
            "execution": {
                "runtime": "onnxruntime",
                "determinism": "projected",
                "projection": "topk:3",
                "profile": "cpu/threads-1/graph-extended/fp32",
            },
            "meters": ["call", "byte"],
        },
    }
    (FOLDER / "model.json").write_text(json.dumps(about, indent=1) + "\n")
    asked = sum(len(passage.test) for passage in passages)
    print(
        f"kb: {recall(model, passages, index, 1):.3f} of {asked} held-out questions find their passage first, "
        f"{recall(model, passages, index, 3):.3f} among three ({len(passages)} passages)"
    )


if __name__ == "__main__":
    main()
