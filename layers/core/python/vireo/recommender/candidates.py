"""Stage 1. Candidates from several sources, a few hundred in all, each scored by every source."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np

from vireo.recommender.neighbours import Neighbours, Votes
from vireo.recommender.request import Request
from vireo.recommender.slate import (
    FRESH,
    NEIGHBOURS,
    OPENERS,
    POPULARITY,
    PROPOSERS,
    SOURCES,
    SUCCESSORS,
    TOWER,
    Floats,
    Slate,
    standardised,
)
from vireo.recommender.snapshot import Snapshot
from vireo.recommender.video_features import VIDEO_FEATURES
from vireo.vectors import Bits, Rows, best, has

#: Default weights of the ranker and the sources: [with a history, without].
DEFAULT_BLEND = np.array([[0, 1, 0.5, 0.3, 0.1, 0.1], [0, 1, 0, 0, 0.5, 0.5]], np.float32)
_RECENT = VIDEO_FEATURES.index("log_recent")


@dataclass(frozen=True)
class Retrieval:
    """Number of candidates by source, and use of the history; ``manifest.config["retrieval"]``."""

    tower: int = 300
    neighbours: int = 150
    successors: int = 50
    openers: int = 50
    popularity: int = 100
    fresh: int = 20
    neighbour_history: int = 50  #: number of the last videos whose neighbours are candidates
    neighbour_decay: float = 1.0  #: weight of each video relative to the one after it
    successor_history: int = 10  #: the same for successors
    successor_decay: float = 0.8

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """The settings in a manifest's config; defaults for missing ones."""
        given = config.get("retrieval", {})
        return cls(**{f.name: given[f.name] for f in fields(cls) if f.name in given})


@dataclass(frozen=True)
class Candidates:
    """Collects candidates from every source."""

    name: ClassVar[str] = "candidates"

    def __call__(self, request: Request, slate: Slate) -> Slate:
        """See `candidates`; the incoming slate is ignored."""
        return candidates(request)

    def otherwise(self, request: Request, slate: Slate) -> Slate:
        """The fallback if a source fails: popular videos."""
        return popular_only(request)


def candidates(request: Request, retrieval: Retrieval | None = None) -> Slate:
    """Candidates of every source that the bundle has, without videos the viewer must not see.

    Rows are unique and ascending. `Slate.score` is the blend of the retrieval scores.
    """
    snapshot, model = request.snapshot, request.snapshot.loaded
    eligible = request.eligible
    if request.tuning.popularity_only:
        return popular_only(request)
    sizes = retrieval or Retrieval.of(snapshot.bundle.config)
    query = encode_viewer(request)
    proposals = [
        (POPULARITY, _first(model.popular_in(request.country), eligible, sizes.popularity)),
        (OPENERS, _first(model.openers, eligible, sizes.openers)),
        (FRESH, _first(_fresh(request), eligible, sizes.fresh)),
    ]
    if query is not None and snapshot.index is not None:
        proposals.append((TOWER, snapshot.index.search(query, sizes.tower, eligible)[0]))
    near = _votes(request, model.neighbours, sizes.neighbour_history, sizes.neighbour_decay)
    next_ = _votes(request, model.successors, sizes.successor_history, sizes.successor_decay)
    with near as neighbours, next_ as successors:
        for source, votes, k in (
            (NEIGHBOURS, neighbours, sizes.neighbours),
            (SUCCESSORS, successors, sizes.successors),
        ):
            if votes is not None:
                rows = votes.rows[has(eligible, votes.rows)]
                proposals.append((source, best(rows, votes.scores[rows], k)[0]))
        rows, proposed = _merge(proposals)
        scores = _scores(snapshot, rows, query, {NEIGHBOURS: neighbours, SUCCESSORS: successors})
    z = standardised(scores)
    return Slate(rows, scores, proposed, retrieval_score(request, z), z)


