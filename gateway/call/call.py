"""A paid request, and one call of a model: held, sent to a node, metered, priced, made durable, answered, in order.

A call is OPEN until its hold is settled: with a charge that is durable, or with 0. The next candidate is tried only
while the consumer has not seen a byte.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Any, TypeVar

import msgspec

from gateway import bounds
from gateway.asgi import Client
from gateway.call import routing
from gateway.call.idempotency import Headers, StoredResponse, answer_headers
from gateway.call.referrals import ReferralContext
from gateway.catalog.catalog import Candidate, Catalog, ModelEntry
from gateway.clock import now_ms, steady_ms
from gateway.context import Gateway
from gateway.errors import NodeFailed, Refusal, RuleBroken
from gateway.metering import answers, openai, usage
from gateway.metering.answers import PassedOn
from gateway.metering.ask import Ask
from gateway.metering.openai import BYTE_ORDER_MARK
from gateway.metering.usage import Meters
from gateway.payment import billing
from gateway.payment.auth import Caller
from gateway.payment.authorizations import Payment
from gateway.payment.billing import Billing, Served, most_units
from gateway.payment.channels import ChannelPayment
from gateway.payment.leases import Hold
from gateway.payment.permits import PermitPayment
from gateway.tracing import CallSpan, Tracing
from gateway.upstream.http import Reply
from ledger.core.accounts.budgets import Allowance
from ledger.core.catalog import protocols
from ledger.core.pricing import eligibility
from ledger.core.pricing.eligibility import RoutePreferences
from ledger.core.receipts.receipt import EndReason
from ledger.core.receipts.service_proofs import attempt_id
from ledger.core.values import call_heads
from ledger.core.values.atoms import MAX_ATOMS, Atoms
from ledger.core.values.call_heads import Asked, CallHead
from ledger.core.values.errors import Conflict, Rejected, TollwayError
from ledger.core.values.ids import ZERO_DIGEST, Address, Digest, to_hex
from ledger.core.values.meters import Meter, Units
from ledger.store.receipts.receipts import Signed

T = TypeVar("T")

TIMER_STEP = 0.001
"""Seconds by which a timer may fire early: uvloop rounds it to the millisecond."""
LATER = 1.0
"""Seconds that a call may have beyond the time of one node, so that a node that is too slow is told first."""
MOST_BUSY = 8
"""The most busy nodes that one call asks beside those it tries."""
HoldMore = Callable[[Atoms], Awaitable[None]]
"""Has so many atoms more held. Refused with 402 when the payer has, or allows, less."""
Charge = Callable[[Candidate, Served], Awaitable[tuple[Signed, ...]]]
"""Charges what a candidate served. Returns the receipts; none when nothing was charged."""


class Request(msgspec.Struct, frozen=True):
    """A paid request. `keyed`: it names an idempotency key or a payment, so it is locked, and its answer is kept.
    `started` is the date at which it arrived.
    """

    client: Client
    ask: Ask
    caller: Caller
    call_id: Digest
    keyed: bool
    preferences: RoutePreferences
    started: int
    payment: Payment | PermitPayment | ChannelPayment | None = None
    extra_headers: Headers = []
    """Headers the answer carries beside its own."""
    realm: str = ""
    """The realm it is to be made in, as it names it."""
    parent: Digest = ZERO_DIGEST
    """The call that the caller's node serves meanwhile, if it says so."""

    def catalog(self, gateway: Gateway) -> Catalog:
        """The catalog that its caller sees now."""
        return gateway.catalog_for(self.account, self.realm, now_ms()) if self.realm else gateway.catalog

    @property
    def account(self) -> Address:
        """Whose request it is: its caller's, also where an account of the operator's advances it."""
        return self.payment.asker if self.payment is not None else self.caller.consumer

    def allowance(self, gateway: Gateway, model: str) -> Allowance | None:
        """What a call of a model is taken of that this request makes, where its key has a budget."""
        return self.caller.allowance(model, self.started + gateway.lane_state.clock_ms)

    def billing(self, gateway: Gateway, catalog: Catalog, model: str) -> Billing:
        """The billing of this request as one call of a model or workflow, in the epoch of its catalog."""
        key = self.caller.key
        return Billing(
            call_id=self.call_id,
            consumer=self.caller.consumer,
            asker=self.account,
            lane=gateway.lane,
            epoch=catalog.epoch,
            model=model,
            salt=os.urandom(16),
            started=self.started,
            key_id=key.id if key is not None else None,
            allowance=self.allowance(gateway, model),
            lock=self.call_id if self.keyed else None,
            realm=catalog.realm,
            made_for=self.parent,
            most=self.payment.most if isinstance(self.payment, PermitPayment | ChannelPayment) else None,
        )


