"""Waiting for a socket: each wait ends when there is something to read, and a socket without a wait costs nothing."""

from __future__ import annotations

import asyncio
import socket

import uvloop

from gateway.payment.receipt_log import SocketWaiter


def test_a_waiter_is_woken_each_time_there_is_something_to_read() -> None:
    async def main() -> list[bytes]:
        ours, theirs = socket.socketpair()
        watch, heard = SocketWaiter(ours.fileno()), []
        for said in (b"one", b"two"):
            asyncio.get_running_loop().call_later(0.01, theirs.send, said)
            await watch.ready(unsent=False)
            heard.append(ours.recv(16))
        watch.end()
        return heard

    assert uvloop.run(main()) == [b"one", b"two"]


def test_a_hang_up_that_nobody_waits_for_is_told_once_and_found_by_the_next_who_waits() -> None:
    async def main() -> tuple[int, bytes]:
        ours, theirs = socket.socketpair()
        watch, wakes = Counted(ours.fileno()), 0
        theirs.send(b"x")
        await watch.ready(unsent=False)
        ours.recv(1)
        theirs.close()
        await asyncio.sleep(0.05)
        wakes = watch.wakes
        await watch.ready(unsent=True)
        return wakes, ours.recv(1)

    assert uvloop.run(main()) == (2, b"")


def test_who_waits_again_at_a_socket_that_is_broken_does_not_wait_for_ever() -> None:
    """Its peer ended before it read all that we had sent: PostgreSQL does, killed, after its last word."""

    async def main() -> list[bytes]:
        ours, theirs = socket.socketpair()
        watch, heard = SocketWaiter(ours.fileno()), []
        ours.send(b"never read")
        theirs.send(b"last word")
        theirs.close()
        for _ in range(2):
            await asyncio.wait_for(watch.ready(unsent=False), 5)
            try:
                heard.append(ours.recv(16))
            except ConnectionResetError:
                heard.append(b"")
        watch.end()
        return heard

    assert uvloop.run(main()) == [b"last word", b""]


class Counted(SocketWaiter):
    """A waiter that counts how often the loop calls it."""

    wakes = 0

    def _wake(self) -> None:
        self.wakes += 1
        super()._wake()
