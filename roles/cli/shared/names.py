"""From what people type to 32-byte ids: `@org/name`, a CID, or 0x hex. The gateway names near misses."""

from __future__ import annotations

from ledger.core.values.ids import Digest, cid_digest, digest
from roles.client.gateway import GatewayClient


def resolve(gateway: GatewayClient, text: str) -> Digest:
    """The id of a published model or capsule. Rejected, with the nearest names, when nothing is called that."""
    if text.startswith("0x"):
        return digest(text)
    if text.startswith("bafkrei"):
        return cid_digest(text)
    return cid_digest(str(gateway.get(f"/v1/models/{text}")["cid"]))
