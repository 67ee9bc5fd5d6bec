"""The features of videos in a bundle that do not depend on the request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vireo.catalogue.columns import Columns

Floats = NDArray[np.float32]

#: Per-video features as of a bundle, and what each says.
VIDEO_MEANINGS: Mapping[str, str] = {
    "log_duration": "log1p of seconds",
    "log_views": "log1p of views in all (first positive events of a viewer, weighed)",
    "log_recent": "log1p of views lately, in the window that popularity uses",
    "trend": "log of recent views per day over those of all time",
    "popularity_rank": "0 (the least) to 1 (the most) by recent views",
    "like_rate": "likes, comments and shares per watch, shrunk",
    "ctr": "clicks per impression by its propensity, shrunk",
    "completion": "mean fraction watched",
    "opener": "log of how often it follows a long pause",
    "channel_views": "log1p of views of the channel",
}
#: The columns of a bundle's ``features`` array.
VIDEO_FEATURES = tuple(VIDEO_MEANINGS)


def video_features(columns: Columns, known: Mapping[str, NDArray[Any]] | None = None) -> Floats:
    """The ``features`` array [n, Fv] from the known columns by name; the others are NaN.

    A video that the bundle does not have starts with only its duration; its counts come from the
    hot counters (`vireo.recommender.hot`).
    """
    known = dict(known or {})
    known.setdefault("log_duration", np.log1p(columns.duration))
    if extra := known.keys() - set(VIDEO_FEATURES):
        raise ValueError(f"no such features: {sorted(extra)}")
    features = np.full((len(columns), len(VIDEO_FEATURES)), np.nan, np.float32)
    for name, values in known.items():
        features[:, VIDEO_FEATURES.index(name)] = values
    return features
