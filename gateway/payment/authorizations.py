"""Payments without an account: an ERC-3009 authorization to the lane's address pays for one request.

It is checked here, stored for the worker to relay, and becomes a deposit of its signer. The call is charged like any
other, and the unspent rest stays the signer's deposit. Each authorization pays for one request, so a payment that
somebody saw cannot be used again: to be relayed is to be published. How it comes over the wire is `x402` or `mpp`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.asgi import Presence
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import Refusal
from ledger.core.values.atoms import parse
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, address, digest
from ledger.core.values.typed_data import TRANSFER_TYPEHASH, Domain, TokenAuthorization, signed_by, signing_digest
from ledger.deployments import Deployment
from ledger.flows import leases, publications
from ledger.store.access.deposits import DepositRequest
from ledger.store.chain import lanes

LASTS_SECONDS = 300
"""How long a client may let its payment be valid, by the chain's clock: a local chain's may be far ahead of its own."""
DESCRIPTION = "One model call. You are charged what it used; the rest stays your deposit."
"""Of what is paid for, as a client shows it."""
MARGIN_SECONDS = 20
"""An authorization must be valid for this much longer, because it has to be relayed first."""


@dataclass(frozen=True, slots=True)
class Payment:
    """A checked authorization, the protocol that brought it ("x402" or "mpp"), and the identifier that the client gave
    its payment, if any.
    """

    signed: TokenAuthorization
    signature: bytes
    protocol: str
    identifier: str | None = None

    @property
    def payer(self) -> Address:
        return self.signed.payer

    @property
    def asker(self) -> Address:
        """Who asks for the call: its payer signed."""
        return self.signed.payer

    @property
    def amount(self) -> int:
        return self.signed.amount

    @property
    def key(self) -> bytes:
        """The idempotency key of the call it pays for."""
        return b"x402:" + (self.identifier.encode() if self.identifier is not None else self.signed.nonce)


def deployed(gateway: Gateway) -> Deployment:
    """The lane's contracts: payments without an account are not taken on a private grid."""
    assert gateway.deployment is not None, "there is a chain"
    return gateway.deployment


def token_domain(gateway: Gateway) -> Domain:
    """The EIP-712 domain of the settlement token."""
    return deployed(gateway).token_domain


def lasts(gateway: Gateway) -> int:
    """How many seconds from now, by the client's clock, a payment may be valid."""
    return LASTS_SECONDS + max(0, gateway.lane_state.clock_ms) // 1_000


def read(fields: Mapping[str, Any]) -> TokenAuthorization:
    """The authorization in a client's JSON, which names its fields as ERC-3009 does. What is malformed raises KeyError,
    TypeError, ValueError, AttributeError or Rejected: each protocol says what it is not.
    """
    return TokenAuthorization(
        address(fields["from"].lower()),
        address(fields["to"].lower()),
        parse(fields["value"], "value"),
        int(fields["validAfter"]),
        int(fields["validBefore"]),
        digest(fields["nonce"]),
    )


def check(gateway: Gateway, signed: TokenAuthorization, signature: bytes, now: int) -> None:
    """Refuse an authorization unless it is to our lane, valid for a while, and signed by its payer."""
    if signed.payee != gateway.lane:
        raise unpaid("the payment is not to this lane's address")
    valid_after, valid_before = signed.valid_after, signed.valid_before
    by_chain = (now + gateway.lane_state.clock_ms) // 1_000  # who signs reckons with its own clock, the token with this
    if not 0 <= valid_after <= by_chain < valid_before - MARGIN_SECONDS or valid_before >= 2**62:
        ahead = by_chain - now // 1_000
        clock = f"{by_chain}, {abs(ahead)} s {'ahead of' if ahead > 0 else 'behind'} the gateway's"
        raise unpaid(
            f"the payment is valid from {valid_after} until {valid_before}: the chain's clock says {clock}, "
            f"and it must be valid for {MARGIN_SECONDS} s more. Ask for the price again, and pay by what it says"
        )
    if not signed_by(signing_digest(token_domain(gateway), signed.hash(TRANSFER_TYPEHASH)), signature, signed.payer):
        raise unpaid("the payment is not signed by its payer")


async def take(gateway: Gateway, payment: Payment, request: Digest, need: int, presence: Presence) -> Digest | None:
    """Have the payment relayed, and wait until the payer can spend `need` atoms. Its deposit may cover that already.
    The hash of the transaction that relayed it; None when it is not in a block yet.

    It pays for this one `request`, named by its body too: once it is relayed everybody can read it on the chain.

    When the client leaves the payment stays on its way, and becomes its payer's deposit.
    """
    if payment.amount < need:
        raise unpaid(f"this call may cost {need} atoms; the payment is of {payment.amount}")
    await _check_first_deposit(gateway, payment)
    signed = payment.signed
    deposit = DepositRequest(
        id=keccak256(b"x402", address(deployed(gateway).token), signed.payer, signed.nonce),
        lane=gateway.lane,
        account=signed.payer,
        amount=signed.amount,
        valid_after=signed.valid_after,
        valid_before=signed.valid_before,
        salt=signed.nonce,
        signature=payment.signature,
        kind="inbox",
    )
    if not await gateway.db(lambda session: publications.pay(session, deposit, request, now_ms())):
        raise unpaid("this payment was sent with another request before")
    if await _spendable(gateway, payment.payer) < need:
        with presence:
            relayed = await gateway.relays.wait(deposit.id, gateway.settings.payment_seconds)
        if relayed is not None and relayed.status == "failed":
            raise unpaid(f"the payment could not be relayed: {relayed.error}")
        if relayed is None or await _spendable(gateway, payment.payer) < need:
            raise Refusal(
                503,
                "payment_pending",
                "the payment is on its way to the chain: send the same request with the same header again",
                retry_after=2,
            )
    return await gateway.db(lambda session: publications.transaction_of(session, deposit))


async def _spendable(gateway: Gateway, payer: Address) -> int:
    means = await gateway.db(lambda session: leases.means(session, gateway.lane, payer))
    return means.spendable + gateway.leases.free(payer)


async def _check_first_deposit(gateway: Gateway, payment: Payment) -> None:
    """Refuse what the contract would: an account's first deposit below the lane's minimum."""
    terms = gateway.lane_state.terms
    if terms is None or payment.amount >= terms.min_deposit:
        return
    if await gateway.db(lambda session: lanes.get_consumer(session, gateway.lane, payment.payer)) is None:
        raise unpaid(f"a new account's first payment is at least {terms.min_deposit} atoms, not {payment.amount}")


def unpaid(why: str) -> Refusal:
    """The refusal of a payment that is worth nothing here."""
    return Refusal(402, "payment_invalid", why)
