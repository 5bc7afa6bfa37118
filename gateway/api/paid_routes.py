"""The paid routes, as a plain ASGI handler: one dictionary of headers, one decode of the body, and the work itself.

A request passes auth, route, call, metering, billing, receipt log, answer, in this order: `_answer` and `_make` are the
whole of it. The FastAPI router here only shows the same routes in the OpenAPI document.
"""

import hashlib
import logging
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import msgspec
from fastapi import APIRouter

from gateway import bounds
from gateway.api import invoke, models
from gateway.api.schemas import answers
from gateway.api.schemas.openapi import KEY, MESSAGE_ERRORS, PAYING, TEXT_ERRORS
from gateway.asgi import Client, Message, too_large
from gateway.call import call as calls
from gateway.call import routing
from gateway.call.call import Request, Route
from gateway.call.idempotency import StoredResponse, mismatch, receipt_headers
from gateway.call.stream import answer_stream
from gateway.catalog import exports
from gateway.catalog.catalog import CapsuleEntry, Catalog, Entry
from gateway.catalog.realms import realm_named
from gateway.clock import now_ms, steady_ms
from gateway.context import Gateway
from gateway.dialects import messages, responses
from gateway.dialects.translation import PAID, TranslatedClient
from gateway.errors import ClientLeft, Refusal, internal
from gateway.metering import inference_v2, media, openai
from gateway.metering.answers import PassedOn
from gateway.metering.ask import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    IMAGES,
    INFER,
    RERANK,
    SPEECH,
    TRANSCRIPTIONS,
    Ask,
)
from gateway.payment import advancer, authorizations, channels, permits, ways, x402
from gateway.payment.auth import Caller, idempotency_key
from gateway.payment.authorizations import Payment
from gateway.payment.billing import Note
from gateway.payment.channels import OVER_MS, ChannelPayment
from gateway.payment.permits import PermitPayment
from gateway.workflow import completion as workflows
from gateway.workflow import trials
from gateway.workflow.plan import Plan, Scope
from gateway.workflow.trials import Trial
from ledger.core.accounts.channels import Answer
from ledger.core.values import call_heads, forms, sound
from ledger.core.values.atoms import Atoms
from ledger.core.values.errors import TollwayError
from ledger.core.values.hashes import body_digest
from ledger.core.values.ids import NO_KEY, ZERO_DIGEST, Digest, call_id, to_hex
from ledger.store.access.channels import Call
from ledger.store.access.vouchers import Opened
from ledger.store.receipts.receipts import Signed

log = logging.getLogger("tollway.calls")
router = APIRouter(tags=["calls"])

OPENAI = frozenset((CHAT, COMPLETIONS, EMBEDDINGS, RERANK))
RERANK_V2 = "/v2/rerank"
"""Where Cohere's clients of version 2 ask for a reranking: the same request and answer."""
ALIASES = {RERANK_V2: RERANK}
NAMED_PATHS = OPENAI | media.PATHS | PAID | {invoke.PATH, trials.PATH}
"""Paths without a name in them."""
INFER_HEAD, INFER_TAIL = INFER.split("{model}")
ACCOUNT_HEADERS = (b"authorization", b"tollway-voucher")
"""Where a request says whose account pays."""
PARENT = call_heads.PARENT.lower().encode()
NAMED = re.compile(rb'"model"\s*:\s*"([^"\\]{1,128})"')
NAMED_IN_FORM = re.compile(rb'name="?model"?\r\n(?:[^\r\n]{1,100}\r\n)?\r\n([^\r\n]{1,128})\r\n')


Making = Callable[[Gateway, Request, Digest | None], Awaitable[tuple[StoredResponse, tuple[Signed, ...]]]]
"""Makes a call; a payment or a voucher that is a key pays for the request of this fingerprint."""
WAYS = dict.fromkeys((*NAMED_PATHS, *ALIASES, INFER.format(model="{name}")), PAYING) | {
    messages.COUNT_PATH: KEY,
    trials.PATH: KEY,
}
"""How a request may show who asks, by the path as OpenAPI writes it."""


