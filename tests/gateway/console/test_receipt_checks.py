"""Receipts of a batch on a chain, checked by what the gateway serves to browsers: each check holds, and fails on what
was changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.api.representations import receipt_fields
from ledger.core.catalog.bids import encode
from ledger.core.receipts.receipt import Receipt, receipt_digest
from ledger.core.settlement.header import place_of
from ledger.core.values.ids import to_hex
from ledger.core.values.typed_data import Domain, Signer
from tests.javascript import BUNDLE, run
from tests.ledger.chain.conftest import a_chain, a_stage
from tests.ledger.chain.play import Play

PROGRAM = Path(__file__).with_name("evidence.mjs")
NAMES = ["Signature", "Price", "Place", "Sub-calls", "Tree", "Batch", "Chain", "Key"]
Case = dict[str, Any]


class Shown:
    """A lane's second batch, of 21 receipts, and what its gateway shows of each."""

    def __init__(self, play: Play) -> None:
        self.play = play
        play.post(play.honest())
        consumer = play.stage.consumers[0].address
        play.number += 2
        root = play.receipt(play.number, consumer)
        sub = play.receipt(play.number - 1, consumer, parent=root.call_id)
        root = play.receipt(play.number, consumer, subcalls=1, subcall_total=sub.price)
        self.receipts = [sub, root, *play.receipts(19)]
        self.file = play.post(play.book.honest(self.receipts))
        self.body = play.book.bodies[-1]

    def case(self, receipt: Receipt, **changed: Any) -> Case:
        """What the gateway shows of a receipt, which it signed."""
        domain = self.play.stage.domain
        signature = self.play.stage.operator.sign(receipt_digest(domain, receipt))
        return {
            "shown": {
                "receipt": receipt_fields(receipt),
                "signature": to_hex(signature),
                "terms": {"body": to_hex(encode(self.play.terms))},
                "domain": shown_domain(domain),
            },
            "batch": {"number": 2, "chain_id": 2},
            "file": to_hex(self.body),
            **changed,
        }

    def checked(self, *cases: Case) -> list[Any]:
        chain = self.play.chain
        told = {"rpc": chain.url, "settlement": to_hex(chain.calls.settlement), "cases": cases}
        return list(run(PROGRAM, BUNDLE, told=told))


def shown_domain(domain: Domain) -> dict[str, Any]:
    contract = to_hex(domain.contract)
    return {"name": domain.name, "version": domain.version, "chainId": domain.chain_id, "verifyingContract": contract}


def crosses(checks: list[dict[str, Any]]) -> list[str]:
    return [check["name"] for check in checks if check["ok"] is False]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    with a_chain(tmp_path_factory.mktemp("chain")) as chain:
        yield Shown(Play(a_stage(chain)))


def test_each_receipt_of_a_batch_on_chain_holds_as_the_core_computes_it(shown: Shown) -> None:
    found = shown.checked(*map(shown.case, shown.receipts))
    assert [[(check["name"], check["ok"]) for check in checks] for checks in found] == [
        [(name, True) for name in NAMES]
    ] * len(shown.receipts)
    for receipt, checks in zip(shown.receipts, found, strict=True):
        said = {check["name"]: dict(check["inputs"]) for check in checks}
        assert said["Signature"]["EIP-712 digest"] == to_hex(receipt_digest(shown.play.stage.domain, receipt))
        assert said["Place"]["place"] == str(place_of(shown.file.opening.ranges, receipt.gateway, receipt.seq))
        assert said["Tree"]["root"] == to_hex(shown.file.header.receipts_root)
        assert said["Batch"]["header id"] == said["Chain"]["header id on chain"] == to_hex(shown.file.header.id)


def test_a_changed_field_is_not_what_the_gateway_signed(shown: Shown) -> None:
    cases = []
    for name, value in receipt_fields(shown.receipts[1]).items():
        case = shown.case(shown.receipts[1])
        case["shown"]["receipt"] = {**case["shown"]["receipt"], name: another(value)}
        cases.append(case)
    for case, checks in zip(cases, shown.checked(*cases), strict=True):
        assert crosses(checks)[0] in ("Signature", "Receipt"), case["shown"]["receipt"]
        assert [check["name"] for check in checks if check["ok"]] in ([], ["Price"])


def another(value: object) -> object:
    """A value like this one, but for one digit."""
    if isinstance(value, dict):
        return {**value, "call": 2}
    if isinstance(value, int):
        return value + 1
    text = str(value)
    if text == "normal":
        return "timeout"
    return text[:-1] + ("1" if text[-1] != "1" else "2")


