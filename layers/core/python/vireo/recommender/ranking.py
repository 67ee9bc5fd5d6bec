"""Stage 3. Score what is left: the ranker and the sources, blended for the pause before."""

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
    """The whole slate with its features and final scores, in the order it came."""
    if request.tuning.popularity_only:
        return slate
    trees = request.snapshot.loaded.ranker if request.tuning.use_ranker else None
    if trees is None or not len(slate):
        return replace(slate, score=blended(request, slate, None))
    matrix = features(request, slate)
    ranker = trees.predict(matrix).astype(np.float32)
    return replace(slate, features=matrix, score=blended(request, slate, ranker))


@dataclass(frozen=True)
class Ranking:
    """Rank, and keep the best."""

    name: ClassVar[str] = "ranking"

    def __call__(self, request: Request, slate: Slate) -> Slate:
        """The best of the ranked slate, best first, and the fresh."""
        k = max(request.tuning.keep_ranked, 2 * request.limit)
        return rank(request, slate).top(k, and_fresh=True)

    def otherwise(self, request: Request, slate: Slate) -> Slate:
        """When the ranker breaks: the order of retrieval, which every slate has."""
        return slate.top(max(request.tuning.keep_ranked, 2 * request.limit))
