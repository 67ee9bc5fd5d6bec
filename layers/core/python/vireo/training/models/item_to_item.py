"""Item-to-item models in closed form: scores of all videos, given one that was watched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from vireo.recommender.pauses import HOUR
from vireo.training.data.log import Log

#: Rows computed at a time, so that a large n needs no n × n matrix.
BLOCK = 1024
#: Successors: number of following events counted, and decay of the weight per event.
FOLLOWING = 10
FOLLOWING_DECAY = 0.8


@dataclass(frozen=True)
class NeighboursConfig:
    """Choice and regularisation of the item-to-item model."""

    ease_videos: int = 20_000  #: with more watched videos ItemKNN is used
    l2: float = 1000.0  #: EASE's λ; larger values smooth towards popularity
    shrink: float = 50.0  #: ItemKNN: added to the cosine's denominator
    top_k: int = 400  #: number of neighbours of a video

    @classmethod
    def for_log(cls, log: Log) -> Self:
        """Defaults by density: on a sparse log a strong prior would outweigh the data."""
        config = cls()
        return replace(config, l2=100.0) if log.sparse else config


@dataclass(frozen=True)
class Neighbours:
    """A sparse table: watching video j adds ``weights`` to the scores of ``indices`` of row j."""

    indptr: NDArray[np.int64]  #: [n + 1]
    indices: NDArray[np.int32]  #: ascending within a row
    weights: NDArray[np.float32]

    def matrix(self) -> sparse.csr_matrix:
        """The table as [n, n]: scores = history @ matrix."""
        n = len(self.indptr) - 1
        return sparse.csr_matrix((self.weights, self.indices, self.indptr), shape=(n, n))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name, for a bundle."""
        return {"indptr": self.indptr, "indices": self.indices, "weights": self.weights}

    @classmethod
    def of(cls, matrix: sparse.csr_matrix) -> Self:
        """The table of a sparse matrix, without its zeros."""
        matrix.eliminate_zeros()
        matrix.sort_indices()
        return cls(
            matrix.indptr.astype(np.int64),
            matrix.indices.astype(np.int32),
            matrix.data.astype(np.float32),
        )


def fit_neighbours(log: Log, config: NeighboursConfig) -> Neighbours:
    """EASE up to `config.ease_videos` watched videos, ItemKNN above.

    Raises:
        ValueError: the log is empty.
    """
    if len(np.unique(log.video)) <= config.ease_videos:
        return ease(log, config.l2, config.top_k)
    return item_knn(log, config.shrink, config.top_k)


def ease(log: Log, l2: float, top_k: int) -> Neighbours:
    """`ease_weights`, reduced to the `top_k` largest of each row by absolute value."""
    X, videos = interactions(log)
    blocks = [_largest(weights, top_k) for weights in ease_weights(X, l2)]
    return _spread(sparse.vstack(blocks), videos, log.n_videos)


def ease_weights(X: sparse.csr_matrix, l2: float) -> Iterator[NDArray[np.float64]]:
    """Ridge regression weights of every video on all others, `BLOCK` rows at a time: [b, n].

    EASE (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", 2019): with P = (XᵀX + λI)⁻¹
    the weight of j (row) for i (column) is −P_ji / P_ii. With fewer viewers than videos, the equal
    form P = (I − Xᵀ(XXᵀ + λI)⁻¹X) / λ needs a smaller inverse.

    Args:
        X: [viewers, n] of `interactions`.
        l2: λ.
    """
    users, n = X.shape
    transposed = X.T.tocsr()
    if n <= users:
        inverse = _inverse(transposed @ X, l2)
        diagonal = np.diag(inverse)
    else:
        inverse = np.ascontiguousarray(X.T @ _inverse(X @ transposed, l2)).T
        diagonal = (1 - np.asarray(X.multiply(inverse).sum(axis=0)).ravel()) / l2
    for start in range(0, n, BLOCK):
        own = np.arange(start, min(start + BLOCK, n))
        weights = inverse[own] if n <= users else transposed[own] @ inverse / -l2
        weights /= -diagonal
        weights[own - start, own] = 0
        yield weights


def item_knn(log: Log, shrink: float, top_k: int) -> Neighbours:
    """Shrunk cosine similarity by viewers; a video's score sums those of its `top_k` nearest."""
    X, videos = interactions(log)
    transposed = X.T.tocsr()
    norm = np.sqrt(np.diff(transposed.indptr))
    blocks = []
    for start in range(0, len(videos), BLOCK):
        together = (transposed[start : start + BLOCK] @ X).tocoo()
        own = together.row + start
        together.data /= norm[own] * norm[together.col] + shrink
        together.data[own == together.col] = 0
        blocks.append(_largest_sparse(together.tocsr(), top_k))
    return _spread(sparse.vstack(blocks).T, videos, log.n_videos)


