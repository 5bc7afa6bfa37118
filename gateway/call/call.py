"""One call: admitted, held, sent to a node, metered, priced, made durable, answered. In that order and never another.

A call is OPEN until its hold is settled: with a charge that is durable, or with 0. The next candidate is tried only
while the consumer has not seen a byte.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec

from gateway.call import routing
from gateway.call.idempotency import Headers, StoredResponse, answer_headers
from gateway.call.referrals import ReferralContext
from gateway.catalog.catalog import Candidate, ModelEntry
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import NodeFailed, Refusal
from gateway.metering import answers, usage
from gateway.metering.protocols import Ask
from gateway.payment.auth import Caller, check_model
from gateway.payment.billing import Billing, charge, most_units
from gateway.payment.leases import Hold
from gateway.upstream.http import Reply
from ledger.core.pricing.eligibility import ANY, RoutePreferences
from ledger.core.pricing.price import Tariff
from ledger.core.receipts.receipt import EndReason
from ledger.core.values.atoms import parse
from ledger.core.values.errors import TollwayError
from ledger.core.values.hashes import Digest, keccak256
from ledger.core.values.ids import call_id, to_hex
from ledger.core.values.meters import Units
from ledger.flows.receipt_log import Draft
from ledger.store.receipts.receipts import Signed

Settle = Callable[[Candidate, Units, EndReason, int, Digest], Awaitable[tuple[Signed, ...]]]
"""Charges what a stream used: by whom, units, how and when it ended, and the digest of what was said."""


@dataclass(slots=True)
class Call:
    """An admitted call of one model. A workflow's sub-call holds nothing itself: `settle` charges it with the rest."""

    ask: Ask
    entry: ModelEntry
    most: Units
    billing: Billing
    route: Iterator[Candidate]
    hold: Hold | None = None
    keyed: bool = False
    extra_headers: Headers = field(default_factory=list)
    """Headers the answer is to carry beside its own."""
    settle: Settle | None = None
    referral: ReferralContext | None = None
    clock: asyncio.Timeout | None = None
    """How long a workflow gives its node. Who is asked when it runs out was too slow."""
    late_at: float | None = None
    """The same for a node that streams, on the event loop's clock: its stream is cut then."""

    async def terms(self, candidate: Candidate) -> Tariff:
        """What this call is settled on: the candidate's terms, with a carve beside them if somebody brought it."""
        return candidate.tariff if self.referral is None else await self.referral.terms(candidate.tariff)

    async def hold_for(self, gateway: Gateway, candidate: Candidate) -> Hold:
        """Hold what this candidate may cost at most. A dearer one than before needs a larger hold."""
        need, _ = candidate.tariff.price(self.most)
        hold = self.hold
        if hold is None or hold.settled or hold.amount < need:
            self.hold = None
            larger = await gateway.leases.hold(self.billing.consumer, need, self.billing.budget)
            if hold is not None and not hold.settled:
                hold.settle(0)
            self.hold = larger
            return larger
        return hold


def identify(headers: Mapping[bytes, bytes], caller: Caller) -> tuple[Digest, bool]:
    """The call's id, from its Idempotency-Key or from a nonce, and whether it named a key."""
    key = headers.get(b"idempotency-key")
    if key is not None and not 0 < len(key) <= 255:
        raise Refusal(400, "invalid_request", "an Idempotency-Key has 1 to 255 bytes", param="Idempotency-Key")
    return call_id(caller.consumer, key or os.urandom(16)), key is not None


def preferences_of(headers: Mapping[bytes, bytes]) -> RoutePreferences:
    """What the consumer asks of the route."""
    price, realm = headers.get(b"tollway-max-price"), headers.get(b"tollway-realm")
    tiers, near = headers.get(b"tollway-tiers"), headers.get(b"tollway-near")
    if price is None and realm is None and tiers is None and near is None:
        return ANY
    names = frozenset(part.strip() for part in (tiers or b"").decode("latin-1").split(",") if part.strip())
    limit = parse(price.decode("latin-1"), "Tollway-Max-Price") if price is not None else None
    if near is not None and not near.isdigit():
        raise Refusal(400, "invalid_header", "Tollway-Near is a round trip in ms, such as 30", param="Tollway-Near")
    return RoutePreferences(
        limit, (realm or b"").decode("latin-1"), names, near_ms=int(near) if near is not None else None
    )


def open_call(
    gateway: Gateway,
    caller: Caller,
    ask: Ask,
    entry: ModelEntry,
    identity: Digest,
    preferences: RoutePreferences,
    now: int,
) -> Call:
    """Everything about a call that can be known, and refused, before money is held."""
    check_model(caller, entry.name, ask.model)
    if ask.protocol not in entry.protocols:
        spoken = ", ".join(sorted(entry.protocols))
        raise Refusal(400, "wrong_protocol", f"{entry.name} speaks {spoken}, not {ask.protocol}", param="model")
    most = most_of(gateway, ask, entry)
    candidates = routing.eligible(entry, preferences, most, now)
    route = routing.order(gateway.catalog, candidates, most, identity, gateway.settings.tau_ppm)
    key = caller.key
    billing = Billing(
        identity,
        caller.consumer,
        gateway.lane,
        gateway.catalog.epoch,
        entry.name,
        os.urandom(16),
        now,
        key.id if key is not None else None,
        caller.budget,
    )
    return Call(ask, entry, most, billing, route)


