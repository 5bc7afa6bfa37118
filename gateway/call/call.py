"""A paid request, and one call of a model: held, sent to a node, metered, priced, made durable, answered, in order.

A call is OPEN until its hold is settled: with a charge that is durable, or with 0. The next candidate is tried only
while the consumer has not seen a byte.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec

from gateway.asgi import Client
from gateway.call import routing
from gateway.call.idempotency import Headers, StoredResponse, answer_headers
from gateway.call.referrals import ReferralContext
from gateway.catalog.catalog import Candidate, Catalog, ModelEntry
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import NodeFailed, Refusal
from gateway.metering import answers, openai, usage
from gateway.metering.answers import Meters
from gateway.metering.ask import INFER, Ask
from gateway.payment import billing
from gateway.payment.auth import Caller
from gateway.payment.billing import Billing, Served, most_units
from gateway.payment.leases import Hold
from gateway.payment.x402 import Payment
from gateway.upstream.http import Reply
from ledger.core.pricing.eligibility import RoutePreferences
from ledger.core.receipts.receipt import EndReason
from ledger.core.receipts.service_proofs import attempt_id
from ledger.core.values import call_heads
from ledger.core.values.atoms import Atoms
from ledger.core.values.call_heads import Asked, CallHead
from ledger.core.values.errors import TollwayError
from ledger.core.values.ids import Digest, to_hex
from ledger.core.values.meters import Meter, Units
from ledger.store.receipts.receipts import Signed

TIMER_STEP = 0.001
"""Seconds by which a timer may fire early: uvloop rounds it to the millisecond."""
Charge = Callable[[Candidate, Served], Awaitable[tuple[Signed, ...]]]
"""Charges what a candidate served. Returns the receipts; none when nothing was charged."""


class Request(msgspec.Struct, frozen=True):
    """A paid request. `keyed`: it names an idempotency key or a payment, and its answer is kept."""

    client: Client
    ask: Ask
    caller: Caller
    call_id: Digest
    keyed: bool
    preferences: RoutePreferences
    started: int
    payment: Payment | None = None
    extra_headers: Headers = []
    """Headers the answer carries beside its own."""

    def billing(self, gateway: Gateway, catalog: Catalog, model: str) -> Billing:
        """The billing of this request as one call of a model or workflow, in the epoch of its catalog."""
        key = self.caller.key
        return Billing(
            call_id=self.call_id,
            consumer=self.caller.consumer,
            lane=gateway.lane,
            epoch=catalog.epoch,
            model=model,
            salt=os.urandom(16),
            started=self.started,
            key_id=key.id if key is not None else None,
            budget=self.caller.budget,
        )


class Route(msgspec.Struct, frozen=True):
    """A request's possible providers, the catalog they are of, and the most it can use."""

    catalog: Catalog
    entry: ModelEntry
    candidates: Sequence[Candidate]
    most: Units

    @property
    def price(self) -> Atoms:
        """The most the request can cost, whoever serves it."""
        return max(candidate.tariff.hold(self.most) for candidate in self.candidates)


class Call(msgspec.Struct):
    """A call of one model, ready to be made. `candidates` come in the order they are tried."""

    ask: Ask
    most: Units
    billing: Billing
    candidates: Iterator[Candidate]
    referral: ReferralContext | None = None
    part_of_workflow: bool = False
    """The workflow holds the money: the call holds none."""
    charge_workflow: Charge | None = None
    """Charges the workflow of which this call is the last, streamed step."""
    late_at: float | None = None
    """When a workflow's step is too late, on the event loop's clock."""
    hold: Hold | None = None

    async def hold_for(self, gateway: Gateway, candidate: Candidate) -> None:
        """Hold what this candidate may cost at most. One dearer than the last needs a larger hold."""
        if self.part_of_workflow:
            return
        need = candidate.tariff.hold(self.most)
        hold = self.hold
        if hold is not None and hold.amount >= need:
            return
        self.hold = None
        larger = await gateway.leases.hold(self.billing.consumer, need, self.billing.budget)
        if hold is not None:
            hold.release()
        self.hold = larger

    async def charge(self, gateway: Gateway, candidate: Candidate, served: Served) -> tuple[Signed, ...]:
        """Make the receipt of what a candidate served durable: on its terms, with a deduction if it was referred."""
        if self.charge_workflow is not None:
            return await self.charge_workflow(candidate, served)
        assert self.hold is not None
        tariff = candidate.tariff
        if self.referral is not None:
            tariff = await self.referral.terms(tariff)
        draft = self.billing.draft(tariff, served)
        return await billing.charge(gateway.receipt_log, (draft,), [(self.hold, draft.receipt.charge)])

    def release(self) -> None:
        """Give the hold back, unless a charge is under way or made."""
        if self.hold is not None:
            self.hold.release()


