"""What a bundle is assembled from: here, what its index is set by."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import pytest

from tests.planted import ring_log
from tests.worlds import D, neighbours, towers
from vireo import vectors
from vireo.recommender.candidates import Retrieval
from vireo.recommender.tower import UserTower
from vireo.training.models import assembly
from vireo.training.models.assembly import Fitted, assemble


def test_the_index_is_set_by_what_viewers_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    log, rng = ring_log(n_users=40, n_videos=300), np.random.default_rng(0)
    n = log.n_videos
    fitted = Fitted(
        tower=towers(rng),
        vectors=rng.normal(size=(n, D + 1)).astype(np.float32),
        neighbours=neighbours(n, rng),
        successors=neighbours(n, rng),
        opener_score=np.zeros(n, np.float32),
    )
    now = float(log.time[-1]) + 60
    asked: list[Any] = []

    def build(made: Any, queries: Any = None, **more: Any) -> Any:
        asked.append(queries)
        return vectors.build_index(made, queries, **more)

    monkeypatch.setattr(assembly, "build_index", build)
    assemble(log, None, fitted, version="small", now=now, retrieval=Retrieval())
    monkeypatch.setattr(vectors, "FLAT_BELOW", 100)
    monkeypatch.setattr(assembly, "FLAT_BELOW", 100)
    bundle = assemble(log, None, fitted, version="large", now=now, retrieval=Retrieval())
    assert asked[0] is None, "all are scanned: there is nothing to set"
    assert isinstance(bundle.index, faiss.IndexIVF)
    assert bundle.index.ntotal == n

    tower, queries = UserTower.from_arrays(fitted.tower), asked[1]
    assert len(queries) == len(np.unique(log.user))
    for query, viewer in zip(queries, np.unique(log.user), strict=True):
        at = np.flatnonzero(log.user == viewer)
        history = fitted.vectors[log.video[at], :-1]
        nobody = {"age": -1, "country": 0, "language": 0, "device": 0}
        whole = tower.encode(history, log.time[at], now, **nobody)
        np.testing.assert_array_equal(query, whole)
