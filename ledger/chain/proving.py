"""Accusations as calls: the core says what and why, this page spells it for the ABI."""

from __future__ import annotations

from ledger.chain.calls import Calls, words
from ledger.core.disputes.proofs import FraudProof
from ledger.core.settlement.header import EMPTY_HEADER, Header
from ledger.core.settlement.transactions import Call

NO_BATCH_BEFORE = ("proveBrokenJournal", "provePayout")
"""Proofs that take the header before, and for the first batch none."""


def call_of(calls: Calls, lane: int, batch: int, header: Header, proof: FraudProof) -> Call:
    """The call that makes this accusation of a batch."""
    arguments = [_spell(one, proof.function) for one in proof.arguments]
    if not proof.voids:  # of no one batch
        return calls.to_referee(proof.function, lane, *arguments)
    target = calls.to_settlement if proof.contract == "Settlement" else calls.to_referee
    return target(proof.function, lane, batch, words(header), *arguments)


def _spell(argument: object, function: str) -> object:
    if isinstance(argument, Header):
        return words(argument)
    if argument is None and function in NO_BATCH_BEFORE:
        return words(EMPTY_HEADER)
    return argument
