"""Values are checked when made, have one spelling, and say what is wrong."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.core.accounts import accounts
from ledger.core.catalog import bids
from ledger.core.catalog.bids import Bid, Deduction, Line, Role, Terms
from ledger.core.kernels.records import SignedRecords
from ledger.core.receipts import receipt as receipts
from ledger.core.receipts import record
from ledger.core.receipts.receipt import EndReason, Receipt
from ledger.core.values import atoms, hashes, ids, meters, typed_data
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_DIGEST, Address
from ledger.core.values.meters import Units
from ledger.core.values.typed_data import Domain, Signer, Voucher
from tests.ledger.core import strategies as some

ALICE = Signer(b"\x01" * 32)
LANE = Address(bytes(19) + b"\3")
DOMAIN = Domain(31337, Address(b"\x42" * 20))
quick = settings(max_examples=60, deadline=None, database=None, derandomize=True)


def a_receipt(seq: int = 7) -> Receipt:
    """A receipt with a different value in every field."""
    one, two, three, four, five = (keccak256(bytes((number,))) for number in range(5))
    where = (one, two, Address(b"\x03" * 20), ALICE.address, seq, Address(b"\x0c" * 20), three, 42, 9)
    used = Units(call=1, input_token=120, cached_input_token=40, ms=300, byte=4_000, fuel=5)
    return Receipt(*where, 10, 1_472, 1_462, EndReason.client_abort, 1_700_000_000_000, four, five, used)


@pytest.mark.parametrize("value", [-1, 2**63, 1.0, True, "1", None])
def test_what_is_no_amount_is_refused(value: object) -> None:
    with pytest.raises(Rejected, match="price"):
        atoms.atoms(value, "price")


@pytest.mark.parametrize("text", ["", "-1", "+1", "01", "1.0", "1e3", " 1", "1\n", "9223372036854775808", 5, None])
def test_what_is_no_decimal_string_is_refused(text: object) -> None:
    with pytest.raises(Rejected):
        atoms.parse(text)
    assert atoms.parse("9223372036854775807") == atoms.MAX_ATOMS


def test_ids_have_one_spelling() -> None:
    digest = ids.digest("0x" + "ab" * 32)
    assert ids.cid_digest(ids.cid(digest)) == digest
    assert ids.cid(digest).startswith("bafkrei")
    for wrong in ("", "bafkrei", ids.cid(digest)[:-1], ids.cid(digest).upper(), ids.cid(digest)[:-1] + "7", "Qm" * 23):
        with pytest.raises(Rejected):
            ids.cid_digest(wrong)
    party = ids.address("0x" + "AB" * 20)
    assert ids.parse_did(ids.did(8453, party)) == (8453, party)
    for spelled in ("ab" * 20, "0x" + "ab" * 19, "0x" + "zz" * 20, b"\x01" * 21):
        with pytest.raises(Rejected):
            ids.address(spelled)


def test_units_and_rates_know_the_meters() -> None:
    assert meters.units({"call": 1, "fuel": 9}) == Units(call=1, fuel=9)
    assert meters.used(Units(call=1, fuel=9)) == {"call": 1, "fuel": 9}
    assert meters.quoted(meters.rates({"ms": "5"})) == {"ms": "5"}
    for wrong in ({"token": "1"}, {"call": 1.5}, {"call": 1}):
        with pytest.raises(Rejected):
            meters.rates(wrong)
    with pytest.raises(Rejected, match="unknown meter 'token'"):
        meters.units({"token": 1})


@quick
@given(some.chances)
def test_terms_have_one_spelling(chance: Random) -> None:
    terms = some.a_terms(chance, 63)
    body = bids.encode(terms)
    assert bids.decode(body) == terms
    assert len(body) == 44 + sum(25 + 9 * len(line.asks) for line in terms.lines) + (75 if terms.deduction else 0)
    at, bit = chance.randrange(len(body)), 1 << chance.randrange(8)
    changed = body[:at] + bytes((body[at] ^ bit,)) + body[at + 1 :]
    try:
        assert bids.encode(bids.decode(changed)) == changed
    except Rejected:
        return
    assert bids.terms_id(changed) != bids.terms_id(body)


@pytest.mark.parametrize("end", [0, 1, 43, 44, 68, -1])
def test_terms_that_are_cut_or_continued_are_refused(end: int) -> None:
    body = bids.encode(Terms(ZERO_DIGEST, (Line(ALICE.address, Role.maker, 5),)))
    with pytest.raises(Rejected):
        bids.decode(body[:end])
    with pytest.raises(Rejected, match="bytes follow"):
        bids.decode(body + b"\0")


def test_terms_refuse_what_cannot_be_priced() -> None:
    line = Line(ALICE.address, Role.maker, 500_000)
    with pytest.raises(Rejected, match="1 to 16 lines"):
        Terms(ZERO_DIGEST, ())
    with pytest.raises(Rejected, match="above the cap of 900000"):
        Terms(ZERO_DIGEST, (line, line))
    with pytest.raises(Rejected, match="seller 1 is none"):
        Terms(ZERO_DIGEST, (line,), list_price=5, seller=1)
    with pytest.raises(Rejected, match="cannot be sponsors"):
        Terms(ZERO_DIGEST, (replace(line, role=Role.protocol),), deduction=Deduction(0))
    with pytest.raises(Rejected):
        Bid(1_000_001)


def test_a_receipts_record_has_six_bytes_a_count_and_comes_back() -> None:
    receipt = a_receipt()
    assert len(receipts.pack(receipt)) == 271 + 6 * 6
    assert len(receipts.pack(receipt._replace(units=Units(*[meters.MAX_UNITS] * 15)))) == 361
    assert receipts.unpack(receipts.pack(receipt)) == receipt
    many = [a_receipt(seq) for seq in range(1, 9)]
    assert record.receipts_of(some.records(many)) == some.signed(many).receipts == many
    assert [receipts.unpack(receipts.pack(one)) for one in many] == many
    for wrong in (b"", receipts.pack(receipt)[:-1], receipts.pack(receipt) + b"\0"):
        with pytest.raises(Rejected):
            receipts.unpack(wrong)
    with pytest.raises(Rejected, match="out of its range"):
        receipts.struct_hash(receipt._replace(seq=2**64))


def test_a_receipts_signature_is_what_eth_account_makes() -> None:
    receipt = a_receipt()
    fields, unit = (text.partition(")")[0] for text in receipts.RECEIPT_TYPE.split("(")[1:])
    columns, of_unit = ([field.split(" ") for field in text.split(",")] for text in (fields, unit))
    values: dict[str, object] = dict(zip((name for _, name in columns), receipt, strict=True))
    values |= {
        "end": int(receipt.end),
        "units": [{"meter": meter, "count": count} for meter, count in meters.counted(receipt.units)],
        "lane": ids.to_hex(receipt.lane),
        "gateway": ids.to_hex(receipt.gateway),
        "consumer": ids.to_hex(receipt.consumer),
    }
    kinds = {"name": "string", "version": "string", "chainId": "uint256", "verifyingContract": "address"}
    message = {
        "types": {
            "EIP712Domain": [{"name": name, "type": kind} for name, kind in kinds.items()],
            "Receipt": [{"name": name, "type": kind} for kind, name in columns],
            "Unit": [{"name": name, "type": kind} for kind, name in of_unit],
        },
        "primaryType": "Receipt",
        "domain": {"name": "Tollway", "version": "2", "chainId": 31337, "verifyingContract": "0x" + "42" * 20},
        "message": values,
    }
    theirs = Account.sign_message(encode_typed_data(full_message=message), b"\x01" * 32).signature
    digest = receipts.receipt_digest(DOMAIN, receipt)
    assert ALICE.sign(digest) == bytes(theirs)
    assert typed_data.recover(digest, bytes(theirs)) == ALICE.address


def test_a_signature_has_one_spelling() -> None:
    digest = typed_data.signing_digest(DOMAIN, typed_data.voucher_hash(Voucher(LANE, ALICE.address, 10**9)))
    signature = ALICE.sign(digest)
    assert typed_data.signed_by(digest, signature, ALICE.address)
    r, s, v = signature[:32], int.from_bytes(signature[32:64], "big"), signature[64]
    high = r + (typed_data.ORDER - s).to_bytes(32, "big") + bytes((55 - v,))
    compact = r + (s | (v - 27) << 255).to_bytes(32, "big")  # EIP-2098
    raw_v = signature[:64] + bytes((v - 27,))
    for other in (high, compact, raw_v, signature[:64], signature + b"\0", bytes(65), b"\xff" * 64 + b"\x1b"):
        with pytest.raises(Rejected):
            typed_data.recover(digest, other)
        assert not typed_data.signed_by(digest, other, ALICE.address)


@pytest.mark.parametrize(
    "other", [Domain(1, DOMAIN.contract), Domain(31337), Domain(31337, DOMAIN.contract, "Tollway", "1")]
)
def test_a_signature_counts_in_one_domain_only(other: Domain) -> None:
    hashed = typed_data.voucher_hash(Voucher(LANE, ALICE.address, 5))
    signature = ALICE.sign(typed_data.signing_digest(DOMAIN, hashed))
    assert not typed_data.signed_by(typed_data.signing_digest(other, hashed), signature, ALICE.address)


@quick
@given(some.addresses, some.addresses, st.sampled_from(list(Role)))
def test_account_names_come_apart_as_they_were_made(party: Address, gateway: Address, role: Role) -> None:
    names = [
        accounts.CUSTODY,
        accounts.available(party),
        accounts.leased(party, gateway),
        accounts.withdrawing(party),
        accounts.accrued(party, role),
        accounts.claimable(party),
    ]
    for name in names:
        assert accounts.spelled(accounts.parse(name)) == name
        assert (accounts.side(name) is accounts.Side.debit) == (name == accounts.CUSTODY)
    for wrong in ("", "bank", names[1].upper(), names[1] + ":", names[2].rsplit(":", 1)[0], names[4] + "x", "custody:"):
        with pytest.raises(Rejected):
            accounts.parse(wrong)


def test_a_call_id_comes_from_lane_account_key_path_and_idempotency_key() -> None:
    lane = ids.PRIVATE_LANE
    named = ids.call_id(lane, ALICE.address, "key_1", "/v1/x", b"k")
    assert named == keccak256(lane + ALICE.address + b"\x05key_1" + b"\0\0\0\x05/v1/x" + b"k")
    others = [
        ids.call_id(ALICE.address, ALICE.address, "key_1", "/v1/x", b"k"),
        ids.call_id(lane, ids.PRIVATE_LANE, "key_1", "/v1/x", b"k"),
        ids.call_id(lane, ALICE.address, ids.NO_KEY, "/v1/x", b"k"),
        ids.call_id(lane, ALICE.address, "key_1", "/v1/", b"xk"),
        ids.call_id(lane, ALICE.address, "key_1/v1", "/x", b"k"),
        ids.call_id(lane, ALICE.address, "key_1", "/v1/x", b"K"),
    ]
    assert len({named, *others}) == 7


RECORD = receipts.pack(a_receipt())


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("no end reason", RECORD[:197] + b"\x09" + RECORD[198:]),
        ("64 sub-calls", RECORD[:172] + b"\x40" + RECORD[173:]),
        ("a count of 0", RECORD[:271] + bytes(6) + RECORD[277:]),
        ("meters that fall", RECORD[:271] + RECORD[277:283] + RECORD[271:277] + RECORD[283:]),
        ("a meter twice", RECORD[:271] + RECORD[277:283] * 2 + RECORD[283:]),
        ("a meter that is none", RECORD[:-6] + b"\x0f" + RECORD[-5:]),
        ("fewer counts than it says", RECORD[:270] + b"\x07" + RECORD[271:]),
        ("more counts than it says", RECORD[:270] + b"\x05" + RECORD[271:]),
        ("cut", RECORD[:200]),
    ],
)
def test_a_record_has_one_spelling_in_the_plain_page_and_in_the_kernel(name: str, wrong: bytes) -> None:
    with pytest.raises(Rejected):
        receipts.unpack(wrong)
    body = np.frombuffer(wrong + bytes(65), np.uint8)
    if name == "more counts than it says":  # more bytes follow, which a file reads as the next part
        assert SignedRecords.read(body, 1).starts[-1] == len(body) - 6
        return
    with pytest.raises(Rejected, match="malformed"):
        SignedRecords.read(body[:-1] if name.startswith("fewer") else body, 1)


@quick
@given(some.chances, st.integers(0, 6))
def test_signed_records_come_back_in_parts_and_joined(chance: Random, count: int) -> None:
    rows = [some.a_receipt(chance) for _ in range(count)]
    signed = some.signed(rows)
    assert signed.receipts == rows
    cut = chance.randint(0, count)
    parts = [signed.part(0, cut), signed.part(cut, count)]
    assert [len(part) for part in parts] == [cut, count - cut]
    joined = SignedRecords.join(parts)
    assert joined.receipts == rows
    assert joined.raw.tobytes() == signed.raw.tobytes()
    for place, row in enumerate(rows):
        assert (joined.receipt(place), joined.signature(place)) == (row, bytes(65))


def test_a_bodys_digest_is_blake3_of_salt_and_body() -> None:
    """BLAKE3's own vectors: of nothing, and of the bytes 0, 1, 2."""
    assert hashes.body_digest(b"", b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    expected = "e1be4d7a8ab5560aa4199eea339849ba8e293d55ca0a81006726d184519e647f"
    assert hashes.body_digest(b"\0", b"\1\2").hex() == expected
    parts = hashes.BodyHash(b"\0")
    parts.update(b"\1")
    parts.update(b"\2")
    assert parts.digest().hex() == expected