def find_route(gateway: Gateway, entry: ModelEntry, ask: Ask, preferences: RoutePreferences, now: int) -> Route:
    """A request's possible providers. Refused when there are none, or the model does not speak its protocol."""
    if ask.protocol not in entry.protocols:
        spoken = ", ".join(sorted(entry.protocols))
        raise Refusal(400, "wrong_protocol", f"{entry.name} speaks {spoken}, not {ask.protocol}", param="model")
    settings = gateway.settings
    limit = ask.limit
    if limit is None:
        limit = min(settings.default_output_tokens, entry.context_tokens or 2**31)
    seconds = settings.first_byte_seconds + settings.idle_stream_seconds
    most = most_units(len(ask.body), limit * ask.choices, settings.metered_answer_bytes, seconds, ask.most_images)
    return Route(gateway.catalog, entry, routing.eligible(entry, preferences, most, now), most)


def open_call(gateway: Gateway, request: Request, route: Route, referral: ReferralContext | None) -> Call:
    candidates = routing.order(route.catalog, route.candidates, route.most, request.call_id, gateway.settings.tau_ppm)
    billing = request.billing(gateway, route.catalog, route.entry.name)
    return Call(request.ask, route.most, billing, candidates, referral)


class Answer(msgspec.Struct, frozen=True):
    """A node's whole answer, and what it served."""

    candidate: Candidate
    reply: Reply
    body: bytes
    served: Served


async def answer_whole(gateway: Gateway, call: Call, request: Request) -> tuple[StoredResponse, tuple[Signed, ...]]:
    """Serve a call whose answer comes in one piece: the answer, and its receipts, which are durable. Raises PassedOn
    when the node refused the request.
    """
    try:
        answer = await attempt(gateway, call)
        signed = await call.charge(gateway, answer.candidate, answer.served)
        headers = answer_headers(answer.reply, signed[-1]) + request.extra_headers
        return StoredResponse(answer.reply.status, headers, answer.body), signed
    finally:
        call.release()


async def attempt(gateway: Gateway, call: Call) -> Answer:
    """Ask candidates in turn until one serves. What each may cost is held before it is asked."""
    last: NodeFailed | None = None
    hedging = 0 if call.part_of_workflow else gateway.settings.hedge_ms / 1000
    route = enumerate(islice(call.candidates, gateway.settings.attempts))
    for number, candidate in route:
        await call.hold_for(gateway, candidate)
        try:
            first = _once(gateway, call, candidate, number)
            return await (_hedged(gateway, call, first, route, hedging) if hedging else first)
        except NodeFailed as failed:
            last = failed
    raise exhausted(call, last)


async def _once(gateway: Gateway, call: Call, candidate: Candidate, number: int) -> Answer:
    """One attempt, recorded in the candidate's health. A failure is noted, and raised as NodeFailed."""
    started = now_ms()
    candidate.health.begin()
    try:
        reply, body = await _invoke(gateway, call, candidate, number)
        took_ms = now_ms() - started
        meters = Meters(gateway.tokenizers.of(candidate.subject), candidate.tariff.metered)
        metered = answers.whole(meters, call.ask, reply, body, took_ms)
    except NodeFailed as failed:
        note_failure(gateway, call, candidate, failed)
        raise
    except BaseException:
        if call.late_at is not None and asyncio.get_running_loop().time() >= call.late_at - TIMER_STEP:
            note_failure(gateway, call, candidate, NodeFailed("the node was too slow for its workflow", "timeout"))
        else:
            candidate.health.forgotten()
        raise
    ended = gateway.now_ms()
    near = gateway.upstream.round_trip_ms(candidate.target)
    candidate.health.succeeded(took_ms, metered.overclaimed, near)
    units, end = usage.capped(metered.units, call.most), EndReason.normal
    most = call.most.output_token
    if call.ask.path != INFER and metered.text_tokens > most:
        body, end = openai.shorten(body, metered.text_tokens, most), EndReason.hold_reached
    digest = call.billing.digest_of(body)
    served = Served(units, end, ended, call.ask.body, digest, candidate.provider)
    return Answer(candidate, reply, body, served)


