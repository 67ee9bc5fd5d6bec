"""Stage 3. Scores from the ranker and the sources, blended for the pause before the request."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from vireo.recommender.candidates import blend_weights, retrieval_score
from vireo.recommender.features import features
from vireo.recommender.request import Request
from vireo.recommender.slate import Floats, Slate


def blended(request: Request, slate: Slate, ranker: Floats | None) -> Floats:
    """The ranker's correction and the z-scores of every source, weighted by the pause: [k]."""
    if ranker is None:
        return retrieval_score(request, slate.z)
    weights = blend_weights(request)
    score: Floats = weights[0] * ranker + weights[1:] @ slate.z
    return score


def rank(request: Request, slate: Slate) -> Slate:
    """The whole slate with features and final scores, in its given order."""
    if request.tuning.popularity_only:
        return slate
    trees = request.snapshot.loaded.ranker if request.tuning.use_ranker else None
    if trees is None or not len(slate):
        return replace(slate, score=blended(request, slate, None))
    matrix = features(request, slate)
    ranker = trees.predict(matrix).astype(np.float32)
    return replace(slate, features=matrix, score=blended(request, slate, ranker))


def kept(request: Request, ranked: Slate) -> Slate:
    """The candidates that go on to ordering: the best, best first, and the fresh ones."""
    k = max(request.tuning.keep_ranked, 2 * request.limit)
    return ranked.top(k, and_fresh=True)


@dataclass(frozen=True)
class Ranking:
    """Ranks the candidates, and keeps the best."""

    name: ClassVar[str] = "ranking"

    def __call__(self, request: Request, slate: Slate) -> Slate:
        """See `rank` and `kept`."""
        return kept(request, rank(request, slate))

    def otherwise(self, request: Request, slate: Slate) -> Slate:
        """The fallback if the ranker fails: the order of the retrieval scores."""
        return slate.top(max(request.tuning.keep_ranked, 2 * request.limit))
