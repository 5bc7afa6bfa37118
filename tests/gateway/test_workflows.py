"""Workflows as a consumer sees them: the answer, its price, who is paid, and what a failure costs."""

from __future__ import annotations

import json
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gateway.catalog.catalog import ModelEntry
from ledger.core.catalog.bids import Role, decode
from ledger.core.pricing.price import payees, price
from ledger.core.receipts import subcalls
from ledger.core.values.atoms import AIC
from ledger.core.values.ids import ZERO_DIGEST, Address, Digest, cid, did, to_hex
from ledger.core.values.typed_data import Signer
from ledger.store.receipts import terms
from ledger.store.receipts.receipts import Signed
from ledger.store.session import unit_of_work
from tests.gateway.nodes import answering, dying, hanging, streaming
from tests.gateway.workflows import LAST, Loom, echoing, glued, inferring, meeting, pinned
from tests.gateway.world import MAKER, OPERATOR, PROVIDER, WEAVER, World, a_model, a_signer, events_of
from tests.ledger.core import strategies as some

ROOT = Path(__file__).parents[2]


def earned(world: World, signed: list[Signed]) -> dict[tuple[Address, Role], int]:
    """Who is paid by these receipts; each is checked to cost what its terms say."""
    found: dict[tuple[Address, Role], int] = {}
    with unit_of_work(world.engine) as session:
        for one in signed:
            body = terms.get(session, [one.receipt.terms])[one.receipt.terms]
            due = price(decode(body), one.receipt.units, one.receipt.subcall_total)
            assert (due.price, due.charge) == (one.receipt.price, one.receipt.charge)
            for who, amount in zip(payees(decode(body)), due.amounts, strict=True):
                if amount:
                    found[who] = found.get(who, 0) + amount
    return found


def tree(signed: list[Signed]) -> tuple[Signed, list[Signed]]:
    """The root and its direct sub-calls, checked to belong together and to follow each other in the receipt log."""
    root = next(one for one in signed if one.receipt.parent == ZERO_DIGEST)
    subs = [one for one in signed if one.receipt.parent == root.receipt.call_id]
    assert root.receipt.subcall_total == sum(one.receipt.price for one in subs)
    assert root.receipt.price == sum(one.receipt.charge for one in signed)
    seqs = sorted(one.receipt.seq for one in signed)
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert root.receipt.seq == seqs[-1]
    in_order = sorted((one.receipt for one in signed), key=lambda receipt: receipt.seq)
    subcalls.check(some.records(in_order))
    return root, subs