def is_paid_route(scope: Message) -> bool:
    if scope["type"] != "http" or scope["method"] != "POST":
        return False
    path: str = scope["path"]
    return path in NAMED_PATHS or (path.startswith(INFER_HEAD) and path.endswith(INFER_TAIL))


async def serve(gateway: Gateway, scope: Message, client: Client) -> None:
    """Answer one paid call, or say why not."""
    if gateway.tracing is None:
        await _serve(gateway, scope["path"], client)
        return
    with gateway.tracing.request(_endpoint(scope["path"]), client.headers) as span:
        end, code = await _serve(gateway, scope["path"], client)
        gateway.tracing.finish_request(span, client.status, end, code)


def _endpoint(path: str) -> str:
    """The route of a paid path, without the name that somebody wrote into it."""
    return path if path in NAMED_PATHS else INFER


async def _serve(gateway: Gateway, path: str, client: Client) -> tuple[str, str]:
    """Answer a call, whatever becomes of it. Returns how it ended, and the code if it was refused."""
    code = ""
    signed: tuple[Signed, ...] = ()
    try:
        response, signed = await _answer(gateway, path, client, now_ms())
        end = signed[-1].receipt.end.name if signed else "released"
    except PassedOn as passed_on:
        response, end = passed_on.stored, "released"
    except ClientLeft:
        response, end = client.refusal(Refusal(499, "client_left", "the client has left")), "released"
    except TollwayError as error:
        refused = await gateway.explain(error)
        response, end, code = client.refusal(refused), "refused", refused.code
    except Exception:
        log.exception("call_broke", extra={"request": client.request_id})
        broken = internal()
        response, end, code = client.refusal(broken), "refused", broken.code
    finally:
        gateway.open_calls -= client.is_open_call
    if code and client.model is not None:
        gateway.metrics.refusals.labels(code).inc()
    if client.is_open_call:
        client.sender.settle(served=end != "refused")
    if not client.answered:
        await client.answer(response)
    gateway.note(_endpoint(path), client.model, end, signed, steady_ms() - client.arrived)
    return end, code


async def _answer(gateway: Gateway, path: str, client: Client, now: int) -> tuple[StoredResponse, tuple[Signed, ...]]:
    """The answer, and its receipts: none when nothing was charged now. A stream is sent already."""
    _check_open(gateway)
    headers, by_key_alone = client.headers, gateway.private or path == trials.PATH
    payment = ways.read(gateway, headers, now) if not by_key_alone else None
    if payment is None and not by_key_alone and headers.keys().isdisjoint(ACCOUNT_HEADERS):
        raise await _price(gateway, path, client)
    if payment is not None:
        with _waiting(gateway, payment):
            body = await client.read_body(bounds.PAID_BODY_BYTES, bounds.PAID_BODY_SECONDS)
        caller, key = await _payer(gateway, payment), idempotency_key(headers) or payment.key
        identity, keyed = call_id(gateway.lane, payment.asker, NO_KEY, path, key or os.urandom(32)), key is not None
    else:
        caller, identity, keyed = await gateway.authenticator.admit_call(headers, path, now)
        if caller.limited:
            client.more_headers += gateway.authenticator.rate_headers(caller)
        _open(gateway, client)
        body = await client.read_body(bounds.PAID_BODY_BYTES, bounds.PAID_BODY_SECONDS)
    account = payment.asker if payment is not None else caller.consumer
    realm = realm_named(headers, caller.key if payment is None else None)
    catalog = gateway.catalog_for(account, realm, now)  # before the name that was asked for is looked at
    if path == trials.PATH:
        ask: Ask = await _read_trial(gateway, client, catalog, body)
    else:
        ask = _read(catalog, path, headers, body, client)
    preferences = routing.preferences_of(headers, catalog.realm)
    if isinstance(payment, PermitPayment):
        preferences = preferences.below(payment.most)
    parent = _parent_of(gateway, caller, headers)
    request = Request(client, ask, caller, identity, keyed, preferences, now, payment, realm=realm, parent=parent)
    client.model = _check_key(catalog, caller, ask)  # also before an answer that was kept is given
    if not request.keyed:
        return await _making(request)(gateway, request, None)
    return await _make_once(gateway, request, Digest(hashlib.sha256(identity + body).digest()))


