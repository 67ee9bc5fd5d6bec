"""Votes of neighbours against a loop over the table."""

from __future__ import annotations

import threading

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.worlds import neighbours
from vireo.recommender.neighbours import Neighbours


def slow(table: Neighbours, history: list[int], strength: NDArray[np.float32]) -> dict[int, float]:
    votes: dict[int, float] = {}
    for row, s in zip(history, strength.tolist(), strict=True):
        if row >= len(table):
            continue
        for at in range(table.indptr[row], table.indptr[row + 1]):
            target = int(table.indices[at])
            votes[target] = votes.get(target, 0.0) + s * float(table.weights[at])
    return votes


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 45), max_size=60), st.integers(0, 1000))
def test_votes_are_sums(history: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = Neighbours.from_arrays(neighbours(40, rng))
    strength = rng.random(len(history)).astype(np.float32)
    expected = slow(table, history, strength)
    for _ in range(2):  # the second finds the scratch as clean as the first
        with table.votes(np.array(history, np.int32), strength) as votes:
            assert sorted(votes.rows.tolist()) == sorted(expected)
            everyone = np.arange(43, dtype=np.int32)
            scores = votes.at(everyone)
    assert np.isnan(scores[40:]).all()
    np.testing.assert_allclose(scores[:40], [expected.get(j, 0) for j in range(40)], rtol=1e-5)


def test_rows_without_neighbours() -> None:
    table = Neighbours(
        np.array([0, 0, 2, 2], np.int64), np.array([0, 2], np.int32), np.array([1, 2], np.float32)
    )
    indices, weights, counts = table.entries(np.array([0, 1, 2, 1], np.int32))
    assert indices.tolist() == [0, 2, 0, 2]
    assert weights.tolist() == [1, 2, 1, 2]
    assert counts.tolist() == [0, 2, 0, 2]


def test_threads_do_not_share_scratch() -> None:
    table = Neighbours.from_arrays(neighbours(40, np.random.default_rng(0)))
    wrong: list[int] = []

    def work(row: int) -> None:
        expected = slow(table, [row], np.ones(1, np.float32))
        for _ in range(200):
            with table.votes(np.array([row], np.int32), np.ones(1, np.float32)) as votes:
                got = {r: float(votes.scores[r]) for r in votes.rows.tolist()}
            if got.keys() != expected.keys():
                wrong.append(row)

    threads = [threading.Thread(target=work, args=(j,)) for j in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
