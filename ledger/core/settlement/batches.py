"""The batches of a lane: their states, which are active on chain, and when one is final or lets a consumer leave."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from ledger.core.settlement.events import Committed, Finalized, Log, Voided
from ledger.core.values.ids import Digest


class Status(Enum):
    """Built: content fixed. Signed: a commit is intended. Posted: on chain, contestable. Then final or void."""

    built = "built"
    signed = "signed"
    posted = "posted"
    final = "final"
    void = "void"


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
    """A batch in Settlement: its id there, its header's hash, and when it was posted and finalized (seconds)."""

    id: int
    header: Digest
    posted_at: int
    final_at: int | None = None


def active_batches(logs: Iterable[Log], lane: int) -> list[ActiveBatch]:
    """The active batches after these logs, by id. `logs` are all of the lane's, from its opening on.

    Voiding a batch voids all later ones too, and their ids are assigned again.
    """
    active: list[ActiveBatch] = []
    for log in sorted(logs, key=lambda log: (log.block, log.index)):
        match log.event:
            case Committed(of, number, header) if of == lane:
                assert number == len(active) + 1, "Settlement numbers batches without gaps"
                active.append(ActiveBatch(number, header, log.timestamp))
            case Finalized(of, number) if of == lane:
                active[number - 1] = replace(active[number - 1], final_at=log.timestamp)
            case Voided(of, number, _) if of == lane:
                del active[number - 1 :]
            case _:
                pass
    return active


def is_window_over(posted_at: int, window: int, now: int) -> bool:
    """Whether a posted batch can be made final: its window for challenges is [posted_at, posted_at + window).

    The arguments are all in seconds or all in ms. `Settlement` has the same rule on chain.
    """
    return now >= posted_at + window


def settles_exit(posted_at: int, requested_at: int, notice: int) -> bool:
    """Whether a consumer that asked to leave can withdraw with a batch posted then, once final. All in seconds.

    `Settlement` has the same rule on chain.
    """
    return posted_at > requested_at + notice


def is_exit_batch_due(posted_at: int, requested_at: int, notice: int, now: int) -> bool:
    """Whether a batch made now helps a consumer to leave and the latest, posted at `posted_at`, does not.

    There are two at most: one after the request, one after the notice.
    """
    return any(
        settles_exit(now, requested_at, seconds) and not settles_exit(posted_at, requested_at, seconds)
        for seconds in (0, notice)
    )
