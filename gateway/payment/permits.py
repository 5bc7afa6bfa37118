"""x402's `upto`, where the operator offers it: an account of its own advances a call's price, and the payer's permit
settles afterwards what the call was charged.

The permit is checked here as far as it can be without the chain, and stored with the call that it pays for before any
work. The worker looks at its payer and lets the call go on; the receipt of that one call says what it settles. What a
payer takes back meanwhile is the operator's loss, so the advancing key must have a budget a day, which bounds it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.asgi import Presence
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.payment import authorizations
from gateway.payment.auth import Caller
from gateway.payment.authorizations import unpaid
from ledger.core.accounts.permits import PROXY, SETTLE_SECONDS, Permit, Status
from ledger.core.values.atoms import Atoms, parse
from ledger.core.values.ids import Address, Digest, address, to_hex
from ledger.core.values.typed_data import signed_by
from ledger.flows import publications
from ledger.store.access import permits
from ledger.store.access.permits import StoredPermit

SLACK_SECONDS = 300
"""What a permit is asked to be valid for beside: until the client has sent it, and the worker has looked at it."""
LONGEST_SECONDS = 3_600
"""How much longer than that a permit is taken for: it counts against its payer's tokens, and is kept, until then."""
_NUMBER = re.compile("[0-9]{1,78}|0x[0-9a-fA-F]{1,64}")
"""A number of 32 bytes at most, as clients write nonces."""


@dataclass(frozen=True, slots=True)
class PermitPayment:
    """A checked permit, and the identifier that the client gave its payment, if any."""

    signed: Permit
    signature: bytes
    identifier: str | None = None

    @property
    def payer(self) -> Address:
        return self.signed.payer

    @property
    def asker(self) -> Address:
        """Who asks for the call: its payer signed."""
        return self.signed.payer

    @property
    def most(self) -> Atoms:
        """The most that the call may be charged."""
        return self.signed.amount

    @property
    def key(self) -> bytes:
        """The idempotency key of the call it pays for."""
        named = self.identifier
        return b"x402:" + named.encode() if named is not None else b"upto:" + self.signed.nonce


def are_worth(gateway: Gateway, price: Atoms) -> bool:
    """Whether a call of this price at most is worth settling."""
    assert gateway.advance is not None, "only then a permit is offered"
    return price >= gateway.advance.least


def lasts(gateway: Gateway) -> int:
    """How many seconds from now, by the client's clock, a permit has to be valid."""
    ahead = max(0, gateway.lane_state.clock_ms) // 1_000
    return _needed(gateway) + SLACK_SECONDS + ahead


def _needed(gateway: Gateway) -> int:
    """How many seconds a permit must be valid for when its call begins: the longest call's, and those to settle it."""
    return gateway.settings.call_seconds + SETTLE_SECONDS


def read(fields: Mapping[str, Any]) -> tuple[Permit, Address]:
    """The permit in a client's JSON, which names its fields as Permit2 does, and the spender that it names. What is
    malformed raises KeyError, TypeError, ValueError, AttributeError or Rejected.
    """
    tokens, witness = fields["permitted"], fields["witness"]
    permit = Permit(
        payer=address(fields["from"].lower()),
        payee=address(witness["to"].lower()),
        facilitator=address(witness["facilitator"].lower()),
        token=address(tokens["token"].lower()),
        amount=parse(tokens["amount"], "amount"),
        valid_after=_number(witness["validAfter"]),
        deadline=_number(fields["deadline"]),
        nonce=Digest(_number(fields["nonce"]).to_bytes(32, "big")),
    )
    return permit, address(fields["spender"].lower())


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError("a number is written in at most 78 decimal digits")
    number = int(text, 16 if text.startswith("0x") else 10)
    if number >= 2**256:
        raise ValueError("a number has at most 32 bytes")
    return number


def check(gateway: Gateway, signed: Permit, spender: Address, signature: bytes) -> None:
    """Refuse a permit unless it pays the operator's wallet in our token, through x402's contract and by our worker
    alone, more than that costs, for as long as the longest call and its settlement take, and its payer signed it.
    """
    assert gateway.advance is not None, "only then a permit is read"
    domain = authorizations.token_domain(gateway)
    if (signed.token, spender) != (domain.contract, PROXY):
        raise unpaid(f"the permit is not of the token {to_hex(domain.contract)}, for the spender {to_hex(PROXY)}")
    asked = (gateway.advance.pay_to, gateway.advance.facilitator)
    if (signed.payee, signed.facilitator) != asked:
        raise unpaid(f"the permit is not to {to_hex(asked[0])}, by the facilitator {to_hex(asked[1])}")
    if signed.amount < gateway.advance.least:
        cost = gateway.advance.least
        raise unpaid(f"the permit is of {signed.amount} atoms, settling it costs {cost}: pay by `exact`")
    _check_times(gateway, signed)
    if not signed_by(signed.signing_digest(domain.chain_id), signature, signed.payer):
        raise unpaid("the permit is not signed by its payer")


def _check_times(gateway: Gateway, signed: Permit) -> None:
    """Refuse a permit that could expire before it is settled, or is kept for long."""
    by_chain, by_clock = gateway.now_ms() // 1_000, now_ms() // 1_000
    least = by_chain + _needed(gateway)
    most = max(by_chain, by_clock) + lasts(gateway) + LONGEST_SECONDS
    if not (signed.valid_after <= by_chain and least < signed.deadline <= most):
        raise unpaid(
            f"the permit is valid from {signed.valid_after} until {signed.deadline}: by the chain's clock it is "
            f"{by_chain}, and a deadline is between {least} and {most}. Ask for the price again, and pay by that"
        )


async def take(
    gateway: Gateway, payment: PermitPayment, bound: tuple[Digest, Digest], advanced: Caller
) -> StoredPermit:
    """Store a permit with the call and the request (`bound`) that it pays for, before any work. Refused when it was
    sent with another one, was settled, or another permit pays for this call.
    """
    assert gateway.advance is not None, "only then a permit is read"
    call, request = bound
    stored = StoredPermit(
        gateway.lane, payment.signed, payment.signature, advanced.consumer, call, request, gateway.advance.least
    )
    if not await gateway.db(lambda session: publications.permit(session, stored, now_ms())):
        raise unpaid(
            "this permit was sent with another request before, or another permit pays for this call: send that one "
            "again, or sign one for another call"
        )
    return stored


async def wait(gateway: Gateway, stored: StoredPermit, presence: Presence) -> None:
    """Wait until the worker has looked at a permit. Refused when it is worth nothing, or could expire before its call
    is settled; 503 while the worker has not decided, which happens while the payer's other permits take its tokens.
    """
    with presence:
        seen = await gateway.permits.wait(stored.id, gateway.settings.payment_seconds)
    if seen is not None and seen.status is Status.refused:
        raise unpaid(seen.error or "the permit is worth nothing")
    if seen is None or seen.status is not Status.good:
        raise Refusal(
            503,
            "payment_pending",
            "this permit waits for the worker, or for its payer's other permits: send the same request with the same "
            "header again",
            retry_after=2,
        )
    _check_times(gateway, stored.permit)


async def release(gateway: Gateway, stored: StoredPermit) -> None:
    """Note that a permit's call was not charged: it does not count against its payer's tokens any more. If it was, the
    receipt says so, and it is settled all the same.
    """
    await gateway.db(lambda session: permits.release(session, stored, now_ms()))
