"""Put the contracts on a chain, or find them there: idempotent, deterministic, any RPC URL.

Every address follows from the code and its constructor arguments (CREATE2 through the deterministic deployer that most
chains, Anvil among them, have at the same address). Deploying again finds the code in place and sends nothing.
"""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Final

from contracts import load
from ledger.chain.abi import encode, interface
from ledger.chain.rpc import Endpoint
from ledger.chain.sender import Outbox
from ledger.core.values.atoms import MAX_DECIMALS, Currency
from ledger.core.values.errors import Rejected, TollwayError, Unavailable
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import address, create2, to_hex
from ledger.core.values.typed_data import Domain, Signer
from ledger.deployments import DEVELOPMENT_CHAINS, FOLDER, Deployment, path, save

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
SYMBOL: Final = re.compile("[A-Za-z][A-Za-z0-9.]{0,10}[A-Za-z0-9]")
"""A token's symbol that a person can type and a statement can say."""


class DeploymentFailed(Rejected):
    """The chain cannot carry the contracts, or does not carry the ones expected; says why and what to do."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """The inputs of a deployment's addresses, besides the code and the deploying account.

    `token` settles, and is what bonds and stakes are in; without one, an AICoin is deployed whose whole supply the
    account holds. The least bond is one of it, and a name's stake ten, if nothing else is said. `treasury` (by default
    the account) earns the protocol fee, and what of a fallen bond no accuser gets. Times are in seconds; those that are
    None are DEVELOPMENT_TIMES on a development chain, whose clock can be moved, and otherwise CHAIN_TIMES.
    """

    epoch_seconds: int = 3600
    token: str | None = None
    treasury: str | None = None
    freeze_seconds: int | None = None
    exit_notice_seconds: int | None = None
    min_window_seconds: int | None = None
    min_answer_seconds: int | None = None
    day_seconds: int = 86_400
    min_bond_atoms: int | None = None
    max_leverage: int = 4
    question_floor_wei: int = 10**15
    data_fee_wei: int = 0
    name_stake_atoms: int | None = None


_TIMES: Final = ("freeze_seconds", "exit_notice_seconds", "min_window_seconds", "min_answer_seconds")
CHAIN_TIMES: Final = dict(zip(_TIMES, (300, 900, 86_400, 14_400), strict=True))
DEVELOPMENT_TIMES: Final = dict(zip(_TIMES, (0, 0, 1, 1), strict=True))
_ALSO_OF_DEPLOYMENTS: Final = [field.name for field in fields(Parameters) if field.name not in ("token", "treasury")]


def deploy(
    rpc_url: str, key: Signer, parameters: Parameters, folder: Path = FOLDER, outbox: Outbox | None = None
) -> Deployment:
    """Deploy what is missing, check what is there, write the chain's file."""
    target = _Target(Endpoint(rpc_url), key, outbox)
    target.check_opcodes()
    chain, account = target.endpoint, to_hex(key.address)
    block = chain.tip()
    coin = parameters.token or target.put(_token_of(key, "AICoin"))
    one = target.check_token(coin).one
    bond, stake = parameters.min_bond_atoms or one, parameters.name_stake_atoms
    parameters = replace(parameters, min_bond_atoms=bond, name_stake_atoms=10 * one if stake is None else stake)
    planned = _plan(chain.chain_id, coin, parameters.treasury or account, parameters)
    for name, code in _codes(planned):
        if name == "Settlement":
            for judge, arguments in zip(JUDGES, _judge_arguments(planned), strict=True):
                target.make_judge(judge, planned.settlement, arguments)
        target.put(code)
    deployment = _with_parts(planned, chain, _first_block(chain.chain_id, planned.settlement, block, folder))
    check(rpc_url, deployment)
    save(deployment, folder)
    return deployment


def put_token(rpc_url: str, key: Signer, contract: str) -> str:
    """Put a token of ours on a chain, or find it there; the account holds its whole supply. Its address."""
    return _Target(Endpoint(rpc_url), key, None).put(_token_of(key, contract))


