"""Clocks: the system's, and one that tests can set."""

from __future__ import annotations

import time


class SystemClock:
    """`vireo.ports.Clock` of this machine."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()


class MovableClock:
    """`vireo.ports.Clock` that stands still until it is advanced."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now
        self._monotonic = 0.0

    def now(self) -> float:
        """Unix seconds."""
        return self._now

    def monotonic(self) -> float:
        """Seconds advanced so far."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Advance both times."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self._now += seconds
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Move the time of day alone: a correction, or a restore from a snapshot of the process."""
        self._now += seconds
