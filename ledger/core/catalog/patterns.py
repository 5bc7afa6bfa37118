"""Patterns of workflows to start from: capsule files of chat models, in which `tollway weaver check` finds no mistake.

`tollway weaver new` and the console's composer write such files. Models are `@org/name`, and a place without one is
`model:NAME`, which `weaver publish --use NAME=@org/name` fills.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from itertools import pairwise
from types import MappingProxyType
from typing import Final, NamedTuple

from ledger.core.catalog.protocols import Protocol
from ledger.core.values.documents import Document, Json
from ledger.core.values.errors import Rejected

MOST_MODELS: Final = 8
WEAVER_PPM: Final = 50_000
"""What the file asks for its weaver: 5 % of each run."""
LETTERS: Final = "abcdefgh"
QUESTION: Final = {"role": "user", "content": "$.messages[-1].content"}


class Pattern(Enum):
    """How a workflow's models work together, by the name that people type."""

    fallback = "fallback"
    serial = "serial"
    parallel = "parallel"
    debate = "debate"


class Form(NamedTuple):
    """What a pattern is: in words, how few models it takes, the places for models, and what weaves them."""

    title: str
    about: str
    least: int
    places: tuple[str, ...]
    """Its placeholders when no model is named."""
    weave: Callable[[Sequence[str]], tuple[list[Document], Json]]
    """The steps, and the output."""


def start(name: str, models: Sequence[str] = (), pattern: Pattern = Pattern.fallback) -> Document:
    """A capsule file of a pattern. Rejected with too few or too many models; without any it has placeholders."""
    form = FORMS[pattern]
    used = list(models) or [f"model:{place}" for place in form.places]
    if not form.least <= len(used) <= MOST_MODELS:
        said = f"the pattern {pattern.value} takes {form.least} to {MOST_MODELS} models, not {len(used)}"
        raise Rejected(said, field="models")
    steps, output = form.weave(used)
    return {
        "schema": "tollway/capsule/1",
        "name": name,
        "version": "1.0.0",
        "description": "",
        "interface": {"protocol": Protocol.chat},
        "steps": steps,
        "output": output,
        "distribution": {"weaver": {"ratio_ppm": WEAVER_PPM, "ask": {}}},
        "failure": "partial-ok",
    }


def written(document: Document) -> str:
    """A capsule file's text, as people edit it."""
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _step(id: str, model: str, instruction: str = "") -> Document:
    """A step that is asked what the workflow is asked; or the last message alone, after an `instruction`."""
    messages: Json = [{"role": "system", "content": instruction}, QUESTION] if instruction else "$.messages"
    return {"id": id, "uses": {"model": model}, "input": {"messages": messages}}


def _content(step: str) -> str:
    return f"$steps.{step}.output.content"


def _answers(steps: Sequence[str]) -> str:
    """The answers of steps, each after its number."""
    return "\n\n".join(f"Answer {n}:\n{{{_content(step)}}}" for n, step in enumerate(steps, 1))


def _fallback(models: Sequence[str]) -> tuple[list[Document], Json]:
    steps = [_step(f"reply_{n}" if n else "reply", model) for n, model in enumerate(models)]
    for step, after in pairwise(steps):
        step |= {"on_error": "fallback", "fallback": after["id"]}
    return steps, {"content": _content("reply")}


def _serial(models: Sequence[str]) -> tuple[list[Document], Json]:
    instruction = (
        "Another model answered the user as below. Answer better: keep what is right, and correct what is not."
    )
    steps = [_step(LETTERS[0], models[0])]
    for before, (id, model) in zip(LETTERS, list(zip(LETTERS, models, strict=False))[1:], strict=False):
        steps.append(_step(id, model, f"{instruction}\n\n{{{_content(before)}}}"))
    return steps, {"content": _content(steps[-1]["id"])}


def _parallel(models: Sequence[str]) -> tuple[list[Document], Json]:
    *panel, judge = models
    steps = [_step(id, model) for id, model in zip(LETTERS, panel, strict=False)]
    return [*steps, _judge(judge, [step["id"] for step in steps])], {"content": _content("judge")}


def _debate(models: Sequence[str]) -> tuple[list[Document], Json]:
    *panel, judge = models
    first = [_step(id, model) for id, model in zip(LETTERS, panel, strict=False)]
    heard = "You and others answered the user as below. Answer again, now that you know all of it.\n\n"
    heard += _answers([step["id"] for step in first])
    again = [_step(f"again_{id}", model, heard) for id, model in zip(LETTERS, panel, strict=False)]
    return [*first, *again, _judge(judge, [step["id"] for step in again])], {"content": _content("judge")}


def _judge(model: str, steps: Sequence[str]) -> Document:
    instruction = "Several models answered the user as below. Weigh their answers, and give the best answer yourself."
    return _step("judge", model, f"{instruction}\n\n{_answers(steps)}")


FORMS: Final[Mapping[Pattern, Form]] = MappingProxyType(
    {
        Pattern.fallback: Form(
            "One stands in for another",
            "The first model answers, and each further one when the one before fails.",
            1,
            ("reply",),
            _fallback,
        ),
        Pattern.serial: Form(
            "One after the other",
            "Each model reads the answer of the one before, and answers better.",
            2,
            ("draft", "final"),
            _serial,
        ),
        Pattern.parallel: Form(
            "Side by side, then a judge",
            "All models but the last answer at the same time; the last one reads their answers and gives its own.",
            2,
            ("one", "other", "judge"),
            _parallel,
        ),
        Pattern.debate: Form(
            "A debate, then a judge",
            "All models but the last answer, hear each other and answer again; the last one judges.",
            3,
            ("one", "other", "judge"),
            _debate,
        ),
    }
)
