"""Running a capsule: its nodes in levels, those of one level side by side, paid together or not at all.

The root's hold covers the most every node may cost, so no sub-call needs a hold of its own. Each node that served has a
receipt; they are journaled with the root's in one segment. When a workflow fails all-or-nothing, the consumer pays
nothing, and the weaver's own deposit pays what was served, as far as it reaches.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway import calls, routing, tensors
from gateway.admission import Caller, check_model
from gateway.answers import Headers, Kept
from gateway.calls import Call, PassedOn, Served
from gateway.catalog import CapsuleEntry, ModelEntry
from gateway.charging import Billing, charge, most_units
from gateway.clock import now_ms
from gateway.deps import Gateway
from gateway.discovery import best_match
from gateway.errors import Refusal, refusal
from gateway.glue import GlueError
from gateway.pricing import Tariff, tariff
from gateway.protocols import CHAT, INFER, Ask
from gateway.routing import Wishes
from gateway.streams import DONE, HEADERS, Receive, Send
from ledger.core import workflows as rules
from ledger.core.capsules import MAX_DEPTH, Capsule, Node, Policy
from ledger.core.errors import Rejected, TollwayError
from ledger.core.ids import Digest, to_hex
from ledger.core.keccak import keccak256
from ledger.core.meters import Units
from ledger.core.receipts import EndReason
from ledger.core.workflows import Outcome, Status
from ledger.flows import journaling
from ledger.flows.journaling import Draft
from ledger.store import documents
from ledger.store.receipts import Signed


@dataclass(slots=True)
class Run:
    """One workflow under way: what its nodes answered, and the receipts they will have."""

    entry: CapsuleEntry
    request: Any
    billing: Billing
    caps: dict[str, int]
    depth: int
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    drafts: dict[str, tuple[Draft, ...]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    fuel: int = 0

    @property
    def capsule(self) -> Capsule:
        """What is run."""
        return self.entry.capsule

    def finished(self) -> list[Draft]:
        """Drafts of every node that served, in the order of the capsule."""
        return [draft for name in self.capsule.nodes for draft in self.drafts.get(name, ())]

    def passed(self) -> int:
        """What the direct sub-calls cost: each node's own root, with all that it passed on."""
        return sum(self.drafts[name][-1].receipt.price for name in self.drafts if self.drafts[name])

    def units(self) -> Units:
        """The root's own units: one call, all its nodes' tokens, its own time and fuel."""
        own = [drafts[-1].receipt for drafts in self.drafts.values() if drafts]
        tokens = sum(r.input_tokens for r in own), sum(r.output_tokens for r in own)
        return Units(1, *tokens, now_ms() - self.billing.started, 0, self.fuel)


async def serve(
    gateway: Gateway,
    caller: Caller,
    ask: Ask,
    entry: CapsuleEntry,
    identity: Digest,
    wishes: Wishes,
    keyed: bool,
    receive: Receive,
    send: Send,
    now: int,
) -> tuple[Kept, tuple[Signed, ...]]:
    """Answer a chat request with a workflow. Raises a Refusal when it failed and the consumer pays nothing."""
    check_model(caller, entry.name, ask.model)
    if ask.path != CHAT:
        raise Refusal(400, "wrong_protocol", f"{entry.name} is a workflow: use {CHAT}", param="model")
    if entry.tariff is None:
        raise Refusal(503, "no_provider", f"{entry.name} cannot be called: {entry.why}", retry_after=5)
    request = orjson.loads(ask.body)
    caps, most = plan(gateway, entry, ask, now, 0)
    most_price, _ = entry.tariff.price(most, sum(caps.values()))
    if wishes.max_price is not None and most_price > wishes.max_price:
        message = f"{entry.name} may cost {most_price} atoms, above the {wishes.max_price} allowed"
        raise Refusal(402, "above_max_price", message, facts={"required": str(most_price)})
    hold = await gateway.purse.hold(caller.consumer, most_price, caller.budget)
    key_id = caller.key.id if caller.key is not None else None
    head = identity, caller.consumer, gateway.lane, gateway.catalog.epoch, entry.name
    run = Run(entry, request, Billing(*head, os.urandom(16), now, key_id, caller.budget), caps, 0)
    try:
        answer = await execute(gateway, run, ask)
        body = chat_answer(run, answer)
        root = _root_draft(run, entry.tariff, most, ask, body)
        signed = await charge(gateway.journal, hold, (*run.finished(), root))
        return await _answered(ask, run, body, signed, send, keyed)
    except _Failed as failed:
        return await _settle_failure(gateway, run, failed, hold, ask)
    finally:
        if not hold.settled and not hold.charging:
            hold.settle(0)


