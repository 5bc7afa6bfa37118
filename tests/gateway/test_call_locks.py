"""Equal calls at several gateways of a lane: one is made, whoever is killed or stopped meanwhile."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import httpx
import pytest
from sqlalchemy import text

from gateway.call.call_locks import MAX_GROUP, CallLocks
from gateway.errors import Refusal
from ledger.core.values.hashes import keccak256
from ledger.core.values.typed_data import Signer
from ledger.store.receipts import call_locks
from ledger.store.receipts.call_locks import SILENT_MS, GatewayRun
from ledger.store.session import connect_unsynced, unit_of_work
from tests.gateway.nodes import Asked, Node, Wire, answering, chat, piece
from tests.gateway.processes import PRICE, Process
from tests.gateway.test_who_pays import eventually
from tests.gateway.workflows import LAST, Loom, inferring, pinned
from tests.gateway.world import OPERATOR, WEAVER, Running, World, a_signer, a_voucher, events_of

Answer = tuple[int, str]
"""Status, and the error's code."""


def answer(response: httpx.Response) -> Answer:
    """What a gateway answered."""
    return response.status_code, "" if response.status_code == 200 else response.json()["error"]["code"]


def locked(world: World) -> int:
    """How many calls are locked."""
    with unit_of_work(world.engine) as session:
        return int(session.execute(text("SELECT count(*) FROM call_locks")).scalar_one())


