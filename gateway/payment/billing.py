"""From what a call used to what it costs: the draft of its receipt, and the one place where calls are charged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gateway import bounds
from gateway.errors import Refusal
from gateway.payment.leases import BalanceLeases, Hold
from gateway.payment.receipt_log import ReceiptLog
from ledger.core.accounts.budgets import Allowance
from ledger.core.pricing.price import Tariff
from ledger.core.receipts.receipt import EndReason, Receipt
from ledger.core.values.atoms import Atoms
from ledger.core.values.hashes import body_digest
from ledger.core.values.ids import ZERO_ADDRESS, ZERO_DIGEST, Address, Digest, Lane, to_hex
from ledger.core.values.meters import Units
from ledger.flows.receipt_log import Draft
from ledger.store.receipts.receipts import Signed


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """The gateway's unsigned notes beside a receipt, as JSON: hex strings, and ms since the epoch."""

    model: str = ""
    salt: str = ""
    started: int = 0
    provider: str | None = None
    key: str | None = None
    attempts: list[dict[str, Any]] = []
    slot: str = ""
    """Whose slot led to the call, if it is sold by it: 0xADDRESS/ROLE."""
    parent: str = ""
    """The call that the consumer's own node served meanwhile, if it said so."""

    @classmethod
    def of(cls, signed: Signed) -> Note:
        """The note beside a receipt; an empty one when there is none."""
        return _NOTE.decode(signed.extra or b"{}")


_NOTE = msgspec.json.Decoder(Note)


class Served(msgspec.Struct, frozen=True):
    """A served call: units, how and when (ms) it ended, the request, the digest of the answer, and the provider."""

    units: Units
    end: EndReason
    ended: int
    request: bytes
    response: Digest
    provider: Address | None = None


class Billing(msgspec.Struct):
    """The facts of a call before it is priced: payer, lane and epoch, and the notes beside its receipt.

    The receipt names the `consumer`, who pays. The `asker` made the call, and bonds and marks are its own: where an
    account of the operator's advances calls, that account is everybody's.
    `allowance` is what it is taken of where a key's budget bounds it. `attempts` are those that did not serve. `lock`
    is the locked call that the consumer sent, `slot` names whose slot it sells. `made_for` is a call that the
    consumer's own node serves; `parent` is the workflow's. What runs in a `realm` is in no metric:
    everybody may read those.
    """

    call_id: Digest
    consumer: Address
    asker: Address
    lane: Lane
    epoch: int
    model: str
    salt: bytes
    started: int
    key_id: str | None = None
    allowance: Allowance | None = None
    parent: Digest = ZERO_DIGEST
    attempts: list[dict[str, Any]] = []
    lock: Digest | None = None
    realm: str = ""
    slot: str = ""
    made_for: Digest = ZERO_DIGEST
    most: Atoms | None = None
    """The most that its payer permitted, where somebody else advances it."""

    async def hold(self, leases: BalanceLeases, amount: Atoms, held: Atoms = 0) -> Hold:
        """Hold so much more than what is `held` for the call. Refused with 402 when its payer has, or permits, less."""
        if self.most is not None and held + amount > self.most:
            said = f"this call may cost {held + amount} atoms; its payer permits {self.most}"
            facts = {"required": str(held + amount), "max_price": str(self.most)}
            raise Refusal(402, "above_max_price", said, facts=facts)
        return await leases.hold(self.consumer, amount, self.allowance)

    def digest_of(self, content: bytes) -> Digest:
        """The salted digest by which a receipt names what was asked or answered."""
        return body_digest(self.salt, content)

    def draft(self, tariff: Tariff, served: Served, subcalls: int = 0, subcall_total: Atoms = 0) -> Draft:
        """The receipt of what was served, without its place in the receipt log. `subcalls` stand right before it."""
        price, charge = tariff.price(served.units, subcall_total)
        receipt = Receipt(
            self.call_id,
            self.parent,
            self.lane,
            ZERO_ADDRESS,
            0,
            self.consumer,
            tariff.id,
            self.epoch,
            subcalls,
            subcall_total,
            price,
            charge,
            served.end,
            served.ended,
            self.digest_of(served.request),
            served.response,
            served.units,
        )
        provider = to_hex(served.provider) if served.provider is not None else None
        is_root = self.parent == ZERO_DIGEST
        parent = to_hex(self.made_for) if is_root and self.made_for != ZERO_DIGEST else ""
        note = Note(self.model, self.salt.hex(), self.started, provider, self.key_id, self.attempts, self.slot, parent)
        return Draft(receipt, msgspec.json.encode(note), self.allowance, self.lock)


async def charge(
    receipt_log: ReceiptLog,
    drafts: tuple[Draft, ...],
    dues: Sequence[tuple[Hold, Atoms]],
    count: Callable[[], None] | None,
) -> tuple[Signed, ...]:
    """Make the receipts durable, all or none, and take each hold's due from it; release the holds when that fails.

    The receipt log settles the holds when it knows, also for a caller that was cancelled meanwhile, and then `count`
    counts the receipts.
    """
    for hold, due in dues:
        assert due <= hold.amount, "the charge never exceeds the hold"
    for hold, _ in dues:
        hold.begin_charge()

    def settle(durable: bool) -> None:
        for hold, due in dues:
            hold.settle(due if durable else 0)
        if durable and count is not None:
            count()

    return await receipt_log.append(drafts, settle)


MOST_SEARCHES = 16
"""Searches that one call is held and charged for at most. Held for only where a line asks for searches."""


def most_units(request_bytes: int, outputs: int, answer_bytes: int, seconds: float, images: int = 0) -> Units:
    """The most a request can use, in coarse meters: a token or character of input has at least one byte.

    `images` may be in the request.
    """
    return Units(
        call=1,
        input_token=request_bytes,
        output_token=outputs,
        input_image=images,
        output_image=bounds.MOST_IMAGES,
        search=MOST_SEARCHES,
        input_character=request_bytes,
        ms=int(seconds * 1000),
        byte=request_bytes + answer_bytes,
    )
