"""Mirrors: what logs say, copied into tables that hold nothing else. After a reorganisation they are read again."""

from collections.abc import Callable
from typing import Any

from sqlmodel import Session

from ledger.core.pricing.epochs import BidInForce
from ledger.core.settlement import events
from ledger.core.settlement.events import Event, Log
from ledger.store.chain import bids, lanes, names, parties
from ledger.store.session import value_of
from ledger.store.settlement import batches, challenges


def copy(session: Session, log: Log) -> None:
    """Copy what a log says. Logs that only move money or batches are not mirrored."""
    if type(log.event) in _COPIES:
        _COPIES[type(log.event)](session, log.event, log)


def _fell(session: Session, event: events.Fell, log: Log) -> None:
    lanes.change_lane(session, event.lane, era=event.era)
    challenges.lapse(session, event, log)


def _withdrawn(session: Session, event: events.Withdrawn, log: Log) -> None:
    final = None if event.escaped else batches.final_at(session, event.lane, log.timestamp * 1_000)
    left_at = final.header.closed_at if final is not None else log.timestamp
    lanes.withdraw(session, event.lane, event.account, event.amount, log.block, left_at)
    lane = lanes.get(session, event.lane)
    if event.escaped and lane is not None:
        lanes.change_lane(session, event.lane, era=lane.era + 1)


_COPIES: dict[type[Event], Callable[[Session, Any, Log], None]] = {
    events.Deposited: lambda session, e, _: lanes.deposit(session, e.lane, e.account, e.index, e.amount),
    events.Claimed: lambda session, e, _: lanes.claim(session, e.lane, e.index, e.payee, e.amount),
    events.WithdrawRequested: lambda session, e, log: lanes.request_withdrawal(
        session, e.lane, e.account, log.timestamp if e.leaves else None
    ),
    events.Withdrawn: _withdrawn,
    events.PayeeRegistered: lambda session, e, _: parties.put(session, e.payee, e.index),
    events.BidPlaced: lambda session, e, log: bids.place(session, value_of(BidInForce, e), log.block, log.index),
    events.StakeChanged: lambda session, e, _: parties.put_stake(session, value_of(parties.Stake, e)),
    events.SessionKeySet: lambda session, e, _: parties.put_session_key(session, e.account, e.key),
    events.SessionKeyRevoked: lambda session, e, _: parties.put_session_key(session, e.account, e.key, e.counts_until),
    events.GatewayAdded: lambda session, e, _: lanes.put_gateway(session, e.lane, e.key, e.number),
    events.GatewayRevoked: lambda session, e, _: lanes.revoke_gateway(session, e.lane, e.key, e.counts_until),
    events.UrlSet: lambda session, e, _: lanes.change_lane(session, e.lane, url=e.url),
    events.Fell: _fell,
    events.OwnerChanged: lambda session, e, _: parties.change_owner(session, e.id, e.to, e.from_epoch),
    events.OrganisationChanged: names.change_owner,
    events.OrganisationKeySet: names.set_key,
    events.NamePublished: names.put,
    events.ModelRegistered: lambda session, e, log: parties.put_model(session, e, log.block),
    events.WordsAsked: lambda session, e, log: challenges.put(session, e, log),
    events.ReceiptAsked: lambda session, e, log: challenges.put(session, e, log),
    events.MandateAsked: lambda session, e, log: challenges.put(session, e, log),
    events.FinalAsked: lambda session, e, log: challenges.put(session, e, log),
    events.Answered: lambda session, e, log: challenges.close(session, e.question, log),
    events.Closed: lambda session, e, log: challenges.close(session, e.question, log),
    events.LaneOpened: lambda session, e, _: lanes.put(
        session, lanes.Lane(e.lane, e.operator, e.window, e.answer_time, e.leverage, e.min_deposit)
    ),
    events.BondChanged: lambda session, e, _: lanes.change_lane(session, e.lane, bond=e.bond),
    events.LaneActive: lambda session, e, _: lanes.change_lane(session, e.lane, active=e.active),
}
"""The function that copies each event, by its type."""
