"""What a consumer should know of a lane before it deposits, read from the chain, not from the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ledger.core.values.atoms import Atoms
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import to_hex
from ledger.deployments import DEVELOPMENT_CHAINS
from roles.wallet import transactions

if TYPE_CHECKING:
    from roles.wallet.context import Context

DAY_SECONDS = 86_400
STAYS = (
    "that a call was made, what it used, and a listed price are the operator's word, up to your voucher",
    "between what is final and the money stands who watches: run `tollway auditor watch`, or pay somebody to",
    "of a withheld batch file others' receipts can only be sampled",
)
"""The trust that stays, whatever the contracts check."""


@dataclass(frozen=True, slots=True)
class LaneFacts:
    """A lane as a depositor judges it. Times in seconds, amounts in atoms. `fell`: a batch of it was proven wrong."""

    active: bool
    window: int
    answer_time: int
    leverage: int
    bond: Atoms
    net: Atoms
    min_deposit: Atoms
    fell: bool


def read(context: Context) -> LaneFacts:
    """The gateway's lane, as the chain has it. Rejected when there is no such lane there."""
    chain, lane = transactions.chain(context), context.lane_id
    state, books, life = chain.lane(lane), chain.books(lane), chain.life(lane)
    times = (state.window, state.answer_time)
    money = (state.leverage, books.bond, books.net, life.min_deposit)
    return LaneFacts(state.active, *times, *money, bool(life.fell_at))


def doubts(facts: LaneFacts, atoms: Atoms, *, development: bool) -> list[str]:
    """Why one would not deposit `atoms` into a lane. Windows of a development chain may be short."""
    found = []
    if not development and facts.window < DAY_SECONDS:
        found.append(f"a batch can be challenged for {facts.window} s only: watch it more often than once a day")
    if not development and facts.answer_time > facts.window:
        found.append(
            f"the operator may take {facts.answer_time} s to answer, longer than the window of {facts.window} s"
        )
    if facts.leverage > 1:
        most = facts.bond * facts.leverage
        found.append(f"{most} atoms can be at stake on a bond of {facts.bond}: a lie that nobody sees costs too little")
    if facts.fell:
        found.append("a batch of this lane was proven wrong before")
    if atoms > facts.bond:
        found.append(f"the deposit is more than the lane's bond of {facts.bond} atoms")
    return found


def check(context: Context, atoms: Atoms, *, anyway: bool) -> list[str]:
    """What speaks against a deposit. Rejected when something does, unless `anyway`; or when the lane refuses it."""
    chain, lane, facts = transactions.chain(context), context.lane_id, read(context)
    if not facts.active:
        raise Rejected(f"lane {to_hex(lane)} is stopped: it takes no deposits", lane=to_hex(lane))
    if atoms < facts.min_deposit and not chain.account(lane, context.account).index:
        least = facts.min_deposit
        raise Rejected(f"a first deposit into this lane is at least {least} atoms", min_deposit=least)
    found = doubts(facts, atoms, development=chain.chain_id in DEVELOPMENT_CHAINS)
    if found and not anyway:
        raise Rejected(f"{'; '.join(found)}. To deposit all the same: --anyway", doubts=found)
    return found
