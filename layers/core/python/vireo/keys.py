"""64-bit keys for ids, so that histories, indexes and bundles hold numbers instead of strings."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]


def key_of(identifier: str) -> int:
    """The 64-bit key of an id (of a video, a channel, …): its BLAKE2b hash, little-endian.

    Among a million ids, two share a key with probability 3e-8. Publishing a bundle checks for it.
    """
    return int.from_bytes(blake2b(identifier.encode(), digest_size=8).digest(), "little")


def keys_of(identifiers: Iterable[str]) -> Keys:
    """Keys of many ids, uint64 [n]."""
    return np.array([key_of(i) for i in identifiers], dtype=np.uint64)


def find(ordered: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.int64]:
    """Positions of ``wanted`` in ``ordered`` (ascending), -1 where absent: shape of ``wanted``.

    >>> find(np.array([2, 3, 5]), np.array([5, 4, 2])).tolist()
    [2, -1, 0]
    """
    if not len(ordered):
        return np.full(np.shape(wanted), -1, np.int64)
    at = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    return np.where(ordered[at] == wanted, at, -1)
