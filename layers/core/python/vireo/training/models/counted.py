"""The arrays of a bundle that are counts, not models: features of videos, and static lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vireo.recommender.counted import Counted, Scale, counted_features
from vireo.recommender.video_features import video_features
from vireo.training.data.activity import Activity, completion, counters, with_propensity_weights
from vireo.training.data.log import Log

DAY = 86400.0
#: The recent period is the last week, or longer, so that it has this many events.
RECENT_DAYS, RECENT_EVENTS = 7.0, 5000
#: Lengths of a bundle's static lists.
POPULAR, TRENDING, OPENERS = 500, 200, 300


def counted_arrays(
    log: Log, activity: Activity | None, opener_score: NDArray[np.float32], now: float
) -> dict[str, NDArray[Any]]:
    """The arrays by name, as of ``now`` (unix seconds)."""
    log = with_propensity_weights(log, activity, now)
    recent = _recent(log, now)
    return {
        **_features(log, activity, opener_score, recent, now),
        "popular": _popular(log, recent),
        "trending": _trending(log, recent, now),
        "openers": _best(opener_score, OPENERS, among=np.unique(log.video)),
        "opener_score": opener_score.astype(np.float32),
    }


@dataclass(frozen=True)
class _Recent:
    """The latest part of a log."""

    log: Log
    days: float


def _recent(log: Log, now: float) -> _Recent:
    start = min(
        int(np.searchsorted(log.time, now - RECENT_DAYS * DAY)), max(0, len(log) - RECENT_EVENTS)
    )
    since = float(log.time[start]) if len(log) else now
    return _Recent(log.between(start, len(log)), days=max((now - since) / DAY, 1 / 24))


def _features(
    log: Log,
    activity: Activity | None,
    opener_score: NDArray[np.float32],
    recent: _Recent,
    now: float,
) -> dict[str, NDArray[Any]]:
    """The array ``features``, and the scale of what is counted in it."""
    views, lately = log.count(), recent.log.count()
    counted, scale = _counted(log, activity, views, lately, now)
    known: dict[str, NDArray[Any]] = {
        **counted_features(counted, scale),
        "trend": _trend(log, views, lately, recent.days, now),
        "popularity_rank": _rank(lately + views / (1.0 + views.max(initial=0))),
        "opener": opener_score,
        "channel_views": _channel_views(log, views),
    }
    if activity is not None:
        known["completion"] = completion(activity, now)
    scales = {f"scale/{name}": array for name, array in scale.arrays().items()}
    return {"features": video_features(log.videos, known), **scales}


def _counted(
    log: Log,
    activity: Activity | None,
    views: NDArray[np.float64],
    lately: NDArray[np.float64],
    now: float,
) -> tuple[Counted, Scale]:
    none = np.zeros(log.n_videos)
    if activity is None:
        counted = Counted(views, lately, none, none, none, none)
        return counted, Scale.of(counted)
    found = counters(activity, now, kinds=log.videos.category)
    liked = found.likes + found.comments + found.shares
    likes, watches, clicks = (c.astype(np.float64) for c in (liked, found.watches, found.clicks))
    counted = Counted(views, lately, likes, watches, found.examined, clicks)
    weight = None if log.propensity_weight is None else found.propensity_weight
    return counted, Scale.of(counted, found.propensity, weight)


def _trend(
    log: Log,
    views: NDArray[np.float64],
    lately: NDArray[np.float64],
    days: float,
    now: float,
) -> NDArray[np.float64]:
    """Log of recent views per day over those of all time; +3 keeps rare videos near zero."""
    first = np.full(log.n_videos, now)
    np.minimum.at(first, log.video, log.time)
    life = np.maximum((now - first) / DAY, days)
    return np.log((lately + 3) / days) - np.log((views + 3 * life / days) / life)


def _rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank among all, scaled to 0 … 1; equal values share the lowest."""
    return np.searchsorted(np.sort(values), values) / max(1, len(values) - 1)


def _channel_views(log: Log, views: NDArray[np.float64]) -> NDArray[np.float64]:
    channels, codes = np.unique(log.videos.channel, return_inverse=True)
    totals = np.log1p(np.bincount(codes, views, minlength=len(channels)))[codes]
    return np.where(log.videos.channel == 0, np.nan, totals)


def _popular(log: Log, recent: _Recent) -> NDArray[np.int32]:
    """Rows by recent views and country code, row 0 worldwide: int32 [C + 1, POPULAR], -1 padded.

    All-time views break ties, so that the list is full even after a quiet week.
    """
    n, countries = log.n_videos, log.vocabulary.size("countries")
    ever = log.count() / (1.0 + len(log))
    popular = np.full((countries, min(POPULAR, max(1, n))), -1, np.int32)
    country = recent.log.people.country[recent.log.user]
    for code in range(countries):
        counts = recent.log.count(country == code if code else slice(None))
        among = np.flatnonzero(counts if code else counts + ever)
        best = _best(counts + ever, popular.shape[1], among=among)
        popular[code, : len(best)] = best
    return popular


def _trending(log: Log, recent: _Recent, now: float) -> NDArray[np.int32]:
    """Videos with more recent views than expected from their earlier rate, in standard deviations.

    Views are Poisson: (seen − expected) / √(expected + 1).
    """
    n = log.n_videos
    lately = recent.log.count()
    before = log.count() - lately
    start = now - recent.days * DAY
    first = np.full(n, now)
    np.minimum.at(first, log.video, log.time)
    days = np.maximum((start - first) / DAY, recent.days)
    expected = before / days * recent.days
    surprise = (lately - expected) / np.sqrt(expected + 1)
    return _best(surprise, TRENDING, among=np.flatnonzero(lately))


def _best(scores: NDArray[np.floating], k: int, *, among: NDArray[np.integer]) -> NDArray[np.int32]:
    """The k rows of ``among`` with the highest scores, best first, ties in order of row."""
    order = np.lexsort((among, -scores[among]))[:k]
    return among[order].astype(np.int32)
