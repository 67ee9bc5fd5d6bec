"""The ranker: CatBoost on the candidates of retrieval, over windows that roll through the past.

For every window the retrieval models are fitted on the events before it. So the ranker learns the
value of their scores on unseen events, as in serving. The trees start from the blend of the sources
and learn to correct it; without anything to correct there are no trees. The last window is not used
for learning, but for early stopping and for the blend.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from catboost import CatBoostRanker, Pool
from numpy.typing import NDArray

from vireo.intervals import Values, difference
from vireo.jobs.artifacts import group
from vireo.jobs.progress import Progress
from vireo.recommender.features import CATEGORICAL, FEATURES
from vireo.recommender.trees import pack
from vireo.training.data.log import Log
from vireo.training.models.blend import fit_blend, log_chances
from vireo.training.models.examples import Examples

#: Minimum number of slates to fit trees.
LEAST_SLATES = 50


@dataclass(frozen=True)
class RankerConfig:
    """CatBoost's parameters; training stops early by the last window."""

    loss: str = "QuerySoftMax"
    iterations: int = 1000
    learning_rate: float = 0.1
    depth: int = 6
    l2: float = 3.0
    patience: int = 30  #: iterations without a gain after which training stops
    negatives: int = 30  #: negatives per slate in training; early stopping uses all
    threads: int = 1

    @classmethod
    def for_log(cls, log: Log) -> Self:
        """Defaults by density: on a dense log the sources are good, and trees soon overfit."""
        return cls() if log.sparse else cls(depth=4, l2=20.0, learning_rate=0.06)


@dataclass(frozen=True)
class Ranker:
    """A fitted ranker, with the blends with and without it."""

    arrays: Mapping[str, NDArray[Any]]  #: packed trees; empty if there were too few examples
    blend: NDArray[np.float32]  #: [4, 1 + sources], the ranker's weight first
    retrieval_blend: NDArray[np.float32]  #: [4, sources]
    importance: Mapping[str, float]  #: by feature, adding up to 100
    trees: int
    model: bytes  #: CatBoost's file, to compare the packed trees with; empty without trees


def fit(
    learn: Examples,
    judge: Examples,
    config: RankerConfig,
    *,
    seed: int,
    progress: Progress | None = None,
) -> Ranker:
    """Fit trees on ``learn``; use ``judge`` for early stopping and for the blend."""
    retrieval = _blend(judge)
    if min(len(learn), len(judge)) < LEAST_SLATES:
        blend = np.hstack([np.zeros((len(retrieval), 1), np.float32), retrieval])
        return Ranker({}, blend, retrieval, {}, 0, b"")
    model = CatBoostRanker(
        loss_function=config.loss,
        iterations=config.iterations,
        learning_rate=config.learning_rate,
        depth=config.depth,
        l2_leaf_reg=config.l2,
        random_seed=seed,
        one_hot_max_size=255,
        early_stopping_rounds=config.patience,
        thread_count=config.threads,
        allow_writing_files=False,
        logging_level="Silent",
    )
    callbacks = [_Reporter(config.iterations, progress)] if progress is not None else None
    start = _blend(learn)
    model.fit(
        _pool(learn.thinned(config.negatives, seed), start),
        eval_set=_pool(judge, start),
        callbacks=callbacks,
    )
    blend = _earned(model.predict(frame(judge.features)).astype(np.float32), retrieval, judge)
    return Ranker(
        arrays=pack(_as_json(model)),
        blend=blend,
        retrieval_blend=retrieval,
        importance=_importance(model),
        trees=int(model.tree_count_),
        model=_as_file(model),
    )