def most_price(gateway: Gateway, entry: CapsuleEntry, ask: Ask, now: int) -> int:
    """The most a request can cost."""
    caps, most = plan(gateway, entry, ask, now, 0)
    assert entry.tariff is not None, "planning refuses it"
    return entry.tariff.price(most, sum(caps.values()))[0]


class _Failed(Exception):
    """A node's failure that fails the workflow."""

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(reason)
        self.node = node
        self.reason = reason


def plan(gateway: Gateway, entry: CapsuleEntry, ask: Ask, now: int, depth: int) -> tuple[dict[str, int], Units]:
    """The most each node may cost, and the root's most units. Refused when a node cannot be served at all."""
    if depth > MAX_DEPTH:
        raise Refusal(400, "too_deep", f"workflows nest at most {MAX_DEPTH} deep")
    settings = gateway.settings
    outputs = ask.outputs if ask.outputs is not None else settings.default_output_tokens
    size = len(ask.body) + settings.node_input_bytes
    most = most_units(size, outputs, settings.metered_answer_bytes, settings.first_byte_seconds)
    caps = {}
    for node in entry.capsule.nodes.values():
        if node.paid:
            caps[node.id] = _node_cap(gateway, node, most, ask, now, depth)
    count = max(1, len(caps))
    fuel = sum(module.fuel for module in entry.capsule.glue.values())
    whole = Units(1, most.input_token * count, most.output_token * count, most.ms * count, most.byte, fuel)
    return caps, whole


def _node_cap(gateway: Gateway, node: Node, most: Units, ask: Ask, now: int, depth: int) -> int:
    entry = entry_of(gateway, node)
    if isinstance(entry, CapsuleEntry):
        if entry.inner is None:
            raise Refusal(503, "no_provider", f"{entry.name} cannot be called: {entry.why}", retry_after=5)
        caps, whole = plan(gateway, entry, ask, now, depth + 1)
        price, _ = entry.inner.price(whole, sum(caps.values()))
    else:
        candidates = routing.eligible(entry, _wishes(node), most, now, inner=True)
        price = max(candidate.inner.price(most)[0] for candidate in candidates)
    return price if node.max_price is None else min(price, node.max_price)


def entry_of(gateway: Gateway, node: Node) -> ModelEntry | CapsuleEntry:
    """What a node runs. Refused when it is not published, or nothing matches."""
    if node.capability is not None:
        return best_match(gateway, node.capability)
    wanted = node.model if node.model is not None else node.capsule
    assert wanted is not None, "glue is not looked up"
    found = gateway.catalog.by_id.get(wanted)
    if found is None:
        raise Refusal(503, "no_provider", f"node {node.id} needs 0x{wanted.hex()}, which is not published")
    return found


def _wishes(node: Node) -> Wishes:
    tiers = frozenset((node.capability or {}).get("tiers", ()))
    return Wishes(tiers=tiers)


async def execute(gateway: Gateway, run: Run, ask: Ask) -> Any:
    """Run every node that runs; the workflow's output. Raises _Failed."""
    capsule = run.capsule
    for level in capsule.steps:
        ready = []
        for name in level:
            if rules.runs(capsule, capsule.nodes[name], run.request, run.outcomes):
                ready.append(capsule.nodes[name])
            else:
                run.outcomes[name] = Outcome(Status.skipped)
        outcomes = await asyncio.gather(*(_node(gateway, run, node, ask) for node in ready))
        run.outcomes.update({node.id: outcome for node, outcome in zip(ready, outcomes, strict=True)})
        failed = rules.failed(capsule, run.outcomes)
        if failed is not None:
            raise _Failed(failed, run.reasons.get(failed, "it failed"))
    try:
        return rules.output_of(capsule, run.request, run.outcomes)
    except Rejected as rejected:
        raise _Failed("output", rejected.message) from rejected


async def _node(gateway: Gateway, run: Run, node: Node, ask: Ask) -> Outcome:
    """One node's outcome. A failure is an outcome, never an exception: the capsule says what it means."""
    try:
        async with asyncio.timeout(node.timeout_ms / 1000):
            values = rules.input_of(run.capsule, node, run.request, run.outcomes)
            if node.glue is not None:
                return Outcome(Status.ok, await _glue(gateway, run, node, values))
            entry = entry_of(gateway, node)
            if isinstance(entry, CapsuleEntry):
                return await _nested(gateway, run, node, entry, values)
            return await _model(gateway, run, node, entry, values)
    except TimeoutError:
        run.reasons[node.id] = f"it took longer than {node.timeout_ms} ms"
    except PassedOn as refused:
        run.reasons[node.id] = refused.kept.body.decode(errors="replace")[:200]
    except _Failed as failed:
        run.reasons[node.id] = f"its node {failed.node} failed: {failed.reason}"
    except TollwayError as error:
        run.reasons[node.id] = error.message
    return Outcome(Status.error)


