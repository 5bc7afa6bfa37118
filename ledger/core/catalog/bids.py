"""Bids and terms: what each party claims of a call, and the bytes a call is priced from.

`Terms` have one fixed binary form and are named by its hash, so that a contract parses what an auditor reads. Integers
are big endian:

    header     version u8 = 2 | flags u8 (1 listed, 2 deduction) | seller u8 | listPrice u64 | subject 32 | count u8
    deduction  sponsor u8 | curator 20 | offerPpm u24 | keepPpm u24 | promotion u64 | surface 20 | treasury 20
    line       party 20 | role u8 | ratioPpm u24 | asks                                                   count times
    asks       n u8 | n x (meter u8 | ask u64), meters ascending
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from ledger.core.values.atoms import PPM, Atoms, Ppm, atoms, ppm
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import Digest, keccak256
from ledger.core.values.ids import ZERO_ADDRESS, Address
from ledger.core.values.meters import NO_RATES, Rates, check_rates

MAX_LINES = 16
MAX_RATIOS_PPM = 900_000

VERSION = 2
LISTED = 1
DEDUCTED = 2
HEADER = struct.Struct(">BBBQ32sB")
LINE = struct.Struct(">20sI")
"""Party, then role and ratio together in one u32 (role in the high byte); the asks follow."""
ASK = struct.Struct(">BQ")
DEDUCTION = struct.Struct(">B20s3s3sQ20s20s")


class Role(IntEnum):
    """Why a party is paid. Value roles bid a ratio of the price, resource roles an ask per meter."""

    maker = 1
    oem = 2
    compute = 3
    delivery = 4
    curator = 5
    weaver = 6
    gateway = 7
    protocol = 8


LAPSING = (Role.compute, Role.delivery, Role.curator)
"""Roles whose bids lapse; a value role's bid stands until it is replaced."""
BOOKED = (Role.compute, Role.delivery, Role.gateway)
"""Roles that bid on chain: a line of theirs must be the bid in force."""


@dataclass(frozen=True, slots=True)
class Bid:
    """A ratio of the price, and rates per meter: asks of a resource role, floors of a value role."""

    ratio_ppm: Ppm = 0
    asks: Rates = NO_RATES

    def __post_init__(self) -> None:
        ppm(self.ratio_ppm)
        check_rates(self.asks)


@dataclass(frozen=True, slots=True)
class Line:
    """One party's claim, in one role, on the price of a call."""

    party: Address
    role: Role
    ratio_ppm: Ppm = 0
    asks: Rates = NO_RATES

    def __post_init__(self) -> None:
        if len(self.party) != 20:
            raise Rejected(f"a line's party is 20 bytes, not {len(self.party)}", field="party")
        ppm(self.ratio_ppm)
        check_rates(self.asks)


@dataclass(frozen=True, slots=True)
class Deduction:
    """The part a sponsor's line gives away: commission of a curator, consumer's rebate, price of a sponsored slot.

    `promotion` is the slot's second price for this call, in atoms; 0 without a slot. A zero `curator` or `surface`
    means that nobody referred, or showed, this call.
    """

    sponsor: int
    curator: Address = ZERO_ADDRESS
    offer_ppm: Ppm = 0
    keep_ppm: Ppm = PPM
    promotion: Atoms = 0
    surface: Address = ZERO_ADDRESS
    treasury: Address = ZERO_ADDRESS

    def __post_init__(self) -> None:
        ppm(self.offer_ppm, "offer_ppm")
        ppm(self.keep_ppm, "keep_ppm")
        atoms(self.promotion, "promotion")


@dataclass(frozen=True, slots=True)
class Terms:
    """The lines of a call, from which its price follows with its units. `seller` counts only with a `list_price`.

    Rejected unless there are 1 to 16 lines, their ratios sum to at most 900,000 ppm, and seller and sponsor are lines.
    """

    subject: Digest
    lines: tuple[Line, ...]
    list_price: Atoms | None = None
    seller: int = 0
    deduction: Deduction | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.lines) <= MAX_LINES:
            raise Rejected(f"terms have 1 to {MAX_LINES} lines, not {len(self.lines)}", lines=len(self.lines))
        ratios = sum(line.ratio_ppm for line in self.lines)
        if ratios > MAX_RATIOS_PPM:
            raise Rejected(f"the ratios sum to {ratios} ppm, above the cap of {MAX_RATIOS_PPM}", ratios_ppm=ratios)
        if self.list_price is not None:
            atoms(self.list_price, "list_price")
        if len(self.subject) != 32:
            raise Rejected(f"a subject is 32 bytes, not {len(self.subject)}", field="subject")
        for what, index in (("seller", self.seller), ("sponsor", self.deduction.sponsor if self.deduction else 0)):
            if not 0 <= index < len(self.lines):
                raise Rejected(f"{what} {index} is none of the {len(self.lines)} lines", field=what)
        if self.deduction is not None and self.lines[self.deduction.sponsor].role in (Role.gateway, Role.protocol):
            raise Rejected("the gateway's and the protocol's lines cannot be sponsors", field="sponsor")
        if self.list_price is None and self.seller:
            raise Rejected("composed terms name no seller", field="seller")


