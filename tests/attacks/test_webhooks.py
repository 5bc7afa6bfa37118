"""Webhooks as a weapon: into the operator's network, against others by a slow receiver, and as a way to hold memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import Engine, func, select

from gateway import bounds
from gateway.clock import now_ms
from gateway.upstream.guard import Guard
from gateway.upstream.pool import Pool
from gateway.webhooks.outbox import LIMITS, Outbox
from ledger.core.accounts import webhooks as rules
from ledger.core.accounts.webhooks import Event, Kind, Webhook
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import PRIVATE_LANE, Address
from ledger.core.values.typed_data import Signer
from ledger.store.access import webhooks as hooks
from ledger.store.access.tables import WebhookMessageRow
from ledger.store.session import unit_of_work
from tests import builders as b
from tests.gateway.hooks import a_hook
from tests.gateway.nodes import Asked, Node, Wire, answering, hanging
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import OPERATOR, Running, World, a_signer, code_of

INSIDE = (
    *("127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
    *("[::1]", "[::ffff:127.0.0.1]", "[fe80::1]", "[fd00::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"),
    *("localhost", "2130706433", "0x7f.1", "127.1"),
)
"""Ways to write an address within: this machine, a private network, the cloud's metadata, and what leads to them."""


def stored(number: int, kinds: tuple[Kind, ...] = (Kind.batch_final,)) -> Webhook:
    """A webhook of an account of its own, as it is stored."""
    url = f"https://h{number}.example/"
    return Webhook(f"hook_{number:06}", b.an_address(number), url, kinds, None, bytes(12), bytes(48), number)


def test_no_webhook_leads_into_the_operators_network_but_its_own(
    world: World, consumer: Signer, other_node: Node
) -> None:
    """Nor into the networks in which nodes may be."""
    world.deposit(consumer.address, 1)
    gateway = world.gateway(webhook_networks="", allowed_networks="127.0.0.0/8,10.0.0.0/8,fd00::/8")
    client = gateway.of(consumer)
    for host in INSIDE:
        for scheme in ("https", "http"):
            body = {"url": f"{scheme}://{host}/", "events": ["claim.paid"]}
            refused = client.post("/v1/webhooks", json=body)
            assert (refused.status_code, code_of(refused.json())) == (400, "invalid_url"), (scheme, host)
            assert "GATEWAY_WEBHOOK_NETWORKS" in refused.text, "where an operator would allow it"
    assert client.get("/v1/webhooks").json()["data"] == []
    own = a_hook(gateway, OPERATOR, other_node)
    assert own.ended(own.try_it())["status"] == "delivered"


