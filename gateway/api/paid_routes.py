"""The hot routes: calls that are paid, as a plain ASGI handler. Everything else is FastAPI's.

A request passes here without a framework: one dictionary of headers, one decode of the body, and the work itself.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping

from gateway.api import invoke
from gateway.asgi import JSON, Client, Message, Receive, Send
from gateway.call import call as calls
from gateway.call import referrals, routing, stream
from gateway.call.idempotency import Headers, StoredResponse, mismatch, receipt_headers
from gateway.catalog.catalog import CapsuleEntry
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import Refusal, body_of, refusal
from gateway.metering import protocols
from gateway.metering.protocols import CHAT, COMPLETIONS, EMBEDDINGS, Ask
from gateway.payment import x402
from gateway.payment.auth import Caller
from gateway.payment.x402 import Payment
from gateway.workflow import answer as workflows
from ledger.core.values.errors import TollwayError
from ledger.core.values.ids import Digest, call_id, to_hex
from ledger.store.receipts import receipts
from ledger.store.receipts.receipts import Signed

log = logging.getLogger("tollway.calls")

OPENAI = frozenset((CHAT, COMPLETIONS, EMBEDDINGS))
INFER_HEAD, INFER_TAIL = "/v2/models/", "/infer"


def is_paid_route(scope: Message) -> bool:
    """Whether this request is a paid call."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return False
    path: str = scope["path"]
    return path in OPENAI or path == invoke.PATH or (path.startswith(INFER_HEAD) and path.endswith(INFER_TAIL))


async def serve(gateway: Gateway, scope: Message, receive: Receive, send: Send) -> None:
    """Answer one paid call, or say why not."""
    if not gateway.tracing.on:
        await _serve(gateway, scope, receive, send)
        return
    with gateway.tracing.call(scope["path"]) as span:
        signed = await _serve(gateway, scope, receive, send)
        model = gateway.model_of(signed[-1]) if signed else ""
        gateway.tracing.finish(span, model, signed[-1].receipt if signed else None)


async def _serve(gateway: Gateway, scope: Message, receive: Receive, send: Send) -> tuple[Signed, ...]:
    """Answer a call; its receipts."""
    client = Client(scope, receive, send)
    started = now_ms()
    signed: tuple[Signed, ...] = ()
    gateway.open_calls += 1
    try:
        stored, signed = await _served(gateway, scope, client, started)
        end = signed[-1].receipt.end.name if signed else "released"
    except TollwayError as error:
        refused = refusal(error)
        gateway.metrics.refusals.labels(refused.code).inc()
        stored, end = StoredResponse(refused.status, [*JSON, *refused.headers], body_of(refused)), "refused"
    except Exception:
        log.exception("call_broke")
        broken = Refusal(500, "internal", "the gateway failed; nothing was charged unless a receipt says so")
        stored, end = StoredResponse(500, JSON, body_of(broken)), "refused"
    finally:
        gateway.open_calls -= 1
    if not stored.sent:
        await client.answer(stored)
    gateway.note(end, signed, now_ms() - started)
    return signed


async def _served(
    gateway: Gateway, scope: Message, client: Client, now: int
) -> tuple[StoredResponse, tuple[Signed, ...]]:
    """The answer and its receipts: none when nothing was charged now."""
    check_open(gateway)
    headers = client.headers
    body = await client.read_body(gateway.settings)
    paying = not gateway.private and (x402.HEADER in headers or x402.is_unpaid(headers))
    caller = None if paying else await gateway.authenticator.admit(headers, now)
    path: str = scope["path"]
    if path in OPENAI:
        ask = protocols.read(path, body)
    elif path == invoke.PATH:
        ask = invoke.read(gateway.catalog, body)
    else:
        model = path[len(INFER_HEAD) : -len(INFER_TAIL)]
        ask = protocols.read_infer(model, body, headers.get(b"inference-header-content-length"))
    payment: Payment | None = None
    if caller is not None:
        identity, keyed = calls.identify(headers, caller)
    elif x402.HEADER in headers:
        payment = x402.read(gateway, headers[x402.HEADER], now)
        caller, identity, keyed = payment.caller, call_id(payment.payer, payment.key), True
    else:
        raise await _payable(gateway, ask, headers, now)
    if not keyed:
        return await _make(gateway, caller, ask, headers, identity, None, client, now)
    stored = gateway.answers.begin(identity, hashlib.sha256(path.encode() + b"\0" + body).digest())
    if stored is not None:
        return stored, ()
    charged = False
    try:
        await _not_charged_before(gateway, identity, ask)
        if payment is not None:
            await x402.take(gateway, payment, identity, await _most_price(gateway, ask, headers, now))
        extra_headers = [x402.settled(gateway, payment)] if payment is not None else []
        made, signed = await _make(gateway, caller, ask, headers, identity, extra_headers, client, now)
        charged = bool(signed)
        if charged:
            gateway.answers.finish(identity, made)
        return made, signed
    finally:
        if not charged:
            gateway.answers.abandon(identity)


