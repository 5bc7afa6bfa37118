"""The application: paid and forwarded calls by plain ASGI handlers, everything else by FastAPI."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from gateway import bounds
from gateway.agents import listings, protocols
from gateway.agents import requests as agent_requests
from gateway.agents.protocols import Protocols
from gateway.api import (
    accounts,
    health,
    inference_v2,
    keys,
    models,
    network,
    paid_routes,
    proofs,
    statements,
    tunnel,
    webhooks,
)
from gateway.api.schemas import openapi
from gateway.asgi import API, PREFLIGHT, Client, Message, Receive, Send, Sender
from gateway.call.idempotency import StoredResponse
from gateway.catalog.payees import Payees
from gateway.console import book
from gateway.console import routes as console
from gateway.console.live import Live
from gateway.console.overview import Overview
from gateway.context import Gateway
from gateway.dialects import token_count
from gateway.dialects.translation import DIALECTS, TranslatedClient
from gateway.errors import Refusal, body_of, internal, refusal
from gateway.lifespan import Running
from gateway.payment import ways, x402
from gateway.settings import Settings
from ledger.core.values.errors import TollwayError
from ledger.settings import Settings as LedgerSettings

log = logging.getLogger("tollway.gateway")
CREDENTIALS = frozenset((b"authorization", b"tollway-voucher", b"tollway-account", x402.HEADER))
WRITES = frozenset(
    ("/v1/documents", "/v1/offers", "/v1/realms", "/v1/deposits", "/v1/credits", "/v1/keys", "/v1/webhooks")
)
"""Where everybody can leave a row."""
WEBHOOKS = "/v1/webhooks/"
"""And so does who tries a webhook: a message."""
AS_PAGES = ("/v1/payees/", "/v1/proofs/", "/overview/events")
"""What costs as much as a page: a payee's calls are replayed, a proof's path is read, an overview is written."""
ABOUT = "Calls of AI models, metered, priced by bids and paid; receipts, batches and proofs of what was paid to whom."
LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}

UNPAID = frozenset((400, 402, 499, 503))
"""How a payment ends that paid for nothing: also when its client left, or it lost its place. It may have left a row."""


class App:
    """The ASGI application. Its lifespan starts and stops the gateway."""

    def __init__(self, settings: Settings, ledger: LedgerSettings) -> None:
        self.running = Running(settings, ledger)
        self.api_routes = api_routes(self.running)
        self.protocols: Protocols = self.api_routes.state.protocols

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        gateway = self.running.gateway
        if gateway is None or scope["type"] != "http":
            await self.api_routes(scope, receive, send)
            return
        path = scope["path"]
        if path in paid_routes.ALIASES:
            path = scope["path"] = paid_routes.ALIASES[path]
        client = (TranslatedClient if path in DIALECTS else Client)(scope, receive, send)
        if client.sender.place is not None:
            await self._serve(gateway, scope, client)
            return
        try:
            with gateway.connections.requests.place(client.forwarded_for(gateway.connections.addresses)) as place:
                client.sender = Sender(place.address, place)
                await self._serve(gateway, scope, client)
        except Refusal as evicted:
            if not client.answered:
                await client.refuse(evicted)

    async def _serve(self, gateway: Gateway, scope: Message, client: Client) -> None:
        """Serve a request. What breaks is the gateway's fault; the connection serves on, unless half an answer is sent:
        that must look cut.
        """
        try:
            await self._serve_within_rates(gateway, scope, client)
        except Exception as error:
            if client.answered and not client.ended:
                raise
            log.exception("request_broke", exc_info=error, extra={"request": client.request_id})
            if not client.answered:
                await client.refuse(internal())

    async def _serve_within_rates(self, gateway: Gateway, scope: Message, client: Client) -> None:
        """Serve a request, unless its address has sent too much of what costs the gateway work."""
        address, shows = client.sender.address, not CREDENTIALS.isdisjoint(client.headers)
        try:
            _check_rates(gateway, scope, client, shows)
        except Refusal as refused:
            await client.refuse(refused)
            return
        if scope["method"] == "OPTIONS" and _asks_before(client):
            await client.answer(StoredResponse(204, PREFLIGHT, b""))
        elif paid_routes.is_paid_route(scope):
            await paid_routes.serve(gateway, scope, client)
        elif token_count.is_asked(scope):
            assert isinstance(client, TranslatedClient)
            await token_count.serve(gateway, client)
        elif tunnel.is_forwarded(scope):
            await tunnel.serve(gateway, scope, client)
        elif agent_requests.is_of_agents(scope["path"]):
            await self.protocols.serve(self._serve_within_rates, gateway, scope, client)
            return  # what it asked for was noted there
        else:
            await self._serve_other(scope, client)
        if shows and (client.status == 401 or _paid_nothing(client)):
            gateway.failures.note(address)

    async def _serve_other(self, scope: Message, client: Client) -> None:
        """Serve by FastAPI, which would read a body of any length."""
        receive = client.receive
        if client.is_unread:
            try:
                body = await client.read_body(bounds.OTHER_BODY_BYTES, bounds.OTHER_BODY_SECONDS)
                if client.headers.get(b"content-type") != b"application/wasm":
                    bounds.check_shape(body)
            except Refusal as refused:
                await client.refuse(refused)
                return
            receive = client.again(body)
        await self.api_routes(scope, receive, client.send)


def _check_rates(gateway: Gateway, scope: Message, client: Client, shows: bool) -> None:
    """Refuse what is one too many of its address: with wrong credentials, of what leaves a row, or of pages."""
    address, path = client.sender.address, scope["path"]
    if shows and gateway.failures.left(address) < 1 and not gateway.authenticator.knows(client.headers):
        gateway.failures.check(address, "wrong credentials")
    if scope["method"] == "POST" and (path in WRITES or path.startswith(WEBHOOKS)):
        gateway.writes.check(address, "publications and requests")
        gateway.writes.note(address)
    elif console.is_page(path) or path.startswith(AS_PAGES):
        gateway.pages.check(address, "pages")
        gateway.pages.note(address)


def _paid_nothing(client: Client) -> bool:
    """Whether its payment, or its voucher, paid for nothing: anybody can sign a voucher that nothing is behind."""
    if client.is_backed:
        return False
    if client.status == 402 and b"tollway-voucher" in client.headers:
        return True
    return client.status in UNPAID and ways.has_payment(client.headers)


def _asks_before(client: Client) -> bool:
    """Whether a browser asks if a program of another site may send a request."""
    return b"access-control-request-method" in client.headers and client.path.startswith(API)


def create_app(settings: Settings | None = None, ledger: LedgerSettings | None = None) -> App:
    """The application, with the settings of the environment unless others are given."""
    return App(settings or Settings(), ledger or LedgerSettings.model_validate({}))


def api_routes(running: Running) -> FastAPI:
    """Every route that is not a paid call."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        app.state.book = book.read(running.settings.help)
        app.state.gateway = gateway = await running.start()
        gateway.connections.when_stopping = app.state.live.stop
        try:
            async with app.state.protocols.running():
                yield {"connections": gateway.connections}
        finally:
            app.state.live.stop()
            await running.stop()

    app = FastAPIOffline(  # FastAPI, but that /docs takes its scripts from here
        title="Tollway gateway",
        version="1",
        description=ABOUT,
        license_info=LICENSE,
        servers=[{"url": "/", "description": "this gateway"}],
        lifespan=lifespan,
        docs_url="/docs",
        redoc_url=None,
        responses=openapi.ERRORS,
        generate_unique_id_function=lambda route: route.name,  # what makers of clients name a function by
    )
    app.state.protocols, app.state.overview = Protocols(), Overview()
    app.state.payees, app.state.live = Payees(), Live()
    modules = (
        accounts, keys, webhooks, paid_routes, models, network, inference_v2, proofs, statements, health, tunnel,
        listings, protocols,
    )  # fmt: skip
    for module in modules:
        app.include_router(module.router)
    app.include_router(console.router)
    shown = [route for module in modules for route in module.router.routes]
    openapi.describe(app, shown, paid_routes.WAYS | protocols.WAYS)
    app.add_exception_handler(TollwayError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _broken)  # and then it goes on to `App`
    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, TollwayError)
    gateway: Gateway | None = getattr(request.app.state, "gateway", None)
    return _response(request, await gateway.explain(error) if gateway is not None else refusal(error))


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    refused = Refusal(422, "invalid_request", f"{where or 'the request'}: {first['msg']}", param=where or None)
    return _response(request, refused)


def _broken(request: Request, error: Exception) -> Response:
    return _response(request, internal())


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "no_such_route", 405: "method_not_allowed"}.get(error.status_code, "refused")
    refused = Refusal(error.status_code, code, f"{request.method} {request.url.path}: {error.detail}")
    refused.headers += [(k.lower().encode(), v.encode()) for k, v in (error.headers or {}).items()]
    return _response(request, refused)


def _response(request: Request, refused: Refusal) -> Response:
    headers = {name.decode(): value.decode() for name, value in refused.headers}
    return Response(body_of(refused, request.url.path), refused.status, headers, "application/json")
