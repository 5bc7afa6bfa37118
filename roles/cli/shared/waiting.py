"""Polling with a deadline. Alone, because the commands, the wallet and the local network all wait this way."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(check: Callable[[], T], seconds: float, pause_seconds: float = 0.2) -> T:
    """Call `check` until its answer is true, for at most `seconds`. Returns the last answer: false after a timeout."""
    deadline = time.monotonic() + seconds
    while not (answer := check()) and time.monotonic() < deadline:
        time.sleep(pause_seconds)
    return answer
