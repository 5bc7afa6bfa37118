"""A gateway's side of the calls that a node checks, as small as the protocol allows."""

from __future__ import annotations

import time

from ledger.core.values import call_heads
from ledger.core.values.call_heads import Asked, CallHead, common_secret
from ledger.core.values.ids import Digest, Lane, to_hex
from ledger.core.values.typed_data import Signer
from roles.node.callers import Callers

LANE = Lane(bytes(19) + b"\7")
GATEWAY = Signer(b"\x47" * 32)
PROVIDER = Signer(b"\x05" * 32)
CHAT = "/v1/chat/completions"


def callers(*gateways: Signer) -> Callers:
    """Serves these gateways."""
    return Callers(PROVIDER, LANE, lambda _: frozenset(one.address for one in gateways))


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def headed(
    attempt: Digest,
    body: bytes,
    path: str = CHAT,
    *,
    signer: Signer = GATEWAY,
    lane: Lane = LANE,
    at: int | None = None,
) -> dict[str, str]:
    """The headers of a gateway's call."""
    head = CallHead(lane, signer.public, now_ms() if at is None else at)
    said = call_heads.write(head, common_secret(signer, PROVIDER.public), Asked(attempt, path, body))
    return {"Idempotency-Key": to_hex(attempt), call_heads.HEADER: said}
