"""Baselines that a model must beat: strong, simple recommenders, fitted on the same events.

Each is fitted on a log and scores every video for every history. `rank` turns the scores into lists
without watched videos. Settings are chosen on validation by `tuned`, as for any model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vireo.training.data import metrics
from vireo.training.data.log import Log
from vireo.training.data.requests import Histories, Requests, Split
from vireo.training.models.item_to_item import ease_weights, interactions, item_knn

Scores = NDArray[np.float32]

DAY = 86_400.0
#: Length of a pause that ends a session, in seconds.
SESSION_BREAK = 3_600.0
_BATCH = 256


class Baseline(Protocol):
    """A model that learns from a log and scores all videos."""

    @property
    def name(self) -> str:
        """The name in tables, with the settings."""

    def fit(self, log: Log) -> Self:
        """Learn from every event of the log; an earlier fit is forgotten."""

    def score(self, histories: Histories) -> Scores:
        """Scores of all videos, higher for better ones: float32 [r, n_videos]."""


class Popularity:
    """Number of events of a video: of all, or in the last days of the log."""

    def __init__(self, days: float | None = None) -> None:
        self.days = days
        self.name = "Popularity" if days is None else f"Popularity, last {days:g} days"

    def fit(self, log: Log) -> Self:
        """Count events."""
        counts = _counts(log)
        if self.days is None:
            self._score = counts
        else:
            recent = log.take(log.time > log.time.max() - self.days * DAY)
            # all-time popularity orders the videos without recent events
            self._score = _counts(recent) + 1e-6 * counts
        return self

    def score(self, histories: Histories) -> Scores:
        """The same counts for everyone: float32 [r, n]."""
        return np.tile(self._score.astype(np.float32), (len(histories), 1))


class Openers:
    """Number of sessions that a video opens, by following a pause of its viewer.

    Viewers' first videos do not count: a newcomer's situation is different from that of a viewer
    who returns.
    """

    name = "Session openers"

    def fit(self, log: Log) -> Self:
        """Count events that follow a pause."""
        order, offsets = log.histories()
        gap = np.diff(log.time[order], prepend=0)
        gap[offsets[:-1][np.diff(offsets) > 0]] = 0
        opening = order[gap >= SESSION_BREAK]
        opened = np.bincount(log.video[opening], minlength=log.n_videos)
        # shrunk towards popularity, which orders videos that hardly ever open a session
        self._score = np.log(opened + _counts(log) * len(opening) / len(log) + 0.1)
        return self

    def score(self, histories: Histories) -> Scores:
        """Log-counts, the same for everyone: float32 [r, n]."""
        return np.tile(self._score.astype(np.float32), (len(histories), 1))


class ItemKNN:
    """Shrunk cosine similarity of videos by their viewers, for the k most similar of each video.

    Deshpande & Karypis, "Item-based top-N recommendation algorithms" (2004).
    """

    def __init__(self, k: int = 200, shrink: float = 20.0) -> None:
        self.k, self.shrink = k, shrink
        self.name = f"ItemKNN, k {k}, shrinkage {shrink:g}"

    def fit(self, log: Log) -> Self:
        """Compute the most similar videos of each one."""
        self._weights = item_knn(log, self.shrink, self.k).matrix()
        return self

    def score(self, histories: Histories) -> Scores:
        """Sums of similarity to the history: float32 [r, n]."""
        H = _matrix(histories, self._weights.shape[0])
        scores: Scores = (H @ self._weights).toarray().astype(np.float32)
        return scores


class EASE:
    """The full ridge regression of every video on all others: `item_to_item.ease_weights`."""

    def __init__(self, ridge: float = 500.0) -> None:
        self.ridge = ridge
        self.name = f"EASE, λ {ridge:g}"

    def fit(self, log: Log) -> Self:
        """Solve the regression."""
        X, self._watched = interactions(log)
        self._weights = np.vstack([w.astype(np.float32) for w in ease_weights(X, self.ridge)])
        self._videos = log.n_videos
        return self

    def score(self, histories: Histories) -> Scores:
        """The regression on the history: float32 [r, n]."""
        # unwatched videos have neither weights nor scores
        H = _matrix(histories, self._videos)[:, self._watched]
        scores = np.zeros((len(histories), self._videos), np.float32)
        scores[:, self._watched] = H @ self._weights
        return scores


class Markov:
    """A decayed Markov chain: scores from transitions that follow the latest videos.

    A transition over f events has the weight ``decay ** (f - 1)``, and older videos of the history
    decay in the same way. Weights are divided by the popularity of the earlier video and by a power
    of that of the later one.
    """

    def __init__(self, span: int = 10, decay: float = 0.8, popularity: float = 0.5) -> None:
        self.span, self.decay, self.popularity = span, decay, popularity
        self.name = f"Markov, {span} × {span}, decay {decay:g}, popularity^-{popularity:g}"

    def fit(self, log: Log) -> Self:
        """Count transitions."""
        order, _ = log.histories()
        video, viewer, n = log.video[order], log.user[order], log.n_videos
        follows = sparse.csr_array((n, n), dtype=np.float64)
        for ahead in range(1, self.span + 1):
            same = viewer[ahead:] == viewer[:-ahead]
            pairs = (video[:-ahead][same], video[ahead:][same])
            weight = np.full(int(same.sum()), self.decay ** (ahead - 1))
            follows = follows + sparse.csr_array((weight, pairs), shape=(n, n))
        self._counts = _counts(log) + 1
        speaks, spoken = 1 / (self._counts + 5), self._counts**-self.popularity
        self._weights = (sparse.diags_array(speaks) @ follows @ sparse.diags_array(spoken)).tocsr()
        return self

    def score(self, histories: Histories) -> Scores:
        """Sums of transitions from the latest videos: float32 [r, n]."""
        age = histories.age()
        weight = np.where(age < self.span, self.decay ** age.astype(np.float64), 0)
        H = _matrix(histories, len(self._counts), weight)
        # popularity orders videos without a transition from the history
        return ((H @ self._weights).toarray() + 1e-9 * self._counts).astype(np.float32)


class OpenersAndEASE:
    """Session openers plus EASE: the strongest simple baseline for returning viewers."""

    def __init__(self, ridge: float = 2000.0, weight: float = 0.3) -> None:
        self.parts: tuple[Baseline, Baseline] = (Openers(), EASE(ridge))
        self.weight = weight
        self.name = f"Session openers + {weight:g} EASE, λ {ridge:g}"

    def fit(self, log: Log) -> Self:
        """Fit both models."""
        for part in self.parts:
            part.fit(log)
        return self

    def score(self, histories: Histories) -> Scores:
        """The weighted sum of z-scores over the viewer's unwatched videos: float32 [r, n]."""
        openers, ease = (_standardised(part.score(histories), histories) for part in self.parts)
        return openers + self.weight * ease


