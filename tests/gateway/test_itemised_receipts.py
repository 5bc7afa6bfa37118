"""What `weaver run` prints, against a real gateway: every line of every receipt, added up by the reader."""

from __future__ import annotations

import pytest

from ledger.core.pricing.commissions import Referral, token
from ledger.core.values.errors import Conflict
from ledger.core.values.ids import cid, to_hex
from ledger.core.values.typed_data import Signer
from roles.audit import verification
from roles.client.gateway import GatewayClient
from tests.gateway.workflows import LAST, Loom, echoing, inferring, pinned
from tests.gateway.world import DOMAIN, PROVIDER, a_signer


def test_the_lines_of_a_nested_workflow_add_up_to_what_was_paid(loom: Loom, consumer: Signer) -> None:
    model = loom.classifier("m", inferring("a"), ask="900")
    inner = loom.capsule(
        pinned("m", model, {"text": "$.text"}), output={"label": "$steps.m.output.label"}, name="@wanda/inner"
    )
    talk = loom.talker("talk", echoing())
    outer = loom.capsule(
        {"id": "inner", "uses": {"capsule": cid(inner)}, "input": {"text": LAST}},
        pinned("reply", talk, {"messages": [{"role": "user", "content": "it is {$steps.inner.output.label}"}]}),
        output={"content": "$steps.reply.output.content"},
        distribution={"weaver": {"ratio_ppm": 100_000, "ask": {}}, "curation": {"offer_ppm": 400_000}},
    )
    word = token(Referral(a_signer("curator").address, outer, 500_000, 9, 2**62), a_signer("curator"), DOMAIN)
    key = loom.consumer(consumer)
    answer = loom.gateway.chat(key, "@wanda/flow", header_tollway_referral=word)
    assert answer.status_code == 200, answer.text
    rows = list(verification.lines(GatewayClient(loom.gateway.url, key), answer.headers["tollway-receipt"]))
    calls = [row["what"].strip() for row in rows if not row["what"].strip().startswith("·")]
    assert sorted(calls) == ["@acme/m", "@acme/talk", "@wanda/flow", "@wanda/inner"]
    paid = sum(int(row["atoms"]) for row in rows if row["party"] and "rebate" not in row["what"])
    assert paid == int(answer.headers["tollway-charge"])
    assert {row["party"] for row in rows if "compute" in row["what"]} == {to_hex(PROVIDER.address)}
    assert any("rebate" in row["what"] for row in rows)


def test_a_receipt_that_does_not_cost_what_its_terms_say_is_reported(
    loom: Loom, consumer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loom.classifier("m", inferring("a"))
    loom.capsule(pinned("m", model, {"text": LAST}), output={"content": "$steps.m.output.label"})
    key = loom.consumer(consumer)
    answer = loom.gateway.chat(key, "@wanda/flow")
    gateway, honest = GatewayClient(loom.gateway.url, key), GatewayClient.get

    def lying(self: GatewayClient, path: str, **query: object) -> object:
        shown = honest(self, path, **query)
        shown["receipt"]["price"] = str(int(shown["receipt"]["price"]) + 1)
        return shown

    monkeypatch.setattr(GatewayClient, "get", lying)
    with pytest.raises(Conflict, match="its terms give"):
        list(verification.lines(gateway, answer.headers["tollway-receipt"]))
