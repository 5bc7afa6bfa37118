"""Receipts that somebody holds in files, as the gateway answered them: what proves that one was left out."""

import json
from pathlib import Path
from typing import Any

from ledger.core.disputes.facts import SignedReceipt
from ledger.core.receipts.receipt import EndReason, Receipt, struct_hash
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Lane, address, digest, to_hex
from ledger.core.values.meters import units
from ledger.core.values.typed_data import Domain

_DIGESTS = ("call_id", "parent", "terms", "request_digest", "response_digest")
_NUMBERS = ("seq", "epoch", "subcalls", "subcall_total", "price", "charge", "ended_at")
_ADDRESSES = ("lane", "gateway", "consumer")


def read(paths: list[Path], lane: Lane, domain: Domain) -> list[SignedReceipt]:
    """The receipts in files of `consumer receipt --json`. Rejected unless they are the lane's and signed."""
    return [_read(path, lane, domain) for path in paths]


def _read(path: Path, lane: Lane, domain: Domain) -> SignedReceipt:
    try:
        shown = json.loads(path.read_text())
        signed = SignedReceipt(_receipt(shown["receipt"]), bytes.fromhex(shown["signature"].removeprefix("0x")))
        struct_hash(signed.receipt)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, Rejected) as error:
        why = error.strerror.lower() if isinstance(error, OSError) and error.strerror else error
        how = f"tollway consumer receipt ID --json > {path.name}"
        raise Rejected(f"{path} is not a signed receipt ({why}). Write one with: {how}", path=str(path)) from error
    if signed.receipt.lane != lane:
        other = f"{path} is a receipt of lane {to_hex(signed.receipt.lane)}, the gateway's lane is {to_hex(lane)}"
        raise Rejected(f"{other}: use --gateway URL of a gateway of that lane", path=str(path))
    if not signed.is_signed(domain):
        raise Rejected(f"{path} proves nothing: its gateway did not sign what it says", path=str(path))
    return signed


def _receipt(fields: dict[str, Any]) -> Receipt:
    values: dict[str, Any] = {"end": EndReason[fields["end"]], "units": units(fields["units"])}
    values |= {name: int(fields[name]) for name in _NUMBERS}
    values |= {name: digest(fields[name]) for name in _DIGESTS}
    values |= {name: address(fields[name]) for name in _ADDRESSES}
    return Receipt(**values)
