"""Compare a node's own log with the public batch files: which served calls were paid."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from ledger.core.catalog.bids import decode
from ledger.core.pricing.price import payees
from ledger.core.receipts.receipt import Receipt
from ledger.core.receipts.service_proofs import attempt_id
from ledger.core.values.ids import Address, Digest
from ledger.core.values.meters import Meter, coarse
from roles.node.witness import Entry

ATTEMPTS = 8
"""The most attempts of a call that are looked for; a gateway stops earlier."""
METERED = (Meter.input_token, Meter.output_token)
"""The meters that are compared. Time and bytes are measured at both ends and may differ."""


class Outcome(Enum):
    """The result of a served attempt; `Finding` says what each means."""

    paid = "paid"
    short = "short"
    elsewhere = "elsewhere"
    open = "open"


@dataclass(frozen=True, slots=True)
class Finding:
    """One log entry, and its call's receipt if a batch has it.

    `paid`: this attempt was paid. `short`: the receipt bills fewer tokens than were served. `elsewhere`: another
    attempt of the call was paid, for instance because this answer came too late. `open`: no batch has the call yet;
    an entry that stays open is a reason for a dispute.
    """

    entry: Entry
    outcome: Outcome
    batch: int | None = None
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """The part of a batch file that the audit reads."""

    number: int
    receipts: Sequence[Receipt]
    terms: Mapping[Digest, bytes]


def audit(entries: Sequence[Entry], batches: Iterable[Settled]) -> list[Finding]:
    """One finding for each entry, in the order of the log."""
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
    paid, served = coarse(receipt.units), coarse(entry.served.units)
    if any(paid[meter] < served[meter] for meter in METERED):
        return Outcome.short
    return Outcome.paid
