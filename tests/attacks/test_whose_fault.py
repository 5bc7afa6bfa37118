"""Nobody can make an error look like somebody else's: no consumer shuts out a node, no node shuts out a model."""

from __future__ import annotations

import asyncio
import itertools
import json
import resource
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from gateway.call import health, routing
from gateway.call.health import MARKS, Health
from gateway.call.probes import ask_of
from gateway.catalog.catalog import Candidate, ModelEntry
from gateway.errors import NodeFailed
from ledger.core.values.atoms import PPM
from ledger.core.values.ids import Digest
from ledger.core.values.meters import Units
from ledger.core.values.typed_data import Signer
from tests.gateway.conftest import consumer, loom, node, world
from tests.gateway.nodes import Asked, Behaviour, Node, Wire, answering, chat, dying, hanging, piece, streaming
from tests.gateway.test_who_pays import eventually
from tests.gateway.workflows import Loom, pinned
from tests.gateway.world import OPERATOR, Running, World, a_model, a_signer

__all__ = ["consumer", "loom", "node", "world"]  # fixtures of the gateway's tests

DEPOSIT = 10**9
POISON = "crash"
"""A request with this text is one that no node can serve."""
_numbers = itertools.count()


def poisoned(error: Behaviour, otherwise: Behaviour | None = None) -> Behaviour:
    """A node that serves, and answers poison with `error`."""
    serve = otherwise or answering()

    async def behave(asked: Asked, wire: Wire) -> None:
        await (error if POISON.encode() in asked.body else serve)(asked, wire)

    return behave


def is_probe(asked: Asked) -> bool:
    """Whether the gateway asked this for itself."""
    return bool(asked.json.get("messages") == [{"role": "user", "content": "Hello"}])


class Market:
    """One model, `@acme/chat`, with a node for each behaviour. Those that come first are cheaper."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.nodes: list[Node] = []
        self.parties: list[Signer] = []
        self.subject = world.publish(a_model())

    def add(self, *behaviours: Behaviour, cheap: bool = False) -> list[Node]:
        """Nodes, each of a staked provider of its own. A cheap one is always drawn before one that is not."""
        for behaviour in behaviours:
            made, party = Node(behaviour).start(), a_signer(f"provider {len(self.nodes)}")
            self.nodes.append(made)
            self.parties.append(party)
            self.world.serve(self.subject, made.url, {"call": "10" if cheap else "100"}, party)
        return self.nodes[-len(behaviours) :]

    def consumer(self, gateway: Running) -> str:
        """The key of a consumer with money that nobody has seen before."""
        made = a_signer(f"market consumer {next(_numbers)}")
        self.world.deposit(made.address, DEPOSIT)
        return gateway.key(made)

    def candidate(self, gateway: Running, node: Node) -> Candidate:
        """The gateway's candidate for a node."""
        entry = gateway.gateway.catalog.by_id[self.subject]
        assert isinstance(entry, ModelEntry)
        party = self.parties[self.nodes.index(node)]
        return next(one for one in entry.candidates if one.provider == party.address)

    def health(self, gateway: Running, node: Node) -> Health:
        """What the gateway measured of a node."""
        return self.candidate(gateway, node).health

    def stop(self) -> None:
        """Stop the nodes."""
        for one in self.nodes:
            one.stop()


@pytest.fixture
def market(world: World) -> Iterator[Market]:
    """A market without a node."""
    made = Market(world)
    yield made
    made.stop()


def statuses(gateway: Running, key: str, count: int, **more: Any) -> list[int]:
    """What so many calls are answered, streamed and plain in turn."""
    return [gateway.chat(key, stream=bool(n % 2), **more).status_code for n in range(count)]


def calls_of(node: Node) -> list[Asked]:
    """What consumers asked of a node."""
    return [asked for asked in node.asked if not is_probe(asked)]


async def ending_with_an_error(asked: Asked, wire: Wire) -> None:
    """A stream that is an error from the start."""
    await wire.begin()
    await wire.event({"error": {"message": "no"}})
    await wire.end()


REFUSAL = answering({"error": {"message": "no", "type": "invalid_request_error"}}, 400)
FAILURES: dict[str, Behaviour] = {
    "400": REFUSAL,
    "401": answering({}, 401),
    "404": answering({}, 404),
    "500": answering({}, 500),
    "cut": dying,
    "nonsense": answering(b"<html>"),
    "no answer at all": answering({"choices": 5}),
    "deep": answering(b'{"choices":' + b"[" * 9_000 + b"]" * 9_000 + b"}"),
    "error event": ending_with_an_error,
}


