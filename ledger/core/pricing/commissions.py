"""Commissions: what a sponsor's line gives to a curator, the consumer, a surface and the treasury.

A curator signs a referral token for a model or workflow, and the consumer sends it with a call. A call costs the same
with and without a token. The commission comes out of the sponsor's line; the part that the curator does not keep is the
consumer's rebate. A token holds for the consumer's first `window_calls` paid calls of the subject, whoever referred
them: a second curator does not open a second window.
"""

import base64
import binascii
import struct
from dataclasses import astuple, dataclass

from ledger.core.catalog.bids import Deduction, Role, Terms
from ledger.core.catalog.models import DEFAULT_WINDOW_CALLS
from ledger.core.values.atoms import PPM, Atoms, Ppm, parse, ppm
from ledger.core.values.documents import Document
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_ADDRESS, Address, Digest
from ledger.core.values.typed_data import Domain, Signer, recover, signing_digest, word

CAP_PPM = 900_000
"""A sponsor keeps at least 10 % of its line."""
SURFACE_PPM = 700_000
"""A promotion's part for the surface that showed it; the rest is the treasury's."""


@dataclass(frozen=True, slots=True)
class DeductedLine:
    """A sponsor's line in parts, which sum to the line exactly."""

    kept: Atoms
    curator: Atoms
    rebate: Atoms
    surface: Atoms
    treasury: Atoms


def deduct(line: Atoms, deduction: Deduction, surface_ppm: Ppm = SURFACE_PPM) -> DeductedLine:
    """Divide a sponsor's line. What the curator and the surface get is rounded down.

    The commission is at most 90 % of the line, and so is the commission with the promotion.
    """
    cap = line * CAP_PPM // PPM
    referred, shown = deduction.curator != ZERO_ADDRESS, deduction.surface != ZERO_ADDRESS
    given = commission(line, deduction.offer_ppm) if referred else 0
    curator = given * deduction.keep_ppm // PPM
    promotion = min(deduction.promotion, cap - given) if shown else 0
    surface = promotion * surface_ppm // PPM
    return DeductedLine(line - given - promotion, curator, given - curator, surface, promotion - surface)


def commission(line: Atoms, offer_ppm: Ppm) -> Atoms:
    """What a sponsor's line gives a curator and the consumer, rounded down: at most 90 % of it."""
    return min(line * offer_ppm // PPM, line * CAP_PPM // PPM)


TYPEHASH = keccak256(
    b"Referral(address curator,bytes32 subject,uint24 keepPpm,uint32 windowCalls,uint64 validUntil,uint64 nonce)"
)
LONGEST_WINDOW = 2**32 - 1
"""The most calls that a referral can be valid for."""
PREFIX = "tr_"
_TOKEN = struct.Struct(">20s32sIIQQ65s")


@dataclass(frozen=True, slots=True)
class Referral:
    """A curator's recommendation of one subject. `keep_ppm`: what the curator keeps of the commission.

    `valid_until` is in ms since the epoch, exclusive.
    """

    curator: Address
    subject: Digest
    keep_ppm: Ppm
    window_calls: int
    valid_until: int
    nonce: int = 0

    def __post_init__(self) -> None:
        ppm(self.keep_ppm, "keep_ppm")
        if not 1 <= self.window_calls <= LONGEST_WINDOW:
            raise Rejected(f"a referral is valid for 1 call or more, not {self.window_calls}", field="window_calls")
        if not (0 <= self.valid_until < 2**63 and 0 <= self.nonce < 2**63):
            raise Rejected("valid_until and nonce are whole numbers below 2^63", field="valid_until")


@dataclass(frozen=True, slots=True)
class Sponsor:
    """The line of a subject's terms that pays curators and slots, and what it offers curators."""

    line: int
    offer_ppm: Ppm
    window_calls: int


@dataclass(frozen=True, slots=True)
class Sponsorship:
    """A sponsor's offer for one subject: to curators, and for the first sale after a slot was shown."""

    party: Address
    role: Role
    offer_ppm: Ppm
    window_calls: int
    slot_bid: Atoms = 0
    slot_daily_cap: Atoms = 0
    slot_tasks: frozenset[str] = frozenset()


def sponsorship(
    party: Address, offer: Document | None, curation_ppm: Ppm = 0, window_calls: int = 0
) -> Sponsorship | None:
    """A party's offer to curators and for slots of a subject, or None.

    Its signed offer counts, if it has one; without `curation` in it, what its capsule says (the other arguments).
    """
    role, slot = Role.weaver, {}
    if offer is not None:
        role, slot = Role[offer["role"]], offer.get("promotion", {})
        if "curation" in offer:
            curation = offer["curation"]
            curation_ppm, window_calls = curation["offer_ppm"], curation.get("window_calls", DEFAULT_WINDOW_CALLS)
    if not curation_ppm and not slot:
        return None
    bid, cap = (parse(slot[name], name) for name in ("bid", "daily_cap")) if slot else (0, 0)
    return Sponsorship(party, role, curation_ppm, window_calls, bid, cap, frozenset(slot.get("tasks", ())))


def sponsor_of(terms: Terms, sponsorship: Sponsorship) -> Sponsor | None:
    """The line of the terms that pays: the sponsor's own, in its role. None when it has none."""
    for index, line in enumerate(terms.lines):
        if (line.party, line.role) == (sponsorship.party, sponsorship.role):
            return Sponsor(index, sponsorship.offer_ppm, sponsorship.window_calls)
    return None


def referral_hash(referral: Referral) -> Digest:
    return keccak256(TYPEHASH, *map(word, astuple(referral)))


def token(referral: Referral, signer: Signer, domain: Domain) -> str:
    """The signed token for a link or a header: `tr_` and base64url."""
    signature = signer.sign(signing_digest(domain, referral_hash(referral)))
    return _spelled(_TOKEN.pack(*astuple(referral), signature))


def read(text: str, domain: Domain) -> Referral:
    """The referral of a token. Rejected unless its curator signed it for this domain."""
    try:
        body = text.removeprefix(PREFIX).encode("ascii")
        raw = base64.b64decode(body + b"=" * (-len(body) % 4), altchars=b"-_", validate=True)
        curator, subject, keep, window, until, nonce, signature = _TOKEN.unpack(raw)
    except (binascii.Error, ValueError, struct.error) as error:
        raise Rejected("the referral is not a valid curator's token", field="Tollway-Referral") from error
    if not text.startswith(PREFIX) or _spelled(raw) != text:
        raise Rejected("the referral is not a valid curator's token", field="Tollway-Referral")
    referral = Referral(Address(curator), Digest(subject), keep, window, until, nonce)
    if recover(signing_digest(domain, referral_hash(referral)), signature) != referral.curator:
        raise Rejected("the referral is not signed by its curator", field="Tollway-Referral")
    return referral


def idle(referral: Referral, subject: Digest, consumer: Address, sponsor: Sponsor | None, now: int) -> str:
    """Why a valid token earns nothing on this call, leaving its window aside; "" when it may."""
    if referral.subject != subject:
        return "it recommends another model"
    if referral.curator == consumer:
        return "a curator cannot refer itself"
    if now >= referral.valid_until:
        return "it has expired"
    if sponsor is None or not sponsor.offer_ppm:
        return "no sponsor offers curators a commission"
    return ""


def window(referral: Referral, sponsor: Sponsor) -> int:
    """The number of one consumer's paid calls that earn a commission: the least of the token's and the sponsor's."""
    return min(referral.window_calls, sponsor.window_calls)


def _spelled(raw: bytes) -> str:
    return PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("=")
