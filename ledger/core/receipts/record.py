"""The numpy layout of receipt records, for batch files, COPY and kernels.

Alone, not in `receipt`, because numpy takes longer to import than most commands take to run.
"""

import numpy as np
import numpy.typing as npt

from ledger.core.receipts.receipt import RECORD, Receipt, unpack_each

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
        ("units", ">u8", (6,)),
        ("passed", ">u8"),
        ("price", ">u8"),
        ("charge", ">u8"),
        ("end", "u1"),
        ("ended_at", ">u8"),
        ("request_digest", "u1", (32,)),
        ("response_digest", "u1", (32,)),
    ]
)
"""317 bytes, big endian. Hashes and addresses are rows of bytes; the six meters are one row of six."""
assert RECEIPT_DTYPE.itemsize == RECORD.size
SIGNED_DTYPE = np.dtype([("receipt", RECEIPT_DTYPE), ("signature", "u1", (65,))])
"""382 bytes: a receipt and its gateway's signature, as in a batch file."""


def unpack_all(records: npt.NDArray[np.void]) -> list[Receipt]:
    """The receipts of records (RECEIPT_DTYPE), in order."""
    return list(unpack_each(records.tobytes()))
