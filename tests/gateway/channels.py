"""What tests of x402's `batch-settlement` share: the channels' contract in memory, and what a worker does with it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from sqlalchemy import Engine
from sqlmodel import Session
from x402 import x402Client
from x402.mechanisms.evm.batch_settlement.client import BatchSettlementEvmScheme
from x402.mechanisms.evm.batch_settlement.client.config import BatchSettlementDepositPolicy

from gateway.clock import now_ms
from ledger.chain.abi import decode, encode
from ledger.core.accounts.channels import COLLECTOR, CONTRACT, Channel, Seen
from ledger.core.settlement import transactions as intents
from ledger.core.settlement.transactions import Call, Mined
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, Lane, address, to_hex
from ledger.core.values.typed_data import word
from ledger.flows.x402 import channels
from ledger.store.access import channels as store
from ledger.store.access.channels import StoredChannel
from ledger.store.session import unit_of_work
from ledger.store.settlement import transactions
from tests.gateway.upto import Tokens, client_of, paid_by, sweeping
from tests.gateway.world import CHAIN, Running

CONFIG = "(address,address,address,address,address,uint40,bytes32)"
CLAIMS = f"(({CONFIG},uint128),bytes,uint128)[]"


class Escrow(Tokens):
    """A chain with a token and the channels' contract, as far as the worker looks at them and calls them."""

    def __init__(self) -> None:
        super().__init__()
        self.held: defaultdict[Digest, Seen] = defaultdict(lambda: Seen(0, 0))
        self.paid: defaultdict[Address, int] = defaultdict(int)
        self.questions = 0

    def code(self, contract: str) -> bytes:
        if contract in (to_hex(CONTRACT), to_hex(COLLECTOR)):
            return b"\x01" if self.deployed else b""
        return super().code(contract)

    def rpc(self, method: str, call: dict[str, str], at: str) -> str:
        """x402BatchSettlement() of the collector, or channels(id) and pendingWithdrawals(id) by multicall."""
        if call["to"] == to_hex(COLLECTOR):
            return to_hex(word(CONTRACT))
        self.questions += 1
        asked = decode(["bytes[]"], bytes.fromhex(call["data"][10:]))[0]
        answers = []
        for place, one in enumerate(asked):
            seen = self.held[Digest(one[4:])]
            words = (seen.balance, seen.claimed) if place % 2 == 0 else (int(seen.leaving > 0), seen.leaving)
            answers.append(b"".join(map(word, words)))
        return to_hex(encode(["bytes[]"], [answers]))

    def gas(self, sender: Address, target: Address, data: bytes, *, most: int | None = None) -> int:
        if self.reverts:
            raise Rejected("it reverts")
        return self.needs[target]

    def apply(self, call: Call) -> None:
        """What a transaction of the worker's does."""
        assert call[0] == CONTRACT
        data = call[1][4:]
        if call[1][:4] != keccak256(b"multicall(bytes[])")[:4]:
            config, amount, collector, _ = decode([CONFIG, "uint128", "address", "bytes"], data)
            assert address(collector.lower()) == COLLECTOR
            one = a_config(config)
            held = self.held[one.id(CHAIN)]
            self.held[one.id(CHAIN)] = Seen(held.balance + amount, held.claimed, held.leaving)
            self.balances[one.payer] -= amount
            return
        claim, _ = decode(["bytes[]"], data)[0]
        for (config, most), _, total in decode([CLAIMS], claim[4:])[0]:
            one = a_config(config)
            held = self.held[one.id(CHAIN)]
            assert total <= min(most, held.balance), "the contract would revert"
            self.paid[one.receiver] += max(0, total - held.claimed)
            self.held[one.id(CHAIN)] = Seen(held.balance, max(total, held.claimed), held.leaving)


def a_config(config: Sequence[Any]) -> Channel:
    *parties, delay, salt = config
    payer, authorizer, receiver, claimer, token = (address(one.lower()) for one in parties)
    return Channel(payer, authorizer, receiver, claimer, token, delay, Digest(salt))


def sweep(engine: Engine, lane: Lane, escrow: Escrow, sender: Address, now: int) -> None:
    """What a sweep of the worker does with channels; what it sends is in a block at once."""
    steps: list[Callable[[Session], object]] = [
        lambda session: channels.note_charged(session, lane),
        lambda session: channels.look(session, lane, escrow.as_chain, sender, 0, now),
        lambda session: channels.claim(session, lane, sender, now),
        lambda session: mine(session, lane, escrow),
        lambda session: channels.follow(session, lane),
        lambda session: channels.forget(session, lane, now),
    ]
    for step in steps:
        with unit_of_work(engine) as session:
            step(session)


def mine(session: Session, lane: Lane, escrow: Escrow) -> int:
    """Put what is intended into a block."""
    waiting = transactions.intended(session, lane)
    for one in waiting:
        escrow.apply((one.target, one.data))
        transactions.set_status(session, lane, one.id, intents.Status.confirmed, Mined(one.id, 1, succeeded=True))
    return len(waiting)


def a_worker(engine: Engine, lane: Lane, escrow: Escrow, sender: Address) -> AbstractContextManager[None]:
    return sweeping(lambda: sweep(engine, lane, escrow, sender, now_ms()))


def known(engine: Engine, lane: Lane) -> list[StoredChannel]:
    with unit_of_work(engine) as session:
        return store.of_lane(session, lane)


def a_payer(deposits: int = 100) -> tuple[x402Client, LocalAccount]:
    """A stock client that pays by channels, which cannot ask the chain, with a wallet of its own."""
    account: LocalAccount = Account.create()
    return client_of(scheme_of(account, deposits)), account


def scheme_of(signer: Any, deposits: int) -> BatchSettlementEvmScheme:
    """`batch-settlement` of a stock client that deposits so many prices at once."""
    return BatchSettlementEvmScheme(signer, BatchSettlementDepositPolicy(deposit_multiplier=deposits))


async def signature(gateway: Running, client: x402Client, **changed: Any) -> dict[str, str]:
    """The header by which a stock client pays for a call, by what the 402 says but for what is `changed`."""
    fields = {name: value for name, value in changed.items() if name in ("pay_to", "asset")}
    more = {name: value for name, value in changed.items() if name not in fields}

    def choose(way: Any) -> Any:
        return way.model_copy(update={**fields, "extra": {**(way.extra or {}), **more}})

    return await paid_by(gateway, client, "batch-settlement", choose)