async def _glue(gateway: Gateway, run: Run, node: Node, values: Any) -> Any:
    """Run a module of the capsule; the fuel it burns is the root's, even when it fails."""
    assert node.glue is not None
    named = run.capsule.glue[node.glue]
    stored = await gateway.db(lambda session: documents.get(session, Digest(named.digest)))
    if stored is None or stored.kind != "glue":
        raise Rejected(f"glue {node.glue!r} (sha256 {named.digest.hex()}) is not published")
    try:
        ran = await asyncio.to_thread(gateway.workshop.run, stored.body, node.export or node.glue, values, named.fuel)
    except GlueError as error:
        run.fuel += int(str(error.facts.get("fuel", 0)))
        raise
    run.fuel += ran.fuel
    return ran.output


def _billing(gateway: Gateway, run: Run, node: Node, name: str) -> Billing:
    parent = run.billing
    return Billing(
        keccak256(parent.call_id, node.id.encode()),
        parent.consumer,
        parent.lane,
        parent.epoch,
        name,
        os.urandom(16),
        now_ms(),
        parent.key_id,
        parent.budget,
        parent.call_id,
    )


async def _model(gateway: Gateway, run: Run, node: Node, entry: ModelEntry, values: Any) -> Outcome:
    """Ask a model, within what was held for the node."""
    ask = node_ask(entry, values)
    most = calls.most_of(gateway, ask, entry)
    now = now_ms()
    fitting = [
        candidate
        for candidate in routing.eligible(entry, _wishes(node), most, now, inner=True)
        if candidate.inner.price(most)[0] <= run.caps[node.id]
    ]
    if not fitting:
        raise Refusal(402, "above_max_price", f"no provider of {entry.name} serves it for {run.caps[node.id]} atoms")
    billing = _billing(gateway, run, node, entry.name)
    route = routing.order(gateway.catalog, fitting, most, billing.call_id, gateway.settings.tau_ppm, inner=True)
    call = Call(ask, entry, most, billing, route)
    served = await calls.attempt(gateway, call, holding=False)
    run.drafts[node.id] = (served.draft(call, served.candidate.inner),)
    return Outcome(Status.ok, node_output(ask, served))


async def _nested(gateway: Gateway, run: Run, node: Node, entry: CapsuleEntry, values: Any) -> Outcome:
    """Run a workflow inside a workflow: its root passes its nodes' prices on to ours."""
    ask = Ask(CHAT, entry.name, orjson.dumps(values))
    caps, most = plan(gateway, entry, ask, now_ms(), run.depth + 1)
    inner = Run(entry, values, _billing(gateway, run, node, entry.name), caps, run.depth + 1)
    assert entry.inner is not None, "planning refuses it"
    try:
        answer = await execute(gateway, inner, ask)
    except _Failed:
        run.drafts[node.id] = tuple(inner.finished())
        raise
    body = chat_answer(inner, answer)
    run.drafts[node.id] = (*inner.finished(), _root_draft(inner, entry.inner, most, ask, body))
    run.fuel += inner.fuel
    return Outcome(Status.ok, orjson.loads(body))


def node_ask(entry: ModelEntry, values: Any) -> Ask:
    """A node's request in the protocol its model speaks."""
    if "openai.chat/1" in entry.protocols:
        if not isinstance(values, dict) or "messages" not in values:
            raise Rejected(f"the input of {entry.name} has `messages`")
        body = {**values, "model": entry.name, "stream": False}
        limit = values.get("max_completion_tokens", values.get("max_tokens"))
        return Ask(CHAT, entry.name, orjson.dumps(body), outputs=limit if isinstance(limit, int) else None)
    body = tensors.request(entry.model, values)
    return Ask(INFER, entry.name, orjson.dumps(body), outputs=0)


def node_output(ask: Ask, served: Served) -> Any:
    """What other nodes see of an answer: an OIP answer's tensors by name, or the chat answer and its `content`."""
    answer = orjson.loads(served.body)
    if ask.path == INFER:
        return tensors.values(answer)
    message = (answer.get("choices") or [{}])[0].get("message") or {}
    return {**answer, "content": message.get("content")}


def chat_answer(run: Run, output: Any) -> bytes:
    """The workflow's output as a chat completion. An output that is a text, or has `content`, becomes a message."""
    choices = output.get("choices") if isinstance(output, dict) else None
    if not isinstance(choices, list):
        content = output.get("content", output) if isinstance(output, dict) else output
        text = content if isinstance(content, str) else orjson.dumps(content).decode()
        choices = [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]
    units = run.units()
    body = {
        "id": "chatcmpl-" + run.billing.call_id.hex()[:32],
        "object": "chat.completion",
        "created": run.billing.started // 1000,
        "model": run.entry.name,
        "choices": choices,
        "usage": {
            "prompt_tokens": units.input_token,
            "completion_tokens": units.output_token,
            "total_tokens": units.input_token + units.output_token,
        },
    }
    return orjson.dumps(body)