async def _read_trial(gateway: Gateway, client: Client, catalog: Catalog, body: bytes) -> Trial:
    gateway.trials.check(client.sender.address, "trials")
    gateway.trials.note(client.sender.address)
    return await trials.read(gateway, catalog, body)


def _check_key(catalog: Catalog, caller: Caller, ask: Ask) -> str | None:
    """Refuse what a caller's key may not call. Returns the name that the call is counted by: None in a realm."""
    if isinstance(ask, Trial):
        trials.check_key(catalog, caller, ask.entry)
        return "" if not catalog.realm else None  # its name is whatever its author wrote
    entry = catalog.find(ask.model)
    if not caller.may_call(entry.name, ask.model):
        raise Refusal(403, "model_not_allowed", f"this key may not call {entry.name}", param="model")
    return entry.name if not catalog.realm else None


def _waiting(gateway: Gateway, payment: Payment | PermitPayment | ChannelPayment) -> AbstractContextManager[object]:
    """A place of its payer for a payment whose body is read, or that waits for the chain."""
    advanced = gateway.permitted if isinstance(payment, PermitPayment) else gateway.vouching
    places = gateway.payments if isinstance(payment, Payment) else advanced
    return places.place(to_hex(payment.asker))


async def _payer(gateway: Gateway, payment: Payment | PermitPayment | ChannelPayment) -> Caller:
    """Whose deposit pays: the payer's own, or that of the operator's account which advances what a permit settles, or a
    channel.
    """
    return Caller(payment.payer) if isinstance(payment, Payment) else await advancer.account(gateway)


def _parent_of(gateway: Gateway, caller: Caller, headers: Mapping[bytes, bytes]) -> Digest:
    """The call that the caller's own node serves meanwhile; zero when it says nothing of one. Rejected unless a gateway
    of the lane asked that node so lately that the call may still be open.
    """
    said = headers.get(PARENT)
    if said is None:
        return ZERO_DIGEST
    longest = int((gateway.settings.call_seconds + calls.LATER) * 1000) + call_heads.SKEW_MS
    return call_heads.read_parent(said.decode("latin-1"), gateway.parent_keys, caller.consumer, now_ms() - longest)


async def _price(gateway: Gateway, path: str, client: Client) -> Refusal:
    """The refusal of a request without credentials, with its price. Its body is read for nothing."""
    headers = client.headers
    with gateway.unpaid_bodies.place(client.sender.address):
        body = await client.read_beginning(bounds.UNPAID_BODY_BYTES + 1, bounds.UNPAID_BODY_SECONDS)
    if b"content-encoding" in headers:
        body = client.unpacked(body, bounds.UNPAID_BODY_BYTES)
    catalog = gateway.catalog_for(None, realm_named(headers, None), now_ms())
    if len(body) <= bounds.UNPAID_BODY_BYTES:
        ask = _read(catalog, path, headers, body, client)
    else:
        ask = _longest(catalog, path, headers, body)
    return await _required(Scope(gateway, catalog, routing.preferences_of(headers, catalog.realm)), path, ask, headers)


async def _required(scope: Scope, path: str, ask: Ask, headers: Mapping[bytes, bytes]) -> Refusal:
    route = await _route(scope, scope.catalog.find(ask.model), ask)
    return ways.required(scope.gateway, headers, await _asked(scope, path, ask, route.price))


