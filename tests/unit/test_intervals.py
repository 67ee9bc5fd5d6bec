"""Intervals hold what they promise: on simulated viewers, and whatever the order of the rows."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from vireo.intervals import Interval, difference, interval, relative, t_quantile, wilson

seeds = st.integers(0, 10_000)


def simulated(
    rng: np.random.Generator, viewers: int, effect: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Two systems on requests of viewers who differ in how many they make and what they gain."""
    users = np.repeat(np.arange(viewers), rng.integers(1, 12, viewers))
    gain = rng.normal(effect, 0.3, viewers)[users]
    theirs = rng.random(len(users))
    return theirs + gain + rng.normal(0, 0.1, len(users)), theirs, users


@pytest.mark.parametrize("viewers", [8, 60])
def test_intervals_cover_the_truth_as_often_as_promised(viewers: int) -> None:
    rng = np.random.default_rng(1)
    runs = 400
    covered = narrow = 0
    for _ in range(runs):
        ours, theirs, users = simulated(rng, viewers, 0.1)
        seen = difference(ours, theirs, users, draws=400)
        covered += seen.low <= 0.1 <= seen.high
        # as if requests were independent: the mistake that clusters avoid
        gaps = ours - theirs
        error = 1.96 * gaps.std(ddof=1) / np.sqrt(len(gaps))
        narrow += abs(gaps.mean() - 0.1) <= error
    assert 0.91 <= covered / runs <= 0.98
    assert narrow / runs < 0.7


def test_nothing_is_shown_where_nothing_is() -> None:
    rng = np.random.default_rng(2)
    shown = 0
    for _ in range(300):
        ours, theirs, users = simulated(rng, 40, 0.0)
        seen = difference(ours, theirs, users, draws=400)
        shown += seen.above_zero or seen.below_zero
    assert shown / 300 <= 0.08


@pytest.mark.parametrize("told", [difference, relative])
@given(seed=seeds)
@settings(max_examples=30)
def test_the_order_of_rows_changes_no_bit(told: Callable[..., Interval], seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs, users = simulated(rng, 15, 0.2)
    order = rng.permutation(len(users))
    expected = told(ours, theirs, users, draws=200, seed=seed)
    assert told(ours[order], theirs[order], users[order], draws=200, seed=seed) == expected
    # nor do the names of the viewers, as long as their order stays
    assert told(ours, theirs, users * 7 + 3, draws=200, seed=seed) == expected
    assert told(ours, theirs, users, draws=200, seed=seed + 1) != expected


@given(seeds)
@settings(max_examples=20)
def test_means_are_over_requests_and_sides_mirror(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs, users = simulated(rng, 9, 0.2)
    forth = difference(ours, theirs, users, draws=200)
    back = difference(theirs, ours, users, draws=200)
    assert forth.mean == pytest.approx((ours - theirs).mean())
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    assert forth.low <= forth.mean <= forth.high
    assert (forth.requests, forth.viewers) == (len(users), 9)


def test_a_slow_bootstrap_says_the_same() -> None:
    ours, theirs, users = simulated(np.random.default_rng(3), 50, 0.1)
    gaps = [(ours - theirs)[users == u] for u in range(50)]
    rng = np.random.default_rng(4)
    means = [np.concatenate([gaps[u] for u in rng.integers(0, 50, 50)]).mean() for _ in range(4000)]
    seen = difference(ours, theirs, users, draws=4000)
    # the t factor widens 50 viewers' percentiles a little
    low, high = np.quantile(means, [0.0205, 0.9795])
    assert (seen.low, seen.high) == pytest.approx((low, high), abs=0.015)


def test_requests_without_a_value_are_left_out() -> None:
    values = np.array([1.0, np.nan, 3.0, 5.0])
    users = np.array([0, 0, 1, 2])
    assert interval(values, users) == interval(values[[0, 2, 3]], users[[0, 2, 3]])


def test_one_viewer_has_no_interval() -> None:
    seen = interval(np.array([1.0, 2.0]), np.array([5, 5]))
    assert seen.mean == 1.5
    assert np.isnan(seen.low)
    assert np.isnan(seen.high)
    assert not seen.above_zero
    assert not seen.below_zero
    with pytest.raises(ValueError, match="no request"):
        interval(np.array([np.nan]), np.array([1]))
    with pytest.raises(ValueError, match="same requests"):
        difference(np.zeros(3), np.zeros(2), np.zeros(3, np.int64))


def test_reads_as_a_sentence() -> None:
    assert str(Interval(0.01, -0.02, 0.04, 9, 3)) == "+0.0100 [-0.0200, +0.0400]"


@given(st.integers(1, 3000), st.floats(0.001, 0.999))
def test_quantiles_of_t_are_scipys(freedom: int, probability: float) -> None:
    expected = stats.t.ppf(probability, freedom)
    assert t_quantile(probability, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(st.integers(0, 500), st.integers(1, 500), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilsons_bounds_are_scipys(successes: int, trials: int, level: float) -> None:
    successes = min(successes, trials)
    expected = stats.binomtest(successes, trials).proportion_ci(level, method="wilson")
    bounds = wilson(successes, trials, level=level)
    assert bounds == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_without_trials_any_rate_is_possible() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("share", [0.5, 0.97, 1.2])
def test_relative_intervals_cover_the_truth_as_often_as_promised(share: float) -> None:
    """A quotient of means that vary together, as those of lists before and after ordering."""
    rng = np.random.default_rng(3)
    runs = covered = 0
    for _ in range(400):
        users = np.repeat(np.arange(60), rng.integers(1, 12, 60))
        theirs = rng.gamma(1.0, 0.3, 60)[users] * rng.random(len(users))
        ours = theirs * rng.normal(share, 0.3, len(users))
        seen = relative(ours, theirs, users, draws=400)
        assert seen is not None
        assert seen.mean == pytest.approx(ours.mean() / theirs.mean() - 1)
        runs, covered = runs + 1, covered + (seen.low <= share - 1 <= seen.high)
    assert 0.91 <= covered / runs <= 0.98


def test_a_share_of_nothing_is_none_and_missing_values_are_left_out() -> None:
    users = np.arange(4)
    assert relative(np.ones(4), np.zeros(4), users) is None
    assert relative(np.zeros(0), np.zeros(0), users[:0]) is None
    ours, theirs = np.array([1.0, np.nan, 1.0, 9.0]), np.array([2.0, 9.0, 2.0, np.nan])
    seen = relative(ours, theirs, users)
    assert seen is not None
    assert (seen.mean, seen.requests) == (-0.5, 2)
    with pytest.raises(ValueError, match="same requests"):
        relative(np.ones(2), np.ones(3), users[:2])
