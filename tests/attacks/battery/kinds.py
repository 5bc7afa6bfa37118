"""The kinds of outcomes. Each leaves its client in doubt, and most are then seen through as a careful client does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from tests.attacks.battery.clients import Caller, Heard, Held, Reply, until
from tests.attacks.battery.play import Outcome, Play, now
from tests.attacks.battery.upstream import CUT, FAILURES, Script

Act = Callable[[Play, Outcome], Awaitable[None]]


@dataclass(frozen=True)
class Kind:
    """A kind: how many of a thousand outcomes are of it, how many of those pay by x402 (per cent), and what happens."""

    name: str
    share: int
    paying: int
    script: Callable[[int, Random], Script]
    act: Act

    def make(self, play: Play, number: int) -> Outcome:
        """An outcome of this kind, drawn by its number."""
        random = Random(f"{play.seed} {number} request")
        made = play.paying if random.randrange(100) < self.paying else play.calling
        stream = {"stream": True} if random.random() < 0.4 else {}
        return made(number, self.name, partial(self.script, number), **stream)


def plain(number: int, random: Random) -> Script:
    """A node that answers, at its own pace."""
    return Script(number, pause=random.choice((0.0, 0.01, 0.05)))


def failing(number: int, random: Random) -> Script:
    """A node that fails before it answers, and may break a stream off in the middle."""
    steps = tuple(random.choice(FAILURES) for _ in range(random.randint(1, 3)))
    return Script(number, (*steps, CUT) if random.random() < 0.2 else steps, pause=0.01)


def slowly(number: int, random: Random) -> Script:
    """A node that takes its time, so that there is one to leave in."""
    return Script(number, pause=random.uniform(0.02, 0.4), events=random.randint(2, 6))


def either(number: int, random: Random) -> Script:
    """A node that takes its time, or whose answer does: it is long, and read slowly."""
    size = random.randint(300_000, 1_200_000) if random.random() < 0.4 else 0
    return replace(slowly(number, random), size=size)


async def time_out_after_payment(play: Play, outcome: Outcome) -> None:
    """The client or the gateway gives up on a payment that is on its way; the same header is sent again."""
    await play.ask(outcome, outcome.random.randrange(2), seconds=outcome.random.uniform(0.3, 4))
    await play.see_through(outcome)


async def failure_after_settlement(play: Play, outcome: Outcome) -> None:
    """The payment is settled, or the key is good, and every node fails: 502. Some give up, others send it again."""
    if isinstance(outcome.by, Caller):
        outcome.by.retries = outcome.random.randrange(3)
    reply = await play.ask(outcome, outcome.random.randrange(2))
    if reply.heard is Heard.nothing and outcome.random.random() < 0.7:
        await play.see_through(outcome)


async def re_signed_retry(play: Play, outcome: Outcome) -> None:
    """What began under one payment is asked for again under another. One name, an Idempotency-Key or a payment
    identifier, makes both one call.
    """
    random = outcome.random
    if random.random() < 0.5:
        outcome.request = replace(outcome.request, name=f"{play.seed}-{outcome.number}")
    else:
        outcome.payer.identifier = f"{play.seed}-{outcome.number}-".ljust(24, "x")
    fate = random.choice((None, None, "answer=0", f"answer={random.randrange(600)}"))
    await play.ask(outcome, random.randrange(2), fate, seconds=random.choice((0.4, 1.5, 30)))
    for _ in range(random.randint(1, 2)):
        await play.ask(outcome, random.randrange(2))
    if outcome.heard is not Heard.whole:
        await play.see_through(outcome)


async def re_signed_after_refusal(play: Play, outcome: Outcome) -> None:
    """Without a name two payments are two calls: another one is signed only after a refusal, as "it is pending"."""
    for _ in range(3):
        reply = await play.ask(outcome, outcome.random.randrange(2))
        if reply.status in (0, 200):
            break
    if outcome.heard is not Heard.whole:
        await play.see_through(outcome)


async def one_payment_at_once(play: Play, outcome: Outcome) -> None:
    """One signed payment is sent several times at once, to both gateways."""

    async def hold() -> None:
        raise Held

    outcome.payer.before_payment = hold
    while not outcome.payer.payments:
        await play.ask(outcome, 0)
    first = outcome.random.randrange(2)
    count = outcome.random.randint(2, 4)
    await asyncio.gather(*(play.again(outcome, (first + n) % 2) for n in range(count)))
    await play.see_through(outcome)


async def one_key_at_once(play: Play, outcome: Outcome) -> None:
    """One request with one Idempotency-Key is sent several times at once, to both gateways."""
    first = outcome.random.randrange(2)
    count = outcome.random.randint(2, 4)
    await asyncio.gather(*(play.ask(outcome, (first + n) % 2) for n in range(count)))
    if outcome.heard is not Heard.whole:
        await play.see_through(outcome)


async def cancelled_authorization(play: Play, outcome: Outcome) -> None:
    """The payer cancels its authorization on the chain: before it sends it, or while it is on its way."""
    before = outcome.random.random() < 0.5

    async def cancel() -> None:
        if len(outcome.payer.payments) == 1:
            await play.cancel_payment(outcome, wait=before)

    outcome.payer.before_payment = cancel
    await play.ask(outcome, outcome.random.randrange(2))
    while not outcome.payer.payments:
        await play.ask(outcome, outcome.random.randrange(2))
    await play.see_through(outcome)


async def client_gone(play: Play, outcome: Outcome) -> None:
    """The client leaves, at any stage, and comes back or does not."""
    random, gateway, reply = outcome.random, outcome.random.randrange(2), Reply()
    if isinstance(outcome.by, Caller):
        outcome.by.retries = 0
    stage = random.choice(("in the request", "at any moment", "while it is paid", "at the node", "in the answer"))
    fate = f"request={random.randrange(900)}" if stage == "in the request" else None

    async def in_the_answer() -> None:
        while reply.heard is Heard.nothing:
            await asyncio.sleep(0.005)
        await asyncio.sleep(random.uniform(0, 0.5))

    moments: dict[str, Callable[[], Awaitable[object]]] = {
        "in the request": lambda: asyncio.sleep(10),
        "at any moment": lambda: asyncio.sleep(random.uniform(0, 0.2)),
        "while it is paid": lambda: asyncio.sleep(random.uniform(0.2, 2.5)),
        "at the node": lambda: play.reached(outcome.number).wait(),
        "in the answer": in_the_answer,
    }

    async def ask() -> None:
        await play.ask(outcome, gateway, fate, reply=reply)

    await until(moments[stage](), ask())
    outcome.heard = max(outcome.heard, reply.heard)
    if outcome.heard is not Heard.whole and random.random() < 0.5:
        await play.see_through(outcome)


async def reset_before_read(play: Play, outcome: Outcome) -> None:
    """The gateway answers, and the connection is reset before the client has read it, or read all of it."""
    if isinstance(outcome.by, Caller):
        outcome.by.retries = outcome.random.choice((0, 2))
    fate = f"answer={outcome.random.choice((0, 0, outcome.random.randrange(1_500)))}"
    await play.ask(outcome, outcome.random.randrange(2), fate)
    if outcome.heard is not Heard.whole and outcome.random.random() < 0.7:
        await play.see_through(outcome)


async def after_a_reorganisation(play: Play, outcome: Outcome) -> None:
    """The chain loses the payment's block, at some moment, and has it again later. See `driver.reorganise`."""
    await asyncio.sleep(outcome.random.uniform(0, 3))
    await play.ask(outcome, outcome.random.randrange(2))
    await asyncio.sleep(outcome.random.uniform(0, 3))
    if not outcome.payer.payments:
        await play.ask(outcome, outcome.random.randrange(2))
    await play.see_through(outcome)


