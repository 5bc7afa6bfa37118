"""Streams: passed on as they come, metered as they go, and ended only when the receipt is durable.

Nothing is sent before the node's first token, so until then the next candidate can still be tried. The last event,
`[DONE]`, waits for the receipt log; before it goes a comment with the receipt, which every client skips. A stream that
was cut, by either side, is billed for what was delivered and ends without `[DONE]`.

Sound is streamed in the same way, without events: its last byte waits for the receipt, whose id is in the head, and a
stream that was cut ends without the end of its body.
"""

from __future__ import annotations

import asyncio
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable
from typing import Protocol

import msgspec
import orjson

from gateway import bounds
from gateway.asgi import Client
from gateway.call.call import Call, Request, ask_node, exhausted, note_success, too_late
from gateway.call.idempotency import JSON, NO_SNIFFING, StoredResponse, receipt_facts, receipt_headers
from gateway.catalog.catalog import Candidate
from gateway.clock import steady_ms
from gateway.context import Gateway
from gateway.errors import ClientLeft, NodeFailed, Refusal, RuleBroken, body_of, refusal
from gateway.metering import answers, media, usage
from gateway.metering.ask import SPEECH
from gateway.metering.media import SoundStream
from gateway.metering.openai import StreamAccumulator, StreamState
from gateway.metering.usage import Metered, Meters
from gateway.payment.billing import Served
from gateway.upstream.http import Reply
from ledger.core.receipts.receipt import EndReason
from ledger.core.values.errors import Conflict, Rejected, TollwayError
from ledger.core.values.ids import Digest, to_hex
from ledger.core.values.meters import Meter
from ledger.store.receipts.receipts import Signed

DONE = b"data: [DONE]\n\n"
HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


def answer_stream(
    gateway: Gateway, call: Call, request: Request
) -> Awaitable[tuple[StoredResponse, tuple[Signed, ...]]]:
    """Serve a call as a stream. Returns what was sent, and the receipts: none when nothing was charged. Raises PassedOn
    when the nodes refused the request.
    """
    work = _answer_stream(gateway, call, request)
    return work if gateway.tracing is None else call.traced(gateway.tracing, work)


async def _answer_stream(gateway: Gateway, call: Call, request: Request) -> tuple[StoredResponse, tuple[Signed, ...]]:
    streaming: _Streaming | None = None
    try:
        streaming = await _begin(gateway, call, request)
        return await streaming.run()
    except BaseException:
        if streaming is not None:
            streaming.cancel()
        raise
    finally:
        if call.failures:
            call.book_failures(gateway, served=True)
        call.release()


async def _begin(gateway: Gateway, call: Call, request: Request) -> _Streaming:
    """Ask candidates in turn until one streams its first token."""
    served = False
    try:
        for number, candidate in call.tries(gateway.settings.attempts):
            if not await call.holds(gateway, candidate):
                continue
            kind = _Sound if call.ask.path == SPEECH else _Text
            streaming = kind(gateway, call, candidate, request, call.stop_at(gateway, number))
            try:
                async with asyncio.timeout_at(streaming.stop_at):
                    await streaming.begin(number)
            except TimeoutError:
                if not call.is_late_by_node:
                    raise too_late(gateway, call) from None
                call.fail(gateway, candidate, NodeFailed("the node was too slow for its workflow", "late"))
                break
            except NodeFailed as failure:
                call.fail(gateway, candidate, failure)
                continue
            except (Rejected, Conflict) as error:
                raise RuleBroken(error) from error
            served = True
            return streaming
        raise exhausted(call)
    finally:
        if call.failures:
            call.book_failures(gateway, served)


class Reader(Protocol):
    """Reads a stream: decides which of it goes to the consumer now."""

    finish_reasons: list[str]

    @property
    def state(self) -> StreamState: ...
    @property
    def ended(self) -> bool: ...
    @property
    def digest(self) -> Digest: ...
    def take(self, chunk: bytes) -> bytes: ...
    def close(self) -> None: ...


