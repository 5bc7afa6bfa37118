"""x402's `upto` at the gateway, with the stock client of PyPI: an account of the operator's advances what a permit
settles afterwards. The chain is one in memory: `tests/gateway/clients/test_permits.py` has the contracts.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from sqlalchemy import text
from x402 import x402Client
from x402.http.clients.httpx import x402HttpxClient
from x402.mechanisms.evm.upto import UptoEvmScheme

from gateway.catalog.catalog import ModelEntry
from gateway.errors import Refusal
from gateway.payment.advances import advance_of
from gateway.payment.billing import Billing
from gateway.payment.permits import LONGEST_SECONDS, SLACK_SECONDS
from gateway.settings import Settings
from ledger.core.accounts.permits import PERMIT2, PROXY, SETTLE_SECONDS
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import PRIVATE_LANE, Digest, to_hex
from ledger.store.session import unit_of_work
from tests.gateway.nodes import Node, answering, streaming
from tests.gateway.test_who_pays import eventually
from tests.gateway.test_x402 import accepted_by
from tests.gateway.upto import (
    ADVANCER,
    BODY,
    PRICE,
    WALLET,
    Tokens,
    a_key,
    a_payer,
    a_worker,
    altered,
    call,
    consent,
    look,
    offering,
    party,
    signature,
    stored,
)
from tests.gateway.world import CHAIN, OPERATOR, TOKEN, Running, World

CALL_SECONDS = 600
NEEDED = CALL_SECONDS + SETTLE_SECONDS


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
def gateway(chain: World, tokens: Tokens, tmp_path: Path) -> Iterator[Running]:
    """A gateway that offers `upto`, with a worker."""
    made = offering(chain, tmp_path)
    with a_worker(chain, tokens):
        yield made


def ways(gateway: Running, **more: Any) -> dict[str, dict[str, Any]]:
    """The ways to pay that a 402 lists, by their schemes."""
    unpaid = gateway.http.post("/v1/chat/completions", json={**BODY, **more})
    assert unpaid.status_code == 402
    accepts = json.loads(base64.b64decode(unpaid.headers["payment-required"]))["accepts"]
    return {one["scheme"]: one for one in accepts}


def code_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def message_of(response: httpx.Response) -> str:
    return str(response.json()["error"]["message"])


async def test_a_stock_client_is_served_first_and_owes_what_it_was_charged(
    chain: World, gateway: Running, node: Node
) -> None:
    client, account = a_payer()
    async with x402HttpxClient(client, base_url=gateway.url, timeout=30) as http:
        response = await http.post("/v1/chat/completions", json=BODY)
    assert response.status_code == 200, response.text
    expected = {"success": True, "payer": to_hex(party(account)), "network": f"eip155:{CHAIN}", "scheme": "upto"}
    assert accepted_by(response) == {**expected, "amount": str(PRICE), "transaction": ""}
    assert [one.receipt.charge for one in chain.receipts_of(ADVANCER.address)] == [PRICE]
    assert chain.receipts_of(party(account)) == [], "the payer has no deposit"
    eventually(lambda: stored(chain) == [("owed", PRICE)])

    node.behaviour = streaming(5, (10, 5))
    async with x402HttpxClient(client, base_url=gateway.url, timeout=30) as http:
        streamed = await http.post("/v1/chat/completions", json={**BODY, "stream": True})
    assert streamed.text.rstrip().endswith("data: [DONE]")
    assert accepted_by(streamed) == {**expected, "transaction": ""}, "its last events say what it was charged"
    eventually(lambda: stored(chain) == [("owed", PRICE)] * 2)


def test_one_402_lists_every_way_to_pay(gateway: Running) -> None:
    offered = ways(gateway)
    assert list(offered) == ["exact", "upto", "batch-settlement"], "a client that knows both takes the first"
    upto = offered["upto"]
    assert (upto["payTo"], upto["amount"], upto["asset"]) == (to_hex(WALLET), str(PRICE), to_hex(TOKEN))
    assert upto["extra"] == {"name": "AI Coin", "version": "1", "facilitatorAddress": to_hex(OPERATOR.address)}
    assert upto["maxTimeoutSeconds"] == NEEDED + SLACK_SECONDS
    assert "assetTransferMethod" in offered["exact"]["extra"]


async def test_without_the_operators_consent_no_402_names_it_and_no_permit_is_read(
    chain: World, tokens: Tokens, tmp_path: Path, node: Node
) -> None:
    offers = offering(chain, tmp_path)
    header = await signature(offers, a_payer()[0])
    silent = chain.gateway("gateway-2")
    assert list(ways(silent)) == ["exact"]
    with a_worker(chain, tokens):
        refused = call(silent, header)
    assert (refused.status_code, stored(chain), node.asked) == (400, [], [])


@pytest.mark.parametrize(
    ("said", "settings"),
    [
        ("needs both GATEWAY_UPTO_KEY_FILE and GATEWAY_UPTO_PAY_TO", {"upto_pay_to": to_hex(WALLET)}),
        ("needs both GATEWAY_UPTO_KEY_FILE and GATEWAY_UPTO_PAY_TO", {"upto_key_file": "good"}),
        ("GATEWAY_UPTO_KEY_FILE cannot be read", {"upto_key_file": "none", "upto_pay_to": to_hex(WALLET)}),
        ("holds no API key", {"upto_key_file": "other", "upto_pay_to": to_hex(WALLET)}),
        ("what is paid to a lane this way is nobody's", {"upto_key_file": "good", "upto_pay_to": to_hex(PRIVATE_LANE)}),
        ("not an address", {"upto_key_file": "good", "upto_pay_to": "0x12"}),
    ],
)
def test_half_a_consent_is_none(tmp_path: Path, settings: dict[str, str], said: str) -> None:
    (tmp_path / "good").write_text("tw_" + "0" * 40)
    (tmp_path / "other").write_text("0x" + "11" * 32)
    chosen = {name: str(tmp_path / one) if name == "upto_key_file" else one for name, one in settings.items()}
    with pytest.raises(Rejected, match=said):
        advance_of(Settings.model_validate(chosen), PRIVATE_LANE, OPERATOR.address)


def test_a_gateway_does_not_start_by_a_key_that_nothing_bounds(chain: World, tmp_path: Path) -> None:
    keys = chain.gateway("gateway-0")
    chain.deposit(ADVANCER.address, 100)
    of_a_model = {"amount": "1000", "period": "day", "model": "@acme/chat"}
    endless, narrow = keys.key(ADVANCER, 10, budget="1000"), keys.key(ADVANCER, 11, budgets=[of_a_model])
    for number, key in enumerate((endless, narrow, "tw_" + "0" * 40), start=1):
        file = tmp_path / "upto.key"
        file.write_text(key)
        settings = Settings.model_validate(
            {
                "signing_key": to_hex(keccak256(b"gateway %d" % number)),
                "upto_key_file": file,
                "upto_pay_to": to_hex(WALLET),
            }
        )
        starting = Running(chain, settings).app.running
        with pytest.raises(Rejected, match=r"GATEWAY_UPTO_KEY_FILE is not good, or has no budget a day"):
            asyncio.run(starting.start())


async def test_a_permit_pays_for_one_request(chain: World, gateway: Running, node: Node) -> None:
    header = await signature(gateway, a_payer()[0])
    first, again = call(gateway, header), call(gateway, header)
    assert first.status_code == again.status_code == 200, first.text
    assert again.headers["tollway-receipt"] == first.headers["tollway-receipt"]
    assert accepted_by(again) == accepted_by(first)
    other = {"messages": [{"role": "user", "content": "another"}]}
    assert call(gateway, header, **other).status_code == 409
    for more in ({"Idempotency-Key": "stolen"}, {"Idempotency-Key": "again"}):
        moved = gateway.http.post("/v1/chat/completions", json=BODY, headers={**header, **more})
        assert code_of(moved) == (402, "payment_invalid")
    assert len(node.asked) == 1
    eventually(lambda: stored(chain) == [("owed", PRICE)])


async def test_a_permit_pays_once_at_two_gateways(chain: World, gateway: Running, tmp_path: Path, node: Node) -> None:
    other = chain.gateway("gateway-2", **consent(tmp_path / "upto.key"))
    header = await signature(gateway, a_payer()[0])
    assert call(gateway, header).status_code == 200
    again = call(other, header)
    assert code_of(again) == (409, "answer_not_kept")
    assert again.json()["error"]["charge"] == str(PRICE)
    assert len(node.asked) == 1


async def test_the_worker_says_why_a_permit_is_worth_nothing(
    chain: World, gateway: Running, tokens: Tokens, node: Node
) -> None:
    client, account = a_payer()
    payer, header = party(account), await signature(gateway, client)
    nonce = int(json.loads(base64.b64decode(header["PAYMENT-SIGNATURE"]))["payload"]["permit2Authorization"]["nonce"])

    def why() -> str:
        response = call(gateway, header)
        assert code_of(response) == (402, "payment_invalid")
        return message_of(response)

    tokens.balances[payer] = PRICE - 1
    assert f"its account has {PRICE - 1} atoms, the permit is of {PRICE}" in why()
    tokens.balances[payer], tokens.allowances[payer] = PRICE, PRICE - 1
    assert f"approve {to_hex(PERMIT2)} on the token {to_hex(TOKEN)} once" in why()
    tokens.allowances[payer] = PRICE
    tokens.used.add((payer, nonce))
    assert "nonce was used" in why()
    tokens.used.clear()
    tokens.reverts = True
    assert "could not be settled: it reverts" in why()
    tokens.reverts, tokens.deployed = False, False
    assert "there is no Permit2" in why()
    tokens.deployed, tokens.ahead = True, SLACK_SECONDS + CALL_SECONDS + 5
    assert "settling it needs" in why()
    tokens.ahead = 0
    assert node.asked == []
    assert call(gateway, header).status_code == 200, "what is mended is good"


async def test_permits_of_one_payer_count_together(
    chain: World, gateway: Running, tokens: Tokens, node: Node, tmp_path: Path
) -> None:
    quick = chain.gateway("gateway-2", **consent(tmp_path / "upto.key"), payment_seconds=0.5)
    client, account = a_payer()
    tokens.balances[party(account)] = 2 * PRICE - 1
    first, second = [await signature(quick, client) for _ in range(2)]
    assert call(gateway, first).status_code == 200
    waits = call(quick, second)
    assert code_of(waits) == (503, "payment_pending")
    assert len(node.asked) == 1
    tokens.balances[party(account)] = 2 * PRICE
    assert call(gateway, second).status_code == 200
    eventually(lambda: stored(chain) == [("owed", PRICE)] * 2)


async def test_who_owes_what_could_not_be_settled_is_refused_until_it_is(
    chain: World, gateway: Running, tokens: Tokens
) -> None:
    client, account = a_payer()
    assert call(gateway, await signature(gateway, client)).status_code == 200
    eventually(lambda: stored(chain) == [("owed", PRICE)])
    with unit_of_work(chain.engine) as session:
        session.execute(text("UPDATE permits SET error = 'InvalidNonce'"))
    refused = call(gateway, await signature(gateway, client))
    assert code_of(refused) == (402, "payment_invalid")
    said = f"{PRICE} atoms that {to_hex(party(account))} used could not be settled: pay by `exact`"
    assert said in message_of(refused)
    with unit_of_work(chain.engine) as session:
        session.execute(text("UPDATE permits SET status = 'settled' WHERE charged IS NOT NULL"))
    assert call(gateway, await signature(gateway, client)).status_code == 200


def allow(client: x402Client, account: LocalAccount, *tokens: tuple[str, str]) -> None:
    """Have a client pay in these tokens, each of a network."""
    allowed: Any = [
        {"network": network, "asset": asset, "max_amount_per_payment": "1000000"} for network, asset in tokens
    ]
    client.set_spend_controls({"allowed_assets": allowed})
    for network in {network for network, _ in tokens} - {f"eip155:{CHAIN}"}:
        client.register(network, UptoEvmScheme(account))  # type: ignore[arg-type]  # it wraps an account itself


async def test_forged_and_foreign_permits_are_refused_before_anything_is_stored(
    chain: World, gateway: Running, node: Node
) -> None:
    client, account = a_payer()
    now, other = int(time.time()), "0x" + "99" * 20
    allow(client, account, ("eip155:1", to_hex(TOKEN)), (f"eip155:{CHAIN}", other), (f"eip155:{CHAIN}", to_hex(TOKEN)))
    witness = {"to": to_hex(WALLET), "facilitator": to_hex(OPERATOR.address), "validAfter": "0"}
    header = await signature(gateway, client)
    altered_ones = [
        altered(header, spender=other),
        altered(header, spender=to_hex(PERMIT2)),
        altered(header, permitted={"token": other, "amount": str(PRICE)}),
        altered(header, permitted={"token": to_hex(TOKEN), "amount": str(10 * PRICE)}),
        altered(header, witness={**witness, "to": other}),
        altered(header, witness={**witness, "facilitator": other}),
        altered(header, witness={**witness, "validAfter": str(now + 60)}),
        altered(header, **{"from": Account.create().address}),
        altered(header, nonce="1"),
        await signature(gateway, client, pay_to=other),
        await signature(gateway, client, network="eip155:1"),
        await signature(gateway, client, asset=other),
        await signature(gateway, client, extra={"facilitatorAddress": other}),
    ]
    for one in altered_ones:
        assert code_of(call(gateway, one)) == (402, "payment_invalid")
    malformed = [
        altered(header, nonce="9" * 79),
        altered(header, nonce=str(2**256)),
        altered(header, nonce=5),
        altered(header, deadline="soon"),
        altered(header, deadline="-1"),
        altered(header, permitted={"token": to_hex(TOKEN), "amount": str(2**63)}),
        altered(header, witness=None),
        altered(header, spender="0x12"),
    ]
    for one in malformed:
        assert code_of(call(gateway, one)) == (400, "invalid_payment")
    assert (stored(chain), node.asked) == ([], [])
    assert to_hex(PROXY) in message_of(call(gateway, altered_ones[0]))


async def test_a_deadline_outlasts_the_longest_call_and_no_more_than_a_bound(chain: World, gateway: Running) -> None:
    client, _ = a_payer()
    soon = await signature(gateway, client, max_timeout_seconds=NEEDED)
    late = await signature(gateway, client, max_timeout_seconds=NEEDED + SLACK_SECONDS + LONGEST_SECONDS + 60)
    for one in (soon, late):
        refused = call(gateway, one)
        assert code_of(refused) == (402, "payment_invalid")
        assert "a deadline is between" in message_of(refused)
    assert stored(chain) == []
    fits = await signature(gateway, client, max_timeout_seconds=NEEDED + 60)
    assert call(gateway, fits).status_code == 200


async def test_a_call_may_cost_at_most_what_was_permitted(chain: World, gateway: Running, node: Node) -> None:
    client, _ = a_payer()
    cheap = await signature(gateway, client, amount=str(PRICE - 1))
    refused = call(gateway, cheap)
    assert code_of(refused) == (402, "above_max_price")
    assert (stored(chain), node.asked) == ([], [])
    more = await signature(gateway, client, amount=str(3 * PRICE))
    served = call(gateway, more)
    assert (served.status_code, accepted_by(served)["amount"]) == (200, str(PRICE))
    eventually(lambda: stored(chain) == [("owed", PRICE)])


async def test_what_costs_less_than_settling_it_is_not_offered_nor_permitted(
    chain: World, tokens: Tokens, tmp_path: Path, node: Node
) -> None:
    file = a_key(chain, chain.gateway("gateway-0"), tmp_path)
    dear, fair = (chain.gateway(f"gateway-{least}", **consent(file, least)) for least in (PRICE + 1, PRICE))
    header = await signature(fair, a_payer()[0])
    assert [list(ways(one)) for one in (dear, fair)] == [
        ["exact", "batch-settlement"],
        ["exact", "upto", "batch-settlement"],
    ]
    with a_worker(chain, tokens):
        refused = call(dear, header)
        assert code_of(refused) == (402, "payment_invalid")
        assert f"the permit is of {PRICE} atoms, settling it costs {PRICE + 1}: pay by `exact`" in message_of(refused)
        assert (stored(chain), node.asked) == ([], [])
        assert call(fair, header).status_code == 200
        more = await signature(fair, a_payer()[0], amount=str(3 * PRICE))
        assert call(dear, more).status_code == 200
        eventually(lambda: stored(chain) == [("owed", PRICE), ("settled", PRICE)])


async def test_no_more_is_held_for_a_call_than_its_payer_permits(chain: World, gateway: Running) -> None:
    leases = gateway.gateway.leases
    billing = Billing(Digest(bytes(32)), ADVANCER.address, WALLET, chain.lane, 1, "@acme/chat", b"", 1, most=PRICE)

    async def held(amount: int, before: int = 0) -> int:
        hold = await billing.hold(leases, amount, before)
        hold.release()
        return hold.amount

    assert await held(PRICE) == await held(1, PRICE - 1) + PRICE - 1 == PRICE
    for amount, before in ((PRICE + 1, 0), (1, PRICE)):
        with pytest.raises(Refusal, match=f"its payer permits {PRICE}"):
            await held(amount, before)


async def test_a_call_that_fails_settles_nothing_and_its_permit_can_be_sent_again(
    chain: World, gateway: Running, node: Node, tokens: Tokens
) -> None:
    serve, node.behaviour = node.behaviour, answering({"error": {"message": "busy"}}, 429)
    client, account = a_payer()
    header = await signature(gateway, client)
    tokens.balances[party(account)] = PRICE
    assert code_of(call(gateway, header)) == (429, "node_busy")
    assert stored(chain) == [("released", None)]
    assert chain.receipts_of(ADVANCER.address) == []
    node.behaviour = serve
    assert call(gateway, await signature(gateway, client)).status_code == 200, "what is released counts no more"
    eventually(lambda: stored(chain) == [("released", None), ("owed", PRICE)])
    tokens.balances[party(account)] = 2 * PRICE
    assert call(gateway, header).status_code == 200
    eventually(lambda: stored(chain) == [("owed", PRICE)] * 2)


async def test_of_an_aborted_stream_what_was_charged_is_owed(chain: World, gateway: Running, node: Node) -> None:
    node.behaviour = streaming(1_000, (10, 50), pause=0.02)
    header = await signature(gateway, a_payer()[0])
    with gateway.http.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}, headers=header) as answer:
        next(answer.iter_bytes())
    eventually(lambda: len(chain.receipts_of(ADVANCER.address)) == 1)
    [receipt] = chain.receipts_of(ADVANCER.address)
    eventually(lambda: stored(chain) == [("owed", receipt.receipt.charge)])


async def test_the_keys_budget_a_day_bounds_what_is_advanced(chain: World, tokens: Tokens, tmp_path: Path) -> None:
    limits = {"budgets": [{"amount": str(2 * PRICE), "period": "day"}]}
    file = a_key(chain, chain.gateway("gateway-0"), tmp_path, **limits)
    gateway = chain.gateway("gateway-1", **consent(file))
    with a_worker(chain, tokens):
        answers = [call(gateway, await signature(gateway, a_payer()[0])) for _ in range(3)]
    assert [one.status_code for one in answers] == [200, 200, 503], "each is another payer, which costs nothing"
    assert code_of(answers[2]) == (503, "upto_unavailable")
    assert set(answers[2].json()["error"]) <= {"message", "type", "param", "code", "request_id"}, "no fact of the key"


async def test_a_permit_is_stored_with_its_call_before_any_work(
    chain: World, tmp_path: Path, node: Node, tokens: Tokens
) -> None:
    gateway = offering(chain, tmp_path, payment_seconds=0.3)
    header = await signature(gateway, a_payer()[0])
    assert code_of(call(gateway, header)) == (503, "payment_pending"), "there is no worker"
    assert (stored(chain), node.asked) == ([], []), "nobody waits for it"
    look(chain, tokens)
    with a_worker(chain, tokens):
        eventually(lambda: call(gateway, header).status_code == 200)
    assert len(node.asked) == 1


async def test_who_waits_for_a_permit_takes_no_place_of_a_payment(chain: World, tmp_path: Path, tokens: Tokens) -> None:
    gateway = offering(chain, tmp_path)
    header = await signature(gateway, a_payer()[0])
    waiting = asyncio.create_task(asyncio.to_thread(call, gateway, header))
    await asyncio.to_thread(eventually, lambda: stored(chain) == [("requested", None)])
    await asyncio.to_thread(eventually, lambda: len(list(gateway.gateway.permitted)) == 1)
    assert list(gateway.gateway.payments) == []
    with a_worker(chain, tokens):
        assert (await waiting).status_code == 200


async def test_who_asked_and_not_who_advanced_marks_a_node_that_failed(
    chain: World, gateway: Running, node: Node
) -> None:
    node.behaviour = answering({"error": {"message": "broken"}}, 500)
    client, account = a_payer()
    assert call(gateway, await signature(gateway, client)).status_code >= 500
    entry = gateway.gateway.catalog.find("@acme/chat")
    assert isinstance(entry, ModelEntry)
    [candidate] = entry.candidates
    assert [*candidate.health.marks] == [party(account)]


async def test_another_permit_pays_for_a_call_whose_first_one_is_done_with(
    chain: World, gateway: Running, node: Node
) -> None:
    serve, node.behaviour = node.behaviour, answering({"error": {"message": "busy"}}, 429)
    client, _ = a_payer()
    named = {"Idempotency-Key": "the same call"}
    first, second = [{**await signature(gateway, client), **named} for _ in range(2)]
    assert code_of(call(gateway, first)) == (429, "node_busy")
    node.behaviour = serve
    assert call(gateway, second).status_code == 200
    eventually(lambda: stored(chain) == [("owed", PRICE)])


def test_a_key_for_some_models_offers_those_alone(chain: World, node: Node, tmp_path: Path) -> None:
    chain.a_model_at(node.url, "@acme/other")
    limits = {"budgets": [{"amount": str(10**6), "period": "day"}], "models": ["@acme/other"]}
    file = a_key(chain, chain.gateway("gateway-0"), tmp_path, **limits)
    gateway = chain.gateway("gateway-1", **consent(file))
    assert list(ways(gateway)) == ["exact"]
    assert list(ways(gateway, model="@acme/other")) == ["exact", "upto", "batch-settlement"]


def test_no_secret_is_shown_by_the_gateways_own_values(tmp_path: Path) -> None:
    (tmp_path / "upto.key").write_text("tw_" + "0" * 40)
    chosen = {"upto_key_file": str(tmp_path / "upto.key"), "upto_pay_to": to_hex(WALLET)}
    advance = advance_of(Settings.model_validate(chosen), PRIVATE_LANE, OPERATOR.address)
    assert advance is not None
    assert b"tw_" in advance.header
    assert "tw_" not in repr(advance)
