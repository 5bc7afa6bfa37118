"""Finer meters: what upstreams report is billed in its own meter where it is sold so, and never above what was held."""

from typing import Any

import pytest

from gateway.metering import usage
from gateway.metering.ask import CHAT, Ask
from gateway.payment.billing import MOST_SEARCHES
from ledger.core.receipts.receipt import Receipt
from ledger.core.values.ids import to_hex
from ledger.core.values.meters import Meter, Units
from ledger.core.values.typed_data import Signer
from tests.gateway.nodes import Asked, Node, Wire, answering, chat, final_usage, piece
from tests.gateway.world import Running, World, a_model

PER_TOKEN = 10**6


def a_gateway(world: World, node: Node, consumer: Signer, ask: dict[str, int]) -> Running:
    """A gateway whose only model has these asks."""
    subject = world.publish(a_model())
    world.serve(subject, node.url, {name: str(atoms) for name, atoms in ask.items()}, maker_ppm=0)
    world.deposit(consumer.address, 10**9)
    return world.gateway()


def newest(world: World, consumer: Signer) -> Receipt:
    return max((one.receipt for one in world.receipts_of(consumer.address)), key=lambda receipt: receipt.seq)


def used(world: World, consumer: Signer) -> dict[str, int]:
    """What the newest receipt counts, without time and bytes."""
    units = newest(world, consumer).units
    return {meter.name: units[meter] for meter in Meter if units[meter] and meter not in (Meter.ms, Meter.byte)}


OPENAI = {
    "prompt_tokens": 60,
    "completion_tokens": 9,
    "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 2},
}
ANTHROPIC = {
    "prompt_tokens": 60,
    "completion_tokens": 9,
    "cache_read_input_tokens": 30,
    "cache_creation_input_tokens": 20,
    "server_tool_use": {"web_search_requests": 3},
}


