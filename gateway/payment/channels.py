"""x402's `batch-settlement`, where the operator offers it: a channel with a deposit pays for many calls, by vouchers
that each say a total. An account of the operator's advances them, as it does for `upto`; the worker takes the deposit,
watches the channel, and claims what its calls were charged.

The stock client signs what it was charged so far, and the most of its next call. So of calls at once only the first has
a voucher that covers it, and the others sign again on top of what is under way: `Turns` lets them do so one by one.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.asgi import Presence
from gateway.clock import now_ms
from gateway.context import Gateway
from gateway.errors import Refusal
from gateway.payment import authorizations
from gateway.payment.authorizations import MARGIN_SECONDS, unpaid
from ledger.core.accounts import channels as rules
from ledger.core.accounts.channels import Answer, Channel, Deposit, Status, voucher_digest
from ledger.core.values.atoms import Atoms, parse
from ledger.core.values.ids import Address, Digest, address, digest
from ledger.core.values.typed_data import signed_by
from ledger.store.access import channels
from ledger.store.access.channels import NO_DEPOSIT, Call, Shown, StoredChannel

SCHEME = "batch-settlement"
OVER_MS = 60_000
"""How much longer than the longest call what it may cost counts, if its gateway ends meanwhile."""
LATE = "the channel waits for the worker, or for its other calls: send the same request with the same header again"


@dataclass(frozen=True, slots=True)
class ChannelPayment:
    """A checked voucher of a channel, and the identifier that the client gave its payment, if any. `most` is what its
    call may cost, in atoms, once it is let in.
    """

    shown: Shown
    identifier: str | None = None
    most: Atoms = 0

    @property
    def payer(self) -> Address:
        return self.shown.channel.payer

    @property
    def asker(self) -> Address:
        """Who asks for the call: whose key signed the voucher. Until the payer's deposit is there, anybody may have
        written anybody as the payer.
        """
        return self.shown.channel.payer_authorizer

    @property
    def key(self) -> bytes | None:
        """The idempotency key of the call it pays for, if it names one: a voucher says a total, and no call."""
        return b"x402:" + self.identifier.encode() if self.identifier is not None else None


def min_deposit(gateway: Gateway) -> Atoms:
    """The least deposit that is taken, in atoms."""
    assert gateway.advance is not None, "only then it is offered"
    return rules.min_deposit(gateway.advance.least)


def read(gateway: Gateway, fields: Mapping[str, Any]) -> Shown:
    """The voucher, and perhaps the deposit, in a client's JSON. What is malformed raises KeyError, TypeError,
    ValueError, AttributeError or Rejected.
    """
    assert gateway.advance is not None, "only then it is read"
    config, voucher = fields["channelConfig"], fields["voucher"]
    channel = Channel(
        payer=address(config["payer"].lower()),
        payer_authorizer=address(config["payerAuthorizer"].lower()),
        receiver=address(config["receiver"].lower()),
        receiver_authorizer=address(config["receiverAuthorizer"].lower()),
        token=address(config["token"].lower()),
        withdraw_delay=_number(config["withdrawDelay"]),
        salt=digest(config["salt"]),
    )
    named, signature = digest(voucher["channelId"]), _bytes(voucher["signature"])
    if named != channel.id(gateway.domain.chain_id):
        raise ValueError("the voucher is not of the channel that stands beside it")
    if fields["type"] not in ("voucher", "deposit"):
        raise ValueError("a payment is a voucher or a deposit; what is left its payer withdraws from the contract")
    offered = _deposit(fields["deposit"]) if fields["type"] == "deposit" else NO_DEPOSIT
    most = parse(voucher["maxClaimableAmount"], "maxClaimableAmount")
    return Shown(named, channel, most, signature, offered, gateway.advance.least)


def _deposit(fields: Mapping[str, Any]) -> Deposit:
    signed = fields["authorization"]["erc3009Authorization"]
    return Deposit(
        amount=parse(fields["amount"], "amount"),
        valid_after=parse(signed["validAfter"], "validAfter"),
        valid_before=parse(signed["validBefore"], "validBefore"),
        salt=digest(signed["salt"]),
        signature=_bytes(signed["signature"]),
    )


def _number(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 2**40:
        raise ValueError("withdrawDelay is a number of seconds")
    return value


def _bytes(text: str) -> bytes:
    signature = bytes.fromhex(text.removeprefix("0x"))
    if len(signature) != 65:
        raise ValueError("a signature has 65 bytes")
    return signature


def check(gateway: Gateway, shown: Shown) -> None:
    """Refuse a voucher unless its channel is one that is asked for and its key signed it; and a deposit unless its
    payer signed it, it is worth relaying, and it lasts until it is relayed.
    """
    assert gateway.advance is not None, "only then it is read"
    token, channel, offered = authorizations.token_domain(gateway), shown.channel, shown.deposit
    wrong = rules.wrong(channel, gateway.advance.pay_to, gateway.advance.facilitator, token.contract)
    if wrong is not None:
        raise unpaid(wrong)
    signed = voucher_digest(token.chain_id, shown.id, shown.voucher)
    if not signed_by(signed, shown.signature, channel.payer_authorizer):
        raise unpaid("the voucher is not signed by its channel's payerAuthorizer")
    if offered is NO_DEPOSIT:
        return
    if offered.amount < min_deposit(gateway):
        raise unpaid(f"the deposit is of {offered.amount} atoms, and the least is {min_deposit(gateway)}")
    by_chain = gateway.now_ms() // 1_000
    if not offered.valid_after <= by_chain < offered.valid_before - MARGIN_SECONDS:
        raise unpaid(
            f"the deposit is valid from {offered.valid_after} until {offered.valid_before}; the chain's clock says "
            f"{by_chain}, and it must be valid for {MARGIN_SECONDS} s more"
        )
    if not signed_by(offered.signing_digest(token, channel.payer, shown.id), offered.signature, channel.payer):
        raise unpaid("the deposit is not signed by its channel's payer")


async def enter(gateway: Gateway, shown: Shown, call: Call, presence: Presence) -> tuple[Answer, StoredChannel]:
    """Let a call in on its channel, once the worker has looked at that; or say what it lacks, when it is its turn to
    sign again. Refused when the channel is worth nothing; 503 when that is not known in time.
    """
    try:
        async with asyncio.timeout(gateway.settings.payment_seconds):
            return await _enter(gateway, shown, call, presence)
    except TimeoutError:
        raise Refusal(503, "payment_pending", LATE, retry_after=2) from None


async def _enter(gateway: Gateway, shown: Shown, call: Call, presence: Presence) -> tuple[Answer, StoredChannel]:
    has_turn = False
    while True:
        entered = await gateway.db(lambda session: channels.enter(session, gateway.lane, shown, call, now_ms()))
        if entered.channel is None:
            said = "too many channels of this payer, or of all, are open: pay by `exact`"
            raise Refusal(503, "too_many_channels", said, retry_after=60)
        if entered.answer is Answer.admitted:
            gateway.turns.end(shown.id)
            return Answer.admitted, entered.channel
        if entered.answer is not None:
            _check_worth(shown, entered.channel)
        if entered.answer is not None and has_turn:
            return entered.answer, entered.channel
        with presence:
            if entered.answer is None:
                await gateway.channels.wait(shown.id, gateway.settings.payment_seconds)
            else:
                await gateway.turns.take(shown.id)
                has_turn = True


def _check_worth(shown: Shown, known: StoredChannel) -> None:
    """Refuse a call on a channel that no other voucher helps."""
    if known.status is Status.leaving:
        raise unpaid("its payer asked for what the channel holds: no call is made on it until that is taken out")
    failed = shown.deposit.amount > 0 and shown.deposit.salt == known.deposit.salt and known.error is not None
    if known.status is Status.refused or failed:
        raise unpaid(known.error or rules.EMPTY)


async def leave(gateway: Gateway, payment: ChannelPayment, call: Digest) -> StoredChannel:
    """Note that a call is over: its receipt says what it charged, if anything. What its channel's totals are."""
    return await gateway.db(lambda session: channels.leave(session, gateway.lane, payment.shown.id, call, now_ms()))
