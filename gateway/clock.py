"""The gateway's wall clock, read once a call, then passed on. Alone, because every room imports it."""

import time


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
