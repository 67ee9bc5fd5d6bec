"""Metrics kept in the process, for tests to read and a laptop to log."""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Sequence
from threading import Lock

_LOG = logging.getLogger("vireo.metrics")
#: Measurements kept of each series, so that a long-running laptop does not fill up.
_KEPT = 10_000

_Series = tuple[str, frozenset[tuple[str, str]]]


class LocalMeter:
    """`vireo.ports.Meter` in memory; with ``log`` every measurement is also logged."""

    def __init__(self, *, log: bool = False) -> None:
        self._log = log
        self._lock = Lock()
        self._totals: defaultdict[_Series, float] = defaultdict(float)
        self._values: dict[_Series, deque[float]] = {}

    def count(self, name: str, value: float = 1, **dimensions: str) -> None:
        """See the port."""
        with self._lock:
            self._totals[name, frozenset(dimensions.items())] += value
        self._line(name, value, "Count", dimensions)

    def observe(self, name: str, value: float, unit: str, **dimensions: str) -> None:
        """See the port."""
        with self._lock:
            series = name, frozenset(dimensions.items())
            self._values.setdefault(series, deque(maxlen=_KEPT)).append(value)
        self._line(name, value, unit, dimensions)

    def total(self, name: str, **dimensions: str) -> float:
        """Sum of a counter over all series that have at least these dimensions."""
        wanted = set(dimensions.items())
        with self._lock:
            return sum(v for (n, d), v in self._totals.items() if n == name and wanted <= d)

    def values(self, name: str, **dimensions: str) -> Sequence[float]:
        """The latest measurements of all series that have at least these dimensions."""
        wanted = set(dimensions.items())
        with self._lock:
            return [
                v
                for (n, d), values in self._values.items()
                if n == name and wanted <= d
                for v in values
            ]

    def _line(self, name: str, value: float, unit: str, dimensions: dict[str, str]) -> None:
        if self._log:
            labels = "".join(f" {k}={v}" for k, v in sorted(dimensions.items()))
            _LOG.info("%s %g %s%s", name, value, unit, labels)
