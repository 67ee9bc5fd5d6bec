"""Metrics of lists, one value for each request, for means and paired differences.

Lists are int32 [r, k] of video rows, best first, -1 after the end of a list. Only a request's
targets are relevant. Formulas: Järvelin & Kekäläinen (2002) for NDCG, with binary gains.

All examples here are about two requests of different viewers. The first went on to watch videos 3
and 7, half a minute after its last; the second video 5, after two hours. Both were given lists:

>>> requests = Requests(
...     user=np.array([0, 1], np.int32),
...     time=np.array([30.0, 7200.0]),
...     pause=np.array([30.0, 7200.0]),
...     start=np.array([0, 1]),
...     stop=np.array([1, 2]),
...     target_offsets=np.array([0, 2, 3]),
...     target=np.array([3, 7, 5], np.int32),
... )
>>> lists = np.array([[3, 1, 7, 2], [4, 5, -1, -1]], np.int32)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from vireo.intervals import Values
from vireo.recommender.pauses import PAUSE_EDGES, PAUSE_NAMES
from vireo.training.data.requests import Mask, Requests

Lists = NDArray[np.int32]

#: Groups of requests by name, with the pause before them in seconds: low <= pause < high.
PAUSES: Mapping[str, tuple[float, float]] = {
    "all": (0, np.inf),
    "0 s": (0, 1),
    "1–60 s": (1, 60),
    "1 min–1 h": (60, 3600),
    "≥ 1 h": (3600, np.inf),
    # The buckets of the model; a viewer without a history is in the last.
    **dict(zip(PAUSE_NAMES, pairwise((0, *PAUSE_EDGES, np.inf)), strict=True)),
}
#: The first bucket, split: events within a second are often from one form.
FINE = ("0 s", "1–60 s", "1 min–1 h", "≥ 1 h")


def in_pause(requests: Requests, name: str) -> Mask:
    """Mask of the requests after a pause in the given group of `PAUSES`: bool [r].

    >>> in_pause(requests, "1–60 s").tolist(), in_pause(requests, "≥ 1 h").tolist()
    ([True, False], [False, True])
    """
    low, high = PAUSES[name]
    return (requests.pause >= low) & ((requests.pause < high) | (high == np.inf))


def hits(lists: Lists, requests: Requests) -> Mask:
    """Mask of the entries of lists that are targets of their request: bool [r, k].

    >>> hits(lists, requests).tolist()
    [[True, False, True, False], [False, True, False, False]]

    Raises:
        ValueError: the shapes differ, or a list contains a video twice, which would count twice.
    """
    if lists.ndim != 2 or len(lists) != len(requests):
        raise ValueError(f"lists {lists.shape} do not answer {len(requests)} requests")
    ranked = np.sort(lists, axis=1)
    if bool(((ranked[:, 1:] == ranked[:, :-1]) & (ranked[:, 1:] >= 0)).any()):
        raise ValueError("a list names a video twice")
    width = 1 + int(max(lists.max(initial=0), requests.target.max(initial=0)))
    relevant = requests.target_owner() * width + requests.target
    named = np.arange(len(lists))[:, None] * width + lists
    return np.isin(named, relevant) & (lists >= 0)


def ndcg(hit: Mask, n_relevant: NDArray[np.integer], k: int) -> Values:
    """NDCG at k with binary gains: [r].

    The sum of 1 / log2(p + 1) over the places p = 1, 2, …, k with a relevant video, divided by that
    of the ideal list, which has relevant videos at its first min(k, n_relevant) places. NaN for a
    request without relevant videos.

    The first list has hits at places 1 and 3, (1 + 1 / 2) / (1 + 1 / log2 3) = 1.5 / 1.6309; the
    second one at place 2, (1 / log2 3) / 1:

    >>> ndcg(hits(lists, requests), np.array([2, 1]), 10).round(4).tolist()
    [0.9197, 0.6309]
    """
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[np.nan], np.cumsum(discount)])[np.minimum(n_relevant, k)]
    shown = hit[:, :k]
    values: Values = (shown * discount[: shown.shape[1]]).sum(1) / ideal
    return values


def per_request(
    lists: Lists, requests: Requests, ks: Iterable[int] = (10, 100)
) -> dict[str, Values]:
    """``recall@k``, ``ndcg@k`` and ``hit@k`` of every request: float64 [r] by name.

    Recall is the share of a request's targets that are among the first k, however many targets
    there are. Hit is 1 if at least one is. An empty list scores 0.

    >>> values = per_request(lists, requests, [2])
    >>> {name: of.round(4).tolist() for name, of in values.items()}
    {'recall@2': [0.5, 1.0], 'ndcg@2': [0.6131, 0.6309], 'hit@2': [1.0, 1.0]}
    """
    hit, n_relevant = hits(lists, requests), requests.n_targets
    values = {}
    for k in ks:
        found = hit[:, :k].sum(1)
        values[f"recall@{k}"] = found / n_relevant
        values[f"ndcg@{k}"] = ndcg(hit, n_relevant, k)
        values[f"hit@{k}"] = (found > 0).astype(np.float64)
    return values


def coverage(lists: Lists, n_videos: int, k: int = 10) -> float:
    """Share of the catalogue that is in the first k of at least one list.

    Videos 1, 3, 4 and 5 are in the first two, of eight:

    >>> coverage(lists, n_videos=8, k=2)
    0.5
    """
    shown = lists[:, :k]
    return len(np.unique(shown[shown >= 0])) / n_videos


def exposure(lists: Lists, requests: Requests, n_videos: int) -> NDArray[np.int64]:
    """Number of viewers who were shown each video, however often: int64 [n_videos].

    >>> exposure(lists, requests, n_videos=8).tolist()
    [0, 1, 1, 1, 1, 1, 0, 1]
    """
    viewer = np.broadcast_to(requests.user[:, None].astype(np.int64), lists.shape)
    shown = np.unique((viewer * n_videos + lists)[lists >= 0])
    return np.bincount(shown % n_videos, minlength=n_videos).astype(np.int64)


def gini(counts: NDArray[np.integer]) -> float:
    """Inequality of counts: 0 if all are equal, nearly 1 if one has everything.

    >>> gini(np.array([3, 3, 3])), round(gini(np.array([0, 0, 0, 8])), 2)
    (0.0, 0.75)
    """
    n, whole = len(counts), int(counts.sum())
    if not whole:
        return float("nan")
    place = np.arange(1, n + 1, dtype=np.int64)
    return float(((2 * place - n - 1) * np.sort(counts)).sum() / (n * whole))


def by_pause(
    values: Mapping[str, Values], requests: Requests, names: Iterable[str] = PAUSES
) -> dict[str, dict[str, float]]:
    """Means by group of `PAUSES` and metric, with the numbers of ``requests`` and ``viewers``.

    Requests without a value (NaN) are left out of its mean. Groups without requests are left out.

    >>> recall = {"recall@2": per_request(lists, requests, [2])["recall@2"]}
    >>> table = by_pause(recall, requests, names=["all", "1–60 s", "1 min–1 h"])
    >>> table["all"]
    {'requests': 2.0, 'viewers': 2.0, 'recall@2': 0.75}
    >>> table["1–60 s"]
    {'requests': 1.0, 'viewers': 1.0, 'recall@2': 0.5}
    >>> "1 min–1 h" in table
    False
    """
    table = {}
    for name in names:
        chosen = in_pause(requests, name)
        if chosen.any():
            counts = {
                "requests": float(chosen.sum()),
                "viewers": float(len(np.unique(requests.user[chosen]))),
            }
            table[name] = counts | {metric: _mean(x[chosen]) for metric, x in values.items()}
    return table


def candidate_ndcg(ranked: Lists, requests: Requests, k: int = 10) -> Values:
    """NDCG at k of the order of a candidate set, which ignores targets that were not retrieved.

    ``ranked`` holds all candidates of each request, best first, -1 padded. Only targets among the
    candidates are relevant, also in the ideal order. A request without a target among its
    candidates has no value (NaN) and is left out of means.

    Without video 7 among the candidates, the first request could not have been answered better; the
    second has no candidate that it wanted:

    >>> candidate_ndcg(np.array([[3, 1, 2], [4, 6, -1]], np.int32), requests).tolist()
    [1.0, nan]
    """
    hit = hits(ranked, requests)
    return ndcg(hit, hit.sum(1), k)


def auc(scores: NDArray[np.floating], relevant: Mask) -> Values:
    """Probability that a relevant candidate of a request scores above another one: float64 [r].

    By the Mann–Whitney rank sum, ties counting half: (R - P(P + 1) / 2) / (P · N) with P relevant
    candidates, N others, and R the sum of the ranks of the relevant, 1 being the lowest score.

    Of the four pairs of a relevant and another candidate, three are in the right order:

    >>> auc(np.array([[0.9, 0.8, 0.3, 0.1]]), np.array([[True, False, True, False]])).tolist()
    [0.75]

    Args:
        scores: [r, c]; NaN where there is no candidate.
        relevant: bool [r, c].

    Returns:
        NaN for requests whose candidates are all relevant, or all not.
    """
    there = ~np.isnan(scores)
    rank = rankdata(scores, axis=1, nan_policy="omit")
    good = relevant & there
    positives, negatives = good.sum(1), (there & ~relevant).sum(1)
    pairs = (positives * negatives).astype(np.float64)
    above = np.where(good, rank, 0).sum(1) - positives * (positives + 1) / 2
    values = np.full(len(pairs), np.nan)
    np.divide(above, pairs, out=values, where=pairs > 0)
    return values


def _mean(values: Values) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")
