"""What an account signs for a gateway: a request, and a voucher."""

import json
import time

from ledger.core.values.ids import Lane, address, to_hex
from ledger.core.values.typed_data import (
    Domain,
    Signer,
    Voucher,
    request_digest,
    request_hash,
    signing_digest,
    voucher_hash,
)
from roles.client.gateway import Json, Sign


def domain_of(lane: Json) -> Domain:
    """The EIP-712 domain in which a lane's signatures are, from a gateway's description of the lane."""
    fields = lane["domain"]
    contract = address(str(fields["verifyingContract"]))
    return Domain(int(fields["chainId"]), contract, fields["name"], fields["version"])


def voucher(signer: Signer, domain: Domain, signed: Voucher) -> dict[str, object]:
    """A voucher as the gateway takes it."""
    signature = to_hex(signer.sign(signing_digest(domain, voucher_hash(signed))))
    shown = {"lane": to_hex(signed.lane), "account": to_hex(signed.account), "cum_max": str(signed.cum_max)}
    return {**shown, "signature": signature}


def request(signer: Signer, domain: Domain, lane: Lane) -> Sign:
    """Signs requests as this account: the value of `Tollway-Account`, good for this one request and for a minute."""

    def sign(method: str, target: bytes, body: bytes) -> str:
        at = time.time_ns() // 1_000_000
        hashed = request_hash(lane, signer.address, request_digest(method, target, body), at)
        signature = to_hex(signer.sign(signing_digest(domain, hashed)))
        return json.dumps({"account": to_hex(signer.address), "at": at, "signature": signature})

    return sign
