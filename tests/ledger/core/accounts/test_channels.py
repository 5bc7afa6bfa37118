"""The rules of channels: what a voucher lets in, what may be claimed, when; and that ids and digests are the stock
client's.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_account import Account
from x402.mechanisms.evm.batch_settlement.client.voucher import sign_voucher
from x402.mechanisms.evm.batch_settlement.types import ChannelConfig
from x402.mechanisms.evm.batch_settlement.utils import compute_channel_id
from x402.mechanisms.evm.signers import EthAccountSigner

from ledger.core.accounts.channels import (
    BUSY_MS,
    DELAY_SECONDS,
    DEPOSIT_CLAIMS,
    IDLE_MS,
    MOST_DELAY_SECONDS,
    Answer,
    Channel,
    Seen,
    Status,
    Totals,
    admit,
    holder,
    is_claim_due,
    is_deposit_due,
    voucher_digest,
    wrong,
)
from ledger.core.values.ids import ZERO_ADDRESS, Address, Digest, address, to_hex
from ledger.core.values.typed_data import signed_by

PAYER, AUTHORIZER, RECEIVER, CLAIMER, TOKEN = (Address(bytes((number,)) * 20) for number in range(0xA1, 0xA6))
CHANNEL = Channel(PAYER, AUTHORIZER, RECEIVER, CLAIMER, TOKEN, DELAY_SECONDS, Digest(b"\x07" * 32))
TOTALS = Totals(balance=1_000, claimed=0, voucher=0, charged=0)


def test_a_channel_and_a_voucher_are_named_as_the_stock_client_names_them() -> None:
    payer, authorizer, receiver, claimer, token = map(to_hex, (PAYER, AUTHORIZER, RECEIVER, CLAIMER, TOKEN))
    config = ChannelConfig(payer, authorizer, receiver, claimer, token, DELAY_SECONDS, to_hex(CHANNEL.salt))
    assert to_hex(CHANNEL.id(31337)) == compute_channel_id(config, "eip155:31337")
    assert CHANNEL.id(1) != CHANNEL.id(31337)
    account = Account.create()
    signed = sign_voucher(EthAccountSigner(account), to_hex(CHANNEL.id(31337)), 230, "eip155:31337")
    signature, signer = bytes.fromhex(signed.signature[2:]), address(account.address.lower())
    assert signed_by(voucher_digest(31337, CHANNEL.id(31337), 230), signature, signer)
    assert not signed_by(voucher_digest(31337, CHANNEL.id(31337), 231), signature, signer)


@pytest.mark.parametrize(
    ("totals", "shown", "answer"),
    [
        (TOTALS, 100, Answer.admitted),
        (TOTALS, 99, Answer.voucher),
        (replace(TOTALS, balance=99), 100, Answer.deposit),
        (replace(TOTALS, charged=50), 149, Answer.voucher),
        (replace(TOTALS, charged=50), 150, Answer.admitted),
        (replace(TOTALS, voucher=100, held=100), 100, Answer.voucher),  # calls at once sign the same number
        (replace(TOTALS, voucher=100, held=100), 200, Answer.admitted),
        (replace(TOTALS, voucher=300, held=100), 100, Answer.admitted),  # the highest covers both
        (replace(TOTALS, voucher=900, charged=300), 100, Answer.voucher),  # an old one opens nothing
        (replace(TOTALS, voucher=900, charged=300, published=900), 900, Answer.voucher),  # nor does one that is public
        (replace(TOTALS, voucher=900, charged=300, published=900), 901, Answer.admitted),
        (replace(TOTALS, voucher=900, charged=800, held=101), 901, Answer.deposit),
    ],
)
def test_a_call_is_let_in_as_far_as_the_highest_voucher_and_the_deposit_cover_it(
    totals: Totals, shown: int, answer: Answer
) -> None:
    assert admit(totals, shown, 100) is answer


@pytest.mark.parametrize(
    ("totals", "shown", "offered", "is_due"),
    [
        (replace(TOTALS, charged=950), 1_050, 500, True),
        (replace(TOTALS, charged=950), 1_050, 50, False),  # less than is there
        (replace(TOTALS, charged=950), 1_050, 51, True),
        (replace(TOTALS, charged=100), 200, 500, False),  # not needed
        (replace(TOTALS, charged=100), 1_001, 900, False),
        (replace(TOTALS, charged=100), 1_001, 901, True),  # its payer reckons with it
        (replace(TOTALS, charged=100, held=800), 1_000, 900, False),  # what is held may not be charged
        (replace(TOTALS, charged=100, held=800), 1_000, 901, True),
    ],
)
def test_a_deposit_is_taken_when_it_is_needed_and_more_than_what_is_there(
    totals: Totals, shown: int, offered: int, *, is_due: bool
) -> None:
    assert is_deposit_due(totals, admit(totals, shown, 101), shown, offered) is is_due


@pytest.mark.parametrize(
    ("totals", "claimable", "lost"),
    [
        (Totals(1_000, 0, 500, 300), 300, 0),
        (Totals(1_000, 0, 200, 300), 200, 100),
        (Totals(250, 0, 500, 300), 250, 50),
        (Totals(1_000, 300, 500, 300), 300, 0),
        (Totals(1_000, 300, 0, 300), 0, 0),
        (Totals(1_000, 300, 0, 350), 0, 50),
    ],
)
def test_never_more_is_claimed_than_receipts_voucher_and_chain_say(totals: Totals, claimable: int, lost: int) -> None:
    assert (totals.claimable, totals.lost) == (claimable, lost)
    assert totals.unclaimed == max(0, claimable - totals.claimed)


@pytest.mark.parametrize(
    ("charged", "status", "idle", "since", "is_due"),
    [
        (DEPOSIT_CLAIMS * 10, Status.open, 0, BUSY_MS, True),
        (DEPOSIT_CLAIMS * 10, Status.open, 0, BUSY_MS - 1, False),
        (DEPOSIT_CLAIMS * 10 - 1, Status.open, 0, BUSY_MS, False),
        (10, Status.open, IDLE_MS, 0, True),
        (10, Status.open, IDLE_MS - 1, BUSY_MS, False),
        (10, Status.leaving, 0, 0, True),
        (9, Status.leaving, IDLE_MS, BUSY_MS, False),
    ],
)
def test_a_claim_is_made_when_it_is_worth_its_cost_and_at_once_when_the_payer_leaves(
    charged: int, status: Status, idle: int, since: int, *, is_due: bool
) -> None:
    assert is_claim_due(Totals(1_000, 0, 1_000, charged), status, 10, idle, since) is is_due


def test_a_new_channel_holds_what_is_worth_a_claim_and_an_old_one_may_be_empty() -> None:
    new, old = Totals(0, 0, 0, 0), Totals(5, 0, 0, 0)
    assert [holder(new, Seen(balance, 1), 10) for balance in (100, 101)] == [Status.refused, Status.open]
    assert holder(new, Seen(1, 0, leaving=1), 10) is Status.refused
    assert holder(old, Seen(0, 0), 10) is Status.open
    assert holder(old, Seen(5, 0, leaving=1), 10) is Status.leaving


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({}, None),
        ({"receiver": PAYER}, "not in the token, to the receiver"),
        ({"receiver_authorizer": PAYER}, "not in the token, to the receiver"),
        ({"token": PAYER}, "not in the token, to the receiver"),
        ({"payer_authorizer": ZERO_ADDRESS}, "names its payer, and the key"),
        ({"withdraw_delay": DELAY_SECONDS - 1}, "has to be 86400 s at least"),
        ({"withdraw_delay": MOST_DELAY_SECONDS + 1}, "has to be 86400 s at least"),
    ],
)
def test_a_channel_is_one_that_can_be_claimed_in_time(other: dict[str, Address], said: str | None) -> None:
    found = wrong(replace(CHANNEL, **other), RECEIVER, CLAIMER, TOKEN)  # type: ignore[arg-type]  # fields by name
    assert (found is None) if said is None else (said in str(found))
