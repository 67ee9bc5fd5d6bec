"""Recent activity on videos: features of new videos, and videos that many watch now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from vireo.catalogue.counters import Counts, Reader, by_video, click_rate, empty
from vireo.keys import Keys
from vireo.recommender.video_features import VIDEO_FEATURES, Floats

DAY = 86_400.0
#: Minimum number of positive events in a day of a video that many watch.
MANY = 5
#: Strength of the prior of a like rate, in watches; the same as when the bundle was made.
_PRIOR = 20.0


@dataclass(frozen=True)
class Hot:
    """The hot counters (`vireo.catalogue.counters`) at a moment."""

    since: Counts = field(default_factory=empty)  #: since the bundle, a week at most
    lately: Counts = field(default_factory=empty)  #: of the last day

    @classmethod
    def of(cls, reader: Reader, watermark: float, now: float) -> Self:
        """The counts of a reader, for a bundle with events up to ``watermark`` (unix seconds)."""
        return cls(reader.total(watermark), reader.total(now - DAY))

    def most_watched(self, country: str | None) -> Keys:
        """Keys of the videos that many watch now, in a country or anywhere; most watched first."""
        counts = by_video(self.lately, country)
        counts = counts[counts["positives"] >= MANY]
        keys: Keys = counts["video"][
            np.lexsort((counts["video"], -counts["positives"].astype(int)))
        ]
        return keys

    def filled(self, features: Floats, keys: Keys) -> Floats:
        """Features [k, Fv] of videos that the bundle does not have, with what is known of them."""
        counts = by_video(self.since)
        if not len(counts) or not len(keys):
            return features
        at = np.minimum(np.searchsorted(counts["video"], keys), len(counts) - 1)
        found = np.flatnonzero(counts["video"][at] == keys)
        theirs = counts[at[found]]
        likes, watches = (counts[name].sum() for name in ("likes", "watches"))
        liked = (theirs["likes"] + _PRIOR * likes / max(1, watches)) / (theirs["watches"] + _PRIOR)
        known = {
            "log_views": np.log1p(theirs["positives"]),
            "log_recent": np.log1p(theirs["positives"]),
            "like_rate": liked,
            "ctr": click_rate(counts)[at[found]],
        }
        made = features.copy()
        for name, values in known.items():
            made[found, VIDEO_FEATURES.index(name)] = values
        return made
