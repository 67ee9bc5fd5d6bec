"""Item-to-item models against their textbook forms on dense matrices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.planted import log_of, ring_log
from vireo.training.data.log import Log
from vireo.training.models import item_to_item
from vireo.training.models.item_to_item import (
    Neighbours,
    NeighboursConfig,
    ease,
    fit_neighbours,
    item_knn,
    openers,
    successors,
)

ALL = 10**6


def random_log(n_users: int, n_videos: int, seed: int = 0) -> Log:
    """Half of all pairs; the last video is never watched."""
    rng = np.random.default_rng(seed)
    popularity = rng.uniform(0.1, 0.8, n_videos)
    popularity[-1] = 0
    user, video = np.nonzero(rng.random((n_users, n_videos)) < popularity)
    time = rng.permutation(len(user)).astype(float)
    return log_of(user, video, time, n_users=n_users, n_videos=n_videos)


def dense(log: Log) -> NDArray[np.float64]:
    X = np.zeros((log.n_users, log.n_videos))
    X[log.user, log.video] = 1
    return X


def ease_oracle(X: NDArray[np.float64], l2: float) -> NDArray[np.float64]:
    P = np.linalg.inv(X.T @ X + l2 * np.eye(X.shape[1]))
    B: NDArray[np.float64] = -P / np.diag(P)
    np.fill_diagonal(B, 0)
    return B


def knn_oracle(X: NDArray[np.float64], shrink: float) -> NDArray[np.float64]:
    n = X.shape[1]
    norm = np.sqrt(X.sum(axis=0))
    S = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if i != j and norm[i] * norm[j] > 0:
                S[i, j] = (X[:, i] * X[:, j]).sum() / (norm[i] * norm[j] + shrink)
    return S


def same(a: Neighbours, b: Neighbours) -> bool:
    return all(np.array_equal(a.arrays()[k], b.arrays()[k]) for k in a.arrays())


@pytest.mark.parametrize(("n_users", "n_videos"), [(80, 30), (20, 60)])
@pytest.mark.parametrize("block", [7, 1024])
def test_ease_is_ease_by_either_inverse(
    n_users: int, n_videos: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_to_item, "BLOCK", block)
    log = random_log(n_users, n_videos)
    B = ease(log, 5.0, ALL).matrix().toarray()
    np.testing.assert_allclose(B, ease_oracle(dense(log), 5.0), atol=1e-6)
    assert (B < 0).any()


@pytest.mark.parametrize(("n_users", "n_videos"), [(80, 30), (20, 60)])
def test_a_row_keeps_its_largest_weights(n_users: int, n_videos: int) -> None:
    log = random_log(n_users, n_videos)
    whole, cut = ease_oracle(dense(log), 5.0), ease(log, 5.0, 6).matrix().toarray()
    for row, kept in zip(whole, cut, strict=True):
        largest = np.sort(np.abs(row))[::-1][:6]
        np.testing.assert_allclose(
            np.sort(np.abs(kept[kept != 0]))[::-1], largest[largest > 0], atol=1e-6
        )
        np.testing.assert_allclose(kept[kept != 0], row[kept != 0], atol=1e-6)


@pytest.mark.parametrize("block", [7, 1024])
def test_item_knn_is_shrunk_cosine(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_to_item, "BLOCK", block)
    log = random_log(40, 25)
    S = knn_oracle(dense(log), 10.0)
    np.testing.assert_allclose(item_knn(log, 10.0, ALL).matrix().toarray(), S.T, atol=1e-6)
    near = item_knn(log, 10.0, 5).matrix().toarray().T
    for row, kept in zip(S, near, strict=True):
        np.testing.assert_allclose(np.sort(kept[kept > 0]), np.sort(row[row > 0])[-5:], atol=1e-6)


def test_the_size_decides() -> None:
    log = random_log(40, 25)

    small = NeighboursConfig(ease_videos=24, top_k=9)
    large = NeighboursConfig(ease_videos=23, top_k=9)
    assert same(fit_neighbours(log, small), ease(log, small.l2, 9))
    assert same(fit_neighbours(log, large), item_knn(log, large.shrink, 9))


def test_a_sparse_log_is_smoothed_less() -> None:
    log = random_log(200, 3)
    assert NeighboursConfig.for_log(log).l2 > NeighboursConfig.for_log(log.until(9)).l2


@pytest.mark.parametrize("model", [ease, item_knn])
def test_the_table_is_by_video_and_does_not_depend_on_who_is_who(model: Any) -> None:
    log = random_log(40, 25)
    shuffled = np.random.default_rng(1).permutation(40).astype(np.int32)
    renumbered = replace(log, user=shuffled[log.user])
    table = model(log, 5.0, 8)
    assert same(table, model(log, 5.0, 8))
    np.testing.assert_allclose(
        table.matrix().toarray(), model(renumbered, 5.0, 8).matrix().toarray(), atol=1e-7
    )
    arrays = table.arrays()
    assert [arrays[k].dtype for k in ("indptr", "indices", "weights")] == [
        np.int64,
        np.int32,
        np.float32,
    ]
    assert len(arrays["indptr"]) == log.n_videos + 1
    never = np.flatnonzero(~np.isin(np.arange(25), log.video))
    assert not table.matrix().toarray()[never].any()


def successors_oracle(log: Log) -> NDArray[np.float64]:
    order, offsets = log.histories()
    T: NDArray[Any] = np.zeros((log.n_videos, log.n_videos))
    for u in range(log.n_users):
        rows = log.video[order[offsets[u] : offsets[u + 1]]]
        for a in range(len(rows)):
            for gap in range(1, 11):
                if a + gap < len(rows):
                    T[rows[a], rows[a + gap]] += 0.8 ** (gap - 1)
    popularity = np.bincount(log.video, minlength=log.n_videos) + 1.0
    damped: NDArray[np.float64] = T / (popularity + 5)[:, None] / popularity**0.1
    return damped


def test_successors_count_what_follows() -> None:
    log = ring_log(n_users=20, n_videos=40, events=12)
    np.testing.assert_allclose(
        successors(log).matrix().toarray(), successors_oracle(log), rtol=1e-5
    )


def test_openers_follow_a_long_pause_of_the_same_viewer() -> None:
    hour = 3600.0
    user = np.array([0, 0, 0, 1, 1, 1, 1])
    video = np.array([0, 1, 2, 2, 1, 0, 3])
    time = np.array([0, 2 * hour, 2 * hour + 5, 1, 2, 2 * hour, 2 * hour + hour])
    log = log_of(user, video, time, n_users=2, n_videos=5)
    row = {j: log.videos.row(f"v{j}") for j in range(5)}
    score = openers(log)
    opened = np.array([1, 1, 0, 0, 0])  # v3 came after exactly an hour, v2 was first of a viewer
    popular = np.array([2, 2, 2, 1, 0])
    for j in range(5):
        expected = np.log(opened[j] + 0.1 * popular[j] * 2 / 7 + 1)
        assert score[row[j]] == pytest.approx(expected, rel=1e-5)


def test_an_empty_log_is_refused() -> None:
    log = random_log(5, 5).until(0)
    with pytest.raises(ValueError, match="no events"):
        ease(log, 1.0, 5)
    with pytest.raises(ValueError, match="no events"):
        item_knn(log, 1.0, 5)
    with pytest.raises(ValueError, match="no events"):
        successors(log)
    assert not openers(log).any()