#: Baselines of every table, by name. Of several settings validation chooses one, else it is the
#: first.
GRID: Mapping[str, tuple[Baseline, ...]] = {
    "Popularity": (Popularity(),),
    "Recent popularity": (Popularity(30), Popularity(7), Popularity(90)),
    "ItemKNN": tuple(ItemKNN(k, s) for k in (1000, 100) for s in (100.0, 20.0)),
    "EASE": tuple(EASE(ridge) for ridge in (1000.0, 200.0, 500.0, 3000.0)),
    "Markov": tuple(Markov(popularity=p) for p in (0.3, 0.0, 0.5)),
    "Openers": (Openers(),),
    "Openers + EASE": tuple(OpenersAndEASE(weight=w) for w in (0.3, 0.6, 1.0)),
}


def tuned(grid: Iterable[Baseline], log: Log, split: Split) -> Baseline:
    """The settings with the best NDCG@10 + Recall@100 on validation, fitted up to the test."""
    settings = list(grid)
    if len(settings) > 1 and len(split.validation):
        train = log.take(split.train)

        def quality(setting: Baseline) -> float:
            lists = rank(setting.fit(train), log, split.validation, 100)
            values = metrics.per_request(lists, split.validation)
            return float((values["ndcg@10"] + values["recall@100"]).mean())

        qualities = [quality(s) for s in settings]
        settings = [settings[int(np.argmax(qualities))]]
    return settings[0].fit(log.take(split.fit))


def rank(
    baseline: Baseline, log: Log, requests: Requests, k: int, *, published_only: bool = False
) -> metrics.Lists:
    """Lists of the k best videos that the viewer has not watched: int32 [r, k], -1 padded.

    Args:
        baseline: fitted.
        log: the log that the requests were made from.
        requests: to answer.
        k: length of the lists.
        published_only: leave out videos published after the request; off by default, since many
            logs lack publishing times and the outside scorer ranks everything.
    """
    lists = np.full((len(requests), k), -1, np.int32)
    for begin in range(0, len(requests), _BATCH):
        part = requests.take(slice(begin, begin + _BATCH))
        histories = part.histories(log)
        scores = np.array(baseline.score(histories), np.float32)
        scores[histories.owner(), histories.video] = -np.inf
        if published_only:
            scores[log.videos.published > part.time[:, None]] = -np.inf
        lists[begin : begin + _BATCH] = top(scores, k)
    return lists


def top(scores: Scores, k: int) -> metrics.Lists:
    """The columns of the k highest scores of every row, best first: int32 [r, k].

    Equal scores are in order of column, on every machine; -inf is never included (-1).
    """
    n = scores.shape[1]
    width = min(k, n)
    # one integer orders by score, then by column: floats compare as integers once the
    # magnitude bits of negative ones are flipped
    bits = (scores + np.float32(0)).view(np.int32)
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    keys = (ordered.astype(np.int64) << 32) | np.arange(n - 1, -1, -1)
    best = -np.sort(np.partition(-keys, width - 1, axis=1)[:, :width], axis=1)
    columns = (n - 1 - (best & 0xFFFFFFFF)).astype(np.int32)
    columns[np.isneginf(np.take_along_axis(scores, columns, axis=1))] = -1
    return np.pad(columns, ((0, 0), (0, k - width)), constant_values=-1)


def _counts(log: Log) -> NDArray[np.float64]:
    return np.bincount(log.video, minlength=log.n_videos).astype(np.float64)


def _matrix(
    histories: Histories, n_videos: int, weight: NDArray[np.float64] | None = None
) -> sparse.csr_array:
    """One row per request, one entry per event: [r, n_videos]."""
    data = np.ones(len(histories.video), np.float32) if weight is None else weight
    shape = (len(histories), n_videos)
    return sparse.csr_array((data, histories.video, histories.offsets), shape=shape)


def _standardised(scores: Scores, histories: Histories) -> Scores:
    """z-scores of every row over the videos that its viewer has not watched."""
    unseen = np.ones(scores.shape, bool)
    unseen[histories.owner(), histories.video] = False
    mean = scores.mean(1, where=unseen, keepdims=True)
    deviation = scores.std(1, where=unseen, keepdims=True)
    standard: Scores = (scores - mean) / (deviation + np.float32(1e-6))
    return standard