def successors(log: Log, top_k: int = 200) -> Neighbours:
    """A decayed Markov chain: frequency of i within `FOLLOWING` events after j, per event of j.

    The a-th event after j has the weight `FOLLOWING_DECAY` ** (a - 1). This needs few data: one
    viewer who goes from an episode to the next is stronger evidence than a hundred shared tastes.

    Raises:
        ValueError: the log is empty.
    """
    if not len(log):
        raise ValueError("no events to learn from")
    order, _ = log.histories()
    user, video = log.user[order], log.video[order]
    n = log.n_videos
    earlier, later, weights = [], [], []
    for gap in range(1, min(FOLLOWING, len(log) - 1) + 1):
        same = user[gap:] == user[:-gap]
        earlier.append(video[:-gap][same])
        later.append(video[gap:][same])
        weights.append(np.full(int(same.sum()), FOLLOWING_DECAY ** (gap - 1)))
    pairs = (np.concatenate(earlier), np.concatenate(later))
    follows = sparse.csr_matrix((np.concatenate(weights), pairs), shape=(n, n))
    popularity = np.bincount(log.video, minlength=n) + 1.0
    damped = sparse.diags(1 / (popularity + 5)) @ follows @ sparse.diags(popularity**-0.1)
    return Neighbours.of(_largest_sparse(damped.tocsr(), top_k))


def openers(log: Log) -> NDArray[np.float32]:
    """Log of how often each video opens a session: float32 [n].

    A session opens when a viewer returns after a pause of over an hour. First visits do not count,
    because sign-up is a different situation. A tenth of a video's popularity is added, so that
    videos that never opened a session have an order, too.
    """
    order, _ = log.histories()
    user, time = log.user[order], log.time[order]
    opens = np.zeros(len(log), bool)
    opens[1:] = (user[1:] == user[:-1]) & (time[1:] - time[:-1] > HOUR)
    counts, watched = log.count(order[opens]), log.count()
    expected = watched * (opens.sum() / max(1, len(log)))
    score: NDArray[np.float32] = np.log(counts + 0.1 * expected + 1).astype(np.float32)
    return score


def interactions(log: Log) -> tuple[sparse.csr_matrix, NDArray[np.int64]]:
    """The matrix of watched videos, 1 or 0, [active viewers, watched videos]; and their rows.

    Raises:
        ValueError: the log is empty.
    """
    if not len(log):
        raise ValueError("no events to learn from")
    users, user = np.unique(log.user, return_inverse=True)
    videos, video = np.unique(log.video, return_inverse=True)
    X = sparse.csr_matrix((np.ones(len(log)), (user, video)), shape=(len(users), len(videos)))
    X.data[:] = 1
    return X, videos.astype(np.int64)


def _inverse(gram: sparse.csr_matrix, l2: float) -> NDArray[np.float64]:
    """(gram + λI)⁻¹, by Cholesky."""
    dense = gram.toarray()
    dense[np.diag_indices_from(dense)] += l2
    inverse: NDArray[np.float64] = linalg.inv(
        dense, overwrite_a=True, check_finite=False, assume_a="pos"
    )
    return inverse


def _largest(weights: NDArray[np.float64], top_k: int) -> sparse.csr_matrix:
    """The `top_k` largest entries of every row by absolute value."""
    rows, n = weights.shape
    if top_k >= n:
        return sparse.csr_matrix(weights.astype(np.float32))
    kept = np.argpartition(np.abs(weights), n - top_k, axis=1)[:, n - top_k :]
    values = np.take_along_axis(weights, kept, axis=1).astype(np.float32)
    indptr = np.arange(rows + 1) * top_k
    return sparse.csr_matrix((values.ravel(), kept.ravel(), indptr), shape=weights.shape)


def _largest_sparse(matrix: sparse.csr_matrix, top_k: int) -> sparse.csr_matrix:
    """The `top_k` largest entries of every row of a matrix without negative ones.

    Of equal ones the lower columns are kept, so that the result does not depend on the order of
    events.
    """
    matrix.sort_indices()
    kept = np.zeros(matrix.nnz, bool)
    for start, stop in pairwise(matrix.indptr):
        row = matrix.data[start:stop]
        if len(row) <= top_k:
            kept[start:stop] = True
            continue
        least = np.partition(row, -top_k)[-top_k]
        above = np.flatnonzero(row > least)
        kept[start + above] = True
        kept[start + np.flatnonzero(row == least)[: top_k - len(above)]] = True
    row_ends = np.concatenate([[0], np.cumsum(kept)])[matrix.indptr]
    return sparse.csr_matrix(
        (matrix.data[kept], matrix.indices[kept], row_ends), shape=matrix.shape
    )


def _spread(matrix: Any, videos: NDArray[np.int64], n_videos: int) -> Neighbours:
    """The table over all videos, from one over the watched videos."""
    found = matrix.tocoo()
    return Neighbours.of(
        sparse.csr_matrix(
            (found.data, (videos[found.row], videos[found.col])), shape=(n_videos, n_videos)
        )
    )
