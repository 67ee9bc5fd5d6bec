"""A request, resolved to rows of a snapshot and codes of its vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vireo.keys import Keys
from vireo.recommender.pauses import pause_bucket
from vireo.recommender.snapshot import Snapshot
from vireo.recommender.steering.tuning import Tuning
from vireo.vectors import Bits, Rows, clear
from vireo.viewers.viewer import Viewer


@dataclass(frozen=True)
class Request:
    """A request, resolved to rows of a snapshot and codes of its vocabulary."""

    snapshot: Snapshot
    viewer: Viewer
    now: float  #: unix seconds
    limit: int
    country: int  #: code, 0 unknown
    language: int
    device: int
    age: int  #: years, -1 unknown
    rating: int  #: the highest age rating that may be shown
    history: Rows  #: [h] videos that are in the snapshot, oldest first
    times: NDArray[np.float64]  #: [h] unix seconds
    watched: Rows  #: the history included
    excluded: Rows
    tuning: Tuning
    user_id: str = ""
    user: int = 0  #: row of the viewer in the user tower, see `Snapshot.user`

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
        """Resolve a request. Fields missing in the context come from the viewer's profile."""
        profile, vocabulary = viewer.profile, snapshot.bundle.vocabulary
        tuning = tuning or Tuning()
        country = country or profile.country
        # One look-up of sorted keys, whose neighbours are close together in the large array.
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
        """Bitmap of the rows that the viewer may see, has not watched, and are not excluded."""
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
