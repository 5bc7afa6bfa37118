"""What is wrong with a lane now, and what helps: the rules of `tollway operator alarms`.

The times after which something is late are here. What the ledger itself found broken is an alarm of its own, and stops
batches; the rest is late, near a limit, or silent, and stops nothing by itself.
"""

from dataclasses import dataclass

from ledger.core.settlement.batches import NOTHING_AT_STAKE, AtStake
from ledger.core.values.ids import Address, to_hex

POSTED_MS = 60_000
"""A receipt is posted within this time of its call's end."""
CLOSED_MS = 300_000
"""A receipt is in a batch within this time of when its batch is due."""
COMMITTED_MS = 600_000
"""A batch is on chain within this time of its closing."""
SILENT_MS = 60_000
"""A gateway that did not stop shows that it is alive within this time."""
INDEXED_MS = 120_000
"""A confirmed block is indexed within this time."""
RELAYED_MS = 300_000
"""A deposit that a consumer asked for is on chain within this time."""
SENT_MS = 120_000
"""A gateway begins to send a message to a webhook within this time."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong: its name, what it is, and a command or a page that helps."""

    name: str
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a lane now. Times are ages in ms; 0 when nothing waits.

    `behind` counts confirmed blocks that are not indexed, None without a chain; `chain_error` says why it does not
    answer. `indexed` is the age of the last block's indexing.
    """

    batch_ms: int
    unposted: int = 0
    unbatched: int = 0
    uncommitted: int = 0
    undeposited: int = 0
    unsent: int = 0
    stake: AtStake = NOTHING_AT_STAKE
    behind: int | None = None
    indexed: int = 0
    chain_error: str = ""
    silent: tuple[tuple[Address, int], ...] = ()
    quarantined: tuple[tuple[Address, int, str], ...] = ()
    questions: int = 0
    unsettled: int = 0
    """Atoms that calls paid by `upto`, or by a channel, were charged, and that cannot be settled or claimed."""


def remedy_of(law: str) -> str:
    """What helps against an alarm that the ledger sounded: of a law, or of a task that was stopped."""
    if law == "ledger.index":
        return "docs/runbook.md, The indexer stopped; after a restore: tollway operator rebuild FOLDER"
    return "docs/runbook.md, A law is broken; then tollway operator alarms --clear"


def find(facts: Facts) -> list[Trouble]:
    """Everything that is wrong, the most urgent first."""
    own = [*_quarantined(facts), *_of_the_chain(facts), *_of_the_bond(facts), *_late(facts), *_silent(facts)]
    return [*own, *_of_permits(facts)]


def _quarantined(facts: Facts) -> list[Trouble]:
    remedy = "docs/runbook.md, A law is broken"
    return [
        Trouble("quarantined", f"receipts from {first} of gateway {to_hex(gateway)} are not posted: {reason}", remedy)
        for gateway, first, reason in facts.quarantined
    ]


def _of_the_chain(facts: Facts) -> list[Trouble]:
    found = []
    if facts.chain_error:
        found.append(Trouble("chain_away", facts.chain_error, "set LEDGER_RPC_URL to an endpoint that answers"))
    elif facts.behind and facts.indexed > INDEXED_MS:
        said = f"{facts.behind} blocks are not indexed, the last one was {_age(facts.indexed)} ago"
        found.append(Trouble("chain_lag", said, "look at the worker's log: celery -A ledger.worker worker"))
    if facts.questions:
        said = f"{facts.questions} questions about a batch are not answered: at their deadline the bond is lost"
        found.append(Trouble("challenged", said, "keep a worker running; tollway operator status shows the lane"))
    return found


def _of_the_bond(facts: Facts) -> list[Trouble]:
    stake = facts.stake
    if not (stake.is_reached or stake.is_near):
        return []
    name, what = ("bond_reached", "calls are refused") if stake.is_reached else ("bond_near", "soon calls are refused")
    said = f"{stake.charged + stake.leased} of {stake.limit} atoms that the bond covers are at stake: {what}"
    return [Trouble(name, said, "tollway operator add-bond AMOUNT")]


def _late(facts: Facts) -> list[Trouble]:
    worker = "start a worker and the periodic jobs, and look at their logs: deploy/README.md, What runs"
    operator = "look at the operator's ETH and at the worker's log: tollway operator status"
    gateways = "start a gateway that has GATEWAY_SECRET, and look at its log: gateways send the messages of webhooks"
    waits = (
        ("posting_late", facts.unposted, POSTED_MS, "a receipt waits to be posted", worker),
        ("closing_late", facts.unbatched, facts.batch_ms + CLOSED_MS, "a posted receipt is in no batch", worker),
        ("commit_late", facts.uncommitted, COMMITTED_MS, "a closed batch is not on chain", operator),
        ("deposit_late", facts.undeposited, RELAYED_MS, "a deposit that was asked for is not on chain", operator),
        ("webhooks_late", facts.unsent, SENT_MS, "a message to a webhook was not sent", gateways),
    )
    return [
        Trouble(name, f"{what}, since {_age(age)}", remedy) for name, age, limit, what, remedy in waits if age > limit
    ]


def _silent(facts: Facts) -> list[Trouble]:
    return [
        Trouble("gateway_silent", f"gateway {to_hex(gateway)} was last seen {_age(age)} ago", "start it again")
        for gateway, age in facts.silent
        if age > SILENT_MS
    ]


def _of_permits(facts: Facts) -> list[Trouble]:
    said = f"{facts.unsettled} atoms that were advanced by x402's upto or batch-settlement could not be settled"
    return [Trouble("upto_debt", said, "python -m ledger.operate permits")] if facts.unsettled else []


def _age(ms: int) -> str:
    minutes = ms // 60_000
    return f"{ms // 1_000} s" if minutes < 2 else f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
