"""A consumer's receipts in a terminal: what each call used and cost, and sums by day, model or key."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ledger.core.values.errors import Rejected
from roles.cli.shared import cells
from roles.client.gateway import GatewayClient, Json

PAGE = 1_000
WHOLE_ID, SHORT_ID = 66, 12
"""Characters of a call's id, and of its beginning, by which `receipt` and `verify` find it too."""
SUMS = ("day", "model", "key")


def every(gateway: GatewayClient) -> Iterator[Json]:
    """All receipts of the account (or key), newest first, page by page."""
    before: dict[str, int] = {}
    while True:
        page = gateway.get("/v1/receipts", limit=PAGE, **before)
        yield from page["data"]
        if not page["has_more"]:
            return
        before = {"before": page["before"]}


def row(receipt: Json, keys: Mapping[str, str]) -> dict[str, Any]:
    """What one call was, used and cost. A workflow's sub-call has a `>`: its charge is a part of what the run cost."""
    noted = receipt.get("noted", {})
    return {
        "ended_at": receipt["ended_at"],
        "model": "> " * bool(int(receipt["parent"], 16)) + noted.get("model", ""),
        "used": cells.used({name: count for name, count in receipt["units"].items() if "_" in name}),
        "charge": receipt["charge"],
        "key": keys.get(noted.get("key", ""), noted.get("key", "")),
        "provider": noted.get("provider") or "",
        "call": receipt["call_id"][:SHORT_ID],
    }


def sums(receipts: Sequence[Json], by: str, keys: Mapping[str, str]) -> list[dict[str, Any]]:
    """Calls, tokens and charges by day, model or key; the dearest first, days in order."""
    found: dict[str, dict[str, Any]] = {}
    for receipt in receipts:
        units, name = receipt["units"], _of(receipt, by, keys)
        one = found.setdefault(name, {by: name, "calls": 0, "input_token": 0, "output_token": 0, "charge": 0})
        one["calls"] += 1
        one["charge"] += int(receipt["charge"])
        if not receipt["subcalls"]:  # a run's own units are its steps' once more
            one["input_token"] += units.get("input_token", 0)
            one["output_token"] += units.get("output_token", 0)
    rows = sorted(found.values(), key=lambda one: one["day"] if by == "day" else -one["charge"])
    return [{**one, "charge": str(one["charge"])} for one in rows]


def labels(keys: Sequence[Json]) -> dict[str, str]:
    """The names of API keys, by id."""
    return {key["id"]: key["label"] or key["id"] for key in keys}


def whole_id(gateway: GatewayClient, text: str) -> str:
    """A receipt's id from what was typed: a whole one, or the beginning of a call's id that no other call's has."""
    if "-" in text or len(text) >= WHOLE_ID or len(text) < SHORT_ID:
        return text
    found = {one["call_id"] for one in every(gateway) if one["call_id"].startswith(text.lower())}
    if len(found) > 1:
        raise Rejected(f"{len(found)} receipts begin with {text}: type more of the id", id=text)
    return found.pop() if found else text


def _of(receipt: Json, by: str, keys: Mapping[str, str]) -> str:
    noted = receipt.get("noted", {})
    if by == "day":
        return cells.utc(receipt["ended_at"])[:10]
    return keys.get(noted.get("key", ""), noted.get("key", "")) if by == "key" else noted.get("model", "")