class Route(msgspec.Struct, frozen=True):
    """A request's possible providers, the catalog they are of, and the most it can use."""

    catalog: Catalog
    entry: ModelEntry
    candidates: Sequence[Candidate]
    most: Units
    limit: Atoms | None
    """The consumer's largest price, if it says one."""

    @property
    def price(self) -> Atoms:
        """What the request is asked for, whoever serves it. Who costs more serves those that have more."""
        return eligibility.asked([candidate.tariff.hold(self.most) for candidate in self.candidates], self.limit)


class Call(msgspec.Struct):
    """A call of one model, ready to be made. `candidates` come in the order they are tried."""

    ask: Ask
    most: Units
    billing: Billing
    candidates: Iterator[Candidate]
    referral: ReferralContext | None = None
    part_of_workflow: bool = False
    """The workflow holds the money: the call holds none."""
    planned: Atoms = 0
    """What the workflow holds for it."""
    hold_more: HoldMore | None = None
    """Has the workflow hold more for it."""
    too_dear: Atoms = MAX_ATOMS + 1
    """The least for a candidate that its payer did not have, as far as is known; `short` is the refusal."""
    short: Refusal | None = None
    passed_over: int = 0
    """Candidates that were too dear."""
    charge_workflow: Charge | None = None
    """Charges the workflow of which this call is the last, streamed step."""
    late_at: float | None = None
    """When it is too late, on the event loop's clock: the longest call's end, or a workflow's step's."""
    is_late_by_node: bool = False
    """Who serves then is too slow for its step. Else others have used up the time, and it is not blamed."""
    presence: AbstractContextManager[None] = nullcontext()
    """The client's, unless it waits for the whole workflow."""
    hold: Hold | None = None
    failures: list[tuple[Candidate, NodeFailed]] = []
    """The nodes that did not serve, and why, until it is known whether another one did."""
    span: CallSpan | None = None
    """Set while the call is traced."""

    async def traced(self, tracing: Tracing, work: Awaitable[T]) -> T:
        """Do the work of this call inside of its span."""
        with tracing.call(self.ask, self.billing.model) as self.span:
            return await work

    def model_of(self, gateway: Gateway, candidate: Candidate) -> str:
        """The name of the model that a candidate serves: a workflow's step may have several."""
        entry = gateway.catalog.by_id.get(candidate.subject)
        return entry.name if entry is not None else self.billing.model

    def tries(self, attempts: int) -> Iterator[tuple[int, Candidate]]:
        """Candidates in turn, each with its number, until so many were tried. One that is busy, or too dear for the
        payer, was not, up to `MOST_BUSY`.
        """
        for number, candidate in enumerate(self.candidates):
            busy = sum(failure.kind == "busy" for _, failure in self.failures) if self.failures else 0
            if number - min(busy + self.passed_over, MOST_BUSY) >= attempts:
                return
            yield number, candidate

    def stop_at(self, gateway: Gateway, number: int) -> float | None:
        """When the node that is asked now, the call's `number`, must be stopped, on the event loop's clock. None: its
        own limit ends it in time. A timer costs a plain call 6 % of its CPU.
        """
        if self.late_at is None or self.part_of_workflow or number:
            return self.late_at
        own = asyncio.get_running_loop().time() + gateway.settings.call_seconds
        return self.late_at if own > self.late_at else None

    async def holds(self, gateway: Gateway, candidate: Candidate) -> bool:
        """Hold what this candidate may cost at most: for one dearer than the last, the difference too. False when that
        is more than the payer has: then it is passed over.
        """
        need = (candidate.inner if self.part_of_workflow else candidate.tariff).hold(self.most)
        if need < self.too_dear:
            try:
                await self._hold(gateway, need)
                return True
            except Refusal as refused:
                if refused.status != 402:
                    raise
                self.short, self.too_dear = refused, need
        self.passed_over += 1
        return False

    async def _hold(self, gateway: Gateway, need: Atoms) -> None:
        if self.part_of_workflow:
            if need > self.planned:
                assert self.hold_more is not None
                await self.hold_more(need - self.planned)
                self.planned = need
        elif self.hold is None:
            self.hold = await self.billing.hold(gateway.leases, need)
        elif self.hold.amount < need:
            more = need - self.hold.amount
            self.hold.join(await self.billing.hold(gateway.leases, more, self.hold.amount))

    def fail(self, gateway: Gateway, candidate: Candidate, failure: NodeFailed) -> None:
        """Note that a candidate did not serve: beside the receipt and in the metrics. `book_failures` marks it."""
        self.failures.append((candidate, failure))
        self.billing.attempts.append({"provider": to_hex(candidate.provider), "failed": failure.kind})
        if not candidate.realm:
            gateway.metrics.failed(self.billing.model, candidate.provider, failure.kind)

    def book_failures(self, gateway: Gateway, served: bool) -> None:
        """Mark the nodes that did not serve, once it is known whether another one did. Those that failed are probed,
        and those that refused what another served; what all refuse is the request's fault.
        """
        now = steady_ms()
        for candidate, failure in self.failures:
            candidate.health.failed(self.billing.asker, failure, now)
            if served or failure.kind != "refused":
                gateway.unwell.add((candidate.provider, candidate.subject), candidate.health)
        self.failures.clear()

    async def charge(self, gateway: Gateway, candidate: Candidate, served: Served) -> tuple[Signed, ...]:
        """Make the receipt of what a candidate served durable: on its terms, with a deduction if it was referred."""
        if self.charge_workflow is not None:
            return await self.charge_workflow(candidate, served)
        assert self.hold is not None
        tariff = candidate.tariff
        if self.referral is not None:
            tariff = await self.referral.terms(tariff, served.units)
            self.billing.slot = self.referral.paid_by
        draft = self.billing.draft(tariff, served)
        dues = [(self.hold, draft.receipt.charge)]
        counted = partial(gateway.metrics.charged, self.billing.model, candidate.provider, draft.receipt)
        count = counted if not candidate.realm else None
        return await billing.charge(gateway.receipt_log, (draft,), dues, count)

    def release(self) -> None:
        """Give the hold back, unless a charge is under way or made."""
        if self.hold is not None:
            self.hold.release()


