"""Logs of our contracts as core events, in the order of the chain; the keys of challenges as Settlement makes them."""

from collections.abc import Callable
from typing import Any

from ledger.chain.abi import encode, interface
from ledger.chain.deployments import Deployment
from ledger.core.catalog.bids import Bid, Role
from ledger.core.settlement import events
from ledger.core.settlement.events import Event, Log
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import Address, Digest, address
from ledger.core.values.meters import Rates

Arguments = dict[str, Any]

BID_EPOCHS = 24
"""A bid holds this long; BidBook's LIFE."""

_WATCHED = ("Settlement", "StakeVault", "BidBook", "Registry")


def demand_key(tree: int, node: bytes, index: int, depth: int) -> Digest:
    """The key of a demand for a tree node."""
    return keccak256(encode(["uint8", "bytes32", "uint256", "uint256"], [tree, node, index, depth]))


def debit_key(index: int, account: Address, cumulative: int) -> Digest:
    """The key of a challenge of a debit."""
    return keccak256(encode(["uint32", "address", "uint64"], [index, account, cumulative]))


def watched(deployment: Deployment) -> list[str]:
    """Addresses whose logs are read."""
    return [deployment.contracts[name] for name in _WATCHED]


def decode(
    deployment: Deployment, log: dict[str, Any], timestamp: int, answer_time: Callable[[int], int] = lambda lane: 0
) -> list[Log]:
    """What a JSON-RPC log of a block of this time says: one event, several (a range claim, a conviction), or none.

    `answer_time` gives a lane's answer time, for the deadline of a challenge.
    """
    by_address = {deployment.contracts[name]: name for name in _WATCHED}
    name = by_address.get(log["address"].lower())
    if name is None:
        return []
    topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
    found = interface(name).decode_log(topics, bytes.fromhex(log["data"][2:]))
    if found is None:
        return []
    event, arguments = found
    if event in ("DebitChallenged", "NodeDemanded"):
        arguments["deadline"] = timestamp + answer_time(arguments["lane"])
    build = _BUILDERS.get((name, event))
    if build is None:
        return []
    made = build(arguments)
    transaction = Digest(bytes.fromhex(log["transactionHash"][2:]))
    where = (int(log["blockNumber"], 16), transaction, int(log["logIndex"], 16), timestamp)
    return [Log(one, *where) for one in (made if isinstance(made, list) else [made])]


def _rates(values: Any) -> Rates:
    a, b, c, d, e, f = values
    return a, b, c, d, e, f


def _deposited(a: Arguments) -> Event:
    return events.Deposited(a["lane"], address(a["account"]), a["index"], a["amount"])


def _lane_opened(a: Arguments) -> Event:
    return events.LaneOpened(a["lane"], address(a["operator"]), a["window"], a["answerTime"], a["bond"])


def _debit_challenged(a: Arguments) -> Event:
    account = address(a["account"])
    key = debit_key(a["index"], account, a["cumulative"])
    return events.DebitChallenged(a["lane"], a["id"], key, a["index"], account, a["cumulative"], a["deadline"])


def _node_demanded(a: Arguments) -> Event:
    node = Digest(a["node"])
    key = demand_key(a["tree"], node, a["index"], a["depth"])
    return events.NodeDemanded(a["lane"], a["id"], key, a["tree"], node, a["index"], a["depth"], a["deadline"])


def _bid_placed(a: Arguments) -> Event:
    bid = Bid(a["ratioPpm"], _rates(a["asks"]))
    who = (Digest(a["subject"]), Role(a["role"]), address(a["party"]))
    return events.BidPlaced(*who, bid, a["fromEpoch"], a["fromEpoch"] + BID_EPOCHS)


def _model_registered(a: Arguments) -> Event:
    parents = tuple(Digest(parent) for parent in a["parents"])
    return events.ModelRegistered(Digest(a["id"]), address(a["owner"]), parents, Digest(a["terms"]))


def _voided(a: Arguments) -> list[Event]:
    return [events.Voided(a["lane"], a["id"], address(a["accuser"])), *_punished(a)]


def _punished(a: Arguments) -> list[Event]:
    """A conviction takes all the bond and pauses the lane."""
    slashed = events.LaneSlashed(a["lane"], a["bond"], address(a["accuser"]), a["bond"] // 2)
    return [slashed, events.BondChanged(a["lane"], 0), events.LaneActive(a["lane"], False)]


def _claimed_range(a: Arguments) -> list[Event]:
    rows = [(a["start"] + place, row) for place, row in enumerate(a["rows"]) if any(row)]
    return [
        events.Claimed(a["lane"], index, Address(row[4:24]), int.from_bytes(row[24:], "big")) for index, row in rows
    ]


_BUILDERS: dict[tuple[str, str], Callable[[Arguments], Event | list[Event]]] = {
    ("Settlement", "LaneOpened"): _lane_opened,
    ("Settlement", "BondChanged"): lambda a: events.BondChanged(a["lane"], a["bond"]),
    ("Settlement", "LaneActive"): lambda a: events.LaneActive(a["lane"], a["active"]),
    ("Settlement", "SessionKeySet"): lambda a: events.SessionKeySet(
        address(a["account"]), address(a["key"]), a["active"]
    ),
    ("Settlement", "Deposited"): _deposited,
    ("Settlement", "Committed"): lambda a: events.Committed(a["lane"], a["id"], Digest(a["headerHash"])),
    ("Settlement", "Finalized"): lambda a: events.Finalized(a["lane"], a["id"]),
    ("Settlement", "Voided"): _voided,
    ("Settlement", "Punished"): _punished,
    ("Settlement", "ClaimedRange"): _claimed_range,
    ("Settlement", "Claimed"): lambda a: events.Claimed(a["lane"], a["index"], address(a["payee"]), a["amount"]),
    ("Settlement", "WithdrawRequested"): lambda a: events.WithdrawRequested(a["lane"], address(a["account"])),
    ("Settlement", "Withdrawn"): lambda a: events.Withdrawn(a["lane"], address(a["account"]), a["amount"]),
    ("Settlement", "Escaped"): lambda a: events.Withdrawn(a["lane"], address(a["account"]), a["amount"], True),
    ("Settlement", "DebitChallenged"): _debit_challenged,
    ("Settlement", "NodeDemanded"): _node_demanded,
    ("Settlement", "Answered"): lambda a: events.Answered(a["lane"], a["id"], Digest(a["key"])),
    ("StakeVault", "StakeChanged"): lambda a: events.StakeChanged(
        address(a["party"]), a["staked"], a["unbonding"], a["releaseAt"]
    ),
    ("StakeVault", "Slashed"): lambda a: events.StakeSlashed(
        address(a["party"]), a["amount"], address(a["accuser"]), a["reward"]
    ),
    ("BidBook", "BidPlaced"): _bid_placed,
    ("Registry", "PayeeRegistered"): lambda a: events.PayeeRegistered(a["index"], address(a["party"])),
    ("Registry", "ModelRegistered"): _model_registered,
}