def test_parallel_steps_overlap_and_every_line_is_paid(loom: Loom, world: World, consumer: Signer) -> None:
    asked: list[str] = []
    feeling = loom.classifier("feeling", meeting(asked, 2, "angry"), ask="300")
    topic = loom.classifier("topic", meeting(asked, 2, "parcel"), ask="200")
    talk = loom.talker("talk", echoing("> "), ask={"call": "50", "output_token": "1000000"})
    said = "{$steps.feeling.output.label} about {$steps.topic.output.label}"
    loom.capsule(
        pinned("feeling", feeling, {"text": LAST}),
        pinned("topic", topic, {"text": LAST}),
        pinned("reply", talk, {"messages": [{"role": "user", "content": said}]}),
        output={"choices": "$steps.reply.output.choices"},
    )
    key = loom.consumer(consumer)
    response = loom.gateway.chat(key, "@wanda/flow", text="where is it?!")
    assert response.status_code == 200, response.text
    assert response.json()["choices"][0]["message"]["content"] == "> angry about parcel"
    signed = world.receipts_of(consumer.address)
    root, subs = tree(signed)
    assert {one.receipt.price for one in subs} == {334, 223, 58}  # asks over 0.9, the maker's tenth included
    assert response.headers["tollway-charge"] == str(root.receipt.price)
    paid = earned(world, signed)
    assert paid[PROVIDER.address, Role.compute] == 300 + 200 + 50 + 2
    assert paid[WEAVER.address, Role.weaver] == -(-root.receipt.price // 10)
    assert (OPERATOR.address, Role.protocol) in paid
    trace = {row["step"]: row for row in response.json()["tollway"]["steps"]}
    assert {name: (row["status"], row["model"], row["price"]) for name, row in trace.items()} == {
        "feeling": ("ok", "@acme/feeling", "334"),
        "topic": ("ok", "@acme/topic", "223"),
        "reply": ("ok", "@acme/talk", "58"),
    }
    ended = {name: row["began_ms"] + row["ms"] for name, row in trace.items()}
    assert trace["topic"]["began_ms"] < ended["feeling"], "they ran at the same time"
    assert trace["feeling"]["began_ms"] < ended["topic"]
    assert trace["reply"]["began_ms"] >= max(ended["feeling"], ended["topic"])


def test_a_step_may_ask_for_embeddings(loom: Loom, world: World, consumer: Signer) -> None:
    row = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
    usage = {"prompt_tokens": 6, "total_tokens": 6}
    behave = answering({"object": "list", "model": "m", "data": [row], "usage": usage})
    place = loom.talker("place", behave, ask={"input_token": "1000000"}, protocol="openai.embeddings/1")
    loom.capsule(
        pinned("place", place, {"input": LAST, "max_tokens": 99}),
        output={"content": "$steps.place.output.embedding"},
    )
    key = loom.consumer(consumer)
    response = loom.gateway.chat(key, "@wanda/flow", text="hello")
    assert response.status_code == 200, response.text
    assert json.loads(response.json()["choices"][0]["message"]["content"]) == [0.5, 0.25]
    asked = loom.nodes[-1].asked[-1]
    assert asked.path == "/v1/embeddings"
    assert asked.json == {"model": "@acme/place", "input": "hello", "encoding_format": "float"}
    _, subs = tree(world.receipts_of(consumer.address))
    assert [(one.receipt.units.input_token, one.receipt.units.output_token) for one in subs] == [(6, 0)]


def test_the_endpoint_streams_its_last_step(loom: Loom, world: World, consumer: Signer) -> None:
    feeling = loom.classifier("feeling", inferring("angry"))
    talk = loom.talker("talk", streaming(6, (9, 6), pause=0.1))
    loom.capsule(
        pinned("feeling", feeling, {"text": LAST}),
        pinned("reply", talk, {"messages": "$.messages"}),
        output={"choices": "$steps.reply.output.choices"},
    )
    key = loom.consumer(consumer)
    body = {"model": "@wanda/flow", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    body["stream_options"] = {"include_usage": True}
    arrivals = []
    with loom.gateway.http.stream(
        "POST", "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}
    ) as response:
        text = ""
        for chunk in response.iter_text():
            arrivals.append(time.monotonic())
            text += chunk
    assert arrivals[-1] - arrivals[0] > 0.3, "tokens came as they were made"
    events = events_of(text)
    assert events[-1] == "[DONE]"
    assert "".join(row["choices"][0]["delta"].get("content", "") for row in events[:-1] if row["choices"]) == (
        "t0 t1 t2 t3 t4 t5 "
    )
    root, subs = tree(world.receipts_of(consumer.address))
    assert len(subs) == 2
    assert response.headers["tollway-call"] == to_hex(root.receipt.call_id), "of the whole call, not of its last step"
    assert f'"charge":"{root.receipt.price}"' in text


def test_an_output_of_glue_is_streamed_in_one_piece(loom: Loom, consumer: Signer) -> None:
    models = [loom.classifier(f"m{n}", inferring(label)) for n, label in enumerate("aba")]
    loom.capsule(
        *(pinned(f"m{n}", model, {"text": LAST}) for n, model in enumerate(models)),
        glued("vote", "vote", {"votes": [f"$steps.m{n}.output.label" for n in range(3)]}),
        output={"content": "$steps.vote.output.label"},
        **loom.glue(),
    )
    key = loom.consumer(consumer)
    plain = loom.gateway.chat(key, "@wanda/flow")
    assert plain.json()["choices"][0]["message"]["content"] == "a", plain.text
    events = events_of(loom.gateway.chat(key, "@wanda/flow", stream=True).text)
    assert events[0]["choices"][0]["delta"]["content"] == "a"
    assert events[-1] == "[DONE]"


def test_fuel_is_metered_on_the_root_and_paid_to_who_asks_for_it(loom: Loom, world: World, consumer: Signer) -> None:
    model = loom.classifier("m", inferring("a"))
    loom.capsule(
        pinned("m", model, {"text": LAST}),
        glued("vote", "vote", {"votes": ["$steps.m.output.label"]}),
        output={"content": "$steps.vote.output.label"},
        distribution={"weaver": {"ratio_ppm": 0, "ask": {"fuel": "1000000"}}},
        **loom.glue(),
    )
    loom.gateway.chat(loom.consumer(consumer), "@wanda/flow")
    signed = world.receipts_of(consumer.address)
    root, _ = tree(signed)
    assert 100 < root.receipt.units.fuel < 100_000
    assert earned(world, signed)[WEAVER.address, Role.weaver] == root.receipt.units.fuel


def test_glue_that_runs_out_of_fuel_fails_and_nothing_is_charged(loom: Loom, world: World, consumer: Signer) -> None:
    loom.capsule(
        glued("vote", "vote", {"votes": [LAST]}), output={"content": "$steps.vote.output.label"}, **loom.glue(fuel=50)
    )
    response = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow")
    assert response.status_code == 502
    assert "out of fuel" in response.json()["error"]["message"]
    assert world.receipts_of(consumer.address) == []


def test_when_decides_and_a_step_that_did_not_run_is_not_priced(loom: Loom, world: World, consumer: Signer) -> None:
    cheap = loom.classifier("cheap", inferring("a", confidence=0.4), ask="10")
    large = loom.classifier("large", inferring("b"), ask="5000")
    for name, limit in (("@wanda/cascade", "0.7"), ("@wanda/content", "0.2")):
        loom.capsule(
            pinned("cheap", cheap, {"text": LAST}),
            pinned("large", large, {"text": LAST}, when=f"steps.cheap.output.confidence < {limit}"),
            glued("pick", "first", {"of": ["$steps.large.output.label", "$steps.cheap.output.label"]}),
            output={"content": "$steps.pick.output"},
            name=name,
            **loom.glue(),
        )
    key = loom.consumer(consumer)
    escalated = loom.gateway.chat(key, "@wanda/cascade")
    content = loom.gateway.chat(key, "@wanda/content")
    assert escalated.json()["choices"][0]["message"]["content"] == "b"
    assert content.json()["choices"][0]["message"]["content"] == "a"
    assert int(escalated.headers["tollway-charge"]) > 5000 > 100 > int(content.headers["tollway-charge"])


@pytest.mark.parametrize("behaviour", [dying, hanging, answering({"nonsense": 1}), answering(status=500)])
def test_a_fallback_stands_in(loom: Loom, world: World, consumer: Signer, behaviour: Any) -> None:
    weak = loom.talker("weak", behaviour)
    spare = loom.talker("spare", echoing("spare: "))
    loom.capsule(
        pinned("reply", weak, {"messages": "$.messages"}, timeout_ms=400, on_error="fallback", fallback="spare"),
        pinned("spare", spare, {"messages": "$.messages"}),
        output={"content": "$steps.reply.output.content"},
    )
    key = loom.consumer(consumer)
    response = loom.gateway.chat(key, "@wanda/flow")
    assert response.json()["choices"][0]["message"]["content"] == "spare: hi", response.text
    _, subs = tree(world.receipts_of(consumer.address))
    assert len(subs) == 1, "the one that failed costs nothing"


def unserved(loom: Loom, name: str) -> Digest:
    """A published chat model that nobody serves."""
    return loom.world.publish(a_model(f"@acme/{name}"))


def a_chain(loom: Loom, *models: Digest, **last: Any) -> None:
    """A workflow whose steps `s0`, `s1`, ... each fall back to the next."""
    rows = [pinned(f"s{n}", model, {"messages": "$.messages"}, timeout_ms=400) for n, model in enumerate(models)]
    for row, after in pairwise(rows):
        row |= {"on_error": "fallback", "fallback": after["id"]}
    rows[-1] |= last
    loom.capsule(*rows, output={"content": "$steps.s0.output.content"})


def quoted_and_run(loom: Loom, world: World, consumer: Signer, **more: Any) -> list[str]:
    """The steps that a quote counts, which are those that a run pays for, at the same price."""
    quote = loom.gateway.http.post("/v1/quote", json={"model": "@wanda/flow"}).json()
    response = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow", **more)
    assert response.status_code == 200, response.text
    root, subs = tree(world.receipts_of(consumer.address))
    assert int(quote["price"]) == root.receipt.price
    assert len(quote["subs"]) == len(subs)
    return [sub["step"] for sub in quote["subs"]]


ASK = {"call": "70"}


def test_a_fallback_that_nobody_serves_does_not_keep_its_primary_from_serving(
    loom: Loom, world: World, consumer: Signer
) -> None:
    a_chain(loom, loom.talker("good", echoing(), ask=ASK), unserved(loom, "none"))
    assert quoted_and_run(loom, world, consumer) == ["s0"]


def test_a_fallback_stands_in_for_a_step_that_nobody_serves(loom: Loom, world: World, consumer: Signer) -> None:
    a_chain(loom, unserved(loom, "none"), loom.talker("spare", echoing(), ask=ASK))
    assert quoted_and_run(loom, world, consumer) == ["s1"]


def test_a_step_that_a_request_does_not_run_need_not_be_served_for_it(
    loom: Loom, world: World, consumer: Signer
) -> None:
    given, when = {"messages": "$.messages"}, "$.messages[-1].content == 'escalate'"
    loom.capsule(
        pinned("reply", loom.talker("good", echoing(), ask=ASK), given),
        pinned("dear", unserved(loom, "none"), given, when=when),
        output={"content": "$steps.reply.output.content"},
    )
    key = loom.consumer(consumer)
    served, refused = loom.gateway.chat(key, "@wanda/flow"), loom.gateway.chat(key, "@wanda/flow", text="escalate")
    assert served.status_code == 200, served.text
    rows = {row["step"]: row["status"] for row in served.json()["tollway"]["steps"]}
    assert rows == {"reply": "ok", "dear": "skipped"}
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_provider")
    assert len(tree(world.receipts_of(consumer.address))[1]) == 1, "who is refused pays nothing"


def test_the_last_fallback_of_a_chain_serves(loom: Loom, world: World, consumer: Signer) -> None:
    a_chain(loom, loom.talker("weak", dying), unserved(loom, "none"), loom.talker("spare", echoing("spare: ")))
    response = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow")
    assert response.json()["choices"][0]["message"]["content"] == "spare: hi", response.text
    rows = response.json()["tollway"]["steps"]
    assert [(row["step"], row["status"]) for row in rows] == [("s0", "error"), ("s1", "error"), ("s2", "ok")]


def test_the_last_fallback_of_a_chain_is_quoted(loom: Loom, world: World, consumer: Signer) -> None:
    spare = loom.talker("spare", echoing(), ask=ASK)
    a_chain(loom, unserved(loom, "none"), unserved(loom, "neither"), spare)
    assert quoted_and_run(loom, world, consumer) == ["s2"]


@pytest.mark.parametrize(
    ("behaviour", "more"),
    [(streaming(3, (5, 3)), {}), (echoing(), {"asked": "$.messages"})],
    ids=["its last step is streamed", "in one piece"],
)
def test_a_stream_says_what_the_whole_workflow_cost(
    loom: Loom, world: World, consumer: Signer, behaviour: Any, more: dict[str, str]
) -> None:
    talk = loom.talker("talk", behaviour, ask=ASK)
    output = {"content": "$steps.reply.output.content", **more}
    loom.capsule(pinned("reply", talk, {"messages": "$.messages"}), output=output)
    asked: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
    events = events_of(loom.gateway.chat(loom.consumer(consumer), "@wanda/flow", **asked).text)
    [usage] = [event["usage"] for event in events[:-1] if event.get("usage")]
    assert round(usage["cost"] * AIC.one) == sum(one.receipt.charge for one in world.receipts_of(consumer.address)) > 70


def test_the_last_fallback_of_a_chain_streams(loom: Loom, world: World, consumer: Signer) -> None:
    a_chain(loom, unserved(loom, "none"), loom.talker("weak", dying), loom.talker("spare", streaming(3, (5, 3))))
    response = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow", stream=True)
    events = events_of(response.text)
    assert events[-1] == "[DONE]", response.text
    assert sum(1 for event in events if isinstance(event, dict) and event.get("choices")) > 2, "in pieces"
    tree(world.receipts_of(consumer.address))


def test_a_step_to_skip_that_nobody_serves_is_skipped(loom: Loom, world: World, consumer: Signer) -> None:
    loom.capsule(
        pinned("mood", unserved(loom, "none"), {"messages": "$.messages"}, on_error="skip"),
        pinned("reply", loom.talker("good", echoing(), ask=ASK), {"messages": "$.messages"}),
        output={"content": "$steps.reply.output.content"},
    )
    assert quoted_and_run(loom, world, consumer) == ["reply"]


def test_a_fallback_that_the_request_does_not_fit_does_not_refuse_it(
    loom: Loom, world: World, consumer: Signer
) -> None:
    good = loom.talker("good", echoing(), ask=ASK)
    loom.capsule(
        pinned("reply", good, {"messages": "$.messages"}, on_error="fallback", fallback="spare"),
        pinned("spare", good, {"messages": "$.messages", "seed": "$.seed"}),
        output={"content": "$steps.reply.output.content"},
    )
    assert quoted_and_run(loom, world, consumer) == ["reply"]


def test_a_workflow_inside_that_nobody_serves_is_stood_in_for(loom: Loom, world: World, consumer: Signer) -> None:
    inner = loom.capsule(
        pinned("only", unserved(loom, "none"), {"messages": "$.messages"}),
        output={"content": "$steps.only.output.content"},
        name="@wanda/inner",
    )
    loom.capsule(
        {"id": "reply", "uses": {"capsule": cid(inner)}, "input": {"messages": "$.messages"}, "on_error": "fallback",
         "fallback": "spare"},
        pinned("spare", loom.talker("spare", echoing(), ask=ASK), {"messages": "$.messages"}),
        output={"content": "$steps.reply.output.content"},
    )  # fmt: skip
    assert quoted_and_run(loom, world, consumer) == ["spare"]


def test_a_workflow_whose_fallbacks_are_all_unserved_is_neither_quoted_nor_run(loom: Loom, consumer: Signer) -> None:
    a_chain(loom, unserved(loom, "none"), unserved(loom, "neither"))
    quoted = loom.gateway.http.post("/v1/quote", json={"model": "@wanda/flow"})
    refused = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow")
    for answer in (quoted, refused):
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_provider"), answer.text


def test_a_provider_that_exceeds_its_steps_time_is_remembered_as_slow(loom: Loom, consumer: Signer) -> None:
    weak = loom.classifier("weak", hanging)
    loom.capsule(pinned("weak", weak, {"text": LAST}, timeout_ms=200), output={"content": "$steps.weak.output.label"})
    response = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow")
    assert "longer than 200 ms" in response.json()["error"]["message"], response.text
    entry = loom.gateway.gateway.catalog.by_id[weak]
    assert isinstance(entry, ModelEntry)
    [candidate] = entry.candidates
    assert (candidate.health.errors, list(candidate.health.marks)) == (1, [consumer.address])


def test_a_stream_that_outlasts_its_steps_time_is_cut_and_the_weavers_loss(
    loom: Loom, world: World, consumer: Signer
) -> None:
    talk = loom.talker("talk", streaming(40, pause=0.05), ask={"output_token": "1000000"})
    reply = pinned("reply", talk, {"messages": "$.messages"}, timeout_ms=500)
    loom.capsule(reply, output={"content": "$steps.reply.output.content"})
    response = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow", stream=True)
    events = events_of(response.text)
    assert "longer than its call or workflow gives it" in str(events[-1])
    assert "[DONE]" not in events
    assert world.receipts_of(consumer.address) == []
    [signed] = world.receipts_of(WEAVER.address)
    assert signed.receipt.end.name == "timeout"
    assert 0 < signed.receipt.units.output_token < 20
    assert signed.receipt.units.ms <= 700


def test_a_stream_that_does_not_begin_in_its_steps_time_fails_before_a_byte(loom: Loom, consumer: Signer) -> None:
    talk = loom.talker("talk", hanging)
    reply = pinned("reply", talk, {"messages": "$.messages"}, timeout_ms=200)
    loom.capsule(reply, output={"content": "$steps.reply.output.content"})
    began = time.monotonic()
    response = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow", stream=True)
    assert response.status_code == 502
    assert time.monotonic() - began < 2
    assert "too slow for its workflow" in response.json()["error"]["message"]


def test_who_is_cut_off_because_another_left_is_not_blamed(loom: Loom, consumer: Signer) -> None:
    slow = loom.classifier("slow", hanging)
    inner = loom.capsule(
        pinned("slow", slow, {"text": LAST}, timeout_ms=20_000),
        output={"content": "$steps.slow.output.label"},
        name="@wanda/inner",
    )
    loom.capsule(
        {"id": "below", "uses": {"capsule": cid(inner)}, "input": {"messages": "$.messages"}, "timeout_ms": 200},
        output={"content": "$steps.below.output.content"},
    )
    response = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow")
    assert "longer than 200 ms" in response.json()["error"]["message"], response.text
    entry = loom.gateway.gateway.catalog.by_id[slow]
    assert isinstance(entry, ModelEntry)
    [candidate] = entry.candidates
    assert (candidate.health.errors, candidate.health.marks) == (0, {})


def test_a_stream_falls_back_before_its_first_byte(loom: Loom, world: World, consumer: Signer) -> None:
    weak = loom.talker("weak", streaming(4, die_after=0))
    spare = loom.talker("spare", streaming(3, (5, 3)))
    loom.capsule(
        pinned("reply", weak, {"messages": "$.messages"}, on_error="fallback", fallback="spare"),
        pinned("spare", spare, {"messages": "$.messages"}),
        output={"content": "$steps.reply.output.content"},
    )
    response = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow", stream=True)
    assert events_of(response.text)[-1] == "[DONE]", response.text
    _, subs = tree(world.receipts_of(consumer.address))
    assert len(subs) == 1


def test_a_skipped_error_leaves_null_behind(loom: Loom, consumer: Signer) -> None:
    broken = loom.classifier("broken", dying)
    good = loom.classifier("good", inferring("b"))
    loom.capsule(
        pinned("broken", broken, {"text": LAST}, on_error="skip"),
        pinned("good", good, {"text": LAST}),
        glued("vote", "vote", {"votes": ["$steps.broken.output.label", "$steps.good.output.label"]}),
        output={"content": "$steps.vote.output"},
        **loom.glue(),
    )
    response = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow")
    assert response.json()["tollway"]["output"]["content"] == {"label": "b", "votes": 1, "of": 1}, response.text


def broken_flow(loom: Loom, policy: str) -> None:
    """Two steps serve, then one fails."""
    first = loom.classifier("first", inferring("a"), ask="300")
    second = loom.classifier("second", inferring("b"), ask="200")
    broken = loom.talker("broken", dying)
    said = "{$steps.first.output.label}{$steps.second.output.label}"
    loom.capsule(
        pinned("first", first, {"text": LAST}),
        pinned("second", second, {"text": LAST}),
        pinned("reply", broken, {"messages": [{"role": "user", "content": said}]}),
        output={"content": "$steps.reply.output.content"},
        failure=policy,
    )


def test_all_or_nothing_the_weavers_bond_pays_what_served(loom: Loom, world: World, consumer: Signer) -> None:
    broken_flow(loom, "all-or-nothing")
    response = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow")
    assert response.status_code == 502
    error = response.json()["error"]
    assert (error["code"], error["step"], error["charge"]) == ("workflow_failed", "reply", "0")
    assert world.receipts_of(consumer.address) == []
    paid = world.receipts_of(WEAVER.address)
    assert sorted(one.receipt.charge for one in paid) == [223, 334]
    assert earned(world, paid) == {
        (PROVIDER.address, Role.compute): 500,
        (MAKER.address, Role.maker): 57,
    }


def test_partial_ok_the_consumer_pays_what_served_and_no_weaver(loom: Loom, world: World, consumer: Signer) -> None:
    broken_flow(loom, "partial-ok")
    response = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow")
    assert response.status_code == 502
    assert response.json()["error"]["partial"]["first"]["label"] == "a"
    signed = world.receipts_of(consumer.address)
    root, subs = tree(signed)
    assert len(subs) == 2
    assert response.headers["tollway-charge"] == str(root.receipt.price)
    assert Role.weaver not in {role for _, role in earned(world, signed)}
    assert world.receipts_of(WEAVER.address) == []


def test_without_a_bond_all_or_nothing_is_not_promised(loom: Loom, world: World, consumer: Signer) -> None:
    model = loom.classifier("m", inferring("a"))
    poor = a_signer("poor weaver")
    loom.capsule(
        pinned("m", model, {"text": LAST}), output={"content": "$steps.m.output.label"}, weaver=did(0, poor.address)
    )
    response = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow")
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "weaver_bond"
    assert world.receipts_of(consumer.address) == []


def test_workflows_nest_and_so_do_their_receipts(loom: Loom, world: World, consumer: Signer) -> None:
    model = loom.classifier("m", inferring("a"), ask="900")
    inner = loom.capsule(
        pinned("m", model, {"text": "$.text"}), output={"label": "$steps.m.output.label"}, name="@wanda/inner"
    )
    talk = loom.talker("talk", echoing())
    loom.capsule(
        {"id": "inner", "uses": {"capsule": cid(inner)}, "input": {"text": LAST}},
        pinned("reply", talk, {"messages": [{"role": "user", "content": "it is {$steps.inner.output.label}"}]}),
        output={"content": "$steps.reply.output.content"},
    )
    response = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow")
    assert response.json()["choices"][0]["message"]["content"] == "it is a", response.text
    signed = world.receipts_of(consumer.address)
    assert len(signed) == 4
    root, _ = tree(signed)
    assert root.receipt.subcalls == 3
    middle = next(one for one in signed if one.receipt.subcall_total and one is not root)
    leaf = next(one for one in signed if one.receipt.parent == middle.receipt.call_id)
    assert leaf.receipt.price == 1000
    assert middle.receipt.price == 1112  # a weaver's tenth on top, and no protocol fee inside
    assert root.receipt.price == sum(one.receipt.charge for one in signed)
    paid = earned(world, signed)
    assert paid[OPERATOR.address, Role.protocol] == -(-root.receipt.price * 2 // 100)


def test_a_failed_workflow_inside_is_paid_by_its_own_weavers_bond(loom: Loom, world: World, consumer: Signer) -> None:
    other = a_signer("inner weaver")
    loom.bond(weaver=other)
    served = loom.classifier("served", inferring("a"), ask="900")
    broken = loom.classifier("broken", dying)
    inner = loom.capsule(
        pinned("served", served, {"text": "$.text"}),
        pinned("broken", broken, {"text": "{$steps.served.output.label}"}),
        output={"label": "$steps.broken.output.label"},
        name="@other/inner",
        weaver=did(0, other.address),
    )
    talk = loom.talker("talk", echoing())
    loom.capsule(
        {"id": "inner", "uses": {"capsule": cid(inner)}, "input": {"text": LAST}, "on_error": "skip"},
        pinned("reply", talk, {"messages": "$.messages"}, when="steps.inner.status == 'error'"),
        output={"content": "$steps.reply.output.content"},
    )
    response = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow")
    assert response.status_code == 200, response.text
    _, subs = tree(world.receipts_of(consumer.address))
    assert len(subs) == 1
    assert [one.receipt.price for one in world.receipts_of(other.address)] == [1000]


def test_a_failed_workflow_inside_is_one_row_of_the_trace_with_all_that_it_cost(
    loom: Loom, world: World, consumer: Signer
) -> None:
    """What served it is named where it is one call alone, by that one's receipt."""
    served = loom.classifier("served", inferring("a"), ask="900")
    broken = loom.classifier("broken", dying)
    talk = loom.talker("talk", echoing())
    for count, name in ((1, "@wanda/one"), (2, "@wanda/two")):
        parts = [pinned(f"s{n}", served, {"text": "$.text"}) for n in range(count)]
        inner = loom.capsule(
            *parts,
            pinned("broken", broken, {"text": "".join(f"{{$steps.s{n}.output.label}}" for n in range(count))}),
            output={"label": "$steps.broken.output.label"},
            name=f"{name}-inner",
            failure="partial-ok",
        )
        loom.capsule(
            {"id": "inner", "uses": {"capsule": cid(inner)}, "input": {"text": LAST}, "on_error": "skip"},
            pinned("reply", talk, {"messages": "$.messages"}, when="steps.inner.status == 'error'"),
            output={"content": "$steps.reply.output.content"},
            name=name,
        )
    key, rows = loom.consumer(consumer), {}
    for name in ("@wanda/one", "@wanda/two"):
        answer = loom.gateway.chat(key, name)
        assert answer.status_code == 200, answer.text
        rows[name] = next(row for row in answer.json()["tollway"]["steps"] if row["step"] == "inner")
    one, two = rows["@wanda/one"], rows["@wanda/two"]
    assert (one["status"], one["price"], one["model"]) == ("error", "1000", "@acme/served")
    assert one["call"] in {to_hex(signed.receipt.call_id) for signed in world.receipts_of(consumer.address)}
    assert (two["price"], "model" in two, "call" in two) == ("2000", False, False)


def test_a_capability_lets_whole_chains_compete(loom: Loom, world: World, consumer: Signer) -> None:
    skill = {
        "capabilities": [
            {
                "task": "text-classification",
                "skill": "mood",
                "languages": ["fi"],
                "input_modes": ["text/plain"],
                "output_modes": ["text/plain"],
            }
        ]
    }
    loom.classifier("dear", inferring("dear"), ask="4000", **skill)
    loom.classifier("fair", inferring("fair"), ask="1000", **skill)
    loom.classifier("english", inferring("no"), ask="1")
    uses = {"capability": {"task": "text-classification", "languages": ["fi"]}}
    loom.capsule({"id": "mood", "uses": uses, "input": {"text": LAST}}, output={"content": "$steps.mood.output.label"})
    key = loom.consumer(consumer)
    said = {loom.gateway.chat(key, "@wanda/flow").json()["choices"][0]["message"]["content"] for _ in range(6)}
    assert said == {"fair"}, "a chain at four times the price gets no calls at all"


def test_a_url_pins_the_provider(loom: Loom, world: World, consumer: Signer) -> None:
    model = loom.talker("talk", echoing("one: "))
    second = loom.node(echoing("two: "))
    world.serve(model, second.url, {"call": "90"}, a_signer("second provider"))
    for name, url in (("@wanda/first", loom.nodes[0].url), ("@wanda/second", second.url)):
        loom.capsule(
            {"id": "reply", "uses": {"model": cid(model), "url": url}, "input": {"messages": "$.messages"}},
            output={"content": "$steps.reply.output.content"},
            name=name,
        )
    key = loom.consumer(consumer)
    for name, word in (("@wanda/first", "one: hi"), ("@wanda/second", "two: hi")):
        for _ in range(3):
            assert loom.gateway.chat(key, name).json()["choices"][0]["message"]["content"] == word


def test_a_workflows_steps_are_served_as_near_as_the_call_asks(loom: Loom) -> None:
    talk = loom.talker("talk", echoing(""))
    loom.capsule(pinned("reply", talk, {"messages": "$.messages"}), output={"content": "$steps.reply.output.content"})
    entry = loom.gateway.gateway.catalog.by_id[talk]
    assert isinstance(entry, ModelEntry)
    entry.candidates[0].health.connect_ms = 40
    for near_ms, status in ((40, 200), (39, 503)):
        quoted = loom.gateway.http.post("/v1/quote", json={"model": "@wanda/flow", "near_ms": near_ms})
        assert quoted.status_code == status, quoted.text
    assert quoted.json()["error"]["code"] == "no_provider"


def pause(loom: Loom, subject: Digest) -> None:
    """The model's only provider failed a probe just now."""
    entry = loom.gateway.gateway.catalog.by_id[subject]
    assert isinstance(entry, ModelEntry)
    entry.candidates[0].health.probe_failed(int(time.time() * 1000))


def test_a_workflow_whose_providers_are_all_paused_is_neither_quoted_nor_run(loom: Loom, consumer: Signer) -> None:
    talk = loom.talker("talk", echoing(""))
    loom.capsule(pinned("reply", talk, {"messages": "$.messages"}), output={"content": "$steps.reply.output.content"})
    pause(loom, talk)
    quoted = loom.gateway.http.post("/v1/quote", json={"model": "@wanda/flow"})
    refused = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow")
    for answer in (quoted, refused):
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "providers_down"), answer.text
        assert "every provider of step reply failed lately" in answer.json()["error"]["message"]
    assert loom.nodes[-1].asked == []
    row = loom.gateway.http.get("/v1/models/@wanda/flow").json()
    assert (row["ready"], row["why"]) == (False, "nobody serves step reply now")
    assert loom.gateway.http.get("/v1/models").json()["data"] == []
    assert loom.gateway.http.get("/v2/models/@wanda/flow/ready").status_code == 503


def test_a_quote_counts_the_fallback_of_a_paused_step_and_leaves_out_one_to_skip(
    loom: Loom, world: World, consumer: Signer
) -> None:
    weak, spare = loom.talker("weak", echoing("weak")), loom.talker("spare", echoing("spare"), ask={"call": "70"})
    feeling = loom.classifier("feeling", inferring("a"), ask="300")
    loom.capsule(
        pinned("feeling", feeling, {"text": LAST}, on_error="skip"),
        pinned("reply", weak, {"messages": "$.messages"}, on_error="fallback", fallback="spare"),
        pinned("spare", spare, {"messages": "$.messages"}),
        output={"content": "$steps.reply.output.content"},
    )
    pause(loom, weak)
    pause(loom, feeling)
    assert loom.gateway.http.get("/v2/models/@wanda/flow/ready").json() == {"name": "@wanda/flow", "ready": True}
    quote = loom.gateway.http.post("/v1/quote", json={"model": "@wanda/flow"}).json()
    assert [sub["step"] for sub in quote["subs"]] == ["spare"]
    response = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow")
    assert response.status_code == 200, response.text
    root, _ = tree(world.receipts_of(consumer.address))
    assert int(quote["price"]) == root.receipt.price


def test_a_workflow_above_the_consumers_largest_price_is_neither_quoted_nor_run(loom: Loom, consumer: Signer) -> None:
    talk = loom.talker("talk", echoing(), ask={"call": "500"})
    loom.capsule(pinned("reply", talk, {"messages": "$.messages"}), output={"content": "$steps.reply.output.content"})
    quoted = loom.gateway.http.post("/v1/quote", json={"model": "@wanda/flow", "max_price": "100"})
    refused = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow", header_tollway_max_price=100)
    for answer in (quoted, refused):
        assert (answer.status_code, answer.json()["error"]["code"]) == (402, "above_max_price"), answer.text


def test_a_quote_shortens_a_steps_output_to_its_authors_largest_price(loom: Loom) -> None:
    talk = loom.talker("talk", echoing(), ask={"output_token": "9000000"})  # 9 atoms a token, 10 with the maker's
    loom.capsule(
        pinned("reply", talk, {"messages": "$.messages"}, max_price="200"),
        output={"content": "$steps.reply.output.content"},
    )
    quote = loom.gateway.http.post("/v1/quote", json={"model": "@wanda/flow", "meters": {"output_token": 500}}).json()
    assert [sub["price"] for sub in quote["subs"]] == ["200"]


def test_max_price_limits_what_a_step_may_generate(loom: Loom, world: World, consumer: Signer) -> None:
    talk = loom.talker("talk", echoing(), ask={"output_token": "9000000"})  # 9 atoms a token, 10 with the maker's
    loom.capsule(
        pinned("reply", talk, {"messages": "$.messages"}, max_price="200"),
        output={"content": "$steps.reply.output.content"},
    )
    loom.gateway.chat(loom.consumer(consumer), "@wanda/flow")
    assert loom.nodes[-1].asked[-1].json["max_tokens"] == 20
    key = loom.consumer(a_signer("thrifty"))
    refused = loom.gateway.chat(key, "@wanda/flow", header_tollway_max_price=100)
    assert refused.status_code == 402
    assert refused.json()["error"]["code"] == "above_max_price"


def test_the_demos_workflow_holds_little_more_than_it_costs(loom: Loom, consumer: Signer) -> None:
    document = json.loads((ROOT / "deploy/demo/capsule.json").read_text())
    found = inferring("angry")
    uses = {
        "model:emotion": loom.classifier("emotion", found, ask="2100"),
        "model:kb": loom.classifier("kb", found, ask="3000"),
        "model:dialog": loom.talker("dialog", echoing(), ask={"input_token": "9500000", "output_token": "61000000"}),
    }
    for node in document["steps"]:
        node["uses"] = {"model": cid(uses[node["uses"]["model"]])}
    document["steps"][1]["input"] = {"text": LAST}
    document["steps"][2]["input"]["messages"][0]["content"] = "feeling: {$steps.emotion.output.label}"
    loom.capsule(*document["steps"], output=document["output"])
    quote = loom.gateway.http.post("/v1/quote", json={"model": "@wanda/flow"}).json()
    assert int(quote["hold"]) < 150_000, quote
    long = "where is it? " * 200
    response = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow", text=long)
    assert response.status_code == 200, response.text


def test_a_quote_says_every_line_and_covers_the_charge(loom: Loom, world: World, consumer: Signer) -> None:
    feeling = loom.classifier("feeling", inferring("a"), ask="300")
    talk = loom.talker("talk", echoing(), ask={"call": "50"})
    loom.capsule(
        pinned("feeling", feeling, {"text": LAST}),
        pinned("reply", talk, {"messages": "$.messages"}, on_error="fallback", fallback="spare"),
        pinned("spare", talk, {"messages": "$.messages"}),
        output={"content": "$steps.reply.output.content"},
    )
    quote = loom.gateway.http.post("/v1/quote", json={"model": "@wanda/flow"}).json()
    response = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow")
    signed = world.receipts_of(consumer.address)
    root, subs = tree(signed)
    assert int(quote["price"]) == root.receipt.price <= int(quote["hold"])
    assert int(response.headers["tollway-charge"]) == root.receipt.price
    assert {sub["step"] for sub in quote["subs"]} == {"feeling", "reply"}
    assert {int(sub["price"]) for sub in quote["subs"]} == {one.receipt.price for one in subs}
    assert sum(int(line["amount"]) for line in quote["lines"]) == int(quote["price"])


def test_no_funds_no_work(loom: Loom, world: World, consumer: Signer) -> None:
    model = loom.classifier("m", inferring("a"))
    loom.capsule(pinned("m", model, {"text": LAST}), output={"content": "$steps.m.output.label"})
    response = loom.gateway.chat(loom.consumer(consumer, amount=50), "@wanda/flow")
    assert response.status_code == 402
    assert int(response.json()["error"]["shortfall"]) > 0
    assert loom.nodes[-1].asked == []


def test_a_stream_cut_in_the_middle_is_the_weavers_loss(loom: Loom, world: World, consumer: Signer) -> None:
    talk = loom.talker("talk", streaming(9, die_after=4), ask={"output_token": "1000000"})
    loom.capsule(pinned("reply", talk, {"messages": "$.messages"}), output={"content": "$steps.reply.output.content"})
    response = loom.gateway.chat(loom.consumer(consumer), "@wanda/flow", stream=True)
    events = events_of(response.text)
    assert "error" in events[-1]
    assert "[DONE]" not in events
    assert world.receipts_of(consumer.address) == []
    assert [one.receipt.units.output_token for one in world.receipts_of(WEAVER.address)] == [4]


def test_the_same_key_runs_a_workflow_once(loom: Loom, world: World, consumer: Signer) -> None:
    model = loom.classifier("m", inferring("a", "b", delay=0.1))
    loom.capsule(pinned("m", model, {"text": LAST}), output={"content": "$steps.m.output.label"})
    key = loom.consumer(consumer)
    answers: list[Any] = []

    def ask() -> None:
        answers.append(loom.gateway.chat(key, "@wanda/flow", header_idempotency_key="once"))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = loom.gateway.chat(key, "@wanda/flow", header_idempotency_key="once")
    assert again.status_code == 200
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len(world.receipts_of(consumer.address)) == 2
    assert len(loom.nodes[-1].asked) == 1


def test_deposits_and_receipts_still_agree(loom: Loom, world: World, consumer: Signer) -> None:
    """The consumer's deposit shrinks by what its receipts say, to the atom, also for failures."""
    broken_flow(loom, "all-or-nothing")
    loom.gateway.send_no_probes()  # else the third run may not begin
    key = loom.consumer(consumer, amount=10**8)
    for _ in range(3):
        loom.gateway.chat(key, "@wanda/flow")
    loom.gateway.stop()
    world.running.clear()
    spent, by_bond = (sum(one.receipt.charge for one in world.receipts_of(who.address)) for who in (consumer, WEAVER))
    assert by_bond == 557, "of the first: nothing came in"
    assert spent > 2 * 557
    assert world.balance(consumer.address) == 10**8 - spent
