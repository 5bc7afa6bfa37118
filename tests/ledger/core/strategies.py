"""Generated claims, terms and units, from everyday sizes to the edge of 63 bits."""

from collections.abc import Iterable
from random import Random

import numpy as np
from hypothesis import strategies as st

from ledger.core.catalog.bids import Deduction, Line, Role, Terms, ordered
from ledger.core.kernels.records import SIGNATURE, SignedRecords
from ledger.core.pricing.price import Claim
from ledger.core.receipts.receipt import EndReason, Receipt, pack
from ledger.core.receipts.record import Records
from ledger.core.values.atoms import PPM
from ledger.core.values.ids import ZERO_ADDRESS, Address, Digest
from ledger.core.values.meters import Meter, Units

SUBJECT = Digest(bytes(31) + b"\x01")
small_atoms = st.integers(0, 50)
atoms = st.one_of(small_atoms, st.integers(0, 10**6), st.integers(0, 10**14))
any_atoms = st.one_of(atoms, st.integers(0, 2**63 - 1))
addresses = st.integers(1, 6).map(lambda n: Address(bytes(19) + bytes((n,))))
maybe_addresses = st.one_of(st.just(ZERO_ADDRESS), addresses)
ppms = st.one_of(st.integers(0, PPM), st.sampled_from([0, 1, PPM // 2, PPM - 1, PPM]))


@st.composite
def ratios(draw: st.DrawFn, size: int, cap: int = 900_000) -> list[int]:
    """`size` ratios that sum to at most `cap`."""
    left = cap
    drawn = []
    for _ in range(size):
        ratio = draw(st.one_of(st.just(0), st.integers(0, left // 2), st.integers(0, left)))
        drawn.append(ratio)
        left -= ratio
    return draw(st.permutations(drawn))


@st.composite
def claims(draw: st.DrawFn, fixed: st.SearchStrategy[int] = atoms, cap: int = 900_000) -> list[Claim]:
    """One to nine claims that can be composed."""
    size = draw(st.integers(1, 9))
    return [Claim(ratio, draw(fixed)) for ratio in draw(ratios(size, cap))]


def _amount(chance: Random, bits: int) -> int:
    """Often 0, else of any size below 2^bits."""
    return 0 if chance.random() < 0.3 else chance.randrange(1 << chance.randrange(1, bits + 1))


def a_units(chance: Random, bits: int = 23) -> Units:
    """Units of a call."""
    return Units(*(_amount(chance, min(bits, 40)) for _ in Meter))


def a_terms(chance: Random, bits: int = 40) -> Terms:
    """Composed or listed terms, with or without a deduction, rates below 2^bits."""
    size, left, lines = chance.randint(1, 8), 900_000, []
    for _ in range(size):
        ratio = chance.choice([0, chance.randrange(left // 2 + 1)])
        left -= ratio
        asks = tuple((meter, _amount(chance, bits)) for meter in Meter if chance.random() < 0.3)
        lines.append(Line(_party(chance, 1), chance.choice(list(Role)), ratio, asks))
    placed = ordered(lines)
    listed = _amount(chance, min(bits + 20, 63)) if chance.random() < 0.3 else None
    seller = chance.randrange(size) if listed is not None else 0
    sponsors = [at for at, line in enumerate(placed) if line.role not in (Role.gateway, Role.protocol)]
    deduction = None
    if sponsors and chance.random() < 0.5:
        offer, keep = (chance.choice([0, PPM, chance.randint(0, PPM)]) for _ in range(2))
        parties = (_party(chance, 0), _party(chance, 0), _party(chance, 1))
        deduction = Deduction(
            chance.choice(sponsors), parties[0], offer, keep, _amount(chance, bits), parties[1], parties[2]
        )
    return Terms(SUBJECT, placed, listed, seller, deduction)


def _party(chance: Random, least: int) -> Address:
    return Address(bytes(19) + bytes((chance.randint(least, 6),)))


def small_units(chance: Random) -> Units:
    """Units of a call that costs little: up to three of what is sold one by one."""
    return Units(*(_amount(chance, 2 if meter.scale == 1 else 2 * len(str(meter.scale))) for meter in Meter))


chances = st.integers(0, 2**32 - 1).map(Random)
"""A seeded source: thousands of terms a second, where drawing each field costs milliseconds."""
terms = chances.map(a_terms)
units = chances.map(a_units)
cheap_units = chances.map(small_units)


@st.composite
def deductions(draw: st.DrawFn) -> tuple[Address, int, int, int, Address, Address]:
    """A deduction without its sponsor."""
    return (draw(maybe_addresses), draw(ppms), draw(ppms), draw(atoms), draw(maybe_addresses), draw(addresses))


def a_receipt(chance: Random) -> Receipt:
    """A receipt with anything in its fields."""
    numbers = [chance.randrange(2**63) for _ in range(6)]
    counts = (_amount(chance, 40) if chance.random() < 0.5 else 0 for _ in Meter)
    return Receipt(
        call_id=Digest(chance.randbytes(32)),
        parent=Digest(chance.randbytes(32)),
        lane=Address(chance.randbytes(20)),
        gateway=Address(chance.randbytes(20)),
        seq=numbers[0],
        consumer=Address(chance.randbytes(20)),
        terms=Digest(chance.randbytes(32)),
        epoch=numbers[1],
        subcalls=chance.randrange(64),
        subcall_total=numbers[2],
        price=numbers[3],
        charge=numbers[4],
        end=chance.choice(list(EndReason)),
        ended_at=numbers[5],
        request_digest=Digest(chance.randbytes(32)),
        response_digest=Digest(chance.randbytes(32)),
        units=Units(*counts),
    )


def signed(receipts: Iterable[Receipt]) -> SignedRecords:
    """Receipts with signatures of nobody, as in a batch file."""
    packed = [pack(receipt) + bytes(SIGNATURE) for receipt in receipts]
    return SignedRecords.read(np.frombuffer(bytearray(b"".join(packed)), np.uint8), len(packed))


def records(receipts: Iterable[Receipt]) -> Records:
    """Receipts, decoded."""
    return signed(receipts).records
