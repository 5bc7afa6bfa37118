"""Names whose servers never answer: `python -m tests.attacks.silence DATABASE_URL`, in the network of `rebinding`."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from ledger.core.values.ids import Digest
from ledger.store.session import connect
from tests.attacks.rebinding import NAME, PUBLIC, SILENT, NameServer
from tests.conftest import settings_for
from tests.gateway.nodes import Node, answering, chat
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import Running, World, a_signer

OFFERS = CALLS = 12


def main(url: str) -> None:
    """Neither strangers' offers nor a provider's calls keep the lookups of others waiting."""
    names = NameServer()
    names.answer((PUBLIC,))
    node = Node(answering(chat("here"), connection="close"), host=PUBLIC).start()
    world = World(connect(settings_for(url).sqlalchemy_url), url)
    subject = world.a_model_at(f"http://{NAME}:{node.port}")
    for n in range(CALLS):
        world.a_model_at(f"http://node{n}.{SILENT}:{node.port}", f"@acme/silent{n}")
    consumer = a_signer("consumer of a node with a name")
    world.deposit(consumer.address, 10**9)
    gateway = world.gateway(allowed_networks="", connect_seconds=1)
    key = gateway.key(consumer)
    with ThreadPoolExecutor(OFFERS + CALLS) as threads:
        offers = [threads.submit(offered, world, gateway, subject, n) for n in range(OFFERS)]
        calls = [threads.submit(gateway.chat, key, f"@acme/silent{n}") for n in range(CALLS)]
        eventually(lambda: names.unanswered >= 2)
        served = [gateway.chat(key).status_code for _ in range(5)]
        assert served == [200] * 5, f"who has a name is called: {served}"
        assert {call.result().status_code for call in calls} == {502}
        answers = [offer.result() for offer in offers]
        assert answers.count((429, "rate_limited")) == OFFERS - 4, "an address has 4 looked up at a time"
        assert {*answers} <= {(429, "rate_limited"), (400, "rejected"), (502, "node_unreachable")}
    world.stop()
    print("nobody waited")


def offered(world: World, gateway: Running, subject: Digest, number: int) -> tuple[int, str]:
    """How a stranger's offer of a silent name is answered."""
    document = world.offer(subject, f"http://host{number}.{SILENT}", a_signer(f"stranger {number}"))
    answer = gateway.http.post("/v1/offers", json=document)
    return answer.status_code, answer.json()["error"]["code"]


if __name__ == "__main__":
    main(sys.argv[1])
