"""What tests are made of: say what matters, the rest is sensible. Nothing here is random."""

from collections.abc import Iterable, Mapping, Sequence

from sqlmodel import Session

from ledger.core.accounts import movements
from ledger.core.accounts.postings import Balance, Transaction, check_balance, effect
from ledger.core.catalog.bids import Line, Role, Terms, encode, ordered, terms_id
from ledger.core.pricing.price import price
from ledger.core.receipts.receipt import EndReason, Receipt, pack, struct_hash
from ledger.core.receipts.segments import Segment, link
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_DIGEST, Address, Digest, Lane
from ledger.core.values.meters import Rates, Units
from ledger.core.values.typed_data import Domain, Signer, signing_digest
from ledger.store.money import postings
from ledger.store.receipts import segments as segment_store
from ledger.store.receipts import terms, watermarks
from ledger.store.receipts.appender import COLUMNS
from ledger.store.session import connection_of
from tests.rates import asks

LANE = Lane(bytes(19) + b"\1")
OTHER_LANE = Lane(bytes(19) + b"\2")
"""The ids of a chain's first two lanes."""
GATEWAY = Signer(b"\x01" * 32)
OTHER_GATEWAY = Signer(b"\x02" * 32)
DOMAIN = Domain(31337)


def an_address(number: int) -> Address:
    """The address of party `number`."""
    return Address(bytes(12) + (0xA0_0000_0000 + number).to_bytes(8, "big"))


ALICE, BOB = an_address(1), an_address(2)
MAKER, COMPUTE, OPERATOR, TREASURY = an_address(11), an_address(12), an_address(13), an_address(14)
A_CALL = Units(call=1, input_token=120, output_token=40)
ASKS: Rates = asks(input_token=100_000_000, output_token=400_000_000)


def some_terms(subject: int = 1, asks: Rates = ASKS, lines: Iterable[Line] | None = None) -> Terms:
    """A model's terms: a maker's ratio, a node's asks, the gateway's and the protocol's ratios."""
    usual = [
        Line(MAKER, Role.maker, 100_000),
        Line(COMPUTE, Role.compute, 0, asks),
        Line(OPERATOR, Role.gateway, 10_000),
        Line(TREASURY, Role.protocol, 20_000),
    ]
    return Terms(Digest(subject.to_bytes(32, "big")), ordered(list(usual if lines is None else lines)))


def a_receipt(
    number: int,
    of: Terms | None = None,
    *,
    consumer: Address = ALICE,
    gateway: Address = GATEWAY.address,
    seq: int | None = None,
    units: Units = A_CALL,
    parent: Digest = ZERO_DIGEST,
    subcalls: int = 0,
    subcall_total: int = 0,
    lane: Lane = LANE,
    ended_at: int = 1_000,
) -> Receipt:
    """Call `number` of a consumer, priced by its terms. `seq` is `number` unless said otherwise."""
    named = of or some_terms()
    due = price(named, units, subcall_total)
    return Receipt(
        call_id=keccak256(consumer, b"call %d" % number),
        parent=parent,
        lane=lane,
        gateway=gateway,
        seq=number if seq is None else seq,
        consumer=consumer,
        terms=terms_id(encode(named)),
        epoch=0,
        subcalls=subcalls,
        subcall_total=subcall_total,
        price=due.price,
        charge=due.charge,
        end=EndReason.normal,
        ended_at=ended_at,
        units=units,
    )


def write(session: Session, receipts: Sequence[Receipt], of: Iterable[Terms] = (), signer: Signer = GATEWAY) -> Segment:
    """Append receipts to the signer's log as one segment, numbered densely after the last, and store the terms."""
    for body in map(encode, of or [some_terms()]):
        terms.put(session, body)
    watermarks.ensure(session, receipts[0].lane, signer.address)
    before = segment_store.before(session, receipts[0].lane, signer.address, 2**63 - 1)
    first, previous = (before.last + 1, before.digest) if before else (1, ZERO_DIGEST)
    placed = [r._replace(gateway=signer.address, seq=first + place) for place, r in enumerate(receipts)]
    digests = [struct_hash(receipt) for receipt in placed]
    segment = link(signer.address, first, b"".join(digests), sum(r.charge for r in placed), previous)
    with connection_of(session).cursor() as cursor:
        with cursor.copy(f"COPY receipts ({COLUMNS}) FROM STDIN".encode()) as copy:
            for receipt, digest in zip(placed, digests, strict=True):
                signed = signer.sign(signing_digest(DOMAIN, digest))
                copy.write_row((receipt.seq, receipt.charge, receipt.ended_at, digest, signed, pack(receipt), None))
        cursor.execute(
            "INSERT INTO segments (lane, gateway, first, last, count, total, digest, previous) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            (
                receipts[0].lane,
                signer.address,
                first,
                segment.last,
                segment.count,
                segment.total,
                segment.digest,
                previous,
            ),
        )
    return segment


def altered(seq: int, field: str) -> str:
    """SQL that changes a field of a stored receipt, and nothing beside it."""
    last = {"seq": 111, "charge": 196, "ended_at": 205, "call": 276, "input_token": 282}[field]
    return f"UPDATE receipts SET record = set_byte(record, {last}, get_byte(record, {last}) # 1) WHERE seq = {seq}"


def fund(
    session: Session,
    consumer: Address,
    amount: int,
    gateway: Address = GATEWAY.address,
    *,
    lane: Lane = LANE,
    number: int = 1,
) -> None:
    """A consumer deposits and leases all of it to a gateway."""
    cause = consumer + gateway + number.to_bytes(4, "big")
    postings.book(session, movements.deposit(lane, cause, consumer, amount, at=0))
    postings.book(session, movements.lease(lane, cause, consumer, gateway, amount, at=0))


def lease(session: Session, consumer: Address, amount: int, number: int = 1, *, lane: Lane = LANE) -> None:
    """A consumer's deposit is leased to the gateway."""
    postings.book(session, movements.lease(lane, b"lease %d" % number, consumer, GATEWAY.address, amount, at=0))


def release(session: Session, consumer: Address, amount: int, number: int = 1) -> None:
    """What a lease has not spent returns."""
    postings.book(session, movements.release(LANE, b"lease %d" % number, consumer, GATEWAY.address, amount, at=0))


def earn(session: Session, consumer: Address, payee: Address, amount: int, number: int = 1) -> None:
    """A payee earns as a maker, and its earnings are in a posted batch."""
    lease(session, consumer, amount, 1_000 + number)
    spent, earned = {(consumer, GATEWAY.address): amount}, {(payee, Role.maker): amount}
    postings.book(session, movements.charge(LANE, b"chunk %d" % number, spent, earned, at=0))
    postings.book(session, movements.settle(LANE, b"batch %d" % number, earned, at=0))


def applied(balances: Mapping[str, Balance], transaction: Transaction) -> dict[str, Balance]:
    """What the store does to the accounts a transaction touches: their new entries, each checked (law L1)."""
    after: dict[str, Balance] = {}
    for name, added in effect(transaction.postings).items():
        before = balances.get(name, Balance())
        after[name] = Balance(before.debits + added.debits, before.credits + added.credits)
        check_balance(name, after[name], transaction)
    return after


def digest(text: str) -> Digest:
    """A digest from bare hex."""
    return Digest(bytes.fromhex(text))


def an_account(raw: bytes) -> Address:
    """Bytes that are an address."""
    return Address(raw)
