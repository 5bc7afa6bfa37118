"""Compile every kernel once, into the cache beside its source: `python -m ledger.core.kernels.warm`.

Without it the first batch of a fresh installation waits for the compiler; with it nobody does.
"""

from __future__ import annotations

import numpy as np

from ledger.core import shares
from ledger.core.bids import Line, Role, Terms, encode, terms_id
from ledger.core.closing import Trees
from ledger.core.cumulatives import Cumulatives
from ledger.core.ids import ZERO_DIGEST, Address
from ledger.core.receipts import RECEIPT_DTYPE


def warm() -> None:
    """Run each kernel on one receipt."""
    payee = Address(b"\x01" * 20)
    body = encode(Terms(ZERO_DIGEST, (Line(payee, Role.compute, 0, (1, 0, 0, 0, 0, 0)),)))
    records = np.zeros(1, RECEIPT_DTYPE)
    records["terms"] = np.frombuffer(terms_id(body), np.uint8)
    records["consumer"] = 1
    records["units"][:, 0] = records["price"] = records["charge"] = 1
    bodies = {terms_id(body): body}
    shares.add_up(records, bodies)
    trees = Trees({payee: 1}, {payee: 1})
    trees.add(records, bodies)
    roots = trees.receipts_root(), trees.lines_root()
    assert all(roots), "one receipt has roots"
    Cumulatives.of([(1, payee, 1)]).tree(1)


if __name__ == "__main__":
    warm()
