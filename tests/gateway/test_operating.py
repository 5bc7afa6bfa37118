"""Running a gateway: backpressure, the book at an epoch's end, counting with the model's own tokenizer."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway.catalog.catalog import ModelEntry
from gateway.clock import now_ms
from ledger.core.catalog.bids import Bid, Role
from ledger.core.pricing.epochs import BidInForce
from ledger.core.values.ids import Digest, cid
from ledger.core.values.meters import rates
from ledger.core.values.typed_data import Signer
from ledger.store.chain import bids
from ledger.store.session import unit_of_work
from tests.gateway.nodes import Node, answering, chat, hanging, streaming
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import EPOCH_SECONDS, PROVIDER, World, epoch_now

BY_BYTE = {"byte": "1000000000"}
"""One atom a byte."""


def test_a_full_gateway_says_when_to_come_back(world: World, node: Node, consumer: Signer) -> None:
    world.a_model_at(node.url)
    world.deposit(consumer.address, 10_000)
    gateway = world.gateway(max_open_calls=1)
    key = gateway.key(consumer)
    node.behaviour = hanging
    waiting = threading.Thread(target=gateway.chat, args=(key,))
    waiting.start()
    eventually(lambda: gateway.gateway.open_calls == 1)
    refused = gateway.chat(key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    waiting.join(20)
    node.behaviour = answering()
    assert gateway.chat(key).status_code == 200


def test_at_an_epochs_end_the_next_book_is_in_force_without_a_restart(
    world: World, node: Node, consumer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = world.a_model_at(node.url)
    world.deposit(consumer.address, 10_000)
    _bid_from(world, subject, epoch_now() + 1, "300")
    gateway = world.gateway()
    key = gateway.key(consumer)
    gateway.chat(key)
    monkeypatch.setattr("gateway.lifespan.now_ms", lambda: now_ms() + EPOCH_SECONDS * 1000)
    epoch = gateway.gateway.catalog.epoch
    eventually(lambda: gateway.gateway.catalog.epoch == epoch + 1)
    gateway.chat(key)
    later, before = (one.receipt for one in world.receipts_of(consumer.address))
    assert (before.epoch, later.epoch) == (epoch, epoch + 1)
    assert later.price > 2.9 * before.price


def test_with_the_models_tokenizer_a_claim_above_our_count_is_billed_at_our_count(
    world: World, node: Node, consumer: Signer, tmp_path: Path
) -> None:
    subject = world.a_model_at(node.url, ask={"output_token": "1000000"})
    words_of(subject, tmp_path)
    world.deposit(consumer.address, 100_000)
    gateway = world.gateway(tokenizers=tmp_path)
    key = gateway.key(consumer)
    node.behaviour = answering(chat("one two three", 10, 3))
    gateway.chat(key)
    entry = gateway.gateway.catalog.by_id[subject]
    assert isinstance(entry, ModelEntry)
    [candidate] = entry.candidates
    honest = candidate.health.quality_ppm
    node.behaviour = answering(chat("one two three", 10, 40))
    gateway.chat(key)
    node.behaviour = streaming(5, (10, 49))
    assert "[DONE]" in gateway.chat(key, stream=True).text
    billed = [one.receipt.units.output_token for one in world.receipts_of(consumer.address)]
    assert billed == [5, 3, 3]
    assert candidate.health.quality_ppm < honest


def test_a_text_is_not_counted_far_beyond_what_is_paid_for(
    world: World, node: Node, consumer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 MiB for a call of one token took the thread that all answers are counted in 7 s."""
    subject = world.a_model_at(node.url, ask={"output_token": "1000000"})
    words_of(subject, tmp_path)
    world.deposit(consumer.address, 100_000)
    gateway = world.gateway(tokenizers=tmp_path)
    counted: list[int] = []

    def count(tokenizer: Any, text: str) -> int:
        counted.append(len(text))
        return len(tokenizer.encode_batch_fast([text], add_special_tokens=False)[0])

    monkeypatch.setattr("gateway.metering.usage._tokens_in", count)
    node.behaviour = answering(chat("one " * 2**20, 10, 2**20))
    answer = gateway.chat(gateway.key(consumer), max_tokens=5).json()
    assert counted == [65_536]
    [choice] = answer["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"].split() == ["one"] * 5
    assert world.receipts_of(consumer.address)[0].receipt.units.output_token == 5


def test_what_costs_by_the_byte_is_bounded_by_the_longest_answer_we_take(
    world: World, node: Node, consumer: Signer
) -> None:
    world.a_model_at(node.url, ask=BY_BYTE, meters=["call", "byte"])
    world.deposit(consumer.address, 100_000)
    gateway = world.gateway(metered_answer_bytes=2000)
    key = gateway.key(consumer)
    refused = gateway.chat(key, header_tollway_max_price=100)
    assert refused.json()["error"]["code"] == "above_max_price"
    most = int(refused.json()["error"]["required"])
    assert 2000 < most < 4000
    served = gateway.chat(key, header_tollway_max_price=most)
    assert served.status_code == 200, served.text
    [signed] = world.receipts_of(consumer.address)
    assert signed.receipt.units.byte == len(served.request.content) + len(served.content)
    assert signed.receipt.charge < most
    node.behaviour = answering(chat("x" * 3000))
    assert gateway.chat(key).status_code == 502
    node.behaviour = streaming(200, None)
    text = gateway.chat(key, stream=True, max_tokens=1000).text
    assert len(text) < 4000
    longest = world.receipts_of(consumer.address)[0].receipt
    assert (longest.end.name, longest.charge <= most + 100) == ("hold_reached", True)


def words_of(subject: Digest, folder: Path) -> None:
    """A tokenizer that counts words, as the model's own."""
    vocabulary = {"[UNK]": 0, "one": 1, "two": 2, "three": 3}
    splitting = {"type": "WhitespaceSplit"}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}
    parts: dict[str, Any] = {"added_tokens": [], "normalizer": None, "post_processor": None, "decoder": None}
    whole = {"version": "1.0", "truncation": None, "padding": None, "pre_tokenizer": splitting, "model": model, **parts}
    (folder / f"{cid(subject)}.json").write_text(json.dumps(whole))


def _bid_from(world: World, subject: Digest, epoch: int, ask: str) -> None:
    world.placed += 1
    bid = BidInForce(subject, Role.compute, PROVIDER.address, Bid(0, rates({"call": ask})), epoch, epoch + 20)
    with unit_of_work(world.engine) as session:
        bids.place(session, bid, 0, world.placed)
