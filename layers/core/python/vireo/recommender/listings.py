"""Lists that are not personal: videos similar to one, and trending videos."""

from __future__ import annotations

import numpy as np

from vireo.recommender.filtering import Filtering
from vireo.recommender.request import Request
from vireo.recommender.slate import SOURCES, Floats, Slate, standardised
from vireo.vectors import Rows, best, clear, distinct, has

#: Number of candidates by vector, and by co-watching.
_PROPOSED = 100


def similar(request: Request, row: int) -> Slate:
    """Videos with the most similar vectors, and those watched by the same viewers."""
    snapshot, table = request.snapshot, request.snapshot.loaded.neighbours
    eligible = request.eligible.copy()
    clear(eligible, np.array([row], np.int32))
    proposals: list[Rows] = []
    scores: list[Floats] = []
    index = snapshot.index
    query = None
    if index is not None:
        query = index.take(np.array([row], np.int32))[0]
        query[-1] = 0  # the bias is popularity, not similarity
        proposals.append(index.search(query, _PROPOSED, eligible)[0])
    if table is None or row >= snapshot.n:
        rows = distinct(np.concatenate([*proposals, np.zeros(0, np.int32)]))
    else:
        with table.votes(np.array([row], np.int32), np.ones(1, np.float32)) as votes:
            said = votes.rows[has(eligible, votes.rows)]
            proposals.append(best(said, votes.scores[said], _PROPOSED)[0])
            rows = distinct(np.concatenate(proposals))
            scores.append(votes.at(rows))
    if query is not None and index is not None:
        vectors = index.take(rows)[:, :-1]
        norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
        scores.append(vectors @ query[:-1] / np.maximum(norms, 1e-12))
    agreed = standardised(np.array(scores, np.float32).reshape(len(scores), len(rows)))
    return _slate(request, rows, agreed.sum(0))


def trending(request: Request, category: str | None) -> Slate:
    """Videos that many watch now, then the bundle's trending and popular ones, if eligible."""
    snapshot, model = request.snapshot, request.snapshot.loaded
    listed = [snapshot.most_watched(request.country), model.trending[model.trending >= 0]]
    listed += [model.popular_in(request.country), model.popular_in(0)]
    rows = np.concatenate(listed)
    rows = rows[np.sort(np.unique(rows, return_index=True)[1])]
    rows = rows[has(request.eligible, rows)]
    if category is not None:
        code = snapshot.bundle.vocabulary.code("categories", category)
        (codes,) = snapshot.take(rows, "category")
        rows = rows[(codes == code) & (code != 0)]
    return _slate(request, rows, -np.arange(len(rows), dtype=np.float32))


def _slate(request: Request, rows: Rows, score: Floats) -> Slate:
    """The best of the rows, after the rules of filtering."""
    nothing = np.full((len(SOURCES), len(rows)), np.nan, np.float32)
    slate = Slate.of(rows.astype(np.int32), nothing, np.zeros(len(rows), np.uint8), score)
    return Filtering()(request, slate).top(request.limit)
