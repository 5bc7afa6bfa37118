"""Text to numbers for the small models: hashed n-grams, the same when training and when serving.

A word, a pair of neighbouring words and every run of four letters inside a word each name a bucket by CRC-32. No
vocabulary has to travel with the model, an unknown word still shares its letters with known ones, and the result is a
plain integer tensor.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

WORD = re.compile(r"[a-z0-9']+|[!?]")


def words(text: str) -> list[str]:
    """Lower-case words, digits, and the two marks that carry mood."""
    return WORD.findall(text.lower())


@dataclass(frozen=True, slots=True)
class HashedNgrams:
    """`buckets` ids from 1, 0 is padding; at most `length` ids a text, the rest is dropped from the end."""

    buckets: int
    length: int

    def ids(self, text: str) -> list[int]:
        """The buckets of one text, words first, so that a cut costs letters before meaning."""
        tokens = words(text)
        grams = [f"w{token}" for token in tokens]
        grams += [f"p{left} {right}" for left, right in pairwise(tokens)]
        for token in tokens:
            framed = f"<{token}>"
            grams += [f"c{framed[at : at + 4]}" for at in range(len(framed) - 3)]
        return [1 + zlib.crc32(gram.encode()) % (self.buckets - 1) for gram in grams[: self.length]]

    def tensor(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Shape [texts, longest], zero padded. The models take a masked mean, so the padding changes nothing."""
        rows = [self.ids(text) or [0] for text in texts]
        table = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
        for place, row in enumerate(rows):
            table[place, : len(row)] = row
        return table