def check(rpc_url: str, deployment: Deployment) -> None:
    """Raise DeploymentFailed unless every contract is at its address with our code and the file's parameters.

    An address follows from the code and the constructor's arguments, so comparing addresses compares immutables. What
    Settlement made and looked up, it names itself. On a chain for real money, the treasury must not be an operator.
    """
    chain = Endpoint(rpc_url)
    if chain.chain_id != deployment.chain_id:
        raise DeploymentFailed(f"{rpc_url} is chain {chain.chain_id}, the deployment is on chain {deployment.chain_id}")
    for name, where in deployment.contracts.items():
        code = chain.code(where)
        if not code:
            raise DeploymentFailed(f"no code at {name}'s address {where} on chain {chain.chain_id}: deploy again")
        if not load(name).matches(code):
            raise DeploymentFailed(f"the code at {where} on chain {chain.chain_id} is not this version's {name}")
    planned = _plan(deployment.chain_id, deployment.token, deployment.treasury, _parameters_of(deployment))
    for name in ("registry", "bid_book", "settlement"):
        value, expected = getattr(deployment, name), getattr(planned, name)
        if value != expected:
            raise DeploymentFailed(
                f"{name} is {value} in the deployment's file, whose parameters lead to {expected}: one of them is wrong"
            )
    said = asdict(_with_parts(planned, chain, deployment.block))
    for field, value in asdict(deployment).items():
        if said[field] != value:
            raise DeploymentFailed(f"{field} is {value} in the deployment's file, and {said[field]} by the contracts")
    if chain.chain_id not in DEVELOPMENT_CHAINS and _is_operator(chain, deployment):
        raise DeploymentFailed(
            f"the treasury {deployment.treasury} operates a lane: it would be paid for its own falls"
        )


JUDGES: Final = ("Questions", "Referee", "PriceJudge")
"""Settlement's judges, in the order of its constructor."""
_PARTS: Final = {
    "consumers": "consumers",
    "keys": "keys",
    "questions": "questions",
    "referee": "referee",
    "price_judge": "prices",
    "stake_vault": "stakeVault",
}
"""Contracts that Settlement names: our word for each, and its view."""

_OF_TOKENS: Final = {f"token_{view}": view for view in ("name", "version", "symbol", "decimals")}
"""What the token says of itself: our word for each, and its view."""


def _plan(chain_id: int, coin: str, treasury: str, wanted: Parameters) -> Deployment:
    """The deployment that follows from these parameters, without what only the chain can tell."""
    usual = DEVELOPMENT_TIMES if chain_id in DEVELOPMENT_CHAINS else CHAIN_TIMES
    given = {name: getattr(wanted, name) for name in _ALSO_OF_DEPLOYMENTS}
    given |= {name: seconds for name, seconds in usual.items() if given[name] is None}
    given |= dict.fromkeys(("settlement", "bid_book", "registry", *_PARTS, *_OF_TOKENS), "")  # known later
    planned = Deployment(chain_id=chain_id, token=coin.lower(), treasury=treasury.lower(), block=0, **given)
    planned = replace(planned, registry=_place(_code_of(planned, "Registry")))
    planned = replace(planned, bid_book=_place(_code_of(planned, "BidBook")))
    return replace(planned, settlement=_place(_code_of(planned, "Settlement")))


def _parameters_of(deployment: Deployment) -> Parameters:
    return Parameters(**{name: getattr(deployment, name) for name in _ALSO_OF_DEPLOYMENTS})


def _codes(planned: Deployment) -> Iterator[tuple[str, bytes]]:
    """The contracts to put on the chain, in order, with their creation code."""
    yield "Registry", _code_of(planned, "Registry")
    yield "BidBook", _code_of(planned, "BidBook")
    for judge in JUDGES:
        yield "Maker", _maker_of(judge)
    yield "Settlement", _code_of(planned, "Settlement")


def _token_of(holder: Signer, contract: str) -> bytes:
    """The creation code of a token of ours, whose whole supply somebody holds."""
    return load(contract).bytecode + encode(["address", "uint256"], [to_hex(holder.address), SUPPLY_ATOMS])


def _maker_of(judge: str) -> bytes:
    """The creation code of the maker of a judge."""
    return load("Maker").bytecode + encode(["bytes32"], [keccak256(load(judge).bytecode)])


