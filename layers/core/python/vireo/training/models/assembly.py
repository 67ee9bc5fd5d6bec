"""Assembly of a bundle in memory, from fitted retrieval models and the data as of a moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vireo.recommender.candidates import Retrieval
from vireo.recommender.contents import ModelBundle
from vireo.recommender.tower import UserTower
from vireo.recommender.video_features import video_features
from vireo.training.data.activity import Activity, completion, counters, with_propensity_weights
from vireo.training.data.log import Log
from vireo.training.models.item_to_item import openers
from vireo.vectors import FLAT_BELOW, build_index

DAY = 86400.0
#: The recent period is the last week, or longer, so that it has this many events.
RECENT_DAYS, RECENT_EVENTS = 7.0, 5000
#: Lengths of a bundle's static lists.
POPULAR, TRENDING, OPENERS = 500, 200, 300


@dataclass(frozen=True)
class Fitted:
    """Retrieval models fitted on a log; the rows of all arrays are the log's videos."""

    tower: Mapping[str, NDArray[Any]]  #: weights of the user and the content tower
    vectors: NDArray[np.float32]  #: [n, d + 1], the bias last
    neighbours: Mapping[str, NDArray[Any]]  #: CSR: indptr, indices, weights
    successors: Mapping[str, NDArray[Any]]  #: likewise, for videos watched soon after
    opener_score: NDArray[np.float32]  #: [n], log


def assemble(
    log: Log,
    activity: Activity | None,
    fitted: Fitted,
    *,
    version: str,
    now: float,
    retrieval: Retrieval,
    extra: Mapping[str, NDArray[Any]] | None = None,
    watermark: float | None = None,
    config: Mapping[str, Any] | None = None,
) -> ModelBundle:
    """A bundle as of ``now`` (unix seconds): it uses nothing later.

    Args:
        log: the events before ``now`` that retrieval was fitted on; popularity is counted in it.
        activity: all activity; only that before ``now`` is used.
        fitted: the retrieval models.
        version: of the bundle.
        now: the moment.
        retrieval: number of candidates by source.
        extra: further arrays: the ranker's and the blends'.
        watermark: the bundle includes catalogue changes up to this moment; by default ``now``.
        config: further entries for the manifest.
    """
    vectors = np.ascontiguousarray(fitted.vectors, np.float32)
    arrays: dict[str, NDArray[Any]] = {
        **_counted(log, activity, fitted.opener_score, now),
        "vectors": vectors,
        **{f"tower/{name}": array for name, array in fitted.tower.items()},
        **{f"neighbours/{name}": array for name, array in fitted.neighbours.items()},
        **{f"successors/{name}": array for name, array in fitted.successors.items()},
        **(extra or {}),
    }
    return ModelBundle.build(
        version=version,
        created_at=now,
        watermark=now if watermark is None else watermark,
        vocabulary=log.vocabulary,
        columns=log.videos,
        arrays=arrays,
        config={"retrieval": asdict(retrieval), **(config or {})},
        index=build_index(vectors, _queries(log, fitted, now), k=retrieval.tower),
    )


def without_models(
    log: Log,
    activity: Activity | None,
    *,
    version: str,
    now: float,
    watermark: float,
    config: Mapping[str, Any],
) -> ModelBundle:
    """A bundle of counts alone: popular videos, session openers, trends. See `assemble`."""
    return ModelBundle.build(
        version=version,
        created_at=now,
        watermark=watermark,
        vocabulary=log.vocabulary,
        columns=log.videos,
        arrays=_counted(log, activity, openers(log), now),
        config=config,
    )


def _counted(
    log: Log, activity: Activity | None, opener_score: NDArray[np.float32], now: float
) -> dict[str, NDArray[Any]]:
    """The arrays of a bundle that are counts, not models."""
    log = with_propensity_weights(log, activity, now)
    recent = _recent(log, now)
    return {
        "features": _features(log, activity, opener_score, recent, now),
        "popular": _popular(log, recent),
        "trending": _trending(log, recent, now),
        "openers": _best(opener_score, OPENERS, among=np.unique(log.video)),
        "opener_score": opener_score.astype(np.float32),
    }


def _queries(log: Log, fitted: Fitted, now: float) -> NDArray[np.float32] | None:
    """Query vectors of the latest viewers, to tune the index on: [200, d + 1]."""
    if log.n_videos < FLAT_BELOW or not len(log):
        return None
    tower = UserTower.from_arrays(fitted.tower)
    viewers = np.unique(log.user[-RECENT_EVENTS:])[:200].tolist()
    seen = [np.flatnonzero(log.user == viewer)[-tower.length - 1 :] for viewer in viewers]
    return np.stack(
        [
            tower.encode(
                fitted.vectors[log.video[at], :-1],
                log.time[at],
                now,
                age=-1,
                country=0,
                language=0,
                device=0,
            )
            for at in seen
        ]
    )


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
) -> NDArray[np.float32]:
    views, lately = log.count(), recent.log.count()
    known: dict[str, NDArray[Any]] = {
        "log_views": np.log1p(views),
        "log_recent": np.log1p(lately),
        "trend": _trend(log, views, lately, recent.days, now),
        "popularity_rank": _rank(lately + views / (1.0 + views.max(initial=0))),
        "opener": opener_score,
        "channel_views": _channel_views(log, views),
    }
    if activity is not None:
        counts = counters(activity, now, kinds=log.videos.category)
        known["ctr"] = counts.click_rate
        liked = counts.likes + counts.comments + counts.shares
        known["like_rate"] = _shrunk(liked, counts.views, prior=20.0)
        known["completion"] = completion(activity, now)
    return video_features(log.videos, known)


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


def _shrunk(
    successes: NDArray[np.int64], trials: NDArray[np.int64], *, prior: float
) -> NDArray[np.float64]:
    """Rate with ``prior`` average trials added; NaN when nobody was ever tried."""
    total = int(trials.sum())
    overall = int(successes.sum()) / total if total else np.nan
    return (successes + prior * overall) / (trials + prior)


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
