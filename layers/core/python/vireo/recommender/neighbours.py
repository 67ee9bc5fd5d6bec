"""Item-to-item scores: what the videos of a history speak for, from a sparse table (CSR)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vireo.vectors import Rows

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Votes:
    """Scores of one history: dense over all n videos, and the rows that got any."""

    scores: Floats  #: [n], zero where nothing was said
    rows: Rows  #: rows that some video of the history speaks for, each once

    def at(self, rows: Rows) -> Floats:
        """Scores of rows, 0 where nothing was said, NaN for rows beyond the table."""
        n = len(self.scores)
        known = self.scores[np.minimum(rows, n - 1)] if n else np.zeros(len(rows), np.float32)
        return np.where(rows < n, known, np.float32(np.nan))


@dataclass(frozen=True)
class Neighbours:
    """Row j of the table is what watching j speaks for: scores[indices] += weights."""

    indptr: NDArray[np.int64]  #: [n + 1]
    indices: Rows
    weights: Floats
    #: Scratch of each thread; it is left all zero, so a request touches only what it names.
    _scratch: threading.local = field(default_factory=threading.local, repr=False, compare=False)

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        """From a bundle's arrays, named without their ``neighbours/`` prefix."""
        return cls(arrays["indptr"], arrays["indices"], arrays["weights"])

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def entries(self, rows: Rows) -> tuple[Rows, Floats, NDArray[np.int64]]:
        """The entries of some rows, one after the other: indices, weights, entries per row."""
        starts, stops = self.indptr[rows], self.indptr[rows + 1]
        counts = stops - starts
        offsets = np.repeat(starts - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
        at = offsets + np.arange(len(offsets))
        return self.indices[at], self.weights[at], counts

    @contextmanager
    def votes(self, history: Rows, strength: Floats) -> Iterator[Votes]:
        """Scores of a history [h] whose videos count ``strength`` [h]; valid inside the block."""
        known = history < len(self)
        targets, weights, counts = self.entries(history[known])
        scores, seen = self._arrays()
        np.add.at(scores, targets, weights * np.repeat(strength[known], counts))
        try:
            # The last writer of each row's place is its one representative: no sort needed.
            places = np.arange(len(targets), dtype=np.int32)
            seen[targets] = places
            yield Votes(scores, targets[seen[targets] == places])
        finally:
            scores[targets] = 0

    def _arrays(self) -> tuple[Floats, Rows]:
        local = self._scratch
        if not hasattr(local, "scores"):
            local.scores = np.zeros(len(self), np.float32)
            local.seen = np.zeros(len(self), np.int32)
        return local.scores, local.seen