async def _asked(scope: Scope, path: str, ask: Ask, price: Atoms) -> ways.Asked:
    """What a request is asked for."""
    gateway, entry, path = scope.gateway, scope.catalog.find(ask.model), quote(path, safe="@/")
    body = exports.examples(models.published(scope, entry, ready=True)).get(path, {})
    by_channel = await advancer.advances(gateway, entry.name, ask.model)
    by_permit = by_channel and permits.are_worth(gateway, price)
    return ways.Asked(path, price, by_permit, by_channel, body, media.asked_type(ask))


async def price_of(scope: Scope, path: str, body: bytes, host: bytes) -> Refusal:
    """The 402 that a request without credentials gets."""
    return await _required(scope, path, _read(scope.catalog, path, {}, body), {b"host": host})


def _longest(catalog: Catalog, path: str, headers: Mapping[bytes, bytes], beginning: bytes) -> Ask:
    """The dearest request that begins like this, is as long as it says, and is not read to its end."""
    length = bounds.number(headers.get(b"content-length", b""))
    named = (NAMED_IN_FORM if path == TRANSCRIPTIONS else NAMED).search(beginning, 0, bounds.UNPAID_BODY_BYTES)
    is_known = path in OPENAI or path == TRANSCRIPTIONS
    if not is_known or named is None or length is None or length > bounds.PAID_BODY_BYTES:
        raise too_large(bounds.UNPAID_BODY_BYTES)
    entry = catalog.find(named[1].decode(errors="replace"))
    if isinstance(entry, CapsuleEntry):
        raise too_large(bounds.UNPAID_BODY_BYTES)
    if path == TRANSCRIPTIONS:
        return media.longest(entry.name, beginning, length)
    return Ask(path, entry.name, beginning.ljust(length, b" "), limit=entry.context_tokens)


async def _make_once(
    gateway: Gateway, request: Request, fingerprint: Digest
) -> tuple[StoredResponse, tuple[Signed, ...]]:
    """Make a keyed call, unless it has an answer here, is under way at a gateway of the lane, or was charged."""
    identity, signed = request.call_id, tuple[Signed, ...]()
    stored = gateway.answers.begin(identity, fingerprint)
    if stored is not None:
        return stored, ()
    try:
        await _lock(gateway, request, fingerprint)
        response, signed = await _making(request)(gateway, request, fingerprint)
    finally:
        if not signed:
            try:
                await gateway.call_locks.release(identity)
            finally:
                gateway.answers.abandon(identity)
    if signed:
        gateway.call_locks.forget(identity)
        gateway.answers.finish(identity, request.account, response)
    return response, signed


def _making(request: Request) -> Making:
    """How a call is made, by what pays for it."""
    if isinstance(request.payment, PermitPayment):
        return _make_permitted
    return _make_vouched if isinstance(request.payment, ChannelPayment) else _make


async def _lock(gateway: Gateway, request: Request, fingerprint: bytes) -> None:
    """Lock a call for this gateway. Refused when it was charged before. Strangers' payments wait in bounded number."""
    payment = request.payment
    with _waiting(gateway, payment) if payment is not None else nullcontext():
        charged = await gateway.call_locks.take(request.call_id, fingerprint)
    if charged is not None:
        raise _charged_before(request, charged)
    if isinstance(request.ask, Trial):
        await trials.check_new(gateway, request)


