"""The inner door: a call another gateway of the lane hands over for a node whose tunnel is here.

A plain ASGI handler, because a node's answer that was cut must look cut here too.
"""

from __future__ import annotations

import asyncio

from gateway.asgi import JSON, Client, Message, Receive, Send
from gateway.call.idempotency import StoredResponse
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import NodeFailed, Refusal, body_of, refusal
from gateway.upstream.forwarding import AUTHENTICATION, FAILED, PREFIX
from gateway.upstream.http import Reply
from gateway.upstream.target import TUNNEL, Target
from ledger.core.values.errors import TollwayError

_HOP = frozenset(
    (b"connection", b"content-length", b"host", b"keep-alive", b"transfer-encoding", AUTHENTICATION, FAILED)
)
"""Headers that are between two who speak; neither a consumer's nor a node's go further."""


def is_relayed(scope: Message) -> bool:
    """Whether this is a request for a node behind a tunnel."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return False
    path: str = scope["path"]
    return path.startswith(PREFIX)


async def serve(gateway: Gateway, scope: Message, receive: Receive, send: Send) -> None:
    """Pass the request through the tunnel and its answer back, or say why not."""
    client = Client(scope, receive, send)
    gateway.open_calls += 1
    try:
        reply = await _reply(gateway, scope, client)
    except TollwayError as error:
        refused = refusal(error)
        kind = [(FAILED, error.kind.encode())] if isinstance(error, NodeFailed) else []
        await client.answer(StoredResponse(refused.status, [*JSON, *refused.headers, *kind], body_of(refused)))
    else:
        await _pass_back(reply, client)
    finally:
        gateway.open_calls -= 1


async def _reply(gateway: Gateway, scope: Message, client: Client) -> Reply:
    headers, method, path = client.headers, scope["method"], scope["raw_path"].decode("ascii")
    if gateway.draining or gateway.open_calls > gateway.settings.max_open_calls:
        raise NodeFailed("the gateway that holds the node's tunnel is full, or leaves", "busy")
    body = await client.read_body(gateway.settings.max_body_bytes, gateway.body_timeouts)
    if not gateway.forwarder.admits(headers, method, path, body, now_ms()):
        raise Refusal(401, "not_a_gateway", "only a gateway of this lane may send this")
    party, slash, rest = path[len(PREFIX) :].partition("/")
    sent = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items() if name not in _HOP}
    target, body_timeouts = Target(TUNNEL, party, 0), gateway.settings.first_byte_seconds
    return await gateway.tunnels.request(target, slash + rest, body, sent, method, body_timeouts)


async def _pass_back(reply: Reply, client: Client) -> None:
    """The answer, piece by piece. Whoever asked may hang up, and then the node is told."""

    async def watch() -> None:
        await client.wait_until_gone()
        reply.cancel()

    headers = [(name, value) for name, value in reply.headers.items() if name not in _HOP]
    await client.begin(reply.status, headers)
    watcher = asyncio.create_task(watch())
    try:
        async for piece in reply.chunks():
            await client.write(piece)
        await client.write(b"", more=False)
    except NodeFailed:
        pass  # without a last write the answer looks cut here too
    finally:
        watcher.cancel()
        reply.cancel()
