"""The final score: ranker and sources, blended by the pause."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.worlds import NOW, bundle, viewer
from vireo.recommender.candidates import candidates
from vireo.recommender.features import CATEGORICAL, FEATURES, features
from vireo.recommender.ranking import Ranking, rank
from vireo.recommender.request import Request
from vireo.recommender.slate import standardised
from vireo.recommender.snapshot import Snapshot
from vireo.recommender.steering.tuning import Tuning
from vireo.recommender.trees import pack

BLEND = np.random.default_rng(5).random((4, 6)).astype(np.float32)


def pool(matrix: NDArray[np.float32], labels: NDArray[np.float32] | None = None) -> catboost.Pool:
    numbers = len(FEATURES) - len(CATEGORICAL)
    codes = matrix[:, numbers:].astype(int).astype(str).astype("S").astype(object)
    data = catboost.FeaturesData(np.ascontiguousarray(matrix[:, :numbers]), codes)
    return catboost.Pool(data, labels)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Snapshot, catboost.CatBoost]:
    plain = Snapshot.of(bundle(), at=NOW)
    request = Request.of(plain, viewer(1, 2, 3, country="DE"), NOW, device="tv")
    slate = candidates(request)
    matrix = features(request, slate)
    labels = matrix[:, FEATURES.index("log_views")] + (matrix[:, FEATURES.index("category")] == 2)
    model = catboost.CatBoostRegressor(
        iterations=30,
        depth=4,
        one_hot_max_size=255,
        verbose=False,
        thread_count=1,
        allow_writing_files=False,
    ).fit(pool(matrix, labels))
    path = tmp_path_factory.mktemp("model") / "model.json"
    model.save_model(str(path), format="json")
    ranker: dict[str, Any] = {
        f"ranker/{k}": v for k, v in pack(json.loads(Path(path).read_text())).items()
    }
    return Snapshot.of(bundle(blend=BLEND, **ranker), at=NOW), model


@pytest.mark.parametrize("pause", [5.0, 7200.0, 1e5, 1e7])
def test_scores_are_the_blend_with_catboost(
    trained: tuple[Snapshot, catboost.CatBoost], pause: float
) -> None:
    snapshot, model = trained
    request = Request.of(snapshot, viewer(4, 5, 6, country="US", pause=pause), NOW)
    slate = candidates(request)
    ranked = rank(request, slate)
    np.testing.assert_array_equal(ranked.rows, slate.rows)
    assert ranked.features is not None
    raw = model.predict(pool(ranked.features))
    z = np.vstack([raw, standardised(slate.scores)])
    np.testing.assert_allclose(ranked.score, BLEND[request.bucket] @ z, rtol=1e-4, atol=1e-5)


def test_the_best_are_kept_best_first(trained: tuple[Snapshot, catboost.CatBoost]) -> None:
    request = Request.of(trained[0], viewer(4, 5, 6), NOW, tuning=Tuning(keep_ranked=30), limit=10)
    slate = candidates(request)
    kept, ranked = Ranking()(request, slate), rank(request, slate)
    order = sorted(range(len(slate)), key=lambda j: (-ranked.score[j], slate.rows[j]))[:30]
    np.testing.assert_array_equal(kept.rows, ranked.rows[order])
    wide = Request.of(trained[0], viewer(4, 5, 6), NOW, tuning=Tuning(keep_ranked=30), limit=50)
    assert len(Ranking()(wide, slate)) == 100


def test_without_a_ranker_the_sources_decide(trained: tuple[Snapshot, catboost.CatBoost]) -> None:
    plain = Snapshot.of(bundle(), at=NOW)
    switched_off = Tuning(use_ranker=False)
    for snapshot, tuning in ((plain, Tuning()), (trained[0], switched_off)):
        request = Request.of(snapshot, viewer(4, 5, 6), NOW, tuning=tuning)
        slate = candidates(request)
        ranked = rank(request, slate)
        assert ranked.features is None
        np.testing.assert_array_equal(ranked.score, slate.score)


def test_popularity_only_keeps_the_order_of_popularity(
    trained: tuple[Snapshot, catboost.CatBoost],
) -> None:
    tuning = Tuning(popularity_only=True)
    request = Request.of(trained[0], viewer(4, 5, 6, country="DE"), NOW, tuning=tuning)
    slate = candidates(request)
    np.testing.assert_array_equal(Ranking()(request, slate).rows, slate.rows[: tuning.keep_ranked])


def test_the_order_of_retrieval_stands_in(trained: tuple[Snapshot, catboost.CatBoost]) -> None:
    request = Request.of(trained[0], viewer(4, 5, 6), NOW)
    slate = candidates(request)
    best = slate.top(request.tuning.keep_ranked)
    np.testing.assert_array_equal(Ranking().otherwise(request, slate).rows, best.rows)