def ordered(lines: list[Line]) -> tuple[Line, ...]:
    """Lines in the order of terms: equal lines give equal ids."""
    return tuple(sorted(lines, key=lambda line: (line.role, line.party, line.ratio_ppm, line.asks)))


def encode(terms: Terms) -> bytes:
    """Terms as bytes. Equal terms have equal bytes."""
    deduction = terms.deduction
    flags = (LISTED if terms.list_price is not None else 0) | (DEDUCTED if deduction else 0)
    parts = [HEADER.pack(VERSION, flags, terms.seller, terms.list_price or 0, terms.subject, len(terms.lines))]
    if deduction:
        parts.append(
            DEDUCTION.pack(
                deduction.sponsor,
                deduction.curator,
                deduction.offer_ppm.to_bytes(3, "big"),
                deduction.keep_ppm.to_bytes(3, "big"),
                deduction.promotion,
                deduction.surface,
                deduction.treasury,
            )
        )
    for line in terms.lines:
        parts += [LINE.pack(line.party, line.role << 24 | line.ratio_ppm), encode_asks(line.asks)]
    return b"".join(parts)


def encode_asks(asks: Rates) -> bytes:
    """Asks as bytes: their number, then each one's meter and atoms."""
    return bytes((len(asks),)) + b"".join(ASK.pack(meter, ask) for meter, ask in asks)


def decode_asks(body: bytes, at: int) -> tuple[Rates, int]:
    """Asks from bytes that begin at `at`, unchecked, and where they end. Raises struct.error when they are cut off."""
    (count,) = struct.unpack_from("B", body, at)
    end = at + 1 + count * ASK.size
    if end > len(body):
        raise struct.error(f"{count} asks end at byte {end} of {len(body)}")
    return tuple(ASK.iter_unpack(body[at + 1 : end])), end


def terms_id(body: bytes) -> Digest:
    """The id of encoded terms: keccak256 of their bytes."""
    return keccak256(body)


def decode(body: bytes) -> Terms:
    """Terms from their bytes. Bytes that `encode` would not write are Rejected."""
    try:
        version, flags, seller, list_price, subject, count = HEADER.unpack_from(body)
        at = HEADER.size
        if version != VERSION or flags & ~(LISTED | DEDUCTED):
            raise Rejected(f"terms of version {version}, flags {flags}: only version {VERSION}, flags 0 to 3 are known")
        if not flags & LISTED and list_price:
            raise Rejected("composed terms carry no list price")
        deduction = _decode_deduction(body, at) if flags & DEDUCTED else None
        at += DEDUCTION.size if deduction else 0
        lines = []
        for _ in range(count):
            party, role_ratio = LINE.unpack_from(body, at)
            asks, at = decode_asks(body, at + LINE.size)
            lines.append(Line(Address(party), Role(role_ratio >> 24), role_ratio & 0xFFFFFF, asks))
    except (struct.error, ValueError) as error:
        raise Rejected(f"malformed terms: {error}") from error
    if at != len(body):
        raise Rejected(f"terms end at byte {at}, {len(body) - at} bytes follow")
    return Terms(Digest(subject), tuple(lines), list_price if flags & LISTED else None, seller, deduction)


def _decode_deduction(body: bytes, at: int) -> Deduction:
    sponsor, curator, offer, keep, promotion, surface, treasury = DEDUCTION.unpack_from(body, at)
    return Deduction(
        sponsor=sponsor,
        curator=Address(curator),
        offer_ppm=int.from_bytes(offer, "big"),
        keep_ppm=int.from_bytes(keep, "big"),
        promotion=promotion,
        surface=Address(surface),
        treasury=Address(treasury),
    )