def find_route(gateway: Gateway, catalog: Catalog, entry: ModelEntry, ask: Ask, preferences: RoutePreferences) -> Route:
    """A request's possible providers. Refused when there are none, or the model does not speak its protocol."""
    is_known = entry.model.kind == "weights"  # nodes compare a document with their files, and not with a server
    if ask.protocol not in entry.protocols and (is_known or not protocols.takes(entry.protocols, ask.protocol)):
        spoken = protocols.listed(entry.protocols)
        raise Refusal(400, "wrong_protocol", f"{entry.name} speaks {spoken}, not {ask.protocol}", param="model")
    needed = openai.needed_features(ask)
    if needed and entry.features is not None:
        for name, feature in needed.items():
            if feature not in entry.features:
                message = f"{entry.name} cannot do this: its document declares no {feature}"
                raise Refusal(400, "unsupported_parameter", message, param=name)
    settings = gateway.settings
    limit = ask.limit
    if limit is None:
        limit = min(settings.default_output_tokens, entry.context_tokens or 2**31)
    seconds = settings.first_byte_seconds + settings.idle_stream_seconds
    sold_by_image = any(Meter.input_image in one.tariff.metered for one in entry.candidates)
    images = ask.most_images if sold_by_image else 0  # a long body is searched only where it matters
    most = ask.bound(most_units(len(ask.body), limit * ask.choices, settings.metered_answer_bytes, seconds, images))
    return Route(catalog, entry, routing.eligible(entry, preferences, most), most, preferences.max_price)


def late(gateway: Gateway) -> float:
    """When a call that begins now is too late, whoever is tried: a leaver's notice is as long as the longest call."""
    return asyncio.get_running_loop().time() + gateway.settings.call_seconds + LATER


def open_call(gateway: Gateway, request: Request, route: Route, referral: ReferralContext | None) -> Call:
    draw = routing.draw_for(route.catalog, gateway.settings, request.call_id, request.account)
    nearest = request.preferences.prefers_nearest(usage.estimate(len(request.ask.body)))
    candidates = routing.order(route.candidates, route.most, draw._replace(nearest=nearest) if nearest else draw)
    billing = request.billing(gateway, route.catalog, route.entry.name)
    presence, late_at = request.client.presence, late(gateway)
    return Call(request.ask, route.most, billing, candidates, referral, late_at=late_at, presence=presence)


