"""What models learn from counts by the place it stood at, and lists become better by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import t

from tests.biased import Biased, collected
from tests.planted import QUICK, RETRIEVAL, ring_log
from vireo.catalogue.places import FIRST, GROUPS, groups
from vireo.recommender.features import FEATURES
from vireo.recommender.slate import SOURCES
from vireo.training.data import requests as protocols
from vireo.training.data.activity import Activity, with_propensity_weights
from vireo.training.data.log import Log
from vireo.training.data.places import MOST, TRUST, Shown, propensity_weights
from vireo.training.data.preprocess import from_dataset
from vireo.training.models import ranker as ranking
from vireo.training.models import recipe
from vireo.training.models.assembly import Fitted, assemble
from vireo.training.models.blend import fit_blend
from vireo.training.models.examples import Examples, collect
from vireo.training.models.item_to_item import openers
from vireo.training.models.replay import Replay
from vireo.training.models.tower_batches import Batches
from vireo.training.models.tower_model import TowerConfig, initial_params

EVER = 1e18


def test_lists_by_what_was_watched_are_better_with_propensity_weights() -> None:
    """Popularity, judged by what viewers like; over seeds that no choice was made by."""
    gains = []
    for seed in range(200, 206):
        world = collected(seed, "made up", 1.0, requests=3_000)
        log = world.prepared.log
        known = with_propensity_weights(log, world.prepared.activity, EVER)
        gains.append(clicks(world, known.count()) - clicks(world, log.count()))
    half = t.ppf(0.975, len(gains) - 1) * np.std(gains, ddof=1) / np.sqrt(len(gains))
    assert np.mean(gains) - half > 0, f"{np.mean(gains):.3f} ± {half:.3f}"


def clicks(world: Biased, scores: NDArray[np.float64]) -> float:
    return float(world.clicks(world.lists(scores)).mean())


def test_weights_are_inverse_to_attention_and_bounded() -> None:
    theta = np.r_[1 / (1.0 + np.arange(GROUPS - 1)), 3.0]
    theta[GROUPS - 2] = 1e-6
    clicked = Shown(*(np.repeat(np.arange(4), [40, 20, 10, 1]) for _ in range(3)))
    weight = propensity_weights(theta, clicked)
    np.testing.assert_allclose(weight[:4] / weight[0], np.array([1, 2, 3, 4]) ** TRUST, rtol=1e-6)
    assert weight[clicked.at].mean() == pytest.approx(1.0)
    assert weight[:-1].max() == MOST
    assert weight[-1] == 1, "of no known place"
    assert (propensity_weights(np.ones(GROUPS), clicked) == 1).all(), "places that are alike"


@given(
    st.lists(st.integers(-1, 80), max_size=30),
    st.lists(st.floats(1e-3, 50), min_size=GROUPS, max_size=GROUPS),
)
def test_any_weight_is_positive_and_bounded(places: list[int], theta: list[float]) -> None:
    place = np.array(places, int)
    weight = propensity_weights(np.array(theta), Shown(place, place, place))
    assert np.isfinite(weight).all()
    assert (weight > 0).all()
    assert not (place >= 0).any() or weight.max() <= MOST


def test_weights_do_not_depend_on_the_order_of_rows() -> None:
    world = collected(0, "popular", 1.0, requests=300)
    rows = np.random.default_rng(0).permutation(len(world.data.events))
    other = replace(world.data, events=world.data.events.take(pa.array(rows)))
    one, same = (
        with_propensity_weights(p.log, p.activity, EVER)
        for p in (world.prepared, from_dataset(other, now=world.prepared.log.time[-1] + 1e6))
    )
    assert one.propensity_weight is not None
    assert same.propensity_weight is not None
    assert len(np.unique(one.propensity_weight)) > 5
    assert one.propensity_weight.tobytes() == same.propensity_weight.tobytes()


# -- nothing changes without places --------------------------------------------------------------


def activity_of(log: Log) -> Activity:
    """Everything was shown a second before it was clicked."""
    n = len(log)
    return Activity(
        user=np.repeat(log.user, 2),
        video=np.repeat(log.video, 2),
        type=np.tile(np.array([0, 1], np.int8), n),
        time=np.repeat(log.time, 2),
        seconds=np.full(2 * n, np.nan, np.float32),
        fraction=np.full(2 * n, np.nan, np.float32),
        place=np.repeat(log.place, 2),
        recommended=np.zeros(2 * n, bool),
        n_videos=log.n_videos,
    )


def test_a_log_without_places_is_left_as_it_is() -> None:
    log = ring_log(30, 40, 8)
    assert with_propensity_weights(log, activity_of(log), EVER) is log
    placed = replace(log, place=np.arange(len(log), dtype=np.int32) % 5)
    assert with_propensity_weights(placed, None, EVER) is placed
    known = with_propensity_weights(placed, activity_of(placed), EVER)
    assert known.propensity_weight is not None
    assert with_propensity_weights(known, activity_of(placed), 0.0) is known


def test_weights_of_one_change_no_byte_of_a_model() -> None:
    log = ring_log(60, 50, 12, seed=4)
    ones = replace(log, propensity_weight=np.ones(len(log), np.float32))
    half = len(log) // 2
    made: list[tuple[dict[str, bytes], Examples]] = []
    for each in (log, ones):
        past = each.until(half)
        fitted, _ = recipe.fit_retrieval(past, QUICK, seed=1)
        bundle = assemble(
            past, None, fitted, version="b", now=float(log.time[half]), retrieval=RETRIEVAL
        )
        asked, _ = protocols.asked_between(each, half, len(each), cap=3, seed=1)
        arrays = {name: array.tobytes() for name, array in bundle.arrays.items()}
        made.append((arrays, collect(Replay(bundle, each), asked)))
    (one, examples), (other, same) = made
    assert one == other
    assert examples.relevant.tobytes() == same.relevant.tobytes()
    assert set(np.unique(examples.relevant)) == {0, 1}


# -- every learner hears of it -------------------------------------------------------------------


@pytest.fixture(scope="module")
def log() -> Log:
    made = ring_log(60, 50, 12, seed=4)
    rng = np.random.default_rng(1)
    return replace(
        made, propensity_weight=rng.choice([0.5, 1.0, 4.0], len(made)).astype(np.float32)
    )


def by_video(log: Log) -> NDArray[np.float64]:
    assert log.propensity_weight is not None
    total = np.zeros(log.n_videos)
    for video, weight in zip(log.video.tolist(), log.propensity_weight.tolist(), strict=True):
        total[video] += weight
    return total


def test_towers_learn_by_propensity_weight(log: Log) -> None:
    config = TowerConfig(dimension=8, hidden=8, content_hidden=8, rows=8, length=10)
    learned = np.zeros(log.n_videos)
    for batch in Batches(log, config).epoch(np.random.default_rng(0)):
        target = batch.used[batch.positions.target]
        np.add.at(learned, target.ravel(), batch.positions.weight.ravel())
    np.testing.assert_allclose(learned, by_video(log), rtol=1e-5)
    bias = np.log(by_video(log) + 1)
    np.testing.assert_allclose(
        initial_params(log, config, np.random.default_rng(0))["bias"],
        bias - bias.mean(),
        atol=1e-5,
    )


def test_popularity_and_openers_count_by_propensity_weight(log: Log) -> None:
    nothing = np.zeros((log.n_videos, 1), np.float32)
    fitted = Fitted({}, nothing, {}, {}, openers(log))
    bundle = assemble(log, None, fitted, version="b", now=log.time[-1] + 1, retrieval=RETRIEVAL)
    views = bundle.arrays["features"][:, FEATURES.index("log_views")]
    np.testing.assert_allclose(views, np.log1p(by_video(log)), rtol=1e-5)
    popular = bundle.arrays["popular"][0]
    assert (np.diff(by_video(log.between(0, len(log)))[popular[popular >= 0]]) <= 1e-9).all()
    assert not np.array_equal(openers(log), openers(replace(log, propensity_weight=None)))


def test_examples_count_by_the_propensity_weight_of_what_was_watched(log: Log) -> None:
    half = len(log) // 2
    past = log.until(half)
    fitted, _ = recipe.fit_retrieval(past, QUICK, seed=1)
    now = float(log.time[half])
    bundle = assemble(past, None, fitted, version="b", now=now, retrieval=RETRIEVAL)
    requests, _ = protocols.asked_between(log, half, len(log), cap=3, seed=1)
    assert log.propensity_weight is not None
    pairs = zip(log.user.tolist(), log.video.tolist(), log.propensity_weight.tolist(), strict=True)
    weight = {(user, video): weight for user, video, weight in pairs}
    asked = zip(requests.user.tolist(), requests.target.tolist(), strict=True)
    wanted = [weight[pair] for pair in asked]
    examples = collect(Replay(bundle, log), requests)
    found = np.add.reduceat(examples.relevant, examples.offsets[:-1])
    assert len(found) > 50
    # Some requests have no target among the candidates: the others are there in their order.
    left = iter(wanted)
    assert all(any(value == other for other in left) for value in found.tolist())
    assert set(np.unique(found)) == {0.5, 1.0, 4.0}


def chosen(
    slates: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64]]:
    """What was chosen among 10 by a known merit, at places that say nothing of it: scores of both
    [m, 2] (z-scores, the second is for the place), which were chosen [m], and their places [m]."""
    rng = np.random.default_rng(seed)
    merit = rng.normal(size=(slates, 10))
    place = np.argsort(rng.random((slates, 10)), axis=1)
    appeal = 1.0 * merit - np.log1p(place) + rng.gumbel(size=merit.shape)
    scores = np.stack([merit, 4.5 - place], 2)
    scores = (scores - scores.mean(1, keepdims=True)) / scores.std(1, keepdims=True)
    best = np.arange(10) == appeal.argmax(1)[:, None]
    return scores.reshape(-1, 2).astype(np.float32), best.ravel(), place.ravel()


def test_a_blend_that_is_told_of_places_does_not_trust_what_ordered_them() -> None:
    scores, best, place = chosen(4_000, seed=1)
    offsets, bucket = np.arange(4_001) * 10, np.zeros(4_000, np.int8)
    raw = fit_blend(scores, best.astype(np.float32), offsets, bucket)[0]
    clicked = Shown(place[best], place[best], place[best])
    attention = np.r_[1 / (1.0 + np.array(FIRST)), 1.0]
    weight = propensity_weights(attention ** (1 / TRUST), clicked)[groups(place)]
    told = fit_blend(scores, best * weight, offsets, bucket)[0]
    assert raw[1] > 0.6
    assert told[1] < 0.05
    assert told[0] > 0.8


def test_trees_learn_odds_by_propensity_weight() -> None:
    """Of two candidates each is chosen as often, but a choice of one counts three times."""
    slates = 400
    features = np.zeros((2 * slates, len(FEATURES)), np.float32)
    features[1::2, 0] = 1
    relevant = np.zeros((slates, 2), np.float32)
    relevant[::2, 0], relevant[1::2, 1] = 1, 3
    examples = Examples(
        features,
        np.zeros((2 * slates, len(SOURCES)), np.float32),
        relevant.ravel(),
        np.arange(slates + 1) * 2,
        np.zeros(slates, np.int8),
        np.arange(slates, dtype=np.int32),
        1.0,
    )
    config = ranking.RankerConfig(iterations=200, depth=1, l2=0.1)
    model = ranking.load(ranking.fit(examples, examples, config, seed=1).model)
    said = model.predict(ranking.frame(features[:2]))
    assert said[1] - said[0] == pytest.approx(np.log(3), abs=0.05)