def _root_draft(run: Run, terms: Tariff, most: Units, ask: Ask, body: bytes) -> Draft:
    units = run.units()
    held = Units(*map(min, units, most))
    billing = run.billing
    return billing.draft(
        *(terms, held, EndReason.normal, now_ms(), ask.body, billing.digest_of(body), None, run.passed())
    )


async def _answered(
    ask: Ask, run: Run, body: bytes, signed: tuple[Signed, ...], send: Send, keyed: bool
) -> tuple[Kept, tuple[Signed, ...]]:
    """The answer in one piece, or as a stream of pieces when a stream was asked for."""
    headers: Headers = calls.receipt_headers(signed[-1])
    if not ask.stream:
        return Kept(200, [(b"content-type", b"application/json"), *headers], body), signed
    await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, *headers]})
    sent = []
    async for event in _events(orjson.loads(body), ask.include_usage):
        sent.append(event)
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": DONE})
    return Kept(200, [*HEADERS, *headers], b"".join(sent) + DONE if keyed else b"", sent=True), signed


async def _events(answer: dict[str, Any], include_usage: bool) -> AsyncIterator[bytes]:
    envelope = {name: answer[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    for choice in answer["choices"]:
        message = choice.get("message") or {}
        pieces = (message.get("content") or "").split(" ")
        for place, piece in enumerate(pieces):
            delta = {"content": piece if place == 0 else " " + piece}
            if place == 0:
                delta["role"] = "assistant"
            row = {"index": choice.get("index", 0), "delta": delta, "finish_reason": None}
            yield b"data: " + orjson.dumps(envelope | {"choices": [row]}) + b"\n\n"
        row = {"index": choice.get("index", 0), "delta": {}, "finish_reason": choice.get("finish_reason", "stop")}
        yield b"data: " + orjson.dumps(envelope | {"choices": [row]}) + b"\n\n"
    if include_usage:
        yield b"data: " + orjson.dumps(envelope | {"choices": [], "usage": answer["usage"]}) + b"\n\n"


async def _settle_failure(
    gateway: Gateway, run: Run, failed: _Failed, hold: Any, ask: Ask
) -> tuple[Kept, tuple[Signed, ...]]:
    """Settle a failed workflow as its capsule says, and say so."""
    finished, entry = run.finished(), run.entry
    assert entry.tariff is not None
    direct = [draft.receipt.price for draft in finished if draft.receipt.parent == run.billing.call_id]
    policy = run.capsule.policy
    settled = rules.fail(
        *(policy, run.billing.consumer, run.capsule.weaver, entry.tariff.terms),
        *(direct, gateway.settings.bond_cap_atoms),
    )
    facts = {"node": failed.node, "reason": failed.reason, "call": to_hex(run.billing.call_id)}
    message = f"{entry.name} failed at node {failed.node}: {failed.reason}"
    if policy is Policy.partial_ok and finished and settled.root is not None:
        root = tariff(settled.root)
        await gateway.db(lambda session: journaling.store_terms(session, [root.body]))
        body = refusal(Refusal(502, "workflow_failed", message, facts=facts))
        draft = _root_draft(run, root, run.units(), ask, body.message.encode())
        signed = await charge(gateway.journal, hold, (*finished, draft))
        facts["charge"] = str(sum(one.receipt.charge for one in signed))
        refused = Refusal(502, "workflow_failed", f"{message}; the nodes that served were charged", facts=facts)
        refused.headers += calls.receipt_headers(signed[-1])
        raise refused
    await _charge_weaver(gateway, run, finished)
    raise Refusal(502, "workflow_failed", f"{message}; nothing was charged", facts=facts)


async def _charge_weaver(gateway: Gateway, run: Run, finished: list[Draft]) -> None:
    """All or nothing: the weaver's deposit pays the nodes that served, in order, as far as bond and deposit reach."""
    paid, total = [], 0
    for draft in finished:
        if total + draft.receipt.charge <= gateway.settings.bond_cap_atoms:
            receipt = _with_consumer(draft, run.capsule.weaver)
            paid.append(receipt)
            total += draft.receipt.charge
    if not paid:
        return
    try:
        hold = await gateway.purse.hold(run.capsule.weaver, total)
    except Refusal:
        gateway.metrics.unpaid.inc(total)
        return
    await charge(gateway.journal, hold, tuple(paid))


def _with_consumer(draft: Draft, consumer: Any) -> Draft:
    from dataclasses import replace

    return Draft(replace(draft.receipt, consumer=consumer), draft.extra, None)