class Answer(msgspec.Struct, frozen=True):
    """A node's whole answer, what it served in how many ms, and whether it claimed more."""

    candidate: Candidate
    reply: Reply
    body: bytes
    served: Served
    took_ms: int
    overclaimed: bool


async def answer_whole(gateway: Gateway, call: Call, request: Request) -> tuple[StoredResponse, tuple[Signed, ...]]:
    """Serve a call whose answer comes in one piece: the answer, and its receipts, which are durable. Raises PassedOn
    when the nodes refused the request.
    """
    try:
        answer = await attempt(gateway, call)
        signed = await call.charge(gateway, answer.candidate, answer.served)
        content = answers.content_headers(call.ask, answer.reply)
        headers = answer_headers(content, signed[-1]) + request.extra_headers
        return StoredResponse(answer.reply.status, headers, answer.body), signed
    except TimeoutError:
        raise too_late(gateway, call) from None
    finally:
        call.release()


def too_late(gateway: Gateway, call: Call) -> Refusal:
    """The refusal of a call whose time is up."""
    said = f"no provider of {call.billing.model} answered within {gateway.settings.call_seconds} s: nothing was charged"
    return Refusal(504, "node_late", said, facts={"attempts": call.billing.attempts})


def attempt(gateway: Gateway, call: Call) -> Awaitable[Answer]:
    """Ask candidates in turn until one serves. What each may cost is held before it is asked."""
    work = _attempt(gateway, call)
    return work if gateway.tracing is None else call.traced(gateway.tracing, work)


async def _attempt(gateway: Gateway, call: Call) -> Answer:
    hedging = 0 if call.part_of_workflow else gateway.settings.hedge_ms / 1000
    route, served = call.tries(gateway.settings.attempts), False
    try:
        for number, candidate in route:
            if not await call.holds(gateway, candidate):
                continue
            try:
                if hedging:
                    async with asyncio.timeout_at(call.late_at):
                        first = _once(gateway, call, candidate, number)
                        answer = await _hedged(gateway, call, first, route, hedging)
                elif call.part_of_workflow or call.stop_at(gateway, number) is None:  # who waits for a step bounds it
                    with call.presence:
                        answer = await _once(gateway, call, candidate, number)
                else:
                    async with asyncio.timeout_at(call.late_at):
                        with call.presence:
                            answer = await _once(gateway, call, candidate, number)
            except NodeFailed:
                continue
            served = True
            if call.span is not None:
                reasons = openai.finish_reasons(answer.body, call.ask.choices) if call.ask.is_of_text else ()
                call.span.served(call.billing.call_id, call.model_of(gateway, answer.candidate), answer.served, reasons)
            return answer
        raise exhausted(call)
    finally:
        if call.failures:
            call.book_failures(gateway, served)


async def _once(gateway: Gateway, call: Call, candidate: Candidate, number: int) -> Answer:
    """One attempt. A failure is noted, and raised as NodeFailed."""
    try:
        answer = await invoke(gateway, call, candidate, number)
    except NodeFailed as failure:
        call.fail(gateway, candidate, failure)
        raise
    except asyncio.CancelledError:
        late = call.late_at is not None and asyncio.get_running_loop().time() >= call.late_at - TIMER_STEP
        if late and call.is_late_by_node:
            call.fail(gateway, candidate, NodeFailed("the node was too slow for its workflow", "late"))
        raise
    except (Rejected, Conflict) as error:
        raise RuleBroken(error) from error
    note_success(gateway, candidate, answer.took_ms, answer.overclaimed)
    return answer


def note_success(gateway: Gateway, candidate: Candidate, took_ms: int, overclaimed: bool) -> None:
    """Record a served call in the node's health; `took_ms` until its first byte."""
    health = candidate.health
    health.succeeded(took_ms, overclaimed, gateway.upstream.round_trip_ms(candidate.target))
    if health.wants_probe:
        gateway.unwell.add((candidate.provider, candidate.subject), health)


