"""Metrics equal their definitions, written out slowly, to 1e-12."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import oracles_evaluation as oracle
from vireo.recommender.pauses import PAUSE_NAMES
from vireo.training.data import metrics
from vireo.training.data.requests import Requests, successive, temporal

seeds = st.integers(0, 10_000)


def random_lists(requests: Requests, seed: int, n_videos: int = 40, k: int = 20) -> metrics.Lists:
    """Distinct videos, with ends of different length."""
    rng = np.random.default_rng(seed)
    lists = rng.permuted(np.tile(np.arange(n_videos, dtype=np.int32), (len(requests), 1)), axis=1)
    lists = lists[:, :k]
    lists[np.arange(k) >= rng.integers(0, k + 1, (len(requests), 1))] = -1
    return lists


@given(seeds)
def test_lists_score_as_defined(seed: int) -> None:
    log = oracle.random_log(seed)
    requests = temporal(log).test
    lists = random_lists(requests, seed)
    values = metrics.per_request(lists, requests, (5, 20, 100))
    for r in range(len(requests)):
        a, b = requests.target_offsets[r : r + 2]
        relevant = set(requests.target[a:b].tolist())
        shown = [v for v in lists[r].tolist() if v >= 0]
        for k in (5, 20, 100):
            recall, ndcg = oracle.recall(shown, relevant, k), oracle.ndcg(shown, relevant, k)
            assert values[f"recall@{k}"][r] == pytest.approx(recall, abs=1e-12)
            assert values[f"ndcg@{k}"][r] == pytest.approx(ndcg, abs=1e-12)
            assert values[f"hit@{k}"][r] == bool(set(shown[:k]) & relevant)


@given(seeds)
def test_the_order_of_requests_does_not_matter(seed: int) -> None:
    log = oracle.random_log(seed)
    requests = temporal(log).test
    lists = random_lists(requests, seed)
    order = np.random.default_rng(seed).permutation(len(requests))
    straight = metrics.per_request(lists, requests)
    shuffled = metrics.per_request(lists[order], requests.take(order))
    for name, values in straight.items():
        assert (values[order] == shuffled[name]).all()


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.0, np.nan]), st.booleans()),
        min_size=1,
        max_size=12,
    )
)
def test_auc_counts_pairs(candidates: list[tuple[float, bool]]) -> None:
    scores = np.array([[s for s, _ in candidates], [0.0] * len(candidates)])
    relevant = np.array([[r for _, r in candidates]] * 2)
    there = [(s, r) for s, r in candidates if not np.isnan(s)]
    expected = oracle.auc([s for s, _ in there], [r for _, r in there])
    values = metrics.auc(scores, relevant)
    assert values[0] == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert np.isnan(values[1]) or values[1] == 0.5


def test_candidate_ndcg_judges_only_what_was_retrieved() -> None:
    log = oracle.make_log(
        [0] * 5 + [1] * 5 + [0, 0, 1, 1], [*range(5), *range(5), 8, 9, 8, 9], list(range(14)), 10
    )
    requests = replace(
        temporal(log, 0.7).test,
        user=np.array([0, 1], np.int32),
        target_offsets=np.array([0, 2, 4]),
        target=np.array([8, 9, 8, 9], np.int32),
        pause=np.zeros(2),
        time=np.zeros(2),
        start=np.zeros(2, np.int64),
        stop=np.zeros(2, np.int64),
    )
    ranked = np.array([[5, 9, 6], [5, 6, 7]], np.int32)
    values = metrics.candidate_ndcg(ranked, requests)
    assert values[0] == pytest.approx(1 / np.log2(3))  # 8 was not retrieved: no fault of the order
    assert np.isnan(values[1])


def test_coverage_is_a_share_of_the_catalogue() -> None:
    lists = np.array([[0, 1, 2], [1, 3, -1]], np.int32)
    assert metrics.coverage(lists, 10, k=2) == pytest.approx(0.3)
    assert metrics.coverage(lists, 10, k=3) == pytest.approx(0.4)


def test_groups_by_pause_cover_everything_once() -> None:
    log = oracle.random_log(4, n=2000)
    requests = successive(log, cap=None, least_history=0).test
    for names in (PAUSE_NAMES, metrics.FINE):
        groups = np.array([metrics.in_pause(requests, n) for n in names])
        assert (groups.sum(0) == 1).all()
    edges = replace(requests.take(slice(6)), pause=np.array([0, 1, 60, 3600, 604800, np.inf]))
    fine = {n: np.flatnonzero(metrics.in_pause(edges, n)).tolist() for n in metrics.FINE}
    assert fine == {"0 s": [0], "1–60 s": [1], "1 min–1 h": [2], "≥ 1 h": [3, 4, 5]}
    assert metrics.in_pause(edges, "≥ 7 days").tolist() == [False] * 4 + [True] * 2


def test_means_by_pause() -> None:
    log = oracle.random_log(5, n=2000)
    requests = successive(log, cap=None).test
    values = np.arange(len(requests), dtype=np.float64)
    values[0] = np.nan
    table = metrics.by_pause({"x": values}, requests)
    assert table["all"]["requests"] == len(requests)
    assert table["all"]["x"] == pytest.approx(np.arange(1, len(requests)).mean())
    late = requests.pause >= 3600
    assert table["≥ 1 h"]["viewers"] == len(set(requests.user[late].tolist()))
    assert table["≥ 1 h"]["x"] == pytest.approx(np.nanmean(values[late]))
    assert set(table) <= set(metrics.PAUSES)


def test_refuses_lists_that_would_flatter() -> None:
    requests = temporal(oracle.random_log(6)).test
    lists = np.full((len(requests), 4), -1, np.int32)
    assert not metrics.hits(lists, requests).any()
    lists[0, 1] = lists[0, 3] = 7
    with pytest.raises(ValueError, match="twice"):
        metrics.hits(lists, requests)
    with pytest.raises(ValueError, match="requests"):
        metrics.hits(lists[1:], requests)
