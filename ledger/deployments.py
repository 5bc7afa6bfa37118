"""The contracts and the token that settles on each chain: one JSON file per chain id under `deploy/deployments/`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ledger.core.values.atoms import Currency
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import address
from ledger.core.values.typed_data import Domain

DEVELOPMENT_CHAINS = (31337, 1337)
"""Anvil's and Ganache's: their clocks can be moved."""
FOLDER = Path(__file__).resolve().parents[1] / "deploy" / "deployments"


@dataclass(frozen=True, slots=True)
class Deployment:
    """Addresses as `0x` and lowercase hex; `block` is where the indexer may start.

    `token` settles. Its name and version are those of its EIP-712 domain, by which x402 clients sign.

    `exit_notice_seconds`: how long after a consumer's request the batch must be closed that lets it leave.
    `freeze_seconds`: how long before an epoch its book closes. `day_seconds`: the contracts' measure for lag. The rest
    is what else the contracts' addresses follow from (`ledger.chain.deploy.Parameters`).
    """

    chain_id: int
    token: str
    settlement: str
    consumers: str
    keys: str
    questions: str
    referee: str
    price_judge: str
    stake_vault: str
    bid_book: str
    registry: str
    treasury: str
    epoch_seconds: int
    freeze_seconds: int
    exit_notice_seconds: int
    day_seconds: int
    min_bond_atoms: int
    max_leverage: int
    min_window_seconds: int
    min_answer_seconds: int
    question_floor_wei: int
    data_fee_wei: int
    name_stake_atoms: int
    token_name: str
    token_version: str
    token_symbol: str
    token_decimals: int
    block: int

    @property
    def domain(self) -> Domain:
        """The EIP-712 domain of the lanes' signatures."""
        return Domain(self.chain_id, address(self.settlement))

    @property
    def token_domain(self) -> Domain:
        """The EIP-712 domain of the token's authorizations."""
        return Domain(self.chain_id, address(self.token), self.token_name, self.token_version)

    @property
    def currency(self) -> Currency:
        """What amounts are in."""
        return Currency(self.token_symbol, self.token_decimals)

    @property
    def contracts(self) -> dict[str, str]:
        """Address by contract name, without the token, which may be a third party's."""
        return {
            "Settlement": self.settlement,
            "Consumers": self.consumers,
            "Keys": self.keys,
            "Questions": self.questions,
            "Referee": self.referee,
            "PriceJudge": self.price_judge,
            "StakeVault": self.stake_vault,
            "BidBook": self.bid_book,
            "Registry": self.registry,
        }

    def address_of(self, contract: str) -> str:
        """The address of one of `contracts`, or of the token, whose ABI is AICoin's."""
        return self.token if contract == "AICoin" else self.contracts[contract]


def path(chain_id: int, folder: Path = FOLDER) -> Path:
    return folder / f"{chain_id}.json"


def save(deployment: Deployment, folder: Path = FOLDER) -> Path:
    """Write the chain's file, unless it is unchanged."""
    file = path(deployment.chain_id, folder)
    facts = {**asdict(deployment), "abis": {name: f"contracts/artifacts/{name}.json" for name in deployment.contracts}}
    text = json.dumps(facts, indent=2) + "\n"
    if not file.exists() or file.read_text() != text:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return file


def read(chain_id: int, folder: Path = FOLDER) -> Deployment:
    """The chain's deployment. Raises FileNotFoundError when there is none."""
    return load(path(chain_id, folder))


def load(file: Path) -> Deployment:
    """The deployment in a file. Raises FileNotFoundError when there is none."""
    return of(json.loads(file.read_text()))


def of(facts: Mapping[str, Any]) -> Deployment:
    """The deployment of a file's facts. Rejected when it is of a version that did not know some of them."""
    names = [one.name for one in fields(Deployment)]
    if missing := [name for name in names if name not in facts]:
        said = ", ".join(missing).replace("_", " ")
        again = "with the options of the first time it changes nothing on the chain, and writes them"
        raise Rejected(f"this deployment has no {said}: its operator runs `tollway operator deploy` again; {again}")
    return Deployment(**{name: facts[name] for name in names})
