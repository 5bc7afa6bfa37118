"""A network that settles in USDC: a stock x402 client pays for a call in it, and the payees claim it to the atom."""

import base64
import json
from collections.abc import Iterator

import httpx
import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from x402 import x402Client
from x402.http.clients.httpx import x402HttpxClient
from x402.mechanisms.evm.exact import ExactEvmScheme

from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, address, to_hex
from roles.cli import context
from roles.cli.main import ask as run
from roles.cli.output import wait_until
from roles.local import actors, checks, network
from roles.wallet import keystore, transactions
from tests import book
from tests.gateway.agents import an_agent, paying
from tests.gateway.nodes import Asked, Wire, streaming
from tests.gateway.test_a2a import a_message, answers, the_client
from tests.gateway.test_mpp import challenge_in, credential, from_url64
from tests.gateway.test_x402 import accepted_by
from tests.journey.conftest import Person, settled_in
from tests.roles.model_servers import chats, paths, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
AHEAD = 900
"""Seconds, more than a payment is valid for by itself, by which the chain's clock is moved before the payment."""
TRANSFER = to_hex(keccak256(b"Transfer(address,address,uint256)"))
PAYEES = (*actors.PEOPLE, keystore.TREASURY)


@pytest.fixture(scope="module")
def dollars(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """A network of its own, that nobody has called yet; a server of the reader's answers as its dialogue model."""

    async def llama(asked: Asked, wire: Wire) -> None:
        listed = paths(chats("llama3.2"))
        await (listed if asked.path == "/v1/models" else streaming(5, (10, 5)))(asked, wire)

    with serving(llama) as server:
        readme = book.typed("README.md", "tollway up --upstream").with_({"http://127.0.0.1:11434": server.url})
        (_, _, *options) = readme.lines[0].split()
        with settled_in(tmp_path_factory.mktemp("usdc") / "home", "--token", "usdc", *options) as person:
            yield person
        assert any(asked.path == "/v1/chat/completions" for asked in server.asked), "it was asked"


@pytest.fixture(autouse=True)
def at_home(dollars: Person) -> Iterator[None]:
    """Commands run in this process, in the network's home."""
    with network.living_in(dollars.home):
        yield


def held() -> dict[str, int]:
    """What each payee has in its wallet, in atoms."""
    chain = transactions.chain(context.here())
    return {name: chain.balance(keystore.address_of(name)) for name in PAYEES}


def figures(which: str) -> dict[str, int]:
    return {name: int(checks.earned_by(name)[which]) for name in PAYEES}


def has_claimed_everything() -> bool:
    """Claim what has become final, and tell whether it is all."""
    network.advance(30)
    claimed = figures("claimed")
    for name, atoms in figures("earned").items():
        if atoms > claimed[name]:
            run(f"maker claim --wallet {name}")
    return figures("claimed") == figures("earned")


def a_wallet(account: LocalAccount) -> x402Client:
    """A stock x402 client that may pay in this network's token."""
    deployment = transactions.chain(context.here()).deployment
    chain_name, asset = f"eip155:{deployment.chain_id}", deployment.token
    client = x402Client()
    client.set_spend_controls(
        {"allowed_assets": [{"network": chain_name, "asset": asset, "max_amount_per_payment": "1000000"}]}
    )
    client.register(chain_name, ExactEvmScheme(account))  # type: ignore[arg-type]  # it wraps an account itself
    return client


def lasts(body: dict[str, object]) -> int:
    """How long a payment for a call is asked to be valid, in seconds."""
    unpaid = httpx.post(f"{context.here().url}/v1/chat/completions", json=body)
    [accepted] = json.loads(base64.b64decode(unpaid.headers["payment-required"]))["accepts"]
    return int(accepted["maxTimeoutSeconds"])


def moved_by(transaction: str) -> tuple[Address, int]:
    """Who paid, and how much, in the first transfer of a transaction."""
    chain = transactions.chain(context.here())
    mined = chain.rpc("eth_getTransactionReceipt", transaction)
    assert mined["status"] == "0x1"
    [transfer] = [log for log in mined["logs"] if log["topics"][0] == TRANSFER]
    return Address(bytes.fromhex(transfer["topics"][1][26:])), int(transfer["data"], 16)


def paid_in(response: httpx.Response) -> int:
    return int(accepted_by(response)["amount"])


async def test_a_stock_client_pays_in_usdc_and_its_payees_claim_it_to_the_atom() -> None:
    deployment = transactions.chain(context.here()).deployment
    assert (deployment.token_name, deployment.token_version, deployment.token_decimals) == ("USDC", "2", 6)
    account = Account.create()
    run(f"wallet faucet 1 --to {account.address}")

    client = a_wallet(account)
    body = {"model": actors.SERVICE, "messages": [{"role": "user", "content": "Where is my lamp?"}], "max_tokens": 32}
    run(f"local advance {AHEAD}")
    before = held()
    async with x402HttpxClient(client, base_url=context.here().url, timeout=120) as http:
        assert wait_until(lambda: lasts(body) > AHEAD, 60), "the gateway's payments go by the chain's clock"
        response = await http.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    charge = int(response.headers["tollway-charge"])
    assert charge > 0
    assert moved_by(accepted_by(response)["transaction"]) == (address(account.address.lower()), paid_in(response))

    assert wait_until(lambda: sum(figures("earned").values()) == charge, 60, 0.5), figures("earned")
    assert wait_until(has_claimed_everything, 300, 2), figures("claimed")
    earned, after = figures("earned"), held()
    assert {name: after[name] - before[name] for name in PAYEES} == earned
    assert sum(earned.values()) == charge
    payer = address(account.address.lower())
    spent = 10**6 - transactions.chain(context.here()).balance(payer)
    assert charge <= spent < 10**6, "the rest of what was paid is the payer's deposit"


def test_who_pays_by_mpp_is_told_the_transaction_that_moved_its_usdc() -> None:
    account, url = Account.create(), f"{context.here().url}/v1/chat/completions"
    run(f"wallet faucet 1 --to {account.address}")
    body = {"model": actors.SERVICE, "messages": [{"role": "user", "content": "Where is my lamp?"}], "max_tokens": 32}
    challenge = challenge_in(httpx.post(url, json=body))
    answer = httpx.post(url, json=body, headers=credential(challenge, account, "USDC", "2"), timeout=120)
    assert answer.status_code == 200, answer.text
    receipt = json.loads(from_url64(answer.headers["payment-receipt"]))
    asked = int(json.loads(from_url64(challenge["request"]))["amount"])
    assert moved_by(receipt["reference"]) == (address(account.address.lower()), asked)
    assert transactions.chain(context.here()).balance(address(account.address.lower())) == 10**6 - asked


async def test_agents_find_a_model_and_a_workflow_ask_for_a_price_and_pay_by_mcp_and_a2a() -> None:
    account, url = Account.create(), context.here().url
    run(f"wallet faucet 1 --to {account.address}")
    wallet = a_wallet(account)
    asked = {"messages": [{"role": "user", "content": "Where is my lamp?"}], "max_tokens": 16}
    charges = []
    async with an_agent(url) as agent:
        found = {row["model"] for row in (await agent.use("find_models"))["models"]}
        assert {actors.SERVICE, actors.DIALOG} <= found
        for name in (actors.SERVICE, actors.DIALOG):
            quote = await agent.use("quote", model=name, meters={"call": 1, "input_token": 200, "output_token": 16})
            answer = await paying(agent, wallet).call_tool("call", {"model": name, "input": asked})
            assert (answer.is_error, answer.payment_made) == (False, True), answer.content
            charges.append(json.loads(answer.content[0]["text"])["charge"])
            assert int(charges[-1]) <= int(quote["hold"])
    async with x402HttpxClient(wallet, timeout=120) as http:
        for streams, name in ((False, actors.SERVICE), (True, actors.DIALOG)):
            client = await the_client(url, http, streams=streams)
            *_, last = await answers(client, a_message(asked, model=name))
            said = last["statusUpdate"]["status"]["message"] if streams else last["message"]
            charges.append(said["metadata"]["tollway"]["charge"])
    payer = address(account.address.lower())
    paid = 10**6 - transactions.chain(context.here()).balance(payer)
    assert len(charges) == 4
    assert 0 < sum(map(int, charges)) <= paid, "the rest is the payer's deposit"


def test_amounts_are_said_in_usdc_and_another_token_is_refused(dollars: Person) -> None:
    assert "USDC" in run(f"wallet balance --wallet {actors.CONSUMER}")["holds"]
    with pytest.raises(Rejected, match="not an amount in USDC"):
        run(f"consumer deposit 1AIC --wallet {actors.CONSUMER}")
    assert "this network settles in usdc" in dollars.types("up", "--token", "aic").stderr
