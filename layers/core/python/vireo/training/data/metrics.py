"""How good lists are, request by request, so that everything else is a mean or a difference of it.

Lists are int32 [r, k] of video rows, best first, -1 where a list has ended; a request's targets
are the only relevant videos. Formulas: Järvelin & Kekäläinen (2002) for NDCG, with binary gains.
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

#: Name of a group of requests to the pause before them, in seconds: low <= pause < high.
PAUSES: Mapping[str, tuple[float, float]] = {
    "all": (0, np.inf),
    "0 s": (0, 1),
    "1–60 s": (1, 60),
    "1 min–1 h": (60, 3600),
    "≥ 1 h": (3600, np.inf),
    # Those that the model itself tells apart; a viewer without a history is in the last.
    **dict(zip(PAUSE_NAMES, pairwise((0, *PAUSE_EDGES, np.inf)), strict=True)),
}
#: With the first bucket split: events within a second are often one form being filled in.
FINE = ("0 s", "1–60 s", "1 min–1 h", "≥ 1 h")


def in_pause(requests: Requests, name: str) -> Mask:
    """Which requests came after a pause of that group of `PAUSES`: bool [r]."""
    low, high = PAUSES[name]
    return (requests.pause >= low) & ((requests.pause < high) | (high == np.inf))


def hits(lists: Lists, requests: Requests) -> Mask:
    """Where a list names a target of its request: bool [r, k].

    Raises:
        ValueError: when the shapes differ or a list names a video twice, which would count twice.
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
    """NDCG at k with binary gains; the ideal list holds min(k, n_relevant) of them: [r].

    A request with nothing relevant has no NDCG: NaN.
    """
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[np.nan], np.cumsum(discount)])[np.minimum(n_relevant, k)]
    shown = hit[:, :k]
    values: Values = (shown * discount[: shown.shape[1]]).sum(1) / ideal
    return values


def per_request(
    lists: Lists, requests: Requests, ks: Iterable[int] = (10, 100)
) -> dict[str, Values]:
    """``recall@k``, ``ndcg@k`` and ``hit@k`` of every request: name to float64 [r].

    Recall divides by all targets of the request, however many there are. An empty list scores 0.
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
    """Share of the catalogue that is in the first k of at least one list."""
    shown = lists[:, :k]
    return len(np.unique(shown[shown >= 0])) / n_videos


def by_pause(
    values: Mapping[str, Values], requests: Requests, names: Iterable[str] = PAUSES
) -> dict[str, dict[str, float]]:
    """Means within groups of `PAUSES`: group to metric to mean, with ``requests`` and ``viewers``.

    Requests without a value (NaN) are left out of its mean. Groups without a request are left out.
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
    """NDCG at k of the order of a candidate set, whatever was not retrieved being no fault of it.

    ``ranked`` holds all candidates of each request, best first, -1 padded. Only targets among the
    candidates are relevant, in the ideal order as in the real one; a request whose candidates hold
    none has no value (NaN) and is left out of means.
    """
    hit = hits(ranked, requests)
    return ndcg(hit, hit.sum(1), k)


def auc(scores: NDArray[np.floating], relevant: Mask) -> Values:
    """Probability that a relevant candidate of a request scores above another of it: float64 [r].

    By the Mann–Whitney rank sum, ties counting half.

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
