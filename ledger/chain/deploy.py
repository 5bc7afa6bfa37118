"""Put the contracts on a chain, or find them there: idempotent, deterministic, any RPC URL.

Every address follows from the code and its constructor arguments (CREATE2 through the deterministic deployer that most
chains, Anvil among them, have at the same address). Deploying again finds the code in place and sends nothing.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contracts import load
from ledger.chain.abi import encode
from ledger.chain.rpc import Endpoint
from ledger.chain.sender import Outbox
from ledger.core.values.errors import Rejected, TollwayError, Unavailable
from ledger.core.values.ids import address, create2, to_hex
from ledger.core.values.typed_data import Signer
from ledger.deployments import DEVELOPMENT_CHAINS, FOLDER, Deployment, read, save

DEPLOYER: Final = "0x4e59b44847b379578588920cA78FbF26c0B4956C"
DEPLOYER_SENDER: Final = "0x3fAB184622Dc19b6109349B94811493BF2a45362"
DEPLOYER_TRANSACTION: Final = (
    "0xf8a58085174876e800830186a08080b853604580600e600039806000f350fe7fffffffffffffffffffffffffffffffffffffffffffffffffff"
    "ffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf31ba0222222222222222222222222"
    "2222222222222222222222222222222222222222a02222222222222222222222222222222222222222222222222222222222222222"
)
"""Keyless deployment (Nick's method): the signature is fixed, so nobody has the sender's key. Same on every chain."""

SUPPLY_ATOMS: Final = 10**18
SALT: Final = bytes(32)


class DeploymentFailed(Rejected):
    """The chain cannot carry the contracts, or does not carry the ones expected; says why and what to do."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """The inputs of a deployment's addresses, besides the code and the deploying account.

    `token` settles; without one, an AICoin is deployed whose whole supply the account holds. `treasury` (the account by
    default) earns the protocol fee. `exit_notice_seconds`: 300, but 0 on development chains, whose clocks can be moved.
    """

    epoch_seconds: int = 3600
    token: str | None = None
    treasury: str | None = None
    challenge_fee_wei: int = 10**15
    min_bond_atoms: int = 10**9
    exit_notice_seconds: int | None = None


def deploy(
    rpc_url: str, key: Signer, parameters: Parameters, folder: Path = FOLDER, outbox: Outbox | None = None
) -> Deployment:
    """Deploy what is missing, check what is there, write the chain's file."""
    target = _Target(Endpoint(rpc_url), key, outbox)
    target.check_opcodes()
    chain, account, wanted = target.endpoint, to_hex(key.address), parameters
    notice = wanted.exit_notice_seconds
    if notice is None:
        notice = 0 if chain.chain_id in DEVELOPMENT_CHAINS else 300
    block = chain.tip()
    owner = wanted.treasury or account
    coin = wanted.token or target.ensure("AICoin", ["address", "uint256"], [account, SUPPLY_ATOMS])
    target.check_token(coin)
    registry = target.ensure("Registry")
    bid_book = target.ensure("BidBook", ["uint32"], [wanted.epoch_seconds])
    parts = [coin, target.ensure("RefereeMaker"), registry, bid_book, owner]
    settlement = target.ensure(
        "Settlement",
        [*["address"] * len(parts), "uint256", "uint64", "uint32"],
        [*parts, wanted.challenge_fee_wei, wanted.min_bond_atoms, notice],
    )
    referee, inboxes, vault = (
        chain.read("Settlement", settlement, view).lower() for view in ("referee", "inboxes", "stakeVault")
    )
    deployment = Deployment(
        chain_id=chain.chain_id,
        token=coin.lower(),
        settlement=settlement,
        referee=referee,
        inboxes=inboxes,
        stake_vault=vault,
        bid_book=bid_book,
        registry=registry,
        treasury=owner.lower(),
        epoch_seconds=wanted.epoch_seconds,
        exit_notice_seconds=notice,
        block=_first_block(chain.chain_id, settlement, block, folder),
    )
    check(rpc_url, deployment)
    save(deployment, folder)
    return deployment


def check(rpc_url: str, deployment: Deployment) -> None:
    """Raise DeploymentFailed unless every contract is at its address with our code, on the right chain."""
    chain = Endpoint(rpc_url)
    if chain.chain_id != deployment.chain_id:
        raise DeploymentFailed(f"{rpc_url} is chain {chain.chain_id}, the deployment is on chain {deployment.chain_id}")
    for name, where in deployment.contracts.items():
        code = chain.code(where)
        if not code:
            raise DeploymentFailed(f"no code at {name}'s address {where} on chain {chain.chain_id}: deploy again")
        if not load(name).matches(code):
            raise DeploymentFailed(f"the code at {where} on chain {chain.chain_id} is not this version's {name}")


@dataclass(frozen=True, slots=True)
class _Target:
    """The chain to deploy to, and the account that pays."""

    endpoint: Endpoint
    key: Signer
    outbox: Outbox | None

    def check_opcodes(self) -> None:
        """Our code uses PUSH0: say so before a deployment fails without a reason."""
        try:
            self.endpoint.rpc("eth_call", {"data": "0x5f5ff3"}, "latest")  # PUSH0 PUSH0 RETURN
        except TollwayError as error:
            if "reason" not in error.facts and not isinstance(error, Rejected):
                raise  # no answer at all
            raise DeploymentFailed(
                f"chain {self.endpoint.chain_id} does not know PUSH0 (EIP-3855): Tollway's contracts need the Shanghai "
                "fork or later"
            ) from error

    def check_token(self, token: str) -> None:
        """Settlement counts in 64 bits: a token with more than 9 decimals would not fit."""
        try:
            decimals = int(self.endpoint.read("AICoin", token, "decimals"))
        except Rejected as error:
            raise DeploymentFailed(f"{token} on chain {self.endpoint.chain_id} is not an ERC-20 token") from error
        if decimals > 9:
            raise DeploymentFailed(f"token {token} has {decimals} decimals; at most 9 can settle")

    def ensure(self, name: str, types: list[str] | None = None, values: list[Any] | None = None) -> str:
        """The contract's address, lowercase, deployed if it is not there yet."""
        code = load(name).bytecode + encode(types or [], values or [])
        where = to_hex(create2(address(DEPLOYER), SALT, code))
        if not self.endpoint.code(where):
            self._ensure_deployer()
            self._send(DEPLOYER, SALT + code)
        return where

    def _send(self, to: str, data: bytes, value: int = 0) -> None:
        try:
            self.endpoint.transact(self.key, (address(to.lower()), data), value, self.outbox)
        except Rejected as error:
            raise DeploymentFailed(f"chain {self.endpoint.chain_id}: {error.message}") from error

    def _ensure_deployer(self) -> None:
        if self.endpoint.code(DEPLOYER):
            return
        self._send(DEPLOYER_SENDER, b"", 10**16)
        sent, deadline = self.endpoint.send_raw(bytes.fromhex(DEPLOYER_TRANSACTION[2:])), time.monotonic() + 120
        while self.endpoint.mined(sent) is None:
            if time.monotonic() > deadline:
                raise Unavailable(f"transaction {to_hex(sent)} is in no block yet")
            time.sleep(0.05)


def _first_block(chain_id: int, settlement: str, block: int, folder: Path) -> int:
    """The block of the first deployment, if this chain's file knows it."""
    try:
        known = read(chain_id, folder)
    except (FileNotFoundError, TypeError, ValueError):
        return block
    return known.block if known.settlement == settlement and known.block <= block else block
