"""A gateway's receipt log: number receipts densely, sign them, and write each group whole or not at all.

Charges arrive as drafts: receipts without a sequence number. A workflow's drafts stay together and in order. Numbers
are given when a group is written, so a draft that is left out leaves no gap.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from sqlmodel import Session

from ledger.core.accounts.budgets import Allowance
from ledger.core.catalog.bids import terms_id
from ledger.core.receipts.receipt import Receipt, struct_hash
from ledger.core.receipts.segments import Segment, link
from ledger.core.values.errors import Conflict, Rejected, TollwayError, Unavailable
from ledger.core.values.ids import Digest, to_hex
from ledger.core.values.typed_data import Domain, Signer, signing_digest
from ledger.store.receipts import terms
from ledger.store.receipts.appender import Appender, Row, RowRefused, Spent, Steps, Taken, Unlocked, row
from ledger.store.receipts.receipts import Signed


class Draft(msgspec.Struct, frozen=True):
    """A receipt without a number, what to note beside it, and what its charge is taken of if a key's budget bounds it.

    `lock` is the call that must be locked for this gateway, whose lock ends with the receipt.
    """

    receipt: Receipt
    extra: bytes
    allowance: Allowance | None = None
    lock: Digest | None = None


Bundle = tuple[Draft, ...]
"""Drafts that are written together or not at all: one call, or a workflow's sub-calls and then its root."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a receipt log: the last sequence number and the last segment's digest."""

    seq: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class Group:
    """Bundles as they would be written: the segment, its signed receipts, the rows, and the locks that end."""

    segment: Segment
    signed: tuple[Signed, ...]
    rows: tuple[Row, ...]
    key_spending: Counter[Spent]
    locks: tuple[Digest, ...]

    @property
    def tail(self) -> Tail:
        """The end of the receipt log once this group is written."""
        return Tail(self.segment.last, self.segment.digest)


Outcome = tuple[Signed, ...] | TollwayError
"""Of a bundle: its receipts, durable, or why it was left out."""


def tail_of(appender: Appender) -> Tail:
    """The end of the receipt log in the database."""
    return Tail(*appender.tail())


def prepare(signer: Signer, domain: Domain, tail: Tail, bundles: Sequence[Bundle]) -> Group:
    """Number, digest and sign the drafts after `tail`."""
    signed: list[Signed] = []
    rows: list[Row] = []
    spending: Counter[Spent] = Counter()
    locks: set[Digest] = set()
    seq = tail.seq
    for bundle in bundles:
        for draft in bundle:
            seq += 1
            receipt = Receipt._make((*draft.receipt[:3], signer.address, seq, *draft.receipt[5:]))
            digest = struct_hash(receipt)
            signature = signer.sign(signing_digest(domain, digest))
            signed.append(Signed(receipt, digest, signature, draft.extra))
            rows.append(row(receipt, digest, signature, draft.extra))
            if draft.allowance is not None:
                line, day, model = draft.allowance
                spending[line[-1], day, model] += receipt.charge
            if draft.lock is not None:
                locks.add(draft.lock)
    digests, total = [s.digest for s in signed], sum(s.receipt.charge for s in signed)
    segment = link(signer.address, tail.seq + 1, b"".join(digests), total, tail.digest)
    return Group(segment, tuple(signed), tuple(rows), spending, tuple(locks))


def append(
    appender: Appender, signer: Signer, domain: Domain, tail: Tail, bundles: Sequence[Bundle]
) -> Steps[tuple[Tail, list[Outcome]]]:
    """Write bundles as one segment, without those that cannot be written. Returns the new tail and each one's outcome.

    Calls that have a receipt already are left out with a Conflict, those that are not locked for us any more with an
    Unavailable, and the rest is written. When the database refuses anything else, each bundle is tried by itself. It
    yields where it must wait (`store.receipts.appender`).
    Raises Unavailable when the connection is lost or the server cannot write: then `found` tells what was written.
    """
    try:
        group = prepare(signer, domain, tail, bundles)
        yield from appender.append(group.segment, group.rows, group.key_spending, group.locks)
    except (RowRefused, Rejected) as refused:
        left_out = _left_out(appender, bundles, refused)
        if left_out:
            return (yield from _without(appender, signer, domain, tail, bundles, left_out))
        if len(bundles) == 1:
            return tail, [refused]
        return (yield from _one_by_one(appender, signer, domain, tail, bundles))
    receipts: list[Outcome] = []
    at = 0
    for bundle in bundles:
        receipts.append(group.signed[at : at + len(bundle)])
        at += len(bundle)
    return group.tail, receipts


def found(appender: Appender, before: Tail, bundles: Mapping[int, Bundle]) -> dict[int, tuple[Signed, ...]]:
    """The receipts, by place, of those of these bundles that were written after `before`: the connection was lost while
    they were, and a bundle is written whole or not at all.
    """
    written = {one.receipt.call_id: one for one in appender.written_after(before.seq)}

    def receipts_of(bundle: Bundle) -> tuple[Signed, ...]:
        known = ((draft.receipt, written.get(draft.receipt.call_id)) for draft in bundle)
        return tuple(one for draft, one in known if one is not None and _is_of(one.receipt, draft))

    return {at: receipts for at, bundle in bundles.items() if (receipts := receipts_of(bundle))}


def _is_of(receipt: Receipt, draft: Receipt) -> bool:
    """Whether a receipt is that of a draft, which has no gateway and number yet."""
    return (*receipt[:3], *receipt[5:]) == (*draft[:3], *draft[5:])


def store_terms(session: Session, bodies: Sequence[bytes]) -> None:
    """Store encoded terms before any receipt names them."""
    for body in sorted(bodies, key=terms_id):
        terms.put(session, body)


def _left_out(appender: Appender, bundles: Sequence[Bundle], refused: TollwayError) -> dict[int, Outcome]:
    """The places of bundles that a refusal tells us to leave out, and why. Empty when it does not say which."""
    if isinstance(refused, Taken):
        return dict(_taken(appender, bundles))
    if isinstance(refused, Unlocked):
        return dict(_unlocked(appender, bundles))
    return {}


def _taken(appender: Appender, bundles: Sequence[Bundle]) -> Iterator[tuple[int, Conflict]]:
    """The places of bundles with a call that has a receipt already, and why they are left out."""
    taken = appender.taken([draft.receipt.call_id for bundle in bundles for draft in bundle])
    for at, bundle in enumerate(bundles):
        for draft in bundle:
            if draft.receipt.call_id in taken:
                call = to_hex(draft.receipt.call_id)
                yield at, Conflict(f"call {call} has a receipt already", call=call)


def _unlocked(appender: Appender, bundles: Sequence[Bundle]) -> Iterator[tuple[int, Unavailable]]:
    """The places of bundles whose call is not locked for this gateway any more, and why they are left out."""
    locks = {at: draft.lock for at, bundle in enumerate(bundles) for draft in bundle if draft.lock is not None}
    held = appender.locked(list(locks.values()))
    for at, lock in locks.items():
        if lock not in held:
            call = to_hex(lock)
            message = f"this gateway was silent for too long and lost call {call}: nothing was charged, send it again"
            yield at, Unavailable(message, call=call)


def _without(
    appender: Appender,
    signer: Signer,
    domain: Domain,
    tail: Tail,
    bundles: Sequence[Bundle],
    left_out: Mapping[int, Outcome],
) -> Steps[tuple[Tail, list[Outcome]]]:
    """Write the bundles whose places are not among those left out."""
    written: list[Outcome] = []
    rest = [bundle for at, bundle in enumerate(bundles) if at not in left_out]
    if rest:
        tail, written = yield from append(appender, signer, domain, tail, rest)
    outcome = iter(written)
    return tail, [left_out[at] if at in left_out else next(outcome) for at in range(len(bundles))]


def _one_by_one(
    appender: Appender, signer: Signer, domain: Domain, tail: Tail, bundles: Sequence[Bundle]
) -> Steps[tuple[Tail, list[Outcome]]]:
    results: list[Outcome] = []
    for bundle in bundles:
        tail, written = yield from append(appender, signer, domain, tail, [bundle])
        results += written
    return tail, results
