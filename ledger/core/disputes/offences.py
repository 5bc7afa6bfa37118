"""Offences of a lane that are about no single batch, proven with receipts that gateways signed: see `LogProofs`.

double    two receipts of one gateway and number, or of one call; it lapses once the first one shown is final
unposted  the operator paused the lane, on its way out, and a receipt is in no batch
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ledger.core.disputes import proofs
from ledger.core.disputes.facts import Facts, SignedReceipt, is_barred
from ledger.core.disputes.faults import State
from ledger.core.disputes.proofs import Arguments, FraudProof
from ledger.core.receipts.receipt import Receipt
from ledger.core.settlement.batch_file import BatchFile
from ledger.core.settlement.header import Header
from ledger.core.values.ids import Address, Digest, Lane, to_hex

Key = tuple[Address, int] | Digest
"""What only one receipt may have: a gateway's number, or a call's id."""


@dataclass(frozen=True, slots=True)
class Posted:
    """What a lane has posted up to a batch: its state, None for a lane without such a batch."""

    lane: Lane
    state: State | None

    @property
    def header(self) -> Header | None:
        return self.state.header if self.state else None

    def stops_before(self, signed: SignedReceipt, number: int) -> Arguments | None:
        """The row of a receipt's gateway, if what is posted stops before the receipt."""
        row = self.state.rows.get(number) if self.state else None
        if row is not None and signed.receipt.seq <= row.last:
            return None
        return proofs.row(self.state.gateways if self.state else None, number, signed.receipt.gateway, row)


def find_double(receipts: Iterable[SignedReceipt], final: Posted, facts: Facts, now: int) -> FraudProof | None:
    """Two receipts where one may be. `final` is up to the last final batch; `now` is in seconds."""
    seen: dict[Key, SignedReceipt] = {}
    for one in receipts:
        if one.receipt.lane != final.lane or facts.number_of(one.receipt.gateway, now) is None:
            continue
        for key in (one.receipt.gateway, one.receipt.seq), one.receipt.call_id:
            other = seen.setdefault(key, one)
            if other.receipt != one.receipt:
                proof = _double(other, one, final, facts, now) or _double(one, other, final, facts, now)
                if proof is not None:
                    return proof
    return None


def _double(first: SignedReceipt, other: SignedReceipt, final: Posted, facts: Facts, now: int) -> FraudProof | None:
    number = facts.number_of(first.receipt.gateway, now)
    row = final.stops_before(first, number) if number is not None else None
    if row is None or not (first.is_signed(facts.domain) and other.is_signed(facts.domain)):
        return None
    what = "number" if first.receipt.seq == other.receipt.seq else "call"
    why = f"gateway {number} signed two receipts of one {what}, {first.receipt.seq} and {other.receipt.seq}"
    return FraudProof("Referee", "proveDoubleReceipt", (final.header, first.shown, other.shown, row), why)


def find_unposted(last: Posted, facts: Facts, now: int) -> FraudProof | None:
    """A receipt that is in no batch although its time to be posted is over. `last` is up to the last posted batch."""
    closed_before = last.header.closed_at if last.header else 0
    for one in facts.held:
        number = facts.number_of(one.receipt.gateway, now)
        if number is None or one.receipt.lane != last.lane or is_barred(one.receipt, now, closed_before, facts):
            continue
        row = last.stops_before(one, number)
        late = now > max(facts.due_at(one.receipt), facts.life.stopped_at + facts.day)
        if row is not None and late and facts.life.is_paused:
            why = f"receipt {one.receipt.seq} of gateway {number} is in no batch, and the lane is paused"
            return FraudProof("Referee", "proveUnpostedReceipt", (last.header, one.shown, row), why)
    return None


def standing(receipt: Receipt, lane: Lane, states: Mapping[int, State], facts: Facts, now: int) -> str:
    """In words, where a receipt stands that proves nothing now. `states` are after the last final batch and each
    pending one that is known; `now` is in seconds."""
    name, number = f"receipt {receipt.seq} of {to_hex(receipt.gateway)}", facts.number_of(receipt.gateway, now)
    if receipt.lane != lane:
        return f"{name} is of another lane, {to_hex(receipt.lane)}"
    if number is None:
        return f"{name} proves nothing: this key is no gateway of the lane, or was revoked more than two days ago"
    rows = {batch: state.rows[number] for batch, state in sorted(states.items()) if number in state.rows}
    for batch, row in rows.items():
        if receipt.seq <= row.last:
            return f"{name} is in batch {batch}" if receipt.seq >= row.first else f"{name} is from before batch {batch}"
    closed = max((state.header.closed_at for state in states.values()), default=0)
    if is_barred(receipt, now, closed, facts):
        return f"{name} is barred: it is too old, or its account left. Nobody is charged for it"
    left = facts.due_at(receipt) - now
    when = f"a batch that is closed in {left} s" if left > 0 else "the next batch"
    return f"{name} is in no batch yet: {when} must hold it. If it does not, prove it again then"


def signed_receipts(file: BatchFile) -> Iterator[SignedReceipt]:
    """The receipts of a file with their signatures, which are not checked."""
    for place in range(len(file.signed)):
        yield SignedReceipt(file.signed.receipt(place), file.signed.signature(place))
