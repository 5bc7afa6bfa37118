"""One outcome: who asks for what, what it got to hear, and how it is seen through to an end nobody can doubt."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from eth_account import Account
from sqlalchemy import text

from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import NO_KEY, Address, Digest, call_id, to_hex
from ledger.core.values.typed_data import Signer
from ledger.store.session import unit_of_work
from tests.attacks.battery.clients import PATH, SECONDS, Caller, Heard, Payer, Reply, Request, name_of, nonce_of
from tests.attacks.battery.network import Grid
from tests.attacks.battery.upstream import Script
from tests.chaos.network import CONSUMERS

FINAL = "payment_invalid"
"""The only refusal that sending again cannot change."""
END_SECONDS = 900.0
LONGEST_PAUSE_SECONDS = 4.0
CHAIN = "eip155:31337"


@dataclass
class Outcome:
    """One request of one account, however often it is sent."""

    number: int
    kind: str
    random: Random
    by: Payer | Caller
    account: Address
    request: Request
    key_id: str = NO_KEY
    heard: Heard = Heard.nothing
    charges: set[int] = field(default_factory=set)
    """What its answers said that was charged."""
    unkept: set[int] = field(default_factory=set)
    """The gateways that had its receipt, and no answer any more."""
    refused: str = ""
    heard_codes: list[str] = field(default_factory=list)
    began: int = 0
    ended: int = 0
    """When, in ms since 1970."""

    @property
    def payer(self) -> Payer:
        assert isinstance(self.by, Payer)
        return self.by

    def note(self, reply: Reply) -> Reply:
        """Remember what was heard."""
        self.heard = max(self.heard, reply.heard)
        if reply.charge is not None and reply.heard is Heard.whole:
            self.charges.add(reply.charge)
        self.heard_codes.append(f"{reply.status} {reply.code}".strip())
        return reply

    def calls(self, lane: Address) -> list[Digest]:
        """The ids of the calls that it may have made: one, unless it paid again without a name."""
        if isinstance(self.by, Caller) or self.request.name is not None:
            names = {str(self.request.name).encode()}
        else:
            names = {name_of(payment) for payment in self.by.payments}
        return [call_id(lane, self.account, self.key_id, PATH, name) for name in sorted(names)]


def now() -> int:
    return time.time_ns() // 1_000_000


class Play:
    """All outcomes over one network."""

    def __init__(self, grid: Grid, seed: str) -> None:
        self.grid, self.seed = grid, seed
        self._trace = grid.network.folder / "outcomes.txt"
        self._reached: dict[int, asyncio.Event] = {}
        loop = asyncio.get_running_loop()

        def note(number: int) -> None:
            loop.call_soon_threadsafe(lambda: self.reached(number).set())

        grid.upstream.on_asked = note

    def reached(self, number: int) -> asyncio.Event:
        """Set once the node was asked for this outcome."""
        return self._reached.setdefault(number, asyncio.Event())

    def write_down(self, outcome: Outcome) -> None:
        """What became of it so far, for whoever looks for a fault."""
        took, by = outcome.ended - outcome.began, type(outcome.by).__name__
        with self._trace.open("a") as file:
            said = f"{outcome.number} {outcome.kind} by {by} {took} ms {outcome.heard.name} {outcome.heard_codes}"
            print(said, file=file)

    # ---- outcomes

    def paying(self, number: int, kind: str, script: Callable[[Random], Script], **request: object) -> Outcome:
        """Of a new account, by the x402 client."""
        random, source = Random(f"{self.seed} {number}"), source_of(number)
        key = keccak256(b"battery", self.seed.encode(), number.to_bytes(4, "big"))
        token = to_hex(self.grid.token.contract)
        asset = {"network": CHAIN, "asset": token, "max_amount_per_payment": "1000000"}
        payer = Payer(Account.from_key(key), asset, source)  # type: ignore[arg-type]
        return Outcome(number, kind, random, payer, payer.address, _request(script(random), source, request))

    def calling(self, number: int, kind: str, script: Callable[[Random], Script], **request: object) -> Outcome:
        """Of one of the consumers, by the OpenAI client, with an Idempotency-Key."""
        random, source = Random(f"{self.seed} {number}"), source_of(number)
        consumer = number % len(CONSUMERS)
        named = {"name": f"{self.seed}-{number}", **request}
        caller = Caller(self.grid.network.keys[consumer], source)
        asked = _request(script(random), source, named)
        account, key_id = CONSUMERS[consumer].address, self.grid.key_ids[consumer]
        return Outcome(number, kind, random, caller, account, asked, key_id)

    # ---- acts

    def url(self, gateway: int, fate: str | None = None) -> str:
        """A gateway's; that of the wire in front of it when something is to happen on the way."""
        one = self.grid.gateways[gateway]
        return one.url if fate is None or one.wire is None else one.wire.url

    async def ask(
        self,
        outcome: Outcome,
        gateway: int,
        fate: str | None = None,
        seconds: float = SECONDS,
        reply: Reply | None = None,
    ) -> Reply:
        """Ask with the stock client, which pays if it is to pay."""
        reply, by = reply or Reply(), outcome.by
        try:
            if isinstance(by, Payer):
                await by.pay(reply, self.url(gateway, fate), outcome.request, fate, seconds)
            else:
                await by.call(reply, self.url(gateway, fate), outcome.request, fate, seconds)
        finally:
            outcome.note(reply)
        return reply

    async def again(self, outcome: Outcome, gateway: int) -> Reply:
        """The same again: with the payment that was signed, if one was."""
        if not isinstance(outcome.by, Payer) or not outcome.by.payments:
            return await self.ask(outcome, gateway)
        reply = Reply()
        await outcome.by.send(reply, self.url(gateway), outcome.request, outcome.by.payments[-1])
        return outcome.note(reply)

    async def see_through(self, outcome: Outcome) -> None:
        """Send it again, now to one gateway, now to the other, until there is an answer or a final refusal."""
        gateway = outcome.random.randrange(2)
        deadline, pause = time.monotonic() + END_SECONDS, 0.25
        while time.monotonic() < deadline:
            reply = await self.again(outcome, gateway)
            if reply.status == 200 and reply.heard is not Heard.nothing:
                return
            if reply.code == FINAL:
                outcome.refused = reply.code
                return
            if reply.code == "answer_not_kept":
                outcome.unkept.add(gateway)
                gateway = 1 - gateway
                if len(outcome.unkept) == len(self.grid.gateways):
                    return
                continue
            if reply.status not in (0, 200, 409, 429) and reply.status < 500:
                raise AssertionError(f"outcome {outcome.number}, {outcome.kind}: {outcome.heard_codes}")
            gateway = outcome.random.randrange(2)
            await asyncio.sleep(outcome.random.uniform(pause / 4, pause))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        raise AssertionError(f"outcome {outcome.number}, {outcome.kind}, does not end: {outcome.heard_codes[-20:]}")

    async def cancel_payment(self, outcome: Outcome, *, wait: bool) -> None:
        """Cancel the newest payment on the chain; `wait` until that is mined."""
        signer = Signer(bytes(outcome.payer.account.key))
        sent = self.grid.cancel(signer, nonce_of(outcome.payer.payments[-1]))
        while wait and await asyncio.to_thread(self.grid.chain.mined, sent) is None:
            await asyncio.sleep(0.1)

    async def decided(self) -> None:
        """Until no call is under way at any gateway."""

        def under_way() -> int:
            with unit_of_work(self.grid.network.engine) as session:
                return int(session.execute(text("SELECT count(*) FROM call_locks")).scalar_one())

        deadline = time.monotonic() + END_SECONDS
        while await asyncio.to_thread(under_way):
            if time.monotonic() > deadline:
                raise AssertionError("calls are locked that nobody makes")
            await asyncio.sleep(0.2)


def source_of(number: int) -> str:
    """An address of this machine for an outcome."""
    return f"127.{1 + number // 62_500 % 200}.{number // 250 % 250}.{1 + number % 250}"


def _request(script: Script, source: str, more: dict[str, object]) -> Request:
    return Request(script.text(), source=source, **more)  # type: ignore[arg-type]
