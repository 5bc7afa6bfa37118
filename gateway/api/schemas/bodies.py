"""What a client says, as pydantic models. Pure: nothing here needs a gateway, so a client may import it."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ledger.core.accounts.budgets import MAX_BUDGETS
from ledger.core.accounts.webhooks import URL_CHARACTERS

MAX_INT = 2**63 - 1
"""The largest integer a column of the database holds."""

Amount = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,18})$", description="whole atoms, as a decimal string")]
Hex32 = Annotated[str, Field(pattern="^0x[0-9a-fA-F]{64}$")]
HexAddress = Annotated[str, Field(pattern="^0x[0-9a-fA-F]{40}$")]
NO_NUL = r"^[^\x00]*$"
"""Of texts that go into the database, which keeps no NUL."""
HexSignature = Annotated[str, Field(pattern="^0x[0-9a-fA-F]{130}$")]


class Strict(BaseModel):
    """A body in which an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Format(StrEnum):
    """The exports of one model or workflow, as they are asked for. OpenRouter's is the list of models itself."""

    a2a = "a2a"
    erc8004 = "erc8004"
    kserve = "kserve"
    mcp = "mcp"


class DepositBody(Strict):
    """An ERC-3009 receive authorization to relay: its nonce is keccak256(lane, account, salt)."""

    account: HexAddress
    amount: Amount
    valid_after: int = Field(ge=0, le=MAX_INT)
    valid_before: int = Field(ge=0, le=MAX_INT)
    salt: Hex32
    signature: HexSignature


class CreditBody(Strict):
    """`Credit(lane, account, amount, reference)`, signed by the operator."""

    account: HexAddress
    amount: Amount
    reference: Hex32
    signature: HexSignature


class VoucherBody(Strict):
    """A signed voucher: the most the lane may ever debit the account."""

    lane: HexAddress
    account: HexAddress
    cum_max: Amount
    signature: HexSignature


class BudgetBody(Strict):
    """The most that calls may cost in each period (UTC, by the network's clock; weeks begin on Monday), or ever; of all
    models, or of one by its name.
    """

    amount: Amount
    period: Literal["day", "week", "month"] | None = None
    model: str | None = Field(default=None, max_length=200, pattern=NO_NUL)


class KeyLimits(Strict):
    """The limits and rights of a key. `rate` is calls a minute. `manage`: it may do all that the account may, but spend
    above the voucher. `delegate`: it may make sub-keys within its limits. `realm` is where its calls run unless
    `Tollway-Realm` says otherwise: a realm's name, or a token of it.
    """

    label: str = Field(default="", max_length=200, pattern=NO_NUL)
    budget: Amount | None = None
    budgets: list[BudgetBody] = Field(default=[], max_length=MAX_BUDGETS)
    rate: int | None = Field(default=None, ge=1, le=10**6)
    models: list[str] | None = Field(default=None, max_length=1000)
    expires_at: int | None = Field(default=None, ge=0, le=MAX_INT, description="ms since the epoch")
    rights: list[Literal["manage", "delegate"]] = Field(default=[], max_length=2)
    realm: str | None = Field(default=None, max_length=300, pattern=NO_NUL)


WebhookEvent = Literal[
    "balance.low", "budget.reached", "batch.final", "claim.paid", "challenge.opened", "alarm.sounded"
]


class WebhookChange(Strict):
    """What a webhook is changed to. Fields left out stay as they are. `enabled` is true again after it was disabled."""

    url: str | None = Field(default=None, max_length=URL_CHARACTERS, pattern=NO_NUL)
    events: list[WebhookEvent] | None = Field(default=None, min_length=1, max_length=16)
    threshold: Amount | None = Field(default=None, description="for balance.low: told when less can be spent")
    enabled: bool | None = None


class WebhookBody(Strict):
    """A new webhook: where messages go (https), and of which events."""

    url: str = Field(max_length=URL_CHARACTERS, pattern=NO_NUL)
    events: list[WebhookEvent] = Field(min_length=1, max_length=16)
    threshold: Amount | None = Field(default=None, description="for balance.low: told when less can be spent")


class KeyBody(KeyLimits):
    """A new key: behind a voucher, or made by whoever sends the request."""

    voucher: VoucherBody | None = None
