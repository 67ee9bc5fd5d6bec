"""Training examples of the ranker: slates as served, with the videos that were watched next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vireo.intervals import Values
from vireo.jobs.progress import Progress
from vireo.recommender.features import FEATURES, features
from vireo.recommender.slate import SOURCES
from vireo.training.data.log import Log
from vireo.training.data.metrics import ndcg
from vireo.training.data.requests import Requests
from vireo.training.models.replay import Replay


@dataclass(frozen=True)
class Examples:
    """q slates, concatenated, with m candidates in all."""

    features: NDArray[np.float32]  #: [m, len(FEATURES)]
    sources: NDArray[np.float32]  #: [m, len(SOURCES)], `Slate.z`
    relevant: NDArray[np.float32]  #: [m] 0, or the weight of a video that was watched next
    offsets: NDArray[np.int64]  #: [q + 1]
    bucket: NDArray[np.int8]  #: [q] of the pause before the request
    user: NDArray[np.int32]  #: [q]
    found: float  #: share of the requests with a target among the candidates

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def group(self) -> NDArray[np.int64]:
        """The slate of every candidate: int64 [m]."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def blended(self, weights: NDArray[np.float32]) -> NDArray[np.float64]:
        """Scores from the sources, weighted by the slate's bucket [4, sources]: float64 [m]."""
        by_slate = np.repeat(weights[self.bucket], np.diff(self.offsets), axis=0)
        blended: NDArray[np.float64] = (by_slate * self.sources).sum(1, dtype=float)
        return blended

    def ndcg(self, scores: NDArray[np.float64], k: int = 10) -> Values:
        """NDCG at k of the slates in the order of scores [m]: float64 [q]."""
        order = np.lexsort((-scores, self.group))
        first = self.offsets[:-1, None] + np.arange(k)
        there = first < self.offsets[1:, None]
        good = self.relevant > 0
        hit = there & good[order[np.where(there, first, 0)]]
        return ndcg(hit, np.add.reduceat(good, self.offsets[:-1], dtype=np.int64), k)

    def where(self, slates: NDArray[np.bool_]) -> Self:
        """The slates of a mask [q]."""
        sizes = np.diff(self.offsets)
        keep = np.repeat(slates, sizes)
        return type(self)(
            self.features[keep],
            self.sources[keep],
            self.relevant[keep],
            np.concatenate([[0], np.cumsum(sizes[slates])]),
            self.bucket[slates],
            self.user[slates],
            self.found,
        )

    def thinned(self, negatives: int, seed: int) -> Self:
        """All relevant candidates and, by slate, at most ``negatives`` random others."""
        draw = np.random.default_rng(seed).random(len(self.relevant))
        draw[self.relevant > 0] = -1
        order = np.lexsort((draw, self.group))
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order)) - self.offsets[:-1][self.group]
        positives = np.bincount(self.group, self.relevant > 0, len(self)).astype(np.int64)
        keep = place < (positives + negatives)[self.group]
        counts = np.bincount(self.group[keep], minlength=len(self))
        return type(self)(
            self.features[keep],
            self.sources[keep],
            self.relevant[keep],
            np.concatenate([[0], np.cumsum(counts)]),
            self.bucket,
            self.user,
            self.found,
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The slates of all parts."""
        sizes = np.concatenate([np.diff(p.offsets) for p in parts])
        asked = np.array([len(p) for p in parts], float)
        return cls(
            np.concatenate([p.features for p in parts]),
            np.concatenate([p.sources for p in parts]),
            np.concatenate([p.relevant for p in parts]),
            np.concatenate([[0], np.cumsum(sizes)]),
            np.concatenate([p.bucket for p in parts]),
            np.concatenate([p.user for p in parts]),
            float(np.average([p.found for p in parts], weights=asked)) if asked.sum() else 0.0,
        )


def collect(replay: Replay, requests: Requests, progress: Progress | None = None) -> Examples:
    """Slates after filtering, with features; those without a target are left out."""
    matrices, sources, relevant, sizes, buckets, users = [], [], [], [], [], []
    bounds = requests.target_offsets
    weights = _propensity_weights(replay.log, requests)
    counts = np.zeros(len(replay.bundle.columns) + 1, np.float32)  # the last: of unknown videos
    for j, (request, slate) in enumerate(replay.slates(requests, "filtered")):
        targets = replay.rows_of(requests.target[bounds[j] : bounds[j + 1]])
        counts[targets] = weights[bounds[j] : bounds[j + 1]]
        hit = counts[slate.rows]
        counts[targets] = 0
        if hit.any() and not hit.all():
            matrices.append(features(request, slate))
            sources.append(slate.z.T)
            relevant.append(hit)
            sizes.append(len(slate))
            buckets.append(request.bucket)
            users.append(requests.user[j])
        if progress is not None and (j % 100 == 99 or j == len(requests) - 1):
            progress((j + 1) / len(requests), "candidates of past requests")
    return Examples(
        np.concatenate([np.zeros((0, len(FEATURES)), np.float32), *matrices]),
        np.concatenate([np.zeros((0, len(SOURCES)), np.float32), *sources]),
        np.concatenate([np.zeros(0, np.float32), *relevant]),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        np.array(buckets, np.int8),
        np.array(users, np.int32),
        len(sizes) / max(1, len(requests)),
    )


def _propensity_weights(log: Log, requests: Requests) -> NDArray[np.float32]:
    """Propensity weights of the targets, parallel to `Requests.target`."""
    if log.propensity_weight is None:
        return np.ones(len(requests.target), np.float32)
    watched = log.user.astype(np.int64) * log.n_videos + log.video  # no pair is there twice
    user = requests.user[requests.target_owner()].astype(np.int64)
    order = np.argsort(watched)
    found = np.searchsorted(watched[order], user * log.n_videos + requests.target)
    return log.propensity_weight[order[found]]
