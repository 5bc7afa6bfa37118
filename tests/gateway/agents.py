"""Agents with stock clients: MCP's own, x402's over it, and A2A's own."""

from __future__ import annotations

import ast
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult
from x402 import x402Client
from x402.mcp import x402MCPClient

from tests.book import Block
from tests.gateway.world import Running


class Agent:
    """A stock MCP client, connected to a gateway's /mcp."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def use(self, tool: str, **arguments: Any) -> Any:
        """The content of a tool's answer, which is the same as its text."""
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result.structured_content
        return content_of(result)

    async def fail(self, tool: str, **arguments: Any) -> Any:
        """The error of a tool's answer."""
        result = await self.client.call_tool(tool, arguments)
        assert result.is_error, result.structured_content
        return content_of(result)["error"]


async def does(block: Block, **known: Any) -> dict[str, Any]:
    """Run the Python of a document, which may wait, with the names that its reader knows; all names afterwards."""
    await eval(compile(block.text, block.page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), known)
    return known


def content_of(result: CallToolResult) -> Any:
    """What a tool answered."""
    [text] = result.content
    assert text.type == "text"
    assert json.loads(text.text) == result.structured_content
    return result.structured_content


@asynccontextmanager
async def an_agent(
    gateway: Running | str, key: str | None = None, mode: Any = "auto", **headers: str
) -> AsyncIterator[Agent]:
    """An agent with an API key, or without."""
    url = gateway if isinstance(gateway, str) else gateway.url
    said = ({"Authorization": f"Bearer {key}"} if key else {}) | headers
    async with httpx2.AsyncClient(headers=said, timeout=60) as http:
        transport = streamable_http_client(f"{url}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            yield Agent(client)


class Session:
    """MCP's client of now, as `x402.mcp` calls it and reads its answers: that knows the SDK before version 2."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def call_tool(
        self, params: dict[str, Any], read_timeout_seconds: timedelta = timedelta(minutes=1)
    ) -> SimpleNamespace:
        """Call a tool, with its payment in `_meta`."""
        seconds = read_timeout_seconds.total_seconds()
        result = await self._client.call_tool(params["name"], params["arguments"], seconds, meta=params.get("_meta"))
        said = {"content": [one.model_dump() for one in result.content], "isError": result.is_error}
        return SimpleNamespace(**said, _meta=dict(result.meta or {}), structuredContent=result.structured_content)


def paying(agent: Agent, wallet: x402Client) -> x402MCPClient:
    """x402's client for MCP, which pays with a wallet."""
    return x402MCPClient(Session(agent.client), wallet)
