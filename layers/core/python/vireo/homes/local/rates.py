"""Rates of callers: a token bucket for each, as API Gateway has one for each method."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

#: Callers that are remembered; those that asked longest ago are forgotten, as their buckets filled.
CALLERS = 10_000


class Rates:
    """Buckets of ``burst`` requests, which fill by ``rate`` a second. Thread-safe."""

    def __init__(
        self, rate: float, burst: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._lock = Lock()
        self._left: dict[str, tuple[float, float]] = {}  #: requests, as of monotonic seconds

    def take(self, caller: str) -> float:
        """Take a request of a caller: 0, or the seconds until there is one."""
        with self._lock:
            now = self._clock()
            left, at = self._left.pop(caller, (float(self._burst), now))
            left = min(self._burst, left + (now - at) * self._rate)
            wait = 0.0 if left >= 1 else (1 - left) / self._rate
            self._left[caller] = (left - 1 if not wait else left), now
            if len(self._left) > CALLERS:
                del self._left[next(iter(self._left))]
            return wait
