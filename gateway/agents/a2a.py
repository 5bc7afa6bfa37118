"""A2A 1.0 over JSON-RPC: a message to a model or workflow is a call of it, and the answer is the agent's message.

Nothing is remembered of a conversation, and no task is kept: one appears in a stream's events, and where the x402
extension wants one. A message that waits for its payment is remembered for a while, because by that extension its
payment comes without it.

The call is a request to /v1/invoke, or for a stream to /v1/chat/completions. An unpaid one is answered as that
extension says if its client asked for it, and else by HTTP 402, which x402's HTTP clients pay.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

import orjson

from gateway import bounds
from gateway.agents import messages, requests
from gateway.agents.messages import FACTS, Incoming, RpcRefusal, Said
from gateway.agents.requests import A2A, AgentRequest, Routes, decoded, payment_header, rpc_error
from gateway.api import invoke
from gateway.bounds import Place, Places
from gateway.call.idempotency import JSON, Headers, StoredResponse
from gateway.catalog.exports import X402_EXTENSION
from gateway.errors import Refusal
from gateway.metering.ask import CHAT
from gateway.payment import authorizations, x402

EXTENSIONS = (b"a2a-extensions", b"x-a2a-extensions")
EVENTS: Headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
KEPT = frozenset((401, 402, 403, 429, 503))
"""Statuses that HTTP clients act upon: other refusals are errors of JSON-RPC alone."""
RECEIPT = b": tollway-receipt "
"""Before the receipt of a stream, a comment of its last events."""
PRICE = "urn:x402:payment-required"
ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"


@dataclass(frozen=True, slots=True)
class Asking:
    """A message with what it says, the id of its answer, and whether x402's extension is active."""

    id: str | int | None
    incoming: Incoming
    said: Said
    by_extension: bool

    @property
    def is_paid_for(self) -> bool:
        return self.incoming.payment is not None

    @property
    def task_id(self) -> str:
        """Of the task that its answer is, if it is one."""
        return self.incoming.task_id or self.incoming.id

    @property
    def headers(self) -> Headers:
        """Of every answer."""
        return [(EXTENSIONS[0], X402_EXTENSION.encode())] if self.by_extension else []

    def result(self, result: Mapping[str, Any], headers: Headers) -> StoredResponse:
        return StoredResponse(200, [*JSON, *self.headers, *headers], self.written(result))

    def written(self, result: Mapping[str, Any]) -> bytes:
        return orjson.dumps({"jsonrpc": "2.0", "id": self.id, "result": result})


