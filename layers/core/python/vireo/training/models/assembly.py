"""Assembly of a bundle in memory, from fitted retrieval models and the data as of a moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vireo.recommender.candidates import Retrieval
from vireo.recommender.contents import ModelBundle
from vireo.recommender.tower import UserTower
from vireo.training.data.activity import Activity
from vireo.training.data.log import Log
from vireo.training.models.counted import RECENT_EVENTS, counted_arrays
from vireo.training.models.item_to_item import openers
from vireo.vectors import FLAT_BELOW, build_index


@dataclass(frozen=True)
class Fitted:
    """Retrieval models fitted on a log; the rows of all arrays are the log's videos."""

    tower: Mapping[str, NDArray[Any]]  #: weights of the user and the content tower
    vectors: NDArray[np.float32]  #: [n, d + 1], the bias last
    neighbours: Mapping[str, NDArray[Any]]  #: CSR: indptr, indices, weights
    successors: Mapping[str, NDArray[Any]]  #: likewise, for videos watched soon after
    opener_score: NDArray[np.float32]  #: [n], log


def assemble(
    log: Log,
    activity: Activity | None,
    fitted: Fitted,
    *,
    version: str,
    now: float,
    retrieval: Retrieval,
    extra: Mapping[str, NDArray[Any]] | None = None,
    watermark: float | None = None,
    config: Mapping[str, Any] | None = None,
) -> ModelBundle:
    """A bundle as of ``now`` (unix seconds): it uses nothing later.

    Args:
        log: the events before ``now`` that retrieval was fitted on; popularity is counted in it.
        activity: all activity; only that before ``now`` is used.
        fitted: the retrieval models.
        version: of the bundle.
        now: the moment.
        retrieval: number of candidates by source.
        extra: further arrays: the ranker's and the blends'.
        watermark: the bundle includes catalogue changes up to this moment; by default ``now``.
        config: further entries for the manifest.
    """
    vectors = np.ascontiguousarray(fitted.vectors, np.float32)
    arrays: dict[str, NDArray[Any]] = {
        **counted_arrays(log, activity, fitted.opener_score, now),
        "vectors": vectors,
        **{f"tower/{name}": array for name, array in fitted.tower.items()},
        **{f"neighbours/{name}": array for name, array in fitted.neighbours.items()},
        **{f"successors/{name}": array for name, array in fitted.successors.items()},
        **(extra or {}),
    }
    return ModelBundle.build(
        version=version,
        created_at=now,
        watermark=now if watermark is None else watermark,
        vocabulary=log.vocabulary,
        columns=log.videos,
        arrays=arrays,
        config={"retrieval": asdict(retrieval), **(config or {})},
        index=build_index(vectors, _queries(log, fitted, now), k=retrieval.tower),
    )


def without_models(
    log: Log,
    activity: Activity | None,
    *,
    version: str,
    now: float,
    watermark: float,
    config: Mapping[str, Any],
) -> ModelBundle:
    """A bundle of counts alone: popular videos, session openers, trends. See `assemble`."""
    return ModelBundle.build(
        version=version,
        created_at=now,
        watermark=watermark,
        vocabulary=log.vocabulary,
        columns=log.videos,
        arrays=counted_arrays(log, activity, openers(log), now),
        config=config,
    )


def _queries(log: Log, fitted: Fitted, now: float) -> NDArray[np.float32] | None:
    """Query vectors of the latest viewers, to tune the index on: [200, d + 1]."""
    if log.n_videos < FLAT_BELOW or not len(log):
        return None
    tower = UserTower.from_arrays(fitted.tower)
    viewers = np.unique(log.user[-RECENT_EVENTS:])[:200].tolist()
    seen = [np.flatnonzero(log.user == viewer)[-tower.length - 1 :] for viewer in viewers]
    return np.stack(
        [
            tower.encode(
                fitted.vectors[log.video[at], :-1],
                log.time[at],
                now,
                age=-1,
                country=0,
                language=0,
                device=0,
            )
            for at in seen
        ]
    )
