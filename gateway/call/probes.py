"""Probes: our own small calls of nodes that failed a consumer. They alone move a node's quality, so no consumer can.

A probe is a call of the operator: it is charged to its deposit. One that this does not cover, that costs more than
`MOST_ATOMS`, or that would bring its provider more than `health.MOST_A_DAY_ATOMS` in a day, is sent all the same and
not charged: no provider can empty the operator's purse, by its price or by failing and recovering.
"""

import asyncio
import logging
import math
import os
import wave
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from typing import Any

import orjson

from gateway.call import call as calls
from gateway.call.call import Call
from gateway.catalog.catalog import Candidate, ModelEntry
from gateway.clock import now_ms, steady_ms
from gateway.context import Gateway
from gateway.errors import NodeFailed, Refusal, RuleBroken
from gateway.metering import media, openai
from gateway.metering.ask import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    IMAGES,
    INFER,
    PROTOCOLS,
    RERANK,
    SPEECH,
    TRANSCRIPTIONS,
    Ask,
)
from gateway.payment.billing import Billing, most_units
from ledger.core.catalog.protocols import Protocol
from ledger.core.values import forms
from ledger.core.values.errors import TollwayError
from ledger.core.values.forms import Form, Part
from ledger.core.values.ids import call_id, to_hex

log = logging.getLogger("tollway.probes")

EVERY_SECONDS = 0.5
MOST_AT_ONCE = 64
"""Of as many providers: one that lets its probes wait keeps none of the others' from them."""
MOST_ATOMS = 10_000
"""The most that the operator pays for one probe."""
MOST_ANSWER_BYTES, MOST_SECONDS = 16_384, 10
"""What it is held for, and charged at most, where bytes or time are paid for."""
PROBES: Mapping[str, Mapping[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1},
    COMPLETIONS: {"prompt": "Hello", "max_tokens": 1},
    EMBEDDINGS: {"input": "Hello"},
    RERANK: {"query": "Hello", "documents": ["Hello"]},
    IMAGES: {"prompt": "A white dot", "size": "256x256"},
    SPEECH: {"input": "Hello", "voice": "alloy"},
}
BOUNDARY = b"probe"
MOST_ELEMENTS = 4_096
"""The largest tensor that a probe fills."""


async def send_due(gateway: Gateway) -> None:
    """Begin the probes that are due. They go on by themselves."""
    unwell = gateway.unwell
    if gateway.draining or not gateway.receipt_log.healthy or gateway.refusal() is not None:
        return
    for provider, subject in unwell.take(steady_ms(), MOST_AT_ONCE - len(unwell.probes)):
        for entry in gateway.catalog.everywhere(subject):
            for candidate in entry.candidates:
                if candidate.provider != provider or (_is_dear(entry) and not candidate.health.paused_until):
                    continue
                if not candidate.health.is_connected:  # it is probed when its tunnel is there again
                    candidate.health.probed_at = steady_ms()
                    unwell.add((provider, subject), candidate.health)
                else:
                    task = asyncio.create_task(_probe(gateway, entry, candidate))
                    unwell.probes[task] = provider
                    task.add_done_callback(unwell.probes.pop)


def _is_dear(entry: ModelEntry) -> bool:
    """Whether a probe makes a whole image or a sound: for whoever fails callers, and for no better quality than calls
    show. Anybody can make calls that fail.
    """
    return path_of(entry) in media.PATHS


def add_paused(gateway: Gateway) -> None:
    """Have the nodes probed whose circuit is open. Who left with it open and comes back is called by nobody, so nothing
    else would close it.
    """
    public = gateway.catalog
    for entry in (entry for catalog in (public, *public.inside.values()) for entry in catalog.models()):
        for candidate in entry.candidates:
            if candidate.health.paused_until:
                gateway.unwell.add((candidate.provider, candidate.subject), candidate.health)


async def _probe(gateway: Gateway, entry: ModelEntry, candidate: Candidate) -> None:
    health = candidate.health
    health.probed_at = steady_ms()
    try:
        result = await _send(gateway, entry, candidate)
    except (RuleBroken, TollwayError, OSError) as error:
        result = "broke"
        log.error("probe_broke", extra={"provider": to_hex(candidate.provider), "reason": str(error)})
    else:
        log.info("node_probed", extra={"provider": to_hex(candidate.provider), "model": entry.name, "result": result})
    if not candidate.realm:
        gateway.metrics.probed(candidate.provider, result)
    if health.wants_probe:
        gateway.unwell.add((candidate.provider, candidate.subject), health)


