"""A node that speaks chat and does what it is asked: says something, calls a tool, uses a result, or fills a schema."""

from __future__ import annotations

import json
from typing import Any

from tests.gateway.nodes import Asked, Wire, piece

USAGE = {
    "prompt_tokens": 40,
    "completion_tokens": 9,
    "total_tokens": 49,
    "prompt_tokens_details": {"cached_tokens": 16},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
WORDS = ["It ", "is ", "sunny."]
ARGUMENTS = ['{"ci', 'ty": "Os', 'lo"}']


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    """The message that answers a request, and why it ends."""
    last = asked["messages"][-1]
    if last["role"] == "tool":
        return {"content": ["In Oslo: ", last["content"]], "end": "stop"}
    if asked.get("tools") and asked.get("tool_choice") != "none":
        name = asked["tools"][0]["function"]["name"]
        calls = [{"id": "call_a", "name": name, "arguments": ARGUMENTS}]
        if "both" in json.dumps(last["content"]):
            calls.append({"id": "call_b", "name": name, "arguments": ['{"city":', ' "Rome"}']})
        return {"calls": calls, "end": "tool_calls"}
    if asked.get("response_format", {}).get("type") == "json_schema":
        return {"content": ['{"city": "Oslo", ', '"degrees": 21}'], "end": "stop"}
    if asked.get("max_tokens") == 3:
        return {"content": WORDS[:2], "end": "length"}
    thought = ["They ask ", "for weather."] if "think" in json.dumps(last["content"]) else []
    return {"thought": thought, "content": WORDS, "end": "stop"}


def _whole(said: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "".join(said.get("content", ())) or None}
    if said.get("thought"):
        message["reasoning_content"] = "".join(said["thought"])
    if "calls" in said:
        message["tool_calls"] = [
            {
                "id": one["id"],
                "type": "function",
                "function": {"name": one["name"], "arguments": "".join(one["arguments"])},
            }
            for one in said["calls"]
        ]
    choice = {"index": 0, "message": message, "finish_reason": said["end"]}
    return {"id": "x", "object": "chat.completion", "created": 7, "model": "m", "choices": [choice], "usage": USAGE}


def events(said: dict[str, Any]) -> list[dict[str, Any]]:
    """The same as chunks of a stream."""

    def event(delta: dict[str, Any]) -> dict[str, Any]:
        return {**piece(None), "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}

    made = [event({"role": "assistant", "content": ""})]
    made += [event({"reasoning_content": text}) for text in said.get("thought", ())]
    made += [event({"content": text}) for text in said.get("content", ())]
    for index, one in enumerate(said.get("calls", ())):
        function = {"name": one["name"], "arguments": ""}
        made.append(
            event({"tool_calls": [{"index": index, "id": one["id"], "type": "function", "function": function}]})
        )
        made += [
            event({"tool_calls": [{"index": index, "function": {"arguments": text}}]}) for text in one["arguments"]
        ]
    return [*made, piece(None, said["end"]), {**piece(None), "choices": [], "usage": USAGE}]


async def speaking(asked: Asked, wire: Wire) -> None:
    """Answer a chat request, whole or streamed."""
    request = asked.json
    said = _answer(request)
    if "fail" in json.dumps(request["messages"][-1]["content"]):
        error = {"message": "too long for me", "type": "invalid_request_error", "code": "context_length_exceeded"}
        await wire.answer({"error": error}, 400)
        return
    if not request.get("stream"):
        await wire.answer(_whole(said))
        return
    await wire.begin()
    for one in events(said):
        await wire.event(one)
        if "die" in json.dumps(request["messages"][-1]["content"]) and one["choices"][0]["delta"].get("content"):
            wire.die()
            return
    await wire.event("[DONE]")
    await wire.end()
