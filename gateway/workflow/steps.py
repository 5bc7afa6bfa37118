"""What a workflow's node is asked, and what its answer is to the others: values on one side, protocols on the other.

An answer is data. Whatever a model writes ends up as a value that templates may copy; it is never read as a template, a
path, a price or a node.
"""

from __future__ import annotations

from typing import Any

import orjson

from gateway.catalog.catalog import ModelEntry
from gateway.metering.ask import CHAT, EMBEDDINGS, INFER, Ask
from gateway.workflow import tensors
from gateway.workflow.plan import OPENAI_CHAT, PlannedStep, embeds, speaks
from ledger.core.catalog.capsules import Capsule
from ledger.core.catalog.templates import Path, named
from ledger.core.values.errors import Rejected
from ledger.core.values.meters import Units

OURS = frozenset(("model", "stream", "stream_options", "n", "best_of", "max_completion_tokens", "max_tokens", "user"))
"""Fields of a chat request that decide what it costs and who is told: the gateway's to set, not a template's."""


def ask(planned: PlannedStep, values: Any, most: Units, *, stream: bool = False, include_usage: bool = False) -> Ask:
    """A node's request. Rejected when its input is not what the protocol takes."""
    if speaks(planned.step) == OPENAI_CHAT:
        if not isinstance(values.get("messages"), list) or not values["messages"]:
            raise Rejected("`messages` is not a list of messages")
        body = {key: value for key, value in values.items() if key not in OURS}
        body |= {"model": planned.models[0].name, "max_tokens": most.output_token, "stream": stream}
        if stream:
            body["stream_options"] = {"include_usage": True}
        made = orjson.dumps(body)
        return Ask(CHAT, planned.models[0].name, made, stream, include_usage, most.output_token)
    if embeds(planned.step, planned.models[0]):
        wanted = {key: value for key, value in values.items() if key not in OURS}
        wanted |= {"model": planned.models[0].name, "encoding_format": "float"}
        return Ask(EMBEDDINGS, planned.models[0].name, orjson.dumps(wanted), outputs=0)
    body = tensors.request(planned.models[0].model, values)
    return Ask(INFER, planned.models[0].name, orjson.dumps(body), outputs=0)


def output(path: str, body: bytes) -> Any:
    """What the others see: an OIP answer's tensors by name; embeddings, and the first of them; a chat answer, with its
    text as `content`.
    """
    try:
        answer = orjson.loads(body)
        if path == INFER:
            return tensors.values(answer)
        if path == EMBEDDINGS:
            rows = [row["embedding"] for row in answer["data"]]
            return {"embedding": rows[0], "embeddings": rows}
        return {**answer, "content": answer["choices"][0]["message"]["content"] or ""}
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise Rejected(f"its answer is not understood: {error!r}") from error


def text_of(value: Any) -> str:
    """A workflow's output as a message: a text, a `content`, a chat answer's first choice; anything else as JSON."""
    while True:
        if isinstance(value, str):
            return value
        if isinstance(value, list) and value and isinstance(value[0], dict) and "message" in value[0]:
            value = value[0]["message"]
        elif isinstance(value, dict) and ({*value} & {"content", "choices"}):
            value = value["content"] if "content" in value else value["choices"]
            if value is None:
                return ""
        else:
            return orjson.dumps(value).decode()


def last_steps(capsule: Capsule, entries: dict[str, ModelEntry]) -> tuple[str, ...]:
    """The node whose answer is the workflow's, and its fallbacks, if they can be streamed: they talk, and nobody waits
    for them. Empty when the output is put together from several, or made by glue.
    """
    paths = list(named(capsule.output))
    if len(paths) != 1 or paths[0].step is None or not _is_answer(paths[0]):
        return ()
    chain = [paths[0].step]
    while (stand_in := capsule.steps[chain[-1]].fallback) is not None and stand_in not in chain:
        chain.append(stand_in)
    for name, step in capsule.steps.items():
        reads = {path.step for path in named(step.input)} | {
            path.step for path in (step.when.paths if step.when else ())
        }
        if name in chain and (speaks(step) != OPENAI_CHAT or name not in entries):
            return ()
        if (name not in chain or name == chain[0]) and reads & {*chain}:
            return ()
    return tuple(chain)


def _is_answer(path: Path) -> bool:
    return path.keys in (
        ("output",),
        ("output", "content"),
        ("output", "choices"),
        ("output", "choices", 0, "message"),
        ("output", "choices", 0, "message", "content"),
    )


def encoded(value: Any) -> bytes:
    """A value as JSON bytes."""
    return orjson.dumps(value)
