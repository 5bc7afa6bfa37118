"""The gateway's two clocks. Alone, because every room imports it.

The wall clock, read once a call and passed on, says what date it is: it is set by others, and jumps. How long something
took, and how long a limit holds, is counted by the steady one, which only grows.
"""

import time


def now_ms() -> int:
    """Milliseconds since 1970, by the wall clock."""
    return time.time_ns() // 1_000_000


def steady_ms() -> int:
    """Milliseconds since some moment before this process began."""
    return time.monotonic_ns() // 1_000_000
