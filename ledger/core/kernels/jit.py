"""The kernels' compiler settings, array types and one load. Alone because all kernels import them."""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import config, njit

Function = TypeVar("Function", bound=Callable[..., Any])
U8: TypeAlias = npt.NDArray[np.uint8]
U64: TypeAlias = npt.NDArray[np.uint64]
I64: TypeAlias = npt.NDArray[np.int64]
WORD = 8
"""Bytes of a machine word."""

OURS = "ledger.core.kernels.cache"
PLACES = (
    "UserProvidedCacheLocator",
    "InTreeCacheLocator",
    f"{OURS}.CopiedCache",
    "UserWideCacheLocator",
    f"{OURS}.CacheOfProcess",
)
"""Where numba may cache compiled kernels: it takes the first that it can write to."""
config.CACHE_LOCATOR_CLASSES = config.CACHE_LOCATOR_CLASSES or ",".join(PLACES)  # type: ignore[attr-defined]


def kernel(function: Function) -> Function:
    """Compile on first call, cached on disk, without the interpreter lock and without fast-math. Keeps the type."""
    return cast(Function, njit(cache=True, nogil=True, error_model="numpy")(function))


@kernel
def word(rows: U8, row: int, at: np.uint64) -> np.uint64:
    """Eight bytes of a row from `at` on, little endian. The compiler turns these shifts into one load."""
    value = np.uint64(0)
    for byte in range(WORD):
        value |= np.uint64(rows[row, at + np.uint64(byte)]) << np.uint64(8 * byte)
    return value


def as_i64(values: Iterable[int]) -> I64:
    return np.array(list(values), np.int64)
