"""The one way kernels are compiled: cached on disk, without the interpreter lock, never with fast-math."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])
U8: TypeAlias = npt.NDArray[np.uint8]
U64: TypeAlias = npt.NDArray[np.uint64]
I64: TypeAlias = npt.NDArray[np.int64]


def kernel(function: Function) -> Function:
    """Compile on first call. Typed as the plain function it was."""
    return cast(Function, njit(cache=True, nogil=True, error_model="numpy")(function))