@pytest.mark.parametrize("kind", FAILURES)
def test_one_staked_node_that_serves_nobody_shuts_out_nobody(market: Market, kind: str) -> None:
    """20 of 20 calls were refused, and the honest node was never asked."""
    [evil] = market.add(FAILURES[kind], cheap=True)
    [honest] = market.add(streaming())
    gateway = market.world.gateway()
    assert statuses(gateway, market.consumer(gateway), 20) == [200] * 20
    assert len(calls_of(evil)) == 1, "the consumer tries it last from then on"
    assert market.health(gateway, honest).quality_ppm == PPM


def test_two_nodes_that_fail_alike_do_not_make_it_the_requests_fault(market: Market) -> None:
    for error in (REFUSAL, answering({}, 500)):
        market.add(error, error, cheap=True)
    market.nodes[2].behaviour = market.nodes[3].behaviour = hanging  # not asked: two are tried beside the honest one
    market.add(streaming())
    gateway = market.world.gateway(attempts=5, first_byte_seconds=1)
    assert statuses(gateway, market.consumer(gateway), 6) == [200] * 6
    assert [len(calls_of(one)) for one in market.nodes[:4]] == [1, 1, 1, 1]


def test_the_next_candidate_is_another_owners_while_there_is_one(market: Market) -> None:
    """A party with many models that can do the same must not use up all attempts of a workflow's step."""
    market.add(streaming(), streaming())
    gateway = market.world.gateway()
    evil, honest = (market.candidate(gateway, one) for one in market.nodes)
    many = [replace(evil, subject=Digest(bytes([n]) * 32), health=Health()) for n in range(4)]
    for n in range(20):
        draw = routing.Draw(bytes([n]) * 64, 350_000, None, 1)
        tried = [one.provider for one in routing.order([*many, honest], Units(call=1), draw)]
        assert len(tried) == 5
        assert honest.provider in tried[:2]


def test_three_nodes_that_are_always_busy_use_up_no_attempt(market: Market) -> None:
    busy = market.add(
        answering({}, 429, retry_after="30"), answering({}, 503), answering({}, 429, retry_after="99999"), cheap=True
    )
    [honest] = market.add(streaming())
    gateway = market.world.gateway(attempts=1)
    key = market.consumer(gateway)
    assert statuses(gateway, key, 12) == [200] * 12
    assert len(calls_of(honest)) == 12
    asked = [len(calls_of(one)) for one in busy]
    assert asked[0] == asked[2] == 1, "out of the draw for what they say, at most 30 s"
    assert [market.health(gateway, one).quality_ppm for one in busy] == [PPM] * 3


def test_when_all_are_busy_the_consumer_hears_so_and_when_to_come_back(market: Market) -> None:
    market.add(answering({}, 429, retry_after="7"), answering({}, 429, retry_after="5"))
    gateway = market.world.gateway()
    answer = gateway.chat(market.consumer(gateway))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
    assert answer.json()["error"]["code"] == "node_busy"
    market.add(answering({}, 503))
    eventually(lambda: len(_entry(gateway, market.subject).candidates) == 3)
    assert gateway.chat(market.consumer(gateway)).status_code == 503


def test_a_busy_node_that_waits_longer_each_time_is_back_after_a_call() -> None:
    health, one, two = Health(), a_signer("one").address, a_signer("two").address
    now, busy = 10**6, NodeFailed("busy", "busy", retry_after=1)
    for wait in (1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000):
        for _ in range(5):  # a burst is one
            health.failed(one, busy, now)
        assert (health.is_last(two, now + wait - 1), health.is_last(two, now + wait)) == (True, False)
        now += wait
    health.succeeded(5, False)
    health.failed(one, busy, now)
    assert not health.is_last(two, now + 1_000)


