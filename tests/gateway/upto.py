"""What tests of x402's `upto` share: an operator that offers it, a worker, and what that reads of a chain."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, cast

import httpx
from eth_account import Account
from eth_account.signers.local import LocalAccount
from sqlmodel import col, select
from x402 import x402Client
from x402.http.x402_http_client import x402HTTPClient
from x402.mechanisms.evm.upto import UptoEvmScheme

from ledger.chain.reads import Chain
from ledger.core.accounts.permits import PERMIT2, PROXY
from ledger.core.settlement.events import Block
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.ids import PRIVATE_LANE, Address, Digest, address, to_hex
from ledger.core.values.typed_data import word
from ledger.flows.x402 import permits
from ledger.store.access.tables import PermitRow
from ledger.store.session import unit_of_work
from tests.gateway.world import CHAIN, OPERATOR, TOKEN, Running, World, a_signer

PRICE = 115
WALLET = Address(b"\x77" * 20)
"""The operator's, which permits pay."""
BODY = {"model": "@acme/chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50}
ADVANCER = a_signer("advancer")


class Tokens:
    """A chain with a token, Permit2 and the contract for `upto`, as far as the worker looks at them."""

    chain_id = CHAIN

    def __init__(self) -> None:
        self.balances: defaultdict[Address, int] = defaultdict(lambda: 10**6)
        self.allowances: defaultdict[Address, int] = defaultdict(lambda: 2**256 - 1)
        self.used: set[tuple[Address, int]] = set()
        self.deployed = True
        self.ahead = 0
        self.reverts = False
        self.coded: set[Address] = set()
        self.needs: defaultdict[Address, int] = defaultdict(lambda: 100_000)
        self.silent: set[Address] = set()
        self.asked = 0

    @property
    def as_chain(self) -> Chain:
        return cast("Chain", self)

    def code(self, contract: str) -> bytes:
        self.asked += 1
        if contract in (to_hex(PERMIT2), to_hex(PROXY)):
            return b"\x01" if self.deployed else b""
        return b"\xef\x01\x00" + bytes(20) if contract in map(to_hex, self.coded) else b""

    def rpc(self, method: str, call: dict[str, str], at: str) -> str:
        """PERMIT2() of the contract for `upto`, or nonceBitmap(payer, word) of Permit2."""
        if call["to"] == to_hex(PROXY):
            return to_hex(word(PERMIT2))
        data = bytes.fromhex(call["data"][2:])
        payer, place = Address(data[16:36]), int.from_bytes(data[36:68], "big")
        bits = sum(1 << (nonce & 0xFF) for who, nonce in self.used if who == payer and nonce >> 8 == place)
        return to_hex(word(bits))

    def view(self, contract: str, function: str, payer: Address, spender: Address) -> int:
        assert (contract, function, spender) == ("AICoin", "allowance", PERMIT2)
        self.asked += 1
        return self.allowances[payer]

    def balance(self, holder: Address) -> int:
        self.asked += 1
        return self.balances[holder]

    def block(self) -> Block:
        return Block(1, Digest(bytes(32)), int(time.time()) + self.ahead)

    def gas(self, sender: Address, target: Address, data: bytes, *, most: int | None = None) -> int:
        """Of a settlement, whose sixth word is its payer."""
        self.asked += 1
        payer = Address(data[4 + 5 * 32 + 12 : 4 + 6 * 32])
        if payer in self.silent:
            raise Unavailable("it does not answer in time")
        if self.reverts:
            raise Rejected("it reverts")
        return self.needs[payer]


def a_worker(world: World, tokens: Tokens) -> AbstractContextManager[None]:
    """A worker that looks at permits, and notes what their calls were charged."""
    return sweeping(lambda: look(world, tokens))


@contextmanager
def sweeping(sweep: Callable[[], object]) -> Iterator[None]:
    """What a worker does in each sweep, again and again in a thread of its own."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.05):
            sweep()

    working = threading.Thread(target=work)
    working.start()
    try:
        yield
    finally:
        stop.set()
        working.join()


def look(world: World, tokens: Tokens) -> None:
    """What a sweep of the worker does with permits, but for the chain."""
    with unit_of_work(world.engine) as session:
        permits.check(session, PRIVATE_LANE, tokens.as_chain, OPERATOR.address, 1)
    with unit_of_work(world.engine) as session:
        permits.note_charged(session, PRIVATE_LANE)


def a_key(world: World, gateway: Running, folder: Path, **limits: Any) -> Path:
    """The file with the key of the operator's account that advances, which has a budget a day."""
    world.deposit(ADVANCER.address, 10**9)
    chosen = limits or {"budgets": [{"amount": str(10**6), "period": "day"}]}
    file = folder / "upto.key"
    file.write_text(gateway.key(ADVANCER, 10**9, **chosen) + "\n")
    return file


def offering(world: World, folder: Path, **more: Any) -> Running:
    """A gateway whose operator offers `upto`."""
    file = a_key(world, world.gateway("gateway-0"), folder)
    return world.gateway("gateway-1", **consent(file), **more)


def consent(file: Path, least: int = 1) -> dict[str, Any]:
    """The settings by which an operator offers `upto`, from the smallest price on unless another is said."""
    return {"upto_key_file": file, "upto_pay_to": to_hex(WALLET), "upto_least": least}


def a_payer(token: Address = TOKEN) -> tuple[x402Client, LocalAccount]:
    """A stock client that pays by `upto`, with a wallet of its own."""
    account: LocalAccount = Account.create()
    return client_of(UptoEvmScheme(account), token), account  # type: ignore[arg-type]  # it wraps an account itself


def client_of(scheme: Any, token: Address = TOKEN) -> x402Client:
    """A stock client that pays by a scheme, as far as its owner lets it pay in this token."""
    client = x402Client()
    allowed: Any = {"network": f"eip155:{CHAIN}", "asset": to_hex(token), "max_amount_per_payment": "1000000"}
    client.set_spend_controls({"allowed_assets": [allowed]})
    client.register(f"eip155:{CHAIN}", scheme)
    return client


def party(account: LocalAccount) -> Address:
    return address(account.address.lower())


async def signature(gateway: Running, client: x402Client, **changed: Any) -> dict[str, str]:
    """The header by which a stock client pays for a call, by what the 402 says or what is `changed` of it."""
    return await paid_by(gateway, client, "upto", lambda way: way.model_copy(update=changed))


async def paid_by(gateway: Running, client: x402Client, scheme: str, choose: Callable[[Any], Any]) -> dict[str, str]:
    """The header by which a stock client pays for a call by a scheme: by what `choose` makes of the 402."""
    unpaid = gateway.http.post("/v1/chat/completions", json=BODY)
    http = x402HTTPClient(client)
    required = http.get_payment_required_response(unpaid.headers.get, None)
    [way] = [one for one in required.accepts if one.scheme == scheme]
    required = required.model_copy(update={"accepts": [choose(way)]})
    return dict(http.encode_payment_signature_header(await client.create_payment_payload(required)))


def altered(header: dict[str, str], **fields: Any) -> dict[str, str]:
    """The same payment with other fields of its permit."""
    return changed_in(header, "payload.permit2Authorization", **fields)


def changed_in(header: dict[str, str], part: str, **fields: Any) -> dict[str, str]:
    """The same payment with other fields in a part of it (`payload.voucher`; all of it where that is empty)."""
    shown = json.loads(base64.b64decode(header["PAYMENT-SIGNATURE"]))
    of = shown
    for name in part.split(".") if part else ():
        of = of[name]
    of |= fields
    return {"PAYMENT-SIGNATURE": base64.b64encode(json.dumps(shown).encode()).decode()}


def call(gateway: Running, header: dict[str, str], **more: Any) -> httpx.Response:
    return gateway.http.post("/v1/chat/completions", json={**BODY, **more}, headers=header)


def stored(world: World) -> list[tuple[str, int | None]]:
    """How far every permit of the lane has come, and what its call was charged, oldest first."""
    with unit_of_work(world.engine) as session:
        rows = session.exec(select(PermitRow).order_by(col(PermitRow.requested_at)))
        return [(row.status, row.charged) for row in rows]
