"""The features of videos that are counted: one formula for bundles and for videos since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vireo.catalogue.places import GROUPS

Floats = NDArray[np.float64]
#: A rate is that of a video's own trials and of so many average ones: the posterior mean of a
#: beta-binomial whose prior mean is the overall rate.
PRIOR = 20.0


@dataclass(frozen=True)
class Counted:
    """Counts of videos, arrays [n]. A viewer has one view of a video: their first positive event.

    A view counts by the propensity weight of its place, an impression by its propensity.
    """

    views: Floats
    recent: Floats  #: views lately
    likes: Floats  #: likes, comments and shares
    watches: Floats  #: of any length
    examined: Floats  #: impressions
    clicks: Floats


@dataclass(frozen=True)
class Scale:
    """Propensities of places, and overall rates, as of a bundle: its group of arrays ``scale``.

    A video that came after the bundle is compared with those in it, so its counts have the same
    weights, and its rates are shrunk towards the same overall ones.
    """

    propensity: Floats  #: of an impression by group of places: [GROUPS], 1 on average
    weight: Floats  #: propensity weight of a view by group of places: [GROUPS]
    like_rate: float  #: likes per watch of all videos; NaN without watches
    click_rate: float  #: clicks per examined impression of all videos; NaN without impressions

    @classmethod
    def of(cls, counted: Counted, propensity: Any = None, weight: Any = None) -> Self:
        """The scale of all videos' counts. By default every place counts the same."""
        watches, examined = counted.watches.sum(), counted.examined.sum()
        # Clicks without logged impressions happen (samples of impressions): a rate is at most 1.
        return cls(
            np.ones(GROUPS) if propensity is None else np.asarray(propensity, np.float64),
            np.ones(GROUPS) if weight is None else np.asarray(weight, np.float64),
            float(counted.likes.sum() / watches) if watches else np.nan,
            min(1.0, float(counted.clicks.sum() / examined)) if examined else np.nan,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of a bundle's group, by name."""
        return {name: np.array(value, np.float64, ndmin=1) for name, value in asdict(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The inverse of `arrays`."""
        rates = (float(arrays[name][0]) for name in ("like_rate", "click_rate"))
        return cls(arrays["propensity"], arrays["weight"], *rates)


def counted_features(counted: Counted, scale: Scale) -> dict[str, Floats]:
    """The columns of `VIDEO_FEATURES` that are counted, by name; NaN where no rate is known."""
    return {
        "log_views": np.log1p(counted.views),
        "log_recent": np.log1p(counted.recent),
        "like_rate": shrunk(counted.likes, counted.watches, scale.like_rate),
        "ctr": click_rate(counted.clicks, counted.examined, scale.click_rate),
    }


def click_rate(clicks: Floats, examined: Floats, overall: float) -> Floats:
    """Clicks over expected clicks (Zhang and Jones, WWW 2007), shrunk; 1 at most."""
    return shrunk(clicks, np.maximum(examined, clicks), overall)


def shrunk(successes: Floats, trials: Floats, overall: float, prior: float = PRIOR) -> Floats:
    """The rate of every video with ``prior`` average trials added."""
    return np.asarray((successes + prior * overall) / (trials + prior), np.float64)
