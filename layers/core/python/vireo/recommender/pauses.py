"""Pauses before a request, and between events of a history, in the buckets that models use."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

HOUR, DAY, WEEK = 3600.0, 86400.0, 604800.0
#: Pause before a request: in session, the same day, the same week, later (or no history at all).
PAUSE_EDGES = (HOUR, DAY, WEEK)
PAUSE_BUCKETS = len(PAUSE_EDGES) + 1
#: Names of the buckets, in order.
PAUSE_NAMES = ("< 1 h", "1 h–1 day", "1–7 days", "≥ 7 days")
#: Pause before an event within the history; the first event of a viewer is in the last bucket.
HISTORY_PAUSE_EDGES = (1.0, 15.0, 60.0, 300.0, HOUR, DAY)
HISTORY_PAUSE_BUCKETS = len(HISTORY_PAUSE_EDGES) + 1


def pause_bucket(pause: float | None) -> int:
    """Bucket of the seconds before a request; None if the viewer has no history."""
    return PAUSE_BUCKETS - 1 if pause is None else bisect_right(PAUSE_EDGES, pause)


def pause_buckets(pauses: NDArray[np.float64]) -> NDArray[np.int8]:
    """`pause_bucket` of many; NaN if there is no history."""
    return np.searchsorted(PAUSE_EDGES, pauses, side="right").astype(np.int8)


def history_pause_buckets(pauses: NDArray[np.float64]) -> NDArray[np.int8]:
    """Bucket of the seconds between an event and the previous one; NaN for a first event."""
    return np.searchsorted(HISTORY_PAUSE_EDGES, pauses, side="right").astype(np.int8)