async def _hedged(
    gateway: Gateway,
    call: Call,
    first: Coroutine[Any, Any, Answer],
    route: Iterator[tuple[int, Candidate]],
    wait: float,
) -> Answer:
    """When the first node is silent for `wait` seconds, ask the next one too. The first answer serves and is billed."""
    asked = [asyncio.create_task(first)]
    try:
        done, _ = await asyncio.wait(asked, timeout=wait)
        second = next(route, None) if not done else None
        if second is not None:
            await call.hold_for(gateway, second[1])
            asked.append(asyncio.create_task(_once(gateway, call, second[1], second[0])))
        waiting, last = set(asked), NodeFailed("no node answered", "error")
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                failed = task.exception()
                if failed is None:
                    return task.result()
                if not isinstance(failed, NodeFailed):
                    raise failed
                last = failed
        raise last
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def _invoke(gateway: Gateway, call: Call, candidate: Candidate, number: int) -> tuple[Reply, bytes]:
    """The node's whole answer. Raises NodeFailed, or PassedOn when the node refused the request itself."""
    reply = await ask_node(gateway, call, candidate, number)
    limit = gateway.settings.max_answer_bytes
    if Meter.byte in candidate.tariff.metered:
        limit = gateway.settings.metered_answer_bytes
    try:
        body = await reply.body(limit)
    except asyncio.CancelledError:
        reply.cancel()
        raise
    answers.check_status(reply, body)
    return reply, body


def ask_node(gateway: Gateway, call: Call, candidate: Candidate, number: int) -> Awaitable[Reply]:
    """Send the request to a node. The result is its answer's head."""
    ask, served_as = call.ask, candidate.served_as
    body = ask.body_for(served_as, candidate.limit_name, call.most.output_token // ask.choices)
    asked = Asked(attempt_id(call.billing.call_id, number), ask.upstream_path(served_as), body)
    headers = ask.headers + _proven(gateway, candidate, asked)
    return gateway.upstream.request(candidate.target, asked.path, asked.body, headers)


def _proven(gateway: Gateway, candidate: Candidate, asked: Asked) -> bytes:
    """The header lines that show a node that its lane's gateway asks, for this request."""
    head = call_heads.write(CallHead(gateway.lane, gateway.signer.public, now_ms()), candidate.secret, asked)
    return f"Idempotency-Key: {to_hex(asked.attempt)}\r\n{call_heads.HEADER}: {head}\r\n".encode()


def exhausted(call: Call, last: TollwayError | None) -> Refusal:
    """The refusal when no candidate served, with what happened to each."""
    facts: dict[str, object] = {"attempts": call.billing.attempts}
    if not isinstance(last, NodeFailed):
        return Refusal(
            503, "no_capacity", f"no provider of {call.billing.model} has capacity", retry_after=1, facts=facts
        )
    status = {"timeout": 504, "busy": 503}.get(last.kind, 502)
    return Refusal(
        status,
        f"node_{last.kind}",
        f"{last.message}; {len(call.billing.attempts)} tried, nothing was charged",
        retry_after=1 if status == 503 else None,
        facts=facts,
    )


def note_failure(gateway: Gateway, call: Call, candidate: Candidate, failed: NodeFailed) -> None:
    """Record a failed attempt: in the node's health, beside the receipt, and in the metrics."""
    candidate.health.failed(now_ms())
    call.billing.attempts.append({"provider": to_hex(candidate.provider), "failed": failed.kind})
    gateway.metrics.node_failures.labels(failed.kind).inc()
