"""Which batches of a lane stand on a chain: what its logs say, replayed in their order."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ledger.core.settlement.events import Committed, Finalized, Log, Voided
from ledger.core.values.ids import Digest


@dataclass(frozen=True, slots=True)
class OnChain:
    """A batch as Settlement has it: its id, its header's hash, since when it is posted and final (seconds)."""

    id: int
    header: Digest
    posted_at: int
    final_at: int | None = None


def on_chain(logs: Iterable[Log], lane: int) -> list[OnChain]:
    """The batches that stand after these logs, in order. A void one takes along all after it and frees its id.

    The logs are all there are of the lane, from its opening on.
    """
    standing: list[OnChain] = []
    for log in sorted(logs, key=lambda log: (log.block, log.index)):
        match log.event:
            case Committed(of, number, header) if of == lane:
                assert number == len(standing) + 1, "Settlement numbers batches without a gap"
                standing.append(OnChain(number, header, log.timestamp))
            case Finalized(of, number) if of == lane:
                standing[number - 1] = replace(standing[number - 1], final_at=log.timestamp)
            case Voided(of, number, _) if of == lane:
                del standing[number - 1 :]
            case _:
                pass
    return standing


def is_window_over(posted_at: int, window: int, now: int) -> bool:
    """Whether a posted batch can be made final: its window for challenges is [posted_at, posted_at + window).

    The arguments are all in seconds or all in ms. `Settlement` has the same rule on chain.
    """
    return now >= posted_at + window
