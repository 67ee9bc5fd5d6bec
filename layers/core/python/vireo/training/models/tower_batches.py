"""Batches of the towers' training: every event of a log once per epoch, in equal shapes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from vireo.recommender.pauses import HISTORY_PAUSE_BUCKETS, history_pause_buckets, pause_buckets
from vireo.recommender.tower import age_bucket
from vireo.training.data.log import Log
from vireo.training.models.tower_model import Batch, Positions, TowerConfig

#: The table of a step's videos has a multiple of this many rows, since each size is compiled.
TABLE_STEP = 512
#: Steps tried to find that size, which grows when a later step needs more.
TRIED_STEPS = 16


class Batches:
    """The viewers' events in one shuffled stream, cut into rows of `config.length` positions.

    The cuts differ in every epoch, so that positions are seen with histories of every length, and
    only the last row is padded.
    """

    def __init__(self, log: Log, config: TowerConfig) -> None:
        self._config = config
        self._order, self._offsets = log.histories()
        self._events = _positions(log, self._order, self._offsets)
        self._start = log.n_videos
        drawn = np.bincount(log.video, minlength=log.n_videos) + 1.0
        self._share = drawn / drawn.sum()
        self._cumulated = np.cumsum(self._share)
        self._table = 0
        self.steps = -(-len(log) // (config.rows * config.length))
        tried = islice(self.epoch(np.random.default_rng(0)), TRIED_STEPS)
        largest = max(len(np.unique(batch.used)) for batch in tried)
        self._grow(largest + largest // 16)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """`steps` batches that hold every event of the log once."""
        rows, length = self._config.rows, self._config.length
        rank = rng.permutation(len(self._offsets) - 1)
        stream = np.argsort(np.repeat(rank, np.diff(self._offsets)), kind="stable")
        size = self.steps * rows * length
        padding = np.zeros(size - len(stream), np.int64)
        index = np.concatenate([stream, padding]).reshape(-1, length)
        present = (np.arange(size) < len(stream)).reshape(-1, length)
        for chosen in rng.permutation(len(index)).reshape(-1, rows):
            at = Positions(*(column[index[chosen]] for column in self._events))
            yield self._batch(at._replace(weight=at.weight * present[chosen]), rng)

    def _grow(self, videos: int) -> None:
        self._table = max(self._table, -(-videos // TABLE_STEP) * TABLE_STEP)

    def _batch(self, at: Positions, rng: np.random.Generator) -> Batch:
        draws = np.searchsorted(self._cumulated, rng.random(self._config.negatives))
        negatives = np.minimum(draws, self._start - 1).astype(np.int32)
        every = np.concatenate([at.item.ravel(), at.target.ravel(), negatives])
        used, local = np.unique(every, return_inverse=True)
        n = int(np.searchsorted(used, self._start))  # the start, if it occurs, is the last
        self._grow(n)
        local = np.where(local == n, self._table, local).astype(np.int32)
        items, targets, drawn = np.split(local, [at.item.size, at.item.size + at.target.size])
        return Batch(
            used=np.pad(used[:n], (0, self._table - n)).astype(np.int32),
            negatives=drawn,
            log_expected=np.log(self._share[negatives] * len(negatives)).astype(np.float32),
            positions=at._replace(
                item=items.reshape(at.item.shape), target=targets.reshape(at.item.shape)
            ),
        )


def _positions(log: Log, order: NDArray[np.int64], offsets: NDArray[np.int64]) -> Positions:
    """Every event as a position to predict, viewer by viewer: arrays of length n."""
    user, video, time = log.user[order], log.video[order], log.time[order]
    first = np.zeros(len(log), bool)
    first[offsets[:-1][np.diff(offsets) > 0]] = True
    pause = np.where(first, np.nan, np.diff(time, prepend=np.nan))
    entered = history_pause_buckets(pause)
    item = np.where(first, log.n_videos, np.roll(video, 1))
    ages = np.array([age_bucket(int(a)) for a in log.people.age], np.int32)
    return Positions(
        segment=user,
        item=item.astype(np.int32),
        pause=np.where(first, HISTORY_PAUSE_BUCKETS - 1, np.roll(entered, 1)).astype(np.int32),
        request=pause_buckets(pause).astype(np.int32),
        age=ages[user],
        country=log.people.country[user].astype(np.int32),
        language=log.people.language[user].astype(np.int32),
        device=log.device[order].astype(np.int32),
        target=video,
        weight=_weights(log)[order],
    )


def _weights(log: Log) -> NDArray[np.float32]:
    """Of every event: how strong a signal it is, times what it counts for its place."""
    if log.propensity_weight is None:
        return log.weight
    return log.weight * log.propensity_weight
