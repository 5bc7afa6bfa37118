"""A2A's messages: what one asks of which model, and how an answer, a price or a refusal looks there. Pure.

Of a message's parts, texts are one message of a user, and an object of data is the input itself, as `/v1/invoke` takes
it. Both together are the data's conversation and then the text.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.api.schemas.agents import MESSAGE_ID
from gateway.errors import Refusal

STATUS, REQUIRED, PAYLOAD = "x402.payment.status", "x402.payment.required", "x402.payment.payload"
RECEIPTS, PAYMENT_ERROR = "x402.payment.receipts", "x402.payment.error"
FACTS: Final = "tollway"
"""Where a message's metadata has what its call cost."""
EXACT: Final = 2**53
"""Data in A2A has doubles only: a whole one below this was sent as a whole number."""

SEND, STREAM = "SendMessage", "SendStreamingMessage"
INVALID_REQUEST, NO_METHOD, INVALID_PARAMS, INTERNAL = -32600, -32601, -32602, -32603
NO_TASK, NO_PUSH, UNSUPPORTED, BAD_CONTENT, NO_CARD, BAD_VERSION = -32001, -32003, -32004, -32005, -32007, -32009
TASKLESS = "this gateway keeps no tasks: the answer to a message is its call's, whole or as a stream"
REFUSED: Mapping[str, tuple[int, str]] = {
    "GetTask": (NO_TASK, TASKLESS),
    "CancelTask": (NO_TASK, f"{TASKLESS}; close the connection to cancel it"),
    "SubscribeToTask": (NO_TASK, TASKLESS),
    "ListTasks": (UNSUPPORTED, TASKLESS),
    "CreateTaskPushNotificationConfig": (NO_PUSH, TASKLESS),
    "GetTaskPushNotificationConfig": (NO_PUSH, TASKLESS),
    "ListTaskPushNotificationConfigs": (NO_PUSH, TASKLESS),
    "DeleteTaskPushNotificationConfig": (NO_PUSH, TASKLESS),
    "GetExtendedAgentCard": (NO_CARD, "there is one card, at /.well-known/agent-card.json"),
    "message/send": (BAD_VERSION, f"this gateway speaks A2A 1.0, where this is {SEND}"),
    "message/stream": (BAD_VERSION, f"this gateway speaks A2A 1.0, where this is {STREAM}"),
}
WORKING, PAID, UNPAID, FAILED = (
    f"TASK_STATE_{state}" for state in ("WORKING", "COMPLETED", "INPUT_REQUIRED", "FAILED")
)


class RpcRefusal(Refusal):
    """A refusal of a message by A2A's own rules, with its code in JSON-RPC."""

    def __init__(self, code: int, message: str, param: str | None = None) -> None:
        super().__init__(400, "invalid_request", message, param=param)
        self.rpc_code = code


