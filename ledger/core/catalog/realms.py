"""Realms: who belongs to one. What is offered in a realm is there for those who belong to it, and for nobody else.

1  A realm is named 0xOWNER/NAME, so its owner is the same at every gateway and nobody can take its name.
2  An account belongs to it if it is the owner; or while the owner's newest signed list names it; or by a token that
   the owner signed for it, until the token's end, unless the list expels it.
3  A provider serves in a realm, and a weaver publishes into one, only if its list names it, or it is the owner.
4  A request is made in one realm or in none. In a realm there is what is offered in it. Outside of it that is not
   there, and neither is the realm: who does not belong gets the answer of a realm that does not exist.
5  Tier `enterprise` needs a realm.
"""

import base64
import binascii
import re
import struct
from dataclasses import dataclass

from ledger.core.values.documents import Document, digest, unsigned, validate
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, address, to_hex
from ledger.core.values.typed_data import Domain, Signer, recover, signed_by, signing_digest, word

ENTERPRISE = "enterprise"
LIST_TYPEHASH = keccak256(b"Realm(bytes32 document)")
TOKEN_TYPEHASH = keccak256(b"Membership(string realm,address account,uint64 until)")
PREFIX = "tm_"
MAX_TOKEN = 240
"""Characters of the longest token without its prefix: 113 bytes and a name of 63."""
_NAME = re.compile(r"(0x[0-9a-f]{40})/([a-z0-9][a-z0-9._-]{0,62})")
_TOKEN = struct.Struct(">20s20sQ65s")


@dataclass(frozen=True, slots=True)
class Members:
    """A realm's newest list: the accounts that belong to it, and those whose tokens do not count."""

    realm: str
    accounts: frozenset[Address] = frozenset()
    expelled: frozenset[Address] = frozenset()
    nonce: int = 0


@dataclass(frozen=True, slots=True)
class Token:
    """An owner's word that an account belongs to its realm until a time (ms since the epoch, exclusive)."""

    realm: str
    account: Address
    until: int
    signature: bytes

    def hash(self) -> Digest:
        """Its struct hash."""
        return _token_hash(self.realm, self.account, self.until)


def is_name(text: str) -> bool:
    """Whether a text is a realm's name."""
    return _NAME.fullmatch(text) is not None


def realm_name(text: str) -> str:
    """A realm's name. Rejected unless it is 0xOWNER/NAME, in small letters."""
    if not is_name(text):
        raise Rejected(f"{text!r} is not a realm: write 0xOWNER/NAME, in small letters", field="realm")
    return text


def owner_of(realm: str) -> Address:
    """The account that owns a realm. Rejected when this is not a realm's name."""
    return address(realm_name(realm).partition("/")[0])


def is_listed(realm: str, members: Members | None, account: Address) -> bool:
    """Whether an account belongs to a realm without a token: it is the owner, or on the list."""
    return account == owner_of(realm) or (members is not None and account in members.accounts)


def belongs(realm: str, members: Members | None, account: Address, now: int, token: Token | None = None) -> bool:
    """Whether an account belongs to a realm at `now`. Of a token this asks all but its signature: `check_token`."""
    if is_listed(realm, members, account):
        return True
    if token is None or (token.realm, token.account) != (realm, account) or now >= token.until:
        return False
    return members is None or account not in members.expelled


def check_tier(tier: str, realm: str) -> None:
    """Rejected for tier `enterprise` without a realm: such a node serves inside of one only."""
    if tier == ENTERPRISE and not realm:
        message = "tier enterprise needs a realm: make one with `tollway realm make NAME`, and offer with --realm"
        raise Rejected(message, field="$.serve.realm")


def members(document: Document, domain: Domain) -> Members:
    """A realm's list from its document. Rejected unless it fits its schema, its chain, and the realm's owner signed it.

    An account that is on the list and expelled is on the list: only tokens of the expelled do not count.
    """
    validate(document, "realm")
    realm = document["realm"]
    if document["chain_id"] != domain.chain_id:
        raise Rejected(f"$.chain_id: this is chain {domain.chain_id}", field="$.chain_id")
    signed = signing_digest(domain, list_hash(document))
    if not signed_by(signed, bytes.fromhex(document["signature"][2:]), owner_of(realm)):
        raise Rejected("$.signature: not signed by the realm's owner", field="$.signature")
    accounts, expelled = (frozenset(map(address, document[part])) for part in ("members", "expelled"))
    return Members(realm, accounts, expelled, document["nonce"])


def list_hash(document: Document) -> Digest:
    """The struct hash of a realm's list: of its document without the signature."""
    return keccak256(LIST_TYPEHASH, word(digest(unsigned(document))))


def sign_token(signer: Signer, domain: Domain, name: str, account: Address, until: int) -> str:
    """A token for an account, as it is sent, of the realm of this name that the signer owns."""
    realm = realm_name(f"{to_hex(signer.address)}/{name}")
    signature = signer.sign(signing_digest(domain, _token_hash(realm, account, until)))
    body = _TOKEN.pack(signer.address, account, until, signature) + name.encode()
    return PREFIX + base64.urlsafe_b64encode(body).decode().rstrip("=")


def read_token(text: str) -> Token:
    """A token as it was sent, unchecked. Rejected when it is none."""
    body = text.removeprefix(PREFIX)
    try:
        if len(body) > MAX_TOKEN:
            raise Rejected("too long")
        raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        owner, account, until, signature = _TOKEN.unpack(raw[: _TOKEN.size])
        return Token(realm_name(f"{to_hex(owner)}/{raw[_TOKEN.size :].decode()}"), Address(account), until, signature)
    except (binascii.Error, struct.error, ValueError, Rejected) as error:
        raise Rejected("this is not a token of a realm: its owner makes one with `tollway realm token`") from error


def check_token(token: Token, domain: Domain) -> bool:
    """Whether the realm's owner signed a token."""
    try:
        return recover(signing_digest(domain, token.hash()), token.signature) == owner_of(token.realm)
    except Rejected:
        return False


def _token_hash(realm: str, account: Address, until: int) -> Digest:
    if not 0 <= until < 2**63:
        raise Rejected(f"a token ends at a time below 2^63 ms, not {until}", field="until")
    return keccak256(TOKEN_TYPEHASH, keccak256(realm.encode()), word(account), word(until))