class _Streaming(ABC):
    """One node's stream to one consumer. `end` is how it ended, as far as is known yet."""

    accumulator: Reader

    def __init__(
        self, gateway: Gateway, call: Call, candidate: Candidate, request: Request, stop_at: float | None
    ) -> None:
        self.gateway, self.call, self.candidate, self.stop_at = gateway, call, candidate, stop_at
        self.client: Client = request.client
        self.stored: list[bytes] | None = [] if request.keyed else None
        self.stored_bytes = 0
        self.waited_ms = 0
        """For the consumer, until it had taken what was written."""
        call_header = (b"tollway-call", to_hex(request.call_id).encode())
        self.headers = [*HEADERS, call_header, *request.extra_headers]
        by_byte = Meter.byte in candidate.tariff.metered
        self.most_bytes = call.most.byte - len(call.ask.body) if by_byte else sys.maxsize
        self.started = steady_ms()
        self.first_byte_ms = self.first_token_ms = 0
        """Until its first token, since this node was asked, and since the request arrived."""
        self.end = EndReason.normal
        self.failure: NodeFailed | None = None
        self.reply: Reply | None = None
        self.chunks: AsyncIterator[bytes]
        self.unsent = b""

    async def begin(self, number: int) -> None:
        """Ask the node, and read up to its first token. Raises NodeFailed; nothing is sent yet."""
        with self.client.presence:
            reply = self.reply = await ask_node(self.gateway, self.call, self.candidate, number)
        self.client.presence.stop = self._leave
        try:
            if not 200 <= reply.status < 300:
                answers.check_status(self.call.ask.path, reply, await reply.body(bounds.ANSWER_BYTES))
            self._check(reply)
            self.chunks = reply.chunks()
            while self.accumulator.state is StreamState.silent:
                chunk = await anext(self.chunks, None)
                if chunk is None:
                    raise NodeFailed("the node ended its stream before it said anything", "cut")
                self.unsent += self.accumulator.take(chunk)
            reply.begun = True
        except BaseException:
            self.client.presence.stop = None
            self.cancel()
            if self.end is EndReason.client_abort:
                raise ClientLeft from None
            raise
        now = steady_ms()
        self.first_byte_ms, self.first_token_ms = now - self.started, now - self.client.arrived

    async def run(self) -> tuple[StoredResponse, tuple[Signed, ...]]:
        """Pass the stream on to its end, charge, and end the answer truthfully."""
        stop_at = self.stop_at
        late = asyncio.get_running_loop().call_at(stop_at, self._too_late) if stop_at is not None else None
        try:
            if not self.accumulator.ended:
                await self._forward()
        finally:
            self.client.presence.stop = None
            if late is not None:
                late.cancel()
        if self.accumulator.state is StreamState.full:
            self.cancel()
            self.end = EndReason.hold_reached
        signed, failure_of_ours = await self._charge()
        return await self._finish(signed, failure_of_ours or self.failure), signed

    def _check(self, reply: Reply) -> None:  # noqa: B027
        """Raise NodeFailed when the head of an answer is of nothing that was asked for."""

    @abstractmethod
    async def _metered(self, meters: Meters, took_ms: int) -> Metered:
        """Units of the stream, as far as it came."""

    @abstractmethod
    async def _finish(self, signed: tuple[Signed, ...], failure: TollwayError | None) -> StoredResponse:
        """End the answer truthfully. Returns what is kept of it."""

    def cancel(self) -> None:
        if self.reply is not None:
            self.reply.cancel()

    async def _forward(self) -> None:
        """Pass on what comes, and find how the stream ended. What came with its end stays unsent: it joins the receipt.

        All that arrived in one turn of the event loop is one chunk here, and one write to the client.
        """
        accumulator = self.accumulator
        try:
            while not accumulator.ended:
                if self.unsent:
                    await self._write(self.unsent)
                    self.unsent = b""
                chunk = await anext(self.chunks, None)
                if chunk is None:
                    break
                self.unsent = accumulator.take(chunk)
        except NodeFailed as failed:
            slow = failed.kind == "timeout" and self.waited_ms >= self.gateway.settings.idle_stream_seconds * 1_000
            if self.end is EndReason.normal and slow:  # its reader used the time up, and pays for what it has
                self.end = EndReason.client_abort
            elif self.end is EndReason.normal:
                self.end, self.failure = EndReason.upstream_cut, failed
            elif self.end is EndReason.timeout:
                self.failure = NodeFailed("the node took longer than its call or workflow gives it", "late")
            return
        if self.end is not EndReason.client_abort:
            self.end = EndReason.normal
            accumulator.close()
            if accumulator.state < StreamState.finished:
                self.end = EndReason.upstream_cut
                self.failure = NodeFailed("the node ended its stream in the middle", "cut")

    def _too_late(self) -> None:
        if self.end is EndReason.normal:  # a consumer that left pays, however late the node is then
            self.end = EndReason.timeout
        self.cancel()

    def _leave(self) -> None:
        """When the consumer leaves, stop the node, or, if it cannot be stopped, let it finish for a while."""
        self.end = EndReason.client_abort
        if self.reply is not None and self.reply.headers.get(b"tollway-cancel") == b"none":
            asyncio.get_running_loop().call_later(self.gateway.settings.drain_seconds, self.cancel)
        else:
            self.cancel()

    async def _charge(self) -> tuple[tuple[Signed, ...], TollwayError | None]:
        """Meter and charge. Returns the receipts, or why there are none."""
        gateway, call, candidate, now = self.gateway, self.call, self.candidate, steady_ms()
        meters = Meters(gateway.tokenizers.of(candidate.subject), candidate.tariff.metered, call.most.output_token)
        metered = await self._metered(meters, now - self.started)
        if self.end in (EndReason.upstream_cut, EndReason.timeout):
            assert self.failure is not None
            if self.end is EndReason.upstream_cut or call.is_late_by_node:
                call.failures.append((candidate, self.failure))
        else:
            note_success(gateway, candidate, self.first_byte_ms, metered.overclaimed)
        units = usage.capped(metered.units, call.most)
        ended = gateway.end_of(call.billing.epoch)
        served = Served(units, self.end, ended, call.ask.body, self.accumulator.digest, candidate.provider)
        if call.span is not None:
            call.span.streamed(self.first_byte_ms)
            model = call.model_of(gateway, candidate)
            call.span.served(call.billing.call_id, model, served, self.accumulator.finish_reasons)
        try:
            signed = await call.charge(gateway, candidate, served)
        except TollwayError as error:
            return (), error
        if signed and self.client.model is not None:
            gateway.metrics.first_token(self.client.model, self.first_token_ms)
        return signed, None

    async def _write(self, body: bytes, *, more: bool = True) -> None:
        if self.stored is not None and self.stored_bytes <= bounds.KEPT_ANSWER_BYTES:  # a longer one is not kept
            self.stored.append(body)
            self.stored_bytes += len(body)
        if not self.client.answered:
            await self.client.begin(200, self.headers)
        began = steady_ms()
        await self.client.write(body, more=more)
        self.waited_ms += steady_ms() - began

    def _kept(self) -> StoredResponse:
        return StoredResponse(200, self.headers, b"".join(self.stored or ()))