class A2AServer:
    """Answers A2A's requests."""

    def __init__(self) -> None:
        self._unpaid: dict[str, tuple[Said, Place[str]]] = {}
        """What waits for its payment, by the id of its task."""
        self._places = Places[str](bounds.UNPAID_TASKS_AN_ADDRESS, bounds.UNPAID_TASKS, self._unpaid.pop)

    async def serve(self, request: AgentRequest) -> None:
        """Answer a request. A refusal is an error of JSON-RPC, with the request's id."""
        id, client = messages.rpc_id(request.json), request.routes.client
        try:
            incoming, streams = messages.read(request.json, request.path.removeprefix(A2A).removeprefix("/"))
            said = incoming.said or self._waiting(incoming.task_id)
            named = b",".join(client.headers.get(name, b"") for name in EXTENSIONS)
            by_extension = X402_EXTENSION.encode() in named or incoming.payment is not None
            asking = Asking(id, incoming, said, by_extension)
        except RpcRefusal as refused:
            await client.answer(_error(refused, refused.rpc_code, id))
            return
        stream = _Stream(request.routes, asking) if streams and said.talks else None
        answer = await _ask(request.routes, asking, stream)
        if stream is not None and stream.begun:
            self._forget(incoming.task_id)
            await stream.end()
        elif answer.status == 200:
            self._forget(incoming.task_id)
            await client.answer(_whole(asking, answer, streams=streams))
        else:
            await client.answer(self._refused(asking, answer, request))

    def _waiting(self, task_id: str | None) -> Said:
        """What waits for this task's payment. Refused when nothing does."""
        said, place = self._unpaid.get(task_id or "", (None, None))
        if said is None or place is None or monotonic() - place.since > authorizations.LASTS_SECONDS:
            message = "no message waits for this payment here: send yours again, with it in its metadata and no taskId"
            raise RpcRefusal(messages.NO_TASK, message, "taskId")
        return said

    def _remember(self, said: Said, address: str) -> str:
        """The id of a task that waits for its payment."""
        id = messages.new_id()
        self._unpaid[id] = said, self._places.take(address, id)
        self._places.close_excess(address)
        return id

    def _forget(self, task_id: str | None) -> None:
        found = self._unpaid.pop(task_id or "", None)
        if found is not None:
            found[1].leave()

    def _refused(self, asking: Asking, answer: StoredResponse, request: AgentRequest) -> StoredResponse:
        """A route's refusal: a price as x402's extension wants it, if that is active, a failed payment, or an error."""
        error, required = requests.error_in(answer), decoded(answer.headers, x402.REQUIRED)
        said, words = asking.said, error["message"]
        if asking.by_extension and required is not None:
            short = len(request.body) <= bounds.UNPAID_TASK_BYTES
            id = self._remember(said, request.routes.client.sender.address) if short else messages.new_id()
            facts = {messages.STATUS: "payment-required", messages.REQUIRED: required}
            return asking.result(
                {"task": messages.task(id, said, messages.status(messages.UNPAID, said, words, facts))}, []
            )
        if asking.is_paid_for and error["code"] in ("payment_invalid", "invalid_payment"):
            receipt = {"success": False, "errorReason": words, "network": "", "transaction": ""}
            facts = {messages.STATUS: "payment-failed", messages.PAYMENT_ERROR: error["code"]}
            failed = messages.status(messages.FAILED, said, words, facts | {messages.RECEIPTS: [receipt]})
            return asking.result({"task": messages.task(asking.task_id, said, failed)}, [])
        refused = Refusal(answer.status, error["code"], words, param=error.get("param"))
        refused.headers = [row for row in answer.headers if row[0] not in (b"content-type", b"content-length")]
        code = messages.INTERNAL if answer.status >= 500 else messages.INVALID_PARAMS
        return _error(
            refused, code, asking.id, {"@type": "urn:x402:payment-required", **required} if required else None
        )


async def _ask(routes: Routes, asking: Asking, stream: "_Stream | None") -> StoredResponse:
    """Make the call. With a key, the message's id names it."""
    said, outside = asking.said, routes.client.headers
    headers = payment_header(asking.incoming.payment)
    if not headers and x402.HEADER in outside:
        headers = [(x402.HEADER, outside[x402.HEADER])]
    if b"idempotency-key" in outside:
        headers.append((b"idempotency-key", outside[b"idempotency-key"]))
    elif b"authorization" in outside:
        headers.append((b"idempotency-key", asking.incoming.id.encode()))
    if stream is None:
        return await routes.post(invoke.PATH, {"model": said.model, "input": said.values}, headers)
    return await routes.post(CHAT, {**said.values, "model": said.model, "stream": True}, headers, stream.take)


def _whole(asking: Asking, answer: StoredResponse, *, streams: bool) -> StoredResponse:
    """A whole answer. One that is to be a stream has this one event."""
    body, paid = orjson.loads(answer.body), decoded(answer.headers, x402.RESPONSE)
    parts, facts = messages.parts_of(body.pop("output")), {FACTS: body}
    if asking.is_paid_for:
        done = messages.status(messages.PAID, asking.said, "paid and answered", facts | _paid(paid))
        result = {"task": messages.task(asking.task_id, asking.said, done, parts)}
    else:
        result = {"message": messages.message(asking.said, parts, facts)}
    headers = _payment(answer.headers)
    if not streams:
        return asking.result(result, headers)
    return StoredResponse(200, [*EVENTS, *asking.headers, *headers], b"data: " + asking.written(result) + b"\n\n")


