"""Vectors for the contracts' receipts and prices, made by pages that share nothing with them or with `ledger.core`.

`python -m tests.ledger.chain.test_price_vectors` writes `tests/vectors/split_prices.json` and `receipts.json`; the
tests here make them anew and compare. The rule is MECHANISM's, in fractions; the hash of a receipt is eth-account's.
"""

import json
import random
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_account.messages import encode_typed_data
from eth_utils.address import to_checksum_address

VECTORS = Path(__file__).parents[2] / "vectors"
MAX_ATOMS = 2**63 - 1
PPM = 10**6

# name, scale, coarser meter
METERS: list[tuple[str, int, str | None]] = [
    ("call", 1, None),
    ("input_token", 10**6, None),
    ("cached_input_token", 10**6, "input_token"),
    ("cache_write_token", 10**6, "input_token"),
    ("output_token", 10**6, None),
    ("reasoning_token", 10**6, "output_token"),
    ("input_audio_token", 10**6, "input_token"),
    ("output_audio_token", 10**6, "output_token"),
    ("input_image", 1, None),
    ("output_image", 1, None),
    ("search", 1, None),
    ("input_character", 10**6, None),
    ("ms", 10**3, None),
    ("byte", 10**9, None),
    ("fuel", 10**6, None),
]
NAMES = [name for name, _, _ in METERS]
SCALE = {name: scale for name, scale, _ in METERS}
COARSER = {name: coarser for name, _, coarser in METERS}

RECEIPT_FIELDS = (
    "bytes32 callId,bytes32 parent,address lane,address gateway,uint64 seq,address consumer,bytes32 terms,uint64 epoch,"
    "uint8 subcalls,uint64 subcallTotal,uint64 price,uint64 charge,uint8 end,uint64 endedAt,bytes32 requestDigest,"
    "bytes32 responseDigest,Unit[] units"
)


@dataclass
class Line:
    party: int
    role: int
    ratio: int
    asks: dict[str, int] = field(default_factory=dict)

    def fixed(self, units: dict[str, int]) -> int:
        total = Fraction(0)
        for meter, count in units.items():
            paid = meter if meter in self.asks else COARSER[meter]
            if paid in self.asks:
                total += Fraction(self.asks[paid] * count, SCALE[paid])
        return ceil(total)

    def pay(self, units: dict[str, int], price: int) -> int:
        return ceil(Fraction(self.ratio * price, PPM)) + self.fixed(units)


