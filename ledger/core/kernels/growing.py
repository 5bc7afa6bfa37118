"""A tree that only wants its root: leaves come by the chunk and go, half a byte of each stays."""

from __future__ import annotations

import numpy as np

from ledger.core.kernels.jit import U8
from ledger.core.kernels.sum_tree import Levels, above
from ledger.core.values.errors import Rejected
from ledger.core.values.sum_tree import Word

HEIGHT = 6
WHOLE = 1 << HEIGHT


class Growing:
    """Feed `add` leaves in order, a multiple of 64 at a time but for the last; then ask `root`."""

    def __init__(self) -> None:
        self._nodes: list[U8] = []
        self._first: U8 = np.empty((0, 32), np.uint8)
        self._ended = False
        self.size = 0

    def add(self, leaves: U8) -> None:
        """The next leaves. Rejected after a chunk that ended within 64."""
        if self._ended and len(leaves):
            raise Rejected("only the last chunk may end within a run of 64")
        self._ended = self._ended or len(leaves) % WHOLE != 0
        if self.size + len(leaves) <= WHOLE:
            self._first = np.concatenate([self._first, leaves])
        self.size += len(leaves)
        for level in range(HEIGHT):
            leaves = above(leaves, level)
        self._nodes.append(leaves)

    def root(self) -> Word:
        """The root over all leaves so far, as `sumtree.Tree.build` has it; the zero word if there are none."""
        if self.size <= WHOLE:
            return Levels.build(self._first).root
        nodes, level = np.concatenate(self._nodes), HEIGHT
        while len(nodes) > 1:
            nodes, level = above(nodes, level), level + 1
        return bytes(nodes[0])
