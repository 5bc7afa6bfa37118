"""The chain as one wallet uses it: find the contracts, send a call, wait for a block, say what it cost.

Every transaction is simulated before it is signed, so a mistake is reported in the contract's own words and costs
nothing. Signed bytes are stored in the home before they are sent: the next command goes on with what an interrupted one
left (`ledger.chain.sender`). The chain's client is imported when a command first needs the chain.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledger import deployments
from ledger.core.values.atoms import AIC, Currency
from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.ids import Address, to_hex
from ledger.core.values.typed_data import Signer
from ledger.deployments import Deployment
from roles.wallet import home, keystore

if TYPE_CHECKING:
    from ledger.chain.reads import Chain
    from ledger.chain.rpc import Endpoint
    from ledger.chain.sender import Pending
    from ledger.core.settlement.transactions import Call
    from roles.wallet.context import Context

TIMEOUT_SECONDS = 30
GAS_MONEY_WEI = 10**18


@dataclass(frozen=True, slots=True)
class Outbox:
    """A file for the one transaction of a wallet that is not in a block yet."""

    path: Path
    note: Callable[[str], object]

    def load(self) -> Pending | None:
        """The transaction of an interrupted command."""
        from ledger.chain.sender import Pending

        if not self.path.exists():
            return None
        left = Pending.of_json(self.path.read_text())
        self.note(f"resuming transaction {to_hex(left.attempts[-1].hash)} of an interrupted command")
        return left

    def store(self, pending: Pending | None) -> None:
        if pending is None:
            self.path.unlink(missing_ok=True)
        else:
            home.write_private(self.path, pending.to_json())


@contextmanager
def outbox(context: Context, signer: Signer) -> Iterator[Outbox]:
    """The wallet's outbox on this chain, locked: two commands of one wallet send one after the other."""
    path = home.home() / "outbox" / f"{chain_id(context)}-{to_hex(signer.address)}.json"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield Outbox(path, context.note)
        except Unavailable as error:
            if path.exists():
                raise Unavailable(
                    f"{error.message}. It is stored in {path}: the wallet's next command resumes it", **error.facts
                ) from error
            raise


def send(context: Context, call: Call, *, wei: int = 0, signer: Signer | None = None) -> dict[str, object]:
    """Send a call as the wallet, and wait until it is in a block. Its hash and gas, for the command's answer."""
    by = signer or context.signer
    with outbox(context, by) as stored, context.working("waiting for a block"):
        done = chain(context).transact(by, call, wei, stored)
    return {"transaction": to_hex(done.hash), "gas": done.gas_used}


def check_balance(context: Context, atoms: int) -> None:
    """Rejected when the wallet holds less than this: before anything is signed, and with what is missing."""
    held = chain(context).balance(context.account)
    if held < atoms:
        facts = {"held": str(held), "needed": str(atoms), "short": str(atoms - held), "wallet": context.wallet}
        said = f"{context.wallet} has {held:,} atoms on chain and needs {atoms:,}: {atoms - held:,} are missing"
        raise Rejected(said, code="wallet_balance", **facts)


def allow(context: Context, spender: Address, atoms: int) -> None:
    """Let a contract take this much of the wallet's tokens. Rejected when it has less."""
    check_balance(context, atoms)
    send(context, chain(context).calls.approve(spender, atoms))


def endow(context: Context, party: Address, atoms: int) -> dict[str, object]:
    """Tokens, and ETH for gas where it has little, from the treasury wallet of a local network."""
    signer = keystore.unlock(keystore.TREASURY)
    if chain(context).ether(party) < GAS_MONEY_WEI // 2:
        send(context, (party, b""), wei=GAS_MONEY_WEI, signer=signer)
    return send(context, chain(context).calls.transfer(party, atoms), signer=signer)


def now(context: Context) -> int:
    """The chain's time: its latest block's timestamp, in seconds."""
    tip = chain(context).block()
    if tip is None:
        raise Unavailable("the chain has no block")
    return tip.timestamp


def chain_id(context: Context) -> int:
    return _endpoint(context.rpc_url).chain_id


def chain(context: Context) -> Chain:
    """The chain the command talks to, with this deployment's contracts. Without a file the gateway says where."""
    return _chain(context.rpc_url, deployments.of(deployment(context)))


def deployment(context: Context) -> dict[str, Any]:
    """The deployment: `TOLLWAY_DEPLOYMENT`, the chain's file in the checkout or the home, or what the gateway says."""
    known = home.network()
    ours = known.deployment if known and known.rpc == context.rpc_url else None
    if named := os.environ.get("TOLLWAY_DEPLOYMENT") or ours:
        return dict(json.loads(Path(named).read_text()))
    chain = chain_id(context)
    files = (deployments.path(chain, folder) for folder in (deployments.FOLDER, home.deployments()))
    found = next((file for file in files if file.exists()), None)
    return dict(json.loads(found.read_text()) if found else context.lane["deployment"])


def deployments_folder(context: Context) -> Path:
    """Where a deployment is written: where this home's network has its own, if that is the chain; else into the
    checkout, or into the home if somebody else's checkout may only be read.
    """
    known = home.network()
    if known and known.rpc == context.rpc_url:
        return Path(known.deployment).parent
    checkout = deployments.FOLDER
    writable = os.access(checkout if checkout.exists() else checkout.parent, os.W_OK)
    return checkout if writable else home.deployments()


def currency(context: Context) -> Currency:
    """What amounts are in: the settlement token of the chain or the gateway that the command names, else of this home's
    network. AIC on a private grid, and where no network is named.
    """
    named, known = context.gateway_url or os.environ.get("TOLLWAY_GATEWAY"), home.network()
    if not named and (context.rpc or os.environ.get("TOLLWAY_RPC_URL") or os.environ.get("TOLLWAY_DEPLOYMENT")):
        facts = deployment(context)
    elif named and not (known and known.gateway == context.url):
        facts = context.lane["deployment"]
    else:
        facts = json.loads(Path(known.deployment).read_text()) if known else {}
    return deployments.of(facts).currency if facts else AIC


@lru_cache(maxsize=4)
def _chain(url: str, deployed: Deployment) -> Chain:
    from ledger.chain.reads import Chain

    return Chain(url, deployed, timeout_seconds=TIMEOUT_SECONDS)


@lru_cache(maxsize=4)
def _endpoint(url: str) -> Endpoint:
    from ledger.chain.rpc import Endpoint

    return Endpoint(url, timeout_seconds=TIMEOUT_SECONDS)
