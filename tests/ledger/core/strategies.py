"""Generated claims, terms and units, from everyday sizes to the edge of 63 bits."""

from collections.abc import Iterable
from random import Random

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from ledger.core.catalog.bids import Deduction, Line, Role, Terms, ordered
from ledger.core.pricing.price import Claim
from ledger.core.receipts.receipt import Receipt, pack
from ledger.core.receipts.record import RECEIPT_DTYPE
from ledger.core.values.atoms import PPM
from ledger.core.values.ids import ZERO_ADDRESS, Address, Digest
from ledger.core.values.meters import Units

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
    return Units(*(_amount(chance, bits) for _ in range(6)))


def a_terms(chance: Random, bits: int = 40) -> Terms:
    """Composed or listed terms, with or without a carve, rates below 2^bits."""
    size, left, lines = chance.randint(1, 8), 900_000, []
    for _ in range(size):
        ratio = chance.choice([0, chance.randrange(left // 2 + 1)])
        left -= ratio
        a, b, c, d, e, f = (_amount(chance, bits) if chance.random() < 0.4 else 0 for _ in range(6))
        lines.append(Line(_party(chance, 1), chance.choice(list(Role)), ratio, (a, b, c, d, e, f)))
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


chances = st.integers(0, 2**32 - 1).map(Random)
"""A seeded source: thousands of terms a second, where drawing each field costs milliseconds."""
terms = chances.map(a_terms)
units = chances.map(a_units)


@st.composite
def deductions(draw: st.DrawFn) -> tuple[Address, int, int, int, Address, Address]:
    """A carve without its sponsor."""
    return (draw(maybe_addresses), draw(ppms), draw(ppms), draw(atoms), draw(maybe_addresses), draw(addresses))


def records(receipts: Iterable[Receipt]) -> npt.NDArray[np.void]:
    """Receipts as records of RECEIPT_DTYPE, one row each."""
    return np.frombuffer(bytearray(b"".join(map(pack, receipts))), RECEIPT_DTYPE)
