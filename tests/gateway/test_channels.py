"""x402's `batch-settlement` at the gateway, with the stock client of PyPI: a channel's deposit pays for many calls. The
chain is one in memory: `tests/gateway/clients/test_channels.py` has the contracts.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from eth_typing import Hash32
from sqlalchemy import text
from x402.http.clients.httpx import x402HttpxClient

from gateway.bounds import Rates
from gateway.payment.turns import Turns
from ledger.core.accounts.channels import CONTRACT, DELAY_SECONDS, Seen, Status, voucher_digest
from ledger.core.values.ids import PRIVATE_LANE, Digest, to_hex
from ledger.store.session import unit_of_work
from tests.gateway.channels import Escrow, a_config, a_payer, a_worker, known, signature
from tests.gateway.nodes import Node, answering, streaming
from tests.gateway.test_upto import code_of, message_of, ways
from tests.gateway.test_who_pays import eventually
from tests.gateway.test_x402 import accepted_by
from tests.gateway.upto import ADVANCER, BODY, PRICE, WALLET, call, changed_in, offering, party
from tests.gateway.world import CHAIN, OPERATOR, Running, World


@pytest.fixture
def escrow() -> Escrow:
    return Escrow()


@pytest.fixture
def gateway(chain: World, escrow: Escrow, tmp_path: Path) -> Iterator[Running]:
    """A gateway that offers `batch-settlement`, with a worker."""
    made = offering(chain, tmp_path)
    with a_worker(chain.engine, PRIVATE_LANE, escrow, OPERATOR.address):
        yield made


def changed(header: dict[str, str], part: str, **fields: Any) -> dict[str, str]:
    """The same payment with other fields in a part of its payload."""
    return changed_in(header, f"payload.{part}".removesuffix("."), **fields)


def test_the_402_says_who_claims_and_how_long_who_leaves_has_to_wait(gateway: Running) -> None:
    offered = ways(gateway)["batch-settlement"]
    assert (offered["payTo"], offered["amount"]) == (to_hex(WALLET), str(PRICE))
    assert offered["extra"] == {
        "name": "AI Coin",
        "version": "1",
        "assetTransferMethod": "eip3009",
        "receiverAuthorizer": to_hex(OPERATOR.address),
        "withdrawDelay": DELAY_SECONDS,
        "minDeposit": "10",
    }


async def test_a_stock_client_deposits_once_and_is_told_what_each_call_was_charged(
    chain: World, gateway: Running, escrow: Escrow, node: Node
) -> None:
    client, account = a_payer()
    async with x402HttpxClient(client, base_url=gateway.url, timeout=30) as http:
        for number in (1, 2):
            response = await http.post("/v1/chat/completions", json=BODY)
            assert response.status_code == 200, response.text
            told = accepted_by(response)
            assert (told["scheme"], told["payer"], told["amount"]) == (
                "batch-settlement",
                to_hex(party(account)),
                str(PRICE),
            )
            assert told["extra"]["channelState"]["chargedCumulativeAmount"] == str(number * PRICE)
            eventually(lambda: known(chain.engine, PRIVATE_LANE)[0].totals.claimed == PRICE)
        node.behaviour = streaming(5, (10, 5))
        streamed = await http.post("/v1/chat/completions", json={**BODY, "stream": True})
        assert streamed.text.rstrip().endswith("data: [DONE]")
        told = accepted_by(streamed)
        assert ("amount" in told, told["extra"]) == (False, {"chargedAmount": str(PRICE)}), "the most"
    assert [one.receipt.charge for one in chain.receipts_of(ADVANCER.address)] == [PRICE] * 3
    eventually(lambda: known(chain.engine, PRIVATE_LANE)[0].totals.held == 0)  # noted after the stream has ended
    [one] = known(chain.engine, PRIVATE_LANE)
    assert (one.totals.charged, one.totals.held, one.totals.voucher) == (3 * PRICE, 0, 3 * PRICE)
    assert escrow.held[one.id].balance == 100 * PRICE
    assert escrow.paid[WALLET] == one.totals.claimed == PRICE, "the others are not worth a claim yet"


async def test_a_voucher_that_was_used_opens_nothing(chain: World, gateway: Running, node: Node) -> None:
    header = await signature(gateway, a_payer()[0])
    assert call(gateway, header).status_code == 200
    gateway.gateway.failures = failures = Rates(3, seconds=10**9)
    refused = call(gateway, header, max_tokens=20)
    assert code_of(refused) == (402, "voucher_too_low")
    assert failures.left("127.0.0.1") == 3, "a deposit stands behind it: it is no wrong credential"
    required = json.loads(base64.b64decode(refused.headers["payment-required"]))
    assert required["error"] == "invalid_batch_settlement_evm_cumulative_amount_mismatch"
    [way] = required["accepts"]
    assert way["extra"]["channelState"]["chargedCumulativeAmount"] == str(PRICE)
    assert way["extra"]["voucherState"]["signedMaxClaimable"] == str(PRICE)
    assert len(node.asked) == 1


async def test_a_call_that_is_not_charged_frees_what_was_held_for_it(
    chain: World, gateway: Running, node: Node
) -> None:
    serve, node.behaviour = node.behaviour, answering({"error": {"message": "busy"}}, 429)
    header = await signature(gateway, a_payer()[0])
    assert code_of(call(gateway, header)) == (429, "node_busy")
    assert [one.totals.promised for one in known(chain.engine, PRIVATE_LANE)] == [0]
    node.behaviour = serve
    assert call(gateway, header).status_code == 200, "the same voucher pays for it"


async def test_with_an_identifier_a_call_is_made_and_charged_once(chain: World, gateway: Running) -> None:
    named = {"payment-identifier": {"info": {"id": "0123456789abcdef"}}}
    header = changed_in(await signature(gateway, a_payer()[0]), "", extensions=named)
    answers = [call(gateway, header) for _ in range(2)]
    assert [one.status_code for one in answers] == [200, 200]
    assert answers[0].content == answers[1].content
    assert len(chain.receipts_of(ADVANCER.address)) == 1


AUTHORIZATION = "deposit.authorization.erc3009Authorization"
WORTH_NOTHING: list[tuple[str, dict[str, Any], int, str]] = [
    ("voucher", {"signature": "0x" + "11" * 65}, 402, "not signed by its channel's payerAuthorizer"),
    ("voucher", {"maxClaimableAmount": "116"}, 402, "not signed by its channel's payerAuthorizer"),
    ("voucher", {"maxClaimableAmount": str(2**63)}, 400, "not an x402 v2 payment"),
    ("voucher", {"channelId": "0x" + "11" * 32}, 400, "not of the channel that stands beside it"),
    ("channelConfig", {"salt": "0x" + "11" * 32}, 400, "not of the channel that stands beside it"),
    ("channelConfig", {"withdrawDelay": "86400"}, 400, "withdrawDelay is a number of seconds"),
    ("deposit", {"amount": "9"}, 402, "the deposit is of 9 atoms, and the least is 10"),
    ("deposit", {"amount": "11501"}, 402, "the deposit is not signed by its channel's payer"),
    (AUTHORIZATION, {"validBefore": "5"}, 402, "the deposit is valid from 0 until 5"),
    (AUTHORIZATION, {"validAfter": "9" * 18}, 402, "the deposit is valid from 9"),
    ("deposit.authorization", {"erc3009Authorization": None}, 400, "not an x402 v2 payment"),
    ("", {"type": "refund"}, 400, "what is left its payer withdraws from the contract"),
    ("", {"channelConfig": {}}, 400, "not an x402 v2 payment"),
]
OTHER_CHANNELS: list[tuple[dict[str, Any], str]] = [
    ({"pay_to": to_hex(OPERATOR.address)}, "not in the token, to the receiver"),
    ({"receiverAuthorizer": to_hex(WALLET)}, "not in the token, to the receiver"),
    ({"withdrawDelay": 900}, "the channel's withdrawDelay is 900 s, and has to be 86400 s at least"),
]


async def test_a_payment_that_is_worth_nothing_is_refused_in_words_and_stores_nothing(
    chain: World, gateway: Running, node: Node
) -> None:
    header = await signature(gateway, a_payer()[0])
    for part, fields, status, said in WORTH_NOTHING:
        refused = call(gateway, changed(header, part, **fields))
        assert (refused.status_code, said in message_of(refused)) == (status, True), (fields, refused.text)
    for other, said in OTHER_CHANNELS:
        refused = call(gateway, await signature(gateway, a_payer()[0], **other))
        assert (refused.status_code, said in message_of(refused)) == (402, True), refused.text
    assert (known(chain.engine, PRIVATE_LANE), node.asked) == ([], [])


def naming(header: dict[str, str], payer: LocalAccount, signer: LocalAccount) -> dict[str, str]:
    """A voucher of a channel that names a payer, and a signer of its vouchers who need not be asked by that payer."""
    payload = json.loads(base64.b64decode(header["PAYMENT-SIGNATURE"]))["payload"]
    named = {"payer": payer.address, "payerAuthorizer": signer.address}
    one = a_config(
        [
            *(
                {**payload["channelConfig"], **named}[name]
                for name in ("payer", "payerAuthorizer", "receiver", "receiverAuthorizer", "token", "withdrawDelay")
            ),
            bytes(32),
        ]
    )
    config = named | {"salt": to_hex(one.salt)}
    signed = signer.unsafe_sign_hash(Hash32(voucher_digest(CHAIN, one.id(CHAIN), PRICE))).signature
    voucher = {"channelId": to_hex(one.id(CHAIN)), "maxClaimableAmount": str(PRICE), "signature": to_hex(signed)}
    header = changed(changed(header, "channelConfig", **config), "voucher", **voucher)
    return changed(header, "", type="voucher")


async def test_who_names_somebody_as_the_payer_of_a_channel_is_not_taken_for_that(gateway: Running) -> None:
    client, victim = a_payer()
    header, key = await signature(gateway, client), {"Idempotency-Key": "order-17"}
    assert call(gateway, header | key).status_code == 200
    _, stranger = a_payer()
    forged = naming(header, victim, stranger)
    assert code_of(call(gateway, forged | key))[0] == 402, "not the answer that was stored"


async def test_a_deposit_that_cannot_be_taken_is_said_why(chain: World, gateway: Running, escrow: Escrow) -> None:
    escrow.needs[CONTRACT] = 10**9
    refused = call(gateway, await signature(gateway, a_payer()[0]))
    assert code_of(refused) == (402, "payment_invalid")
    assert "it asks for too much gas" in message_of(refused)
    assert chain.receipts_of(ADVANCER.address) == []


async def test_no_call_is_made_for_who_leaves(chain: World, gateway: Running, escrow: Escrow) -> None:
    client, _ = a_payer()
    assert call(gateway, await signature(gateway, client)).status_code == 200
    [one] = known(chain.engine, PRIVATE_LANE)
    escrow.held[one.id] = Seen(100 * PRICE, PRICE, leaving=1)
    with unit_of_work(chain.engine) as session:
        session.execute(text("UPDATE channels SET checked_at = 0"))
    eventually(lambda: known(chain.engine, PRIVATE_LANE)[0].status is Status.leaving)
    refused = call(gateway, await signature(gateway, client))
    assert refused.status_code == 402
    assert "its payer asked for what the channel holds" in message_of(refused)


async def test_without_a_worker_a_call_waits_and_says_so(chain: World, tmp_path: Path, node: Node) -> None:
    gateway = offering(chain, tmp_path, payment_seconds=0.1)
    refused = call(gateway, await signature(gateway, a_payer()[0]))
    assert (code_of(refused), node.asked) == ((503, "payment_pending"), [])
    assert [one.status for one in known(chain.engine, PRIVATE_LANE)] == [Status.requested]


async def test_without_the_operators_consent_no_channel_is_read(chain: World, gateway: Running) -> None:
    header = await signature(gateway, a_payer()[0])
    silent = chain.gateway("gateway-2")
    assert call(silent, header).status_code == 400
    assert (list(ways(silent)), known(chain.engine, PRIVATE_LANE)) == (["exact"], [])


async def test_requests_of_a_channel_sign_again_one_by_one_and_nobody_holds_the_others_up() -> None:
    turns, begun = Turns(60.0), list[int]()
    channel = Digest(b"\x01" * 32)

    async def wait(number: int) -> None:
        await turns.take(channel)
        begun.append(number)

    waiting = [asyncio.create_task(wait(number)) for number in range(4)]
    await asyncio.sleep(0)
    assert begun == [0]
    waiting[1].cancel()
    for expected in ([0, 2], [0, 2, 3]):
        turns.end(channel)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert begun == expected
    turns.end(channel)
    turns = Turns(0.01)
    await wait(5)
    await asyncio.wait_for(wait(6), 30)
    assert begun == [0, 2, 3, 5, 6], "a turn ends by itself"
    turns.end(channel)
