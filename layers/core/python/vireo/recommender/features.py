"""The ranker's features: one function for each, used by training and serving alike.

`FEATURES` names every feature once, in the order of the matrix: numbers first, categorical codes
last. An unknown number is NaN and an unknown category is code 0; the trees handle both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vireo.keys import find
from vireo.recommender.request import Request
from vireo.recommender.slate import NEIGHBOURS, OPENERS, POPULARITY, SUCCESSORS, TOWER, Slate
from vireo.recommender.video_features import VIDEO_FEATURES, VIDEO_MEANINGS

Floats = NDArray[np.float32]

DAY = 86400.0
#: Weight of each event relative to the one after it: for a long-term taste, and a current mood.
TASTE, MOOD = 0.97, 0.7


@dataclass(frozen=True)
class Facts:
    """Inputs that the feature functions share, for one request and its k candidates."""

    request: Request
    slate: Slate

    @cached_property
    def video(self) -> Floats:
        """Video features of the candidates, [Fv, k]; contiguous by feature."""
        return np.ascontiguousarray(self.request.snapshot.features(self.slate.rows).T)

    @cached_property
    def columns(self) -> tuple[NDArray[Any], ...]:
        """Category, channel, language and publishing time of the candidates."""
        return self.request.snapshot.take(
            self.slate.rows, "category", "channel", "language", "published"
        )

    @cached_property
    def past(self) -> tuple[NDArray[Any], ...]:
        """Category, channel and language of the history."""
        return self.request.snapshot.take(self.request.history, "category", "channel", "language")

    @cached_property
    def past_video(self) -> Floats:
        """Video features of the history, [h, Fv]."""
        return self.request.snapshot.features(self.request.history)

    @cached_property
    def taste(self) -> NDArray[np.float64]:
        """Weights [h] of the history, highest for the newest; they sum to 1."""
        return _decayed(TASTE, len(self.request.history))

    @cached_property
    def mood(self) -> NDArray[np.float64]:
        """Like `taste`, concentrated on the last few."""
        return _decayed(MOOD, len(self.request.history))

    @cached_property
    def channels(self) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """Channels as small codes: of the history [h], of the candidates [k]; and their number.

        Code 0 is a channel that is not in the history.
        """
        seen, codes = np.unique(self.past[1], return_inverse=True)
        theirs = self.columns[1]
        return codes + 1, np.where(theirs != 0, find(seen, theirs) + 1, 0), len(seen) + 1

    def share(self, codes: Any, theirs: Any, weights: Any, size: int) -> Any:
        """The weighted share of the history that has the same code as each candidate."""
        if not len(codes):
            return np.nan
        return np.bincount(codes, weights, size)[theirs]

    def gap(self, codes: Any, theirs: Any, size: int) -> Any:
        """log1p of the number of events since the candidate's code was last seen; NaN if never."""
        last = np.full(size, np.nan)
        last[codes] = np.log1p(np.arange(len(codes) - 1, -1, -1))  # the newest is written last
        return last[theirs]

    def rank(self, source: int) -> Any:
        """log1p of the rank by a source's score (0 is best); NaN without a score."""
        scores = self.slate.scores[source]
        place = np.empty(len(scores), np.float32)
        place[np.argsort(-scores, kind="stable")] = np.log1p(np.arange(len(scores)))
        return np.where(np.isnan(scores), np.float32(np.nan), place)

    def against(self, feature: str) -> Any:
        """A video's feature minus its weighted mean over the history."""
        j = VIDEO_FEATURES.index(feature)
        past = self.past_video[:, j]
        known = ~np.isnan(past)
        if not known.any():
            return np.nan
        weights = self.taste[known]
        return self.video[j] - (past[known] @ weights) / weights.sum()


def _decayed(decay: float, length: int) -> NDArray[np.float64]:
    weights = decay ** np.arange(length - 1, -1, -1, dtype=np.float64)
    return weights / weights.sum() if length else weights


def _age(f: Facts) -> Any:
    age: Any = np.maximum(f.request.now - f.columns[3], 0)
    return np.log1p(age / DAY)


def _mean_seconds(f: Facts) -> float:
    viewer = f.request.viewer
    return math.log1p(viewer.seconds / viewer.watches) if viewer.seconds > 0 else math.nan


def _categories(f: Facts) -> int:
    return f.request.snapshot.bundle.vocabulary.size("categories")


def _hour(f: Facts) -> float:
    return 2 * math.pi * (f.request.now % DAY) / DAY


def _same_language(f: Facts) -> Any:
    if f.request.language == 0:
        return np.nan
    return np.where(f.columns[2] == 0, np.nan, f.columns[2] == f.request.language)


def _languages(f: Facts) -> Any:
    size = f.request.snapshot.bundle.vocabulary.size("languages")
    return f.share(f.past[2], f.columns[2], f.taste, size)


def _proposals(f: Facts) -> Any:
    return np.bitwise_count(f.slate.proposed)


def _of_video(j: int) -> Callable[[Facts], Any]:
    return lambda f: f.video[j]


