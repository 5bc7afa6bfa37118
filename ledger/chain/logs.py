"""Logs of our contracts as core events, in the order of the chain; the keys of challenges as Settlement makes them."""

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any, cast

from ledger.chain.abi import encode, interface
from ledger.core.catalog.bids import Bid, Role
from ledger.core.pricing.epochs import MAX_EPOCHS
from ledger.core.settlement import events
from ledger.core.settlement.events import Event, Log
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, address
from ledger.core.values.meters import Rates
from ledger.deployments import Deployment

Arguments = dict[str, Any]

_WATCHED = ("Settlement", "StakeVault", "BidBook", "Registry")


def demand_key(tree: int, node: bytes, index: int, depth: int) -> Digest:
    return keccak256(encode(["uint8", "bytes32", "uint256", "uint256"], [tree, node, index, depth]))


def debit_key(index: int, account: Address, cumulative: int) -> Digest:
    return keccak256(encode(["uint32", "address", "uint64"], [index, account, cumulative]))


def watched(deployment: Deployment) -> list[str]:
    return [deployment.contracts[name] for name in _WATCHED]


def decode(
    deployment: Deployment, log: dict[str, Any], timestamp: int, answer_time: Callable[[int], int] = lambda lane: 0
) -> list[Log]:
    """The events in a JSON-RPC log of a block of this time: one, several (a range claim, a conviction), or none.

    `answer_time` gives a lane's answer time, for the deadline of a challenge.
    """
    by_address = {deployment.contracts[name]: name for name in _WATCHED}
    name = by_address.get(log["address"].lower())
    if name is None:
        return []
    topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
    decoded = interface(name).decode_log(topics, bytes.fromhex(log["data"][2:]))
    if decoded is None:
        return []
    event, arguments = decoded
    if event in ("DebitChallenged", "NodeDemanded"):
        arguments["deadline"] = timestamp + answer_time(arguments["lane"])
    build = _BUILDERS.get((name, event))
    if build is None:
        return []
    built = build(arguments)
    transaction = Digest(bytes.fromhex(log["transactionHash"][2:]))
    where = (int(log["blockNumber"], 16), transaction, int(log["logIndex"], 16), timestamp)
    return [Log(one, *where) for one in (built if isinstance(built, list) else [built])]


_VALUES: dict[Any, Callable[[Any], Any]] = {
    Address: address,
    Digest: Digest,
    tuple[Digest, ...]: lambda values: tuple(map(Digest, values)),
}
"""Conversions of ABI values to event fields of these types; numbers and booleans are as they are."""


def _event(kind: Any, arguments: Arguments) -> Event:
    """An event whose fields have the names of the log's arguments, with underscores for camel case."""
    values = {}
    for field in fields(kind):
        first, *rest = field.name.split("_")
        value = arguments[first + "".join(map(str.capitalize, rest))]
        values[field.name] = _VALUES[field.type](value) if field.type in _VALUES else value
    return cast(Event, kind(**values))


def _debit_challenged(a: Arguments) -> Event:
    key = debit_key(a["index"], address(a["account"]), a["cumulative"])
    return _event(events.DebitChallenged, {**a, "key": key})


def _node_demanded(a: Arguments) -> Event:
    return _event(events.NodeDemanded, {**a, "key": demand_key(a["tree"], a["node"], a["index"], a["depth"])})


def _bid_placed(a: Arguments) -> Event:
    return events.BidPlaced(
        subject=Digest(a["subject"]),
        role=Role(a["role"]),
        party=address(a["party"]),
        bid=Bid(a["ratioPpm"], cast(Rates, tuple(a["asks"]))),
        first=a["fromEpoch"],
        until=a["fromEpoch"] + MAX_EPOCHS,
    )


def _punished(a: Arguments) -> list[Event]:
    """A conviction takes all the bond and pauses the lane."""
    return [events.BondChanged(a["lane"], 0), events.LaneActive(a["lane"], False)]


def _claimed_range(a: Arguments) -> list[Event]:
    rows = [(a["start"] + place, row) for place, row in enumerate(a["rows"]) if any(row)]
    return [
        events.Claimed(a["lane"], index, Address(row[4:24]), int.from_bytes(row[24:], "big")) for index, row in rows
    ]


_NAMED_ALIKE = (
    events.LaneOpened,
    events.BondChanged,
    events.LaneActive,
    events.SessionKeySet,
    events.Deposited,
    events.Committed,
    events.Finalized,
    events.Claimed,
    events.WithdrawRequested,
    events.Answered,
)
_BUILDERS: dict[tuple[str, str], Callable[[Arguments], Event | list[Event]]] = {
    **{("Settlement", kind.__name__): partial(_event, kind) for kind in _NAMED_ALIKE},
    ("Settlement", "Voided"): lambda a: [_event(events.Voided, a), *_punished(a)],
    ("Settlement", "Punished"): _punished,
    ("Settlement", "ClaimedRange"): _claimed_range,
    ("Settlement", "Withdrawn"): partial(_event, events.Withdrawn),
    ("Settlement", "Escaped"): partial(_event, events.Withdrawn),
    ("Settlement", "DebitChallenged"): _debit_challenged,
    ("Settlement", "NodeDemanded"): _node_demanded,
    ("StakeVault", "StakeChanged"): lambda a: _event(events.StakeChanged, {**a, "active": a["staked"]}),
    ("BidBook", "BidPlaced"): _bid_placed,
    ("Registry", "PayeeRegistered"): lambda a: _event(events.PayeeRegistered, {**a, "payee": a["party"]}),
    ("Registry", "ModelRegistered"): partial(_event, events.ModelRegistered),
}
