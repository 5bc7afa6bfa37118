"""WS /v1/tunnel: where nodes behind NAT knock."""

from __future__ import annotations

import asyncio
import os

from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.context import Gateway
from gateway.upstream.tunnel import REFUSED, TunnelNode
from ledger.core.values.errors import Rejected
from ledger.core.values.tunnel_frames import Kind, decode, encode

router = APIRouter()

HELLO_SECONDS = 10


@router.websocket("/v1/tunnel")
async def tunnel(socket: WebSocket) -> None:
    """The protocol from challenge to close."""
    gateway: Gateway = socket.app.state.gateway
    await socket.accept()
    try:
        node = await _hello(gateway, socket)
    except (Rejected, TimeoutError, KeyError) as refused:
        await socket.close(REFUSED, str(refused)[:100] or "no hello in time")
        return
    except WebSocketDisconnect:
        return
    writer = asyncio.create_task(node.write())
    try:
        await gateway.forwarder.tell(node.party)  # before the node hears that it is reached
        await gateway.tunnels.join(node)
        while True:
            gateway.tunnels.take(node, await socket.receive_bytes())
    except (WebSocketDisconnect, Rejected, KeyError, RuntimeError):
        pass
    finally:
        writer.cancel()
        gateway.tunnels.leave(node)
        if not gateway.draining:
            await gateway.forwarder.tell()


async def _hello(gateway: Gateway, socket: WebSocket) -> TunnelNode:
    """Challenge whoever knocks. Rejected unless it proves a party."""
    nonce = os.urandom(32)
    await socket.send_bytes(encode(Kind.challenge, 0, nonce))
    async with asyncio.timeout(HELLO_SECONDS):
        message = await socket.receive_bytes()
    party, name = gateway.tunnels.challenge(decode(message), nonce)

    async def close(code: int, reason: str) -> None:
        await socket.close(code, reason)

    return TunnelNode(party, name, socket.send_bytes, close)