def test_a_name_that_leads_inside_at_the_second_look_reaches_nobody(
    world: World, gateway: Running, consumer: Signer, other_node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that is checked is the one that is connected to, at each attempt anew."""
    world.deposit(consumer.address, 1)
    hook = a_hook(gateway, consumer, other_node)
    with unit_of_work(world.engine) as session:
        hooks.change(session, PRIVATE_LANE, hook.id, {"url": f"https://rebound.example:{other_node.port}/"})
    guard, looks = gateway.gateway.outbox.pool.guard, []

    async def look_up(host: str, port: int, asker: str = "") -> list[str]:
        looks.append((host, asker))
        return ["10.0.0.7"]

    monkeypatch.setattr(guard._strangers, "look_up", look_up)
    ended = hook.ended(hook.try_it())
    assert (ended["answer"], ended["error"]) == (None, rules.NOT_FOUND)
    assert looks == [("rebound.example", consumer.address.hex())], "few names of an account are looked up at once"
    hook.try_it()
    with unit_of_work(world.engine) as session:
        (stored_now,) = hooks.every(session, PRIVATE_LANE)
    assert stored_now.rests_until > stored_now.tried_at, "who tries it has no more names looked up"
    assert other_node.asked == []
    with pytest.raises(Rejected, match="private or special"):
        asyncio.run(Guard(()).resolve("10.0.0.7", 443))


def test_a_redirect_leads_nowhere(
    world: World, gateway: Running, consumer: Signer, node: Node, other_node: Node
) -> None:
    world.deposit(consumer.address, 1)
    other_node.behaviour = answering({}, 307, location=f"{node.url}/inside")
    hook = a_hook(gateway, consumer, other_node)
    ended = hook.ended(hook.try_it())
    assert (ended["status"], ended["answer"], ended["error"]) == ("waiting", 307, "redirects are not followed")
    assert node.asked == []


def test_a_receiver_that_sends_without_end_is_hung_up_on_after_its_status(
    world: World, gateway: Running, consumer: Signer, other_node: Node
) -> None:
    """A body without end costs nothing, as it is not read; a head without end is a failure."""
    world.deposit(consumer.address, 1)
    sent = [0]

    async def endless(asked: Asked, wire: Wire) -> None:
        await wire.begin()
        while True:
            wire.writer.write(b"10000\r\n" + bytes(65_536) + b"\r\n")
            await wire.writer.drain()
            sent[0] += 65_536

    async def endless_head(asked: Asked, wire: Wire) -> None:
        wire.writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            wire.writer.write(b"x: " + b"y" * 1_000 + b"\r\n")
            await wire.writer.drain()

    other_node.behaviour = endless
    hook = a_hook(gateway, consumer, other_node)
    assert hook.ended(hook.try_it())["status"] == "delivered"
    assert sent[0] < 64 * 2**20
    other_node.behaviour = endless_head
    assert hook.ended(hook.try_it())["status"] == "waiting"


def test_receivers_that_never_answer_delay_nobody_else(
    world: World,
    gateway: Running,
    consumer: Signer,
    node: Node,
    other_node: Node,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Eight webhooks of one account that hang take four places, and another account's message arrives, at the same host
    too, while none of these attempts has ended.
    """
    slow = a_signer("slow receiver")
    world.deposit(consumer.address, 1)
    world.deposit(slow.address, 1)
    other_node.behaviour = hanging
    endless = replace(LIMITS, first_byte_seconds=3_600, call_seconds=3_600)
    monkeypatch.setattr(gateway.gateway.outbox.pool, "_limits", endless)
    monkeypatch.setattr(bounds, "WEBHOOK_SECONDS", 3_600)
    hanged = [a_hook(gateway, slow, other_node) for _ in range(8)]
    for hook in hanged:
        hook.try_it()
    eventually(lambda: len(other_node.asked) == 4)
    hook = a_hook(gateway, consumer, node)
    assert hook.ended(hook.try_it())["status"] == "delivered"
    assert [one["attempts"] for hook in hanged for one in hook.messages()] == [0] * 8
    assert len(other_node.asked) == 4, "an account has four places"
    monkeypatch.setattr(bounds, "WEBHOOK_SECONDS", 0.2)
    hook = a_hook(gateway, consumer, other_node)
    assert hook.ended(hook.try_it())["error"] == "it did not answer within 0.2 s"


async def test_an_account_has_four_places_a_host_sixteen_and_all_sixty_four() -> None:
    """A host is an address, whatever its names are: of IPv6 a network that one customer has."""
    outbox, ends = Outbox(Pool.__new__(Pool), Guard(()), b.OPERATOR), asyncio.Event()
    begun = Counter[str]()

    async def wait(host: str, address: str) -> None:
        with outbox.at(address) as is_free:
            if is_free:
                begun[host] += 1
                await ends.wait()

    for number in range(400):
        hook, host = replace(stored(number), account=b.an_address(number // 8)), number // 80
        if outbox.room and outbox.has_room(hook.account):
            address = f"2001:db8:0:{host}::{number}" if host % 2 else f"192.0.2.{host}"
            outbox.begin(hook, wait(str(host), address))
            while len(outbox.busy) > begun.total():
                await asyncio.sleep(0)
    assert begun == {str(n): 16 for n in range(4)}
    assert outbox.room == 0
    ends.set()
    while outbox.busy:
        await asyncio.sleep(0)
    assert outbox.room == 64


def test_what_failed_rests_so_that_others_have_its_place(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        for number in (1, 2):
            hooks.add(session, b.LANE, stored(number))
        for cause, number in ((b"1", 1), (b"2", 1), (b"3", 2)):
            event = Event(Kind.test, None, cause, {})
            hooks.write_to(session, b.LANE, stored(number), event, 10)
        (first,) = hooks.take(session, b.LANE, 10, (1, 1))
        end = rules.outcome(None, 1, None, 10)
        hooks.record(session, b.LANE, first.messages[0], (None, "it cannot be reached"), end, 10)
        later = hooks.take(session, b.LANE, 10, (8, 8))
        assert {due.hook.id for due in later} == {"hook_000002"}
        assert {due.hook.id for due in hooks.take(session, b.LANE, 10 + 5_000, (8, 8))} == {"hook_000001"}


@pytest.mark.slow
def test_a_hundred_thousand_events_at_once_are_written_once_and_taken_in_small_parts(engine: Engine) -> None:
    many = 100_000
    events = [Event(Kind.batch_final, b.an_address(n), b"final", {"batch": 1}) for n in range(many)]
    with unit_of_work(engine) as session:
        for number in range(0, many, 500):
            hooks.add(session, b.LANE, stored(number))
        assert hooks.write(session, b.LANE, events, 5) == 200
        assert hooks.write(session, b.LANE, events, 6) == 0
        flood = [Event(Kind.batch_final, b.an_address(0), b"%d" % n, {}) for n in range(many)]
        assert hooks.write(session, b.LANE, flood, 5) == many
        taken = hooks.take(session, b.LANE, 5, (64, 16))
        assert (len(taken), max(len(due.messages) for due in taken)) == (64, 16)
        others = hooks.take(session, b.LANE, 5, (64, 16))
        assert not {due.hook.id for due in others} & {due.hook.id for due in taken}, "each has its turn"
        assert session.execute(select(func.count()).select_from(WebhookMessageRow)).scalar_one() == many + 200


def test_no_account_makes_more_webhooks_than_it_may_however_many_ask_at_once(engine: Engine) -> None:
    account = Address(b"\x77" * 20)

    def add(number: int) -> bool:
        hook = stored(number)
        with unit_of_work(engine) as session:
            return hooks.add(session, b.LANE, Webhook(hook.id, account, hook.url, hook.kinds, None, b"", b"", now_ms()))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(add, range(12))) == rules.MAX_WEBHOOKS == 8
