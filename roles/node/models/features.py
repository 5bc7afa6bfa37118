"""Hashed n-grams: text to integers for the small models, the same in training and serving.

Each word, each pair of neighbouring words and each run of four letters within a word is mapped to a bucket by CRC-32.
The model needs no vocabulary, and an unknown word shares letter runs with known words.
"""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

WORD = re.compile(r"[a-z0-9']+|[!?]")


def words(text: str) -> list[str]:
    """Lower-case words, digits, `!` and `?`."""
    return WORD.findall(text.lower())


@dataclass(frozen=True, slots=True)
class HashedNgrams:
    """Ids run from 1 to `buckets` - 1; 0 is padding. A text has at most `length` ids; the rest is dropped."""

    buckets: int
    length: int

    def ids(self, text: str) -> list[int]:
        """The ids of one text: words, then pairs, then letter runs, so that truncation drops letter runs first."""
        tokens = words(text)
        grams = [f"w{token}" for token in tokens]
        grams += [f"p{left} {right}" for left, right in pairwise(tokens)]
        for token in tokens:
            framed = f"<{token}>"
            grams += [f"c{framed[at : at + 4]}" for at in range(len(framed) - 3)]
        return [1 + zlib.crc32(gram.encode()) % (self.buckets - 1) for gram in grams[: self.length]]

    def tensor(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Shape [texts, longest], padded with 0. The models take a masked mean, so padding does not change results."""
        rows = [self.ids(text) or [0] for text in texts]
        table = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
        for place, row in enumerate(rows):
            table[place, : len(row)] = row
        return table
