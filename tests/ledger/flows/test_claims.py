"""Relaying: deposits are sent once and followed, payees get places, claims are cut below the gas cap.

What came to nothing is intended again, under another id, and never twice at once.
"""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from ledger.chain.calls import Authorization, Calls
from ledger.chain.rpc import MAX_GAS
from ledger.core.settlement import events
from ledger.core.settlement.batches import Status as Batched
from ledger.core.settlement.transactions import Call, Mined, Status
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, Lane
from ledger.core.values.sum_tree import leaf, range_root
from ledger.flows import claims, deposits, publications
from ledger.flows.claims import CLAIM_ROWS
from ledger.store.access import deposits as requests
from ledger.store.access.deposits import DepositRequest
from ledger.store.session import unit_of_work
from ledger.store.settlement import batches, transactions
from tests import builders as b
from tests.fakechain import SENDER
from tests.room import Room

TARGET = Address(b"\x5c" * 20)


class Relays(Calls):
    """Remembers what it was asked to encode."""

    def __init__(self) -> None:
        self.claims: list[tuple[int, list[tuple[Address, int]], list[bytes]]] = []

    def claim_range(self, lane: Lane, start: int, rows: Sequence[tuple[Address, int]], proof: Sequence[bytes]) -> Call:
        self.claims.append((start, list(rows), list(proof)))
        return TARGET, b"claim %d" % start

    def deposit_with_authorization(self, signed: Authorization, signature: bytes) -> Call:
        return TARGET, b"authorization " + signed.account

    def deposit_from_inbox(self, signed: Authorization, signature: bytes) -> Call:
        return TARGET, b"inbox " + signed.account

    def register_payee(self, party: Address) -> Call:
        return TARGET, b"register " + party


def asked(number: int, kind: str = "authorization") -> DepositRequest:
    """A deposit Alice signed."""
    made = keccak256(b"deposit %d" % number)
    return DepositRequest(made, b.LANE, b.ALICE, 5, 0, 99, Digest(made), b"signed", kind)