def as_artifact(ranker: Ranker) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays and a document, for the next step."""
    arrays: dict[str, NDArray[Any]] = {
        **{f"trees/{name}": array for name, array in ranker.arrays.items()},
        "blend": ranker.blend,
        "retrieval_blend": ranker.retrieval_blend,
        "model": np.frombuffer(ranker.model, np.uint8),
    }
    return arrays, {"importance": dict(ranker.importance), "trees": ranker.trees}


def of_artifact(arrays: Mapping[str, NDArray[Any]], document: Mapping[str, Any]) -> Ranker:
    """The inverse of `as_artifact`."""
    return Ranker(
        arrays=group(arrays, "trees"),
        blend=arrays["blend"],
        retrieval_blend=arrays["retrieval_blend"],
        importance=document["importance"],
        trees=document["trees"],
        model=arrays["model"].tobytes(),
    )


def frame(features: NDArray[np.float32]) -> pd.DataFrame:
    """A feature matrix in CatBoost's types: codes as integers, all else as numbers."""
    table = pd.DataFrame(np.asarray(features), columns=list(FEATURES))
    return table.astype(dict.fromkeys(CATEGORICAL, np.int32))


def load(model: bytes) -> CatBoostRanker:
    """The CatBoost model in `Ranker.model`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ranker.cbm"
        path.write_bytes(model)
        return CatBoostRanker().load_model(str(path))


def _blend(examples: Examples) -> NDArray[np.float32]:
    return fit_blend(examples.sources, examples.relevant, examples.offsets, examples.bucket)


def _earned(
    said: NDArray[np.float32], retrieval: NDArray[np.float32], judge: Examples
) -> NDArray[np.float32]:
    """The blend, with the ranker only after pauses where it helps significantly: [4, 1 + sources].

    After other pauses its weight is 0, since its scores may be noise.
    """
    ranked = replace(judge, sources=np.column_stack([said, judge.sources]))
    blend, ours, theirs = _blend(ranked), _unseen(ranked), _unseen(judge)
    for b in range(len(blend)):
        asked = judge.bucket == b
        if not (asked.any() and helps(ours[asked], theirs[asked], judge.user[asked])):
            blend[b] = [0, *retrieval[b]]
    return blend


def helps(ours: Values, theirs: Values, users: NDArray[np.integer]) -> bool:
    """True if watched videos are significantly likelier, and not significantly lower in the list.

    ``ours`` and ``theirs`` are log-chances and NDCG@10 of the same requests of ``users``: [q, 2].
    """
    likelier, higher = (difference(ours[:, j], theirs[:, j], users) for j in (0, 1))
    return likelier.above_zero and not higher.below_zero


def _unseen(examples: Examples) -> Values:
    """Log-chance and NDCG@10 of the watched videos, by blends fitted on other viewers: [q, 2]."""
    values = np.zeros((len(examples), 2))
    for fold in (0, 1):
        asked = examples.user % 2 != fold
        unseen = examples.where(asked)
        scores = unseen.blended(_blend(examples.where(~asked)))
        chances = log_chances(scores, unseen.relevant, unseen.offsets)
        values[asked] = np.column_stack([chances, unseen.ndcg(scores)])
    return values


def _pool(examples: Examples, start: NDArray[np.float32]) -> Pool:
    """CatBoost's training data, with the blend ``start`` of the sources as the baseline."""
    return Pool(
        frame(examples.features),
        examples.relevant.astype(np.float32),
        group_id=examples.group,
        cat_features=list(CATEGORICAL),
        baseline=examples.blended(start),
    )


def _importance(model: CatBoostRanker) -> dict[str, float]:
    """The share of each feature in the changes of predictions, adding up to 100."""
    if not model.tree_count_:
        return {}
    shares = model.get_feature_importance(type="PredictionValuesChange")
    return dict(zip(FEATURES, map(float, shares), strict=True))


def _as_json(model: CatBoostRanker) -> Mapping[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ranker.json"
        model.save_model(str(path), format="json")
        exported: Mapping[str, Any] = json.loads(path.read_text())
        return exported


def _as_file(model: CatBoostRanker) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ranker.cbm"
        model.save_model(str(path))
        return path.read_bytes()


class _Reporter:
    """CatBoost's callback that reports progress."""

    def __init__(self, iterations: int, progress: Progress) -> None:
        self._iterations, self._progress = iterations, progress

    def after_iteration(self, info: Any) -> bool:
        """Report progress, and continue."""
        if info.iteration % 10 == 0:
            self._progress(info.iteration / self._iterations, f"{info.iteration} trees")
        return True
