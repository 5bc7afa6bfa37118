"""The Python client: it finds, quotes, calls by the stock client, pays by key or voucher, and checks receipts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.api.schemas.answers import Quote, Receipt
from ledger.core.values.errors import Conflict, Rejected, Unavailable
from ledger.core.values.typed_data import Signer
from roles.client.consumer import Consumer, read
from tests import book
from tests.gateway.nodes import Node
from tests.gateway.world import Running, World, a_signer

MODEL = "@acme/chat"


@pytest.fixture
def alice(world: World, gateway: Running, consumer: Signer) -> Consumer:
    """A consumer with a key."""
    world.deposit(consumer.address, 10**6)
    return Consumer(gateway.url, gateway.key(consumer))


def test_a_model_is_found_quoted_and_called_and_its_receipt_checked(alice: Consumer, node: Node) -> None:
    found = alice.discover("text-generation", meters={"call": 1})
    assert [(one.name, one.price) for one in found] == [(MODEL, 115)]
    quote = alice.quote(found[0].name, max_price=115)
    assert (quote.price, sum(line.amount for line in quote.lines)) == (115, 115)
    answer = alice.chat(found[0].name, "hi", max_price=quote.hold, max_tokens=50)
    assert answer.text == answer.completion.choices[0].message.content != ""
    receipt = alice.receipt(answer.receipt)
    assert (receipt.receipt.charge, receipt.receipt.price) == (answer.charge, 115)
    assert receipt.noted is not None
    assert receipt.noted.model == MODEL
    alice.check(receipt)
    assert node.asked[-1].json["messages"] == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("field", "value"), [("charge", 1), ("price", 116), ("units", {"call": 2}), ("lane", "0x" + "11" * 20)]
)
def test_a_receipt_that_says_something_else_is_found(alice: Consumer, field: str, value: Any) -> None:
    receipt = alice.receipt(alice.chat(MODEL, "hi").receipt)
    with pytest.raises(Conflict):
        alice.check(receipt.model_copy(update={"receipt": receipt.receipt.model_copy(update={field: value})}))


def test_terms_and_signatures_of_others_are_found(world: World, alice: Consumer, gateway: Running) -> None:
    first, second = (alice.receipt(alice.chat(MODEL, "hi").receipt) for _ in range(2))
    changes: list[dict[str, Any]] = [
        {"signature": second.signature},
        {"terms": first.terms.model_copy(update={"body": "0x"})},
        {"receipt": first.receipt.model_copy(update={"end": "unheard of"})},
    ]
    for changed in changes:
        with pytest.raises(Conflict):
            alice.check(first.model_copy(update=changed))
    stranger = Consumer(gateway.url, gateway.key(a_signer("stranger")))
    with pytest.raises(Rejected, match="no receipt"):
        stranger.receipt(first.id)


def test_each_call_is_paid_by_a_voucher_of_little_more_than_what_is_spent(
    world: World, gateway: Running, consumer: Signer
) -> None:
    world.deposit(consumer.address, 10**6)
    alice = Consumer(gateway.url, signer=consumer, most_a_call=200)
    charged = [alice.chat(MODEL, "hi").charge for _ in range(3)]
    assert charged == [115] * 3
    balance = alice.balance()
    assert (balance.spent, balance.voucher) == (345, 230 + 200)
    with pytest.raises(openai.APIStatusError) as refused:
        Consumer(gateway.url, signer=consumer, most_a_call=10).chat(MODEL, "hi")
    assert refused.value.status_code in (400, 402)


def test_threads_share_a_consumer(world: World, gateway: Running, consumer: Signer) -> None:
    world.deposit(consumer.address, 10**6)
    alice = Consumer(gateway.url, signer=consumer, most_a_call=2_000)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: alice.chat(MODEL, "hi"), range(8)))
    assert len({answer.receipt for answer in answers}) == 8
    assert alice.balance().spent == 8 * 115


def test_a_stream_of_the_stock_client_is_paid_the_same_way(world: World, gateway: Running, consumer: Signer) -> None:
    world.deposit(consumer.address, 10**6)
    alice = Consumer(gateway.url, signer=consumer, most_a_call=200)
    said: list[Any] = [{"role": "user", "content": "hi"}]
    stock, paid = alice.openai.chat.completions, alice.payment()
    for _ in range(2):
        whole = stock.create(model=MODEL, messages=said, extra_headers=paid)
        assert whole.choices[0].message.content
    assert alice.balance().spent == 115, "a call that is sent twice under one name is charged once"


def test_errors_are_in_the_gateways_words_and_name_the_remedy(gateway: Running, consumer: Signer) -> None:
    for key, signer in (("", None), ("tw-key", consumer)):
        with pytest.raises(Rejected, match="give one of them"):
            Consumer(gateway.url, key, signer=signer)
    with pytest.raises(Rejected, match="most_a_call"):
        Consumer(gateway.url, signer=consumer)
    with pytest.raises(Rejected, match="@acme/chat"):
        Consumer(gateway.url, gateway.key(consumer)).quote("@acme/chatt")
    with pytest.raises(Unavailable, match="tollway up"):
        Consumer("http://127.0.0.1:9", "tw-key").discover("text-generation")


@pytest.mark.parametrize("answer", [{}, [], {"price": "1.5"}, {"price": "9" * 30}, None, "text"])
def test_what_is_no_answer_is_the_gateways_fault(answer: object) -> None:
    for kind in (Quote, Receipt):
        with pytest.raises(Unavailable, match="is this a Tollway gateway"):
            read(kind, answer)


def test_the_readmes_ten_lines(
    world: World, gateway: Running, consumer: Signer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.deposit(consumer.address, 10**6)
    (tmp_path / "key").write_text(gateway.key(consumer) + "\n")
    code = book.typed("README.md", "from roles.client").with_({"http://127.0.0.1:PORT": gateway.url})
    exec(code.text, {"KEY_FILE": tmp_path / "key"})
    assert "for 115 atoms, quoted at 115" in capsys.readouterr().out