def most_of(gateway: Gateway, ask: Ask, entry: ModelEntry) -> Units:
    """The most units this request can use with this model."""
    settings = gateway.settings
    outputs = ask.outputs
    if outputs is None:
        outputs = min(settings.default_output_tokens, entry.context_tokens or 2**31) * ask.choices
    seconds = settings.first_byte_seconds + settings.idle_stream_seconds
    return most_units(len(ask.body), outputs, settings.metered_answer_bytes, seconds)


class Served(msgspec.Struct, frozen=True):
    """A node's whole answer, and what it used."""

    candidate: Candidate
    reply: Reply
    body: bytes
    units: Units
    ended: int

    def draft(self, call: Call, tariff: Tariff) -> Draft:
        """The receipt of it, on these terms."""
        billing = call.billing
        return billing.draft(
            *(tariff, self.units, EndReason.normal, self.ended, call.ask.body),
            *(billing.digest_of(self.body), self.candidate.provider),
        )


async def plain(gateway: Gateway, call: Call) -> tuple[StoredResponse, tuple[Signed, ...]]:
    """Serve a call whose answer comes in one piece. The receipts are durable when this returns; none: not charged."""
    try:
        served = await attempt(gateway, call, holding=True)
        hold = call.hold
        assert hold is not None
        signed = await charge(gateway.receipt_log, hold, (served.draft(call, await call.terms(served.candidate)),))
        headers = answer_headers(served.reply, signed[-1]) + call.extra_headers
        return StoredResponse(served.reply.status, headers, served.body), signed
    except answers.PassedOn as refused:
        return refused.stored, ()
    finally:
        release(call)


async def attempt(gateway: Gateway, call: Call, *, holding: bool) -> Served:
    """Ask candidates in turn until one serves. With `holding`, what each may cost is held before it is asked."""
    last: NodeFailed | None = None
    hedging = gateway.settings.hedge_ms / 1000 if holding else 0
    route = enumerate(islice(call.route, gateway.settings.attempts))
    for number, candidate in route:
        if holding:
            await call.hold_for(gateway, candidate)
        try:
            first = _once(gateway, call, candidate, number)
            return await (_hedged(gateway, call, first, route, hedging) if hedging else first)
        except NodeFailed as failed:
            last = failed
    raise exhausted(call, last)


async def _once(gateway: Gateway, call: Call, candidate: Candidate, number: int) -> Served:
    """One attempt, told to the candidate's record. A failure is noted, and raised as NodeFailed."""
    started = now_ms()
    candidate.health.begin()
    try:
        reply, body = await _invoke(gateway, call, candidate, number)
        tokenizer = gateway.tokenizers.of(candidate.subject)
        metered = answers.whole(tokenizer, call.ask, reply, body, now_ms() - started)
    except NodeFailed as failed:
        note_failure(gateway, call, candidate, failed)
        raise
    except BaseException:
        if call.clock is not None and call.clock.expired():
            note_failure(gateway, call, candidate, NodeFailed("the node was too slow for its workflow", "timeout"))
        else:
            candidate.health.forgotten()
        raise
    ended = now_ms()
    near = gateway.upstream.round_trip_ms(candidate.target)
    candidate.health.succeeded(ended - started, metered.overclaimed, near)
    return Served(candidate, reply, body, usage.capped(metered.units, call.most), ended)


async def _hedged(
    gateway: Gateway,
    call: Call,
    first: Coroutine[Any, Any, Served],
    route: Iterator[tuple[int, Candidate]],
    wait: float,
) -> Served:
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


def release(call: Call) -> None:
    """Give a hold back that no charge is under way for."""
    if call.hold is not None and not call.hold.settled and not call.hold.charging:
        call.hold.settle(0)


async def _invoke(gateway: Gateway, call: Call, candidate: Candidate, number: int) -> tuple[Reply, bytes]:
    """One attempt: the node's whole answer. Raises NodeFailed, or PassedOn for what the consumer must mend."""
    reply = await ask_node(gateway, call, candidate, number)
    limit = gateway.settings.max_answer_bytes
    if 4 in candidate.tariff.metered:
        limit = gateway.settings.metered_answer_bytes
    try:
        body = await reply.body(limit)
    except asyncio.CancelledError:
        reply.cancel()
        raise
    answers.check_status(reply, body)
    return reply, body


async def ask_node(gateway: Gateway, call: Call, candidate: Candidate, number: int) -> Reply:
    """Send the request to a node; its answer's head."""
    ask = call.ask
    attempt = keccak256(call.billing.call_id, number.to_bytes(4, "big"))
    headers = b"%bIdempotency-Key: %b\r\n" % (ask.headers, to_hex(attempt).encode())
    return await gateway.upstream.request(
        candidate.target, ask.upstream_path(candidate.served_as), ask.to(candidate.served_as), headers
    )


def exhausted(call: Call, last: TollwayError | None) -> Refusal:
    """No candidate served: what happened to each."""
    facts: dict[str, object] = {"attempts": call.billing.attempts}
    if not isinstance(last, NodeFailed):
        return Refusal(503, "no_capacity", f"no provider of {call.entry.name} has capacity", retry_after=1, facts=facts)
    status = {"timeout": 504, "busy": 503}.get(last.kind, 502)
    return Refusal(
        status,
        f"node_{last.kind}",
        f"{last.message}; {len(call.billing.attempts)} tried, nothing was charged",
        retry_after=1 if status == 503 else None,
        facts=facts,
    )


def note_failure(gateway: Gateway, call: Call, candidate: Candidate, failed: NodeFailed) -> None:
    """An attempt failed: remember it of the node, and for the receipt."""
    candidate.health.failed(now_ms())
    call.billing.failed(candidate, failed.kind)
    gateway.metrics.node_failures.labels(failed.kind).inc()