def _code_of(planned: Deployment, name: str) -> bytes:
    """A contract's creation code with its constructor's arguments."""
    p = planned
    if name == "Registry":
        numbers = [p.name_stake_atoms, p.epoch_seconds, p.freeze_seconds]
        arguments = encode(["address", "uint64", "uint32", "uint32"], [p.token, *numbers])
    elif name == "BidBook":
        arguments = encode(["address"], [p.registry])
    else:
        times = (p.min_window_seconds, p.min_answer_seconds, p.exit_notice_seconds, p.day_seconds)
        rules = (p.min_bond_atoms, p.max_leverage, *times)
        makers = [_place(_maker_of(judge)) for judge in JUDGES]
        types = ["address", "address", "(uint64,uint8,uint32,uint32,uint32,uint32)", "address[3]", "bytes[3]"]
        arguments = encode(types, [p.token, p.treasury, rules, makers, _judge_arguments(p)])
    return load(name).bytecode + arguments


def _judge_arguments(planned: Deployment) -> list[bytes]:
    """What each judge takes besides its Settlement, in the order of JUDGES."""
    return [
        encode(["uint256", "uint256"], [planned.question_floor_wei, planned.data_fee_wei]),
        encode(["address"], [planned.registry]),
        encode(["address", "address"], [planned.registry, planned.bid_book]),
    ]


def _with_parts(planned: Deployment, chain: Endpoint, block: int) -> Deployment:
    """The whole deployment: with what Settlement made or looked up, by its own word."""
    named = {field: str(chain.read("Settlement", planned.settlement, view)).lower() for field, view in _PARTS.items()}
    token = {field: chain.read("AICoin", planned.token, view) for field, view in _OF_TOKENS.items()}
    return Deployment(**{**asdict(planned), **named, **token, "block": block})


def _place(code: bytes) -> str:
    """Where the deterministic deployer puts this creation code."""
    return to_hex(create2(address(DEPLOYER), SALT, code))


def _is_operator(chain: Endpoint, deployment: Deployment) -> bool:
    """Whether the treasury ever opened a lane."""
    topic = to_hex(interface("Settlement").topic("LaneOpened"))
    treasury = "0x" + deployment.treasury[2:].rjust(64, "0")
    where = {"fromBlock": hex(deployment.block), "toBlock": "latest", "address": deployment.settlement}
    return bool(chain.rpc("eth_getLogs", {**where, "topics": [topic, None, treasury]}))


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

    def check_token(self, token: str) -> Currency:
        """Settlement counts in 64 bits: a token with too many decimals would not fit. It is paid by signature, in the
        domain that its name and version say; its symbol stands beside amounts.
        """
        try:
            decimals, symbol = (self.endpoint.read("AICoin", token, view) for view in ("decimals", "symbol"))
        except Rejected as error:
            raise DeploymentFailed(f"{token} on chain {self.endpoint.chain_id} is not an ERC-20 token") from error
        if decimals > MAX_DECIMALS:
            raise DeploymentFailed(f"token {token} has {decimals} decimals; at most {MAX_DECIMALS} can settle")
        if not SYMBOL.fullmatch(symbol):
            raise DeploymentFailed(
                f"token {token} has the symbol {symbol[:40]!r}: 2 to 12 letters, digits and dots can"
            )
        try:
            self._check_domain(token)
        except Rejected as error:
            raise DeploymentFailed(f"token {token} cannot be paid by signature (ERC-3009): {error.message}") from error
        return Currency(symbol, decimals)

    def _check_domain(self, token: str) -> None:
        """Rejected unless the token's name and version are those of its EIP-712 domain, as x402 clients take them."""
        name, version, separator = (
            self.endpoint.read("AICoin", token, view) for view in ("name", "version", "DOMAIN_SEPARATOR")
        )
        if bytes(separator) != Domain(self.endpoint.chain_id, address(token.lower()), name, version).separator:
            raise Rejected(f"{name!r}, version {version!r}, are not its domain")

    def put(self, code: bytes) -> str:
        """The address of this creation code's contract, deployed if it is not there yet."""
        where = _place(code)
        if not self.endpoint.code(where):
            self._ensure_deployer()
            self._send(DEPLOYER, SALT + code)
        return where

    def make_judge(self, judge: str, settlement: str, arguments: bytes) -> None:
        """Have a judge made for the address at which Settlement will be, unless it is there."""
        maker = _place(_maker_of(judge))
        if int(str(self.endpoint.read("Maker", maker, "judgeOf", settlement, arguments)), 16) == 0:
            self._send(maker, interface("Maker").call_data("make", settlement, load(judge).bytecode, arguments))

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
        known = json.loads(path(chain_id, folder).read_text())
        ours = known["settlement"] == settlement and known["block"] <= block
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return block
    return int(known["block"]) if ours else block
