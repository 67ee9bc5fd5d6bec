"""What passes through the stages: a request in rows and codes, and a slate of candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vireo.keys import Keys
from vireo.recommender.snapshot import Snapshot
from vireo.recommender.tower import pause_bucket
from vireo.recommender.tuning import Tuning
from vireo.vectors import Bits, Rows, clear
from vireo.viewers.viewer import Viewer

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: Scores that every candidate gets: the order of `Slate.scores` and of a bundle's ``blend[:, 1:]``.
SOURCES = ("tower", "neighbours", "successors", "openers", "popularity")
#: Who may propose a candidate: bit j of `Slate.proposed`.
PROPOSERS = (*SOURCES, "fresh")
TOWER, NEIGHBOURS, SUCCESSORS, OPENERS, POPULARITY, FRESH = range(6)
#: What a place in the final list is.
SLOTS = ("organic", "promoted", "explore")
ORGANIC, PROMOTED, EXPLORE = range(3)


@dataclass(frozen=True)
class Request:
    """One question, in rows of a snapshot and codes of its vocabulary."""

    snapshot: Snapshot
    viewer: Viewer
    now: float  #: unix seconds
    limit: int
    country: int  #: code, 0 unknown
    language: int
    device: int
    age: int  #: years, -1 unknown
    rating: int  #: the highest age rating that may be shown
    history: Rows  #: [h] of the videos that the snapshot knows, oldest first
    times: NDArray[np.float64]  #: [h] unix seconds
    watched: Rows  #: the history included
    excluded: Rows
    tuning: Tuning
    user_id: str = ""
    user: int = 0  #: what the user tower knows of the id, see `Snapshot.user`

    @classmethod
    def of(
        cls,
        snapshot: Snapshot,
        viewer: Viewer,
        now: float,
        *,
        limit: int = 20,
        country: str | None = None,
        language: str | None = None,
        device: str | None = None,
        exclude: Keys | None = None,
        tuning: Tuning | None = None,
        user_id: str = "",
        user: int = 0,
    ) -> Self:
        """Resolve a question. What the context leaves out is taken from the viewer's profile."""
        profile, vocabulary = viewer.profile, snapshot.bundle.vocabulary
        tuning = tuning or Tuning()
        country = country or profile.country
        # One look-up in the large array, of sorted keys: they are near each other there.
        seen = np.sort(np.concatenate([viewer.keys, viewer.watched]))
        watched = snapshot.rows(seen)
        history = watched[np.searchsorted(seen, viewer.keys)]
        known = history >= 0
        excluded = snapshot.rows(exclude) if exclude is not None else watched[:0]
        return cls(
            snapshot=snapshot,
            viewer=viewer,
            now=now,
            limit=limit,
            country=vocabulary.code("countries", country),
            language=vocabulary.code("languages", language or profile.language),
            device=vocabulary.code("devices", device),
            age=-1 if profile.age is None else profile.age,
            rating=tuning.highest_rating(profile.age, country),
            history=history[known],
            times=viewer.times[known],
            watched=watched[watched >= 0],
            excluded=excluded[excluded >= 0],
            tuning=tuning,
            user_id=user_id,
            user=user,
        )

    @cached_property
    def eligible(self) -> Bits:
        """Bitmap of what this viewer may be shown, has not watched, and is not excluded."""
        bits = self.snapshot.eligible(self.country, self.rating).copy()
        clear(bits, self.watched)
        clear(bits, self.excluded)
        return bits

    @property
    def pause(self) -> float | None:
        """Seconds since the last event, None without a history."""
        return max(0.0, self.now - float(self.times[-1])) if len(self.times) else None

    @property
    def bucket(self) -> int:
        """The bucket of `pause`, 0–3."""
        return pause_bucket(self.pause)


def _nothing() -> Mapping[str, Rows]:
    return {}


def _none() -> Mapping[int, str]:
    return {}


@dataclass(frozen=True)
class Slate:
    """k candidates as a struct of arrays, and what was dropped on the way, by reason."""

    rows: Rows  #: [k]
    scores: Floats  #: [len(SOURCES), k], NaN where a source has no opinion
    proposed: NDArray[np.uint8]  #: [k], bits by PROPOSERS
    score: Floats  #: [k], what the slate is to be ordered by
    z: Floats  #: [len(SOURCES), k], z-scores of `scores` over all that retrieval returned
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
        """No candidates."""
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
        """The candidates where ``mask``; the others are remembered under the reason."""
        if mask.all():
            return self
        kept = self.take(mask)
        before = self.removed.get(otherwise, self.rows[:0])
        gone = np.concatenate([before, self.rows[~mask]])
        return replace(kept, removed={**self.removed, otherwise: gone})

    def top(self, k: int, *, and_fresh: bool = False) -> Self:
        """The k best by `score`, best first, equal ones in order of row.

        With ``and_fresh`` also those below that were proposed because they are new: no model knows
        them well enough to have them among the best, and exploration may show them.
        """
        order = np.lexsort((self.rows, -self.score))
        kept = np.arange(len(order)) < k
        if and_fresh:
            kept |= (self.proposed[order] >> FRESH & 1) == 1
        return self.take(order[kept])


def standardised(values: Floats) -> Floats:
    """z-scores along the last axis; NaN and sources without spread become 0."""
    known = ~np.isnan(values)
    count = np.maximum(known.sum(-1, keepdims=True), 1)
    filled = np.where(known, values, 0)
    centred = np.where(known, filled - filled.sum(-1, keepdims=True) / count, 0)
    spread = np.sqrt((centred * centred).sum(-1, keepdims=True) / count)
    z: Floats = (centred / np.where(spread > 1e-12, spread, np.inf)).astype(np.float32)
    return z
