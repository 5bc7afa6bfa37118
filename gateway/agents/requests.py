"""Requests of agents, by MCP and A2A: what stands around them, and how they use the gateway's own routes.

Neither protocol has a rule of its own about models, realms, prices or money. What an agent asks for becomes a request
to a route of this gateway, with the agent's credentials and from its address (`Routes`), so it is answered, priced,
paid and refused there as any other.
"""

import base64
import binascii
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import orjson

from gateway import bounds
from gateway.asgi import Client, Message, Sender
from gateway.bounds import Place
from gateway.call.idempotency import Headers, StoredResponse
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import Refusal, body_of
from gateway.metering.ask import written
from gateway.payment import x402

Serve = Callable[[Gateway, Message, Client], Awaitable[None]]
"""Serves a request by its route, within the rates of its address."""
Take = Callable[[Headers, bytes], Awaitable[None]]
"""Takes the pieces of an answer that is a stream, and its headers with each."""

MCP: Final = "/mcp"
A2A: Final = "/a2a"
PASSED_ON = frozenset((b"authorization", b"host", b"traceparent", b"user-agent", b"x-forwarded-for"))
"""Headers of an agent's request that count for what it asks for, and all of ours but a signature: that is of another
request.
"""
OURS, SIGNATURE = b"tollway-", b"tollway-account"
LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
INVALID, NOT_JSON = -32600, -32700


def is_of_agents(path: str) -> bool:
    return path in (MCP, A2A) or path.startswith(A2A + "/")


class AgentSender(Sender):
    """The sender of a request inside an agent's request: it is no stranger once the call inside is admitted."""

    __slots__ = ("_outer",)

    def __init__(self, outer: Sender, place: Place[Any] | None) -> None:
        super().__init__(outer.address, place)
        self._outer = outer

    def admit(self) -> None:
        super().admit()
        self._outer.admit()

    def settle(self, served: bool) -> None:
        super().settle(served)
        self._outer.settle(served)


