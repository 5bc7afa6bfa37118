"""The protocols that agents speak to the gateway: MCP at /mcp, A2A at /a2a. Both are served by plain ASGI, before
FastAPI: the router here only shows them in the OpenAPI document.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import APIRouter

from gateway.agents import requests
from gateway.agents.a2a import A2AServer
from gateway.agents.mcp_server import McpServer
from gateway.agents.requests import Serve
from gateway.api.paid_routes import starting
from gateway.api.schemas import agents as schemas
from gateway.api.schemas.answers import Failed
from gateway.api.schemas.openapi import ANYBODY, ERRORS, PAYING, Way
from gateway.asgi import Client, Message
from gateway.context import Gateway
from ledger.core.values.errors import TollwayError

router = APIRouter(tags=["agents"])
A2A_OF_A_MODEL: Final = requests.A2A + "/{name}"
WAYS: dict[str, tuple[Way, ...]] = {
    requests.MCP: (ANYBODY, {"key": []}, {"voucher": []}),
    **dict.fromkeys((requests.A2A, A2A_OF_A_MODEL), (ANYBODY, *PAYING)),
}
"""How a request may show who asks; in MCP, a payment stands in the body."""
RPC_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {**said, "model": schemas.RpcFailed | Failed} for status, said in ERRORS.items()
}
"""As JSON-RPC says them, but for those of requests that came no further than the gateway's bounds."""

A2A_ANSWERS: dict[int | str, dict[str, Any]] = {
    **RPC_ERRORS,
    200: {
        "description": "The answer, or a refusal that is the protocol's own; of `SendStreamingMessage` events.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
}


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


@router.post(
    requests.MCP,
    name="mcp",
    response_model=schemas.McpAnswer | schemas.RpcFailed,
    responses={**RPC_ERRORS, 202: {"description": "A notification, which has no answer."}},
)
async def show_mcp(message: schemas.ToolCall | schemas.McpMessage) -> None:
    """An MCP server without sessions: tools find models and workflows, ask for a price, call, and see the balance.

    `Accept` is to have `application/json` and `text/event-stream`, by MCP's rule. The answer is JSON.
    """
    await starting()


@router.post(requests.A2A, name="a2a", response_model=schemas.A2AAnswer | schemas.RpcFailed, responses=A2A_ANSWERS)
async def show_a2a(message: schemas.SentMessage) -> None:
    """A message of A2A 1.0 to the model or workflow that its metadata names: a call of it, and its answer."""
    await starting()


@router.post(
    A2A_OF_A_MODEL, name="a2a_model", response_model=schemas.A2AAnswer | schemas.RpcFailed, responses=A2A_ANSWERS
)
async def show_a2a_model(name: str, message: schemas.SentMessage) -> None:
    """A message of A2A 1.0 to the model or workflow of this name."""
    await starting()