@pytest.mark.parametrize(
    ("reported", "counted"),
    [
        (OPENAI, {"input_token": 15, "cached_input_token": 40, "input_audio_token": 5,
                  "output_token": 3, "reasoning_token": 4, "output_audio_token": 2}),
        (ANTHROPIC, {"input_token": 10, "cached_input_token": 30, "cache_write_token": 20,
                     "output_token": 9, "search": 3}),
        ({"prompt_tokens": 60, "completion_tokens": 9, "prompt_tokens_details": None, "num_search_queries": 2},
         {"input_token": 60, "output_token": 9, "search": 2}),
        ({"prompt_tokens": 60, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 1_000_000}},
         {"cached_input_token": 60, "output_token": 9}),
        ({"prompt_tokens": 60, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": -5},
          "server_tool_use": 7},
         {"input_token": 60, "output_token": 9}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_what_upstreams_report_is_counted_in_its_meter(
    world: World, node: Node, consumer: Signer, reported: dict[str, Any], counted: dict[str, int], stream: bool
) -> None:
    async def behave(asked: Asked, wire: Wire) -> None:
        if not asked.json.get("stream"):
            await wire.answer(chat("nine tokens " * 9) | {"usage": reported})
            return
        await wire.begin()
        for text in ["nine tokens "] * 9:
            await wire.event(piece(text))
        await wire.event(piece(None, "stop"))
        await wire.event(final_usage(0, 0) | {"usage": reported})
        await wire.event("[DONE]")
        await wire.end()

    node.behaviour = behave
    gateway = a_gateway(world, node, consumer, {"input_token": PER_TOKEN, "search": 5})
    assert gateway.chat(gateway.key(consumer), stream=stream).status_code == 200
    assert used(world, consumer) == {"call": 1, **counted}


def test_cached_tokens_cost_what_their_meter_asks_and_the_hold_was_the_dearest(
    world: World, node: Node, consumer: Signer
) -> None:
    asks = {"input_token": 4 * PER_TOKEN, "cached_input_token": PER_TOKEN, "cache_write_token": 9 * PER_TOKEN}
    node.behaviour = answering(chat() | {"usage": OPENAI})
    gateway = a_gateway(world, node, consumer, asks)
    quote = gateway.http.post("/v1/quote", json={"model": "@acme/chat", "meters": {"input_token": 98}}).json()
    assert (quote["price"], quote["hold"]) == (str(392 + 8), str(9 * 98 + 18))
    response = gateway.chat(gateway.key(consumer))
    assert response.status_code == 200
    due = 20 * 4 + 40 * 1  # audio falls back to tokens
    receipt = newest(world, consumer)
    assert receipt.price == due + -(-20_000 * receipt.price // 10**6)


def test_reasoning_that_nobody_sees_is_billed_only_where_it_is_sold(world: World, node: Node, consumer: Signer) -> None:
    hidden = {"prompt_tokens": 9, "completion_tokens": 900, "completion_tokens_details": {"reasoning_tokens": 890}}
    node.behaviour = answering(chat("ten tokens") | {"usage": hidden})
    sold = world.publish(a_model("@acme/reasoner"))
    world.serve(sold, node.url, {"output_token": str(PER_TOKEN), "reasoning_token": str(PER_TOKEN)}, maker_ppm=0)
    gateway = a_gateway(world, node, consumer, {"output_token": PER_TOKEN})
    key = gateway.key(consumer)
    gateway.chat(key)
    [first] = world.receipts_of(consumer.address)
    units = first.receipt.units
    assert units.output_token + units.reasoning_token == len("ten tokens"), "a token is a byte of text at least"
    gateway.chat(key, max_tokens=1_000)
    units = newest(world, consumer).units
    assert units.output_token + units.reasoning_token == len("ten tokens"), "whatever was asked for"
    gateway.chat(key, model="@acme/reasoner", max_tokens=1_000)
    assert used(world, consumer) == {"call": 1, "input_token": 9, "output_token": 10, "reasoning_token": 890}
    gateway.chat(key, model="@acme/reasoner", max_tokens=500)
    assert used(world, consumer) == {"call": 1, "input_token": 9, "output_token": 10, "reasoning_token": 490}
    shown = gateway.of(consumer).get(f"/v1/receipts/{to_hex(newest(world, consumer).call_id)}").json()
    assert shown["claimed"] == {"reasoning_token": 490}


def test_images_are_counted_in_the_request_and_searches_have_a_limit(
    world: World, node: Node, consumer: Signer
) -> None:
    node.behaviour = answering(
        chat(), tollway_usage='{"input_image": 99, "search": 1000, "output_image": 2, "input_character": 12}'
    )
    gateway = a_gateway(world, node, consumer, {"input_image": 70, "search": 3, "output_image": 11, "call": 1})
    image = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
    parts = [{"type": "text", "text": "what is this?"}, image, image]
    gateway.chat(gateway.key(consumer), messages=[{"role": "user", "content": parts}])
    counted = used(world, consumer)
    assert (counted["input_image"], counted["search"], counted["output_image"]) == (2, MOST_SEARCHES, 2)
    assert counted["input_character"] == 12
    receipt = newest(world, consumer)
    due = 1 + 2 * 70 + 3 * MOST_SEARCHES + 2 * 11
    assert receipt.price == due + -(-20_000 * receipt.price // 10**6)


def test_finer_units_share_what_their_coarser_meter_may_hold() -> None:
    most = Units(call=1, input_token=100, output_token=10)
    units = Units(
        call=1, input_token=30, cached_input_token=50, cache_write_token=40, reasoning_token=7, output_token=5
    )
    kept = usage.capped(units, most)
    assert kept == Units(
        call=1, input_token=30, cached_input_token=50, cache_write_token=20, output_token=5, reasoning_token=5
    )
    assert usage.capped(Units(call=1, search=3), most) == Units(call=1)


def test_parts_of_a_total_never_exceed_it() -> None:
    parts = {Meter.cached_input_token: 7, Meter.cache_write_token: 9, Meter.search: 4}
    divided = usage.divide(10, Meter.input_token, parts)
    assert divided == {
        Meter.cached_input_token: 7, Meter.cache_write_token: 3, Meter.input_audio_token: 0, Meter.input_token: 0
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "images"),
    [
        (b'{"messages": [{"content": [{"type": "image_url"}, {"type": "text"}, {"type": "input_image"}]}]}', 2),
        (b'{"messages": [{"content": "an image_url in a text"}]}', 0),
        (b'{"messages": "image_url"}', 0),
        (b'{"messages": [5, {"content": [5, "image_url"]}]}', 0),
        (b'{"messages": []}', 0),
    ],
)
def test_images_of_a_request(body: bytes, images: int) -> None:
    ask = Ask(CHAT, "m", body)
    assert ask.images == images <= ask.most_images
