"""The slate of candidates that passes through the stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vireo.vectors import Rows

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: The proposers of candidates, with descriptions: bit j of `Slate.proposed`.
PROPOSALS: Mapping[str, str] = {
    "tower": "Nearest to the viewer's vector, by the two-tower model.",
    "neighbours": "Watched by those who watched what this viewer watched lately.",
    "successors": "Watched next, by others, after the viewer's last videos.",
    "openers": "What sessions begin with.",
    "popularity": "Most watched lately, in the viewer's country or everywhere.",
    "fresh": "Published in the last days, newest first.",
}
PROPOSERS = tuple(PROPOSALS)
#: Scores that every candidate gets: the order of `Slate.scores` and of a bundle's ``blend[:, 1:]``.
#: A new video has no score for being new.
SOURCES = PROPOSERS[:-1]
TOWER, NEIGHBOURS, SUCCESSORS, OPENERS, POPULARITY, FRESH = range(6)
#: Kinds of places in the final list.
SLOTS = ("organic", "promoted", "explore")
ORGANIC, PROMOTED, EXPLORE = range(3)


def _nothing() -> Mapping[str, Rows]:
    return {}


def _none() -> Mapping[int, str]:
    return {}


@dataclass(frozen=True)
class Slate:
    """k candidates as a struct of arrays, and the removed ones by reason."""

    rows: Rows  #: [k]
    scores: Floats  #: [len(SOURCES), k], NaN where a source has no score
    proposed: NDArray[np.uint8]  #: [k], bits by PROPOSERS
    score: Floats  #: [k], the current score for ordering
    z: Floats  #: [len(SOURCES), k], z-scores of `scores` over all retrieved candidates
    features: Floats | None = None  #: [k, F]
    removed: Mapping[str, Rows] = field(default_factory=_nothing)
    slots: NDArray[np.uint8] | None = None  #: [k] ORGANIC, PROMOTED or EXPLORE, once ordered
    campaigns: Mapping[int, str] = field(default_factory=_none)  #: promoted row to campaign

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def of(cls, rows: Rows, scores: Floats, proposed: NDArray[np.uint8], score: Floats) -> Self:
        """A slate as retrieval returns it."""
        return cls(rows, scores, proposed, score, standardised(scores))

    @classmethod
    def empty(cls) -> Self:
        """A slate without candidates."""
        none = np.zeros(0, np.float32)
        scores = np.zeros((len(SOURCES), 0), np.float32)
        return cls.of(np.zeros(0, np.int32), scores, np.zeros(0, np.uint8), none)

    def take(self, order: NDArray[np.integer] | Mask) -> Self:
        """The candidates at those positions, in that order."""
        return replace(
            self,
            rows=self.rows[order],
            scores=self.scores[:, order],
            proposed=self.proposed[order],
            score=self.score[order],
            z=self.z[:, order],
            features=None if self.features is None else self.features[order],
            slots=None if self.slots is None else self.slots[order],
        )

    def keep(self, mask: Mask, *, otherwise: str) -> Self:
        """The candidates where ``mask``; the others are recorded as removed for that reason."""
        if mask.all():
            return self
        kept = self.take(mask)
        before = self.removed.get(otherwise, self.rows[:0])
        gone = np.concatenate([before, self.rows[~mask]])
        return replace(kept, removed={**self.removed, otherwise: gone})

    def top(self, k: int, *, and_fresh: bool = False) -> Self:
        """The k best by `score`, best first, equal ones in order of row.

        With ``and_fresh`` also those below them that were proposed as new videos: no model knows
        these well enough to rank them high, and exploration may show them.
        """
        order = np.lexsort((self.rows, -self.score))
        kept = np.arange(len(order)) < k
        if and_fresh:
            kept |= (self.proposed[order] >> FRESH & 1) == 1
        return self.take(order[kept])


def standardised(values: Floats) -> Floats:
    """z-scores along the last axis; 0 for NaN and for sources without spread."""
    known = ~np.isnan(values)
    count = np.maximum(known.sum(-1, keepdims=True), 1)
    filled = np.where(known, values, 0)
    centred = np.where(known, filled - filled.sum(-1, keepdims=True) / count, 0)
    spread = np.sqrt((centred * centred).sum(-1, keepdims=True) / count)
    z: Floats = (centred / np.where(spread > 1e-12, spread, np.inf)).astype(np.float32)
    return z
