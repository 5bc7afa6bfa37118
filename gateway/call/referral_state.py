"""What a gateway remembers of referrals and slots between calls. Forgetting it costs no sponsor."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from ledger.core.pricing.promotion import WINDOW_MS, Impression, Slot
from ledger.core.values.atoms import Atoms
from ledger.core.values.ids import Address, Digest

KEPT = 100_000
"""How many windows and impressions are remembered; an impression forgotten is a slot not charged."""
Place = tuple[Address, Digest]
"""A consumer and a subject."""


@dataclass
class ReferralState:
    """What a gateway remembers: calls counted in each window, slots shown, and what each sponsor's slots cost today."""

    referred: OrderedDict[Place, int] = field(default_factory=OrderedDict)
    shown: OrderedDict[Place, Impression] = field(default_factory=OrderedDict)
    spent: dict[Digest, tuple[int, Atoms]] = field(default_factory=dict)
    stored: set[Digest] = field(default_factory=set)

    def show(self, consumer: Address, slot: Slot, surface: Address, now: int) -> None:
        """Remember that a consumer was shown a slot. The first showing in a window counts: others change nothing."""
        place = (consumer, slot.subject)
        before = self.shown.get(place)
        if before is None or now >= before.shown_at + WINDOW_MS:
            self.shown[place] = Impression(slot.price, surface, now)
            while len(self.shown) > KEPT:
                self.shown.popitem(last=False)
