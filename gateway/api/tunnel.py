"""Tunnels of nodes behind NAT: WS /v1/tunnel, where they connect, and the internal POST /v1/tunnel/{party}/...

By the latter another gateway of the lane sends a call for a node whose tunnel is here. It is a plain ASGI handler: an
answer that the node cut must look cut to the other gateway too.
"""

import asyncio
import hashlib
import logging
import os

from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway import bounds
from gateway.asgi import Client, Message, Sender
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import ClientLeft, NodeFailed, Refusal, internal, refusal
from gateway.upstream.http import Reply
from gateway.upstream.target import TUNNEL, Target
from gateway.upstream.tunnel import (
    AUTHENTICATION,
    FAILED,
    PING_SECONDS,
    PREFIX,
    REFUSED,
    SILENT,
    TOO_MANY,
    TunnelNode,
)
from ledger.core.values.errors import Rejected, TollwayError
from ledger.core.values.tunnel_frames import Kind, decode, encode

log = logging.getLogger("tollway.calls")
router = APIRouter()

HELLO_SECONDS = 10
_HOP_BY_HOP = frozenset(
    (b"connection", b"content-length", b"host", b"keep-alive", b"transfer-encoding", AUTHENTICATION, FAILED)
)
"""Headers that end at this gateway, in both directions."""


@router.websocket("/v1/tunnel")
async def tunnel(socket: WebSocket) -> None:
    """Serve one node's tunnel, from the challenge to the close."""
    gateway: Gateway = socket.app.state.gateway
    sender: Sender = socket.scope["state"]["sender"]
    headers = {name.lower(): value for name, value in socket.headers.raw}
    address = gateway.connections.addresses.of_request(sender.address, headers)
    await socket.accept()
    if not gateway.tunnels.has_room(address):
        await socket.close(TOO_MANY, "too many tunnels of one address")
        return
    try:
        with gateway.tunnels.place(address):
            await _serve_tunnel(gateway, sender, socket)
    except Refusal as evicted:
        await socket.close(TOO_MANY, evicted.message)


async def _serve_tunnel(gateway: Gateway, sender: Sender, socket: WebSocket) -> None:
    try:
        node = await _challenge(gateway, socket)
    except (Rejected, TimeoutError, KeyError) as refused:
        await socket.close(REFUSED, str(refused)[:100] or "no hello in time")
        return
    except WebSocketDisconnect:
        return
    sender.admit()
    work = [asyncio.create_task(node.write()), asyncio.create_task(_ping(gateway, node))]
    try:
        await gateway.upstream.forwarder.announce(node)  # before the node gets its welcome
        await gateway.upstream.tunnels.join(node)
        while True:
            gateway.upstream.tunnels.take(node, await socket.receive_bytes())
    except (WebSocketDisconnect, Rejected, KeyError, RuntimeError):
        pass
    finally:
        for task in work:
            task.cancel()
        gateway.upstream.tunnels.leave(node)
        if not gateway.draining:
            await gateway.upstream.forwarder.announce()


async def _ping(gateway: Gateway, node: TunnelNode) -> None:
    """Ping a node, until it does not answer for too long: then it is not there any more."""
    while node.ping(asyncio.get_running_loop().time()):
        await asyncio.sleep(PING_SECONDS)
    gateway.upstream.tunnels.leave(node)
    await node.close(SILENT, "this node answers no ping")


async def _challenge(gateway: Gateway, socket: WebSocket) -> TunnelNode:
    """Send a challenge. Rejected unless the node answers it with a party's signature."""
    nonce, loop = os.urandom(32), asyncio.get_running_loop()
    began = loop.time()
    await socket.send_bytes(encode(Kind.challenge, 0, nonce))
    async with asyncio.timeout(HELLO_SECONDS):
        message = await socket.receive_bytes()
    took = loop.time() - began
    party, name = gateway.upstream.tunnels.challenge(decode(message), nonce)
    return TunnelNode(party, name, socket.send_bytes, socket.close, took)


def is_forwarded(scope: Message) -> bool:
    if scope["type"] != "http" or scope["method"] != "POST":
        return False
    path: str = scope["path"]
    return path.startswith(PREFIX)


async def serve(gateway: Gateway, scope: Message, client: Client) -> None:
    """Send a forwarded request through the tunnel, and its answer back."""
    gateway.open_calls += 1
    try:
        reply = await _forward(gateway, scope, client)
    except ClientLeft:
        pass
    except Exception as error:
        if not isinstance(error, TollwayError):
            log.exception("forwarding_broke")
        refused = refusal(error) if isinstance(error, TollwayError) else internal()
        kind = error.kind if isinstance(error, NodeFailed) else "unreachable"
        refused.headers.append((FAILED, kind.encode()))
        await client.refuse(refused)
    else:
        await _pass_back(reply, client)
    finally:
        gateway.open_calls -= 1


async def _forward(gateway: Gateway, scope: Message, client: Client) -> Reply:
    headers, path = client.headers, scope["raw_path"].decode("ascii")
    if gateway.draining or gateway.open_calls > gateway.settings.max_open_calls:
        raise NodeFailed("the gateway that holds the node's tunnel is full or shuts down", "busy")
    digest = gateway.upstream.forwarder.admits(headers, path, now_ms())
    if digest is None:
        raise Refusal(401, "not_a_gateway", "only a gateway of this lane may send this")
    client.sender.admit()
    body = await client.read_body(bounds.PAID_BODY_BYTES, bounds.PAID_BODY_SECONDS)
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise Refusal(401, "not_a_gateway", "this is not the body that the gateway sent")
    party, slash, rest = path[len(PREFIX) :].partition("/")
    sent = {
        name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items() if name not in _HOP_BY_HOP
    }
    with client.presence:
        return await gateway.upstream.tunnels.request(Target(TUNNEL, party, 0), slash + rest, body, sent)


async def _pass_back(reply: Reply, client: Client) -> None:
    """Send the answer as it comes. If the other gateway closes the connection, cancel the call at the node."""
    headers = [(name, value) for name, value in reply.headers.items() if name not in _HOP_BY_HOP]
    client.presence.stop = reply.cancel
    await client.begin(reply.status, headers)
    reply.begun = True  # the other gateway looks at its first token
    try:
        async for piece in reply.chunks():
            await client.write(piece)
        await client.write(b"", more=False)
    except NodeFailed:
        pass  # without a last write the answer looks cut here too
    finally:
        client.presence.stop = None
        reply.cancel()
