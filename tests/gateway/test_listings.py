"""What agents read first: x402's bazaar by its stock client, the list of routes that take x402, and llms.txt."""

from __future__ import annotations

from typing import Any

import httpx
from x402.extensions.bazaar import with_bazaar
from x402.extensions.bazaar.facilitator_client import DiscoveryResourcesResponse, ListDiscoveryResourcesParams
from x402.http import FacilitatorConfig, HTTPFacilitatorClientSync
from x402.http.clients.httpx import x402HttpxClient

from ledger.core.values.ids import did, to_hex
from tests.gateway.nodes import Node, answering
from tests.gateway.test_exports import CHAT, EMOTION, FLOW, LABELS, Shop, shop
from tests.gateway.test_x402 import BODY, PRICE, a_client, chain
from tests.gateway.world import MAKER, Running, World, a_model

__all__ = ["chain", "shop"]


def listed(gateway: Running, **asked: object) -> DiscoveryResourcesResponse:
    """What x402's client of bazaars reads."""
    facilitator: Any = HTTPFacilitatorClientSync(FacilitatorConfig(url=gateway.url))
    client = with_bazaar(facilitator)
    return client.extensions.bazaar.list_resources(ListDiscoveryResourcesParams(**asked))  # type: ignore[arg-type]


async def test_x402s_bazaar_has_each_model_with_a_body_that_is_paid_and_called(chain: World, node: Node) -> None:
    labels = Node(answering(LABELS)).start()
    subject = chain.publish(a_model(EMOTION, "oip/2", owner=did(chain.chain_id, MAKER.address)))
    chain.serve(subject, labels.url)
    gateway = chain.gateway()
    wallet, payer = a_client()
    found = listed(gateway, type="http", limit=10)
    assert (found.x402_version, found.pagination.total, len(found.items)) == (2, 2, 2)
    async with x402HttpxClient(wallet, timeout=60) as http:
        for item in found.items:
            [way] = item.accepts or []
            assert (way["amount"], way["payTo"], item.service_name) == (str(PRICE), to_hex(chain.lane), "Tollway")
            assert item.extensions is not None
            body = item.extensions["bazaar"]["info"]["input"]["body"]
            answer = await http.post(item.resource, json=body)
            assert answer.status_code == 200, answer.text
    assert len(chain.receipts_of(payer)) == 2
    labels.stop()
    assert [len(listed(gateway, **asked).items) for asked in PAGES] == [1, 1, 0, 0, 0, 0]
    assert listed(gateway, network="eip155:31337", scheme="exact").pagination.total == 2
    unpaid = gateway.http.post("/v1/chat/completions", json=BODY).json()["error"]
    assert unpaid["extensions"]["bazaar"]["info"]["input"]["body"]["model"] == CHAT


PAGES = ({"limit": 1}, {"offset": 1}, {"offset": 2}, {"type": "mcp"}, {"network": "eip155:1"}, {"scheme": "upto"})


def test_the_routes_that_take_x402_are_named(chain: World) -> None:
    gateway = chain.gateway(public_url="https://gateway.example")
    said = gateway.http.get("/.well-known/x402").json()
    assert said["resources"] == ["https://gateway.example/v1/chat/completions"]
    assert said["discovery"] == "https://gateway.example/discovery/resources"


def test_on_a_private_grid_there_is_nothing_to_pay_for_by_x402(shop: Shop) -> None:
    assert listed(shop.gateway).items == []
    assert shop.gateway.http.get("/.well-known/x402").json()["resources"] == []


def test_a_page_for_readers_names_each_model_with_a_body_that_calls_it(shop: Shop) -> None:
    page = shop.gateway.http.get("/llms.txt")
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (200, "text/plain")
    lines = page.text.split("\n")
    bodies = [line.strip().strip("`").split("` `") for line in lines if line.startswith("  `POST ")]
    assert [line[2:].partition(":")[0] for line in lines if line.startswith("- @")] == [CHAT, EMOTION, FLOW]
    for route, body in bodies:
        answer = httpx.post(shop.gateway.url + route.removeprefix("POST "), content=body, headers=shop.headers)
        assert answer.status_code == 200, answer.text
    assert len(bodies) == 3
    assert "\x1b" not in page.text, "owners' words are on one line, without control characters"
