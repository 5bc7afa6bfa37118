"""A step's request from its input values, and its output values from a node's answer, in the protocol of its model.

An answer is data: templates may copy it, but it is never read as a template, a path, a price or a step.
"""

import math
from collections.abc import Mapping
from typing import Any

import orjson

from gateway import bounds
from gateway.errors import Refusal
from gateway.metering import openai
from gateway.metering.answers import PassedOn
from gateway.metering.ask import CHAT, COMPLETIONS, EMBEDDINGS, INFER, LIMITS, RERANK, Ask, written
from gateway.workflow.plan import PlannedStep, embeds, speaks
from ledger.core.catalog import tensors
from ledger.core.catalog.capsules import Capsule
from ledger.core.catalog.models import Model
from ledger.core.catalog.protocols import Protocol
from ledger.core.catalog.templates import named
from ledger.core.values.errors import Rejected
from ledger.core.values.meters import Units

OURS = frozenset(("model", "stream", "stream_options", "n", "best_of", *LIMITS, "user")) | openai.SYNONYMS
"""Fields of a request that decide its price and receiver: the gateway sets them, never a template."""
ANSWERS = (
    ("output",),
    ("output", "content"),
    ("output", "choices"),
    ("output", "choices", 0, "message"),
    ("output", "choices", 0, "message", "content"),
)
"""Parts of a step's answer. A step is streamed when the workflow's output is one of them."""


def ask(planned: PlannedStep, values: Any, most: Units, *, stream: bool = False, include_usage: bool = False) -> Ask:
    """A step's request. Rejected when its input does not fit the protocol."""
    model = planned.models[0]
    if speaks(planned.step) == Protocol.chat:
        if not isinstance(values.get("messages"), list) or not values["messages"]:
            raise Rejected("`messages` is not a list of messages")
        body = {key: value for key, value in values.items() if key.lower() not in OURS}
        body |= {"model": model.name, "max_tokens": most.output_token, "stream": stream}
        if stream:
            body["stream_options"] = {"include_usage": True}
        return _written(CHAT, body, most.output_token, include_usage=include_usage)
    if embeds(planned.step, model):
        body = {key: value for key, value in values.items() if key.lower() not in OURS}
        body |= {"model": model.name, "encoding_format": "float"}
        return _written(EMBEDDINGS, body, 0)
    return Ask(INFER, model.name, written(tensor_request(model.model, values)), limit=0)


def _written(path: str, body: dict[str, Any], limit: int, *, include_usage: bool = False) -> Ask:
    raw, stream = written(body), bool(body.get("stream"))
    return Ask(path, body["model"], raw, stream, include_usage, openai.fields(raw), limit)


def output(path: str, body: bytes) -> Any:
    """A step's output, as other steps see it: tensors by name; all `embeddings` and the first `embedding`; `results` of
    a reranking; or an answer with its text as `content`. Rejected when the answer is none of these, or too much to be
    decoded whole.
    """
    try:
        bounds.check_whole(body)
    except Refusal as refused:
        raise Rejected(f"its answer is too much: {refused.message}") from refused
    try:
        answer = orjson.loads(body)
        if path == INFER:
            return tensor_values(answer)
        if path == EMBEDDINGS:
            rows = [row["embedding"] for row in answer["data"]]
            return {"embedding": rows[0], "embeddings": rows}
        if path == RERANK:
            return {"results": answer["results"]}
        choice = answer["choices"][0]
        return {**answer, "content": (choice["text"] if path == COMPLETIONS else choice["message"]["content"]) or ""}
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise Rejected(f"its answer is not what its protocol says: {error!r}") from error


def text_of(value: Any) -> str:
    """A workflow's output as text: a text, a `content`, or a chat answer's first choice; anything else as JSON."""
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
            return written(value).decode()


def last_steps(capsule: Capsule, planned: Mapping[str, PlannedStep]) -> tuple[str, ...]:
    """The step whose answer is the workflow's, and its fallbacks, if they can be streamed: they are chat models and no
    step needs them. Empty when the output is made of several answers, or by glue.
    """
    paths = list(named(capsule.output))
    if len(paths) != 1 or paths[0].step is None or paths[0].keys not in ANSWERS:
        return ()
    chain = [paths[0].step]
    while (stand_in := capsule.steps[chain[-1]].fallback) is not None and stand_in not in chain:
        chain.append(stand_in)
    for name, step in capsule.steps.items():
        reads = {path.step for path in named(step.input)} | {
            path.step for path in (step.when.paths if step.when else ())
        }
        by_a_model = planned[name].models or planned[name].unserved
        if name in chain and (speaks(step) != Protocol.chat or not by_a_model):
            return ()
        if (name not in chain or name == chain[0]) and reads & {*chain}:
            return ()
    return tuple(chain)


def refusal_of(refused: PassedOn) -> str:
    """Why a step failed whose provider refused the request."""
    return f"its provider refused the request: {refused.stored.body.decode(errors='replace')[:200]}"


def tensor_request(model: Model, values: Any) -> dict[str, Any]:
    """An inference request from named values. Rejected when an input is missing or does not fit its shape."""
    interface = next(one for one in model.document["interfaces"] if one["protocol"] == Protocol.tensors)
    if not isinstance(values, dict):
        raise Rejected(f"the input of {model.name} is an object of named values")
    wanted = tensors.tensors(interface["inputs"])
    missing = next((one.name for one in wanted if one.name not in values), None)
    if missing is not None:
        raise Rejected(f"{model.name} needs the input {missing!r}", input=missing)
    return {"inputs": [tensors.filled(one, values[one.name]) for one in wanted]}


def tensor_values(answer: Any) -> dict[str, Any]:
    """Named values from an inference response: the element of a tensor that has one, a flat list of others."""
    named: dict[str, Any] = {}
    for tensor in answer["outputs"]:
        data = _flat(tensor.get("data", []))
        named[tensor["name"]] = data[0] if len(data) == 1 and math.prod(tensor["shape"]) == 1 else data
    return named


def _flat(value: Any) -> list[Any]:
    """The elements of lists inside each other, each touched once however deep they are."""
    flat: list[Any] = []
    around = [iter([value])]
    while around:
        for item in around[-1]:
            if isinstance(item, list):
                around.append(iter(item))
                break
            flat.append(item)
        else:
            around.pop()
    return flat
