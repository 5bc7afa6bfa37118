"""x402's own FastAPI middleware before a proxied chat completion: run in the peer's environment, by file name.

    python bench/gateway/x402_peer.py PORT UPSTREAM_PORT

Its facilitator is in the same process and accepts at once, so what is measured is the middleware, not a chain. Nothing
is durable: neither the payment nor the answer.
"""

from __future__ import annotations

import sys
from typing import Any, cast

import httpx
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response
from x402 import x402ResourceServer
from x402.http.middleware.fastapi import payment_middleware
from x402.http.types import PaymentOption, RouteConfig
from x402.mechanisms.evm.exact import ExactEvmServerScheme
from x402.schemas import SettleResponse, SupportedKind, SupportedResponse, VerifyResponse

NETWORK = "eip155:84532"
PAYEE = "0x" + "11" * 20
PAYER = "0x" + "22" * 20


class Agreeable:
    """A facilitator that accepts and settles everything."""

    def get_supported(self) -> SupportedResponse:
        """What it settles."""
        return SupportedResponse(kinds=[SupportedKind(x402_version=2, scheme="exact", network=NETWORK)])

    async def verify(self, payload: Any, requirements: Any, *more: Any) -> VerifyResponse:
        """Yes."""
        return VerifyResponse(is_valid=True, payer=PAYER)

    async def settle(self, payload: Any, requirements: Any, *more: Any) -> SettleResponse:
        """Done."""
        return SettleResponse(success=True, payer=PAYER, transaction="0x" + "33" * 32, network=NETWORK)


def app(upstream: str) -> FastAPI:
    """One paid route."""
    server = x402ResourceServer(cast(Any, Agreeable()))
    server.register(NETWORK, cast(Any, ExactEvmServerScheme)())
    option = PaymentOption(scheme="exact", pay_to=PAYEE, price="$0.001", network=NETWORK)
    routes = {"POST /v1/chat/completions": RouteConfig(accepts=[option])}
    made = FastAPI()
    guard = payment_middleware(routes, server)
    http = httpx.AsyncClient(timeout=60)

    @made.middleware("http")
    async def paid(request: Request, call_next: Any) -> Any:
        return await guard(request, call_next)

    @made.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        answer = await http.post(upstream, content=await request.body())
        return Response(answer.content, answer.status_code, media_type=answer.headers["content-type"])

    return made


if __name__ == "__main__":
    port, upstream_port = sys.argv[1:3]
    made = app(f"http://127.0.0.1:{upstream_port}/v1/chat/completions")
    uvicorn.run(made, host="127.0.0.1", port=int(port), log_level="warning", access_log=False)
