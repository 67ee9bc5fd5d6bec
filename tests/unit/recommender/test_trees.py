"""Packed trees against CatBoost itself, on random models with NaN and categories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vireo.recommender.trees import Trees, UnsupportedModel, cat_hash, pack

NUMBERS, CATEGORIES = 4, 2


def pool(matrix: NDArray[np.float32], labels: Any = None, **more: Any) -> Any:
    """The matrix as CatBoost is trained on it: codes as decimal strings, after the numbers."""
    codes = matrix[:, NUMBERS:].astype(np.int64).astype(str).astype("S").astype(object)
    data = catboost.FeaturesData(
        num_feature_data=np.ascontiguousarray(matrix[:, :NUMBERS]), cat_feature_data=codes
    )
    return catboost.Pool(data, labels, **more)


def sample(rng: np.random.Generator, n: int, codes: int) -> NDArray[np.float32]:
    matrix = rng.normal(size=(n, NUMBERS + CATEGORIES)).astype(np.float32)
    matrix[:, 2] = np.round(matrix[:, 2], 1)  # values that meet borders exactly
    matrix[:, NUMBERS:] = rng.integers(0, codes, (n, CATEGORIES))
    matrix[:, 1][rng.random(n) < 0.3] = np.nan
    matrix[:, 2][rng.random(n) < 0.1] = np.nan
    return matrix


def fitted(matrix: NDArray[np.float32], **options: Any) -> Any:
    target = np.nan_to_num(matrix[:, 0]) * 2 + (matrix[:, 4] == 3) + np.isnan(matrix[:, 1])
    given = {"iterations": 20, "depth": 4, "one_hot_max_size": 255, "random_seed": 1}
    model = catboost.CatBoostRegressor(
        **(given | options), verbose=False, thread_count=1, allow_writing_files=False
    )
    return model.fit(pool(matrix, target))


def packed(model: Any, folder: Path) -> dict[str, NDArray[Any]]:
    model.save_model(str(folder / "model.json"), format="json")
    return pack(json.loads((folder / "model.json").read_text()))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    depth=st.integers(1, 7),
    codes=st.sampled_from([2, 12, 150]),
    nan_mode=st.sampled_from(["Min", "Max"]),
    borders=st.sampled_from([3, 32, 254]),
    trees=st.sampled_from([1, 20, 130]),
)
def test_equals_catboost(
    *,
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    depth: int,
    codes: int,
    nan_mode: str,
    borders: int,
    trees: int,
) -> None:
    rng = np.random.default_rng(seed)
    model = fitted(
        sample(rng, 300, codes),
        depth=depth,
        nan_mode=nan_mode,
        border_count=borders,
        iterations=trees,
    )
    unseen = sample(rng, 200, codes + 5)
    unseen[:, 0][rng.random(200) < 0.2] = np.nan  # unknown where training always knew
    ours = Trees(packed(model, tmp_path_factory.mktemp("model"))).predict(unseen)
    np.testing.assert_allclose(ours, model.predict(pool(unseen)), rtol=0, atol=1e-9)


def test_equals_catboost_for_a_ranker(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    matrix = sample(rng, 400, 12)
    labels = (rng.random(400) < 0.3).astype(float)
    model = catboost.CatBoostRanker(
        loss_function="YetiRank",
        iterations=15,
        depth=6,
        l2_leaf_reg=3,
        one_hot_max_size=255,
        random_seed=1,
        thread_count=1,
        verbose=False,
        allow_writing_files=False,
    )
    model.fit(pool(matrix, labels, group_id=np.repeat(np.arange(40), 10)))
    ours = Trees(packed(model, tmp_path)).predict(matrix)
    np.testing.assert_allclose(ours, model.predict(pool(matrix)), rtol=0, atol=1e-9)
    assert np.ptp(ours) > 0


def test_memory_order_does_not_matter(tmp_path: Path) -> None:
    matrix = sample(np.random.default_rng(0), 100, 5)
    trees = Trees(packed(fitted(matrix), tmp_path))
    np.testing.assert_array_equal(trees.predict(matrix), trees.predict(np.asfortranarray(matrix)))


def test_categories_are_asked_for(tmp_path: Path) -> None:
    arrays = packed(fitted(sample(np.random.default_rng(0), 300, 12)), tmp_path)
    assert [NUMBERS, 3] in arrays["one_hot"].tolist()


def test_hashes_are_catboosts(tmp_path: Path) -> None:
    matrix = sample(np.random.default_rng(0), 400, 2)
    codes = np.array([0, 7, 10, 42, 99, 100, 512, 999, 1000, 4321, 31999, 12345])
    matrix[:, NUMBERS] = codes[np.arange(400) % len(codes)]
    model = fitted(matrix)
    model.save_model(str(tmp_path / "m.py"), format="python", pool=pool(matrix))
    scope: dict[str, Any] = {}
    exec((tmp_path / "m.py").read_text(), scope)  # CatBoost's own export says what it hashed
    theirs = {c: h & 0xFFFFFFFF for c, h in scope["cat_features_hashes"].items()}
    assert {str(c) for c in codes} <= theirs.keys()
    assert {c: cat_hash(c) for c in theirs} == theirs


def test_other_models_are_refused(tmp_path: Path) -> None:
    matrix = sample(np.random.default_rng(0), 300, 60)
    with pytest.raises(UnsupportedModel, match="symmetric"):
        packed(fitted(matrix, grow_policy="Depthwise"), tmp_path)
    with pytest.raises(UnsupportedModel, match="one_hot_max_size"):
        few = sample(np.random.default_rng(0), 300, 6)
        packed(fitted(few, one_hot_max_size=2), tmp_path)
    words = catboost.CatBoostRegressor(
        iterations=20, one_hot_max_size=9, verbose=False, allow_writing_files=False
    ).fit([["red", 1], ["blue", 2]] * 50, [0, 1] * 50, cat_features=[0])
    with pytest.raises(UnsupportedModel, match="decimal"):
        packed(words, tmp_path)