class Routes:
    """The gateway's own routes, as the sender of one agent's request uses them."""

    def __init__(self, serve: Serve, gateway: Gateway, scope: Message, client: Client) -> None:
        self.gateway = gateway
        self.client = client
        self._serve, self._scope = serve, scope

    async def get(self, target: str) -> StoredResponse:
        path, _, query = target.partition("?")
        return await self._ask("GET", path, query.encode(), b"", [], None)

    async def post(self, path: str, body: Any, headers: Headers, take: Take | None = None) -> StoredResponse:
        """The answer to a JSON body. A stream goes to `take`, as it comes."""
        return await self._ask("POST", path, b"", written(body), headers, take)

    async def _ask(
        self, method: str, path: str, query: bytes, body: bytes, headers: Headers, take: Take | None
    ) -> StoredResponse:
        said = [row for row in self._scope["headers"] if row[0] in PASSED_ON or _is_ours(row[0])]
        said += [*headers, (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        place = {"path": unquote(path), "raw_path": path.encode(), "query_string": query}
        answer = _Answer(take)
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            return unread.pop() if unread else await self.client.receive()

        scope = {**self._scope, **place, "method": method, "headers": said}
        client = Client(scope, receive, answer.send)
        client.sender = self.client.sender
        await self._serve(self.gateway, scope, client)
        return StoredResponse(answer.status, answer.headers, b"".join(answer.parts))


class _Answer:
    """An answer as it comes from a route."""

    def __init__(self, take: Take | None) -> None:
        self.status, self.headers, self.parts = 0, Headers(), list[bytes]()
        self._take = take

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", ()))
        elif self._take is not None and is_stream(self.headers):
            await self._take(self.headers, message.get("body", b""))
        else:
            self.parts.append(message.get("body", b""))


def is_stream(headers: Headers) -> bool:
    return dict(headers).get(b"content-type", b"").startswith(b"text/event-stream")


def _is_ours(name: bytes) -> bool:
    return name.startswith(OURS) and name != SIGNATURE


def payment_header(payment: Any) -> Headers:
    """The header of a payment that an agent's message carries."""
    return [(x402.HEADER, base64.b64encode(written(payment)))] if payment is not None else []


def decoded(headers: Headers, name: bytes) -> Any:
    """What a header of x402 says; None without it."""
    said = dict(headers).get(name)
    try:
        return None if said is None else orjson.loads(base64.b64decode(said))
    except (ValueError, binascii.Error):
        return None


def error_in(answer: StoredResponse) -> dict[str, Any]:
    """The error in a refusal, ours or a node's that is passed on: its message and its code."""
    try:
        error = orjson.loads(answer.body)["error"]
        return {**error, "message": str(error["message"]), "code": str(error["code"])}
    except (ValueError, KeyError, TypeError):
        return {"message": answer.body.decode(errors="replace") or "refused", "code": "node_refused"}


@dataclass(frozen=True, slots=True)
class AgentRequest:
    """One request of an agent: its body, which is JSON, and the routes that it may use."""

    path: str
    body: bytes
    json: Any
    routes: Routes


@asynccontextmanager
async def opened(serve: Serve, gateway: Gateway, scope: Message, client: Client) -> AsyncIterator[AgentRequest]:
    """An agent's request, within the bounds of strangers until a call of it is admitted.

    A page that somebody's browser shows may not send it: with a name that leads here it would be the user's own.
    """
    headers = client.headers
    _check_origin(gateway, headers.get(b"origin"))
    if scope["method"] != "POST":
        refused = Refusal(405, "method_not_allowed", f"{scope['path']} takes POST: there are no sessions here")
        refused.headers.append((b"allow", b"POST"))
        raise refused
    with (
        gateway.agents.place(client.sender.address) if not await _is_known(gateway, client) else nullcontext() as place
    ):
        client.sender = AgentSender(client.sender, place)
        body = await client.read_body(bounds.AGENT_BODY_BYTES, bounds.AGENT_BODY_SECONDS)
        bounds.check_whole(body)
        try:
            json = orjson.loads(body)
        except ValueError as error:
            raise Refusal(400, "invalid_json", f"the body is not JSON: {error}") from error
        yield AgentRequest(scope["path"], body, json, Routes(serve, gateway, scope, client))


async def _is_known(gateway: Gateway, client: Client) -> bool:
    """Whether a request shows a good key. Refused when it shows a wrong one."""
    try:
        return await gateway.authenticator.known(client.headers, now_ms()) is not None
    except Refusal as refused:
        if refused.status == 401:
            gateway.failures.note(client.sender.address)
        raise


def _check_origin(gateway: Gateway, origin: bytes | None) -> None:
    """Refuse a page of others: only a browser sends an Origin, and it cannot be made to send another one."""
    if origin is None:
        return
    said, public = urlsplit(origin.decode("latin-1")), urlsplit(gateway.settings.public_url)
    if said.hostname in LOOPBACK or (public.netloc and (said.scheme, said.netloc) == (public.scheme, public.netloc)):
        return
    message = "pages of this Origin may not call agents' routes: send no Origin, or set GATEWAY_PUBLIC_URL to it"
    raise Refusal(403, "origin_not_allowed", message)


def rpc_error(refused: Refusal, code: int, id: str | int | None = None, data: Any = None) -> StoredResponse:
    """A refusal as an error of JSON-RPC, with its own status and headers."""
    error = {"code": code, "message": refused.message, "data": data or orjson.loads(body_of(refused))["error"]}
    body = orjson.dumps({"jsonrpc": "2.0", "id": id, "error": error})
    return StoredResponse(refused.status, [(b"content-type", b"application/json"), *refused.headers], body)


def rejected(refused: Refusal) -> StoredResponse:
    """The answer to what is no request of an agent."""
    return rpc_error(refused, NOT_JSON if refused.code == "invalid_json" else INVALID)
