"""A wall clock that is moved by hand, as an operator or a time server would."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest


@dataclass
class WallClock:
    """What every wall clock of this process shows, beside the true time. The clocks that only grow are as ever."""

    ahead: int = 0

    def jump(self, seconds: int) -> None:
        """Set it."""
        self.ahead += seconds


def moved(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    """The wall clock of this process from now on."""
    clock, real = WallClock(), time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + clock.ahead * 10**9)
    monkeypatch.setattr(time, "time", lambda: real() / 1e9 + clock.ahead)
    return clock
