"""Generated catalogues of any size, with viewers: what the speed of a request depends on is real.

Vectors lie in clusters and queries come out of the user tower over histories of a few clusters, so
an inverted file is as good or bad as with trained vectors. Everything is published into a local
home under the cache folder once, and read back from there afterwards.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.bench import ranker
from tests.bench.events import CLIENT, NOW, TENANT, VIEWERS, BenchClock, folder_of
from vireo.bundles import files as bundles
from vireo.bundles import pointer
from vireo.catalogue.columns import Columns, Vocabulary
from vireo.homes.local import LocalHome, home
from vireo.identity import register_client
from vireo.keys import keys_of
from vireo.ports import Table
from vireo.recommender.contents import ModelBundle
from vireo.recommender.tower import INPUT_SCALE, UserTower
from vireo.recommender.video_features import video_features
from vireo.vectors import build_index
from vireo.viewers.profile import Profile
from vireo.viewers.viewer import HISTORY_CAP, WATCHED_CAP, Viewer

DAY = 86400.0
DIMENSION, HIDDEN, LENGTH, HEADS = 64, 256, 50, 2
NEIGHBOURS = 50
#: The share of the variance within clusters, and the spread of the bias, beside scores that spread
#: by 2.5. Towers trained on MovieLens-1M have 30% within 155 clusters of 3,883 videos and 1.8, on
#: generated viewers 13% within 400 of 10,000 and 1.4. An inverted file's recall depends on both.
WITHIN, BIAS = 0.3, 1.5
VOCABULARY = Vocabulary(
    categories=tuple(f"category {j}" for j in range(24)),
    languages=("de", "en", "es", "fr", "hi", "it", "ja", "pt"),
    countries=("AT", "BR", "CH", "DE", "ES", "FR", "GB", "IN", "IT", "JP", "MX", "PL", "US"),
    devices=("phone", "tablet", "tv", "web"),
)
#: Videos of the world whose slates train the ranker of all worlds; above `FLAT_BELOW`.
RANKER_VIDEOS = 30_000

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class World:
    """A home that serves n videos to its viewers."""

    n: int
    home: LocalHome
    users: list[str]


def world(n: int, cache: Path) -> World:
    """The world of n videos, made in ``cache`` if it is not there yet."""
    opened = home(folder_of(n, cache), clock=BenchClock())
    ports = opened.open(TENANT)
    if pointer.current(ports.records) is None:
        _publish(n, opened, ranker.cached(cache, lambda: _bundle(RANKER_VIDEOS, {})))
    return World(n, opened, [f"viewer-{j}" for j in range(VIEWERS)])


def _publish(n: int, opened: LocalHome, trees: Mapping[str, NDArray[Any]]) -> None:
    ports = opened.open(TENANT)
    bundle, clusters = _bundle(n, {f"ranker/{name}": array for name, array in trees.items()})
    viewers = viewers_of(bundle.columns, clusters)
    for number, viewer in enumerate(viewers):
        ports.records.put(Table.VIEWERS, f"viewer-{number}", "", {"viewer": viewer.pack()})
    register_client(opened, CLIENT, TENANT)
    bundles.publish(bundle, ports.blobs)
    with tempfile.TemporaryDirectory(dir=opened.folder) as scratch:
        bundles.fetch(
            ports.blobs, bundle.version, Path(scratch), ModelBundle
        )  # what cannot be read is not used
    pointer.switch(ports.records, bundle.version, expect=None)


def _bundle(n: int, trees: Mapping[str, NDArray[Any]]) -> tuple[ModelBundle, NDArray[np.int64]]:
    """The bundle of n videos, and the cluster of every video."""
    rng = np.random.default_rng(n)
    size = round(4 * np.sqrt(n))
    clusters = rng.integers(0, size, n)
    columns, towers = _columns(n, clusters, rng), _towers(rng)
    views = (rng.pareto(1.0, n) * 20).astype(np.int64)
    vectors = _vectors(clusters, size, views, rng)
    bundle = ModelBundle.build(
        version=f"world-{n}",
        created_at=NOW,
        watermark=NOW - 3600,
        vocabulary=VOCABULARY,
        columns=columns,
        arrays={
            "vectors": vectors,
            "features": _features(columns, views, rng),
            **_lists(views, rng),
            **{f"neighbours/{name}": a for name, a in _neighbours(clusters, rng).items()},
            **{f"successors/{name}": a for name, a in _neighbours(clusters, rng).items()},
            **{f"tower/{name}": a for name, a in towers.items()},
            "blend": np.tile(np.array([1, 0.7, 0.3, 0.2, 0.1, 0.1], np.float32), (4, 1)),
            "retrieval_blend": np.tile(np.array([1, 0.5, 0.3, 0.1, 0.1], np.float32), (4, 1)),
            **trees,
        },
        config={},
        index=build_index(vectors, _queries(vectors, clusters, towers)),
    )
    return bundle, clusters


def _columns(n: int, clusters: NDArray[np.int64], rng: np.random.Generator) -> Columns:
    """A few in a hundred are private, rated for adults, windowed, or blocked somewhere."""
    ids = np.array([f"video-{j:08d}" for j in range(n)])
    keys = keys_of(ids.tolist())
    order = np.argsort(keys)
    titles = np.char.add("A title as long as the titles of videos are, number ", ids)
    countries = np.full((n, 2), 255, np.uint8)
    blocked = rng.random(n) < 0.03
    countries[blocked, 0] &= ~(np.uint8(1) << rng.integers(1, 8, blocked.sum()).astype(np.uint8))
    windowed = rng.random(n) < 0.01
    channels = keys_of(f"channel-{j}" for j in range(n // 50 + 1))
    return Columns(
        keys=keys[order],
        ids=ids[order].astype(np.bytes_),
        titles=titles[order].astype(np.bytes_),
        category=(clusters % 24 + 1).astype(np.int16),
        language=rng.choice(9, n, p=[0.05, 0.1, 0.5, *[0.35 / 6] * 6]).astype(np.int16),
        channel=channels[rng.integers(0, len(channels), n)],
        duration=rng.lognormal(5.5, 1, n).astype(np.float32),
        published=NOW - DAY * rng.uniform(0.01, 900, n),
        status=(rng.random(n) < 0.01).astype(np.uint8),
        age_rating=rng.choice(np.array([0, 12, 16, 18], np.uint8), n, p=[0.8, 0.1, 0.05, 0.05]),
        available_from=np.where(windowed, NOW - 30 * DAY, -np.inf),
        available_until=np.where(windowed, NOW + rng.normal(0, 30, n) * DAY, np.inf),
        countries=countries,
    )


def _directions() -> Floats:
    """[d, d]: standard normal rows times this have the spectrum of trained item vectors.

    Of the towers trained on MovieLens-1M, 8, 16 and 32 directions hold 60, 81 and 95% of the
    variance; here it is 59, 84 and 98%.
    """
    scales = np.sqrt(np.exp(-np.arange(DIMENSION) / 9))
    scales *= np.sqrt(DIMENSION / (scales**2).sum())
    turned, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(DIMENSION, DIMENSION)))
    turned *= scales
    return np.ascontiguousarray(turned.T, np.float32)


def _vectors(
    clusters: NDArray[np.int64], size: int, views: NDArray[np.int64], rng: np.random.Generator
) -> Floats:
    """Item vectors [n, d + 1]: `WITHIN` clusters is a share of the variance; the bias is last."""
    n, spread = len(clusters), np.float32(np.sqrt(WITHIN / (1 - WITHIN)))
    drawn = rng.normal(size=(size, DIMENSION)).astype(np.float32)[clusters]
    drawn += spread * rng.standard_normal((n, DIMENSION), np.float32)
    vectors = np.empty((n, DIMENSION + 1), np.float32)
    np.matmul(drawn, _directions(), out=vectors[:, :-1])
    vectors[:, :-1] *= np.float32(np.sqrt(1 - WITHIN) / INPUT_SCALE)
    bias = np.log1p(views)
    vectors[:, -1] = BIAS * (bias - bias.mean()) / bias.std()
    return vectors


def _queries(
    vectors: Floats, clusters: NDArray[np.int64], towers: Mapping[str, NDArray[Any]]
) -> Floats:
    """What other viewers of four clusters ask: [200, d + 1]."""
    tower, rng = UserTower.from_arrays(towers), np.random.default_rng(11)
    times = NOW - 3600.0 * np.arange(LENGTH, 0, -1, dtype=np.float64)

    def query() -> Floats:
        liked = np.flatnonzero(np.isin(clusters, rng.choice(clusters, 4)))
        seen = np.append(
            rng.choice(liked, LENGTH // 2), rng.integers(0, len(clusters), LENGTH // 2)
        )
        mixed = vectors[rng.permutation(seen), :-1]
        return tower.encode(mixed, times, NOW, age=30, country=1, language=1, device=1)

    return np.stack([query() for _ in range(200)])


def _features(columns: Columns, views: NDArray[np.int64], rng: np.random.Generator) -> Floats:
    n, seen = len(columns), views > 0
    recent = rng.binomial(views, 0.1)
    known = {
        "log_views": np.log1p(views),
        "log_recent": np.log1p(recent),
        "trend": np.log((recent + 1) / (0.1 * views + 1)),
        "popularity_rank": np.argsort(np.argsort(recent)) / n,
        "like_rate": rng.beta(2, 20, n),
        "ctr": rng.beta(2, 10, n),
        "completion": rng.beta(3, 3, n),
        "opener": rng.normal(size=n),
        "channel_views": np.log1p(rng.pareto(1.0, n) * 1000),
    }
    return video_features(columns, {k: np.where(seen, v, np.nan) for k, v in known.items()})


def _lists(views: NDArray[np.int64], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    order = np.argsort(-views, kind="stable").astype(np.int32)
    popular = np.stack(
        [order[:500]] + [rng.permutation(order[:2000])[:500] for _ in VOCABULARY.countries]
    )
    opener = rng.normal(size=len(views)).astype(np.float32)
    return {
        "popular": popular,
        "trending": order[10:310],
        "openers": np.argsort(-opener, kind="stable")[:300].astype(np.int32),
        "opener_score": opener,
    }


def _neighbours(clusters: NDArray[np.int64], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Most neighbours are of the same cluster."""
    n = len(clusters)
    order = np.argsort(clusters, kind="stable")
    starts = np.searchsorted(clusters[order], np.arange(clusters.max() + 2))
    first, count = starts[clusters], np.diff(starts)[clusters]
    near = order[first[:, None] + (rng.random((n, NEIGHBOURS)) * count[:, None]).astype(np.int64)]
    far = rng.random((n, NEIGHBOURS)) < 0.2
    near[far] = rng.integers(0, n, far.sum())
    return {
        "indptr": np.arange(0, n * NEIGHBOURS + 1, NEIGHBOURS, dtype=np.int64),
        "indices": near.astype(np.int32).ravel(),
        "weights": rng.random(n * NEIGHBOURS, np.float32),
    }