async def _make(
    gateway: Gateway, request: Request, fingerprint: Digest | None = None
) -> tuple[StoredResponse, tuple[Signed, ...]]:
    """Make the call: routed, paid for, served, charged. A payment or a voucher, which are keys, pays for the request of
    this fingerprint.
    """
    ask, caller, now = request.ask, request.caller, request.started
    catalog = request.catalog(gateway)  # again: it may have waited for its lock
    if isinstance(ask, Trial):
        scope = Scope(gateway, catalog, request.preferences, caller)
        return await trials.serve(gateway, request, await workflows.plan(scope, ask.entry, ask))
    entry = catalog.find(ask.model)
    route = await _route(Scope(gateway, catalog, request.preferences), entry, ask)
    if isinstance(request.payment, Payment):
        assert fingerprint is not None
        with _waiting(gateway, request.payment):
            relayed = await authorizations.take(
                gateway, request.payment, fingerprint, route.price, request.client.presence
            )
        headers = ways.taken(gateway, request.payment, relayed)
        request = msgspec.structs.replace(request, extra_headers=headers)
        _open(gateway, request.client)
    elif caller.key is None:
        assert fingerprint is not None
        opens = Opened(request.call_id, fingerprint)
        await gateway.authenticator.open_by_voucher(request.client.headers[b"tollway-voucher"], opens)
    referral = await gateway.referrals.find(request.call_id, caller.consumer, entry, request.client.headers, now)
    signed: tuple[Signed, ...] = ()
    try:
        if isinstance(route, Plan):
            response, signed = await workflows.serve(gateway, request, route, referral)
        else:
            call = calls.open_call(gateway, request, route, referral)
            serving = answer_stream if ask.stream else calls.answer_whole
            response, signed = await serving(gateway, call, request)
        return (invoke.shown(ask, response, signed) if ask.native and signed else response), signed
    finally:
        if referral is not None:
            referral.end(charged=bool(signed))


async def _make_permitted(
    gateway: Gateway, request: Request, fingerprint: Digest | None = None
) -> tuple[StoredResponse, tuple[Signed, ...]]:
    """Make a call that a permit pays for afterwards: its permit is stored before any work, and the worker has looked at
    its payer. Only the call's receipt says whether it is settled.
    """
    payment, signed = request.payment, tuple[Signed, ...]()
    assert isinstance(payment, PermitPayment)
    assert fingerprint is not None
    scope = Scope(gateway, request.catalog(gateway), request.preferences)
    await _route(scope, scope.catalog.find(request.ask.model), request.ask)  # nothing is stored for what none serves
    bound = (request.call_id, fingerprint)
    stored = await permits.take(gateway, payment, bound, request.caller)
    try:
        with _waiting(gateway, payment):
            await permits.wait(gateway, stored, request.client.presence)
        _open(gateway, request.client)
        head = [x402.permitted(gateway, payment, None)] if request.ask.stream else []
        response, signed = await _make(gateway, msgspec.structs.replace(request, extra_headers=head))
    except Refusal as refused:
        raise advancer.explained(refused) from refused
    finally:
        if not signed:
            await permits.release(gateway, stored)
    if not request.ask.stream:
        paid = x402.permitted(gateway, payment, signed[-1].receipt.charge)
        response = msgspec.structs.replace(response, headers=[*response.headers, paid])
    return response, signed


async def _make_vouched(
    gateway: Gateway, request: Request, _fingerprint: Digest | None = None
) -> tuple[StoredResponse, tuple[Signed, ...]]:
    """Make a call that a channel pays for: it is stored with the most that it may cost before any work, and let in as
    far as vouchers and deposit cover it. Its receipt says what is claimed.
    """
    payment, ask, signed = request.payment, request.ask, tuple[Signed, ...]()
    assert isinstance(payment, ChannelPayment)
    scope = Scope(gateway, request.catalog(gateway), request.preferences)
    route = await _route(scope, scope.catalog.find(ask.model), ask)
    over = now_ms() + gateway.settings.call_seconds * 1_000 + OVER_MS
    call = Call(request.call_id, request.caller.consumer, route.price, over)
    with _waiting(gateway, payment):
        answer, channel = await channels.enter(gateway, payment.shown, call, request.client.presence)
    request.client.is_backed = answer is Answer.voucher  # who signs again, one by one, tries no credentials
    if answer is not Answer.admitted:
        asked = await _asked(scope, ask.path, ask, route.price)
        raise ways.sign_again(gateway, request.client.headers, asked, channel)
    payment = replace(payment, most=route.price)
    head = [x402.vouched(gateway, payment, None)] if ask.stream else []
    below = request.preferences.below(route.price)
    request = msgspec.structs.replace(request, payment=payment, preferences=below, extra_headers=head)
    try:
        _open(gateway, request.client)
        response, signed = await _make(gateway, request)
    except Refusal as refused:
        raise advancer.explained(refused) from refused
    finally:
        channel = await channels.leave(gateway, payment, request.call_id)
    if signed and not ask.stream:
        paid = x402.vouched(gateway, replace(payment, most=signed[-1].receipt.charge), channel)
        response = msgspec.structs.replace(response, headers=[*response.headers, paid])
    return response, signed


