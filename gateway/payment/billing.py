"""From what a call used to what it costs: the draft of its receipt, and the one place where a call is charged."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field

import orjson

from gateway.catalog.catalog import Candidate
from gateway.payment.leases import Hold
from gateway.payment.receipt_log import ReceiptLog
from ledger.core.pricing.price import Tariff
from ledger.core.receipts.receipt import EndReason, Receipt
from ledger.core.values.ids import ZERO_ADDRESS, ZERO_DIGEST, Address, Digest, to_hex
from ledger.core.values.meters import Units
from ledger.flows.receipt_log import Draft
from ledger.store.receipts.receipts import Signed


@dataclass(slots=True)
class Billing:
    """What is known of a call before it is priced: who pays, in which lane and epoch, and what to note beside it."""

    call_id: Digest
    consumer: Address
    lane: int
    epoch: int
    model: str
    salt: bytes
    started: int
    key_id: str | None = None
    budget: bytes | None = None
    parent: Digest = ZERO_DIGEST
    attempts: list[dict[str, object]] = field(default_factory=list)

    def failed(self, candidate: Candidate, kind: str) -> None:
        """Note an attempt that did not serve. It costs nothing."""
        self.attempts.append({"provider": to_hex(candidate.provider), "failed": kind})

    def digest_of(self, content: bytes) -> Digest:
        """The salted digest by which a receipt names what was asked or answered."""
        return Digest(hashlib.sha256(self.salt + content).digest())

    def draft(
        self,
        tariff: Tariff,
        units: Units,
        end: EndReason,
        ended: int,
        request: bytes,
        response: Digest,
        provider: Address | None,
        passed: int = 0,
    ) -> Draft:
        """The receipt of these units, but for its place in the journal."""
        price, charge = tariff.price(units, passed)
        receipt = Receipt(
            self.call_id,
            self.parent,
            self.lane,
            ZERO_ADDRESS,
            0,
            self.consumer,
            tariff.id,
            self.epoch,
            *units,
            passed,
            price,
            charge,
            end,
            ended,
            self.digest_of(request),
            response,
        )
        return Draft(receipt, self._extra(provider), self.budget)

    def _extra(self, provider: Address | None) -> bytes:
        noted: dict[str, object] = {"model": self.model, "salt": self.salt.hex(), "started": self.started}
        if provider is not None:
            noted["provider"] = to_hex(provider)
        if self.key_id is not None:
            noted["key"] = self.key_id
        if self.attempts:
            noted["attempts"] = self.attempts
        return orjson.dumps(noted)


async def charge(receipt_log: ReceiptLog, hold: Hold, drafts: tuple[Draft, ...]) -> tuple[Signed, ...]:
    """Make the receipts durable and take their charges from the hold. OPEN -> CHARGED, or -> RELEASED when it fails.

    A caller that is cancelled meanwhile leaves the hold as it is: the receipt may be on its way.
    """
    total = sum(draft.receipt.charge for draft in drafts)
    assert total <= hold.amount, "the charge never exceeds the hold"
    hold.charging = True
    try:
        signed = await receipt_log.append(drafts)
    except asyncio.CancelledError:
        raise
    except BaseException:
        hold.settle(0)
        raise
    hold.settle(total)
    return signed


def most_units(request_bytes: int, outputs: int, answer_bytes: int, seconds: float, fuel: int = 0) -> Units:
    """The most a request can use: a token of input has at least one byte."""
    return Units(1, request_bytes, outputs, int(seconds * 1000), request_bytes + answer_bytes, fuel)
