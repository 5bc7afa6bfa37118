"""Streams: relayed as they come, metered as they go, and ended only when the receipt is durable.

Nothing is sent before the node's first token, so until then the next candidate can still be tried. The last event,
`[DONE]`, waits for the journal; before it goes a comment with the receipt, which every client skips. A stream that was
cut, by either side, is billed for what was delivered, and nobody sees `[DONE]` of a stream that was not whole.

What has come of a stream: which of it goes to the consumer, and what it adds up to.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator
from itertools import islice
from typing import Any

import orjson

from gateway.asgi import Client
from gateway.call.call import Call, ask_node, exhausted, note_failure, release
from gateway.call.idempotency import StoredResponse
from gateway.catalog.catalog import Candidate
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import NodeFailed, body_of, refusal
from gateway.metering import answers, protocols, usage
from gateway.metering.usage import NodeUnits, Usage
from gateway.payment.billing import charge
from gateway.upstream.http import Reply
from ledger.core.receipts.receipt import EndReason
from ledger.core.values.errors import TollwayError
from ledger.core.values.hashes import Digest
from ledger.core.values.ids import to_hex
from ledger.core.values.meters import Units
from ledger.store.receipts.receipts import Signed

DONE = b"data: [DONE]\n\n"
HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


async def stream(gateway: Gateway, call: Call, client: Client) -> tuple[StoredResponse, tuple[Signed, ...]]:
    """Serve a call as a stream. Returns what was sent, and the receipts: none when nothing was charged.

    A node's refusal of the request (status 4xx) is returned without having been sent.
    """
    last: TollwayError | None = None
    try:
        for number, candidate in enumerate(islice(call.route, gateway.settings.attempts)):
            if call.settle is None:
                await call.hold_for(gateway, candidate)
            started = now_ms()
            candidate.health.begin()
            counted = gateway.tokenizers.of(candidate.subject) is not None
            by_byte = 4 in candidate.tariff.metered
            most = call.most.output_token, call.most.byte - len(call.ask.body) if by_byte else sys.maxsize
            accumulator = StreamAccumulator(call.ask.include_usage, call.billing.salt, counted, *most)
            reply: Reply | None = None
            try:
                async with asyncio.timeout_at(call.late_at):
                    reply = await ask_node(gateway, call, candidate, number)
                    if not 200 <= reply.status < 300:
                        answers.check_status(reply, await reply.body(gateway.settings.max_answer_bytes))
                    chunks = reply.chunks()
                    head = await _first(accumulator, chunks)
            except TimeoutError:
                last = NodeFailed("the node was too slow for its workflow", "timeout")
                note_failure(gateway, call, candidate, last)
                if reply is not None:
                    reply.cancel()
                break
            except NodeFailed as failed:
                last = failed
                note_failure(gateway, call, candidate, failed)
                continue
            except answers.PassedOn as refused:
                candidate.health.forgotten()
                return refused.stored, ()
            except BaseException:
                candidate.health.forgotten()
                raise
            return await _Streaming(gateway, call, candidate, accumulator, reply, started).run(head, chunks, client)
        raise exhausted(call, last)
    finally:
        release(call)


async def _first(accumulator: StreamAccumulator, chunks: AsyncIterator[bytes]) -> bytes:
    """Everything up to and with the first token."""
    head = b""
    async for chunk in chunks:
        head += accumulator.take(chunk)
        if accumulator.began:
            return head
    raise NodeFailed("the node ended its stream before it said anything", "cut")


class _Streaming:
    """One stream that has begun."""

    def __init__(
        self,
        gateway: Gateway,
        call: Call,
        candidate: Candidate,
        accumulator: StreamAccumulator,
        reply: Reply,
        started: int,
    ) -> None:
        self.gateway, self.call, self.candidate = gateway, call, candidate
        self.accumulator, self.reply, self.started = accumulator, reply, started
        self.first_byte_ms = now_ms() - started
        call_header = (b"tollway-call", to_hex(call.billing.call_id).encode())
        self.headers = [*HEADERS, call_header, *call.extra_headers]
        self.end = EndReason.normal
        self.failure: NodeFailed | None = None
        self.sent: list[bytes] = []

    async def run(
        self, head: bytes, chunks: AsyncIterator[bytes], client: Client
    ) -> tuple[StoredResponse, tuple[Signed, ...]]:
        """Pass the stream on to its end, charge, and end the answer truthfully."""
        rest = head
        if not self.accumulator.ended:
            watcher = asyncio.create_task(self._watch(client))
            late_at = self.call.late_at
            late = asyncio.get_running_loop().call_at(late_at, self._stop, EndReason.timeout) if late_at else None
            try:
                rest = await self._forward(head, chunks, client)
            finally:
                watcher.cancel()
                if late is not None:
                    late.cancel()
        signed, failure_of_ours = await self._charge(self.end)
        await self._write(client, self._ending(rest, signed, failure_of_ours or self.failure), more=False)
        return StoredResponse(200, self.headers, b"".join(self.sent), sent=True), signed

    async def _forward(self, head: bytes, chunks: AsyncIterator[bytes], client: Client) -> bytes:
        """Pass on what comes, and find how the stream ended. What came with its end is returned: the receipt joins it.

        Whatever has arrived in one turn of the event loop is one chunk here, and one write to the client.
        """
        accumulator, out = self.accumulator, head
        try:
            while not accumulator.ended:
                if out:
                    await self._write(client, out)
                chunk = await anext(chunks, None)
                if chunk is None:
                    break
                out = accumulator.take(chunk)
        except NodeFailed as failed:
            if self.end is EndReason.normal:
                self.end, self.failure = EndReason.upstream_cut, failed
            elif self.end is EndReason.timeout:
                self.failure = NodeFailed("the node took longer than its workflow gives it", "timeout")
            return b""
        if accumulator.full:
            self.reply.cancel()
            self.end = EndReason.hold_reached
        elif self.end is not EndReason.client_abort:
            self.end = EndReason.normal
            if not accumulator.done and not accumulator.finished:
                self.end = EndReason.upstream_cut
                self.failure = NodeFailed("the node ended its stream in the middle", "cut")
        return out if accumulator.ended else b""

    def _stop(self, end: EndReason) -> None:
        self.end = end
        self.reply.cancel()

    async def _watch(self, client: Client) -> None:
        """Notice that the consumer left: tell the node to stop, or, if it cannot, let it finish for a while."""
        await client.wait_until_gone()
        self.end = EndReason.client_abort
        if self.reply.headers.get(b"tollway-cancel") == b"none":
            await asyncio.sleep(self.gateway.settings.drain_seconds)
        self.reply.cancel()

    async def _charge(self, end: EndReason) -> tuple[tuple[Signed, ...], TollwayError | None]:
        """Meter and charge. A stream that was cut is charged for what was delivered."""
        call, accumulator, now = self.call, self.accumulator, now_ms()
        whole = end is EndReason.normal or accumulator.usage is not None
        reported = accumulator.usage if whole else None
        tokenizer = self.gateway.tokenizers.of(self.candidate.subject)
        inputs, outputs, over = answers.tokens(
            tokenizer, call.ask, reported, accumulator.text, accumulator.tokens, accumulator.size
        )
        if end in (EndReason.upstream_cut, EndReason.timeout):
            self.candidate.health.failed(now)
        else:
            near = self.gateway.upstream.round_trip_ms(self.candidate.target)
            self.candidate.health.succeeded(self.first_byte_ms, over, near)
        size = len(call.ask.body) + accumulator.size
        noted = accumulator.units or usage.node_units(self.reply.headers.get(b"tollway-usage"))
        took = now - self.started
        ms = took if noted is None or noted.ms is None else max(0, min(noted.ms, took))
        fuel = max(0, noted.fuel) if noted else 0
        units = usage.capped(Units(1, inputs, outputs, ms, size, fuel), call.most)
        try:
            if call.settle is not None:
                return await call.settle(self.candidate, units, end, now, accumulator.digest), None
            hold = call.hold
            assert hold is not None
            terms = await call.terms(self.candidate)
            draft = call.billing.draft(
                terms, units, end, now, call.ask.body, accumulator.digest, self.candidate.provider
            )
            return await charge(self.gateway.receipt_log, hold, (draft,)), None
        except TollwayError as error:
            return (), error

    def _ending(self, head: bytes, signed: tuple[Signed, ...], failure: TollwayError | None) -> bytes:
        """The last bytes: usage and receipt, then `[DONE]`, or an error and none."""
        note = self._note(*signed) if signed else None
        comment = b": tollway-receipt " + orjson.dumps(note) + b"\n\n" if note else b""
        if failure is not None:
            return head + comment + b"data: " + body_of(refusal(failure)) + b"\n\n"
        return head + self.accumulator.last(note) + comment + DONE

    @staticmethod
    def _note(*signed: Signed) -> dict[str, str]:
        receipt = signed[-1].receipt
        return {
            "receipt": to_hex(receipt.call_id),
            "charge": str(sum(one.receipt.charge for one in signed)),
            "seq": f"{to_hex(receipt.gateway)}-{receipt.seq}",
            "signature": to_hex(signed[-1].signature),
        }

    async def _write(self, client: Client, body: bytes, *, more: bool = True) -> None:
        if self.call.keyed:
            self.sent.append(body)
        if not client.answered:
            await client.begin(200, self.headers)
        await client.write(body, more=more)


NODES_OWN = ("tollway_units", "tollway_served")
"""What a node tells its gateway in the usage event, and nobody else."""


class StreamAccumulator:
    """A stream so far."""

    def __init__(self, include_usage: bool, salt: bytes, keep_text: bool, most: int, most_bytes: int) -> None:
        self.usage: Usage | None = None
        self.units: NodeUnits | None = None
        self.tokens = 0
        self.size = 0
        self.finished = False
        self.done = False
        self.full = False
        """More has come than was held for: nothing after it is handed on."""
        self._most, self._most_bytes = most, most_bytes
        self._include_usage = include_usage
        self._splitter = protocols.Splitter()
        self._hasher = hashlib.sha256(salt)
        self._texts: list[str] | None = [] if keep_text else None
        self._last: list[bytes] = []

    @property
    def began(self) -> bool:
        """Something worth sending has come."""
        return self.tokens > 0 or self.finished or self.done

    @property
    def ended(self) -> bool:
        """Nothing after this is read."""
        return self.done or self.full

    @property
    def text(self) -> str:
        """The text so far, where somebody counts it."""
        return "".join(self._texts or ())

    @property
    def digest(self) -> Digest:
        """The salted digest of all that was handed on."""
        return Digest(self._hasher.digest())

    def take(self, chunk: bytes) -> bytes:
        """What of a chunk goes to the consumer now. Raises NodeFailed for an error event or nonsense."""
        out = []
        for raw in self._splitter.feed(chunk):
            data = protocols.data_of(raw)
            if data is None:
                if raw:
                    out.append(raw + b"\n\n")
                continue
            if data == b"[DONE]":
                self.done = True
                break
            if self._metered(data):
                out.append(raw + b"\n\n")
            elif self._include_usage:
                self._last.append(raw + b"\n\n")
            if self.tokens > self._most or self.size > self._most_bytes:
                self.full = True
                break
        whole = b"".join(out)
        self._hasher.update(whole)
        return whole

    def last(self, note: dict[str, Any] | None) -> bytes:
        """The events held back until the receipt is durable: the usage, with what the call cost."""
        noted = []
        for raw in self._last:
            event = orjson.loads(protocols.data_of(raw.rstrip(b"\n")) or b"{}")
            for name in NODES_OWN:
                event.pop(name, None)
            if note is not None:
                event["tollway"] = note
            noted.append(b"data: " + orjson.dumps(event) + b"\n\n")
        return b"".join(noted)

    def _metered(self, data: bytes) -> bool:
        """Count an event. False for the final usage event, which is ours to send or to leave out."""
        event = protocols.event(data)
        if event is None:
            raise NodeFailed("the node streams nonsense", "nonsense")
        if event.error is not None:
            raise NodeFailed("the node ended its stream with an error", "error")
        self.size += len(data)
        self.tokens += event.tokens
        self.finished = self.finished or event.finished
        if self._texts is not None:
            self._texts.append(event.text)
        if event.tollway_units is not None:
            self.units = event.tollway_units
        if event.usage is not None:
            self.usage = event.usage
            return bool(event.choices)
        return True
