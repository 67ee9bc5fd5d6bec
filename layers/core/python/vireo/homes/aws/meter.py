"""Metrics as log lines in CloudWatch's embedded metric format (EMF), without any API call."""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import Lock
from typing import Any

import orjson

from vireo.ports import Clock

#: CloudWatch's limit on the metrics in a line, and on the values of each.
_MOST = 100
#: Age in seconds at which values are written with the next one, even without a flush.
_OLDEST = 10.0

_Dimensions = tuple[tuple[str, str], ...]


class EmfMeter:
    """`vireo.ports.Meter` that writes one line per set of dimensions when it is flushed.

    A handler flushes at the end of every invocation, because a frozen Lambda writes nothing.
    """

    def __init__(
        self, namespace: str, clock: Clock, write: Callable[[str], Any] = sys.stdout.write
    ) -> None:
        self._namespace = namespace
        self._clock = clock
        self._write = write
        self._lock = Lock()
        self._since = 0.0
        self._values: dict[_Dimensions, dict[tuple[str, str], list[float]]] = {}

    def count(self, name: str, value: float = 1, **dimensions: str) -> None:
        """See the port."""
        self.observe(name, value, "Count", **dimensions)

    def observe(self, name: str, value: float, unit: str, **dimensions: str) -> None:
        """See the port."""
        with self._lock:
            now = self._clock.monotonic()
            if not self._values:
                self._since = now
            metrics = self._values.setdefault(tuple(sorted(dimensions.items())), {})
            values = metrics.setdefault((name, unit), [])
            values.append(float(value))
            full = len(values) >= _MOST or len(metrics) >= _MOST or now - self._since > _OLDEST
        if full:
            self.flush()

    def flush(self) -> None:
        """Write the measurements since the last flush."""
        with self._lock:
            values, self._values = self._values, {}
        for dimensions, metrics in values.items():
            self._write(self._line(dict(dimensions), metrics))

    def _line(self, dimensions: dict[str, str], metrics: dict[tuple[str, str], list[float]]) -> str:
        definition = {
            "Namespace": self._namespace,
            "Dimensions": [list(dimensions)],
            "Metrics": [{"Name": name, "Unit": unit} for name, unit in metrics],
        }
        line = {
            "_aws": {
                "Timestamp": int(self._clock.now() * 1000),
                "CloudWatchMetrics": [definition],
            },
            **dimensions,
            **{name: values for (name, _), values in metrics.items()},
        }
        return orjson.dumps(line).decode() + "\n"
