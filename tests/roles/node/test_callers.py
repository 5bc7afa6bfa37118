"""A node serves the gateways of its lane and nobody else: each head is of one call, recent, and used once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from ledger.core.receipts.service_proofs import attempt_id
from ledger.core.values.call_heads import HEADER, SKEW_MS
from ledger.core.values.errors import Unavailable
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Lane
from ledger.core.values.typed_data import Signer
from roles.node import callers as checking
from roles.node.callers import Callers
from roles.node.models.loader import LoadedModels, load
from roles.node.server import application
from roles.node.state import State
from tests.roles.node.conftest import MODELS
from tests.roles.node.gateways import GATEWAY, LANE, PROVIDER, callers, headed, now_ms

ATTEMPT, OTHER_ATTEMPT = (attempt_id(keccak256(b"a call"), number) for number in (0, 1))
BODY = json.dumps({"model": "emotion", "messages": [{"role": "user", "content": "I love this!"}]}).encode()
INFER = "/v2/models/emotion/infer"
TENSORS = json.dumps({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["I love it"]}]}).encode()
Client = TestClient[web.Request, web.Application]
STRANGER = Signer(b"\x66" * 32)


async def serving(checked: Callers) -> AsyncIterator[Client]:
    """A node with one model that checks its callers."""
    model = load(MODELS / "emotion", ThreadPoolExecutor(1), most=4, queue=8)
    state = State(LoadedModels([("emotion", model)]), checked)
    async with TestClient(TestServer(application(state))) as client:
        yield client


@pytest.fixture
async def node() -> AsyncIterator[Client]:
    """It serves one gateway."""
    async for client in serving(callers(GATEWAY)):
        yield client


async def refusal(node: Client, headers: dict[str, str], body: bytes = TENSORS, path: str = INFER) -> str:
    """Why a call is refused."""
    answer = await node.post(path, data=body, headers=headers)
    said = await answer.json()
    error = said["error"] if isinstance(said["error"], dict) else said  # in the Open Inference Protocol it is a text
    assert (answer.status, error["code"]) == (401, "not_a_gateway"), said
    return str(error["message"])


async def test_a_gateway_of_the_lane_is_served_in_both_protocols(node: Client) -> None:
    answer = await node.post(INFER, data=TENSORS, headers=headed(ATTEMPT, TENSORS, INFER))
    assert answer.status == 200, await answer.text()
    quoted = INFER.replace("emotion", "%65motion")
    answer = await node.post(quoted, data=TENSORS, headers=headed(OTHER_ATTEMPT, TENSORS, INFER))
    assert answer.status == 200, "a path that a proxy quoted anew is the same path"
    answer = await node.post("/v1/chat/completions", data=BODY, headers=headed(ATTEMPT, BODY))
    assert answer.status == 200, await answer.text()


async def test_who_only_knows_the_url_reads_health_and_models_and_nothing_else(node: Client) -> None:
    for path in ("/v1/models", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/emotion"):
        assert (await node.get(path)).status == 200
    for path, body in ((INFER, TENSORS), ("/v1/chat/completions", BODY)):
        assert "serves gateways of lane" in await refusal(node, {}, body, path)


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        (lambda: headed(ATTEMPT, TENSORS, INFER, signer=STRANGER), "is no gateway"),
        (lambda: headed(ATTEMPT, TENSORS, INFER, lane=Lane(bytes(20))), "serves lane"),
        (lambda: headed(ATTEMPT, TENSORS, INFER, at=now_ms() - SKEW_MS - 1_000), "apart"),
        (lambda: headed(ATTEMPT, TENSORS, INFER, at=now_ms() + SKEW_MS + 1_000), "apart"),
        (lambda: headed(ATTEMPT, BODY, INFER), "not of this request"),
        (lambda: headed(ATTEMPT, TENSORS), "not of this request"),
        (
            lambda: (
                headed(ATTEMPT, TENSORS, INFER) | {"Idempotency-Key": headed(OTHER_ATTEMPT, TENSORS)["Idempotency-Key"]}
            ),
            "not of this request",
        ),
    ],
    ids=["stranger", "other lane", "late", "early", "other body", "other path", "other attempt"],
)
async def test_a_head_counts_for_its_own_request_only(
    node: Client, headers: Callable[[], dict[str, str]], why: str
) -> None:
    assert why in await refusal(node, headers())


async def test_a_public_key_of_the_gateway_without_its_secret_proves_nothing(node: Client) -> None:
    lane, _, at, code = headed(ATTEMPT, TENSORS, INFER, signer=STRANGER)[HEADER].split(":")
    forged = f"{lane}:{GATEWAY.public.hex()}:{at}:{code}"
    assert "not of this request" in await refusal(node, headed(ATTEMPT, TENSORS, INFER) | {HEADER: forged})


async def test_a_call_that_somebody_recorded_is_not_served_again(node: Client) -> None:
    headers = headed(ATTEMPT, TENSORS, INFER)
    assert (await node.post(INFER, data=TENSORS, headers=headers)).status == 200
    assert "sent before" in await refusal(node, headers)
    again = headed(ATTEMPT, TENSORS, INFER, at=now_ms() + 1)
    assert (await node.post(INFER, data=TENSORS, headers=again)).status == 200, "a gateway may try an attempt again"


async def test_a_malformed_head_is_refused_before_the_body(node: Client) -> None:
    for text in ("", "a:b:c:d", headed(ATTEMPT, TENSORS, INFER)[HEADER] + "0"):
        answer = await node.post(INFER, data=TENSORS, headers={HEADER: text})
        assert answer.status == 400


class Chain:
    """Lists keys as told."""

    def __init__(self) -> None:
        self.keys: frozenset[Address] = frozenset()
        self.asked, self.silent = 0, False

    def list_keys(self, lane: Lane) -> frozenset[Address]:
        assert lane == LANE
        self.asked += 1
        if self.silent:
            raise Unavailable("the chain does not answer")
        return self.keys


async def test_unknown_keys_make_a_node_ask_the_chain_once(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = Chain()
    async for node in serving(Callers(PROVIDER, LANE, chain.list_keys)):
        for number in range(1, 30):
            stranger = Signer(number.to_bytes(32, "big"))
            await refusal(node, headed(ATTEMPT, TENSORS, INFER, signer=stranger))
        assert chain.asked == 1
        monkeypatch.setattr(checking, "AGAIN_SECONDS", 0)
        chain.keys = frozenset((GATEWAY.address,))
        assert (await node.post(INFER, data=TENSORS, headers=headed(ATTEMPT, TENSORS, INFER))).status == 200


async def test_a_revoked_key_is_refused_once_the_list_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = Chain()
    chain.keys = frozenset((GATEWAY.address,))
    async for node in serving(Callers(PROVIDER, LANE, chain.list_keys)):
        assert (await node.post(INFER, data=TENSORS, headers=headed(ATTEMPT, TENSORS, INFER))).status == 200
        chain.keys = frozenset()
        monkeypatch.setattr(checking, "FRESH_SECONDS", 0)
        monkeypatch.setattr(checking, "AGAIN_SECONDS", 0)
        assert "is no gateway" in await refusal(node, headed(OTHER_ATTEMPT, TENSORS, INFER))


async def test_while_the_chain_is_silent_known_gateways_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "FRESH_SECONDS", 0)
    monkeypatch.setattr(checking, "AGAIN_SECONDS", 0)
    chain = Chain()
    chain.keys = frozenset((GATEWAY.address,))
    async for node in serving(Callers(PROVIDER, LANE, chain.list_keys)):
        assert (await node.post(INFER, data=TENSORS, headers=headed(ATTEMPT, TENSORS, INFER))).status == 200
        chain.silent = True
        assert (await node.post(INFER, data=TENSORS, headers=headed(OTHER_ATTEMPT, TENSORS, INFER))).status == 200
        answer = await node.post(INFER, data=TENSORS, headers=headed(ATTEMPT, TENSORS, INFER, signer=STRANGER))
        assert (answer.status, "does not answer" in await answer.text()) == (503, True)
