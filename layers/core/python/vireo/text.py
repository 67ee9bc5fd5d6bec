"""The built-in text embedder: hashed character n-grams, without fitting or a model file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

#: Kept with every index, because vectors of different embedders must not be compared.
EMBEDDER_ID = "hashed-char-3-5-512-v1"
#: Dimension of a text's vector.
TEXT_BUCKETS = 512


def embed(text: str) -> NDArray[np.float32]:
    """A signed count-sketch of the character 3–5-grams of ``text``: float32 [512], unit or zero.

    Weinberger et al., "Feature Hashing for Large Scale Multitask Learning" (2009): the sign bit
    makes collisions cancel in expectation. Case and repeated blanks are ignored.
    """
    padded = f" {' '.join(text.lower().split())} ".encode()
    hashes = np.array(
        [crc32(padded[i : i + n]) for n in (3, 4, 5) for i in range(len(padded) - n + 1)],
        dtype=np.uint32,
    )
    sketch = np.zeros(TEXT_BUCKETS, np.float32)
    if len(hashes):
        signs = np.where(hashes >> 31, np.float32(1), np.float32(-1))
        np.add.at(sketch, hashes % TEXT_BUCKETS, signs)
        norm = float(np.sqrt(sketch @ sketch))
        if norm > 0:
            sketch /= norm
    return sketch


def embed_all(texts: Iterable[str]) -> NDArray[np.float32]:
    """`embed` of every text: float32 [n, 512]."""
    rows = [embed(t) for t in texts]
    return np.stack(rows) if rows else np.zeros((0, TEXT_BUCKETS), np.float32)


def describe(title: str, tags: Sequence[str]) -> str:
    """The text of a video, as the video tower reads it: title and tags."""
    return " ".join([title, *tags])
