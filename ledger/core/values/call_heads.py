"""The head of a gateway's call to a node: it proves which lane asks, for this request alone.

The gateway's key and the party's key have a secret in common (Diffie-Hellman) without a word between them: the party's
public half stands in the signature of its offer, the gateway's in the head. A code under that secret is what only these
two can make. It costs 1 us; a signature, which strangers could check too, costs 35.

    Tollway-Gateway: <lane>:<public key, 33 bytes compressed>:<ms since 1970>:<code>
    code = keyed BLAKE3(attempt 32 | lane 20 | ms u64 | length of path u16 | path | body)

The path is hashed without percent signs: a proxy may quote it anew.

A node may be a consumer too, and pay for calls to serve one. It names the call that it serves by sending on what came
with it, which only gateways of the lane can make, and which counts for the provider that was asked alone:

    Tollway-Parent: <call id>:<ms since 1970>:<code>
    code = keyed BLAKE3(call id 32 | provider 20 | ms u64)
"""

import re
from collections.abc import Sequence
from hmac import compare_digest
from typing import Final, NamedTuple
from urllib.parse import unquote

from blake3 import blake3

from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address, Digest, Lane, address, digest, to_hex
from ledger.core.values.typed_data import Signer, address_of

HEADER: Final = "Tollway-Gateway"
PARENT: Final = "Tollway-Parent"
SKEW_MS: Final = 60_000
"""How far the gateway's clock and the node's may be apart."""
_FORM = re.compile("(0x[0-9a-f]{40}):([0-9a-f]{66}):([0-9]{1,18}):([0-9a-f]{64})")

_PARENT_FORM = re.compile("(0x[0-9a-f]{64}):([0-9]{1,18}):([0-9a-f]{64})")


class Asked(NamedTuple):
    """The request that a head is for. `attempt` travels as `Idempotency-Key`; the path has no prefix."""

    attempt: Digest
    path: str
    body: bytes


class CallHead(NamedTuple):
    """A head as a value. `public` is the gateway's public key, `at` in ms since 1970."""

    lane: Lane
    public: bytes
    at: int
    code: bytes = b""

    @property
    def gateway(self) -> Address:
        """The gateway's key as the chain names it."""
        return address_of(self.public)

    def is_proven(self, secret: bytes, asked: Asked) -> bool:
        """Whether who knows the secret made it for this request."""
        return compare_digest(self.code, _code(secret, self, asked))


def common_secret(ours: Signer, theirs: bytes) -> bytes:
    """The secret of a gateway and a party: of the private key of one and the public key of the other."""
    return blake3(ours.exchange(theirs), derive_key_context="tollway 2026 call head").digest()


def write(head: CallHead, secret: bytes, asked: Asked) -> str:
    """The header's value for a request, with its code."""
    said = _code(secret, head, asked)
    return f"{to_hex(head.lane)}:{head.public.hex()}:{head.at}:{said.hex()}"


def read(text: str) -> CallHead:
    """A header's value. Rejected when it is not one; whether its code is right is not looked at."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise Rejected(f"{HEADER} is LANE:PUBLIC KEY:MS:CODE")
    lane, public, at, said = found.groups()
    return CallHead(address(lane), bytes.fromhex(public), int(at), bytes.fromhex(said))


def _code(secret: bytes, head: CallHead, asked: Asked) -> bytes:
    path = unquote(asked.path).encode()
    parts = (asked.attempt, head.lane, head.at.to_bytes(8, "big"), len(path).to_bytes(2, "big"), path, asked.body)
    return blake3(b"".join(parts), key=secret).digest()


def parent_key(secret: bytes) -> bytes:
    """The key of `Tollway-Parent`, of a secret that the gateways of a lane share, or that one gateway has."""
    return blake3(secret, derive_key_context="tollway 2026 parent call").digest()


def write_parent(key: bytes, call_id: Digest, provider: Address, at: int) -> str:
    """What a gateway sends a provider's node with a call."""
    return f"{to_hex(call_id)}:{at}:{_parent_code(key, call_id, provider, at).hex()}"


def read_parent(text: str, keys: Sequence[bytes], provider: Address, since: int) -> Digest:
    """The call that a provider's own call is made for. Rejected unless this provider was asked to serve it, at or after
    `since` (ms), by who has one of these keys.
    """
    found = _PARENT_FORM.fullmatch(text)
    call_id, at = (digest(found[1]), int(found[2])) if found else (Digest(bytes(32)), 0)
    codes = [_parent_code(key, call_id, provider, at).hex() for key in keys] if at < 2**63 else []
    if found is None or not any(compare_digest(code, found[3]) for code in codes):
        raise Rejected(
            f"{PARENT} is what a gateway of this lane sent with a call to the account that pays now: send that on, "
            "with a key of the account that serves, or leave it out",
            field=PARENT,
        )
    if at < since:
        raise Rejected(f"the call that {PARENT} names is over: leave it out", field=PARENT)
    return call_id


def _parent_code(key: bytes, call_id: Digest, provider: Address, at: int) -> bytes:
    return blake3(call_id + provider + at.to_bytes(8, "big"), key=key).digest()
