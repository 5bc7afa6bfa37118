"""Where is my money? A node's own log against the public batch files, without asking anybody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from ledger.core.catalog.bids import decode
from ledger.core.pricing.price import payees
from ledger.core.receipts.receipt import Receipt
from ledger.core.receipts.service_proofs import attempt_id
from ledger.core.values.ids import Address, Digest
from ledger.core.values.meters import Meter
from roles.node.witness import Entry

ATTEMPTS = 8
"""A gateway gives up a call long before it has tried this many candidates."""
METERED = (Meter.input_token, Meter.output_token)
"""What the node counts itself and can compare; time and bytes are measured at both ends and differ honestly."""


class Outcome(Enum):
    """What became of a served attempt."""

    paid = "paid"
    short = "short"
    elsewhere = "elsewhere"
    open = "open"


@dataclass(frozen=True, slots=True)
class Finding:
    """One log entry, and the receipt that answers it, if there is one.

    `short`: the receipt bills fewer tokens than were served. `elsewhere`: another attempt of the call was paid, as
    when this answer came too late. `open`: no batch has the call yet; an entry that stays open is a case for a
    dispute.
    """

    entry: Entry
    outcome: Outcome
    batch: int | None = None
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """What the audit needs of one batch file."""

    number: int
    receipts: Sequence[Receipt]
    terms: Mapping[Digest, bytes]


def audit(entries: Sequence[Entry], batches: Iterable[Settled]) -> list[Finding]:
    """One finding an entry, in the order of the log."""
    open_entries = {entry.served.attempt: entry for entry in entries}
    found: dict[Digest, Finding] = {}
    for batch in batches:
        paid: dict[Digest, set[Address]] = {}
        for receipt in batch.receipts:
            for number in range(ATTEMPTS):
                entry = open_entries.get(attempt_id(receipt.call_id, number))
                if entry is None:
                    continue
                parties = paid.get(receipt.terms)
                if parties is None:
                    lines = payees(decode(batch.terms[receipt.terms]))
                    parties = paid[receipt.terms] = {Address(party) for party, _ in lines}
                outcome = _outcome(entry, receipt, parties)
                found[entry.served.attempt] = Finding(entry, outcome, batch.number, receipt)
    return [found.get(entry.served.attempt, Finding(entry, Outcome.open)) for entry in entries]


def _outcome(entry: Entry, receipt: Receipt, parties: set[Address]) -> Outcome:
    if entry.served.provider not in parties:
        return Outcome.elsewhere
    if any(receipt.units[meter] < entry.served.units[meter] for meter in METERED):
        return Outcome.short
    return Outcome.paid