def _read(
    catalog: Catalog, path: str, headers: Mapping[bytes, bytes], body: bytes, client: Client | None = None
) -> Ask:
    """The request in a body, by its route's protocol."""
    if isinstance(client, TranslatedClient):
        return openai.read(CHAT, client.dialect.read(body))
    if path == TRANSCRIPTIONS:
        return media.read(path, body, headers.get(b"content-type", b"").decode("latin-1"))
    if path.startswith(INFER_HEAD):
        bounds.check_shape(body[: bounds.number(headers.get(b"inference-header-content-length", b""))])
    else:
        bounds.check_shape(body)
    if path in OPENAI:
        return openai.read(path, body)
    if path in media.PATHS:
        return media.read(path, body, "")
    if path == invoke.PATH:
        return invoke.read(catalog, body)
    model = catalog.versioned(path[len(INFER_HEAD) : -len(INFER_TAIL)])
    return inference_v2.read(model, body, headers.get(b"inference-header-content-length"))


async def _route(scope: Scope, entry: Entry, ask: Ask) -> Route | Plan:
    """A request's possible providers, or its workflow's plan: both know the most it can cost."""
    if isinstance(entry, CapsuleEntry):
        return await workflows.plan(scope, entry, ask)
    return calls.find_route(scope.gateway, scope.catalog, entry, ask, scope.preferences)


def _check_open(gateway: Gateway) -> None:
    """Refuse before any work when the gateway cannot charge, or stops."""
    if gateway.draining:
        raise Refusal(503, "draining", "this gateway is shutting down; try again", retry_after=1)
    if not gateway.receipt_log.healthy:
        raise Refusal(503, "receipt_log_down", "receipts cannot be written now, so no call is made", retry_after=2)
    refused = gateway.refusal()
    if refused is not None:
        raise refused


def _open(gateway: Gateway, client: Client) -> None:
    """Count an admitted call. Refused when too many are open."""
    if gateway.open_calls >= gateway.settings.max_open_calls:
        raise Refusal(503, "overloaded", f"{gateway.settings.max_open_calls} calls are open", retry_after=1)
    gateway.open_calls += 1
    client.is_open_call = True
    client.sender.admit()


def _charged_before(request: Request, found: Signed) -> Refusal:
    """The refusal of a call that has a receipt, which it shows; or of another request with its key."""
    salt = bytes.fromhex(Note.of(found).salt)
    if body_digest(salt, request.ask.body) != found.receipt.request_digest:
        return mismatch(request.call_id)
    again = Refusal(
        409,
        "answer_not_kept",
        "this call was made and charged; its answer is not kept any more, its receipt is",
        facts={"call": to_hex(request.call_id), "charge": str(found.receipt.charge)},
    )
    again.headers += [*receipt_headers(found), (b"x-should-retry", b"false")]
    return again


SENT_AGAIN = (
    " With an `Idempotency-Key` (1 to 255 bytes; a voucher or a payment is its own) the call is made and charged once,"
    " whichever gateway of the lane it reaches. Sent again it gets the stored answer; 409 `in_progress` while it runs;"
    " 409 `answer_not_kept`, with the receipt, when the answer is not kept any more; 409 `idempotency_mismatch` if the"
    " request is another one. A call that was not charged is made."
)
DOCUMENTS = {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "object"}]}}
TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
TEXT, OBJECTS = {"type": "string"}, {"type": "array", "items": {"type": "object"}}
MODEL = {"type": "string", "description": "`@org/name`, or a CID"}
OPTIONS = {"stream": {"type": "boolean"}, "max_tokens": {"type": "integer", "minimum": 0, "maximum": 2**31}}
NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "title": "Name"}}


