"""The least that any implementation must do for a request: four bare kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import thread_time
from typing import Any

import faiss
import numpy as np
import orjson

from vireo.recommender.candidates import Retrieval
from vireo.recommender.request import Request
from vireo.recommender.slate import Floats

#: The kernels, by the names of the table.
KERNELS = ("user tower", "FAISS search", "catboost.predict", "orjson.dumps")


@dataclass(frozen=True)
class Floor:
    """The kernels over what one request needs, all of it ready in memory."""

    request: Request
    vectors: Floats  #: [h, d] of the history
    matrix: Floats  #: [k, F] of the ranked candidates, C-ordered
    twin: Any  #: the ranker over numbers, as CatBoost itself
    answer: Any  #: of plain lists and dictionaries

    def __call__(self) -> dict[str, float]:
        """CPU seconds of every kernel."""
        r, index = self.request, self.request.snapshot.index
        assert index is not None
        k = Retrieval.of(r.snapshot.bundle.config).tower
        faiss.omp_set_num_threads(1)
        query = self.encode()[None]
        calls: tuple[Callable[[], Any], ...] = (
            self.encode,
            lambda: index.base.search(query, k),
            lambda: self.twin.predict(self.matrix, thread_count=1),
            lambda: orjson.dumps(self.answer),
        )
        return {name: seconds(call) for name, call in zip(KERNELS, calls, strict=True)}

    def encode(self) -> Floats:
        """The user tower over vectors that are there already."""
        r = self.request
        tower = r.snapshot.loaded.user_tower
        assert tower is not None
        return tower.encode(
            self.vectors,
            r.times,
            r.now,
            age=r.age,
            country=r.country,
            language=r.language,
            device=r.device,
        )


def seconds(call: Callable[[], Any]) -> float:
    """CPU seconds of this thread for one call."""
    began = thread_time()
    call()
    return thread_time() - began


def ready(matrix: Floats) -> Floats:
    """A matrix as `catboost.predict` reads it fastest."""
    return np.ascontiguousarray(matrix, np.float32)
