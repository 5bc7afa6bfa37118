"""Relaying: what came to nothing is intended again, under another id, and never twice at once."""

from __future__ import annotations

from sqlalchemy import Engine

from ledger.chain.calls import Authorization, Calls
from ledger.core.settlement.transactions import Call, Status
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest
from ledger.flows import claims, deposits
from ledger.store.access import deposits as requests
from ledger.store.access.deposits import DepositRequest
from ledger.store.session import unit_of_work
from ledger.store.settlement import transactions
from tests import builders as b
from tests.fakechain import SENDER

ASKED = DepositRequest(Digest(bytes(31) + b"\7"), b.LANE, b.ALICE, 500, 0, 10**9, Digest(bytes(32)), bytes(65))


class SomeRelays(Calls):
    """Calldata that says its name."""

    def __init__(self) -> None:
        pass

    def deposit_with_authorization(self, signed: Authorization, signature: bytes) -> Call:
        return SENDER, b"deposit" + signed.account

    def register_payee(self, party: Address) -> Call:
        return SENDER, b"register" + party


RELAYS = SomeRelays()


def test_a_deposit_whose_transaction_was_lost_is_sent_again(engine: Engine) -> None:
    purpose = "deposit 0x" + ASKED.id.hex()
    with unit_of_work(engine) as session:
        requests.request(session, ASKED, now=0)
        assert deposits.send_deposits(session, b.LANE, RELAYS, SENDER, now=0) == 1
        assert deposits.send_deposits(session, b.LANE, RELAYS, SENDER, now=9_000) == 0
        _, first = transactions.latest(session, b.LANE, purpose)
        assert first is not None
        transactions.set_status(session, b.LANE, first.id, Status.lost)
        assert deposits.follow_deposits(session, b.LANE) == 1
        assert deposits.send_deposits(session, b.LANE, RELAYS, SENDER, now=1_000) == 0
        assert deposits.send_deposits(session, b.LANE, RELAYS, SENDER, now=9_000) == 1
        tries, second = transactions.latest(session, b.LANE, purpose)
        assert second is not None
        assert (tries, second.status, second.id != first.id) == (2, Status.intended, True)


def test_a_place_that_could_not_be_had_is_asked_for_again(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        assert claims.register_payees(session, b.LANE, RELAYS, SENDER, [b.MAKER], now=0) == 1
        assert claims.register_payees(session, b.LANE, RELAYS, SENDER, [b.MAKER], now=9_000) == 0
        asked = keccak256(f"register 0x{b.MAKER.hex()} 0".encode())
        transactions.set_status(session, b.LANE, asked, Status.failed)
        assert claims.register_payees(session, b.LANE, RELAYS, SENDER, [b.MAKER], now=9_000) == 1
