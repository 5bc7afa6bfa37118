"""Reading and writing the chain as one wallet: find the contracts, ask first, sign, send, wait, say what it cost.

Every transaction is simulated before it is signed, so a mistake is told in the contract's own words and costs nothing.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledger.core.values.errors import Rejected, Unavailable
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, to_hex
from ledger.core.values.typed_data import Domain, Signer
from roles.cli import output
from roles.cli.context import here
from roles.wallet import home, keystore
from roles.wallet.abi import Contract, Rpc

if TYPE_CHECKING:
    from ledger.chain.client import Chain

DEPLOYMENTS = Path(__file__).resolve().parent.parent / "deploy" / "deployments"
PATIENCE_SECONDS = 120
MAX_GAS = 16_777_216
"""EIP-7825: no transaction may ask for more."""
EIP_1559 = b"\x02"
CONTRACTS = {
    "token": "AICoin",
    "settlement": "Settlement",
    "stake_vault": "StakeVault",
    "bid_book": "BidBook",
    "registry": "Registry",
}


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction that is in a block."""

    hash: str
    gas: int
    block: int

    @property
    def facts(self) -> dict[str, object]:
        """For the command's answer."""
        return {"transaction": self.hash, "gas": self.gas}


def send(contract: str, function: str, *arguments: Any, signer: Signer | None = None) -> Sent:
    """Call a contract's function as the wallet, and wait until a block has it."""
    by, target = signer or here().signer, _contract(contract)
    return transact(rpc(), by, target.address, target.encode(function, arguments), 0, target)


def read(contract: str, function: str, *arguments: Any) -> Any:
    """What a view function answers: one value, or a tuple of them."""
    target = _contract(contract)
    return target.decode(function, rpc().call(target.address, target.encode(function, arguments), target))


def transact(
    chain: Rpc, signer: Signer, to: Address, data: bytes, wei: int = 0, contract: Contract | None = None
) -> Sent:
    """Simulate, sign, send, wait."""
    call = {"from": to_hex(signer.address), "to": to_hex(to), "data": to_hex(data), "value": hex(wei)}
    gas = int(chain.ask("eth_estimateGas", [call], contract), 16)
    base = int(chain.ask("eth_getBlockByNumber", ["latest", False])["baseFeePerGas"], 16)
    tip = 10**9
    nonce = int(chain.ask("eth_getTransactionCount", [to_hex(signer.address), "pending"]), 16)
    limit = min(gas * 6 // 5, MAX_GAS)
    raw = signed(signer, [chain.chain_id, nonce, tip, 2 * base + tip, limit, to, wei, data, []])
    return wait(chain, str(chain.ask("eth_sendRawTransaction", [to_hex(raw)], contract)))


def signed(signer: Signer, fields: list[Any]) -> bytes:
    """An EIP-1559 transaction's raw bytes with the wallet's signature. The key itself never leaves the signer."""
    import rlp  # only who sends waits for it

    signature = signer.sign(keccak256(EIP_1559, rlp.encode(fields)))
    r, s = (int.from_bytes(signature[i : i + 32], "big") for i in (0, 32))
    packed: bytes = rlp.encode([*fields, signature[64] - 27, r, s])
    return EIP_1559 + packed


def wait(chain: Rpc, hashed: str) -> Sent:
    """Until a block has the transaction. Rejected when it failed there; Unavailable when it does not come."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with output.working("waiting for a block"):
        while time.monotonic() < deadline:
            found = chain.ask("eth_getTransactionReceipt", [hashed])
            if found:
                sent = Sent(hashed, int(found["gasUsed"], 16), int(found["blockNumber"], 16))
                if int(found["status"], 16) != 1:
                    raise Rejected(f"transaction {hashed} failed in block {sent.block}", **sent.facts)
                return sent
            time.sleep(0.05)
    raise Unavailable(f"transaction {hashed} is in no block after {PATIENCE_SECONDS} s; it may still come", hash=hashed)


def allow(spender: str, atoms: int) -> None:
    """Let a contract take this much of the wallet's AIC."""
    send("token", "approve", address_of(spender), atoms)


def address_of(contract: str) -> Address:
    """Where a contract of this deployment is."""
    return _contract(contract).address


def token_balance(party: Address) -> int:
    """AIC of a party on chain, in atoms."""
    return int(read("token", "balanceOf", party))


def ether(party: Address) -> int:
    """ETH of a party, in wei."""
    return int(rpc().ask("eth_getBalance", [to_hex(party), "latest"]), 16)


def now() -> int:
    """The chain's time: its latest block's timestamp, in seconds."""
    return int(rpc().ask("eth_getBlockByNumber", ["latest", False])["timestamp"], 16)


def token_domain() -> Domain:
    """The EIP-712 domain the settlement token signs under."""
    version = str(read("token", "version"))
    return Domain(rpc().chain_id, address_of("token"), str(read("token", "name")), version)


def deployment() -> dict[str, Any]:
    """The contracts' addresses: `TOLLWAY_DEPLOYMENT`, this checkout's file for the chain, or what the gateway says."""
    known = home.network()
    ours = known.deployment if known and known.rpc == here().rpc_url else None
    if said := os.environ.get("TOLLWAY_DEPLOYMENT") or ours:
        return dict(json.loads(Path(said).read_text()))
    kept = DEPLOYMENTS / f"{rpc().chain_id}.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    return dict(here().lane["addresses"])


def indexed() -> Chain:
    """The chain with this deployment's contracts, for who reads their events. Without a file the gateway says where."""
    from ledger.chain.client import Chain
    from ledger.chain.deployments import Deployment  # web3 takes a second to import: only who reads events waits for it

    known = deployment()
    if "block" not in known:
        said = {"chain_id": rpc().chain_id, "block": here().lane["since_block"]}
        known |= {**said, "epoch_seconds": here().lane["epoch_seconds"]}
        known |= {"exit_notice_seconds": int(read("settlement", "exitNotice"))}
    return Chain(rpc().url, Deployment(**{one.name: known[one.name] for one in fields(Deployment)}))


def rpc() -> Rpc:
    """The chain the command talks to."""
    return _rpc_at(here().rpc_url)


@lru_cache(maxsize=4)
def _rpc_at(url: str) -> Rpc:
    return Rpc(url)


def _contract(name: str) -> Contract:
    known = deployment()
    if name not in known:
        raise Rejected(f"this deployment has no {name.replace('_', ' ')}", contract=name)
    return Contract.load(CONTRACTS[name], str(known[name]))


def topic(contract: str, event: str) -> str:
    """An event's first topic."""
    return _contract(contract).topic(event)


def logs(contract: str, event: str, about: bytes) -> list[bytes]:
    """The data of a contract's events about one subject (their first indexed field), oldest first."""
    target = _contract(contract)
    said = {"fromBlock": hex(int(deployment().get("block", 0))), "address": to_hex(target.address)}
    rows = rpc().ask("eth_getLogs", [{**said, "topics": [target.topic(event), to_hex(about)]}])
    return [bytes.fromhex(str(row["data"])[2:]) for row in rows]


def chain_id() -> int:
    """Which chain; 0 for a private grid."""
    return rpc().chain_id


GAS_MONEY_WEI = 10**18


def endow(party: Address, atoms: int) -> Sent:
    """AIC, and ETH for gas where it has little, from the treasury wallet of a local network."""
    signer = keystore.unlock(keystore.TREASURY)
    if ether(party) < GAS_MONEY_WEI // 2:
        transact(rpc(), signer, party, b"", GAS_MONEY_WEI)
    return send("token", "transfer", party, atoms, signer=signer)
