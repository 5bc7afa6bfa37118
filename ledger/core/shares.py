"""Shares of many receipts, added up: who spent, who earned, in which role. The page posting and closing read from.

A share is a pure function of a receipt and its terms. Receipts that do not cost what their terms say are refused here,
before any account hears of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ledger.core.atoms import Atoms
from ledger.core.bids import Role, Terms, decode
from ledger.core.errors import Rejected
from ledger.core.ids import Address, Digest
from ledger.core.pricing import payees, price
from ledger.core.receipts import Receipt, unpack_all


@dataclass(frozen=True, slots=True)
class Shares:
    """What a set of receipts takes and gives. Both sides sum to `charged`."""

    spent: Mapping[tuple[Address, Address], Atoms]
    earned: Mapping[tuple[Address, Role], Atoms]
    charged: Atoms


def add_up(records: npt.NDArray[np.void], bodies: Mapping[Digest, bytes]) -> Shares:
    """The shares of these records (RECEIPT_DTYPE), by consumer and gateway, and by payee and role.

    `bodies` are the encoded terms by id. Raises Rejected for a receipt whose price or charge its terms do not give.
    """
    terms = {name: decode(body) for name, body in bodies.items()}
    spent: Counter[tuple[Address, Address]] = Counter()
    earned: Counter[tuple[Address, Role]] = Counter()
    for receipt in unpack_all(records):
        amounts = of_receipt(receipt, terms[receipt.terms])
        spent[receipt.consumer, receipt.gateway] += receipt.charge
        for who, amount in zip(payees(terms[receipt.terms]), amounts, strict=True):
            if amount:
                earned[who] += amount
    return Shares(spent, earned, sum(spent.values()))


def of_receipt(receipt: Receipt, terms: Terms) -> tuple[Atoms, ...]:
    """What each payee of the terms gets of one receipt; Rejected if the receipt does not cost what they say."""
    due = price(terms, receipt.units, receipt.passed)
    if (due.price, due.charge) != (receipt.price, receipt.charge):
        raise Rejected(
            f"receipt {receipt.seq} says price {receipt.price}, charge {receipt.charge}; "
            f"its terms give {due.price} and {due.charge}",
            seq=receipt.seq,
            gateway=receipt.gateway.hex(),
        )
    return due.amounts
