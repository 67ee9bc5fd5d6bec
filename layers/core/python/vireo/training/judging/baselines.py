"""What a model must beat: strong, simple recommenders, fitted on and asked the same as it.

Each is fitted on a log and scores every video for every history: `rank` turns that into lists
without what the viewer has met. Settings are chosen on validation by `tuned`, as for any model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vireo.training.data import metrics
from vireo.training.data.log import Log
from vireo.training.data.requests import Histories, Requests, Split, known
from vireo.training.models.item_to_item import ease_weights, interactions, item_knn

Scores = NDArray[np.float32]

DAY = 86_400.0
#: A pause that ends a session, in seconds.
SESSION_BREAK = 3_600.0
_BATCH = 256


class Baseline(Protocol):
    """Anything that learns from a log and scores all videos."""

    @property
    def name(self) -> str:
        """With its settings, as tables show it."""

    def fit(self, log: Log) -> Self:
        """Learn from every event of the log; what was learnt before is forgotten."""

    def score(self, histories: Histories) -> Scores:
        """The higher the better: float32 [r, n_videos]."""


class Popularity:
    """Events of a video, all of them or those of the last days of the log."""

    def __init__(self, days: float | None = None) -> None:
        self.days = days
        self.name = "Popularity" if days is None else f"Popularity, last {days:g} days"

    def fit(self, log: Log) -> Self:
        """Count events."""
        counts = _counts(log)
        if self.days is None:
            self._score = counts
        else:
            recent = known(log, log.time > log.time.max() - self.days * DAY)
            # all-time popularity orders what was not watched lately
            self._score = _counts(recent) + 1e-6 * counts
        return self

    def score(self, histories: Histories) -> Scores:
        """The same counts for everyone: float32 [r, n]."""
        return np.tile(self._score.astype(np.float32), (len(histories), 1))


class Openers:
    """How often a video opens a session: follows a pause of its viewer.

    Viewers' first videos do not count: what a newcomer is first shown says little about returning.
    """

    name = "Session openers"

    def fit(self, log: Log) -> Self:
        """Count events that follow a pause."""
        order, offsets = log.histories()
        gap = np.diff(log.time[order], prepend=0)
        gap[offsets[:-1][np.diff(offsets) > 0]] = 0
        opening = order[gap >= SESSION_BREAK]
        opened = np.bincount(log.video[opening], minlength=log.n_videos)
        # shrunk towards popularity, which orders what has hardly opened a session
        self._score = np.log(opened + _counts(log) * len(opening) / len(log) + 0.1)
        return self

    def score(self, histories: Histories) -> Scores:
        """Log-counts, the same for everyone: float32 [r, n]."""
        return np.tile(self._score.astype(np.float32), (len(histories), 1))


class ItemKNN:
    """Cosine between videos' sets of viewers, shrunk, the k most similar of each video.

    Deshpande & Karypis, "Item-based top-N recommendation algorithms" (2004).
    """

    def __init__(self, k: int = 200, shrink: float = 20.0) -> None:
        self.k, self.shrink = k, shrink
        self.name = f"ItemKNN, k {k}, shrinkage {shrink:g}"

    def fit(self, log: Log) -> Self:
        """Keep every video's most similar ones."""
        self._weights = item_knn(log, self.shrink, self.k).matrix()
        return self

    def score(self, histories: Histories) -> Scores:
        """Sums of similarity to the history: float32 [r, n]."""
        H = _matrix(histories, self._weights.shape[0])
        scores: Scores = (H @ self._weights).toarray().astype(np.float32)
        return scores


class EASE:
    """The ridge regression of every video on all others, whole: `neighbours.ease_weights`."""

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
        # a video nobody has watched neither speaks nor is spoken for
        H = _matrix(histories, self._videos)[:, self._watched]
        scores = np.zeros((len(histories), self._videos), np.float32)
        scores[:, self._watched] = H @ self._weights
        return scores


class Markov:
    """What follows what: the latest videos speak for those that came soon after them.

    A transition over f events weighs ``decay ** (f - 1)``; likewise older videos of the history
    weigh less. Divided by the popularity of what speaks and by a power of that of what is spoken
    for.
    """

    def __init__(self, span: int = 10, decay: float = 0.8, popularity: float = 0.5) -> None:
        self.span, self.decay, self.popularity = span, decay, popularity
        self.name = f"Markov, {span} × {span}, decay {decay:g}, popularity^-{popularity:g}"

    def fit(self, log: Log) -> Self:
        """Count what follows what."""
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
        # popularity orders what nothing in the history speaks for
        return ((H @ self._weights).toarray() + 1e-9 * self._counts).astype(np.float32)


class OpenersAndEASE:
    """Session openers plus what EASE adds: the strongest simple answer to a returning viewer."""

    def __init__(self, ridge: float = 2000.0, weight: float = 0.3) -> None:
        self.parts: tuple[Baseline, Baseline] = (Openers(), EASE(ridge))
        self.weight = weight
        self.name = f"Session openers + {weight:g} EASE, λ {ridge:g}"

    def fit(self, log: Log) -> Self:
        """Fit both."""
        for part in self.parts:
            part.fit(log)
        return self

    def score(self, histories: Histories) -> Scores:
        """The sum of z-scores over what is new to the viewer: float32 [r, n]."""
        openers, ease = (_standardised(part.score(histories), histories) for part in self.parts)
        return openers + self.weight * ease


#: What every table shows; of several settings of one name, validation chooses, or the first counts.
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
    """The setting with the best NDCG@10 + Recall@100 on validation, then fitted up to the test."""
    settings = list(grid)
    if len(settings) > 1 and len(split.validation):
        train = known(log, split.train)

        def quality(setting: Baseline) -> float:
            lists = rank(setting.fit(train), log, split.validation, 100)
            values = metrics.per_request(lists, split.validation)
            return float((values["ndcg@10"] + values["recall@100"]).mean())

        qualities = [quality(s) for s in settings]
        settings = [settings[int(np.argmax(qualities))]]
    return settings[0].fit(known(log, split.fit))


def rank(
    baseline: Baseline, log: Log, requests: Requests, k: int, *, published_only: bool = False
) -> metrics.Lists:
    """Lists of the k best videos that the viewer has not met: int32 [r, k], -1 padded.

    Args:
        baseline: fitted.
        log: the log that the requests were made from.
        requests: what is asked.
        k: length of the lists.
        published_only: leave out what was published after the request; off by default, since many
            logs know no times of publishing and the outside scorer ranks everything.
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

    Of equal scores the lower column comes first, on every machine; -inf is never named (-1).
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
    """z-scores of every row over the videos that its viewer has not met."""
    unseen = np.ones(scores.shape, bool)
    unseen[histories.owner(), histories.video] = False
    mean = scores.mean(1, where=unseen, keepdims=True)
    deviation = scores.std(1, where=unseen, keepdims=True)
    standard: Scores = (scores - mean) / (deviation + np.float32(1e-6))
    return standard
