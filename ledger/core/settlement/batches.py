"""The batches of a lane: their states, which are active on chain, and when one is final or lets a consumer leave."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from ledger.core.settlement.events import Committed, Fell, Finalized, Log
from ledger.core.settlement.header import Header
from ledger.core.values.ids import Lane


class Status(Enum):
    """Built: content fixed. Signed: a commit is intended. Posted: on chain, contestable. Then final or void."""

    built = "built"
    signed = "signed"
    posted = "posted"
    final = "final"
    void = "void"


PUBLIC = frozenset((Status.signed, Status.posted, Status.final))
"""In these states a batch's file is public, and so are its receipts: what is on chain must be there to be checked."""
BEFORE = {
    Status.built: {Status.signed, Status.posted, Status.final},
    Status.signed: {Status.built, Status.posted, Status.final},
    Status.posted: {Status.built, Status.signed, Status.final, Status.void},
    Status.final: {Status.posted},
    Status.void: {Status.built, Status.signed, Status.posted},
}
"""The states from which a batch comes into each. A reorganisation of the chain can take it back from any state."""


@dataclass(frozen=True, slots=True)
class ActiveBatch:
    """A batch in Settlement: its id there and its header, when it was posted, the end of its window, when it was made
    final. Times in seconds."""

    id: int
    header: Header
    posted_at: int
    until: int
    final_at: int | None = None


def active_batches(logs: Iterable[Log], lane: Lane) -> list[ActiveBatch]:
    """The active batches after these logs, by id. `logs` are all of the lane's, from its opening on.

    A fall voids everything that is not final, and these ids are assigned again.
    """
    active: list[ActiveBatch] = []
    for log in sorted(logs, key=lambda log: (log.block, log.index)):
        match log.event:
            case Committed(of, number, header, until) if of == lane:
                assert number == len(active) + 1, "Settlement numbers batches without gaps"
                active.append(ActiveBatch(number, header, log.timestamp, until))
            case Finalized(of, number) if of == lane:
                active[number - 1] = replace(active[number - 1], final_at=log.timestamp)
            case Fell(of, first) if of == lane:
                del active[first - 1 :]
            case _:
                pass
    return active


def is_window_over(until: int, now: int) -> bool:
    """Whether a posted batch can be made final: it can be challenged before `until`. `Settlement` has the same rule.

    Both arguments are in seconds, or both in ms.
    """
    return now >= until


def window_end(posted_at: int, window: int, answer_time: int, rounds: int) -> int:
    """The end of the window of a batch posted now: long enough to open its longest path, question by question.

    `rounds` is the header's. All in seconds. `Settlement` fixes it at commit by the same rule.
    """
    return posted_at + max(window, (rounds + 3) * answer_time)


def settles_exit(closed_at: int, requested_at: int, notice: int) -> bool:
    """Whether a consumer that asked to leave can withdraw with a batch closed then, once final. All in seconds.

    `Settlement` has the same rule on chain.
    """
    return closed_at > requested_at + notice


def is_exit_batch_due(closed_at: int, requested_at: int, notice: int, now: int) -> bool:
    """Whether a batch closed now helps a consumer to leave and the latest, closed at `closed_at`, does not.

    There are two at most: one after the request, one after the notice.
    """
    return any(
        settles_exit(now, requested_at, seconds) and not settles_exit(closed_at, requested_at, seconds)
        for seconds in (0, notice)
    )


@dataclass(frozen=True, slots=True)
class AtStake:
    """What a lane's bond has to cover, in atoms: `charged` and not final, and `leased`, which gateways may charge.

    `Settlement` refuses a batch above `limit`, the bond x leverage; 0: nothing limits a private grid.
    """

    charged: int = 0
    leased: int = 0
    limit: int = 0

    @property
    def is_reached(self) -> bool:
        """Whether a lane has to stop serving: receipts above the limit could not be posted in time."""
        return 0 < self.limit <= self.charged + self.leased

    @property
    def is_near(self) -> bool:
        """Whether it is time to add to the bond: four fifths of the limit are used."""
        return 0 < self.limit * 4 <= (self.charged + self.leased) * 5


NOTHING_AT_STAKE = AtStake()


def bond_for(traffic: int, window: int, leverage: int, seconds: int) -> int:
    """The bond in atoms that a lane needs which charges `traffic` atoms in `seconds`.

    A charge is at stake for the window (in seconds), and up to a day longer: before its batch is posted, and ripe.
    """
    return -(-traffic * (window + 86_400) // (seconds * leverage))
