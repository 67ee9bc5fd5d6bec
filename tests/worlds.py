"""A small catalogue, its bundle and viewers, for tests of the request path."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vireo.catalogue.columns import Columns, Vocabulary, encode
from vireo.catalogue.models import Status, Video
from vireo.keys import keys_of
from vireo.recommender.contents import CHANGES, ModelBundle
from vireo.recommender.video_features import video_features
from vireo.viewers.profile import Profile
from vireo.viewers.viewer import Viewer

NOW = 1_700_000_000.0
D = 16  #: of the vectors without the bias
VOCABULARY = Vocabulary(
    categories=("music", "news", "sport", "film"),
    languages=("de", "en"),
    countries=("DE", "FR", "US"),
    devices=("phone", "tv"),
)


def moment(days: float) -> datetime:
    """That many days before `NOW`."""
    return datetime.fromtimestamp(NOW, UTC) - timedelta(days=days)


def video(number: int, **fields: Any) -> Video:
    """Video ``v<number>``, of one of ten channels and four categories, published long ago."""
    given = {
        "video_id": f"v{number}",
        "title": f"Video number {number}",
        "category": VOCABULARY.categories[number % 4],
        "channel_id": f"c{number % 10}",
        "language": VOCABULARY.languages[number % 2],
        "duration_seconds": 60.0 + number,
        "published_at": moment(30 + number % 300),
    }
    return Video(**(given | fields))


def towers(rng: np.random.Generator, hidden: int = 32, length: int = 20) -> dict[str, Any]:
    """Random weights of both towers, by the names that a bundle gives them."""

    def weights(*shape: int) -> NDArray[np.float32]:
        drawn: NDArray[np.float32] = rng.normal(size=shape).astype(np.float32)
        return drawn / np.float32(np.sqrt(shape[0]))

    size = VOCABULARY.size
    return {
        "start": weights(D),
        "pause": weights(7, D),
        "query": weights(2 * D, 2 * D),
        "distance": weights(2, length),
        "hidden/w": weights(7 * D, hidden),
        "hidden/b": weights(hidden),
        "age": weights(9, hidden),
        "country": weights(size("countries"), hidden),
        "language": weights(size("languages"), hidden),
        "device": weights(size("devices"), hidden),
        "out/w": weights(hidden, D),
        "out/b": weights(D),
        "norm/scale": np.ones(D, np.float32),
        "norm/shift": weights(D),
        "request/scale": np.ones((4, D), np.float32),
        "request/shift": weights(4, D),
        "content/category": weights(size("categories"), hidden),
        "content/language": weights(size("languages"), hidden),
        "content/duration": weights(13, hidden),
        "content/text": weights(512, hidden),
        "content/b": weights(hidden),
        "content/out/w": weights(hidden, D),
        "content/out/b": weights(D),
        "content/neutral": np.float32(-0.1),
    }


def neighbours(n: int, rng: np.random.Generator, each: int = 8) -> dict[str, NDArray[Any]]:
    """A random table of neighbours."""
    rows = [rng.choice(n, each, replace=False) for _ in range(n)]
    indices = np.concatenate([np.zeros(0, np.int64), *rows])
    return {
        "indptr": np.arange(0, n * each + 1, each, dtype=np.int64),
        "indices": indices.astype(np.int32),
        "weights": rng.uniform(0.1, 1, n * each).astype(np.float32),
    }


def arrays_of(columns: Columns, seed: int = 0) -> dict[str, NDArray[Any]]:
    """All of a bundle's arrays but the columns and the ranker."""
    rng, n = np.random.default_rng(seed), len(columns)
    views = rng.integers(0, 1000, n)
    order = np.argsort(-views, kind="stable").astype(np.int32)
    popular = np.full((VOCABULARY.size("countries"), min(n, 60)), -1, np.int32)
    popular[0] = order[:60]
    popular[1, :30] = rng.permutation(order[:40])[:30]
    opener = rng.normal(size=n).astype(np.float32)
    arrays: dict[str, NDArray[Any]] = {
        "vectors": rng.normal(size=(n, D + 1)).astype(np.float32),
        "features": video_features(
            columns, {"log_views": np.log1p(views), "log_recent": np.log1p(views // 3)}
        ),
        "popular": popular,
        "trending": order[5:45],
        "openers": np.argsort(-opener, kind="stable")[:40].astype(np.int32),
        "opener_score": opener,
    }
    arrays |= {f"tower/{k}": np.asarray(v) for k, v in towers(rng).items()}
    for table in ("neighbours", "successors"):
        arrays |= {f"{table}/{k}": v for k, v in neighbours(n, rng).items()}
    return arrays


def bundle(
    videos: Sequence[Video] | None = None,
    *,
    version: str = "b1",
    without: Sequence[str] = (),
    seed: int = 0,
    config: Mapping[str, Any] | None = None,
    **more: Any,
) -> ModelBundle:
    """A bundle of those videos (300 by default), without the arrays of those prefixes.

    By default it was made before any change of the catalogue.
    """
    columns = encode(videos if videos is not None else catalogue(), VOCABULARY)
    arrays = arrays_of(columns, seed) | more
    kept = {k: v for k, v in arrays.items() if not any(k.startswith(p) for p in without)}
    return ModelBundle.build(
        version=version,
        created_at=NOW,
        watermark=NOW - 3600,
        vocabulary=VOCABULARY,
        columns=columns,
        arrays=kept,
        config={CHANGES: [0, 0.0]} if config is None else config,
    )


def catalogue(n: int = 300, changes: Mapping[int, Mapping[str, Any]] | None = None) -> list[Video]:
    """Videos v0 … v(n - 1), some of them changed."""
    changes = changes or {}
    return [video(j, **changes.get(j, {})) for j in range(n)]


def viewer(*watched: int, gap: float = 60.0, pause: float = 120.0, **profile: Any) -> Viewer:
    """A viewer who watched those videos, one every ``gap`` seconds, the last ``pause`` ago."""
    keys = keys_of(f"v{j}" for j in watched)
    times = NOW - pause - gap * np.arange(len(watched), dtype=np.float64)[::-1]
    return Viewer(Profile(**profile), keys, times, keys, len(watched), 45.0 * len(watched))


__all__ = [
    "NOW",
    "VOCABULARY",
    "Status",
    "arrays_of",
    "bundle",
    "catalogue",
    "moment",
    "video",
    "viewer",
]


class Faulty:
    """A port whose methods do something else first."""

    def __init__(self, port: Any, before: Callable[[str, tuple[Any, ...]], object]) -> None:
        self._port = port
        self._before = before

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            self._before(name, args)
            return getattr(self._port, name)(*args, **options)

        return call
