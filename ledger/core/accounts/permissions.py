"""API keys: whose money a key may spend, how much, how fast, on which models, and until when; grants to gateways;
what an account lets its lane debit."""

from dataclasses import dataclass

from ledger.core.values.atoms import Atoms
from ledger.core.values.ids import Address


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key and its limits; None means no limit. Times are ms since the epoch.

    `rate` is calls a minute. `models` are names and CIDs. `spent` is exact for keys with a budget, and 0 for others.
    """

    hash: bytes
    id: str
    consumer: Address
    label: str
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    budget: Atoms | None = None
    rate: int | None = None
    models: tuple[str, ...] | None = None
    spent: Atoms = 0


def refusal(key: ApiKey, now: int) -> str | None:
    """Why this key may not be used at `now`, or None. A key is good in [created, expires)."""
    if key.revoked_at is not None:
        return "this key was revoked"
    if key.expires_at is not None and now >= key.expires_at:
        return "this key has expired"
    return None


def may_call(key: ApiKey, name: str, asked: str) -> bool:
    """Whether this key may call a model: by its `@org/name`, or as the request names it (name or CID)."""
    return key.models is None or name in key.models or asked in key.models


def grant(left: Atoms, need: Atoms, target: Atoms) -> Atoms:
    """A gateway's part of a deposit or budget: the target, at least the need; 0 when less than the need is left.

    Above the need it is at most a quarter of what is left, so that other gateways get some too.
    """
    return max(need, min(target, left // 4)) if need <= left else 0


def mandate(cum_max: Atoms, debit_at_exit: Atoms, paid_in: Atoms) -> Atoms:
    """The most a lane may ever debit an account. `Questions.answerMandate` has the same rule on chain.

    `cum_max` is its highest voucher's, `debit_at_exit` its debit when it last left the lane, `paid_in` what it paid by
    x402 and was booked since: such an authorization says that it pays for calls, as a voucher does.
    """
    return max(cum_max, debit_at_exit) + paid_in
