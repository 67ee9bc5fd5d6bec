"""Item-to-item scores of a history, from a sparse table (CSR)."""

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
    """Scores from one history: dense over all n videos, and the rows that have one."""

    scores: Floats  #: [n], zero for rows without a vote
    rows: Rows  #: rows with a vote, each once

    def at(self, rows: Rows) -> Floats:
        """Scores of rows: 0 without a vote, NaN for rows beyond the table."""
        n = len(self.scores)
        known = self.scores[np.minimum(rows, n - 1)] if n else np.zeros(len(rows), np.float32)
        return np.where(rows < n, known, np.float32(np.nan))


@dataclass(frozen=True)
class Neighbours:
    """An item-to-item table. Row j lists the votes of watching j: scores[indices] += weights."""

    indptr: NDArray[np.int64]  #: [n + 1]
    indices: Rows
    weights: Floats
    #: Scratch arrays per thread, zero between calls, so that a call resets only its own entries.
    _scratch: threading.local = field(default_factory=threading.local, repr=False, compare=False)

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        """The table in a bundle's arrays, named without their ``neighbours/`` prefix."""
        return cls(arrays["indptr"], arrays["indices"], arrays["weights"])

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def entries(self, rows: Rows) -> tuple[Rows, Floats, NDArray[np.int64]]:
        """The entries of some rows, concatenated: indices, weights, number of entries per row."""
        starts, stops = self.indptr[rows], self.indptr[rows + 1]
        counts = stops - starts
        offsets = np.repeat(starts - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
        at = offsets + np.arange(len(offsets))
        return self.indices[at], self.weights[at], counts

    @contextmanager
    def votes(self, history: Rows, strength: Floats) -> Iterator[Votes]:
        """Scores of a history [h] with weights ``strength`` [h]; valid in the ``with`` block."""
        known = history < len(self)
        targets, weights, counts = self.entries(history[known])
        scores, seen = self._arrays()
        np.add.at(scores, targets, weights * np.repeat(strength[known], counts))
        try:
            # The last write to each row selects one of its entries, which needs no sort.
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