@dataclass(frozen=True, slots=True)
class Said:
    """What a message asks of which model: `values` are its input."""

    model: str
    values: Mapping[str, Any]
    context_id: str | None

    @property
    def talks(self) -> bool:
        """Whether its answer can be a stream: the input is a conversation."""
        return isinstance(self.values.get("messages"), list)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as it came: its id, which names its call; the task that it continues, and the payment that it carries.

    `said` is None for the payment of a task: its own parts say nothing.
    """

    id: str
    task_id: str | None
    payment: Mapping[str, Any] | None
    said: Said | None


def rpc_id(json: Any) -> str | int | None:
    """The id that the answer to a request has."""
    found = json.get("id") if isinstance(json, dict) else None
    return found if isinstance(found, str | int) and not isinstance(found, bool) else None


def read(json: Any, model: str) -> tuple[Incoming, bool]:
    """A message, and whether its answer is to be a stream. `model` is the one of the URL, if it names one."""
    if not isinstance(json, dict) or json.get("jsonrpc") != "2.0" or "id" not in json:
        raise RpcRefusal(INVALID_REQUEST, "send one JSON-RPC 2.0 request, with an id: there are no batches here")
    method, params = json.get("method"), json.get("params")
    if not isinstance(method, str):
        raise RpcRefusal(INVALID_REQUEST, "a JSON-RPC request has a method")
    if method in REFUSED:
        raise RpcRefusal(*REFUSED[method])
    if method not in (SEND, STREAM):
        raise RpcRefusal(NO_METHOD, f"there is no such method here: send {SEND} or {STREAM}")
    message = params.get("message") if isinstance(params, dict) else None
    if not isinstance(params, dict) or not isinstance(message, dict):
        raise RpcRefusal(INVALID_PARAMS, "params has a message", "message")
    return _incoming(message, model or _model_of(message) or _model_of(params)), method == STREAM


def _model_of(row: Mapping[str, Any]) -> str:
    """The model that metadata names, if it does."""
    named = _metadata(row).get("model", "")
    if not isinstance(named, str):
        raise RpcRefusal(INVALID_PARAMS, "metadata.model is the name of a model", "metadata.model")
    return named


def _metadata(row: Mapping[str, Any]) -> Mapping[str, Any]:
    found = row.get("metadata") or {}
    if not isinstance(found, dict):
        raise RpcRefusal(INVALID_PARAMS, "metadata is an object", "metadata")
    return found


def _incoming(message: Mapping[str, Any], model: str) -> Incoming:
    id, task_id, context_id = (message.get(name) or None for name in ("messageId", "taskId", "contextId"))
    if not isinstance(id, str) or len(id.encode()) > MESSAGE_ID:
        raise RpcRefusal(INVALID_PARAMS, f"a message has a messageId of 1 to {MESSAGE_ID} bytes", "messageId")
    if not all(one is None or (isinstance(one, str) and len(one) <= MESSAGE_ID) for one in (task_id, context_id)):
        raise RpcRefusal(INVALID_PARAMS, f"taskId and contextId are texts of at most {MESSAGE_ID} characters", "taskId")
    if message.get("role") not in ("ROLE_USER", 1):
        raise RpcRefusal(INVALID_PARAMS, "a message that is sent to an agent has the role ROLE_USER", "role")
    payment = _metadata(message).get(PAYLOAD)
    if payment is not None and not isinstance(payment, dict):
        raise RpcRefusal(INVALID_PARAMS, f"{PAYLOAD} is x402's payment payload, an object", PAYLOAD)
    if task_id is not None:
        if payment is None:
            raise RpcRefusal(NO_TASK, f"{TASKLESS}. Send the message without a taskId")
        return Incoming(id, task_id, whole(payment), None)
    if not model:
        remedy = 'put {"model": "@org/name"} into its metadata, or use the card of /v1/models/{name}/exports/a2a'
        raise RpcRefusal(INVALID_PARAMS, f"the message names no model: {remedy}", "metadata.model")
    return Incoming(id, None, whole(payment), Said(model, _values(message.get("parts")), context_id))


def _values(parts: Any) -> Mapping[str, Any]:
    """The input that a message's parts are."""
    if not isinstance(parts, list) or not parts:
        raise RpcRefusal(INVALID_PARAMS, "a message has parts", "parts")
    texts, values = list[str](), dict[str, Any]()
    for part in parts:
        if not isinstance(part, dict):
            raise RpcRefusal(INVALID_PARAMS, "a part is an object", "parts")
        if isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(part.get("data"), dict):
            values |= whole(part["data"])
        else:
            raise RpcRefusal(BAD_CONTENT, "a part is a text, or an object of data: files are not taken here", "parts")
    if texts:
        before = values.get("messages", [])
        if not isinstance(before, list):
            raise RpcRefusal(INVALID_PARAMS, "messages are a list", "parts")
        values["messages"] = [*before, {"role": "user", "content": "\n".join(texts)}]
    return values


def whole(value: Any) -> Any:
    """Values of A2A as they were before each number became a double."""
    if isinstance(value, dict):
        return {name: whole(one) for name, one in value.items()}
    if isinstance(value, list):
        return [whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < EXACT else value


def new_id() -> str:
    return os.urandom(16).hex()


def message(said: Said, parts: list[dict[str, Any]], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A message of the agent."""
    context = {"contextId": said.context_id} if said.context_id else {}
    return {"messageId": new_id(), **context, "role": "ROLE_AGENT", "parts": parts, "metadata": dict(metadata)}


def parts_of(output: Any) -> list[dict[str, Any]]:
    """An answer's output: its text, if it has one, and named values."""
    if isinstance(output, str):
        return [{"text": output}]
    content = output.get("content") if isinstance(output, dict) else None
    if isinstance(content, str):
        return [{"text": content}]
    return [{"data": output, "mediaType": "application/json"}]


def status(state: str, said: Said, words: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A task's status, in words and for machines."""
    return {"state": state, "message": message(said, [{"text": words}], metadata)}


def task(id: str, said: Said, status: Mapping[str, Any], parts: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """A task, with its answer if it has one."""
    made = {"id": id, "contextId": said.context_id or id, "status": status}
    return made | ({"artifacts": [{"artifactId": "answer", "parts": parts}]} if parts is not None else {})
