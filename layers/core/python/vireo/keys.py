"""64-bit keys for ids, so that histories, indexes and bundles hold numbers instead of strings."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]


def key_of(identifier: str) -> int:
    """The 64-bit key of a video, channel or any other id: BLAKE2b, little-endian.

    At a million ids two share a key with probability 3e-8; publishing a bundle checks that none do.
    """
    return int.from_bytes(blake2b(identifier.encode(), digest_size=8).digest(), "little")


def keys_of(identifiers: Iterable[str]) -> Keys:
    """Keys of many ids, uint64 [n]."""
    return np.array([key_of(i) for i in identifiers], dtype=np.uint64)
