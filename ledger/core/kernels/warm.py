"""Compile every kernel once, into the cache beside its source: `python -m ledger.core.kernels.warm`.

Without it, the first batch of a new installation waits for the compiler.
"""

import numpy as np

from ledger.core.catalog.bids import Line, Role, Terms, encode, terms_id
from ledger.core.kernels.records import SIGNATURE, SignedRecords
from ledger.core.kernels.sum_tree import Levels, parents
from ledger.core.pricing import shares
from ledger.core.receipts.receipt import EndReason, Receipt, pack
from ledger.core.settlement.closing import Trees
from ledger.core.settlement.cumulatives import Cumulatives
from ledger.core.settlement.header import heights_for
from ledger.core.values.ids import ZERO_DIGEST, Address
from ledger.core.values.meters import Meter, Units


def warm() -> None:
    """Run each kernel on one receipt."""
    payee = Address(b"\x01" * 20)
    body = encode(Terms(ZERO_DIGEST, (Line(payee, Role.compute, 0, ((Meter.call, 1),)),)))
    zero, of_terms, one = ZERO_DIGEST, terms_id(body), Units(call=1)
    receipt = Receipt(zero, zero, payee, payee, 1, payee, of_terms, 0, 0, 0, 1, 1, EndReason.normal, 0, units=one)
    signed = np.frombuffer(pack(receipt) + bytes(SIGNATURE), np.uint8)
    records = SignedRecords.read(signed.copy(), 1).records
    bodies = {terms_id(body): body}
    shares.add_up(records, bodies)
    stored, word = SignedRecords.read(signed, 1).records, np.frombuffer(bytes(32), np.uint8).reshape(1, 32)
    for rows, digests in ((records, None), (stored, None), (stored, word)):  # in memory, of a file, of the log
        trees = Trees(payee, {payee: 1}, {payee: 1})
        trees.add(rows, bodies, digests)
        roots = trees.receipts_root(), trees.lines_root(heights_for(1, 1, 1, 1))
        assert all(roots), "one receipt has roots"
    Levels.build(np.concatenate([word, word]))
    parents(np.frombuffer(bytes(64), np.uint8).reshape(2, 32), 0)
    paid = Cumulatives.of([(1, payee, 1)])
    paid.tree(1, payee)
    paid.changed(1, payee, [1])


if __name__ == "__main__":
    warm()