async def killed_gateway(play: Play, outcome: Outcome) -> None:
    """A gateway is killed, at some moment. See `driver.kill_while`."""
    if isinstance(outcome.by, Caller):
        outcome.by.retries = outcome.random.choice((0, 2))
    gateway = outcome.number % 2
    slow = Script.read(outcome.request.text)
    fate = "slow=0" if slow is not None and slow.size else None
    await asyncio.sleep(outcome.random.uniform(0, 0.6))
    await play.ask(outcome, gateway, fate)
    if outcome.heard is not Heard.whole:
        await play.see_through(outcome)


CALM = (
    Kind("time-out after payment", 60, 100, plain, time_out_after_payment),
    Kind("502 after settlement", 130, 30, failing, failure_after_settlement),
    Kind("re-signed retry", 40, 100, plain, re_signed_retry),
    Kind("re-signed after a refusal", 20, 100, failing, re_signed_after_refusal),
    Kind("one payment, at once", 60, 100, plain, one_payment_at_once),
    Kind("one key, at once", 190, 0, plain, one_key_at_once),
    Kind("cancelled authorization", 25, 100, plain, cancelled_authorization),
    Kind("client gone", 170, 25, slowly, client_gone),
    Kind("reset before read", 170, 20, plain, reset_before_read),
)
"""They are under way at the same time."""
REORGANISED = Kind("reorganised deposit", 20, 100, plain, after_a_reorganisation)
KILLED = Kind("killed gateway", 115, 15, either, killed_gateway)
KINDS = (*CALM, REORGANISED, KILLED)
assert sum(kind.share for kind in KINDS) == 1_000


async def perform(play: Play, kind: Kind, outcome: Outcome) -> None:
    """Live through an outcome."""
    outcome.began = now()
    await kind.act(play, outcome)
    outcome.ended = now()
