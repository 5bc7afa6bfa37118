"""Bare proxies to compare the gateway with: no keys, no price, no receipt.

`python -m bench.gateway.floors {raw,fastapi,httpx} PORT UPSTREAM_PORT`
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse


def upstream() -> str:
    """The URL of the mock node."""
    return f"http://127.0.0.1:{os.environ['BENCH_UPSTREAM']}/v1/chat/completions"


class Raw:
    """uvicorn and aiohttp, with nothing between them."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": message["type"] + ".complete"})
            return
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        body += message["body"]
        async with self._session.post(upstream(), data=body, headers={"content-type": "application/json"}) as answer:
            kind = answer.headers["content-type"].encode()
            if b"event-stream" not in kind:
                whole = await answer.read()
                headers = [(b"content-type", kind), (b"content-length", str(len(whole)).encode())]
                await send({"type": "http.response.start", "status": answer.status, "headers": headers})
                await send({"type": "http.response.body", "body": whole})
                return
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
            async for chunk in answer.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


def fastapi_aiohttp() -> FastAPI:
    """FastAPI over aiohttp, the usual way."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        yield
        await app.state.http.close()

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        body = await request.json()
        http: aiohttp.ClientSession = request.app.state.http
        if not body.get("stream"):
            async with http.post(upstream(), json=body) as answer:
                return Response(await answer.read(), answer.status, media_type="application/json")

        async def relay() -> AsyncIterator[bytes]:
            async with http.post(upstream(), json=body) as answer:
                async for chunk in answer.content.iter_any():
                    yield chunk

        return StreamingResponse(relay(), media_type="text/event-stream")

    return app


def fastapi_httpx() -> FastAPI:
    """FastAPI over httpx."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.http = httpx.AsyncClient(timeout=60)
        yield
        await app.state.http.aclose()

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        body = await request.json()
        http: httpx.AsyncClient = request.app.state.http
        if not body.get("stream"):
            answer = await http.post(upstream(), json=body)
            return Response(answer.content, answer.status_code, media_type="application/json")

        async def relay() -> AsyncIterator[bytes]:
            async with http.stream("POST", upstream(), json=body) as answer:
                async for chunk in answer.aiter_bytes():
                    yield chunk

        return StreamingResponse(relay(), media_type="text/event-stream")

    return app


def main() -> None:
    """Serve one of them until killed."""
    name, port, upstream_port = sys.argv[1:4]
    os.environ["BENCH_UPSTREAM"] = upstream_port
    made: Any = {"raw": Raw, "fastapi": fastapi_aiohttp, "httpx": fastapi_httpx}[name]()
    uvicorn.run(
        made, host="127.0.0.1", port=int(port), loop="uvloop", http="httptools", log_level="warning", access_log=False
    )


if __name__ == "__main__":
    main()
