"""The blend: weights of the ranker and the sources, by the pause before the request."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from vireo.recommender.pauses import PAUSE_BUCKETS

#: Strength of the pull of a bucket's weights to those of all requests, as a number of requests.
SHRINKAGE = 50.0
#: A small L2 penalty, so that a source without information has no weight.
RIDGE = 1e-3
_TINY = 1e-300


def fit_blend(
    scores: NDArray[np.float32],
    relevant: NDArray[np.float32],
    offsets: NDArray[np.int64],
    bucket: NDArray[np.int8],
) -> NDArray[np.float32]:
    """Non-negative weights of z-scored sources: float32 [PAUSE_BUCKETS, s].

    Maximises the log-probability that a draw from a slate by softmax is relevant. With one target
    this is ListNet's top-one loss (Cao et al. 2007); with several the most probable ones dominate,
    as at the top of a list. The weights are fitted to all requests first, then to each bucket with
    a pull towards the former; a bucket without requests keeps those. Each slate is weighted by the
    mean propensity weight of its relevant candidates.

    Args:
        scores: [m, s] z-scores within each slate.
        relevant: [m] 0, or a relevant candidate's propensity weight.
        offsets: [q + 1] slates as ranges of candidates; each holds a relevant one.
        bucket: [q] of the pause before the request.
    """
    s = scores.shape[1]
    if not len(bucket):
        return np.ones((PAUSE_BUCKETS, s), np.float32)
    every = np.ones(len(bucket), bool)
    general = _fit(scores, relevant, offsets, every, start=np.full(s, 0.5), anchor=None)
    weights = [
        _fit(scores, relevant, offsets, bucket == b, start=general, anchor=general)
        for b in range(PAUSE_BUCKETS)
    ]
    return np.stack(weights).astype(np.float32)


def log_chances(
    scores: NDArray[np.float64], relevant: NDArray[np.float32], offsets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The objective of `fit_blend` for blended scores [m], by slate: float64 [q]."""
    begins, sizes = offsets[:-1], np.diff(offsets)
    every = np.exp(scores - np.repeat(np.maximum.reduceat(scores, begins), sizes))
    found = np.add.reduceat(every * relevant, begins)
    chances: NDArray[np.float64] = np.log(np.maximum(found, _TINY) / np.add.reduceat(every, begins))
    return chances


def _fit(
    scores: NDArray[np.float32],
    relevant: NDArray[np.float32],
    offsets: NDArray[np.int64],
    asked: NDArray[np.bool_],
    *,
    start: NDArray[np.float64],
    anchor: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    if not asked.any():
        return start
    sizes = np.diff(offsets)
    keep = np.repeat(asked, sizes)
    X, good = scores[keep].astype(np.float64), relevant[keep].astype(np.float64)
    bounds = np.concatenate([[0], np.cumsum(sizes[asked])])
    begins, group = bounds[:-1], np.repeat(np.arange(len(bounds) - 1), sizes[asked])
    requests = len(begins)
    weight = np.add.reduceat(good, begins) / np.add.reduceat(good > 0, begins, dtype=np.int64)

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        y = X @ w
        y -= np.maximum.reduceat(y, begins)[group]
        every = np.exp(y)
        right = every * good
        total, found = np.add.reduceat(every, begins), np.add.reduceat(right, begins)
        value = (weight * np.log(total / np.maximum(found, _TINY))).sum() / requests
        push = every / total[group] - right / np.maximum(found, _TINY)[group]
        gradient = (push * weight[group]) @ X / requests
        pull = w if anchor is None else w - anchor
        strength = RIDGE if anchor is None else SHRINKAGE / requests
        return value + 0.5 * strength * float(pull @ pull), gradient + strength * pull

    bounds_of = [(0.0, None)] * X.shape[1]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds_of)
    weights: NDArray[np.float64] = found.x
    return weights