class _Text(_Streaming):
    """A stream of events."""

    accumulator: StreamAccumulator

    def __init__(
        self, gateway: Gateway, call: Call, candidate: Candidate, request: Request, stop_at: float | None
    ) -> None:
        super().__init__(gateway, call, candidate, request, stop_at)
        counted = gateway.tokenizers.of(candidate.subject) is not None
        ask = call.ask
        if ask is not request.ask:  # a workflow's last step, whose answer is the workflow's
            ask = msgspec.structs.replace(ask, model=request.ask.model)
        self.accumulator = StreamAccumulator(ask, call.billing.salt, call.most.output_token, self.most_bytes, counted)

    async def _metered(self, meters: Meters, took_ms: int) -> Metered:
        assert self.reply is not None
        return await answers.streamed(meters, self.call.ask, self.reply, self.accumulator, took_ms)

    async def _finish(self, signed: tuple[Signed, ...], failure: TollwayError | None) -> StoredResponse:
        await self._write(self._ending(signed, failure), more=False)
        return self._kept()

    def _ending(self, signed: tuple[Signed, ...], failure: TollwayError | None) -> bytes:
        """The last bytes: usage and receipt, then `[DONE]`, or an error and no `[DONE]`."""
        note = receipt_facts(signed) if signed else None
        comment = b": tollway-receipt " + orjson.dumps(note) + b"\n\n" if note else b""
        if self.end is EndReason.client_abort:
            failure = failure or Refusal(409, "client_abort", "the client left before the end: it paid what it got")
        if failure is not None:
            return self.unsent + comment + b"data: " + body_of(refusal(failure)) + b"\n\n"
        if self.end is EndReason.hold_reached and signed:
            self.accumulator.report(signed[-1].receipt.units)
        cost = self.gateway.currency.decimal(int(note["charge"])) if note else None
        return self.unsent + self.accumulator.last_events(note, cost) + comment + DONE


class _Sound(_Streaming):
    """A stream of bytes."""

    accumulator: SoundStream

    def __init__(
        self, gateway: Gateway, call: Call, candidate: Candidate, request: Request, stop_at: float | None
    ) -> None:
        super().__init__(gateway, call, candidate, request, stop_at)
        self.accumulator = SoundStream(call.billing.salt, self.most_bytes)

    def _check(self, reply: Reply) -> None:
        media.check_sound(reply)
        kind = (b"content-type", media.content_type(self.call.ask, reply))
        self.headers = [kind, NO_SNIFFING, *self.headers[len(HEADERS) :]]

    async def _metered(self, meters: Meters, took_ms: int) -> Metered:
        is_whole = self.end in (EndReason.normal, EndReason.client_abort, EndReason.hold_reached)
        return media.streamed(self.call.ask, self.accumulator.size, took_ms, is_whole=is_whole)

    async def _finish(self, signed: tuple[Signed, ...], failure: TollwayError | None) -> StoredResponse:
        """Send the last byte, or leave the answer without an end. What was cut is kept as the error that it was."""
        if self.end is EndReason.client_abort:
            failure = failure or Refusal(409, "client_abort", "the client left before the end: it paid for all of it")
        if failure is None:
            await self._write(self.unsent + self.accumulator.last, more=False)
            return self._kept()
        said = refusal(failure)
        receipts = receipt_headers(*signed) if signed else []
        return StoredResponse(said.status, [*JSON, *receipts], body_of(said))
