"""The stock clients of PyPI, `x402` and `openai`, and what each got to hear.

Every outcome has an address of its own (127.x.y.z): a gateway bounds what one address may do.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import httpx
import httpx2
import openai
from x402 import x402Client
from x402.client_base import SpendControlAsset
from x402.extensions.payment_identifier import append_payment_identifier_to_extensions
from x402.http.clients.httpx import PaymentError, x402AsyncTransport
from x402.mechanisms.evm.exact import ExactEvmScheme
from x402.schemas.hooks import PaymentCreationContext

from ledger.core.values.ids import Address, Digest, digest
from tests.chaos.network import MODEL

PATH = "/v1/chat/completions"
SECONDS = 40.0
TLS = ssl.create_default_context()
"""Made once: each takes 10 ms, and no call here uses it."""
DONE = "data: [DONE]"


class Heard(IntEnum):
    """What came of an answer."""

    nothing = 0
    part = 1
    whole = 2


@dataclass
class Reply:
    """What one request came to. `status` is 0 when the connection broke, `code` an error's."""

    heard: Heard = Heard.nothing
    status: int = 0
    code: str = ""
    charge: int | None = None

    def hear(self, heard: Heard) -> None:
        self.heard = max(self.heard, heard)


@dataclass(frozen=True)
class Request:
    """What an outcome asks for, again and again in the same words."""

    text: str
    stream: bool = False
    name: str | None = None
    """Its Idempotency-Key."""
    source: str = "127.0.0.1"

    @property
    def body(self) -> dict[str, Any]:
        more = {"stream": True} if self.stream else {}
        return {"model": MODEL, "messages": [{"role": "user", "content": self.text}], "max_tokens": 20, **more}

    def headers(self, fate: str | None) -> dict[str, str]:
        """Its name, and what a wire is to do with it."""
        named = {"Idempotency-Key": self.name} if self.name is not None else {}
        return named | ({"x-wire": fate} if fate is not None else {})


class Held(Exception):
    """A payment was signed, and is not sent yet."""


class _Transport(httpx.AsyncHTTPTransport):
    """The wire below x402's own transport. It keeps the payment of the request that it sends."""

    def __init__(self, payer: Payer) -> None:
        super().__init__(verify=TLS, local_address=payer.source)
        self._payer = payer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        payment = request.headers.get("payment-signature")
        if payment is not None:
            self._payer.payments.append(payment)
            await self._payer.before_payment()
        return await super().handle_async_request(request)


async def _nothing() -> None:
    return


@dataclass
class Payer:
    """A stock x402 client with a wallet of its own, and the payments it signed: headers, the newest last."""

    account: Any
    """Of eth_account, which signs for x402."""
    asset: SpendControlAsset
    source: str
    identifier: str | None = None
    payments: list[str] = field(default_factory=list)
    before_payment: Callable[[], Awaitable[None]] = _nothing

    @property
    def address(self) -> Address:
        return Address(bytes.fromhex(self.account.address[2:]))

    def http(self, url: str, seconds: float = SECONDS) -> httpx.AsyncClient:
        """A client that pays."""
        client = x402Client()
        client.set_spend_controls({"allowed_assets": [self.asset]})
        client.register(self.asset["network"], ExactEvmScheme(self.account))
        if self.identifier is not None:
            client.on_before_payment_creation(self._identify)
        return httpx.AsyncClient(
            transport=x402AsyncTransport(client, _Transport(self)), base_url=url, timeout=httpx.Timeout(seconds)
        )

    def _identify(self, context: PaymentCreationContext) -> None:
        extensions = getattr(context.payment_required, "extensions", None)
        assert isinstance(extensions, dict)
        append_payment_identifier_to_extensions(extensions, self.identifier)

    async def pay(self, reply: Reply, url: str, request: Request, fate: str | None, seconds: float = SECONDS) -> None:
        """Ask, pay what is asked for, and read the answer."""
        with suppress(httpx.HTTPError, PaymentError):
            async with self.http(url, seconds) as http:
                await _read(reply, http, request, request.headers(fate))

    async def send(self, reply: Reply, url: str, request: Request, payment: str) -> None:
        """The same payment again, in the same header."""
        transport = httpx.AsyncHTTPTransport(verify=TLS, local_address=self.source)
        headers = request.headers(None) | {"PAYMENT-SIGNATURE": payment}
        with suppress(httpx.HTTPError):
            async with httpx.AsyncClient(transport=transport, base_url=url, timeout=SECONDS) as http:
                await _read(reply, http, request, headers)