def _votes(
    request: Request, table: Neighbours | None, length: int, decay: float
) -> AbstractContextManager[Votes | None]:
    """Scores of a table's videos from the recent history; None without a history or a table."""
    heard = request.history[-length:]
    if table is None or not len(heard):
        return nullcontext()
    strength = decay ** np.arange(len(heard), dtype=np.float32)[::-1]
    return table.votes(heard, strength)


def encode_viewer(request: Request) -> Floats | None:
    """The viewer's query vector [d + 1]; None if the bundle has no tower."""
    tower, index = request.snapshot.loaded.user_tower, request.snapshot.index
    if tower is None or index is None:
        return None
    read = slice(-tower.length - 1, None)  # one more, for the pause before the first
    return tower.encode(
        index.take(request.history[read])[:, :-1],
        request.times[read],
        request.now,
        age=request.age,
        country=request.country,
        language=request.language,
        device=request.device,
        user=request.user,
    )


def popular_only(request: Request) -> Slate:
    """The popular videos of the viewer's country, by popularity, then those of the world."""
    model = request.snapshot.loaded
    rows = np.concatenate([model.popular_in(request.country), model.popular_in(0)])
    rows = rows[np.sort(np.unique(rows, return_index=True)[1])]
    rows = _first(rows, request.eligible, len(rows))
    score = -np.arange(len(rows), dtype=np.float32)
    proposed = np.full(len(rows), 1 << POPULARITY, np.uint8)
    return Slate.of(rows, _scores(request.snapshot, rows, None, {}), proposed, score)


def retrieval_score(request: Request, z: Floats) -> Floats:
    """The z-scores of the sources, weighted for the pause before the request: float32 [k]."""
    score: Floats = _weights(request, "retrieval_blend")[-len(SOURCES) :] @ z
    return score


def blend_weights(request: Request) -> Floats:
    """Weights of the ranker and of every source: [1 + len(SOURCES)]."""
    return _weights(request, "blend")


def _weights(request: Request, name: str) -> Floats:
    blend = request.snapshot.bundle.arrays.get(name)
    weights: Floats = (
        DEFAULT_BLEND[int(not len(request.history))] if blend is None else blend[request.bucket]
    )
    return weights


def _first(rows: Rows, eligible: Bits, k: int) -> Rows:
    kept: Rows = rows[has(eligible, rows)][:k]
    return kept


def _fresh(request: Request) -> Rows:
    """Rows published in the last days, newest first."""
    rows, published = request.snapshot.newest
    oldest = request.now - 86400 * request.tuning.fresh_days
    fresh: Rows = rows[(published >= oldest) & (published <= request.now)]
    return fresh


def _merge(proposals: list[tuple[int, Rows]]) -> tuple[Rows, Any]:
    """Each row once, ascending, with the bits of the sources that proposed it."""
    rows = np.concatenate([r for _, r in proposals]).astype(np.int32)
    bits = np.repeat(
        np.array([1 << s for s, _ in proposals], np.uint8), [len(r) for _, r in proposals]
    )
    order = np.argsort(rows)
    rows = rows[order]
    first = np.flatnonzero(np.diff(rows, prepend=-1))
    return rows[first], np.bitwise_or.reduceat(bits[order], first)


def _scores(
    snapshot: Snapshot, rows: Rows, query: Floats | None, tables: Mapping[int, Votes | None]
) -> Floats:
    """The score of every row by every source: [len(SOURCES), k], NaN where a source has none."""
    model, n = snapshot.loaded, snapshot.n
    scores = np.full((len(SOURCES), len(rows)), np.nan, np.float32)
    if query is not None and snapshot.index is not None:
        scores[TOWER] = snapshot.index.take(rows) @ query
    for source, votes in tables.items():
        if votes is not None:
            scores[source] = votes.at(rows)
    base = rows < n
    opener = snapshot.bundle.arrays.get("opener_score")
    if opener is not None:
        scores[OPENERS, base] = opener[rows[base]]
    scores[POPULARITY, base] = model.features[rows[base], _RECENT]
    return scores


assert len(PROPOSERS) <= 8, "proposers are bits of one byte"