@pytest.mark.parametrize("error", [answering({}, 500), answering({}, 503), answering({}, 429), dying, hanging])
def test_throw_away_consumers_cannot_shut_a_model(market: Market, error: Behaviour) -> None:
    """Three requests that no node can serve gave an honest consumer `providers_down`."""
    market.add(*[poisoned(error, streaming()) for _ in range(3)])
    gateway = market.world.gateway(first_byte_seconds=0.5)
    victim = market.consumer(gateway)
    for _ in range(3):
        hostile = market.consumer(gateway)
        for n in range(1 if error is hanging else 3):
            assert gateway.chat(hostile, text=POISON, stream=bool(n % 2)).status_code >= 400
        assert statuses(gateway, victim, 4) == [200] * 4
    assert [market.health(gateway, one).quality_ppm for one in market.nodes] == [PPM] * 3
    assert [market.health(gateway, one).paused_until for one in market.nodes] == [0] * 3


def test_46_hostile_requests_cost_a_victim_nothing(market: Market) -> None:
    """The trial: three throw-away consumers send what breaks nodes; every call of the victim is served meanwhile."""
    errors = [answering({}, 500), answering({}, 503), REFUSAL]
    market.add(*[poisoned(error, streaming()) for error in errors])
    gateway = market.world.gateway()
    victim, hostile = market.consumer(gateway), [market.consumer(gateway) for _ in range(3)]
    served = []
    for n in range(46):
        gateway.chat(hostile[n % 3], text=POISON, stream=bool(n % 2))
        served += statuses(gateway, victim, 2)
    assert served == [200] * 92
    assert [market.health(gateway, one).quality_ppm for one in market.nodes] == [PPM] * 3


def test_in_a_network_with_one_consumer_a_dead_node_is_found_and_comes_back(market: Market) -> None:
    [dead] = market.add(dying)
    gateway = market.world.gateway()
    key = market.consumer(gateway)
    assert gateway.chat(key).status_code == 502
    eventually(lambda: market.health(gateway, dead).paused_until)
    assert gateway.chat(key).json()["error"]["code"] == "providers_down"
    lowered = market.health(gateway, dead).quality_ppm
    assert lowered < PPM
    dead.behaviour = streaming()
    eventually(lambda: gateway.chat(key).status_code == 200)
    assert market.health(gateway, dead).quality_ppm > lowered


def test_a_single_consumer_cannot_open_a_circuit_and_probes_come_at_most_every_ten_seconds(market: Market) -> None:
    [one] = market.add(poisoned(answering({}, 500), streaming()))
    gateway = market.world.gateway()
    key = market.consumer(gateway)
    began = time.monotonic()
    for _ in range(40):
        assert gateway.chat(key, text=POISON).status_code == 502
    eventually(lambda: any(is_probe(asked) for asked in one.asked))
    probes = sum(map(is_probe, one.asked))
    assert probes <= 1 + (time.monotonic() - began) // 10
    assert market.health(gateway, one).quality_ppm == PPM


def test_a_node_that_fails_one_consumer_is_tried_last_by_that_one_alone(market: Market) -> None:
    async def fail_the_one(asked: Asked, wire: Wire) -> None:
        await (dying if b"the one" in asked.body else streaming())(asked, wire)

    [spiteful] = market.add(fail_the_one, cheap=True)
    [honest] = market.add(streaming())
    gateway = market.world.gateway()
    victim, other = market.consumer(gateway), market.consumer(gateway)
    for _ in range(6):
        assert gateway.chat(victim, text="the one").status_code == 200
        assert gateway.chat(other, text="another").status_code == 200
    asked = [b"the one" in one.body for one in calls_of(spiteful)]
    assert (asked.count(True), asked.count(False)) == (1, 6)
    assert len(calls_of(honest)) == 6
    health = market.health(gateway, spiteful)
    assert (health.quality_ppm, health.errors, health.paused_until) == (PPM, 1, 0)


def test_a_rival_that_serves_malformed_calls_does_not_make_an_honest_refusal_a_failure(market: Market) -> None:
    [honest] = market.add(poisoned(REFUSAL, streaming()), cheap=True)
    market.add(streaming())
    gateway = market.world.gateway()
    victim = market.consumer(gateway)
    for _ in range(4):
        hostile = market.consumer(gateway)
        assert gateway.chat(hostile, text=POISON).status_code == 200, "the rival serves it"
    eventually(lambda: any(is_probe(asked) for asked in honest.asked))
    assert statuses(gateway, victim, 5) == [200] * 5
    assert len(calls_of(honest)) == 4 + 5
    health = market.health(gateway, honest)
    assert (health.quality_ppm, health.refusals, health.paused_until) == (PPM, 4, 0)
    [shown] = [row for row in _shown(gateway) if row["refusals"]]
    assert (shown["refusals"], shown["errors"], shown["calls"]) == (4, 0, 9)


