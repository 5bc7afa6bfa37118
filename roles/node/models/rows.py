"""The batch of a generator: sequences of different length that take each decoding step together.

The key-value caches of all rows lie in one array, shorter ones padded on the left; an attention bias masks the
padding. A row joins after its prompt is processed and leaves when it is done, between any two steps.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from roles.node.models.engine import Engine
from roles.node.models.model import Sampling

FORBIDDEN = np.float32(-1e9)
Floats = NDArray[np.float32]


@dataclass(eq=False, slots=True)
class Row:
    """One sequence: its prompt, its sampling, and the tokens produced so far."""

    prompt: list[int]
    sampling: Sampling
    tokens: list[int] = field(default_factory=list)
    compute_us: int = 0
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.sampling.seed)

    def choose(self, logits: Floats) -> int:
        """Sample the next token and append it to `tokens`."""
        if self.sampling.temperature <= 0:
            token = int(logits.argmax())
        else:
            scaled = logits.astype(np.float64) / self.sampling.temperature
            chances = np.exp(scaled - scaled.max())
            chances /= chances.sum()
            if self.sampling.top_p < 1:
                order = np.argsort(-chances, kind="stable")
                kept = np.cumsum(chances[order]) - chances[order] < self.sampling.top_p
                chances[order[~kept]] = 0
                chances /= chances.sum()
            token = int(self.random.choice(len(chances), p=chances))
        self.tokens.append(token)
        return token


class Rows:
    """The batch. Not thread-safe."""

    def __init__(self, engine: Engine, layers: int, heads: int, head_width: int) -> None:
        self._engine = engine
        self._empty = np.zeros((2 * layers, 1, heads, 0, head_width), np.float32)
        self._cache: Floats = self._empty[:, :0]
        self.rows: list[Row] = []
        self._lengths: list[int] = []

    def join(self, row: Row) -> int:
        """Process the row's prompt, add the row, and return its first token."""
        ids = np.array([row.prompt], np.int64)
        length = ids.shape[1]
        places = np.arange(length, dtype=np.int64)
        bias = np.where(places[None, :] <= places[:, None], np.float32(0), FORBIDDEN)[None, None]
        logits, cache = self._run(ids, np.pad(ids, ((0, 0), (1, 0)))[:, :-1], places[None], bias, self._empty)
        longest = max([length, *self._lengths])
        self._cache = np.concatenate([_padded(self._cache, longest), _padded(cache, longest)], axis=1)
        self.rows.append(row)
        self._lengths.append(length)
        return row.choose(logits[0])

    def step(self) -> list[int]:
        """One decoding step: the next token of every row, in order."""
        longest = self._cache.shape[3]
        lengths = np.array(self._lengths, np.int64)
        ids = np.array([[row.tokens[-1]] for row in self.rows], np.int64)
        before = np.array(
            [[(row.tokens[-2] if len(row.tokens) > 1 else row.prompt[-1])] for row in self.rows], np.int64
        )
        columns = np.arange(longest + 1)
        bias = np.where(columns[None, :] >= (longest - lengths)[:, None], np.float32(0), FORBIDDEN)[:, None, None]
        logits, self._cache = self._run(ids, before, lengths[:, None], bias, self._cache)
        self._lengths = [length + 1 for length in self._lengths]
        return [row.choose(logits[place]) for place, row in enumerate(self.rows)]

    def leave(self, gone: list[Row]) -> None:
        """Forgets these rows and the padding nobody needs any more."""
        kept = [place for place, row in enumerate(self.rows) if row not in gone]
        self.rows = [self.rows[place] for place in kept]
        self._lengths = [self._lengths[place] for place in kept]
        longest = max(self._lengths, default=0)
        self._cache = self._cache[:, kept, :, self._cache.shape[3] - longest :]

    def _run(
        self,
        ids: NDArray[np.int64],
        before: NDArray[np.int64],
        positions: NDArray[np.int64],
        bias: Floats,
        past: Floats,
    ) -> tuple[Floats, Floats]:
        feeds: dict[str, NDArray[np.generic]] = {
            "ids": ids,
            "before": before,
            "positions": positions,
            "bias": bias,
            "past": past,
        }
        out = self._engine.run(feeds)
        return out["logits"].astype(np.float32, copy=False), out["present"].astype(np.float32, copy=False)


def _padded(cache: Floats, longest: int) -> Floats:
    missing = longest - cache.shape[3]
    return np.pad(cache, ((0, 0), (0, 0), (0, 0), (missing, 0), (0, 0))) if missing else cache