async def _hedged(
    gateway: Gateway,
    call: Call,
    first: Coroutine[Any, Any, Answer],
    route: Iterator[tuple[int, Candidate]],
    wait: float,
) -> Answer:
    """When the first node is silent for `wait` seconds, ask the next one too, if it can be paid. The first answer
    serves and is billed.
    """
    asked = [asyncio.create_task(first)]
    try:
        with call.presence:
            done, _ = await asyncio.wait(asked, timeout=wait)
        second = next(route, None) if not done else None
        if second is not None:
            with suppress(Refusal):
                if await call.holds(gateway, second[1]):
                    asked.append(asyncio.create_task(_once(gateway, call, second[1], second[0])))
        waiting, last = set(asked), NodeFailed("no node answered", "error")
        while waiting:
            with call.presence:
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


async def invoke(gateway: Gateway, call: Call, candidate: Candidate, number: int) -> Answer:
    """The node's whole answer, metered. Raises NodeFailed."""
    started = steady_ms()
    reply = await ask_node(gateway, call, candidate, number)
    limit = bounds.ANSWER_BYTES
    if Meter.byte in candidate.tariff.metered:
        limit = gateway.settings.metered_answer_bytes
    try:
        body = (await reply.body(limit)).removeprefix(BYTE_ORDER_MARK)
    except BaseException:
        reply.cancel()
        raise
    answers.check_status(call.ask.path, reply, body)
    took_ms = steady_ms() - started
    meters = Meters(gateway.tokenizers.of(candidate.subject), candidate.tariff.metered, call.most.output_token)
    metered, body = await answers.whole(meters, call.ask, reply, body, took_ms)
    units, end, most = usage.capped(metered.units, call.most), EndReason.normal, call.most.output_token
    if call.ask.is_of_text and metered.text_tokens > most:
        body, end = openai.shorten(body, metered.text_tokens, most), EndReason.hold_reached
    digest = call.billing.digest_of(body)
    served = Served(units, end, gateway.end_of(call.billing.epoch), call.ask.body, digest, candidate.provider)
    return Answer(candidate, reply, body, served, took_ms, metered.overclaimed)


def ask_node(gateway: Gateway, call: Call, candidate: Candidate, number: int) -> Awaitable[Reply]:
    """Send the request to a node. The result is its answer's head."""
    ask, served_as = call.ask, candidate.served_as
    body = ask.body_for(served_as, candidate.limit_name, call.most.output_token // ask.choices)
    asked = Asked(attempt_id(call.billing.call_id, number), ask.upstream_path(served_as), body)
    headers = ask.headers + _proven(gateway, candidate, asked, call.billing.call_id)
    return gateway.upstream.request(candidate.target, asked.path, asked.body, headers)


def _proven(gateway: Gateway, candidate: Candidate, asked: Asked, call_id: Digest) -> bytes:
    """The header lines that show a node that its lane's gateway asks, for this request; and what it sends on with paid
    calls of its own, to name this one.
    """
    at = now_ms()
    head = call_heads.write(CallHead(gateway.lane, gateway.signer.public, at), candidate.secret, asked)
    parent = call_heads.write_parent(gateway.parent_keys[0], call_id, candidate.provider, at)
    lines = f"Idempotency-Key: {to_hex(asked.attempt)}\r\n{call_heads.HEADER}: {head}\r\n"
    return f"{lines}{call_heads.PARENT}: {parent}\r\n".encode()


def exhausted(call: Call) -> TollwayError:
    """Why no candidate served: the last refusal if all that were tried refused, else the last failure, with what
    happened to each; "busy" only if all were.
    """
    facts: dict[str, object] = {"attempts": call.billing.attempts}
    failures = [failure for _, failure in call.failures]
    if call.short is not None and not failures:
        return call.short
    if not failures:
        return Refusal(
            503, "no_capacity", f"no provider of {call.billing.model} has capacity", retry_after=1, facts=facts
        )
    tried = [failure for failure in failures if failure.kind != "busy"]
    faults = [failure for failure in tried if failure.kind != "refused"]
    last = (faults or tried or failures)[-1]
    if isinstance(last, PassedOn):
        return last
    message = f"{last.message}; {len(failures)} tried, nothing was charged"
    if call.passed_over:
        message += f"; {call.passed_over} more than this cost more than is paid or allowed for it"
    if tried:
        status = 504 if last.kind in ("timeout", "late") else 502
        return Refusal(status, f"node_{last.kind}", message, facts=facts)
    status = 429 if all(failure.facts.get("status") == 429 for failure in failures) else 503
    wait = max(1, min(failure.retry_after for failure in failures))
    return Refusal(status, "node_busy", message, retry_after=wait, facts=facts)
