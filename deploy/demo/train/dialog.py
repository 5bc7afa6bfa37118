"""Train `dialog`: a small decoder-only transformer that answers a shop's customer, token by token.

    python -m deploy.demo.train.dialog        (needs deploy/demo/train/requirements.txt; some minutes on one core)

Byte-level BPE, two thousand tokens or fewer; pre-norm blocks, learned positions, a tied output. The loss is taken on
the answer.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy

from deploy.demo.train.bag import settle
from deploy.demo.train.decoder import Decoder, save
from deploy.demo.train.talk import conversation

FOLDER = Path(__file__).parent.parent / "models" / "dialog"
MARKS = ("<pad>", "<system>", "<user>", "<assistant>", "<end>")
CONTEXT = 256
WIDTH, LAYERS, HEADS = 128, 3, 4


def learn_tokens() -> Tokenizer:
    """Byte-level BPE over ten thousand written conversations."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1280,
        special_tokens=list(MARKS),
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    texts = (" ".join(conversation()) for _ in range(10_000))
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def batch(tokenizer: Tokenizer, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and targets, right padded; a target of -100 is not part of the loss."""
    pad, system, user, assistant, end = range(5)
    ids, targets = [], []
    for _ in range(rows):
        told, asked, answer = (tokenizer.encode(text).ids for text in conversation())
        prompt = ([system, *told] if told else []) + [user, *asked, assistant]
        row = (prompt + answer + [end])[:CONTEXT]
        ids.append(row)
        targets.append([-100] * (len(prompt) - 1) + row[len(prompt) :] + [-100])
    longest = max(map(len, ids))
    return (
        torch.tensor([row + [pad] * (longest - len(row)) for row in ids]),
        torch.tensor([row + [-100] * (longest - len(row)) for row in targets]),
    )


def train(model: Decoder, tokenizer: Tokenizer, steps: int, rows: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps, pct_start=0.1)
    began = time.monotonic()
    for step in range(steps):
        ids, targets = batch(tokenizer, rows)
        loss = cross_entropy(model(ids).flatten(0, 1), targets.flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        plan.step()
        if step % 50 == 49:
            print(
                f"step {step + 1} of {steps}, loss {loss.item():.3f}, {time.monotonic() - began:.0f} s", file=sys.stderr
            )


def figures(model: Decoder, tokenizer: Tokenizer, rows: int) -> tuple[float, float]:
    """(share of answer tokens guessed, share of whole answers whose fact is copied to the last letter by greedy
    decoding).
    """
    with torch.no_grad():
        ids, targets = batch(tokenizer, rows)
        guess = model(ids).argmax(2)
        kept = targets != -100
        token_share = float((guess == targets)[kept].float().mean())
    copied = 0
    for _ in range(rows):
        told, asked, _ = conversation()
        while "fact: " not in told:
            told, asked, _ = conversation()
        prompt = [1, *tokenizer.encode(told).ids, 2, *tokenizer.encode(asked).ids, 3]
        answer = tokenizer.decode(model.greedy(prompt, stop=4, limit=CONTEXT))
        copied += told.split("fact: ")[1] in answer
    return token_share, copied / rows


def main() -> None:
    settle(23)
    torch.set_num_threads(2)
    tokenizer = learn_tokens()
    model = Decoder(tokenizer.get_vocab_size(), CONTEXT, WIDTH, LAYERS, HEADS)
    train(model, tokenizer, steps=int(sys.argv[1]) if len(sys.argv) > 1 else 900, rows=24)
    model.eval()
    FOLDER.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(FOLDER / "tokenizer.json"))
    save(model, FOLDER / "model.onnx")
    about = {
        "name": "dialog",
        "kind": "generator",
        "version": "1.0.0",
        "license": "Apache-2.0",
        "description": "Answers a customer of the Larkspur shop from a feeling and a fact, token by token.",
        "context": CONTEXT,
        "layers": LAYERS,
        "heads": HEADS,
        "head_width": WIDTH // HEADS,
        "marks": {"system": MARKS[1], "user": MARKS[2], "assistant": MARKS[3], "end": MARKS[4]},
        "card": {
            "capabilities": [
                {
                    "task": "text-generation",
                    "skill": "shop-dialogue",
                    "languages": ["en"],
                    "input_modes": ["text/plain"],
                    "output_modes": ["text/plain"],
                    "context_tokens": CONTEXT,
                    "features": ["streaming"],
                }
            ],
            "interfaces": [{"protocol": "openai.chat/1"}, {"protocol": "openai.completions/1"}],
            "execution": {
                "runtime": "onnxruntime",
                "determinism": "none",
                "profile": "cpu/threads-1/graph-extended/fp32",
            },
            "meters": ["input_token", "output_token"],
        },
    }
    (FOLDER / "model.json").write_text(json.dumps(about, indent=1) + "\n")
    random.seed(99)
    tokens, copies = figures(model, tokenizer, 100)
    print(
        f"dialog: {sum(p.numel() for p in model.parameters()):,} weights, {tokens:.3f} of answer tokens guessed, "
        f"{copies:.2f} of 100 fresh facts copied to the last letter"
    )


if __name__ == "__main__":
    main()
