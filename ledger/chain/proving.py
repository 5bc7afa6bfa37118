"""Accusations as calls: the core says what and why, this page spells it for the ABI."""

from __future__ import annotations

from ledger.chain.calls import Calls, words
from ledger.core.disputes.proofs import Accusation
from ledger.core.settlement.header import EMPTY_HEADER, Header
from ledger.core.settlement.transactions import Call

NO_BATCH_BEFORE = ("proveBrokenJournal", "provePayout")
"""Proofs that take the header before, and for the first batch none."""


def call_of(calls: Calls, lane: int, batch: int, header: Header, accusation: Accusation) -> Call:
    """The call that makes this accusation of a batch."""
    arguments = [_spell(one, accusation.function) for one in accusation.arguments]
    if not accusation.voids:  # of no one batch
        return calls.to_referee(accusation.function, lane, *arguments)
    target = calls.to_settlement if accusation.contract == "Settlement" else calls.to_referee
    return target(accusation.function, lane, batch, words(header), *arguments)


def _spell(argument: object, function: str) -> object:
    if isinstance(argument, Header):
        return words(argument)
    if argument is None and function in NO_BATCH_BEFORE:
        return words(EMPTY_HEADER)
    return argument