def _paid(receipt: Any) -> dict[str, Any]:
    """What the x402 extension says of a payment that was taken."""
    return {messages.STATUS: "payment-completed", messages.RECEIPTS: [receipt]}


def _payment(headers: Headers) -> Headers:
    return [row for row in headers if row[0] == x402.RESPONSE]


def _error(refused: Refusal, code: int, id: str | int | None, more: Mapping[str, Any] | None = None) -> StoredResponse:
    """A refusal as A2A has errors. Its facts are texts, which clients show."""
    facts = {"code": refused.code, **({"param": refused.param} if refused.param else {})}
    data = [{"@type": ERROR_INFO, "reason": refused.code.upper(), "domain": "tollway", "metadata": facts}]
    stored = rpc_error(refused, code, id, [*data, *([more] if more else [])])
    return stored if stored.status in KEPT else StoredResponse(200, stored.headers, stored.body)


class _Stream:
    """A call's stream as the events of a task: at work, the answer piece by piece, and how it ended."""

    def __init__(self, routes: Routes, asking: Asking) -> None:
        self._client, self._asking = routes.client, asking
        self._id = asking.incoming.task_id or messages.new_id()
        self._rest, self._facts, self._receipt = b"", dict[str, Any](), None
        self._error = "the stream ended in the middle"
        self._whole = False
        self._pieces = 0
        self.begun = False

    async def take(self, headers: Headers, piece: bytes) -> None:
        """Pass on what came of the call's stream."""
        events = list[bytes]()
        if not self.begun:
            self.begun, self._receipt = True, decoded(headers, x402.RESPONSE)
            await self._client.begin(200, [*EVENTS, *self._asking.headers, *_payment(headers)])
            working = messages.status(messages.WORKING, self._asking.said, "at work", {})
            events.append(self._event({"task": messages.task(self._id, self._asking.said, working)}))
        *whole, self._rest = (self._rest + piece).split(b"\n\n")
        events += [event for event in map(self._read, whole) if event]
        if events:
            await self._client.write(b"".join(events))

    async def end(self) -> None:
        """Say how it ended: what it cost, and whether it is whole."""
        said, facts = self._asking.said, {FACTS: self._facts} if self._facts else {}
        if self._receipt is not None and self._asking.is_paid_for:
            facts |= _paid(self._receipt)
        state, words = (messages.PAID, "answered") if self._whole else (messages.FAILED, self._error)
        row = {**self._names, "status": messages.status(state, said, words, facts)}
        await self._client.write(self._event({"statusUpdate": row}), more=False)

    @property
    def _names(self) -> dict[str, str]:
        return {"taskId": self._id, "contextId": self._asking.said.context_id or self._id}

    def _event(self, result: Mapping[str, Any]) -> bytes:
        return b"data: " + self._asking.written(result) + b"\n\n"

    def _read(self, event: bytes) -> bytes:
        """What an event of the call's stream is here: a piece of the answer, or nothing yet."""
        if event.startswith(RECEIPT):
            self._facts = orjson.loads(event.removeprefix(RECEIPT))
            return b""
        data = b"\n".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
        if data == b"[DONE]":
            self._whole = True
        if not data.startswith(b"{"):
            return b""
        row = orjson.loads(data)
        if "error" in row:
            self._error = row["error"]["message"]
        choices = row.get("choices") or [{}]
        text = (choices[0].get("delta") or {}).get("content")
        if not isinstance(text, str) or not text:
            return b""
        artifact = {"artifactId": "answer", "parts": [{"text": text}]}
        self._pieces += 1
        return self._event({"artifactUpdate": {**self._names, "artifact": artifact, "append": self._pieces > 1}})
