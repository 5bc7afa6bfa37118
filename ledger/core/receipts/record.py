"""Many receipts at once, as numpy sees their records: what files, COPY and kernels work on.

A page of its own because numpy takes longer to import than most commands take to run.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ledger.core.receipts.receipt import RECORD, Receipt, pack, unpack_each

RECEIPT_DTYPE = np.dtype(
    [
        ("call_id", "u1", (32,)),
        ("parent", "u1", (32,)),
        ("lane", ">u4"),
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
"""The 301-byte record. Hashes and addresses are byte rows, the six meters one row of six."""
assert RECEIPT_DTYPE.itemsize == RECORD.size
SIGNED_DTYPE = np.dtype([("receipt", RECEIPT_DTYPE), ("signature", "u1", (65,))])
"""366 bytes: a receipt and its gateway's signature, as batch files hold them."""


def pack_all(receipts: Iterable[Receipt]) -> npt.NDArray[np.void]:
    """Records of many receipts, one row each, of RECEIPT_DTYPE."""
    return np.frombuffer(bytearray(b"".join(map(pack, receipts))), RECEIPT_DTYPE)


def unpack_all(records: npt.NDArray[np.void]) -> list[Receipt]:
    """The inverse of `pack_all`."""
    return list(unpack_each(records.tobytes()))
