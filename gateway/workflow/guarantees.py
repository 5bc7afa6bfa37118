"""What weavers were paid here, less what their bonds paid: by each consumer, and by all. By that
`core.pricing.workflows` says whether a bond pays for a failed call.

It is kept in memory, by each gateway: where one starts anew, each bond has one more call to lose.
"""

from ledger.core.pricing import workflows
from ledger.core.values.atoms import Atoms
from ledger.core.values.ids import Address

MOST = 100_000
"""Consumers of weavers that are remembered, those who bought last. Who is forgotten has one call again, within what
the weaver was paid by all.
"""


class Guarantees:
    """The accounts of bonds: a weaver's with each of its consumers, and with all of them."""

    def __init__(self) -> None:
        self._all: dict[Address, int] = {}
        self._each: dict[tuple[Address, Address], int] = {}

    def earn(self, weaver: Address, consumer: Address, amount: Atoms) -> None:
        """A weaver was paid by a consumer."""
        self._add(weaver, consumer, amount)

    def claim(self, weaver: Address, consumer: Address, amount: Atoms) -> bool:
        """Whether a weaver's bond pays so much for a consumer's failed call. If it does, that is noted."""
        of_consumer, of_all = self._each.get((weaver, consumer), 0), self._all.get(weaver, 0)
        if not workflows.is_guaranteed(amount, of_consumer, of_all):
            return False
        self._add(weaver, consumer, -amount)
        return True

    def _add(self, weaver: Address, consumer: Address, amount: int) -> None:
        self._all[weaver] = self._all.get(weaver, 0) + amount
        self._each[weaver, consumer] = self._each.pop((weaver, consumer), 0) + amount
        if len(self._each) > MOST:
            del self._each[next(iter(self._each))]
