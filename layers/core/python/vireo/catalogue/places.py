"""Groups of places in a list, by which impressions and views are counted."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

#: The first place of every group. Attention falls fast at the top, so places are alone there.
FIRST = (0, 1, 2, 3, 4, 5, 6, 8, 11, 15, 20, 30)
#: Number of groups; the last one is of events without a place.
GROUPS = len(FIRST) + 1


def groups(place: NDArray[np.integer]) -> NDArray[np.int64]:
    """The group of every place (0 is the first, negative: unknown)."""
    found = np.searchsorted(FIRST, place, side="right") - 1
    return np.where(found < 0, GROUPS - 1, found).astype(np.int64)


def group(place: int | None) -> int:
    """The group of one place; None: unknown.

    >>> group(0), group(7), group(1000), group(None)
    (0, 6, 11, 12)
    """
    return GROUPS - 1 if place is None else bisect_right(FIRST, place) - 1
