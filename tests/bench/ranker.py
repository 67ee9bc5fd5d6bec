"""A real ranker of the size that training may make: 1000 trees of depth 6 over real slates."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost
import numpy as np
from numpy.typing import NDArray

from tests.bench import world
from tests.bench.events import NOW, made_of
from vireo.recommender.candidates import candidates
from vireo.recommender.contents import ModelBundle
from vireo.recommender.features import CATEGORICAL, features
from vireo.recommender.filtering import Filtering
from vireo.recommender.request import Request
from vireo.recommender.snapshot import Snapshot
from vireo.recommender.trees import pack
from vireo.training.models.ranker import frame

SLATES, TREES, DEPTH = 100, 1000, 6
#: The same trees over numbers only: what `catboost.predict` evaluates fastest, for the floor.
TWIN = f"ranker-twin-{made_of()}.cbm"
_PACKED = f"ranker-{made_of()}.npz"


def cached(cache: Path, bundle: Callable[[], tuple[ModelBundle, Any]]) -> dict[str, NDArray[Any]]:
    """The packed trees, fitted on slates of that bundle if they are not in ``cache``."""
    if not (cache / _PACKED).exists():
        matrix, label = _examples(*bundle())
        _model().fit(matrix, label).save_model(str(cache / TWIN))
        table = frame(matrix)
        real = _model(one_hot_max_size=255)
        real.fit(catboost.Pool(table, label, cat_features=list(CATEGORICAL)))
        packed: dict[str, Any] = pack(_as_json(real))
        np.savez(cache / _PACKED, **packed)
    with np.load(cache / _PACKED) as stored:
        return dict(stored)


def twin(cache: Path) -> catboost.CatBoostRegressor:
    """The model of the floor."""
    return catboost.CatBoostRegressor().load_model(str(cache / TWIN))


def _examples(
    bundle: ModelBundle, clusters: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features of real slates, and a label that every feature has some part in."""
    snapshot = Snapshot.of(bundle, [], at=NOW)
    rng = np.random.default_rng(3)
    slates = []
    for viewer in world.viewers_of(bundle.columns, clusters)[:SLATES]:
        request = Request.of(snapshot, viewer, NOW, device="tv")
        slates.append(features(request, Filtering()(request, candidates(request))))
    matrix = np.ascontiguousarray(np.concatenate(slates))
    known = np.nan_to_num(matrix, nan=-1.0)
    known = (known - known.mean(0)) / (known.std(0) + 1e-6)
    label = np.tanh(known @ rng.normal(size=(known.shape[1], 8))).sum(1)
    return matrix, (label + rng.normal(size=len(label))).astype(np.float32)


def _model(**more: Any) -> catboost.CatBoostRegressor:
    return catboost.CatBoostRegressor(
        iterations=TREES,
        depth=DEPTH,
        learning_rate=0.1,
        random_seed=1,
        thread_count=1,
        allow_writing_files=False,
        logging_level="Silent",
        **more,
    )


def _as_json(model: catboost.CatBoostRegressor) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded
