"""The live index against a scan of everything."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vireo import vectors
from vireo.vectors import (
    LiveIndex,
    best,
    bits_of,
    build_index,
    clear,
    count_of,
    distinct,
    has,
    rows_in,
)


def clustered(n: int, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(200, 17))
    made = centres[rng.integers(0, 200, n)] + 0.5 * rng.normal(size=(n, 17))
    return made.astype(np.float32)


def scan(
    everything: NDArray[np.float32], query: NDArray[np.float32], allowed: NDArray[np.bool_], k: int
) -> list[int]:
    scored = [(-float(v @ query), r) for r, v in enumerate(everything) if allowed[r]]
    return [r for _, r in sorted(scored)[:k]]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 60),
    added=st.integers(0, 9),
    removed=st.integers(0, 9),
    share=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    k=st.integers(1, 80),
)
def test_a_search_is_a_scan(**drawn: int | float) -> None:
    rng = np.random.default_rng(int(drawn["seed"]))
    n, m, k = int(drawn["n"]), int(drawn["added"]), int(drawn["k"])
    # Whole numbers: sums are exact in any order, and ties are frequent.
    everything = rng.integers(-3, 4, (n + m, 5)).astype(np.float32)
    query = rng.integers(-3, 4, 5).astype(np.float32)
    gone = rng.integers(0, n + m, int(drawn["removed"])).astype(np.int32)
    allowed = rng.random(n + m) < float(drawn["share"])
    index = LiveIndex.of(everything[:n]).add(everything[n:]).remove(gone)
    rows, scores = index.search(query, k, bits_of(allowed))
    alive = allowed.copy()
    alive[gone] = False
    assert rows.tolist() == scan(everything, query, alive, k)
    np.testing.assert_array_equal(scores, everything[rows] @ query)


@pytest.mark.parametrize(("n", "kind"), [(1000, "Flat"), (25_000, "fp16"), (320_000, "SQ8")])
def test_the_kind_of_index_follows_its_size(
    n: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = n // 100 if n > 1000 else n
    monkeypatch.setattr(vectors, "FLAT_BELOW", vectors.FLAT_BELOW // 100)
    monkeypatch.setattr(vectors, "EIGHT_BITS_FROM", vectors.EIGHT_BITS_FROM // 100)
    if n == 1000:
        small = 100
    index = build_index(clustered(small))
    if kind == "Flat":
        assert isinstance(index, faiss.IndexFlat)
        return
    qtype = {"fp16": faiss.ScalarQuantizer.QT_fp16, "SQ8": faiss.ScalarQuantizer.QT_8bit}[kind]
    assert index.sq.qtype == qtype


def test_an_inverted_file_finds_nearly_everything() -> None:
    everything, rng = clustered(24_000), np.random.default_rng(1)
    index = LiveIndex.of(everything)
    assert isinstance(index.base, faiss.IndexIVF)
    for share in (1.0, 0.5, 0.12, 0.01):
        allowed = rng.random(len(everything)) < share
        recalls = []
        for row in rng.choice(len(everything), 20):
            exact = scan_fast(everything, everything[row], allowed, 100)
            found, _ = index.search(everything[row], 100, bits_of(allowed))
            assert allowed[found].all()
            assert len(found) == min(100, int(allowed.sum()))
            recalls.append(np.isin(exact, found).mean())
        assert np.mean(recalls) >= 0.98, share


def scan_fast(
    everything: NDArray[np.float32], query: NDArray[np.float32], allowed: NDArray[np.bool_], k: int
) -> NDArray[np.int64]:
    scores = np.where(allowed, everything @ query, -np.inf)
    return np.argsort(-scores, kind="stable")[:k]


def test_building_is_deterministic() -> None:
    one, two = (faiss.serialize_index(build_index(clustered(21_000))) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_changes_make_a_new_index() -> None:
    index = LiveIndex.of(clustered(50))
    index.add(clustered(5)).remove(np.array([3], np.int32))
    assert len(index) == 50
    assert len(index.search(clustered(1)[0], 99)[0]) == 50


def test_bitmaps() -> None:
    mask = np.random.default_rng(0).random(1003) < 0.3
    bits = bits_of(mask)
    everyone = np.arange(1003, dtype=np.int32)
    np.testing.assert_array_equal(has(bits, everyone), mask)
    np.testing.assert_array_equal(rows_in(bits), np.flatnonzero(mask))
    assert count_of(bits) == mask.sum()
    assert [count_of(bits_of(mask[:n])) for n in (0, 3, 64, 71)] == [
        mask[:n].sum() for n in (0, 3, 64, 71)
    ]
    gone = np.array([8, 9, 10, 9, 1002, 0], np.int32)  # several of one byte, and one twice
    clear(bits, gone)
    mask[gone] = False
    np.testing.assert_array_equal(has(bits, everyone), mask)


def test_the_best_are_cut_by_row_among_equals() -> None:
    rows = np.array([9, 4, 7, 1, 3], np.int32)
    scores = np.array([1, 2, 1, 1, 0], np.float32)
    assert best(rows, scores, 3)[0].tolist() == [4, 1, 7]


def test_popular_videos_are_found_by_their_bias() -> None:
    """A bias is in a vector's length, not in its direction: lists must be chosen by both."""
    rng, n, d = np.random.default_rng(4), 24_000, 64
    scales = np.exp(-np.arange(d) / 18)  # the spectrum of trained towers
    scales *= np.sqrt(d / (scales @ scales))
    tastes = rng.normal(size=(300, d))[rng.integers(0, 300, n)] + 0.65 * rng.normal(size=(n, d))
    bias = 1.2 * np.log1p(20 * rng.pareto(1, n))
    everything = np.column_stack([0.36 * scales * tastes, bias]).astype(np.float32)
    queries = everything[rng.choice(n, (240, 6))].sum(1)  # of viewers with six tastes
    queries *= 4 / np.linalg.norm(queries[:, :-1], axis=1, keepdims=True)
    queries[:, -1] = 1
    index = LiveIndex.of(everything, build_index(everything, queries[40:], k=100))
    assert index.base.nprobe <= 64  # by direction alone 128 of 512 lists have a recall of .83
    recalls = []
    for query in queries[:40]:
        exact = scan_fast(everything, query, np.ones(n, np.bool_), 100)
        recalls.append(np.isin(exact, index.search(query, 100)[0]).mean())
    assert np.mean(recalls) >= 0.98


@given(rows=st.lists(st.integers(0, 30), max_size=40))
def test_distinct_rows(rows: list[int]) -> None:
    found = distinct(np.array(rows, np.int32))
    assert found.tolist() == sorted(set(rows))
    assert found.dtype == np.int32
