"""Mirrors: what logs say, copied into tables that hold nothing else. After a reorganisation they are read again."""

from sqlmodel import Session

from ledger.core.pricing.epochs import Standing
from ledger.core.settlement import events
from ledger.core.settlement.events import Log
from ledger.store.chain import bids, lanes, models, parties
from ledger.store.settlement import challenges


def copy(session: Session, log: Log) -> None:
    """Copy what a log says. Logs that only move money or batches are not mirrored."""
    match log.event:
        case events.Deposited(lane, account, index, amount):
            lanes.deposit(session, lane, account, index, amount)
        case events.Claimed(lane, index, payee, amount):
            lanes.claim(session, lane, index, payee, amount)
        case events.WithdrawRequested(lane, account):
            lanes.request_withdrawal(session, lane, account, log.timestamp)
        case events.Withdrawn(lane, account, amount, _):
            lanes.withdraw(session, lane, account, amount)
        case events.PayeeRegistered(index, payee):
            parties.put(session, payee, index)
        case events.BidPlaced(subject, role, party, bid, first, until):
            standing = Standing(subject, role, party, bid, first, until)
            bids.place(session, bids.Placed(standing, log.block, log.index))
        case events.StakeChanged(party, active, unbonding, release_at):
            parties.put_stake(session, parties.Stake(party, active, unbonding, release_at))
        case events.SessionKeySet(account, key, active):
            parties.put_session_key(session, account, key, active)
        case events.ModelRegistered():
            models.put(session, log.event, log.block)
        case events.DebitChallenged() | events.NodeDemanded():
            challenges.put(session, log.event)
        case events.Answered(_, _, key):
            challenges.close(session, key)
        case events.LaneOpened(lane, operator, window, answer_time, bond):
            lanes.put(session, lanes.Lane(lane, operator, window, answer_time, bond))
        case events.BondChanged(lane, bond):
            lanes.set_bond(session, lane, bond)
        case events.LaneActive(lane, active):
            lanes.set_active(session, lane, active)
        case _:
            pass
