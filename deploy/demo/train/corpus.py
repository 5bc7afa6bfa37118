"""Reads the hand-written data beside this folder: emotions by template, knowledge by passage and question."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

DATA = Path(__file__).parent.parent / "data"
LABELS = ("anger", "disappointment", "joy", "worry", "confusion", "neutral")


@dataclass
class Emotions:
    """(text, label index) pairs; the test templates and the things they speak of never occur in training."""

    train: list[tuple[str, int]] = field(default_factory=list)
    test: list[tuple[str, int]] = field(default_factory=list)


def emotions(name: str) -> Emotions:
    """Every template with every thing of its list; test templates only with the test things."""
    things: list[str] = []
    held: list[str] = []
    found = Emotions()
    templates: dict[int, list[str]] = {}
    tests: dict[int, list[str]] = {}
    label = -1
    for line in (DATA / f"emotions_{name}.txt").read_text().splitlines():
        if line.startswith("% things:"):
            things = _list(line)
        elif line.startswith("% test:"):
            held = _list(line)
        elif line.startswith("## "):
            label = LABELS.index(line[3:])
        elif line.startswith("! "):
            tests.setdefault(label, []).append(line[2:])
        elif line and not line.startswith("#"):
            templates.setdefault(label, []).append(line)
    for key, rows in templates.items():
        found.train += [(row.replace("{x}", thing), key) for row in rows for thing in things]
    for key, rows in tests.items():
        found.test += [(row.replace("{x}", thing), key) for row in rows for thing in held]
    return found


@dataclass
class Passage:
    """One thing the shop knows, and how people ask for it."""

    name: str
    text: str
    train: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)


def knowledge() -> list[Passage]:
    """The knowledge base in file order; a passage's place is its index in the retriever."""
    passages: list[Passage] = []
    for line in (DATA / "knowledge.txt").read_text().splitlines():
        if line.startswith("## "):
            passages.append(Passage(line[3:], ""))
        elif line.startswith("? "):
            passages[-1].train.append(line[2:])
        elif line.startswith("! "):
            passages[-1].test.append(line[2:])
        elif line and not line.startswith("#"):
            passages[-1].text = line
    return passages


def synonyms() -> list[list[str]]:
    """Groups of words that may stand for one another."""
    lines = (DATA / "synonyms.txt").read_text().splitlines()
    return [[word.strip() for word in line.split("|")] for line in lines if line and not line.startswith("#")]


def _list(line: str) -> list[str]:
    return [thing.strip() for thing in line.split(":", 1)[1].split("|")]