async def _make(
    gateway: Gateway,
    caller: Caller,
    ask: Ask,
    headers: Mapping[bytes, bytes],
    identity: Digest,
    extra_headers: Headers | None,
    client: Client,
    now: int,
) -> tuple[StoredResponse, tuple[Signed, ...]]:
    """Make the call. The answer carries `extra_headers` too; None means that it need not be stored."""
    entry = gateway.catalog.find(ask.model)
    preferences = calls.preferences_of(headers)
    referral = await referrals.referral(gateway, caller, entry, headers, now)
    signed: tuple[Signed, ...] = ()
    try:
        if isinstance(entry, CapsuleEntry):
            woven = workflows.serve(
                gateway, caller, ask, entry, identity, preferences, extra_headers, referral, client, now
            )
            stored, signed = await woven
        else:
            call = calls.open_call(gateway, caller, ask, entry, identity, preferences, now)
            call.keyed, call.extra_headers, call.referral = extra_headers is not None, extra_headers or [], referral
            serving = stream.stream(gateway, call, client) if ask.stream else calls.plain(gateway, call)
            stored, signed = await serving
        return (invoke.shown(ask, stored, signed) if ask.native and signed else stored), signed
    finally:
        if referral is not None:
            referral.end(charged=bool(signed))


async def _most_price(gateway: Gateway, ask: Ask, headers: Mapping[bytes, bytes], now: int) -> int:
    """The most this request may cost, whoever serves it."""
    entry = gateway.catalog.find(ask.model)
    if isinstance(entry, CapsuleEntry):
        return await workflows.most_price(gateway, entry, ask, calls.preferences_of(headers))
    most = calls.most_of(gateway, ask, entry)
    return max(c.tariff.price(most)[0] for c in routing.eligible(entry, calls.preferences_of(headers), most, now))


async def _payable(gateway: Gateway, ask: Ask, headers: Mapping[bytes, bytes], now: int) -> Refusal:
    """What an unpaid request is told."""
    host = headers.get(b"host", b"").decode("latin-1")
    url = (gateway.settings.public_url or f"http://{host}") + ask.upstream_path(ask.model)
    why = "pay with x402, or send `Authorization: Bearer tw_...` or a Tollway-Voucher"
    return x402.required(gateway, url, await _most_price(gateway, ask, headers, now), why)


def check_open(gateway: Gateway) -> None:
    """Refuse before any work when the gateway cannot charge, leaves, or is full."""
    if gateway.draining:
        raise Refusal(503, "draining", "this gateway is leaving; ask again", retry_after=1)
    if not gateway.receipt_log.healthy:
        raise Refusal(503, "journal_down", "receipts cannot be written now, so no call is made", retry_after=2)
    if gateway.open_calls > gateway.settings.max_open_calls:
        raise Refusal(503, "overloaded", f"{gateway.settings.max_open_calls} calls are open", retry_after=1)


async def _not_charged_before(gateway: Gateway, identity: Digest, ask: Ask) -> None:
    """A call that was charged before, here or elsewhere, is not made again."""
    found = await gateway.db(lambda session: receipts.by_call(session, identity))
    if found is None:
        return
    if hashlib.sha256(gateway.salt_of(found) + ask.body).digest() != found.receipt.request_digest:
        raise mismatch(identity)
    again = Refusal(
        409,
        "answer_not_kept",
        "this call was made and charged; its answer is not kept any more, its receipt is",
        facts={"call": to_hex(identity), "charge": str(found.receipt.charge)},
    )
    again.headers += [*receipt_headers(found), (b"x-should-retry", b"false")]
    raise again
