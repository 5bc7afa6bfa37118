"""Put the contracts on a chain, or find them there: idempotent, deterministic, any RPC URL.

Every address follows from the code and its constructor arguments (CREATE2 through the deterministic deployer that most
chains, Anvil among them, have at the same address). Deploying again finds the code in place and sends nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from eth_abi.abi import encode
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from web3 import HTTPProvider, Web3
from web3.exceptions import Web3Exception

from contracts import Artifact, load
from ledger.chain.deployments import DEVELOPMENT_CHAINS, FOLDER, Deployment, read, save

DEPLOYER: Final = "0x4e59b44847b379578588920cA78FbF26c0B4956C"
DEPLOYER_SENDER: Final = "0x3fAB184622Dc19b6109349B94811493BF2a45362"
DEPLOYER_TRANSACTION: Final = (
    "0xf8a58085174876e800830186a08080b853604580600e600039806000f350fe7fffffffffffffffffffffffffffffffffffffffffffffffffff"
    "ffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf31ba0222222222222222222222222"
    "2222222222222222222222222222222222222222a02222222222222222222222222222222222222222222222222222222222222222"
)
"""Signed by nobody: its sender is whatever address the made-up signature recovers to, the same on every chain."""

SUPPLY_ATOMS: Final = 10**18
SALT: Final = bytes(32)


class DeploymentFailed(Exception):
    """The chain cannot carry the contracts, or does not carry the ones expected; says why and what to do."""


def deploy(
    rpc_url: str,
    account: LocalAccount,
    *,
    epoch_seconds: int = 3600,
    token: str | None = None,
    treasury: str | None = None,
    challenge_fee_wei: int = 10**15,
    min_bond_atoms: int = 10**9,
    exit_notice_seconds: int | None = None,
    folder: Path = FOLDER,
) -> Deployment:
    """Deploy what is missing, check what is there, write the chain's file.

    `token` settles; without one, an AICoin is deployed whose whole supply `account` holds. `treasury` (the account by
    default) earns the protocol fee. `exit_notice_seconds`: 300, but 0 on development chains, whose clock is ours.
    """
    web3 = Web3(HTTPProvider(rpc_url))
    chain = _Chain(web3, account)
    chain.check_opcodes()
    if exit_notice_seconds is None:
        exit_notice_seconds = 0 if chain.id in DEVELOPMENT_CHAINS else 300
    block = int(web3.eth.block_number)
    owner = treasury or account.address
    coin = token or chain.ensure("AICoin", ["address", "uint256"], [account.address, SUPPLY_ATOMS])
    chain.check_token(coin)
    registry = chain.ensure("Registry")
    bid_book = chain.ensure("BidBook", ["uint32"], [epoch_seconds])
    settlement = chain.ensure(
        "Settlement",
        ["address", "address", "address", "address", "address", "uint256", "uint64", "uint32"],
        [
            coin,
            chain.ensure("RefereeMaker"),
            registry,
            bid_book,
            owner,
            challenge_fee_wei,
            min_bond_atoms,
            exit_notice_seconds,
        ],
    )
    made = web3.eth.contract(address=Web3.to_checksum_address(settlement), abi=load("Settlement").abi)
    deployment = Deployment(
        chain_id=chain.id,
        token=coin.lower(),
        settlement=settlement,
        referee=str(made.functions.referee().call()).lower(),
        inboxes=str(made.functions.inboxes().call()).lower(),
        stake_vault=str(made.functions.stakeVault().call()).lower(),
        bid_book=bid_book,
        registry=registry,
        treasury=owner.lower(),
        epoch_seconds=epoch_seconds,
        exit_notice_seconds=exit_notice_seconds,
        block=_first_block(chain.id, settlement, block, folder),
    )
    check(rpc_url, deployment)
    save(deployment, folder)
    return deployment


def check(rpc_url: str, deployment: Deployment) -> None:
    """Raise DeploymentFailed unless every contract is at its address with our code, on the right chain."""
    web3 = Web3(HTTPProvider(rpc_url))
    chain_id = int(web3.eth.chain_id)
    if chain_id != deployment.chain_id:
        raise DeploymentFailed(f"{rpc_url} is chain {chain_id}, the deployment is on chain {deployment.chain_id}")
    for name, address in deployment.contracts.items():
        code = bytes(web3.eth.get_code(Web3.to_checksum_address(address)))
        if not code:
            raise DeploymentFailed(f"no code at {name}'s address {address} on chain {chain_id}: deploy again")
        if not load(name).matches(code):
            raise DeploymentFailed(f"the code at {address} on chain {chain_id} is not this version's {name}")


class _Chain:
    """One account's way to a chain: send, wait, find."""

    def __init__(self, web3: Web3, account: LocalAccount) -> None:
        self.web3 = web3
        self.account = account
        self.id = int(web3.eth.chain_id)

    def check_opcodes(self) -> None:
        """Our code uses PUSH0: say so before a deployment fails without a word."""
        try:
            self.web3.eth.call({"data": Web3.to_hex(bytes.fromhex("5f5ff3"))})  # PUSH0 PUSH0 RETURN
        except (Web3Exception, ValueError) as error:
            raise DeploymentFailed(
                f"chain {self.id} does not know PUSH0 (EIP-3855): Tollway's contracts need the Shanghai fork or later"
            ) from error

    def check_token(self, address: str) -> None:
        """Settlement counts in 64 bits: a token with more than 9 decimals would not fit."""
        token = self.web3.eth.contract(address=Web3.to_checksum_address(address), abi=load("AICoin").abi)
        try:
            decimals = int(token.functions.decimals().call())
        except (Web3Exception, ValueError) as error:
            raise DeploymentFailed(f"{address} on chain {self.id} is no ERC-20 with decimals()") from error
        if decimals > 9:
            raise DeploymentFailed(f"token {address} has {decimals} decimals; at most 9 can settle")

    def ensure(self, name: str, types: list[str] | None = None, values: list[Any] | None = None) -> str:
        """The contract's address, lowercase, deployed if it is not there yet."""
        artifact = load(name)
        code = artifact.bytecode + encode(types or [], values or [])
        address = create2(code)
        if not self.web3.eth.get_code(Web3.to_checksum_address(address)):
            self._ensure_deployer()
            self.send(DEPLOYER, SALT + code)
            self._check_code(artifact, address)
        return address

    def send(self, to: str, data: bytes, value: int = 0) -> None:
        """Send and wait for success."""
        call: Any = {
            "from": self.account.address,
            "to": Web3.to_checksum_address(to),
            "data": Web3.to_hex(data),
            "value": value,
        }
        base = int(self.web3.eth.get_block("latest").get("baseFeePerGas", 0))
        tip = int(self.web3.eth.max_priority_fee)
        transaction = {
            "chainId": self.id,
            "nonce": self.web3.eth.get_transaction_count(self.account.address, "pending"),
            "to": call["to"],
            "data": call["data"],
            "value": value,
            "gas": self.web3.eth.estimate_gas(call) * 12 // 10,
            "maxFeePerGas": 2 * base + tip,
            "maxPriorityFeePerGas": tip,
            "type": 2,
        }
        signed = self.account.sign_transaction(transaction)
        receipt = self.web3.eth.wait_for_transaction_receipt(self.web3.eth.send_raw_transaction(signed.raw_transaction))
        if receipt["status"] != 1:
            raise DeploymentFailed(
                f"transaction {Web3.to_hex(receipt['transactionHash'])} to {to} failed on chain {self.id}"
            )

    def _ensure_deployer(self) -> None:
        if self.web3.eth.get_code(Web3.to_checksum_address(DEPLOYER)):
            return
        self.send(DEPLOYER_SENDER, b"", 10**16)
        sent = self.web3.eth.send_raw_transaction(Web3.to_bytes(hexstr=DEPLOYER_TRANSACTION))  # type: ignore[arg-type]
        self.web3.eth.wait_for_transaction_receipt(sent)

    def _check_code(self, artifact: Artifact, address: str) -> None:
        if not artifact.matches(bytes(self.web3.eth.get_code(Web3.to_checksum_address(address)))):
            raise DeploymentFailed(f"{artifact.name} did not arrive at {address} on chain {self.id}")


def create2(code: bytes) -> str:
    """Where the deterministic deployer puts this creation code."""
    hashed = keccak(b"\xff" + bytes.fromhex(DEPLOYER[2:]) + SALT + keccak(code))
    return "0x" + hashed[12:].hex()


def _first_block(chain_id: int, settlement: str, block: int, folder: Path) -> int:
    """The block of the first deployment, if this chain's file knows it."""
    try:
        known = read(chain_id, folder)
    except (FileNotFoundError, TypeError, ValueError):
        return block
    return known.block if known.settlement == settlement and known.block <= block else block
