"""Logs of our contracts as core events, in the order of the chain."""

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any, cast

from ledger.chain.abi import interface
from ledger.chain.calls import header_of
from ledger.core.catalog.bids import Bid, Role
from ledger.core.pricing.epochs import lapse
from ledger.core.settlement import events
from ledger.core.settlement.events import Event, Log
from ledger.core.values.ids import Address, Digest, address
from ledger.core.values.meters import Rates
from ledger.deployments import Deployment

Arguments = dict[str, Any]

_WATCHED = ("Settlement", "Keys", "Questions", "StakeVault", "BidBook", "Registry")


def watched(deployment: Deployment) -> list[str]:
    return [deployment.contracts[name] for name in _WATCHED]


def decode(deployment: Deployment, log: dict[str, Any], timestamp: int) -> list[Log]:
    """The events in a JSON-RPC log of a block of this time: one, several (a range claim), or none."""
    by_address = {deployment.contracts[name]: name for name in _WATCHED}
    name = by_address.get(log["address"].lower())
    if name is None:
        return []
    topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
    decoded = interface(name).decode_log(topics, bytes.fromhex(log["data"][2:]))
    if decoded is None:
        return []
    event, arguments = decoded
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


def _bid_placed(a: Arguments) -> Event:
    return events.BidPlaced(
        subject=Digest(a["subject"]),
        role=Role(a["role"]),
        party=address(a["party"]),
        bid=Bid(a["ratioPpm"], cast(Rates, tuple(a["asks"]))),
        first=a["fromEpoch"],
        until=lapse(Role(a["role"]), a["fromEpoch"]),
        number=a["number"],
    )


def _model_registered(a: Arguments) -> Event:
    parents = tuple(events.NamedParent(*map(Digest, parent)) for parent in a["parents"])
    return _event(events.ModelRegistered, {**a, "parents": parents})


def _lane_opened(a: Arguments) -> Event:
    window, answer_time, leverage, min_deposit = a["terms"]
    times = {"window": window, "answerTime": answer_time, "leverage": leverage, "minDeposit": min_deposit}
    return _event(events.LaneOpened, {**a, **times})


def _committed(a: Arguments) -> Event:
    return events.Committed(address(a["lane"]), a["id"], header_of(a["header"]), a["until"])


def _mandate_asked(a: Arguments) -> Event:
    index, account, cumulative = a["debit"]
    return _event(events.MandateAsked, {**a, "index": index, "account": account, "cumulative": cumulative})


def _claimed_range(a: Arguments) -> list[Event]:
    rows = [(a["start"] + place, row) for place, row in enumerate(a["rows"]) if row]
    return [
        events.Claimed(address(a["lane"]), index, Address((row >> 64).to_bytes(20, "big")), row & 0xFFFFFFFFFFFFFFFF)
        for index, row in rows
    ]


_NAMED_ALIKE = {
    "Settlement": (
        events.BondChanged,
        events.LaneActive,
        events.Deposited,
        events.Finalized,
        events.Claimed,
        events.WithdrawRequested,
        events.Withdrawn,
    ),
    "Keys": (
        events.UrlSet,
        events.SessionKeySet,
        events.SessionKeyRevoked,
        events.GatewayAdded,
        events.GatewayRevoked,
    ),
    "Questions": (
        events.WordsAsked,
        events.ReceiptAsked,
        events.FinalAsked,
        events.WordsShown,
        events.ReceiptShown,
        events.MandateShown,
        events.FinalShown,
        events.Answered,
        events.Closed,
    ),
    "Registry": (
        events.OwnerChanged,
        events.TermsChanged,
        events.OrganisationChanged,
        events.OrganisationKeySet,
        events.NamePublished,
    ),
}
_BUILDERS: dict[tuple[str, str], Callable[[Arguments], Event | list[Event]]] = {
    **{(name, kind.__name__): partial(_event, kind) for name, kinds in _NAMED_ALIKE.items() for kind in kinds},
    ("Settlement", "LaneOpened"): _lane_opened,
    ("Settlement", "Committed"): _committed,
    ("Settlement", "Fell"): lambda a: _event(events.Fell, {**a, "first": a["from"]}),
    ("Settlement", "ClaimedRange"): _claimed_range,
    ("Questions", "MandateAsked"): _mandate_asked,
    ("StakeVault", "StakeChanged"): lambda a: _event(events.StakeChanged, {**a, "active": a["staked"]}),
    ("BidBook", "BidPlaced"): _bid_placed,
    ("Registry", "ModelRegistered"): _model_registered,
    ("Registry", "PayeeRegistered"): lambda a: _event(events.PayeeRegistered, {**a, "payee": a["party"]}),
}
