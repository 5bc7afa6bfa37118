"""What the ledger lets a lane debit an account, from vouchers, exits and x402 payments together."""

from sqlalchemy import Engine
from sqlmodel import Session

from ledger.core.values.atoms import MAX_ATOMS
from ledger.core.values.ids import Address, Digest
from ledger.core.values.typed_data import Voucher
from ledger.store.access import deposits, vouchers
from ledger.store.access.deposits import DepositRequest
from ledger.store.chain import lanes, parties
from ledger.store.money import laws
from ledger.store.session import unit_of_work
from tests import builders as b

KEY = b.GATEWAY.address


def paid_in(session: Session, number: int, amount: int, block: int) -> None:
    """An x402 payment of Alice's, booked in a block."""
    salt = Digest(number.to_bytes(32, "big"))
    asked = DepositRequest(salt, b.LANE, b.ALICE, amount, 0, 2, salt, b"", kind="inbox")
    deposits.request(session, asked, 1)
    deposits.set_credited(session, asked, block)
    lanes.deposit(session, b.LANE, b.ALICE, 1, amount)


def mandate(session: Session, account: Address = b.ALICE) -> int:
    """The mandate, which the audit's law sees alike."""
    most = vouchers.mandate(session, b.LANE, account)
    assert laws.mandates(session, b.LANE).get(account, 0) == most
    return most


def test_payments_since_the_last_exit_come_on_top_of_voucher_or_exit(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        assert mandate(session) == 0
        paid_in(session, 1, 200, block=5)
        assert mandate(session) == 200
        lanes.request_withdrawal(session, b.LANE, b.ALICE, 1)
        lanes.withdraw(session, b.LANE, b.ALICE, 100, block=7)
        consumer = lanes.get_consumer(session, b.LANE, b.ALICE)
        assert consumer is not None
        assert (consumer.debit_at_exit, consumer.left_in_block, consumer.requested_at) == (100, 7, None)
        paid_in(session, 2, 30, block=8)
        assert mandate(session) == 130
        vouchers.raise_to(session, Voucher(b.LANE, b.ALICE, 99), b.ALICE, b"")
        assert mandate(session) == 130
        vouchers.raise_to(session, Voucher(b.LANE, b.ALICE, 101), b.ALICE, b"")
        assert mandate(session) == 131


def test_a_voucher_counts_until_its_key_is_revoked(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        lanes.deposit(session, b.LANE, b.ALICE, 1, 500)
        parties.put_session_key(session, b.ALICE, KEY)
        vouchers.raise_to(session, Voucher(b.LANE, b.ALICE, 150), KEY, b"")
        assert mandate(session) == 150
        parties.put_session_key(session, b.ALICE, KEY, counts_until=10**9)
        assert vouchers.mandate(session, b.LANE, b.ALICE) == 0, "nothing new is served on it"
        assert laws.mandates(session, b.LANE)[b.ALICE] == 150, "what was served on it stays right"
        vouchers.raise_to(session, Voucher(b.LANE, b.ALICE, 151), b.ALICE, b"")
        assert mandate(session) == 151


def test_what_a_stolen_key_signed_ends_with_the_key(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        lanes.deposit(session, b.LANE, b.ALICE, 1, 500)
        parties.put_session_key(session, b.ALICE, KEY)
        assert vouchers.raise_to(session, Voucher(b.LANE, b.ALICE, 150), b.ALICE, b"own")
        assert vouchers.raise_to(session, Voucher(b.LANE, b.ALICE, MAX_ATOMS), KEY, b"stolen")
        assert not vouchers.raise_to(session, Voucher(b.LANE, b.ALICE, 160), b.ALICE, b"")
        assert vouchers.at_closing(session, b.LANE, 0) == {b.ALICE: (MAX_ATOMS, b"stolen")}
        parties.put_session_key(session, b.ALICE, KEY, counts_until=1_000)
        assert vouchers.mandate(session, b.LANE, b.ALICE) == 150
        assert vouchers.at_closing(session, b.LANE, 999, b.ALICE) == {b.ALICE: (MAX_ATOMS, b"stolen")}
        assert vouchers.at_closing(session, b.LANE, 1_000) == {b.ALICE: (150, b"own")}
        assert not vouchers.raise_to(session, Voucher(b.LANE, b.ALICE, 150), b.ALICE, b""), "it was seen"
        assert vouchers.raise_to(session, Voucher(b.LANE, b.ALICE, 160), b.ALICE, b"next")
        assert vouchers.at_closing(session, b.LANE, 1_000, b.ALICE) == {b.ALICE: (160, b"next")}
        assert vouchers.at_closing(session, b.LANE, 1_000, b.BOB) == {}
