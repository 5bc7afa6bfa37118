"""The numpy layout of decoded receipts, for kernels.

Alone, not in `receipt`, because numpy takes longer to import than most commands take to run.
"""

import numpy as np
import numpy.typing as npt

from ledger.core.receipts.receipt import RECORD_HEAD, EndReason, Receipt
from ledger.core.values.meters import Meter, Units

RECEIPT_DTYPE = np.dtype(
    [
        ("call_id", "u1", (32,)),
        ("parent", "u1", (32,)),
        ("lane", "u1", (20,)),
        ("gateway", "u1", (20,)),
        ("seq", ">u8"),
        ("consumer", "u1", (20,)),
        ("terms", "u1", (32,)),
        ("epoch", ">u8"),
        ("subcalls", "u1"),
        ("subcall_total", ">u8"),
        ("price", ">u8"),
        ("charge", ">u8"),
        ("end", "u1"),
        ("ended_at", ">u8"),
        ("request_digest", "u1", (32,)),
        ("response_digest", "u1", (32,)),
        ("padding", "u1", (2,)),
        ("units", "<u8", (len(Meter),)),
    ]
)
"""The fields as in a record, big endian, then one count a meter, all in whole words. Hashes are rows of bytes."""
FIELDS_SIZE = RECORD_HEAD.size - 1
"""The bytes that a record and its decoded form begin with."""
assert RECEIPT_DTYPE.fields is not None
assert RECEIPT_DTYPE.fields["padding"][1] == FIELDS_SIZE

Records = npt.NDArray[np.void]
"""Decoded receipts: an array of RECEIPT_DTYPE."""


def receipt_of(row: np.void) -> Receipt:
    """A decoded receipt as a value."""
    values = list(RECORD_HEAD.unpack(row.tobytes()[:FIELDS_SIZE] + b"\0"))
    values[12], values[-1] = EndReason(values[12]), Units(*row["units"].tolist())
    return Receipt._make(values)


def receipts_of(records: Records) -> list[Receipt]:
    """Decoded receipts as values, in order."""
    return [receipt_of(row) for row in records]