def test_deposits_are_intended_once_and_end_credited_or_failed(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        for number, kind in ((1, "authorization"), (2, "inbox"), (3, "authorization")):
            assert requests.request(session, asked(number, kind), 1)
        assert deposits.send_deposits(session, b.LANE, Relays(), rich, SENDER, 1) == 3
        assert deposits.send_deposits(session, b.LANE, Relays(), rich, SENDER, 2) == 0
        intended = transactions.intended(session, b.LANE)
        assert sorted(one.data.split()[0] for one in intended) == [b"authorization", b"authorization", b"inbox"]
        assert deposits.follow_deposits(session, b.LANE) == 0
        by_purpose = {one.purpose: one.id for one in intended}
        first, second, third = (by_purpose[f"deposit 0x{asked(n).id.hex()} 0"] for n in (1, 2, 3))
        transactions.set_status(session, b.LANE, first, Status.failed, error="AuthorizationUnusable")
        transactions.set_status(session, b.LANE, second, Status.lost)
        transactions.set_status(session, b.LANE, third, Status.confirmed, Mined(Digest(keccak256(b"hash")), 7, True))
        deposits.follow_deposits(session, b.LANE)
        statuses = {n: requests.get(session, b.LANE, asked(n).id) for n in (1, 2, 3)}
    assert {n: (one.status, one.error) for n, one in statuses.items() if one} == {
        1: ("failed", "AuthorizationUnusable"),
        2: ("requested", None),
        3: ("sent", None),  # confirmed, but its block is not indexed yet
    }


def rich(account: Address) -> int:
    """The tokens of an account that can pay all of it."""
    return 10**6


def test_a_payment_that_its_account_cannot_make_is_not_sent(engine: Engine) -> None:
    tokens = {b.ALICE: 9}
    with unit_of_work(engine) as session:
        for number in (1, 2):
            requests.request(session, asked(number, "inbox"), number)
        requests.request(session, replace(asked(3, "inbox"), amount=10), 3)

        def send(now: int) -> tuple[int, list[str]]:
            sent = deposits.send_deposits(session, b.LANE, Relays(), tokens.__getitem__, SENDER, now)
            found = [requests.get(session, b.LANE, asked(n).id) for n in (1, 2, 3)]
            return sent, [one.status for one in found if one is not None]

        assert send(1) == (1, ["sent", "requested", "failed"]), "the second one waits for the first"
        first, third = (requests.get(session, b.LANE, asked(n).id) for n in (1, 3))
        assert third is not None
        assert third.error == "its account has 9 atoms, the payment is of 10"
        assert first is not None
        requests.set_credited(session, first, 7)
        tokens[b.ALICE] = 4
        assert send(2) == (0, ["credited", "failed", "failed"]), "what was worth something is gone meanwhile"


def test_a_deposit_whose_transaction_was_lost_is_sent_again(engine: Engine) -> None:
    purpose = f"deposit 0x{asked(1).id.hex()}"
    with unit_of_work(engine) as session:
        requests.request(session, asked(1), now=0)
        assert deposits.send_deposits(session, b.LANE, Relays(), rich, SENDER, now=0) == 1
        assert deposits.send_deposits(session, b.LANE, Relays(), rich, SENDER, now=9_000) == 0
        _, first = transactions.latest(session, b.LANE, purpose)
        assert first is not None
        transactions.set_status(session, b.LANE, first.id, Status.lost)
        assert deposits.follow_deposits(session, b.LANE) == 1
        assert deposits.send_deposits(session, b.LANE, Relays(), rich, SENDER, now=1_000) == 0
        assert deposits.send_deposits(session, b.LANE, Relays(), rich, SENDER, now=9_000) == 1
        tries, second = transactions.latest(session, b.LANE, purpose)
        assert second is not None
        assert (tries, second.status, second.id != first.id) == (2, Status.intended, True)
        assert publications.transaction_of(session, asked(1)) is None, "it is in no block"
        mined = Digest(keccak256(b"hash"))
        transactions.set_status(session, b.LANE, second.id, Status.mined, Mined(mined, 7, True))
        assert publications.transaction_of(session, asked(1)) == mined


@pytest.fixture
def room(engine: Engine) -> Room:
    """A lane whose first batch is final."""
    room = Room(engine)
    room.post(40)
    room.see(seconds=61)
    room.finalize()
    room.sweep()
    return room


def test_claims_of_neighbours_prove_their_range_against_the_final_root(room: Room) -> None:
    relays = Relays()
    with unit_of_work(room.engine) as session:
        assert claims.claim(session, relays, SENDER, b.LANE, 1) == 1
        assert claims.claim(session, relays, SENDER, b.LANE, 2) == 0
        (final,) = batches.with_status(session, b.LANE, Batched.final)
    start, rows, proof = relays.claims[0]
    words = [leaf(1, b.LANE, start + i, who, paid) for i, (who, paid) in enumerate(rows)]
    assert range_root(words, start, final.header.heights.payouts, proof) == final.header.payout_root


def test_who_has_claimed_is_left_out(room: Room) -> None:
    for place, payee in enumerate((b.MAKER, b.COMPUTE, b.OPERATOR, b.TREASURY)):
        room.see(events.Claimed(b.LANE, place + 3, payee, room.final_claim(payee)))
    with unit_of_work(room.engine) as session:
        assert claims.claim(session, Relays(), SENDER, b.LANE, 1) == 0


def test_claims_wait_while_another_batch_becomes_the_last_and_come_before_the_one_after(room: Room) -> None:
    def intended() -> int:
        with unit_of_work(room.engine) as session:
            made = claims.claim(session, Relays(), SENDER, b.LANE, room.now)
            for one in transactions.intended(session, b.LANE):
                if one.purpose.startswith("claim"):
                    transactions.set_status(session, b.LANE, one.id, Status.failed)
        return made

    room.serve(10)
    room.close()
    assert intended() == 1, "nothing is under way: the proof holds when the claim is mined"
    room.commit()
    assert intended() == 0, "the commit may finalize"
    room.sweep()
    room.see(seconds=61)
    room.now += 10_000
    assert intended() == 1, "ripe, but it is ours to come first"
    room.finalize()
    room.now += 10_000
    assert intended() == 0, "it is about to be final"
    room.sweep()
    assert intended() == 1, "against the new root"


def test_a_claim_stays_below_what_a_transaction_may_use() -> None:
    assert CLAIM_ROWS * claims.GAS_PER_ROW < MAX_GAS
    due = [1, 2, CLAIM_ROWS, CLAIM_ROWS + 1, 5 * CLAIM_ROWS]
    assert list(claims._neighbours(due)) == [(1, CLAIM_ROWS), (CLAIM_ROWS + 1, 1), (5 * CLAIM_ROWS, 1)]


def test_payees_without_a_place_are_registered_once_and_again_if_that_failed(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        assert claims.register_payees(session, b.LANE, Relays(), SENDER, [b.MAKER, b.COMPUTE], 1) == 2
        assert claims.register_payees(session, b.LANE, Relays(), SENDER, [b.MAKER, b.COMPUTE], 9_000) == 0
        failed = keccak256(f"register 0x{b.MAKER.hex()} 0".encode())
        transactions.set_status(session, b.LANE, failed, Status.failed)
        assert claims.register_payees(session, b.LANE, Relays(), SENDER, [b.MAKER, b.COMPUTE], 9_000) == 1