HEADERS = {
    "Tollway-Receipt": "The call's id: `GET /v1/receipts/{id}` shows its receipt.",
    "Tollway-Charge": "What the consumer paid, in atoms.",
    "Tollway-Seq": "The receipt's number among its gateway's.",
    "Tollway-Signature": "The gateway's EIP-712 signature of the receipt.",
}
Responses = dict[int | str, dict[str, Any]]
ANSWERED: Responses = {
    200: {
        "description": "The answer, in the shape of its protocol. A stream has its receipt in its last events.",
        "headers": {name: {"description": said, "schema": TEXT} for name, said in HEADERS.items()},
        "content": {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {"schema": TEXT}},
    }
}

TENSORS: Responses = {
    200: {
        **ANSWERED[200],
        "description": "JSON, or with `Inference-Header-Content-Length` binary tensors after it.",
        "content": {"application/json": {"schema": {"type": "object"}}, "application/octet-stream": {"schema": {}}},
    },
    **TEXT_ERRORS,
}


async def starting() -> None:
    """What a route that FastAPI does not answer says until the gateway runs."""
    raise Refusal(503, "starting", "this gateway is starting", retry_after=1)


def _describe(path: str, name: str, description: str, required: dict[str, Any], **optional: Any) -> None:
    """Show a paid route in the OpenAPI document."""
    _show(path, name, description + SENT_AGAIN, required, optional)


def _of_media(description: str, *types: str, model: type[answers.Answer] | None = None) -> Responses:
    """What a route of images or sound answers: an object of this model, or also bytes of these media types."""
    content = {one: {"schema": TEXT if one.startswith("text/") else {}} for one in types}
    said = {**ANSWERED[200], "description": description, "content": content}
    return {200: {**said, "model": model} if model is not None else said}


SHAPED: dict[str, Responses] = {
    trials.PATH: {
        200: {
            "description": "The workflow's output, and its trace.",
            "headers": {"Tollway-Charge": {"description": "What all steps cost, in atoms.", "schema": TEXT}},
            "model": answers.Tried,
            "content": {"application/json": {}},
        }
    },
    IMAGES: _of_media("The images, in the shape of OpenAI's.", model=answers.Images),
    SPEECH: _of_media("Sound, in the format that was asked for.", "audio/*", "application/octet-stream"),
    TRANSCRIPTIONS: _of_media(
        "JSON, or by `response_format` a text or subtitles.", "text/plain", "text/vtt", model=answers.Transcription
    ),
}


def _errors(path: str) -> Responses:
    """What a path answers otherwise than others."""
    if path.startswith(INFER_HEAD):
        return TENSORS
    return MESSAGE_ERRORS if path.startswith(messages.PATH) else SHAPED.get(path, {})


def _show(path: str, name: str, description: str, required: dict[str, Any], optional: dict[str, Any]) -> None:
    """Show a route that FastAPI does not answer; until the gateway runs, it is refused."""
    schema = {"type": "object", "required": [*required], "properties": required | optional}
    kind = forms.MEDIA_TYPE if path == TRANSCRIPTIONS else "application/json"
    extra: dict[str, Any] = {"requestBody": {"required": True, "content": {kind: {"schema": schema}}}}
    if "{name}" in path:
        extra["parameters"] = [NAME]
    router.add_api_route(
        path,
        starting,
        methods=["POST"],
        name=name,
        description=description,
        openapi_extra=extra,
        responses=ANSWERED | _errors(path),
    )


