"""Webhooks as their owners use them: a receiver, and the messages that it got, checked by the stock library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
import standardwebhooks

from ledger.core.values.typed_data import Signer
from tests.gateway.nodes import Asked, Node
from tests.gateway.test_who_pays import eventually
from tests.gateway.world import Running


@dataclass
class Hook:
    """A webhook that was made, its owner's client, and where it leads."""

    id: str
    secret: str
    http: httpx.Client
    receiver: Node

    def read(self, one: Asked) -> Any:
        """A message, after the stock library has verified it."""
        return standardwebhooks.Webhook(self.secret).verify(one.body, one.headers)

    def got(self, count: int = 1) -> list[Any]:
        """The messages that came here, each once, in their order, as soon as there are so many."""
        eventually(lambda: len({one.headers["webhook-id"] for one in self.receiver.asked}) >= count)
        by_id = {one.headers["webhook-id"]: self.read(one) for one in self.receiver.asked}
        assert len(by_id) == count
        return list(by_id.values())

    def messages(self) -> list[dict[str, Any]]:
        """What the gateway says of them, the newest first."""
        return list(self.http.get(f"/v1/webhooks/{self.id}/messages").json()["data"])

    def shown(self) -> dict[str, Any]:
        """What the gateway says of the webhook."""
        found = self.http.get("/v1/webhooks").json()["data"]
        return next(dict(one) for one in found if one["id"] == self.id)

    def try_it(self) -> str:
        """The id of a message that was asked for."""
        answer = self.http.post(f"/v1/webhooks/{self.id}/test")
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def ended(self, message: str) -> dict[str, Any]:
        """A message after its next attempt."""
        eventually(lambda: next(one for one in self.messages() if one["id"] == message)["attempts"] > 0)
        return next(one for one in self.messages() if one["id"] == message)


def a_hook(gateway: Running, owner: Signer, receiver: Node, *events: str, **more: Any) -> Hook:
    """A webhook of an account's at a receiver."""
    http = gateway.of(owner)
    body = {"url": f"{receiver.url}/hook?from=tollway", "events": list(events or ("batch.final",)), **more}
    made = http.post("/v1/webhooks", json=body)
    assert made.status_code == 201, made.text
    return Hook(made.json()["id"], made.json()["secret"], http, receiver)