@dataclass
class Holding:
    """A node that answers a prompt when it may: at each call of it in turn, once that one's event is set."""

    events: dict[str, list[threading.Event]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    broken: set[tuple[str, int]] = field(default_factory=set)
    """Calls of prompts that are answered with an error."""

    def hold(self, prompt: str, number: int = 0) -> threading.Event:
        """The event of one call."""
        events = self.events.setdefault(prompt, [])
        while len(events) <= number:
            events.append(threading.Event())
        return events[number]

    async def __call__(self, asked: Asked, wire: Wire) -> None:
        prompt = asked.json["messages"][0]["content"]
        number, self.asked[prompt] = self.asked[prompt], self.asked[prompt] + 1
        events = self.events.get(prompt, [])
        while number < len(events) and not events[number].is_set():
            await asyncio.sleep(0.02)
        if (prompt, number) in self.broken:
            await wire.answer({"error": {"message": "broken"}}, 500)
        else:
            await wire.answer(chat())


@pytest.fixture
def holding(node: Node) -> Iterator[Holding]:
    """What the node does; nothing is held at the end."""
    made = Holding()
    node.behaviour = made
    yield made
    for events in made.events.values():
        for event in events:
            event.set()


@pytest.fixture
def pair(world: World, node: Node, holding: Holding) -> list[Running]:
    """Two gateways of a lane."""
    world.a_model_at(node.url)
    return [world.gateway("gateway-1"), world.gateway("gateway-2")]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Callers that wait."""
    with ThreadPoolExecutor(40) as made:
        yield made


def begun(
    pool: ThreadPoolExecutor, holding: Holding, prompt: str, call: Callable[[], httpx.Response]
) -> Future[httpx.Response]:
    """A call that its node has got."""
    number = holding.asked[prompt]
    future = pool.submit(call)
    eventually(lambda: holding.asked[prompt] > number or future.done())
    assert not future.done(), future.result().text
    return future


def test_a_call_that_runs_at_one_gateway_runs_at_no_other(
    world: World, pair: list[Running], holding: Holding, pool: ThreadPoolExecutor, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10**6)
    here, there = pair
    key = here.key(consumer)
    may_end = holding.hold("hi")
    running = begun(pool, holding, "hi", lambda: here.chat(key, header_idempotency_key="one"))
    assert answer(there.chat(key, header_idempotency_key="one")) == (409, "in_progress")
    assert answer(there.chat(key, header_idempotency_key="one", text="ho")) == (409, "idempotency_mismatch")
    assert locked(world) == 1
    may_end.set()
    first = running.result()
    assert answer(first) == (200, "")
    again = here.chat(key, header_idempotency_key="one")
    assert (again.status_code, again.content) == (200, first.content)
    elsewhere = there.chat(key, header_idempotency_key="one")
    assert answer(elsewhere) == (409, "answer_not_kept")
    assert elsewhere.headers["tollway-receipt"] == first.headers["tollway-receipt"]
    assert answer(there.chat(key, header_idempotency_key="one", text="ho")) == (409, "idempotency_mismatch")
    assert (holding.asked["hi"], holding.asked["ho"], len(world.receipts_of(consumer.address))) == (1, 0, 1)
    assert locked(world) == 0


def test_the_same_name_by_another_key_is_another_call(
    world: World, pair: list[Running], holding: Holding, pool: ThreadPoolExecutor, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10**6)
    here, there = pair
    key, other = here.key(consumer), here.key(consumer, 10**12 + 1)
    may_end = holding.hold("hi")
    running = begun(pool, holding, "hi", lambda: here.chat(key, header_idempotency_key="one"))
    assert answer(there.chat(other, header_idempotency_key="one")) == (200, "")
    may_end.set()
    assert answer(running.result()) == (200, "")
    assert len(world.receipts_of(consumer.address)) == 2


def test_a_call_that_failed_is_free_at_once_at_every_gateway(
    world: World, pair: list[Running], holding: Holding, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10**6)
    here, there = pair
    key = here.key(consumer)
    holding.broken.add(("hi", 0))
    assert answer(here.chat(key, header_idempotency_key="one")) == (502, "node_error")
    assert locked(world) == 0
    assert answer(there.chat(key, header_idempotency_key="one", text="ho")) == (200, "")


def test_a_call_without_a_key_is_not_locked(
    world: World, pair: list[Running], holding: Holding, pool: ThreadPoolExecutor, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10**6)
    key = pair[0].key(consumer)
    may_end = holding.hold("hi")
    running = begun(pool, holding, "hi", lambda: pair[0].chat(key))
    assert locked(world) == 0
    may_end.set()
    assert answer(running.result()) == (200, "")
    assert pair[0].gateway.call_locks._task is None, "nothing was asked for"


async def test_a_lock_that_was_lost_is_ended_beside_the_same_call_that_is_asked_for_again(world: World) -> None:
    engine = connect_unsynced(world.engine.url.render_as_string(hide_password=False))
    us, other = (GatewayRun(world.lane, one.address, b"a run") for one in (OPERATOR, WEAVER))
    locks, call = CallLocks(engine, us), keccak256(b"a call")
    await locks.open()
    assert await locks.take(call, b"") is None
    with unit_of_work(world.engine) as session:
        call_locks.begin(session, other)
        call_locks.release(session, us, [call])
        assert call_locks.take(session, other, {call: b""}) == {call: None}
    ended, taken = await asyncio.gather(locks.release(call), locks.take(call, b""), return_exceptions=True)
    assert ended is None
    assert isinstance(taken, Refusal)
    await locks.close()


async def test_a_lock_is_not_ended_for_an_earlier_call_that_was_left(world: World) -> None:
    """The call is asked for again as the last of a group, and the heartbeat ends what was left in the next one."""
    engine = connect_unsynced(world.engine.url.render_as_string(hide_password=False))
    locks, call = CallLocks(engine, GatewayRun(world.lane, OPERATOR.address, b"a run")), keccak256(b"a call")
    await locks.open()
    others = [keccak256(b"%d" % number) for number in range(MAX_GROUP)]
    asked = [asyncio.ensure_future(locks.take(one, b"")) for one in others[:1]]
    await asyncio.sleep(0)
    asked += [asyncio.ensure_future(locks.take(one, b"")) for one in [*others[1:], call]]
    await asyncio.sleep(0)
    locks._left.add(call)
    ended = locks._ask(call, None)
    await asyncio.gather(*asked, ended)
    with unit_of_work(world.engine) as session:
        query = text("SELECT count(*) FROM call_locks WHERE call = :call")
        assert session.execute(query, {"call": call}).scalar_one() == 1
    await locks.close()


def lose_locks(world: World) -> None:
    """Another gateway takes over what is locked."""
    with unit_of_work(world.engine) as session:
        session.execute(text("UPDATE call_locks SET boot = 'another run'"))


def test_a_stream_whose_call_was_taken_over_ends_with_an_error_and_costs_nothing(
    world: World, pair: list[Running], node: Node, pool: ThreadPoolExecutor, consumer: Signer
) -> None:
    may_end = threading.Event()

    async def stream(asked: Asked, wire: Wire) -> None:
        await wire.begin()
        await wire.event(piece("t "))
        while not may_end.is_set():
            await asyncio.sleep(0.02)
        await wire.event(piece(None, "stop"))
        await wire.event("[DONE]")
        await wire.end()

    node.behaviour = stream
    world.deposit(consumer.address, 10**6)
    key = pair[0].key(consumer)
    running = pool.submit(pair[0].chat, key, header_idempotency_key="one", stream=True)
    eventually(lambda: node.asked)
    lose_locks(world)
    may_end.set()
    events = events_of(running.result().text)
    assert events[0]["choices"][0]["delta"]["content"] == "t "
    assert events[-1]["error"]["code"] == "unavailable"
    assert "[DONE]" not in events
    assert world.receipts_of(consumer.address) == []
    assert pair[0].gateway.leases.outstanding() == 0


def was_asked_again(node: Node, before: int) -> bool:
    """Whether a node has got another request."""
    return len(node.asked) > before


@pytest.mark.parametrize("serves", [True, False])
def test_a_workflow_is_locked_once_and_no_receipt_of_it_is_written_without_the_lock(
    world: World, loom: Loom, pool: ThreadPoolExecutor, consumer: Signer, serves: bool
) -> None:
    """Neither its consumer's nor, when it fails, those that its weaver's bond pays."""
    may_end = threading.Event()

    async def held(asked: Asked, wire: Wire) -> None:
        while not may_end.is_set():
            await asyncio.sleep(0.02)
        await (answering(chat()) if serves else answering({"error": {"message": "broken"}}, 500))(asked, wire)

    first, reply = loom.classifier("first", inferring("a")), loom.talker("reply", held)
    loom.capsule(
        pinned("first", first, {"text": LAST}),
        pinned("reply", reply, {"messages": [{"role": "user", "content": "{$steps.first.output.label}"}]}),
        output={"content": "$steps.reply.output.content"},
        failure="all-or-nothing",
    )
    key = loom.consumer(consumer)
    last = loom.nodes[1]
    for lost in (True, False):
        may_end.clear()
        loom.gateway.send_no_probes()
        before = len(last.asked)
        running = pool.submit(loom.gateway.chat, key, "@wanda/flow", header_idempotency_key="one")
        eventually(partial(was_asked_again, last, before))
        assert locked(world) == 1
        if lost:
            lose_locks(world)
        may_end.set()
        assert answer(running.result())[0] == (503 if lost else 200 if serves else 502)
        written = len(world.receipts_of(consumer.address)), len(world.receipts_of(WEAVER.address))
        assert written == ((0, 0) if lost else (3, 0) if serves else (0, 1))
        with unit_of_work(world.engine) as session:
            session.execute(text("DELETE FROM call_locks WHERE boot = 'another run'"))
    assert locked(world) == 0


def test_a_voucher_without_a_name_is_its_own_at_every_gateway(
    world: World, pair: list[Running], holding: Holding, pool: ThreadPoolExecutor, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10**6)
    headers = {"Tollway-Voucher": httpx.Response(200, json=a_voucher(consumer, 10**5)).text}
    body = {"model": "@acme/chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50}
    may_end = holding.hold("hi")
    calls = [partial(at.http.post, "/v1/chat/completions", json=body, headers=headers) for at in pair]
    running = begun(pool, holding, "hi", calls[0])
    assert answer(calls[1]()) == (409, "in_progress")
    may_end.set()
    assert answer(running.result()) == (200, "")
    assert holding.asked["hi"] == 1


def is_forbidden(gateway: Running, key: str) -> bool:
    """Whether a gateway knows that the key may not call the model."""
    return answer(gateway.chat(key, header_idempotency_key="one")) == (403, "model_not_allowed")


def test_a_kept_answer_is_refused_at_every_gateway_to_a_key_that_may_not_call_the_model_any_more(
    world: World, pair: list[Running], holding: Holding, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10**6)
    here = pair[0]
    made = here.http.post("/v1/keys", json={"voucher": a_voucher(consumer, 10**12)}).json()
    assert answer(here.chat(made["key"], header_idempotency_key="one")) == (200, "")
    assert here.of(consumer).patch(f"/v1/keys/{made['id']}", json={"models": ["@acme/none"]}).status_code == 200
    for at in pair:
        eventually(partial(is_forbidden, at, made["key"]))
    assert len(world.receipts_of(consumer.address)) == 1


def test_there_are_no_more_locks_than_open_calls(
    world: World, node: Node, holding: Holding, pool: ThreadPoolExecutor, consumer: Signer
) -> None:
    world.a_model_at(node.url)
    world.deposit(consumer.address, 10**6)
    gateway = world.gateway(max_open_calls=2)
    key = gateway.key(consumer)
    prompts = ("one", "two")
    may_end = [holding.hold(prompt) for prompt in prompts]

    def ask(name: str) -> httpx.Response:
        return gateway.chat(key, header_idempotency_key=name, text=name)

    running = [begun(pool, holding, prompt, partial(ask, prompt)) for prompt in prompts]
    assert {answer(pool.submit(ask, f"more {n}").result()) for n in range(5)} == {(503, "overloaded")}
    assert locked(world) == 2
    for event in may_end:
        event.set()
    assert [answer(call.result()) for call in running] == [(200, ""), (200, "")]
    poor = gateway.key(a_signer("a consumer without a deposit"))
    assert answer(gateway.chat(poor, header_idempotency_key="one"))[0] == 402
    assert locked(world) == 0


def test_no_call_is_made_when_it_cannot_be_locked_and_nothing_stays_behind(
    world: World, pair: list[Running], holding: Holding, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10**6)
    key = pair[0].key(consumer)
    with unit_of_work(world.engine) as session:
        session.execute(text("LOCK TABLE call_locks IN ACCESS EXCLUSIVE MODE"))
        assert answer(pair[0].chat(key, header_idempotency_key="one")) == (503, "unavailable")
    assert not holding.asked
    assert answer(pair[0].chat(key, header_idempotency_key="one")) == (200, "")
    assert locked(world) == 0


def test_a_gateway_shows_that_it_is_alive_and_ends_what_it_could_not_end_before(
    world: World, pair: list[Running], holding: Holding, consumer: Signer
) -> None:
    """In time, or calls longer than ten seconds would be taken over."""
    with unit_of_work(world.engine) as session:
        session.execute(text("UPDATE gateway_heartbeats SET seen_at = 0"))
    world.deposit(consumer.address, 10**6)
    key = pair[0].key(consumer)
    may_end = holding.hold("hi")
    holding.broken.add(("hi", 0))
    with ThreadPoolExecutor(1) as pool:
        running = begun(pool, holding, "hi", lambda: pair[0].chat(key, header_idempotency_key="one"))
        with unit_of_work(world.engine) as session:
            session.execute(text("LOCK TABLE call_locks IN ACCESS EXCLUSIVE MODE"))
            may_end.set()
            assert answer(running.result()) == (502, "node_error")
            assert session.execute(text("SELECT count(*) FROM call_locks")).scalar_one() == 1
    eventually(lambda: locked(world) == 0)

    def seen() -> bool:
        with unit_of_work(world.engine) as session:
            rows = session.execute(text("SELECT seen_at / 1000 - extract(epoch FROM now()) FROM gateway_heartbeats"))
            return [abs(late) < SILENT_MS / 1000 for (late,) in rows] == [True, True]

    eventually(seen)


def test_a_gateway_that_stops_leaves_no_lock_and_no_heartbeat(
    world: World, pair: list[Running], holding: Holding, consumer: Signer
) -> None:
    def alive() -> int:
        with unit_of_work(world.engine) as session:
            return int(session.execute(text("SELECT count(*) FROM gateway_heartbeats")).scalar_one())

    assert alive() == 2
    pair[0].stop()
    assert alive() == 1


@pytest.fixture
def processes(world: World, node: Node, holding: Holding) -> Iterator[list[Process]]:
    """Two gateways of a lane that share nothing but the database."""
    world.a_model_at(node.url)
    made = [Process(world, f"gateway process {n}").start() for n in range(2)]
    yield made
    for one in made:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGCONT)
            one.process.kill()
            one.process.wait(10)


def said(process: Process, key: str, prompt: str, name: str | None = None) -> httpx.Response:
    """A call with a prompt, which is its name too."""
    return process.chat(key, name or prompt, messages=[{"role": "user", "content": prompt}])


@pytest.mark.slow
def test_of_32_equal_calls_over_two_gateways_one_is_made_and_a_restart_leaves_its_receipt(
    world: World, processes: list[Process], holding: Holding, pool: ThreadPoolExecutor, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10**6)
    key = processes[0].key(consumer)
    may_end = holding.hold("hi")
    calls = [pool.submit(said, processes[n % 2], key, "hi") for n in range(32)]
    eventually(lambda: sum(call.done() for call in calls) >= 31)
    refused = Counter(answer(call.result()) for call in calls if call.done())
    assert refused == {(409, "in_progress"): 31}
    may_end.set()
    [served] = [call.result() for call in calls if call.result().status_code == 200]
    again = list(pool.map(lambda n: said(processes[n % 2], key, "hi"), range(32)))
    there = [one for one in again if one.status_code != 200]
    assert {one.content for one in again if one.status_code == 200} == {served.content}
    assert len(there) == 16, "the gateway that made the call has the answer, the other one the receipt"
    assert {answer(one) for one in there} - {(409, "in_progress")} == {(409, "answer_not_kept")}
    for process in processes:
        process.kill()
        process.start()
        restarted = said(process, key, "hi")
        assert answer(restarted) == (409, "answer_not_kept")
        assert restarted.headers["tollway-receipt"] == served.headers["tollway-receipt"]
        assert restarted.headers["tollway-charge"] == str(PRICE)
    assert holding.asked["hi"] == 1
    assert len(world.receipts_of(consumer.address)) == 1


@pytest.mark.slow
def test_a_call_of_a_killed_gateway_is_taken_over_when_it_was_silent_for_ten_seconds(
    world: World, processes: list[Process], holding: Holding, pool: ThreadPoolExecutor, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10**6)
    here, there = processes
    key = here.key(consumer)
    holding.hold("hi")
    running = begun(pool, holding, "hi", lambda: said(here, key, "hi"))
    here.kill()
    since = time.monotonic()
    assert isinstance(running.exception(), httpx.TransportError)
    answers = [answer(said(there, key, "hi"))]
    while answers[-1] != (200, ""):
        assert answers[-1] == (409, "in_progress")
        assert time.monotonic() < since + 60
        time.sleep(0.2)
        answers.append(answer(said(there, key, "hi")))
    assert time.monotonic() - since > 7, "its last heartbeat was at most some 2 s old"
    assert len(answers) > 1
    assert holding.asked["hi"] == 2
    assert len(world.receipts_of(consumer.address)) == 1
    assert locked(world) == 0


@pytest.mark.slow
def test_a_gateway_that_slept_too_long_charges_no_call_that_was_taken_over(
    world: World, processes: list[Process], holding: Holding, pool: ThreadPoolExecutor, consumer: Signer
) -> None:
    """Whether the other gateway has charged it, still makes it, or has given it up. A call that nobody took is its."""
    world.deposit(consumer.address, 10**6)
    here, there = processes
    key = here.key(consumer)
    prompts = ("charged", "running", "released", "nobody's")
    wake = [holding.hold(prompt) for prompt in prompts]
    calls = {prompt: begun(pool, holding, prompt, partial(said, here, key, prompt)) for prompt in prompts}
    here.process.send_signal(signal.SIGSTOP)
    holding.broken.add(("released", 1))
    may_end = holding.hold("running", 1)
    eventually(lambda: answer(said(there, key, "charged")) == (200, ""), 60)
    running = begun(pool, holding, "running", partial(said, there, key, "running"))
    assert answer(said(there, key, "released")) == (502, "node_error")
    for event in wake:
        event.set()
    here.process.send_signal(signal.SIGCONT)
    assert {prompt: answer(call.result()) for prompt, call in calls.items()} == {
        "charged": (503, "unavailable"),
        "running": (503, "unavailable"),
        "released": (503, "unavailable"),
        "nobody's": (200, ""),
    }
    may_end.set()
    assert answer(running.result()) == (200, "")
    assert holding.asked == {"charged": 2, "running": 2, "released": 2, "nobody's": 1}
    assert len(world.receipts_of(consumer.address)) == 3
    assert answer(said(here, key, "charged")) == (409, "answer_not_kept")
    assert locked(world) == 0
    here.process.terminate()
    there.process.terminate()
    for process in processes:
        process.process.wait(40)
    assert world.balance(consumer.address) == 10**6 - 3 * PRICE
