"""A gateway's answers as values: amounts are ints of atoms, bytes stay hex as they came.

A field that this version does not know is ignored. One that is missing, or of another form, is the gateway's fault.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from ledger.core.values import atoms
from ledger.core.values.atoms import Atoms
from ledger.core.values.errors import Rejected, Unavailable

Amount = Annotated[Atoms, BeforeValidator(atoms.parse)]
"""Atoms. They travel as decimal strings."""


class Answer(BaseModel):
    """What every answer here is: it cannot be changed."""

    model_config = ConfigDict(frozen=True)


class Found(Answer):
    """A model that can do a task, with the price of its best provider for the expected meters. `declared` is what its
    owner says of it. `latency_ms` is None where nothing was measured.
    """

    name: str
    subject: str
    price: Amount
    tier: str | None
    latency_ms: float | None
    quality_ppm: int | None
    sponsored: bool
    declared: dict[str, Any]


class Share(Answer):
    """One party's line of a price: its share in millionths, or a fixed claim; and what it is of this price."""

    party: str
    role: str
    ratio_ppm: int
    fixed: Amount
    amount: Amount


class Quote(Answer):
    """What a call costs now, signed by the gateway: the price, what is held while it runs, and each line of it."""

    subject: str
    price: Amount
    hold: Amount
    lines: list[Share]
    epoch: int
    expires_at: str
    signature: str


class Balance(Answer):
    """An account's money in the lane."""

    account: str
    available: Amount
    spendable: Amount
    spent: Amount
    voucher: Amount


class Receipt(Answer):
    """A signed receipt as the gateway shows it: `receipt` are the fields it signs, `terms` what prices them, `noted`
    what the gateway notes beside it for those who made the call, `subs` the receipts of a workflow's steps.
    """

    id: str
    receipt: dict[str, Any]
    signature: str
    units: dict[str, int]
    terms: dict[str, Any] = {}
    noted: dict[str, Any] = {}
    subs: list[Receipt] = []
    batch: dict[str, Any] | None = None

    @property
    def call(self) -> str:
        """The call's id."""
        return str(self.receipt["call_id"])

    @property
    def charge(self) -> int:
        """What the consumer paid for this call without its sub-calls, in atoms."""
        return atoms.parse(self.receipt["charge"])

    @property
    def price(self) -> int:
        """What the call cost with its sub-calls, in atoms."""
        return atoms.parse(self.receipt["price"])


Some = TypeVar("Some", bound=Answer)


def read(kind: type[Some], answer: object) -> Some:
    """An answer as a value. Unavailable if it is not one."""
    try:
        return kind.model_validate(answer)
    except (ValidationError, Rejected) as error:
        what = f"the answer is no {kind.__name__.lower()}"
        raise Unavailable(f"{what}: is this a Tollway gateway, of this version? {error}") from error