async def _send(gateway: Gateway, entry: ModelEntry, candidate: Candidate) -> str:
    """Send a probe, judge the node by its answer, and pay for it. Returns the result in a word."""
    call, health = _call(gateway, entry, candidate), candidate.health
    price = candidate.tariff.hold(call.most)
    with suppress(Refusal):
        if price <= MOST_ATOMS and gateway.unwell.may_pay(candidate.provider, price, now_ms()):
            await call.holds(gateway, candidate)
    try:
        async with asyncio.timeout(gateway.settings.first_byte_seconds):  # for all of it: it is one token
            answer = await calls.invoke(gateway, call, candidate, 0)
        health.probe_passed(steady_ms())
        if call.hold is not None:
            await call.charge(gateway, candidate, answer.served)
        return "passed"
    except TimeoutError:
        health.probe_failed(steady_ms())
        return "late"
    except NodeFailed as failure:
        if failure.kind == "busy":
            return "busy"
        if failure.kind == "refused" or (failure.kind in ("error", "nonsense") and call.ask.path == INFER):
            health.probe_answered(steady_ms())
            return "answered"
        health.probe_failed(steady_ms())
        return failure.kind
    finally:
        call.release()


def _call(gateway: Gateway, entry: ModelEntry, candidate: Candidate) -> Call:
    now, ask = now_ms(), ask_of(entry)
    billing = Billing(
        call_id=call_id(gateway.lane, gateway.operator, "", ask.path, os.urandom(16)),
        consumer=gateway.operator,
        asker=gateway.operator,
        lane=gateway.lane,
        epoch=gateway.catalog.epoch,
        model=entry.name,
        salt=os.urandom(16),
        started=now,
        realm=candidate.realm,
    )
    most = ask.bound(most_units(len(ask.body), 1, MOST_ANSWER_BYTES, MOST_SECONDS))
    return Call(ask, most, billing, iter((candidate,)))


def path_of(entry: ModelEntry) -> str:
    """The route by which a model is probed: the cheapest that its document names."""
    return next((path for path in (*PROBES, TRANSCRIPTIONS) if PROTOCOLS[path] in entry.protocols), INFER)


def ask_of(entry: ModelEntry) -> Ask:
    """A probe of a model, by an interface of its document: one token of chat or of a text, one embedding, one document,
    a small image, a word, a tenth of a second of silence, or tensors that fit the declared inputs. Whether a model can
    use those is not declared, so a refusal of them, or an error, says only that the node is there.
    """
    path = path_of(entry)
    if path in PROBES:
        body = orjson.dumps({"model": entry.name, **PROBES[path]})
        return media.read(path, body, "") if path in media.PATHS else openai.read(path, body)
    if path == TRANSCRIPTIONS:
        parts = (Part("model", entry.name.encode()), Part("file", _silence(), is_file=True))
        body = Form(parts).written(BOUNDARY, "silence.wav", "audio/wav")
        return media.read(TRANSCRIPTIONS, body, forms.content_type(BOUNDARY))
    interfaces = entry.model.document["interfaces"]
    declared: list[Mapping[str, Any]] = next(
        (one["inputs"] for one in interfaces if one["protocol"] == Protocol.tensors), []
    )
    inputs = [_tensor(one) for one in declared]
    return Ask(INFER, entry.name, orjson.dumps({"inputs": inputs}), limit=0)


def _silence() -> bytes:
    """A WAV file of a tenth of a second."""
    file = BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(bytes(3_200))
    return file.getvalue()


def _tensor(declared: Mapping[str, Any]) -> dict[str, Any]:
    """An input of zeros, false or "hello", with 1 for each free dimension. A large one is left empty."""
    shape = [max(1, size) for size in declared["shape"]]
    if math.prod(shape) > MOST_ELEMENTS:
        shape = [0]
    element: Any = {"BYTES": "hello", "BOOL": False}.get(declared["datatype"], 0)
    return {
        "name": declared["name"],
        "datatype": declared["datatype"],
        "shape": shape,
        "data": [element] * math.prod(shape),
    }