_describe(CHAT, "chat", "A chat completion of a model or a workflow.", {"model": MODEL, "messages": OBJECTS}, **OPTIONS)
_describe(COMPLETIONS, "completions", "A completion.", {"model": MODEL, "prompt": TEXTS}, **OPTIONS)
_describe(EMBEDDINGS, "embeddings", "Embeddings.", {"model": MODEL, "input": TEXTS})
_describe(RERANK, "rerank", "Documents by their relevance.", {"model": MODEL, "query": TEXT, "documents": DOCUMENTS})
_describe(
    RERANK_V2,
    "rerank_v2",
    f"The same as `{RERANK}`, where Cohere's clients of version 2 look for it.",
    {"model": MODEL, "query": TEXT, "documents": DOCUMENTS},
)
_describe(
    IMAGES,
    "images",
    "Images of a text, whole: `stream` is refused.",
    {"model": MODEL, "prompt": {"type": "string", "minLength": 1}},
    n={"type": "integer", "minimum": 1, "maximum": bounds.MOST_IMAGES, "default": 1},
    size=TEXT,
    quality=TEXT,
    style=TEXT,
    background=TEXT,
    output_format=TEXT,
    response_format={"enum": ["b64_json", "url"]},
)
_describe(
    SPEECH,
    "speech",
    "A text, spoken: whole, or by `stream_format` as it is made; then `Tollway-Call` is its receipt's id.",
    {"model": MODEL, "input": {"type": "string", "minLength": 1}, "voice": {"type": ["string", "object"]}},
    instructions=TEXT,
    response_format={"type": "string", "description": f"{', '.join(media.SPOKEN)}, or what the model has besides."},
    speed={"type": "number"},
    stream_format={"enum": ["audio"]},
)
_describe(
    TRANSCRIPTIONS,
    "transcriptions",
    f"What a recording says, whole: `stream` is refused. A form of at most {bounds.PAID_BODY_BYTES // bounds.MIB} MiB"
    f" and {bounds.FORM_PARTS} parts; its file is {', '.join(sound.ENDINGS)}, by its first bytes and not by its name.",
    {"model": MODEL, "file": {"type": "string", "format": "binary"}},
    language=TEXT,
    prompt=TEXT,
    response_format={"enum": [*media.TRANSCRIBED], "default": "json"},
    temperature={"type": "number"},
)
_describe(
    responses.PATH,
    "responses",
    "A response, as OpenAI's clients ask for it, of a model or a workflow. None is kept: `store` is false, and each"
    " request says all of its input.",
    {"model": MODEL, "input": {"type": ["string", "array"]}},
    stream={"type": "boolean"},
    max_output_tokens=OPTIONS["max_tokens"],
)
_describe(
    messages.PATH,
    "messages",
    "A message, as Anthropic's clients ask for it, of a model or a workflow. The key may come as `x-api-key`.",
    {"model": MODEL, "messages": OBJECTS, "max_tokens": OPTIONS["max_tokens"]},
    stream={"type": "boolean"},
)
_show(
    messages.COUNT_PATH,
    "count_tokens",
    "The input tokens of a message that is not asked for. Free, with a key.",
    {"model": MODEL, "messages": OBJECTS},
    {},
)
_describe(invoke.PATH, "invoke", "Named values in, named values out.", {"model": MODEL, "input": {"type": "object"}})
_show(
    trials.PATH,
    "try_workflow",
    "Runs a workflow that is not published: its steps are calls of the key's own account, each with a receipt, and no"
    " weaver is paid. The most that they cost is held before the first is asked, and `Tollway-Max-Price` limits it."
    " 502 `workflow_failed` has `steps` too, and what those that served cost. With an `Idempotency-Key` it is made and"
    " charged once.",
    {
        "capsule": {"type": "object", "description": "A capsule.json, as `tollway weaver check` reads it."},
        "input": {"type": "object", "required": ["messages"], "properties": {"messages": OBJECTS}},
    },
    {},
)
_describe(INFER.format(model="{name}"), "infer", "An Open Inference Protocol v2 call.", {"inputs": OBJECTS})
