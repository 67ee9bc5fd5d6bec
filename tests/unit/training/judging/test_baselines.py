"""The baselines are the published formulas at full strength, and see nothing of the future."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests import oracles_evaluation as oracle
from vireo.training.data import metrics
from vireo.training.data.log import Log
from vireo.training.data.requests import Split, successive, temporal
from vireo.training.judging import baselines
from vireo.training.judging.baselines import (
    EASE,
    GRID,
    Baseline,
    ItemKNN,
    Markov,
    Openers,
    OpenersAndEASE,
    Popularity,
    rank,
    top,
    tuned,
)

Dense = NDArray[np.float64]
seeds = st.integers(0, 10_000)
SCORES = (-np.inf, -2.5, -1.0, -0.0, 0.0, 1e-30, 1.0, 7.0)
ALL: tuple[Callable[[], Baseline], ...] = (
    Popularity,
    lambda: Popularity(1),
    lambda: ItemKNN(5, 2.0),
    lambda: EASE(3.0),
    Markov,
    Openers,
    OpenersAndEASE,
)


def watched(log: Log) -> Dense:
    X = np.zeros((log.n_users, log.n_videos))
    X[log.user, log.video] = 1
    return X


def ease(log: Log, ridge: float) -> Dense:
    X = watched(log)
    P = np.linalg.inv(X.T @ X + ridge * np.eye(log.n_videos))
    B = P / -np.diag(P)
    np.fill_diagonal(B, 0)
    return X @ B


def item_knn(log: Log, k: int, shrink: float) -> Dense:
    X = watched(log)
    G = X.T @ X
    norm = np.sqrt(np.diag(G))
    S = G / (np.outer(norm, norm) + 1e-9 * (norm[:, None] + norm) + shrink)
    np.fill_diagonal(S, 0)
    for row in S:
        row[np.argsort(-row, kind="stable")[k:]] = 0
    return X @ S.T


def markov(log: Log, span: int, decay: float, power: float) -> Dense:
    W = np.zeros((log.n_videos, log.n_videos))
    sequences = [log.video[log.user == u].tolist() for u in range(log.n_users)]
    for sequence in sequences:
        for j, a in enumerate(sequence):
            for ahead, b in enumerate(sequence[j + 1 : j + 1 + span]):
                W[a, b] += decay**ahead
    counts = np.bincount(log.video, minlength=log.n_videos) + 1.0
    W = W / (counts + 5)[:, None] / counts**power
    scores = np.tile(1e-9 * counts, (log.n_users, 1))
    for user, sequence in enumerate(sequences):
        for age, a in enumerate(reversed(sequence[-span:])):
            scores[user] += decay**age * W[a]
    return scores


def popularity(log: Log, days: float) -> Dense:
    recent = (log.time > log.time.max() - days * 86400).astype(float)
    counts = np.bincount(log.video, recent, log.n_videos)
    counts = counts + 1e-6 * np.bincount(log.video, minlength=log.n_videos)
    return np.tile(counts, (log.n_users, 1))


FORMULAS: dict[str, tuple[Baseline, Callable[[Log], Dense]]] = {
    "EASE": (EASE(3.0), lambda log: ease(log, 3.0)),
    "ItemKNN": (ItemKNN(6, 2.0), lambda log: item_knn(log, 6, 2.0)),
    "Markov": (Markov(4, 0.7, 0.3), lambda log: markov(log, 4, 0.7, 0.3)),
    "recent": (Popularity(3), lambda log: popularity(log, 3)),
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("n_users", [8, 90])  # fewer and more viewers than videos
@given(seeds)
@settings(max_examples=20)
def test_scores_are_the_formulas(name: str, n_users: int, seed: int) -> None:
    log = oracle.random_log(seed, n_users=n_users)
    split = temporal(log)
    train = log.take(split.fit)
    baseline, formula = FORMULAS[name]
    scores = baseline.fit(train).score(split.test.histories(log))
    np.testing.assert_allclose(scores, formula(train)[split.test.user], rtol=1e-4, atol=1e-6)


def test_openers_are_what_follows_a_long_pause() -> None:
    hour = 3600.0
    log = oracle.make_log(
        [0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 1, 4], [0, hour, hour + 9, 5, 6 + hour, 7 + hour], 6
    )
    scores = Openers().fit(log).score(temporal(log, 0.6).test.histories(log))[0]
    shares = np.array([1, 2, 1, 1, 1, 0]) * 2 / 6
    np.testing.assert_allclose(scores, np.log(np.array([0, 2, 0, 0, 0, 0]) + shares + 0.1), 1e-6)


@given(
    st.lists(
        st.lists(
            st.sampled_from([-np.inf, -2.5, -1.0, -0.0, 0.0, 1e-30, 1.0, 7.0]),
            min_size=6,
            max_size=6,
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(1, 9),
)
def test_top_is_a_stable_sort(rows: list[list[float]], k: int) -> None:
    expected = []
    for row in rows:
        best = [j for j in sorted(range(6), key=lambda j: -row[j]) if row[j] > -np.inf][:k]
        expected.append(best + [-1] * (k - len(best)))
    assert top(np.array(rows, np.float32), k).tolist() == expected


@pytest.mark.parametrize("make", ALL)
@given(seeds)
@settings(max_examples=10)
def test_lists_hold_what_is_new_to_the_viewer(make: Callable[[], Baseline], seed: int) -> None:
    log = oracle.random_log(seed)
    split = successive(log)
    baseline = make().fit(log.take(split.fit))
    lists = rank(baseline, log, split.test, 45)
    histories = split.test.histories(log)
    for r, row in enumerate(lists.tolist()):
        seen = histories.video[histories.offsets[r] : histories.offsets[r + 1]].tolist()
        shown = [v for v in row if v >= 0]
        assert sorted(shown + seen) == list(range(40))
        assert row[len(shown) :] == [-1] * (45 - len(shown))
    order = np.random.default_rng(seed).permutation(len(split.test))
    assert (rank(baseline, log, split.test.take(order), 45) == lists[order]).all()


@pytest.mark.parametrize("make", ALL)
def test_the_future_changes_nothing(make: Callable[[], Baseline]) -> None:
    log = oracle.random_log(7, n=900)
    split = temporal(log)
    begin = int(split.fit.sum())
    future = begin + np.random.default_rng(0).permutation(len(log) - begin)
    altered = replace(log, video=np.concatenate([log.video[:begin], log.video[future]]))
    expected = rank(make().fit(log.take(split.fit)), log, split.test, 20)
    again = rank(make().fit(altered.take(split.fit)), altered, split.test, 20)
    assert (expected == again).all()


def test_unpublished_videos_can_be_left_out() -> None:
    log = oracle.random_log(8)
    split = temporal(log)
    published = np.full(40, np.nan)
    published[:10] = split.test.time[0] + 1
    log = replace(log, videos=replace(log.videos, published=published))
    baseline = Popularity().fit(log.take(split.fit))
    assert (rank(baseline, log, split.test, 40) < 10).any(1).all()
    lists = rank(baseline, log, split.test, 40, published_only=True)
    assert ((lists == -1) | (lists >= 10)).all()


def test_validation_chooses_and_the_test_does_not() -> None:
    log = oracle.random_log(9, n=1500, n_users=30)
    split = temporal(log)
    grid = [EASE(r) for r in (1e-3, 10.0, 1e6)]

    def quality(baseline: Baseline, split: Split) -> float:
        lists = rank(baseline.fit(log.take(split.train)), log, split.validation, 100)
        values = metrics.per_request(lists, split.validation)
        return float((values["ndcg@10"] + values["recall@100"]).mean())

    best = max(grid, key=lambda b: quality(b, split))
    chosen = tuned(grid, log, split)
    assert chosen is best
    refitted = EASE(best.ridge).fit(log.take(split.fit))
    histories = split.test.histories(log)
    assert (chosen.score(histories) == refitted.score(histories)).all()
    blind = replace(split, test=split.test.take(slice(0, 0)))
    assert tuned(grid, log, blind) is best


def test_every_baseline_of_the_grid_answers() -> None:
    log = oracle.random_log(10)
    split = temporal(log)
    for settings_ in GRID.values():
        baseline = settings_[0].fit(log.take(split.fit))
        scores = baseline.score(split.test.histories(log))
        assert scores.shape == (len(split.test), log.n_videos)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()
    assert baselines.SESSION_BREAK == 3600
