"""Which receipts a batch leaves out, though a gateway signed them. `Bars` has the same rule on chain.

old      it ended more than `RECEIPT_LIFE` before the batch was closed
leaving  the batch before was closed after its account's request and notice, and it ended within the notice
left     it ended before its account's last exit

Its place in the receipts tree holds the zero word, and it is charged to nobody.
"""

from dataclasses import dataclass

from ledger.core.values.ids import Address

RECEIPT_LIFE = 30 * 86_400
"""Seconds after its end in which a receipt can be charged."""


@dataclass(frozen=True, slots=True)
class Exit:
    """An account's way out of a lane. Times in seconds: its request, 0 if it stays, and its last exit, 0 for none.

    `left_at` is when the batch was closed by which it withdrew, or when it escaped.
    """

    account: Address
    requested_at: int
    left_at: int


@dataclass(frozen=True, slots=True)
class Bars:
    """The bars of one batch, in seconds. `closed_before` is when the batch before it was closed; 0 if there is none."""

    closed_at: int
    closed_before: int
    notice: int

    def last(self, exit: Exit | None) -> int:
        """The last second whose receipts of an account are barred."""
        old = self.closed_at - RECEIPT_LIFE - 1
        if exit is None:
            return old
        noticed = exit.requested_at + self.notice
        is_leaving = exit.requested_at != 0 and noticed < self.closed_before
        return max(old, exit.left_at - 1, noticed if is_leaving else -1)
