"""A node whose name leads elsewhere at the second look: `python -m tests.attacks.rebinding DATABASE_URL`.

It runs in a network of its own (`INSIDE`), where the resolver asks our name server and a public address is this
machine's: so the gateway, the resolver of the operating system and the sockets are the real ones.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
from pathlib import Path

from gateway.clock import now_ms
from ledger.core.values.ids import PRIVATE_LANE
from ledger.flows import audits, postings
from ledger.flows.audits import Scope
from ledger.store.session import connect, unit_of_work
from tests.conftest import settings_for
from tests.gateway.nodes import Node, answering, chat
from tests.gateway.processes import PRICE
from tests.gateway.world import DOMAIN, Running, World, a_signer

PUBLIC, LOCAL, MAPPED = "93.184.216.34", "127.0.0.1", "::ffff:127.0.0.1"
NAME, SILENT = "node.example", "silent.example"
INSIDE = (
    *("unshare", "--net", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "bash", "-c"),
    f"ip link set lo up && ip addr add {PUBLIC}/32 dev lo && mount --bind $1/resolv.conf /etc/resolv.conf"
    ' && mount --bind $1/nsswitch.conf /etc/nsswitch.conf && shift && exec "$@"',
    "bash",
)
"""Followed by a folder with the files of `resolver`, and a command."""
A, AAAA = 1, 28


def resolver(folder: Path) -> None:
    """The settings of a resolver that asks the name server of this page, and nothing else."""
    (folder / "resolv.conf").write_text(f"nameserver {LOCAL}\noptions timeout:2 attempts:2\n")
    (folder / "nsswitch.conf").write_text("hosts: dns\n")


class NameServer:
    """Answers each look for the node's name by the next of its answers, the last one again and again. Looks for names
    below `SILENT` are not answered.
    """

    def __init__(self) -> None:
        self.answers: list[tuple[str, ...]] = []
        self.looks = self.unanswered = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LOCAL, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def answer(self, *answers: tuple[str, ...]) -> None:
        """From now on."""
        self.answers, self.looks = list(answers), 0

    def _serve(self) -> None:
        """Each look asks for both kinds of address: that for the old kind counts."""
        while True:
            query, client = self._socket.recvfrom(512)
            end = query.index(b"\0", 12) + 1
            if SILENT.partition(".")[0].encode() in query:
                self.unanswered += 1
                continue
            (kind,) = struct.unpack_from(">H", query, end)
            answer = self.answers[min(self.looks, len(self.answers) - 1)]
            self.looks += kind == A
            found = [one for one in answer if (":" in one) == (kind == AAAA)]
            head = query[:2] + struct.pack(">5H", 0x8580, 1, len(found), 0, 0) + query[12 : end + 4]
            self._socket.sendto(head + b"".join(map(_record, found)), client)


def _record(address: str) -> bytes:
    family, kind = (socket.AF_INET6, AAAA) if ":" in address else (socket.AF_INET, A)
    raw = socket.inet_pton(family, address)
    return struct.pack(">3HIH", 0xC00C, kind, 1, 0, len(raw)) + raw


def called(names: NameServer, gateway: Running, key: str, *answers: tuple[str, ...]) -> tuple[int, int]:
    """The status of a call, when the name's looks are answered so, and how many looks there were."""
    names.answer(*answers)
    return gateway.chat(key).status_code, names.looks


def main(url: str) -> None:
    """Every way in which a name may turn out to be this machine's own."""
    names = NameServer()
    public = Node(answering(chat("public"), connection="close"), host=PUBLIC).start()
    local = Node(answering(chat("private"), connection="close"), port=public.port).start()
    world = World(connect(settings_for(url).sqlalchemy_url), url)
    world.a_model_at(f"http://{NAME}:{public.port}")
    consumer = a_signer("consumer of a rebound name")
    world.deposit(consumer.address, 10**6)
    gateway = world.gateway(allowed_networks="", attempts=1)
    gateway.send_no_probes()
    key = gateway.key(consumer)

    once = called(names, gateway, key, (PUBLIC,), (LOCAL,))
    assert once == (200, 1), f"the address that was looked up is the one that is called: {once}"
    again = called(names, gateway, key, (LOCAL,), (PUBLIC,))
    assert again == (502, 1), f"and the one that is judged: {again}"
    assert called(names, gateway, key, (MAPPED,))[0] == 502
    assert called(names, gateway, key, (LOCAL, MAPPED, PUBLIC), (LOCAL,))[0] == 200
    assert local.asked == [], "nobody reaches this machine by a name"
    assert len(public.asked) == 2

    charges = [one.receipt.charge for one in world.receipts_of(consumer.address)]
    assert charges == [PRICE] * 2
    assert gateway.gateway.leases.outstanding() == 0
    with unit_of_work(world.engine) as session:
        for writer in postings.due(session, PRIVATE_LANE):
            postings.post_chunk(session, PRIVATE_LANE, writer, 100, now_ms())
        assert audits.reconcile(session, Scope(PRIVATE_LANE, DOMAIN), 1, thorough=True) == []
    world.stop()
    print("nobody was reached")


if __name__ == "__main__":
    main(sys.argv[1])