NUMBERS: dict[str, Callable[[Facts], Any]] = {
    # the video, as of the bundle
    **{name: _of_video(j) for j, name in enumerate(VIDEO_FEATURES)},
    "age": _age,
    # the viewer
    "viewer_age": lambda f: f.request.age if f.request.age >= 0 else np.nan,
    "log_watched": lambda f: math.log1p(len(f.request.viewer.watched)),
    "mean_watch_seconds": _mean_seconds,
    # the context
    "hour_sin": lambda f: math.sin(_hour(f)),
    "hour_cos": lambda f: math.cos(_hour(f)),
    "weekday": lambda f: (f.request.now // DAY + 3) % 7,  # Monday is 0
    "log_pause": lambda f: np.nan if f.request.pause is None else math.log1p(f.request.pause),
    # the viewer and the video
    "category_taste": lambda f: f.share(f.past[0], f.columns[0], f.taste, _categories(f)),
    "category_mood": lambda f: f.share(f.past[0], f.columns[0], f.mood, _categories(f)),
    "category_gap": lambda f: f.gap(f.past[0], f.columns[0], _categories(f)),
    "channel_taste": lambda f: (
        f.share(f.channels[0], f.channels[1], f.taste, f.channels[2]) if len(f.past[1]) else np.nan
    ),
    "channel_gap": lambda f: (
        f.gap(f.channels[0], f.channels[1], f.channels[2]) if len(f.past[1]) else np.nan
    ),
    "same_language": _same_language,
    "language_taste": _languages,
    "duration_against": lambda f: f.against("log_duration"),
    "views_against": lambda f: f.against("log_views"),
    "recent_against": lambda f: f.against("log_recent"),
    # retrieval
    "tower_z": lambda f: f.slate.z[TOWER],
    "neighbours_z": lambda f: f.slate.z[NEIGHBOURS],
    "successors_z": lambda f: f.slate.z[SUCCESSORS],
    "openers_z": lambda f: f.slate.z[OPENERS],
    "tower_rank": lambda f: f.rank(TOWER),
    "neighbours_rank": lambda f: f.rank(NEIGHBOURS),
    "successors_rank": lambda f: f.rank(SUCCESSORS),
    "popularity_place": lambda f: f.rank(POPULARITY),
    "country_place": lambda f: np.log1p(
        f.request.snapshot.loaded.places(f.request.country, f.slate.rows)
    ),
    "proposals": _proposals,
}

CODES: dict[str, Callable[[Facts], Any]] = {
    "category": lambda f: f.columns[0],
    "language": lambda f: f.columns[2],
    "country": lambda f: f.request.country,
    "viewer_language": lambda f: f.request.language,
    "device": lambda f: f.request.device,
}

#: All features in the order of the matrix, and those of them that hold codes.
FEATURES = (*NUMBERS, *CODES)
CATEGORICAL = tuple(CODES)

#: Descriptions of the features.
MEANINGS: Mapping[str, str] = {
    **VIDEO_MEANINGS,
    "age": "log1p of days since it was published",
    "viewer_age": "the viewer's years",
    "log_watched": "log1p of videos that the viewer has watched",
    "mean_watch_seconds": "log1p of seconds that the viewer watches on average",
    "hour_sin": "sine of the hour of the day, UTC",
    "hour_cos": "cosine of the hour of the day, UTC",
    "weekday": "day of the week, Monday is 0",
    "log_pause": "log1p of seconds since the viewer's last event",
    "category_taste": "share of the category in the history, recent events weighing a little more",
    "category_mood": "share of the category in the last few events",
    "category_gap": "log1p of events since the category was last watched",
    "channel_taste": "share of the channel in the history",
    "channel_gap": "log1p of events since the channel was last watched",
    "same_language": "whether the language is the viewer's",
    "language_taste": "share of the language in the history",
    "duration_against": "log_duration, minus what the viewer usually watches",
    "views_against": "log_views, minus what the viewer usually watches",
    "recent_against": "log_recent, minus what the viewer usually watches",
    "tower_z": "score of the towers, standardised over the candidates",
    "neighbours_z": "score of the neighbours, standardised over the candidates",
    "successors_z": "score of the successors, standardised over the candidates",
    "openers_z": "score as a session opener, standardised over the candidates",
    "tower_rank": "log1p of the place by the towers, 0 is the best",
    "neighbours_rank": "log1p of the place by the neighbours",
    "successors_rank": "log1p of the place by the successors",
    "popularity_place": "log1p of the place by recent views among the candidates",
    "country_place": "log1p of the place among what is popular in the viewer's country",
    "proposals": "how many sources proposed it",
    "category": "code of the video's category",
    "language": "code of the video's language",
    "country": "code of the viewer's country",
    "viewer_language": "code of the viewer's language",
    "device": "code of the device",
}


def features(request: Request, slate: Slate) -> Floats:
    """The feature matrix of a slate: float32 [k, len(FEATURES)] (contiguous by feature)."""
    facts = Facts(request, slate)
    matrix = np.empty((len(FEATURES), len(slate)), np.float32)
    for j, function in enumerate((*NUMBERS.values(), *CODES.values())):
        matrix[j] = function(facts)
    return matrix.T