def test_a_refusal_by_all_is_the_requests_fault_and_its_consumer_reads_the_last_one(market: Market) -> None:
    market.add(REFUSAL, answering({"error": {"message": "no", "code": "context_length_exceeded"}}, 400))
    gateway = market.world.gateway()
    for stream in (False, True):
        key = market.consumer(gateway)
        before = len(market.nodes[0].asked), len(market.nodes[1].asked)
        answer = gateway.chat(key, stream=stream)
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, "no")
        assert (len(market.nodes[0].asked), len(market.nodes[1].asked)) == (before[0] + 1, before[1] + 1)
    assert gateway.gateway.unwell.take(10**15, 10) == [], "nobody is probed for what all refuse"
    assert gateway.gateway.leases.outstanding() == 0


def test_a_refusal_beside_a_failure_is_not_told_as_the_requests_fault(market: Market) -> None:
    market.add(answering({}, 500), REFUSAL)
    gateway = market.world.gateway()
    assert gateway.chat(market.consumer(gateway)).json()["error"]["code"] == "node_error"


def test_two_consumers_that_cannot_reach_a_node_open_its_circuit(market: Market) -> None:
    [gone] = market.add(streaming())
    gateway = market.world.gateway().send_no_probes()
    keys = [market.consumer(gateway) for _ in range(2)]
    health = market.health(gateway, gone)
    gone.stop()
    assert [gateway.chat(keys[0]).status_code for _ in range(3)] == [502] * 3
    assert not health.paused_until, "three of one consumer"
    gateway.chat(keys[1])
    assert health.paused_until
    assert health.quality_ppm < PPM
    assert gateway.chat(keys[1]).json()["error"]["code"] == "providers_down"


def test_silence_does_not_open_the_circuit_of_a_node_that_answers_probes(market: Market) -> None:
    [slow] = market.add(poisoned(hanging, streaming()))
    gateway = market.world.gateway(first_byte_seconds=0.3)
    gateway.chat(market.consumer(gateway), text=POISON)
    eventually(lambda: market.health(gateway, slow).answered_at)
    for _ in range(3):
        assert gateway.chat(market.consumer(gateway), text=POISON).status_code == 504
    assert (market.health(gateway, slow).paused_until, market.health(gateway, slow).quality_ppm) == (0, PPM)


def test_a_weaver_cannot_make_nodes_look_silent(loom: Loom, world: World) -> None:
    async def slow(asked: Asked, wire: Wire) -> None:
        await asyncio.sleep(0 if is_probe(asked) else 0.4)
        await wire.answer(chat())

    model = loom.talker("slow", slow)
    loom.capsule(
        pinned("reply", model, {"messages": "$.messages"}, timeout_ms=100),
        output={"content": "$steps.reply.output.content"},
    )
    for n in range(4):
        key = loom.consumer(a_signer(f"woven {n}"))
        assert loom.gateway.chat(key, "@wanda/flow", stream=bool(n % 2)).status_code == 502
    [candidate] = _entry(loom.gateway, model).candidates
    assert (candidate.health.paused_until, candidate.health.quality_ppm) == (0, PPM)
    assert loom.gateway.chat(loom.consumer(a_signer("plain")), "@acme/slow").status_code == 200


def test_a_url_that_cannot_be_one_is_not_offered(market: Market) -> None:
    """With the cheapest bid it made 12 of 12 calls of the model 400."""
    market.add(streaming())
    gateway = market.world.gateway()
    evil = a_signer("evil")
    for url in ("tunnel://nonsense", "tunnel://0x00", "tunnel://0x" + "g" * 40, "http://a\0b/", "http://a/\x7f"):
        refused = gateway.http.post("/v1/offers", json=market.world.offer(market.subject, url, evil))
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "rejected"), url
    market.world.serve(market.subject, "tunnel://nonsense", {"call": "1"}, evil)  # published before it was looked at
    assert statuses(gateway, market.consumer(gateway), 6) == [200] * 6


