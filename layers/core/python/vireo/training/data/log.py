"""The log of interactions that models learn from, as arrays in order of time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vireo.catalogue.columns import Columns, Vocabulary

#: Fields of `Log` that are columns of its events.
EVENTS = ("user", "video", "time", "device", "weight", "place", "propensity_weight")
#: Events per watched video below which a log is sparse; models have defaults for either kind.
SPARSE = 50


@dataclass(frozen=True)
class People:
    """Viewers as arrays of length m, in ascending order of id."""

    ids: NDArray[np.bytes_]  #: S[m]
    age: NDArray[np.int16]  #: years, -1 unknown
    country: NDArray[np.int16]  #: code in the vocabulary
    language: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Log:
    """Positive events of n_users viewers on n_videos videos, n events in order of time.

    Only the first event of each (viewer, video) pair is kept, so that no target is a repeat. Events
    of equal time keep the order of the source. A cut at a position is a cut in time: nothing after
    it is known before it.
    """

    user: NDArray[np.int32]  #: row in `people`
    video: NDArray[np.int32]  #: row in `videos`
    time: NDArray[np.float64]  #: unix seconds, ascending
    device: NDArray[np.int8]  #: code in the vocabulary, 0 unknown
    #: How strong a signal an event is of itself: 1 for a watch, more for a like.
    weight: NDArray[np.float32]
    place: NDArray[np.int32]  #: in the list that it followed from, 0 is the first, -1 unknown
    people: People
    videos: Columns
    text: NDArray[np.float32]  #: [n_videos, 512] hashed titles and tags (vireo.text)
    vocabulary: Vocabulary
    #: [n] What it counts for its place, whatever it is (`activity.with_propensity_weights`); None:
    #: all count the same.
    propensity_weight: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.user)

    @property
    def n_users(self) -> int:
        """Number of viewers, including those without events."""
        return len(self.people)

    @property
    def n_videos(self) -> int:
        """Number of videos, including those without events."""
        return len(self.videos)

    @property
    def sparse(self) -> bool:
        """True if watched videos have few events each, so that half of what is learned is noise."""
        return len(self) < SPARSE * max(1, len(np.unique(self.video)))

    def count(self, which: Any = slice(None)) -> NDArray[np.float64]:
        """Events by video, each by its propensity weight: [n_videos]; ``which`` chooses some."""
        weight = None if self.propensity_weight is None else self.propensity_weight[which]
        return np.bincount(self.video[which], weight, self.n_videos).astype(np.float64)

    def until(self, position: int) -> Self:
        """The first ``position`` events."""
        return self.between(0, position)

    def between(self, start: int, stop: int) -> Self:
        """Events start..stop of this log, with the same viewers and videos."""
        return self.take(slice(start, stop))

    def take(self, which: Any) -> Self:
        """Some events (a slice, a mask, ascending positions) of the same viewers and videos."""
        columns = {name: getattr(self, name) for name in EVENTS}
        taken: dict[str, Any] = {n: c if c is None else c[which] for n, c in columns.items()}
        return replace(self, **taken)

    def histories(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions by viewer: ``order[offsets[u]:offsets[u + 1]]`` are viewer u's, in time order.

        Returns:
            order int64 [n], offsets int64 [n_users + 1]; both read-only, as the log keeps them.
        """
        return self._histories

    @cached_property
    def _histories(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        order = np.argsort(self.user, kind="stable")
        counts = np.bincount(self.user, minlength=self.n_users)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        order.flags.writeable = offsets.flags.writeable = False
        return order, offsets
