"""Propensities of places are found from clicks alone, and click rates come nearer to the merit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr, t

from tests.feeds import BIAS, SHOWN, feed, of
from vireo.catalogue.places import GROUPS, groups
from vireo.training.data.activity import counters
from vireo.training.data.places import Shown, propensities


@pytest.mark.parametrize("personal", [False, True])
@pytest.mark.parametrize("bias", [0.0, BIAS, 1.0])
def test_how_much_places_are_looked_at_is_found(bias: float, personal: bool) -> None:
    true = (1.0 + np.arange(SHOWN)) ** -bias
    found = []
    for seed in range(4):
        made = feed(seed, bias=bias, personal=personal)
        shown, clicked = (of(made.activity, n, made.kinds) for n in ("impression", "click"))
        found.append(propensities(shown, clicked)[1][groups(np.arange(SHOWN))])
    wrong = np.abs(np.mean(found, axis=0) - true / true.mean()).mean()
    untold = np.abs(1 - true / true.mean()).mean()  #: were all places thought equal
    # Few clicks at the bottom leave a place nearer to the average than it is.
    assert wrong < max(0.1, 0.3 * untold)


def gain(of: list[float]) -> tuple[float, float]:
    """Mean over seeds and half of its 95% interval."""
    half = t.ppf(0.975, len(of) - 1) * np.std(of, ddof=1) / np.sqrt(len(of))
    return float(np.mean(of)), float(half)


@pytest.mark.parametrize("personal", [False, True])
def test_corrected_click_rates_order_videos_better_than_raw_ones(personal: bool) -> None:
    """By rank correlation with the merit, over seeds that no choice was made by."""
    over_raw: list[float] = []
    over_taste_alone: list[float] = []
    for seed in range(100, 116):
        made = feed(seed, personal=personal)
        unplaced = replace(made.activity, place=np.full(len(made.activity), -1, np.int32))
        seen = counters(made.activity, 1e18).impressions > 0
        corrected, tastes, raw = (
            spearmanr(rates[seen], made.merit[seen]).statistic
            for rates in (made.rates(made.activity), made.rates(unplaced), made.raw())
        )
        over_raw.append(float(corrected - raw))
        over_taste_alone.append(float(corrected - tastes))
    for found in (over_raw, over_taste_alone):
        mean, half = gain(found)
        assert mean - half > 0, f"{mean:.3f} ± {half:.3f}"


def test_without_places_and_kinds_rates_are_the_raw_ones() -> None:
    made = feed(0)
    unplaced = replace(made.activity, place=np.full(len(made.activity), -1, np.int32))
    alike = replace(unplaced, user=np.zeros(len(unplaced), np.int32))
    np.testing.assert_allclose(counters(alike, 1e18).click_rate, made.raw(), rtol=1e-6)


def test_the_correction_moves_no_rate_on_average() -> None:
    made = feed(0)
    shown, clicked = (of(made.activity, n, made.kinds) for n in ("impression", "click"))
    propensity, theta = propensities(shown, clicked)
    assert propensity.mean() == pytest.approx(1.0)
    assert theta[shown.at].mean() == pytest.approx(1.0)
    assert (propensities(shown, of(made.activity, "like", made.kinds))[0] == 1).all(), (
        "without clicks"
    )


def test_places_say_nothing_of_the_future() -> None:
    made = feed(0)
    activity = made.activity
    until = float(len(activity) // 2)
    late = activity.time >= until
    rng = np.random.default_rng(3)
    other = replace(
        activity,
        place=np.where(late, rng.integers(-1, 50, len(late)), activity.place).astype(np.int32),
        type=np.where(late, rng.integers(0, 2, len(late)), activity.type).astype(np.int8),
    )
    assert (made.rates(other) != made.rates(activity)).any()
    np.testing.assert_array_equal(
        counters(other, until, kinds=made.kinds).click_rate,
        counters(activity, until, kinds=made.kinds).click_rate,
    )


Events = st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 80), st.integers(0, 3)), max_size=40)


@given(Events, Events)
def test_any_events_give_finite_propensities(
    shown: list[tuple[int, int, int]], clicked: list[tuple[int, int, int]]
) -> None:
    def made(rows: list[tuple[int, int, int]]) -> Shown:
        return Shown(*(np.array([row[j] for row in rows], int) for j in range(3)))

    propensity, theta = propensities(made(shown), made(clicked))
    assert len(propensity) == len(shown)
    assert len(theta) == GROUPS
    for found in (propensity, theta):
        assert np.isfinite(found).all()
        assert (found > 0).all()