def test_a_lie_that_the_gateway_signed_is_told_by_the_check_that_it_breaks(shown: Shown) -> None:
    first, chain = shown.receipts[2], shown.play.chain
    stranger = Signer(b"\x55" * 32)
    forged = shown.case(first)
    forged["shown"]["signature"] = to_hex(stranger.sign(receipt_digest(shown.play.stage.domain, first)))
    high = shown.case(first)
    high["shown"]["signature"] = to_hex(malleated(bytes.fromhex(high["shown"]["signature"][2:])))
    other_terms = shown.case(first)
    other_terms["shown"]["terms"] = {"body": to_hex(encode(replace(shown.play.terms, subject=first.call_id)))}
    foreign = replace(shown.play.stage.domain, name="Not Tollway", version="666")
    elsewhere = shown.case(first)
    elsewhere["shown"]["domain"] = shown_domain(foreign)
    elsewhere["shown"]["signature"] = to_hex(shown.play.stage.operator.sign(receipt_digest(foreign, first)))
    lies: dict[str, tuple[Case, str]] = {
        "a domain in which no signature counts": (elsewhere, "Receipt"),
        "another signer": (forged, "Signature"),
        "a signature with a high s": (high, "Signature"),
        "a price that its terms do not make": (shown.case(first._replace(price=first.price + 1)), "Price"),
        "a charge that its terms do not make": (shown.case(first._replace(charge=first.charge + 1)), "Price"),
        "other terms": (other_terms, "Price"),
        "a second receipt of one number": (shown.case(first._replace(call_id=first.terms)), "Place"),
        "a receipt after the last": (shown.case(first._replace(seq=99)), "Place"),
        "another batch's file": (shown.case(first, file=to_hex(shown.play.book.bodies[0])), "Place"),
        "sub-calls that are not there": (shown.case(first._replace(subcalls=1)), "Place"),
        "a batch that is not there": (shown.case(first, batch={"number": 2, "chain_id": 3}), "Chain"),
        "a batch without a number on chain": (shown.case(first, batch={"number": 2, "chain_id": None}), "Chain"),
        "another batch of the lane": (shown.case(first, batch={"number": 2, "chain_id": 1}), "Chain"),
        "a contract that is not Settlement": (shown.case(first, settlement=to_hex(chain.calls.consumers)), "Chain"),
    }
    found = shown.checked(*(case for case, _ in lies.values()))
    assert {lie: crosses(checks)[0] for lie, checks in zip(lies, found, strict=True)} == {
        lie: name for lie, (_, name) in lies.items()
    }


def malleated(signature: bytes) -> bytes:
    """The other encoding of the same signature, which no library of ours takes."""
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    s = order - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes((55 - signature[64],))


def test_no_byte_of_a_batch_file_can_be_changed(shown: Shown) -> None:
    cases = []
    for at in [*range(0, 200, 3), *range(200, len(shown.body), 61)]:
        changed = bytearray(shown.body)
        changed[at] ^= 1
        cases.append(shown.case(shown.receipts[0], file=to_hex(bytes(changed))))
    for cut in (0, 3, 100, 500, len(shown.body) - 1):
        cases.append(shown.case(shown.receipts[0], file=to_hex(shown.body[:cut])))
    cases.append(shown.case(shown.receipts[0], file=to_hex(shown.body + b"\0")))
    unnoticed = [
        case["file"][:40] for case, checks in zip(cases, shown.checked(*cases), strict=True) if not crosses(checks)
    ]
    assert unnoticed == []


def test_an_old_batch_is_read_from_the_event_of_its_commit(shown: Shown) -> None:
    lane = to_hex(shown.play.stage.lane)
    assert shown.checked({"lane": lane, "old": 1}, {"lane": lane, "old": 2}) == [
        to_hex(file.header.id) for file in shown.play.book.files
    ]


def test_without_an_endpoint_the_chain_is_neither_a_tick_nor_a_cross(shown: Shown) -> None:
    [checks] = run(PROGRAM, BUNDLE, told={"cases": [shown.case(shown.receipts[0])]})
    assert [(check["name"], check["ok"]) for check in checks][-2:] == [("Batch", True), ("Chain", None)]
    waiting = {**shown.case(shown.receipts[0]), "batch": None, "file": None}
    [checks] = run(PROGRAM, BUNDLE, told={"cases": [waiting]})
    assert [(check["name"], check["ok"]) for check in checks] == [("Signature", True), ("Price", True), ("Place", None)]


def test_a_revoked_key_signed_what_ended_while_it_counted(shown: Shown) -> None:
    """The last test of this chain: its gateway's key does not come back."""
    play, stage, chain = shown.play, shown.play.stage, shown.play.chain
    revoke = chain.calls.to("Keys", "revokeGateway", stage.lane, stage.operator.address)
    chain.transact(stage.key(stage.operator), revoke)
    stage.wait(30 * 86_400)
    [late] = play.receipts(1)
    play.post(play.book.honest([late]))
    posted = {"batch": {"number": 3, "chain_id": 3}, "file": to_hex(play.book.bodies[-1])}
    early, checked = shown.checked(shown.case(shown.receipts[2]), shown.case(late, **posted))
    assert crosses(early) == []
    assert crosses(checked) == ["Key"]
    assert checked[-1]["says"] == "The key was revoked before it signed this."
