"""MPP, HTTP's `Payment` scheme: an `evm` charge is the same token authorization as x402's, and pays for one call."""

from __future__ import annotations

import base64
import json
import os
import re
import time
from datetime import datetime
from typing import Any

import httpx
import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from gateway import bounds
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, to_hex
from tests.gateway.nodes import Node, streaming
from tests.gateway.test_x402 import BODY, MINED, PRICE, chain
from tests.gateway.world import CHAIN, TOKEN, Running, World

__all__ = ["chain"]
PATH = "/v1/chat/completions"
PARAMETER = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
OTHER_TOKEN = to_hex(Address(b"\x66" * 20))


def from_url64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def url64(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=").decode()


def challenge_in(unpaid: httpx.Response) -> dict[str, str]:
    """The parameters of a 402's challenge."""
    assert unpaid.status_code == 402
    scheme, _, parameters = unpaid.headers["www-authenticate"].partition(" ")
    assert scheme == "Payment"
    return dict(PARAMETER.findall(parameters))


def credential(
    challenge: dict[str, str], account: LocalAccount, name: str = "AI Coin", version: str = "1", **signed: Any
) -> dict[str, str]:
    """The header that answers a challenge, as a stock client makes it, but for what is `signed` otherwise."""
    request = json.loads(from_url64(challenge["request"]))
    message = {
        "from": account.address.lower(),
        "to": request["recipient"],
        "value": request["amount"],
        "validAfter": "0",
        "validBefore": str(int(datetime.fromisoformat(challenge["expires"]).timestamp())),
        "nonce": to_hex(keccak256((challenge["id"] + challenge["realm"]).encode())),
    } | signed
    domain = {
        "name": name,
        "version": version,
        "chainId": request["methodDetails"]["chainId"],
        "verifyingContract": request["currency"],
    }
    kinds = {"from": "address", "to": "address", "nonce": "bytes32"}
    types = {"TransferWithAuthorization": [{"name": one, "type": kinds.get(one, "uint256")} for one in message]}
    numbers = {one: int(value) for one, value in message.items() if one not in kinds}
    signature = account.sign_typed_data(domain, types, message | numbers).signature
    payload = {**message, "type": "authorization", "signature": to_hex(signature)}
    return {"Authorization": f"Payment {url64({'challenge': challenge, 'payload': payload})}"}


def changed(challenge: dict[str, str], account: LocalAccount, **payload: str) -> Any:
    """A credential in which somebody changed something after it was signed."""
    sent = json.loads(from_url64(credential(challenge, account)["Authorization"].partition(" ")[2]))
    return {**sent, "payload": {**sent["payload"], **payload}}


def ask(gateway: Running, headers: dict[str, str], **more: Any) -> httpx.Response:
    return gateway.http.post(PATH, json={**BODY, **more}, headers=headers)


def asked(gateway: Running) -> dict[str, str]:
    """A challenge for a call."""
    return challenge_in(gateway.http.post(PATH, json=BODY))


def an_account() -> tuple[LocalAccount, Address]:
    account: LocalAccount = Account.create()
    return account, Address(bytes.fromhex(account.address[2:]))


def test_one_402_says_every_way_to_pay(chain: World) -> None:
    gateway = chain.gateway()
    unpaid = gateway.http.post(PATH, json=BODY)
    challenge = challenge_in(unpaid)
    assert (challenge["method"], challenge["intent"]) == ("evm", "charge")
    assert challenge["realm"] == f"127.0.0.1:{gateway.port}"
    assert json.loads(from_url64(challenge["request"])) == {
        "amount": str(PRICE),
        "currency": to_hex(TOKEN),
        "methodDetails": {"chainId": CHAIN, "credentialTypes": ["authorization"], "decimals": 9},
        "recipient": to_hex(chain.lane),
    }
    assert 0 < datetime.fromisoformat(challenge["expires"]).timestamp() - time.time() < 600
    [by_x402] = json.loads(base64.b64decode(unpaid.headers["payment-required"]))["accepts"]
    assert (by_x402["scheme"], by_x402["amount"], by_x402["payTo"]) == ("exact", str(PRICE), to_hex(chain.lane))
    message = unpaid.json()["error"]["message"]
    assert all(word in message for word in ("x402", "MPP", "Bearer tw_", "Tollway-Voucher"))
    assert asked(gateway)["id"] != challenge["id"], "so that no two payments have the same nonce"


@pytest.mark.parametrize("streams", [False, True])
def test_a_charge_is_paid_served_and_told_by_a_receipt(chain: World, node: Node, streams: bool) -> None:
    if streams:
        node.behaviour = streaming(5, (10, 5))
    gateway = chain.gateway()
    account, payer = an_account()
    answer = ask(gateway, credential(asked(gateway), account), stream=streams)
    assert answer.status_code == 200, answer.text
    receipt = json.loads(from_url64(answer.headers["payment-receipt"]))
    assert (receipt["method"], receipt["status"], receipt["reference"]) == ("evm", "success", to_hex(MINED))
    assert "payment-response" not in answer.headers, "who pays by MPP reads no x402"
    [signed] = chain.receipts_of(payer)
    assert signed.receipt.charge == PRICE


def test_a_credential_pays_for_one_request_by_whichever_protocol_it_comes(chain: World, node: Node) -> None:
    gateway = chain.gateway()
    account, payer = an_account()
    headers = credential(asked(gateway), account)
    first, again = ask(gateway, headers), ask(gateway, headers)
    assert first.status_code == again.status_code == 200, first.text
    assert again.headers["tollway-receipt"] == first.headers["tollway-receipt"]
    assert ask(gateway, headers, max_tokens=49).status_code == 409
    named = ask(gateway, {**headers, "Idempotency-Key": "stolen"}, max_tokens=49)
    assert (named.status_code, named.json()["error"]["code"]) == (402, "payment_invalid")

    payload = json.loads(from_url64(headers["Authorization"].partition(" ")[2]))["payload"]
    unpaid = gateway.http.post(PATH, json=BODY)
    [accepted] = json.loads(base64.b64decode(unpaid.headers["payment-required"]))["accepts"]
    same = {"signature": payload.pop("signature"), "authorization": payload}
    moved = {"x402Version": 2, "accepted": accepted, "payload": same}
    by_x402 = {"PAYMENT-SIGNATURE": base64.b64encode(json.dumps(moved).encode()).decode(), "Idempotency-Key": "other"}
    stolen = ask(gateway, by_x402, max_tokens=49)
    assert (stolen.status_code, stolen.json()["error"]["code"]) == (402, "payment_invalid")
    assert len(chain.receipts_of(payer)) == len(node.asked) == 1


def test_a_host_that_is_no_name_gets_its_price(chain: World) -> None:
    gateway = chain.gateway()
    for host in ("[", 'a"b', "a\\", "caf\u00e9"):
        unpaid = gateway.http.post(PATH, json=BODY, headers={b"Host": host.encode("latin-1")})
        assert challenge_in(unpaid)["method"] == "evm", host


def test_credentials_that_are_worth_nothing_are_counted_by_address(chain: World) -> None:
    gateway = chain.gateway()
    gateway.gateway.failures = bounds.Rates(3)
    account, _ = an_account()
    worthless = credential(asked(gateway), account, to=OTHER_TOKEN)
    statuses = [ask(gateway, worthless).status_code for _ in range(6)]
    assert statuses[:3] == [402] * 3
    assert statuses[-1] == 429, "each costs a signature's check"


def test_forged_credentials_are_refused(chain: World, node: Node) -> None:
    gateway = chain.gateway()
    account, payer = an_account()
    good = asked(gateway)
    elsewhere = url64(json.loads(from_url64(good["request"])) | {"currency": OTHER_TOKEN})
    forged = {
        "nonce does not name": credential(good, account, nonce=to_hex(os.urandom(32))),
        "not to this lane": credential(good, account, to=OTHER_TOKEN),
        "not signed by its payer": credential(good, account, name="Another coin"),
        "may cost": credential(good, account, value=str(PRICE - 1)),
        "the chain's clock says": credential(good, account, validBefore=str(int(time.time()) + 5)),
        "valid from -1": {"Authorization": f"Payment {url64(changed(good, account, validAfter='-1'))}"},
        "method, intent, chain and token": credential({**good, "intent": "session"}, account),
        "chain and token asked for": credential({**good, "request": elsewhere}, account),
    }
    for why, headers in forged.items():
        answer = ask(gateway, headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (402, "payment_invalid"), why
        assert why in answer.json()["error"]["message"]
    for nonsense in ("Payment nonsense", "Payment e30", "payment " + url64({"challenge": good})):
        answer = ask(gateway, {"Authorization": nonsense})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_payment"), nonsense
    assert chain.receipts_of(payer) == []
    assert node.asked == []
