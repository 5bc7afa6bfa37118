"""The contracts' addresses on each chain: one JSON file per chain id under `deploy/deployments/`."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ledger.core.values.ids import address
from ledger.core.values.typed_data import Domain

DEVELOPMENT_CHAINS = (31337, 1337)
"""Anvil's and Ganache's: their clocks can be moved."""
FOLDER = Path(__file__).resolve().parents[1] / "deploy" / "deployments"


@dataclass(frozen=True, slots=True)
class Deployment:
    """Addresses as `0x` and lowercase hex; `block` is where the indexer may start.

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
    block: int

    @property
    def domain(self) -> Domain:
        """The EIP-712 domain of the lanes' signatures."""
        return Domain(self.chain_id, address(self.settlement))

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
    facts = json.loads(file.read_text())
    facts.pop("abis", None)  # for third parties: ours are found by name
    return Deployment(**facts)
