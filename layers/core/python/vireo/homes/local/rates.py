"""Rates of callers: token buckets for each, as API Gateway has one for each route."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Lock

#: Method and path, with parameters in braces.
Route = tuple[str, str]
#: Buckets that are remembered; those that were used longest ago are forgotten, as they filled.
BUCKETS = 10_000


class Rates:
    """Buckets of ``burst`` requests, which fill by ``rate`` a second. Thread-safe.

    Args:
        rate: requests a second.
        burst: requests at once.
        shares: of both, for routes that have a bucket of their own; all others share one.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        rate: float,
        burst: int,
        *,
        shares: Mapping[Route, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._shares = shares or {}
        self._clock = clock
        self._lock = Lock()
        #: Requests, as of monotonic seconds.
        self._left: dict[tuple[str, Route | None], tuple[float, float]] = {}

    def take(self, caller: str, route: Route | None = None) -> float:
        """Take a request of a caller: 0, or the seconds until there is one."""
        share = 1.0 if route is None else self._shares.get(route, 1.0)
        bucket = caller, route if route in self._shares else None
        rate, burst = self._rate * share, max(1, int(self._burst * share))
        with self._lock:
            now = self._clock()
            left, at = self._left.pop(bucket, (float(burst), now))
            left = min(burst, left + (now - at) * rate)
            wait = 0.0 if left >= 1 else (1 - left) / rate
            self._left[bucket] = (left - 1 if not wait else left), now
            if len(self._left) > BUCKETS:
                del self._left[next(iter(self._left))]
            return wait
