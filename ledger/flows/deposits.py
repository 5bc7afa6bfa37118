"""Deposits: relay the transfers that consumers signed, and record what becomes of each.

An authorization names its lane and its account, so a relayed deposit cannot credit anybody else.
"""

from collections import Counter
from collections.abc import Callable

from sqlmodel import Session

from ledger.chain.calls import Authorization, Calls
from ledger.chain.sender import Wire, look
from ledger.core.settlement.transactions import Call, Status
from ledger.core.values.atoms import Atoms
from ledger.core.values.ids import Address, Lane
from ledger.store.access import deposits
from ledger.store.access.deposits import DepositRequest
from ledger.store.chain import chain_time
from ledger.store.settlement import transactions


def send_deposits(
    session: Session, lane: Lane, calls: Calls, balance: Callable[[Address], Atoms], sender: Address, now: int
) -> int:
    """Intend the deposits consumers asked for. Returns how many.

    One that its account's tokens (`balance`) cannot pay fails at once, and one that they cannot pay beside those on
    their way waits: a transfer that fails on chain costs the operator gas.
    """
    made, on_their_way, tokens = 0, Counter[Address](), dict[Address, Atoms]()
    for one in deposits.sent(session, lane):
        on_their_way[one.account] += one.amount
    for asked in deposits.requested(session, lane):
        account = asked.account
        if account not in tokens:
            tokens[account] = balance(account)
        if asked.amount > tokens[account]:
            error = f"its account has {tokens[account]} atoms, the payment is of {asked.amount}"
            deposits.set_status(session, asked, "failed", error)
        elif asked.amount > tokens[account] - on_their_way[account]:
            continue
        elif transactions.intend_again(session, lane, asked.purpose, sender, _call(calls, asked), now):
            deposits.set_status(session, asked, "sent")
            on_their_way[account] += asked.amount
            made += 1
    return made


def follow_deposits(session: Session, lane: Lane) -> int:
    """Note what became of sent deposits: credited once their block is indexed, failed in the contract's words."""
    clock, done = chain_time.get(session), 0
    for asked in deposits.sent(session, lane):
        _, sent = transactions.latest(session, lane, asked.purpose)
        if sent is None or sent.status is Status.lost:
            deposits.set_status(session, asked, "requested")
        elif sent.status is Status.failed:
            deposits.set_status(session, asked, "failed", sent.error)
        elif sent.status is Status.confirmed and clock and sent.block is not None and sent.block <= clock.number:
            deposits.set_credited(session, asked, sent.block)
        else:
            continue
        done += 1
    return done


def credit_mined(session: Session, lane: Lane, wire: Wire, block: int) -> None:
    """Note which sent deposits are in the chain's blocks up to one that is indexed, whether or not it was seen before:
    in a restored ledger, which is older than the chain.
    """
    for asked in deposits.sent(session, lane):
        _, sent = transactions.latest(session, lane, asked.purpose)
        if sent is not None:
            mined = look(wire, sent.sender, transactions.attempts(session, lane, sent.id), 0, block).mined
            if mined is not None and mined.succeeded and mined.block <= block:
                deposits.set_credited(session, asked, mined.block)


def _call(calls: Calls, asked: DepositRequest) -> Call:
    relay = calls.deposit_with_authorization if asked.kind == "authorization" else calls.deposit_from_inbox
    signed = Authorization(
        asked.lane, asked.account, asked.amount, asked.valid_after, asked.valid_before, bytes(asked.salt)
    )
    return relay(signed, asked.signature)