def _towers(rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """Random weights of the trained towers' shapes; what comes out lies where the items lie."""

    def weights(*shape: int, scale: float = 1.0) -> Floats:
        drawn = rng.normal(0, scale / np.sqrt(shape[0]), shape)
        return drawn.astype(np.float32)

    size, d = VOCABULARY.size, DIMENSION
    return {
        "start": weights(d),
        "pause": weights(7, d),
        "query": weights(2 * d, HEADS * d),
        "distance": weights(HEADS, LENGTH),
        "hidden/w": weights((5 + HEADS) * d, HIDDEN),
        "hidden/b": weights(HIDDEN),
        "age": weights(9, HIDDEN),
        "country": weights(size("countries"), HIDDEN),
        "language": weights(size("languages"), HIDDEN),
        "device": weights(size("devices"), HIDDEN),
        "out/w": weights(HIDDEN, d, scale=0.7) @ _directions(),
        "out/b": np.zeros(d, np.float32),
        "norm/scale": np.ones(d, np.float32),
        "norm/shift": np.zeros(d, np.float32),
        "request/scale": np.full((4, d), 0.5, np.float32),
        "request/shift": np.zeros((4, d), np.float32),
        "content/category": weights(size("categories"), 128),
        "content/language": weights(size("languages"), 128),
        "content/duration": weights(13, 128),
        "content/text": weights(512, 128),
        "content/b": weights(128),
        "content/out/w": weights(128, d),
        "content/out/b": weights(d),
        "content/neutral": np.array(-0.1, np.float32),
    }


def viewers_of(columns: Columns, clusters: NDArray[np.int64]) -> list[Viewer]:
    """Viewers who watch four clusters; one in twenty is new, a few have watched thousands."""
    rng = np.random.default_rng(7)
    return [_viewer(columns, clusters, rng) for _ in range(VIEWERS)]


def _viewer(columns: Columns, clusters: NDArray[np.int64], rng: np.random.Generator) -> Viewer:
    n = len(columns)
    profile = Profile(
        age=int(rng.integers(14, 80)),
        country=str(rng.choice(VOCABULARY.countries)),
        language=str(rng.choice(VOCABULARY.languages)),
    )
    if rng.random() < 0.05:
        return Viewer(profile)
    wanted = min(int(rng.lognormal(4.6, 1.3)) + 1, WATCHED_CAP, n // 10)
    liked = np.flatnonzero(np.isin(clusters, rng.choice(clusters, 4)))
    mine = np.concatenate([rng.permutation(liked)[:wanted], rng.integers(0, n, wanted // 2 + 1)])
    mine = rng.permutation(np.unique(mine))[:wanted]
    watched = columns.keys[mine]
    times = NOW - np.sort(rng.exponential(20 * DAY, len(mine)) + rng.exponential(DAY))[::-1]
    return Viewer(
        profile,
        watched[-HISTORY_CAP:],
        times[-HISTORY_CAP:],
        watched,
        watches=len(mine),
        seconds=90.0 * len(mine),
    )
