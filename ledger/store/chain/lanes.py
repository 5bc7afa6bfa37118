"""Lanes and their consumers, as the chain has them."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from sqlalchemy import func, or_, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from ledger.core.settlement.bars import Exit
from ledger.core.values.ids import Address
from ledger.store.chain.tables import ClaimRow, ConsumerRow, GatewayRow, LaneRow
from ledger.store.session import change, upsert, value_of


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane's operator, its times to challenge and to answer (seconds), its bond in atoms, and its era.

    What is at stake is at most `leverage` x bond; `min_deposit` is an account's least first deposit.
    """

    lane: Address
    operator: Address
    window: int
    answer_time: int
    leverage: int = 1
    min_deposit: int = 0
    bond: int = 0
    era: int = 1
    active: bool = True
    url: str = ""


@dataclass(frozen=True, slots=True)
class Consumer:
    """A consumer's account in a lane. `requested_at` (seconds) is set while it is leaving.

    `debit_at_exit` is its final debit when it last left, in the block `left_in_block`. `left_at` (seconds) is when the
    batch was closed by which it withdrew, or when it escaped.
    """

    lane: Address
    account: Address
    index: int
    deposited: int = 0
    withdrawn: int = 0
    requested_at: int | None = None
    debit_at_exit: int = 0
    left_in_block: int | None = None
    left_at: int | None = None


def put(session: Session, lane: Lane) -> None:
    upsert(session, LaneRow, asdict(lane))


def change_lane(session: Session, lane: Address, **columns: int | bool | str) -> None:
    """Mirror what changed of a lane: its bond, era, URL, or whether it is active."""
    change(session, update(LaneRow).filter_by(lane=lane).values(**columns))


def put_gateway(session: Session, lane: Address, key: Address, number: int) -> None:
    """Mirror that a key signs the lane's receipts, at this number."""
    upsert(session, GatewayRow, {"lane": lane, "key": key, "number": number, "counts_until": None})


def revoke_gateway(session: Session, lane: Address, key: Address, counts_until: int) -> None:
    """Mirror that a key signs no new receipts; those closed before a time (seconds) stand."""
    change(session, update(GatewayRow).filter_by(lane=lane, key=key).values(counts_until=counts_until))


def gateways(session: Session, lane: Address) -> dict[Address, int]:
    """The number of every gateway key the lane ever had."""
    return {Address(row.key): row.number for row in session.exec(select(GatewayRow).filter_by(lane=lane))}


def signing_gateways(session: Session, lane: Address) -> dict[Address, int]:
    """The number of every gateway key that may sign now: those not revoked."""
    rows = session.exec(select(GatewayRow).filter_by(lane=lane, counts_until=None))
    return {Address(row.key): row.number for row in rows}


def assign_gateways(session: Session, lane: Address, keys: Iterable[Address]) -> None:
    """Give gateway keys without a number the next ones: a private grid has no contract to do it."""
    known = gateways(session, lane)
    for key in sorted(set(keys) - set(known)):
        known[key] = max(known.values(), default=0) + 1
        put_gateway(session, lane, key, known[key])


def get(session: Session, lane: Address) -> Lane | None:
    row = session.get(LaneRow, lane, populate_existing=True)
    return value_of(Lane, row) if row else None


def deposit(session: Session, lane: Address, account: Address, index: int, amount: int) -> None:
    """Mirror a deposit: the account is known from its first one."""
    row = {"lane": lane, "account": account, "account_index": index, "deposited": amount, "withdrawn": 0}
    row["debit_at_exit"] = 0
    grown = {"deposited": col(ConsumerRow.deposited) + amount}
    keys = [col(ConsumerRow.lane), col(ConsumerRow.account)]
    change(session, insert(ConsumerRow).values(row).on_conflict_do_update(index_elements=keys, set_=grown))


def assign(session: Session, lane: Address, accounts: Iterable[Address]) -> None:
    """Give consumers without an index the next ones, by address: a private grid has no Settlement to do it."""
    for account in sorted(set(accounts)):
        if get_consumer(session, lane, account) is None:
            last = session.exec(select(func.max(ConsumerRow.account_index)).where(col(ConsumerRow.lane) == lane)).one()
            deposit(session, lane, account, (last or 0) + 1, 0)


def request_withdrawal(session: Session, lane: Address, account: Address, at: int | None) -> None:
    """Mirror that an account wants to leave (or, with None, no longer does)."""
    change(session, update(ConsumerRow).filter_by(lane=lane, account=account).values(requested_at=at))


def withdraw(
    session: Session, lane: Address, account: Address, amount: int, block: int = 0, at: int | None = None
) -> None:
    """Record that an account left with `amount`, in a block: what stays is its final debit. `at` (seconds) is when the
    batch was closed by which it withdrew, or when it escaped.
    """
    withdrawn = col(ConsumerRow.withdrawn) + amount
    left = {"withdrawn": withdrawn, "debit_at_exit": col(ConsumerRow.deposited) - withdrawn, "left_in_block": block}
    left |= {"left_at": at}
    this = update(ConsumerRow).filter_by(lane=lane, account=account)
    change(session, this.values(requested_at=None, **left))


def get_consumer(session: Session, lane: Address, account: Address) -> Consumer | None:
    row = session.get(ConsumerRow, (lane, account), populate_existing=True)
    return _consumer(row) if row else None


def consumers(session: Session, lane: Address) -> dict[Address, Consumer]:
    rows = session.exec(select(ConsumerRow).filter_by(lane=lane).execution_options(populate_existing=True))
    return {Address(row.account): _consumer(row) for row in rows}


def by_index(session: Session, lane: Address) -> dict[int, Address]:
    """Every consumer of a lane by its index in the debit tree."""
    query = select(ConsumerRow.account_index, ConsumerRow.account).filter_by(lane=lane)
    return {index: Address(account) for index, account in session.exec(query)}


def leaving(session: Session, lane: Address) -> list[Consumer]:
    """Consumers that asked to withdraw and have not yet."""
    query = select(ConsumerRow).filter_by(lane=lane).where(col(ConsumerRow.requested_at).is_not(None))
    return [_consumer(row) for row in session.exec(query.execution_options(populate_existing=True))]


def exits(session: Session, lane: Address) -> list[Exit]:
    """The way out of every consumer that asked to leave or left."""
    out = or_(col(ConsumerRow.requested_at).is_not(None), col(ConsumerRow.left_at).is_not(None))
    query = select(ConsumerRow).where(col(ConsumerRow.lane) == lane, out)
    rows = session.exec(query.execution_options(populate_existing=True))
    return [Exit(Address(row.account), row.requested_at or 0, row.left_at or 0) for row in rows]


def claim(session: Session, lane: Address, index: int, payee: Address, amount: int) -> None:
    """Mirror that a payee was paid `amount` more."""
    row = {"lane": lane, "payee_index": index, "payee": payee, "claimed": amount}
    keys = [col(ClaimRow.lane), col(ClaimRow.payee_index)]
    grown = {"claimed": col(ClaimRow.claimed) + amount}
    change(session, insert(ClaimRow).values(row).on_conflict_do_update(index_elements=keys, set_=grown))


def claimed(session: Session, lane: Address) -> dict[int, int]:
    """Each payee's total payments, by its index."""
    query = select(ClaimRow).filter_by(lane=lane).execution_options(populate_existing=True)
    return {row.payee_index: row.claimed for row in session.exec(query)}


def _consumer(row: ConsumerRow) -> Consumer:
    return value_of(Consumer, row, index=row.account_index)
