"""Confidence intervals of differences: a paired bootstrap over viewers, not over requests.

Requests of one viewer resemble each other, so viewers are resampled (the cluster bootstrap; Field &
Welsh 2007). Two systems are compared on the same requests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_DRAWS_AT_ONCE = 64
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Interval:
    """A mean over requests with its confidence interval; NaN bounds with fewer than two viewers."""

    mean: float
    low: float
    high: float
    requests: int
    viewers: int

    @property
    def above_zero(self) -> bool:
        """Significantly better: the whole interval is above zero."""
        return self.low > 0

    @property
    def below_zero(self) -> bool:
        """Significantly worse: the whole interval is below zero."""
        return self.high < 0

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def interval(
    values: Values,
    users: NDArray[np.integer],
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """The mean of ``values`` over requests, and its interval from ``draws`` resamples of viewers.

    The percentiles are widened to those of a t distribution with viewers - 1 degrees of freedom;
    otherwise intervals of few viewers are too short (the expanded percentile interval; Hesterberg,
    "What Teachers Should Know About the Bootstrap", 2015). Requests without a value (NaN) are left
    out. The result depends on the seed and not on the order of the rows.

    Args:
        values: float64 [r].
        users: [r], the viewer of each request.
        level: of confidence.
        draws: number of bootstrap samples.
        seed: of the random generator.

    Raises:
        ValueError: no request has a value.
    """
    there = ~np.isnan(values)
    sums, counts = _by_viewer(values[there], users[there])
    viewers, requests = len(sums), int(counts.sum())
    if viewers == 0:
        raise ValueError("no request has a value")
    mean = float(sums.sum() / requests)
    if viewers == 1:
        return Interval(mean, float("nan"), float("nan"), requests, viewers)
    means = _draw(sums, counts, draws, np.random.default_rng(seed))
    tail = (1 - level) / 2
    expanded = _NORMAL.cdf(math.sqrt(viewers / (viewers - 1)) * t_quantile(tail, viewers - 1))
    low, high = np.quantile(means, [expanded, 1 - expanded])
    return Interval(mean, float(low), float(high), requests, viewers)


def difference(
    ours: Values,
    theirs: Values,
    users: NDArray[np.integer],
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """`interval` of ``ours - theirs``, both on the same requests."""
    if ours.shape != theirs.shape:
        raise ValueError("a paired difference needs the same requests on both sides")
    return interval(ours - theirs, users, level=level, draws=draws, seed=seed)


def relative(
    ours: Values,
    theirs: Values,
    users: NDArray[np.integer],
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval | None:
    """The relative difference of two means, ``mean(ours) / mean(theirs) - 1``, with its interval.

    Both means vary, and together. The interval is that of the quotient's linear part around its
    value (the delta method), of which the resamples are means over requests like any other's.

    >>> halved = relative(np.array([1.0, 0.0]), np.array([1.0, 1.0]), np.array([0, 1]))
    >>> halved.mean
    -0.5

    Returns:
        None if ``theirs`` are all zero: there is nothing to be a share of.
    """
    if ours.shape != theirs.shape:
        raise ValueError("a paired difference needs the same requests on both sides")
    there = ~np.isnan(ours) & ~np.isnan(theirs)
    ours, theirs, users = ours[there], theirs[there], users[there]
    whole = math.fsum(theirs.tolist()) / max(1, len(theirs))
    if not whole:
        return None
    change = math.fsum(ours.tolist()) / len(ours) / whole - 1
    parts = (ours - (1 + change) * theirs) / whole + change
    found = interval(parts, users, level=level, draws=draws, seed=seed)
    return replace(found, mean=change)


def wilson(successes: float, trials: float, *, level: float = 0.95) -> tuple[float, float]:
    """Bounds of the rate ``successes / trials`` (Wilson's score interval, 1927).

    Unlike mean ± z · error, they stay within 0 and 1, and are informative without any success: none
    of ten gives (0, 0.28). Without trials they are (0, 1).
    """
    if trials <= 0:
        return 0.0, 1.0
    z = _NORMAL.inv_cdf(0.5 + level / 2)
    rate, spread = successes / trials, z * z / trials
    centre = rate + spread / 2
    margin = z * math.sqrt(max(0.0, rate * (1 - rate) / trials + spread / (4 * trials)))
    low, high = (centre - margin) / (1 + spread), (centre + margin) / (1 + spread)
    return max(0.0, low), min(1.0, high)


def t_quantile(probability: float, freedom: int) -> float:
    """The quantile of Student's t with ``freedom`` degrees of freedom (a whole number ≥ 1).

    Bisects the angle atan(t / √freedom), of which the distribution function is a finite sum
    (Abramowitz and Stegun, 26.7.3 and 26.7.4). SciPy has it, but its 116 MB are too many where this
    may have to run.
    """
    wanted = abs(2 * probability - 1)
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        if _within(middle, freedom) < wanted:
            low = middle
        else:
            high = middle
    return math.copysign(math.sqrt(freedom) * math.tan((low + high) / 2), probability - 0.5)


def _within(angle: float, freedom: int) -> float:
    """P(|T| ≤ √freedom · tan(angle))."""
    odd = freedom % 2
    if freedom == 1:
        return 2 * angle / math.pi
    k = np.arange(1 + odd, freedom - 2, 2, dtype=np.float64)
    terms = np.cumprod(np.r_[1.0, k / (k + 1) * math.cos(angle) ** 2])
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * math.cos(angle) * float(terms.sum()))
    return math.sin(angle) * float(terms.sum())


def _by_viewer(values: Values, users: NDArray[np.integer]) -> tuple[Values, NDArray[np.int64]]:
    """Sums and counts by viewer, in ascending order of viewer.

    Values are added in ascending order, because the order changes the last bits of a float sum.
    """
    order = np.lexsort((values, users))
    _, first, counts = np.unique(users[order], return_index=True, return_counts=True)
    sums = np.add.reduceat(values[order], first) if len(first) else np.zeros(0)
    return sums, counts.astype(np.int64)


def _draw(sums: Values, counts: NDArray[np.int64], draws: int, rng: np.random.Generator) -> Values:
    """Means over requests of ``draws`` samples of viewers with replacement: float64 [draws]."""
    viewers = len(sums)
    means = []
    for begin in range(0, draws, _DRAWS_AT_ONCE):
        rows = min(_DRAWS_AT_ONCE, draws - begin)
        drawn = rng.integers(0, viewers, (rows, viewers))
        means.append(sums[drawn].sum(1) / counts[drawn].sum(1))
    return np.concatenate(means)
