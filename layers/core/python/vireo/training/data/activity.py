"""Activity on videos as arrays in order of time, and their counters as of any moment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vireo.catalogue.places import groups
from vireo.recommender.counted import click_rate
from vireo.training.data.event_table import TYPES
from vireo.training.data.log import Log
from vireo.training.data.places import Shown, propensities, propensity_weights

_CODE = {name: code for code, name in enumerate(TYPES)}


@dataclass(frozen=True)
class Activity:
    """All well-formed events of every type, including repeats of a pair; n in order of time."""

    user: NDArray[np.int32]  #: row in `Log.people`
    video: NDArray[np.int32]  #: row in `Log.videos`
    type: NDArray[np.int8]  #: position in vireo.training.data.event_table.TYPES
    time: NDArray[np.float64]  #: unix seconds, ascending
    seconds: NDArray[np.float32]  #: watched, NaN unknown
    fraction: NDArray[np.float32]  #: of the video's length watched, NaN unknown
    place: NDArray[np.int32]  #: in the list that it followed from, 0 is the first, -1 unknown
    recommended: NDArray[np.bool_]  #: it names the request of ours that it followed from
    n_videos: int

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True)
class Counters:
    """Counts by video before a moment: arrays [n_videos]."""

    watches: NDArray[np.int64]  #: of any length
    likes: NDArray[np.int64]
    comments: NDArray[np.int64]
    shares: NDArray[np.int64]
    impressions: NDArray[np.int64]
    clicks: NDArray[np.int64]
    skips: NDArray[np.int64]
    dislikes: NDArray[np.int64]
    #: Impressions, each by its propensity: for its place and its viewer's taste.
    examined: NDArray[np.float64]
    #: Propensity of an impression by group of places, and the propensity weight of a positive
    #: event: [GROUPS] each.
    propensity: NDArray[np.float64]
    propensity_weight: NDArray[np.float32]

    @property
    def click_rate(self) -> NDArray[np.float64]:
        """Clicks per examined impression, shrunk; NaN while there is no impression."""
        shown = float(self.examined.sum())
        overall = min(1.0, int(self.clicks.sum()) / shown) if shown else np.nan
        return click_rate(self.clicks.astype(float), self.examined, overall)


def counters(
    activity: Activity, until: float, *, kinds: NDArray[np.integer] | None = None
) -> Counters:
    """Counters from the events with time < ``until`` (unix seconds) and from no other.

    Args:
        activity: all of it.
        until: the moment.
        kinds: of every video, its category; without, all videos are of one.
    """
    seen = int(np.searchsorted(activity.time, until, side="left"))
    cells = activity.type[:seen].astype(np.int64) * activity.n_videos + activity.video[:seen]
    counts = np.bincount(cells, minlength=len(TYPES) * activity.n_videos)
    by_type = counts.reshape(len(TYPES), activity.n_videos)
    if kinds is None:
        kinds = np.zeros(activity.n_videos, np.int64)
    shown, clicked = (_shown(activity, seen, kinds, name) for name in ("impression", "click"))
    propensity, theta = propensities(shown, clicked)
    return Counters(
        watches=by_type[_CODE["watch"]],
        likes=by_type[_CODE["like"]],
        comments=by_type[_CODE["comment"]],
        shares=by_type[_CODE["share"]],
        impressions=by_type[_CODE["impression"]],
        clicks=by_type[_CODE["click"]],
        skips=by_type[_CODE["skip"]],
        dislikes=by_type[_CODE["dislike"]],
        examined=np.bincount(shown.video, propensity, activity.n_videos).astype(np.float64),
        propensity=theta,
        propensity_weight=propensity_weights(theta, clicked),
    )


def _shown(activity: Activity, seen: int, kinds: NDArray[np.integer], name: str) -> Shown:
    at = np.flatnonzero(activity.type[:seen] == _CODE[name])
    video = activity.video[at]
    pair = activity.user[at].astype(np.int64) * (int(kinds.max(initial=0)) + 1) + kinds[video]
    return Shown(video, activity.place[at], pair)


def with_propensity_weights(log: Log, activity: Activity | None, until: float) -> Log:
    """The log with the weights of its events for their places (`places.propensity_weights`).

    How much places are looked at is judged by what was shown and clicked before ``until`` (unix
    seconds). A log that knows no places, or has weights already, is returned as it is.
    """
    if activity is None or log.propensity_weight is not None or not (log.place >= 0).any():
        return log
    seen = int(np.searchsorted(activity.time, until, side="left"))
    shown, clicked = (
        _shown(activity, seen, log.videos.category, name) for name in ("impression", "click")
    )
    _, attention = propensities(shown, clicked)
    weight = propensity_weights(attention, clicked)[groups(log.place)]
    return replace(log, propensity_weight=weight)


def completion(activity: Activity, until: float, *, prior: float = 20.0) -> NDArray[np.float32]:
    """Mean fraction watched by video before ``until``, shrunk towards the mean of all videos.

    Returns:
        float32 [n_videos]; NaN when no fraction at all is known.
    """
    seen = int(np.searchsorted(activity.time, until, side="left"))
    fraction, video = activity.fraction[:seen], activity.video[:seen]
    known = ~np.isnan(fraction)
    fraction, video = fraction[known].astype(np.float64), video[known]
    if not len(fraction):
        return np.full(activity.n_videos, np.nan, np.float32)
    total = np.bincount(video, fraction, minlength=activity.n_videos)
    count = np.bincount(video, minlength=activity.n_videos)
    shrunk: NDArray[np.float64] = (total + prior * fraction.mean()) / (count + prior)
    return shrunk.astype(np.float32)


@dataclass(frozen=True)
class Watching:
    """Number and length of watches of every viewer before any moment."""

    time: NDArray[np.float64]  #: of watch events, by viewer and then in order of time
    seconds: NDArray[np.float64]  #: cumulative over the whole array, 0 first: [len(time) + 1]
    offsets: NDArray[np.int64]  #: [n_users + 1] into `time`

    @classmethod
    def of(cls, activity: Activity, n_users: int) -> Self:
        """Index the watch events of an activity."""
        watch = activity.type == _CODE["watch"]
        user, time = activity.user[watch], activity.time[watch]
        order = np.argsort(user, kind="stable")
        seconds = np.nan_to_num(activity.seconds[watch][order].astype(np.float64))
        return cls(
            time[order],
            np.concatenate([[0.0], np.cumsum(seconds)]),
            np.concatenate([[0], np.cumsum(np.bincount(user, minlength=n_users))]),
        )

    def before(self, user: int, moment: float) -> tuple[int, float]:
        """Watch events of a viewer before ``moment`` (unix seconds), and their seconds."""
        start, stop = int(self.offsets[user]), int(self.offsets[user + 1])
        end = start + int(np.searchsorted(self.time[start:stop], moment, side="left"))
        return end - start, float(self.seconds[end] - self.seconds[start])
