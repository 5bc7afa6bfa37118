"""The protocols that agents speak to the gateway: MCP at /mcp, A2A at /a2a. Alone because both are served alike."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.agents import requests
from gateway.agents.a2a import A2AServer
from gateway.agents.mcp_server import McpServer
from gateway.agents.requests import Serve
from gateway.asgi import Client, Message
from gateway.context import Gateway
from ledger.core.values.errors import TollwayError


class Protocols:
    """Serves what agents send. `running` is entered once, around all of it."""

    def __init__(self) -> None:
        self._mcp, self._a2a = McpServer(), A2AServer()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self._mcp.running():
            yield

    async def serve(self, serve: Serve, gateway: Gateway, scope: Message, client: Client) -> None:
        """Serve an agent's request. `serve` is for the requests inside of it."""
        try:
            async with requests.opened(serve, gateway, scope, client) as request:
                if request.path == requests.MCP:
                    await self._mcp.serve(scope, request)
                else:
                    await self._a2a.serve(request)
        except TollwayError as error:
            if client.answered:
                raise
            await client.answer(requests.rejected(await gateway.explain(error)))
