"""A node behind a tunnel is reached through every gateway of its lane, whichever one it connected to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from gateway.clock import now_ms
from gateway.metering.ask import CHAT
from gateway.upstream.tunnel import AUTHENTICATION, SKEW_MS, authenticate
from ledger.core.values.ids import PRIVATE_LANE, Digest, cid, to_hex
from ledger.core.values.typed_data import Signer
from ledger.store.network import tunnels
from ledger.store.network.tunnels import Entrance
from ledger.store.session import unit_of_work
from roles.node.tunnel import Identity, Tunnel
from tests.gateway.nodes import Node, answering, streaming, working
from tests.gateway.processes import Process
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import DOMAIN, OPERATOR, PROVIDER, WEAVER, World, a_model


@pytest.fixture
def gateways(world: World) -> Iterator[tuple[Process, Process]]:
    """Two processes of one lane, with a key each, over a model of one tunnelled provider."""
    made = []
    for name in ("one", "two"):
        process = Process(world, name)
        process.settings["GATEWAY_INTERNAL_URL"] = f"http://127.0.0.1:{process.port}"
        process.settings["GATEWAY_ALLOWED_NETWORKS"] = ""
        made.append(process)
    yield made[0], made[1]
    for process in made:
        if process.process.poll() is None:
            process.process.terminate()
            process.process.wait(40)


@pytest.fixture
async def subject(world: World, gateways: tuple[Process, Process], node: Node) -> AsyncIterator[Digest]:
    """The model, with its node connected to the first gateway only."""
    made = world.publish(a_model())
    world.serve(made, f"tunnel://{to_hex(PROVIDER.address)}", tier="edge")
    for process in gateways:
        await asyncio.to_thread(process.start)
    tunnel = Tunnel(
        f"http://127.0.0.1:{gateways[0].port}", node.url, Identity(PROVIDER, DOMAIN, PRIVATE_LANE, "home", [cid(made)])
    )
    task = asyncio.create_task(tunnel.run())
    await asyncio.wait_for(tunnel.opened.wait(), 20)
    yield made
    task.cancel()


def give_up(process: Process, key: str) -> None:
    """Leave a plain call that is not answered."""
    asked, timeout = {"model": "@acme/chat", "messages": []}, httpx.Timeout(20, read=1)
    with pytest.raises(httpx.ReadTimeout):
        process.http.post(CHAT, json=asked, headers={"Authorization": f"Bearer {key}"}, timeout=timeout)


def hang_up(process: Process, key: str) -> None:
    """Leave a stream after its first line."""
    asked = {"model": "@acme/chat", "messages": [], "stream": True}
    with process.http.stream("POST", CHAT, json=asked, headers={"Authorization": f"Bearer {key}"}) as response:
        next(response.iter_lines())


@pytest.mark.slow
async def test_a_tunnelled_node_is_reached_through_a_gateway_it_is_not_connected_to(
    world: World, gateways: tuple[Process, Process], node: Node, consumer: Signer, subject: Digest
) -> None:
    one, two = gateways
    world.deposit(consumer.address, 10**6)
    key = await asyncio.to_thread(two.key, consumer)
    await asyncio.to_thread(eventually, lambda: two.http.get("/v1/models").json()["data"])
    for process in gateways:
        answer = await asyncio.to_thread(process.chat, key)
        assert answer.status_code == 200, answer.text
    node.behaviour = answering(tollway_relay_failed="unreachable")  # not a node's to say
    assert (await asyncio.to_thread(two.chat, key)).status_code == 200
    node.behaviour = streaming(300, (10, 300))
    streamed = await asyncio.to_thread(lambda: two.chat(key, stream=True, max_tokens=400))
    assert streamed.text.count('"t') == 300
    assert streamed.text.rstrip().endswith("data: [DONE]")
    node.behaviour = streaming(40, (10, 40), die_after=7, pause=0.01)
    cut = await asyncio.to_thread(lambda: two.chat(key, stream=True))
    assert "node_cut" in cut.text  # through both hops
    assert "[DONE]" not in cut.text
    assert [s.receipt.units.output_token for s in world.receipts_of(consumer.address)] == [7, 300, 2, 2, 2]
    node.behaviour = streaming(500, (10, 500), pause=0.02)
    before = node.aborted
    await asyncio.to_thread(hang_up, two, key)
    await asyncio.to_thread(eventually, lambda: node.aborted > before)  # hanging up reaches the node
    node.behaviour, before = working, node.aborted
    await asyncio.to_thread(give_up, two, key)
    await asyncio.to_thread(eventually, lambda: node.aborted > before)
    one.kill()
    unreached = await asyncio.to_thread(two.chat, key)
    said = (unreached.status_code, unreached.json()["error"]["code"])
    assert said in ((502, "node_unreachable"), (503, "providers_down")), "this call or our own probe found out first"


@pytest.mark.slow
async def test_every_gateway_of_the_lane_knows_how_far_a_tunnelled_node_is_and_when_it_left(
    gateways: tuple[Process, Process], subject: Digest
) -> None:
    def distances(process: Process) -> list[int]:
        rows = process.http.get("/v1/models").json()["data"]
        return [one["round_trip_ms"] for row in rows for one in row["providers"]]

    one, two = gateways
    await asyncio.to_thread(eventually, lambda: distances(two))
    assert 1 <= distances(one)[0] <= 80
    assert 1 <= distances(two)[0] <= 80, "as measured where its tunnel is"
    one.process.terminate()
    await asyncio.to_thread(eventually, lambda: not distances(two))


@pytest.mark.slow
async def test_only_gateways_of_the_lane_may_forward_calls(
    world: World, gateways: tuple[Process, Process], node: Node, subject: Digest
) -> None:
    one, _ = gateways
    gateway, body = f"/v1/tunnel/{to_hex(PROVIDER.address)}", b'{"model": "@acme/chat", "messages": []}'
    with unit_of_work(world.engine) as session:
        [entrance] = tunnels.entrances(session, OPERATOR.address, now_ms())

    def encrypted(key: bytes = entrance.key, of: bytes | None = None, late: int = 0, path: str = gateway) -> bytes:
        return authenticate(key, path + CHAT, body if of is None else of, now_ms() - late)

    def sent(value: bytes | None, path: str = gateway) -> httpx.Response:
        return one.http.post(path + CHAT, content=body, headers={} if value is None else {AUTHENTICATION: value})

    forged = (
        None,
        b"",
        b"x",
        b"1-ab",
        encrypted(b"\0" * 32),
        encrypted(of=b"{}"),
        encrypted(late=2 * SKEW_MS),
        encrypted(path="/a"),
    )
    assert [(await asyncio.to_thread(sent, value)).status_code for value in forged] == [401] * len(forged)
    assert node.asked == []
    assert (await asyncio.to_thread(sent, encrypted())).status_code == 200
    node.behaviour, body = streaming(9, die_after=7, pause=0.01), b'{"stream": true}'
    with pytest.raises(httpx.RemoteProtocolError):  # what was cut there is not whole here
        await asyncio.to_thread(sent, encrypted())
    nobody = "/v1/tunnel/0x" + "11" * 20
    gone = sent(encrypted(path=nobody), nobody)
    assert (gone.status_code, gone.headers["tollway-relay-failed"]) == (502, "unreachable")


def test_what_breaks_in_the_gateway_that_holds_a_tunnel_is_not_the_nodes_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = world.gateway()
    path, body = f"/v1/tunnel/{to_hex(PROVIDER.address)}{CHAT}", b"{}"

    async def break_down(*_: object) -> None:
        raise ValueError("a bug")

    upstream = gateway.gateway.upstream
    monkeypatch.setattr(upstream.tunnels, "request", break_down)
    shown = authenticate(upstream.forwarder._key, path, body, now_ms())
    broken = httpx.post(gateway.url + path, content=body, headers={AUTHENTICATION: shown})
    assert (broken.status_code, broken.headers["tollway-relay-failed"]) == (500, "unreachable")


def test_an_entrance_lapses_and_only_its_own_gateway_closes_it(world: World) -> None:
    party, here, there, nobody = PROVIDER.address, OPERATOR.address, WEAVER.address, DOMAIN.contract
    with unit_of_work(world.engine) as session:
        mine = [Entrance(one, here, "http://a", b"k", 7, 100) for one in (party, there)]
        tunnels.hold(session, here, mine)
        other = Entrance(party, there, "http://b", b"l", 9, 200)
        tunnels.hold(session, there, [other])
        assert {(one.party, one.url) for one in tunnels.entrances(session, nobody, 99)} == {
            (party, "http://a"),
            (party, "http://b"),
            (there, "http://a"),
        }
        assert tunnels.entrances(session, nobody, 100) == tunnels.entrances(session, here, 99) == [other]
        tunnels.hold(session, here, mine[1:])
        assert tunnels.entrances(session, there, 99) == mine[1:]
        tunnels.hold(session, here, ())
        assert tunnels.entrances(session, nobody, 99) == [other]
