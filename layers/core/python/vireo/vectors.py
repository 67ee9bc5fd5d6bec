"""A live vector index: a FAISS base, new vectors beside it, and eligibility inside the search.

Examples are about four vectors of two dimensions:

>>> vectors = np.array([[1, 0], [0, 1], [0.5, 0.5], [-1, 0]], np.float32)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import faiss
import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]  #: float32 [n, d]
Bits = NDArray[np.uint8]  #: uint8 [ceil(n / 8)], bit r & 7 of byte r >> 3 is row r
Rows = NDArray[np.int32]
Real = TypeVar("Real", np.float32, np.float64)

#: Number of vectors below which a full scan is as fast as an inverted file, and exact.
FLAT_BELOW = 20_000
#: Number of vectors from which one byte a dimension is used: half the cost, 1–2% less recall.
EIGHT_BITS_FROM = 300_000
#: Number of eligible rows below which an inverted file loses recall, and a scan is faster.
SCAN_BELOW = 2_000


def build_index(
    vectors: Vectors, queries: Vectors | None = None, *, k: int = 300, recall: float = 0.985
) -> Any:
    """An inner-product index of ``vectors`` [n, d], of a kind that depends on n (`FLAT_BELOW`, …).

    An inverted file probes as few lists as reach ``recall`` at k on ``queries`` [q, d]; without
    queries, on some of the vectors themselves. Equal vectors give equal indexes.

    >>> index = build_index(vectors)
    >>> scores, rows = index.search(np.array([[1, 0]], np.float32), 2)
    >>> rows.tolist(), scores.tolist()
    ([[0, 2]], [[1.0, 0.5]])
    """
    n, d = vectors.shape
    vectors = np.ascontiguousarray(vectors, np.float32)
    if n < FLAT_BELOW:
        flat = faiss.IndexFlatIP(d)
        flat.add(vectors)
        return flat
    lists = 1 << round(np.log2(4 * np.sqrt(n)))
    centres, nearest = _clusters(vectors, lists)
    coarse = faiss.IndexFlatIP(d)
    coarse.add(centres)
    kinds = faiss.ScalarQuantizer
    kind = kinds.QT_8bit if n >= EIGHT_BITS_FROM else kinds.QT_fp16
    index: Any = faiss.IndexIVFScalarQuantizer(coarse, d, lists, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)  # the centres are there: this is for the quantizer of the entries
    _add(index, vectors, nearest)
    if queries is None:
        queries = vectors[np.random.default_rng(1).choice(n, 200, replace=False)]
    _choose_probes(index, vectors, np.ascontiguousarray(queries[:200], np.float32), k, recall)
    return index


def _clusters(vectors: Vectors, lists: int) -> tuple[Vectors, NDArray[np.int64]]:
    """Centres [lists, d] of k-means by distance, and the nearest centre of every vector.

    FAISS would cluster by inner product, and so by direction alone. But a query should choose lists
    by their mean score, which is its product with a mean that keeps its length. With a bias as a
    component, the same recall then takes a quarter of the probes.
    """
    means = faiss.Kmeans(vectors.shape[1], lists, niter=10, seed=1, max_points_per_centroid=64)
    means.train(vectors)
    nearest: NDArray[np.int64] = means.index.search(vectors, 1)[1].ravel()
    return np.array(means.centroids), nearest


def _add(index: Any, vectors: Vectors, lists: NDArray[np.int64]) -> None:
    """Add every vector to its list."""
    # Imported here, because the request path builds no index.
    from faiss.contrib.ivf_tools import add_preassigned  # noqa: PLC0415

    add: Any = add_preassigned  # not annotated
    add(index, vectors, lists)


def _choose_probes(index: Any, vectors: Vectors, queries: Vectors, k: int, recall: float) -> None:
    """Set ``index.nprobe`` to the smallest of a few numbers that reaches ``recall`` at k."""
    exact = faiss.IndexFlatIP(vectors.shape[1])
    exact.add(vectors)
    best = exact.search(queries, k)[1]
    for probes in (16, 32, 64, 96, 128, 192, 256):
        index.nprobe = min(probes, index.nlist)
        found = index.search(queries, _enough(k))[1]
        hits = [np.isin(b, f).mean() for b, f in zip(best, found, strict=True)]
        if float(np.mean(hits)) >= recall:
            return


def _enough(k: int) -> int:
    """The number of results of an inverted file from which exact rescoring finds the true k best.

    With eight bits a dimension, the order of results near the limit is not reliable.
    """
    return k + k // 8


def bits_of(mask: NDArray[np.bool_]) -> Bits:
    """A bitmap of a mask: row r is bit r mod 8 of byte r div 8.

    >>> bits_of(np.array([True, False, True, True])).tolist()
    [13]
    """
    return np.packbits(mask, bitorder="little")


def has(bits: Bits, rows: Rows) -> NDArray[np.bool_]:
    """Mask of the ``rows`` that are in the bitmap.

    >>> has(np.array([13], np.uint8), np.array([0, 1, 2], np.int32)).tolist()
    [True, False, True]
    """
    inside: NDArray[np.bool_] = bits[rows >> 3] & (np.uint8(1) << (rows & 7).astype(np.uint8)) != 0
    return inside


def count_of(bits: Bits) -> int:
    """Number of rows in the bitmap; counted 64 bits at a time.

    >>> count_of(np.array([13], np.uint8))
    3
    """
    whole = len(bits) // 8 * 8
    words, rest = bits[:whole].view(np.uint64), bits[whole:]
    return int(np.bitwise_count(words).sum(dtype=np.int64) + np.bitwise_count(rest).sum())


def clear(bits: Bits, rows: Rows) -> None:
    """Remove ``rows`` from a bitmap, in place. Bit by bit, because several rows may share a byte.

    >>> bits = np.array([13], np.uint8)
    >>> clear(bits, np.array([0, 2], np.int32))
    >>> rows_in(bits).tolist()
    [3]
    """
    np.bitwise_and.at(bits, rows >> 3, ~(np.uint8(1) << (rows & 7).astype(np.uint8)))


def rows_in(bits: Bits) -> Rows:
    """The rows of a bitmap, ascending.

    >>> rows_in(np.array([13, 1], np.uint8)).tolist()
    [0, 2, 3, 8]
    """
    some = np.flatnonzero(bits)
    byte, bit = np.nonzero(np.unpackbits(bits[some, None], axis=1, bitorder="little"))
    return (some[byte] * 8 + bit).astype(np.int32)


def distinct(rows: Rows) -> Rows:
    """The unique rows, ascending.

    Like `np.unique`, which however loads numpy's masked arrays: a sixth of numpy's loading time.

    >>> distinct(np.array([5, 2, 5], np.int32)).tolist()
    [2, 5]
    """
    ordered = np.sort(rows)
    first = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


def best(rows: Rows, scores: NDArray[Real], k: int) -> tuple[Rows, NDArray[Real]]:
    """The k highest scores, best first, equal ones in order of row.

    >>> rows, scores = best(np.array([4, 7, 2], np.int32), np.array([0.5, 0.9, 0.5]), 2)
    >>> rows.tolist(), scores.tolist()
    ([7, 2], [0.9, 0.5])
    """
    if len(rows) > k:
        floor = np.partition(scores, len(scores) - k)[len(scores) - k]
        keep = np.flatnonzero(scores >= floor)  # ties at the floor are cut below, by row
        rows, scores = rows[keep], scores[keep]
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


def _parameters(index: Any, eligible: Bits | None, more: float) -> Any:
    """Parameters of a search that probes ``more`` times as many lists, as few rows are eligible.

    With n / ``more`` eligible rows the k best lie in that many lists, at the same cost.
    """
    # FAISS writes these signatures at import time, so its type stubs do not know them.
    f: Any = faiss
    selector = None if eligible is None else f.IDSelectorBitmap(eligible)
    if isinstance(index, faiss.IndexIVF):
        return f.SearchParametersIVF(
            sel=selector, nprobe=min(index.nlist, round(more * index.nprobe))
        )
    return f.SearchParameters(sel=selector)


@dataclass(frozen=True)
class LiveIndex:
    """An index of n base rows and m added rows (n, n + 1, …); immutable, and so thread-safe.

    Scores are inner products. ``vectors`` are the exact base vectors, for scans of small eligible
    sets.

    >>> index = LiveIndex.of(vectors)
    >>> query = np.array([0.25, 0.5], np.float32)
    >>> index.search(query, 2)[0].tolist()
    [1, 2]
    >>> later = index.add(np.array([[2, 2]], np.float32)).remove(np.array([1], np.int32))
    >>> rows, scores = later.search(query, 3)
    >>> rows.tolist(), scores.tolist()
    ([4, 2, 0], [1.5, 0.375, 0.25])
    >>> eligible = bits_of(np.array([True, True, True, False, False]))
    >>> later.search(query, 3, eligible)[0].tolist()
    [2, 0]
    """

    base: Any  #: faiss index of ``vectors``
    vectors: Vectors  #: [n, d]
    added: Vectors  #: [m, d]
    removed: Rows  #: tombstones

    @classmethod
    def of(cls, vectors: Vectors, base: Any = None) -> Self:
        """An index of ``vectors`` [n, d] with nothing added or removed."""
        d = vectors.shape[1]
        if base is None:
            base = build_index(vectors)
        return cls(base, vectors, np.zeros((0, d), np.float32), np.zeros(0, np.int32))

    def __len__(self) -> int:
        return len(self.vectors) + len(self.added)

    def add(self, vectors: Vectors) -> Self:
        """The index with rows appended."""
        return replace(self, added=np.concatenate([self.added, vectors.astype(np.float32)]))

    def remove(self, rows: Rows) -> Self:
        """The index without those rows; the others keep their numbers."""
        return replace(
            self, removed=distinct(np.concatenate([self.removed, rows]).astype(np.int32))
        )

    def take(self, rows: Rows) -> Vectors:
        """Exact vectors [len(rows), d] of base and added rows."""
        n = len(self.vectors)
        if not len(self.added):
            return self.vectors[rows]
        if not n:
            return self.added[rows]
        found = self.vectors[np.minimum(rows, n - 1)]
        new = rows >= n
        found[new] = self.added[rows[new] - n]
        return found

    def search(self, query: Vectors, k: int, eligible: Bits | None = None) -> tuple[Rows, Vectors]:
        """The best k of the eligible rows (all, if None): rows and exact scores, best first.

        Eligibility is checked inside the search, so there are fewer than k only if no more are
        eligible.
        """
        eligible = self._alive(eligible)
        count = len(self) if eligible is None else count_of(eligible)
        if eligible is not None and count < SCAN_BELOW:
            rows = rows_in(eligible)
        else:
            rows = self._probe(query, k, eligible, len(self) / max(count, 1))
            new = np.arange(len(self.vectors), len(self), dtype=np.int32)
            rows = np.concatenate([rows, new if eligible is None else new[has(eligible, new)]])
        return best(rows, self.take(rows) @ query, k)

    def _alive(self, eligible: Bits | None) -> Bits | None:
        if not len(self.removed):
            return eligible
        bits = bits_of(np.ones(len(self), np.bool_)) if eligible is None else eligible.copy()
        clear(bits, self.removed)
        return bits

    def _probe(self, query: Vectors, k: int, eligible: Bits | None, more: float) -> Rows:
        """The best base rows. One thread: two under contention cost fifty times as much."""
        if not len(self.vectors):
            return np.zeros(0, np.int32)
        faiss.omp_set_num_threads(1)
        parameters = _parameters(self.base, eligible, more)
        found = self.base.search(
            query[None], min(_enough(k), len(self.vectors)), params=parameters
        )[1][0]
        rows: Rows = found[found >= 0].astype(np.int32)
        return rows
