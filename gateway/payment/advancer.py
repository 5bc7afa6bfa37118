"""The operator's account that advances calls of x402's `upto` and `batch-settlement`: whether it does now, and what a
payer is told where it does not.
"""

from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.payment.auth import Caller
from ledger.core.accounts.budgets import Period
from ledger.core.values.errors import Rejected

_SHORT = frozenset(("insufficient_balance", "voucher_exhausted", "key_budget_exhausted", "lease_ended"))
"""Why the advancing account cannot hold a call's price."""


async def account(gateway: Gateway) -> Caller:
    """The advancing account, as its key is now. Refused when it cannot advance, or nothing bounds what it may lose."""
    assert gateway.advance is not None, "only then a permit or a channel is read"
    try:
        caller = await gateway.authenticator.known({b"authorization": gateway.advance.header}, now_ms())
    except Refusal as refused:
        raise _unavailable() from refused
    assert caller is not None
    assert caller.key is not None, "it was shown"
    line = (caller.key, *caller.ancestors)
    if not any(one.period is Period.day and one.model is None for key in line for one in key.budgets):
        raise _unavailable()
    return caller


async def advances(gateway: Gateway, name: str, asked: str) -> bool:
    """Whether the account advances calls of a model now."""
    if gateway.advance is None:
        return False
    try:
        return (await account(gateway)).may_call(name, asked)
    except Refusal:
        return False


async def check_key(gateway: Gateway) -> None:
    """Rejected when the operator offers this by a key that is not good, or has no budget a day."""
    if gateway.advance is None:
        return
    try:
        await account(gateway)
    except Refusal as refused:
        raise Rejected(
            "the key in GATEWAY_UPTO_KEY_FILE is not good, or has no budget a day, which bounds what strangers can "
            "cost: make one with `tollway consumer key`, and a budget of the period `day`"
        ) from refused


def explained(refused: Refusal) -> Refusal:
    """What a payer is told where the advancing account cannot hold its call's price: not of whose key, nor how much."""
    return _unavailable() if refused.code in _SHORT else refused


def _unavailable() -> Refusal:
    said = (
        "this gateway advances no calls by `upto` or `batch-settlement` now, as its budget of today is used or its key "
        "ended: pay by `exact`"
    )
    return Refusal(503, "upto_unavailable", said, retry_after=60)