def nonce_of(payment: str) -> Digest:
    """The nonce of the authorization in a header."""
    return digest(json.loads(base64.b64decode(payment))["payload"]["authorization"]["nonce"])


def name_of(payment: str) -> bytes:
    """The name of the call that a payment pays for, when the request names none: its identifier, or its nonce."""
    sent = json.loads(base64.b64decode(payment))
    info = ((sent.get("extensions") or {}).get("payment-identifier") or {}).get("info") or {}
    identifier = info.get("id")
    return b"x402:" + (identifier.encode() if identifier else nonce_of(payment))


async def _read(reply: Reply, http: httpx.AsyncClient, request: Request, headers: dict[str, str]) -> None:
    """Send, and note in `reply` what comes as it comes: whoever waits for this may be gone before its end."""
    async with http.stream("POST", PATH, json=request.body, headers=headers) as answer:
        reply.status = answer.status_code
        if answer.status_code != 200:
            reply.code = _code(await answer.aread())
            return
        reply.charge = int(answer.headers["tollway-charge"]) if "tollway-charge" in answer.headers else None
        if "text/event-stream" not in answer.headers["content-type"]:
            assert json.loads(await answer.aread())["choices"]
            reply.hear(Heard.whole)
            return
        async for line in answer.aiter_lines():
            if line.startswith(DONE):
                reply.hear(Heard.whole)
            elif line.startswith('data: {"error"'):
                reply.code = _code(line[6:].encode())
            elif line.startswith("data: "):
                reply.hear(Heard.part)


def _code(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return "?"


@dataclass
class Caller:
    """A stock OpenAI client with a consumer's key. It tries again by itself, as it comes from PyPI, unless told not."""

    key: str
    source: str
    retries: int = openai.DEFAULT_MAX_RETRIES

    async def call(self, reply: Reply, url: str, request: Request, fate: str | None, seconds: float = SECONDS) -> None:
        """Ask, and read the answer."""
        transport = httpx2.AsyncHTTPTransport(verify=TLS, local_address=self.source)
        async with httpx2.AsyncClient(transport=transport) as http:
            client = openai.AsyncOpenAI(
                base_url=f"{url}/v1", api_key=self.key, http_client=http, max_retries=self.retries, timeout=seconds
            )
            try:
                await self._ask(reply, client, request, request.headers(fate))
            except openai.APIStatusError as refused:
                reply.status, reply.code = refused.status_code, str(refused.code)
            except openai.APIConnectionError:
                return
            except openai.APIError as cut:
                reply.code = str(cut.code)
            except httpx2.HTTPError:
                return

    async def _ask(self, reply: Reply, client: openai.AsyncOpenAI, request: Request, headers: dict[str, str]) -> None:
        raw = await client.chat.completions.with_raw_response.create(**request.body, extra_headers=headers)
        reply.status = 200
        if not request.stream:
            reply.charge = int(raw.headers["tollway-charge"])
            assert raw.parse().choices
            reply.hear(Heard.whole)
            return
        async for chunk in raw.parse():
            if chunk.choices:
                reply.hear(Heard.part)
        reply.hear(Heard.whole)


async def until(moment: Awaitable[object], work: Coroutine[Any, Any, None]) -> bool:
    """Do the work until a moment comes, and then leave it as a client that is gone. True when it was left."""
    task, alarm = asyncio.ensure_future(work), asyncio.ensure_future(moment)
    await asyncio.wait({task, alarm}, return_when=asyncio.FIRST_COMPLETED)
    left = not task.done()
    for one in (task, alarm):
        one.cancel()
    for ended in await asyncio.gather(task, alarm, return_exceptions=True):
        if isinstance(ended, Exception):
            raise ended
    return left