@pytest.mark.parametrize("host", ["127.0.0.9", "0x" + "ab" * 20, "nowhere.invalid", ".x", "x" * 300])
def test_a_node_that_cannot_or_may_not_be_reached_costs_one_attempt(market: Market, host: str) -> None:
    """A name that came to resolve to a private address made 20 of 20 calls 400."""
    market.add(streaming())
    evil, scheme = a_signer("evil"), "tunnel" if host.startswith("0x") else "http"
    market.world.serve(market.subject, f"{scheme}://{host}:9/", {"call": "1"}, evil)
    gateway = market.world.gateway(allowed_networks="127.0.0.1/32")
    assert statuses(gateway, market.consumer(gateway), 8) == [200] * 8
    alone = market.world.publish(a_model("@acme/alone"))
    market.world.serve(alone, f"{scheme}://{host}:9/", {"call": "1"}, evil)
    eventually(lambda: "@acme/alone" in gateway.gateway.catalog.by_name)
    refused = gateway.chat(market.consumer(gateway), "@acme/alone")
    if _entry(gateway, alone).candidates:
        told = (503, "providers_down") if scheme == "tunnel" else (502, "node_unreachable")  # no tunnel: not tried
        assert (refused.status_code, refused.json()["error"]["code"]) == told


def test_a_consumer_that_reads_slowly_is_not_the_nodes_silence(market: Market) -> None:
    """The node wrote 20 MB as fast as it could: a pause in reading was booked as its failure."""
    large, count = "x" * 100_000, 200

    async def much(asked: Asked, wire: Wire) -> None:
        await wire.begin()
        for _ in range(count):
            await wire.event(piece(large))
        await wire.event(piece(None, "stop"))
        await wire.event("[DONE]")
        await wire.end()

    [one] = market.add(much)
    gateway = market.world.gateway(idle_stream_seconds=0.5)
    body = json.dumps({"model": "@acme/chat", "messages": [], "stream": True, "max_tokens": 1_000}).encode()
    key = market.consumer(gateway)
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        raw.connect(("127.0.0.1", gateway.port))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        raw.sendall(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        assert raw.recv(15).startswith(b"HTTP/1.1 200")
        time.sleep(3)
        answer = bytearray()
        while part := raw.recv(2**20):
            answer += part
    assert answer.count(b"data: {") == count + 1
    assert b"data: [DONE]" in answer
    health = market.health(gateway, one)
    assert (health.calls, health.errors) == (1, 0)


def test_what_the_gateway_lacks_is_not_the_nodes_fault(market: Market) -> None:
    """Without a free file descriptor no node can be reached. That is ours: 500, and nobody is marked or probed."""
    [one] = market.add(answering(connection="close"))
    gateway = market.world.gateway()
    keys = [market.consumer(gateway) for _ in range(2)]
    assert [gateway.chat(key).status_code for key in keys] == [200, 200]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as lowest:  # every descriptor below it is in use
        limit = lowest.fileno()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        broken = [gateway.chat(key) for key in keys]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [answer.status_code for answer in broken] == [500, 500], broken[0].text
    health = market.health(gateway, one)
    assert (health.errors, health.marks, health.paused_until) == (0, {}, 0)
    assert gateway.gateway.leases.outstanding() == 0
    assert gateway.chat(keys[0]).status_code == 200


def test_marks_are_bounded() -> None:
    health = Health()
    for n in range(3 * MARKS):
        health.failed(a_signer(f"{n}").address, NodeFailed("no", "error"), 1_000)
    assert len(health.marks) == MARKS
    assert health.is_last(a_signer(f"{3 * MARKS - 1}").address, 1_001)
    assert not health.is_last(a_signer("0").address, 1_001)


def test_the_operator_pays_for_probes(market: Market) -> None:
    [one] = market.add(poisoned(answering({}, 500)))
    gateway = market.world.gateway()
    market.world.deposit(OPERATOR.address, DEPOSIT)
    gateway.key(OPERATOR)
    gateway.chat(market.consumer(gateway), text=POISON)
    eventually(lambda: market.world.receipts_of(OPERATOR.address))
    [probe] = market.world.receipts_of(OPERATOR.address)
    assert probe.receipt.charge == 115
    [asked] = [asked for asked in one.asked if is_probe(asked)]
    assert asked.json["max_tokens"] == 1
    eventually(lambda: gateway.gateway.leases.outstanding() == 0)


def test_a_probe_that_a_provider_makes_dear_is_not_paid(market: Market) -> None:
    """Else a provider could make its own consumer fail, and empty the operator's purse at its own price."""
    made, party = Node(poisoned(answering({}, 500))).start(), a_signer("dear")
    market.nodes.append(made)
    market.parties.append(party)
    market.world.serve(market.subject, made.url, {"call": "100000"}, party)
    gateway = market.world.gateway()
    market.world.deposit(OPERATOR.address, DEPOSIT)
    gateway.key(OPERATOR)
    gateway.chat(market.consumer(gateway), text=POISON)
    eventually(lambda: any(is_probe(asked) for asked in made.asked))
    eventually(lambda: market.health(gateway, made).answered_at)
    assert market.world.receipts_of(OPERATOR.address) == []


def test_a_provider_earns_little_by_probes_in_a_day(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    """One claim of too much made some 250 paid probes: quality rises by 1/32 of what is missing with each."""
    monkeypatch.setattr(health, "PROBE_MS", 1)
    [one] = market.add(streaming())
    gateway = market.world.gateway()
    market.world.deposit(OPERATOR.address, DEPOSIT)
    gateway.key(OPERATOR)
    monkeypatch.setattr(health, "MOST_A_DAY_ATOMS", 3 * 115 + 114)
    now = int(time.time() * 1000)
    market.health(gateway, one).probe_failed(now)
    gateway.gateway.unwell.add((market.parties[0].address, market.subject), market.health(gateway, one))
    eventually(lambda: sum(map(is_probe, one.asked)) >= 6)
    paid = [signed.receipt.charge for signed in market.world.receipts_of(OPERATOR.address)]
    assert paid == [115] * 3
    unwell, other = gateway.gateway.unwell, a_signer("other").address
    assert unwell.may_pay(other, 459, now)
    assert not unwell.may_pay(other, 1, now)
    assert unwell.may_pay(other, 1, now + 86_400_000)


def test_a_probe_of_tensors_fits_what_the_model_declares(world: World, node: Node) -> None:
    world.a_model_at(node.url, "@acme/label", protocol="oip/2")
    entry = world.gateway().gateway.catalog.find("@acme/label")
    assert isinstance(entry, ModelEntry)
    [given] = ask_of(entry).json["inputs"]
    assert given == {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["hello"]}


def test_a_hedge_that_cannot_be_paid_does_not_end_the_call(market: Market, consumer: Signer) -> None:
    async def slow(asked: Asked, wire: Wire) -> None:
        await asyncio.sleep(0.5)
        await wire.answer(chat())

    market.add(slow, cheap=True)
    market.add(slow)
    gateway = market.world.gateway(hedge_ms=50)
    market.world.deposit(consumer.address, 20)
    assert gateway.chat(gateway.key(consumer)).status_code == 200
    assert gateway.gateway.leases.outstanding() == 0


def test_a_hold_is_not_lost_when_the_next_candidate_is_too_dear(market: Market, consumer: Signer) -> None:
    market.add(answering({}, 500), cheap=True)
    market.add(streaming())
    gateway = market.world.gateway()
    market.world.deposit(consumer.address, 20)
    key = gateway.key(consumer)
    answers = [gateway.chat(key, stream=stream) for stream in (False, True)]
    assert [answer.status_code for answer in answers] == [502, 502], "the node failed; the other one is passed over"
    assert all("1 more than this cost more than is paid" in answer.text for answer in answers)
    assert gateway.gateway.leases.outstanding() == 0


def _entry(gateway: Running, subject: Digest) -> ModelEntry:
    entry = gateway.gateway.catalog.by_id[subject]
    assert isinstance(entry, ModelEntry)
    return entry


def _shown(gateway: Running) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = gateway.http.get("/v1/models/@acme/chat").json()["providers"]
    return rows


def test_an_ask_without_a_price_shuts_out_its_provider_alone(world: World, node: Node, consumer: Signer) -> None:
    subject = world.a_model_at(node.url)
    world.serve(subject, node.url, {"call": str(2**63 - 1)}, a_signer("dear"))
    world.deposit(consumer.address, DEPOSIT)
    gateway = world.gateway()
    key = gateway.key(consumer)
    assert [gateway.chat(key).status_code for _ in range(5)] == [200] * 5
    quoted = gateway.http.post("/v1/quote", json={"model": "@acme/chat", "meters": {"output_token": 100}})
    assert quoted.status_code == 200, quoted.text
    found = gateway.http.post("/v1/discover", json={"task": "text-generation", "meters": {"output_token": 100}})
    assert [row["name"] for row in found.json()["results"]] == ["@acme/chat"]