@dataclass
class Case:
    note: str
    lines: list[Line]
    units: dict[str, int]
    subcall_total: int = 0
    list_price: int | None = None
    seller: int = 0
    deduction: tuple[int, int, int, int, int, int, int] | None = None
    """Sponsor, curator, offer, keep, promotion, surface, treasury."""

    def split(self) -> tuple[int, int, list[int]] | None:
        """Price, charge and amounts; None if no price is lawful."""

        def total(price: int) -> int:
            return sum(line.pay(self.units, price) for line in self.lines) + self.subcall_total

        if self.list_price is None:
            fixed = sum(line.fixed(self.units) for line in self.lines) + self.subcall_total
            price = floor(fixed / (1 - Fraction(sum(line.ratio for line in self.lines), PPM)))
            while total(price) > price:
                price += 1  # the least: no price is left out
        else:
            price = self.list_price
        if price > MAX_ATOMS or total(price) > price:
            return None
        amounts = [line.pay(self.units, price) for line in self.lines]
        if self.list_price is not None:
            amounts[self.seller] += price - total(price)
        charge = price - self.subcall_total
        if self.deduction:
            sponsor, curator, offer, keep, promotion, surface, _ = self.deduction
            line = amounts[sponsor]
            cap = line * 9 // 10
            commission = min(line * offer // PPM, cap) if curator else 0
            kept = commission * keep // PPM
            promotion = min(promotion, cap - commission) if surface else 0
            shown = promotion * 7 // 10
            amounts[sponsor] -= commission + promotion
            amounts += [kept, shown, promotion - shown]
            charge -= commission - kept
        assert sum(amounts) == charge
        return price, charge, amounts

    def terms(self) -> bytes:
        flags = (self.list_price is not None) + 2 * (self.deduction is not None)
        out = bytes((2, flags, self.seller)) + (self.list_price or 0).to_bytes(8, "big") + b"\x5a" * 32
        out += bytes((len(self.lines),))
        if self.deduction:
            sponsor, curator, offer, keep, promotion, surface, treasury = self.deduction
            out += bytes((sponsor,)) + curator.to_bytes(20, "big") + offer.to_bytes(3, "big") + keep.to_bytes(3, "big")
            out += promotion.to_bytes(8, "big") + surface.to_bytes(20, "big") + treasury.to_bytes(20, "big")
        for line in self.lines:
            out += line.party.to_bytes(20, "big") + bytes((line.role,)) + line.ratio.to_bytes(3, "big")
            out += bytes((len(line.asks),))
            for meter in sorted(line.asks, key=NAMES.index):
                out += bytes((NAMES.index(meter),)) + line.asks[meter].to_bytes(8, "big")
        return out

    def vector(self) -> dict[str, Any]:
        found = self.split()
        words = encode(["bool"], [False])
        if found:
            words = encode(["bool", "uint256", "uint256", "uint256[]"], [True, *found])
        pairs = sorted((NAMES.index(meter), count) for meter, count in self.units.items())
        return {
            "note": self.note,
            "terms": "0x" + self.terms().hex(),
            "units": "0x" + encode(["(uint8,uint64)[]"], [pairs]).hex(),
            "subcall_total": str(self.subcall_total),
            "price": str(found[0]) if found else None,
            "split": "0x" + words.hex(),
        }


def cases() -> list[Case]:
    """Told cases, then drawn ones."""
    made = [
        Case("one token at one atom a million", [Line(1, 3, 0, {"input_token": 1})], {"input_token": 1}),
        Case("each meter once", [Line(1, 3, 0, dict.fromkeys(NAMES, 10**9))], dict.fromkeys(NAMES, 7)),
        Case("each meter, two asks", [Line(1, 3, 0, {"input_token": 9, "output_token": 31})], dict.fromkeys(NAMES, 7)),
        Case("all a line may ask and use", [Line(1, 3, 0, {"byte": MAX_ATOMS})], {"byte": 10**9}),
        Case("above 63 bits", [Line(1, 3, 0, {"byte": MAX_ATOMS})], {"byte": 10**9 + 1}),
        Case("all ratios, no ask", [Line(1, 1, 300_000), Line(2, 7, 30_000)], {"call": 1}),
    ]
    draw = random.Random("tollway prices")
    while len(made) < 100:
        count = draw.choice((1, 2, 5, 8, 16))
        lines = [
            Line(
                draw.getrandbits(160),
                draw.randrange(1, 7),
                draw.choice((0, 0, 1, draw.randrange(900_000 // count + 1))),
                {meter: _amount(draw) for meter in NAMES if draw.random() < draw.random()},
            )
            for _ in range(count)
        ]
        units = {meter: _count(draw) for meter in NAMES if draw.random() < draw.random()}
        case = Case(f"drawn {len(made)}", lines, units, draw.choice((0, draw.randrange(10**6))))
        if draw.random() < 0.3:
            case.list_price = draw.choice((_amount(draw), (case.split() or (10**6,))[0] + draw.randrange(1000)))
            case.list_price = min(case.list_price, MAX_ATOMS)
            case.seller = draw.randrange(count)
        if draw.random() < 0.3:
            curator, surface = (draw.choice((0, draw.getrandbits(160))) for _ in range(2))
            offer, keep = draw.randrange(PPM + 1), draw.randrange(PPM + 1)
            case.deduction = (draw.randrange(count), curator, offer, keep, _amount(draw), surface, 7)
        made.append(case)
    return made


def price_vectors() -> dict[str, Any]:
    made = [case.vector() for case in cases()]
    return {"count": len(made), "cases": made}


def receipt_vectors() -> dict[str, Any]:
    """Receipts with no unit, one, some, all, and the largest of every field."""
    draw = random.Random("tollway receipts")
    made: list[dict[str, str]] = []
    for meters in ([], [0], [1, 2, 4], [0, 5, 13, 14], list(range(15)), list(range(15))):
        full = len(made) == 5
        receipt: dict[str, Any] = {}
        for kind, name in (one.split(" ") for one in RECEIPT_FIELDS.split(",")):
            if kind == "bytes32":
                receipt[name] = b"\xff" * 32 if full else draw.randbytes(32)
            elif kind == "address":
                receipt[name] = to_checksum_address(b"\xff" * 20 if full else draw.randbytes(20))
            elif kind == "Unit[]":
                receipt[name] = [
                    {"meter": meter, "count": 2**40 - 1 if full else 1 + draw.randrange(10**6)} for meter in meters
                ]
            else:
                top = {"subcalls": 64, "end": 5}.get(name, 2 ** int(kind[4:]))
                receipt[name] = top - 1 if full else draw.randrange(top)
        forms = {"words": _words(receipt), "record": _record(receipt), "hash": _eip712(receipt)}
        made.append({name: "0x" + form.hex() for name, form in forms.items()})
    return {"count": len(made), "receipts": made}


def _eip712(receipt: dict[str, Any]) -> bytes:
    fields = [{"type": kind, "name": name} for kind, name in (one.split(" ") for one in RECEIPT_FIELDS.split(","))]
    unit = [{"type": "uint8", "name": "meter"}, {"type": "uint64", "name": "count"}]
    message = encode_typed_data(
        domain_data={"name": "Tollway"}, message_types={"Receipt": fields, "Unit": unit}, message_data=receipt
    )
    return bytes(message.body)


def _words(receipt: dict[str, Any]) -> bytes:
    """As `abi.decode(words, (Receipt))` reads it."""
    kinds = ",".join(one.split(" ")[0] for one in RECEIPT_FIELDS.split(",")).replace("Unit", "(uint8,uint64)")
    units = [(unit["meter"], unit["count"]) for unit in receipt["units"]]
    return encode([f"({kinds})"], [(*list(receipt.values())[:-1], units)])


def _record(receipt: dict[str, Any]) -> bytes:
    """As it stands in a batch's file."""
    out = b""
    for kind, name in (one.split(" ") for one in RECEIPT_FIELDS.split(",")):
        if kind == "address":
            out += bytes.fromhex(receipt[name][2:])
        elif kind.startswith("uint"):
            out += int(receipt[name]).to_bytes(int(kind[4:]) // 8, "big")
        elif kind == "bytes32":
            out += receipt[name]
    out += bytes((len(receipt["units"]),))
    return out + b"".join(bytes((unit["meter"],)) + unit["count"].to_bytes(5, "big") for unit in receipt["units"])


def _amount(draw: random.Random) -> int:
    return draw.choice(
        (0, 1, draw.randrange(1000), draw.randrange(10**6), draw.randrange(10**9), draw.randrange(10**13))
    )


def _count(draw: random.Random) -> int:
    return 1 + draw.choice((0, draw.randrange(1000), draw.randrange(10**6), draw.randrange(2**40 - 1)))


FILES = {"split_prices": price_vectors, "receipts": receipt_vectors}


@pytest.mark.parametrize("name", FILES)
def test_the_committed_vectors_are_what_an_independent_page_makes(name: str) -> None:
    assert json.loads((VECTORS / f"{name}.json").read_text()) == FILES[name]()


def test_the_vectors_have_lawful_and_unlawful_prices() -> None:
    found = [case.split() for case in cases()]
    assert 10 < found.count(None) < len(found) // 2


if __name__ == "__main__":
    for name, make in FILES.items():
        (VECTORS / f"{name}.json").write_text(json.dumps(make(), indent=1) + "\n")
