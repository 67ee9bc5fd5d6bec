"""A generator of synthetic logs with realistic structure, for a first start and for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from vireo.training.data import event_table as events
from vireo.training.data.dataset import Dataset
from vireo.training.generator import feed, world
from vireo.training.generator.feed import Choices
from vireo.training.generator.world import DAY, Videos, Viewers

#: Choices per event; the other events are clicks, impressions and reactions.
_CHOICES = 0.62


@dataclass(frozen=True)
class Settings:
    """The size of the generated data, and whether there is a structure to learn."""

    viewers: int = 2_000
    videos: int = 10_000
    events: int = 300_000  #: of all types; about 0.57 of them are positive
    seed: int = 7
    days: int = 75
    end: float = 1_767_225_600.0  #: unix seconds of a midnight: 2026-01-01
    #: "none": random choices among random videos, with no uploads or removals in the period
    structure: Literal["full", "none"] = "full"


def people(settings: Settings) -> tuple[np.random.Generator, Videos, Viewers]:
    """The videos and viewers of the settings, and the random generator for their events."""
    rng = np.random.default_rng(settings.seed)
    start = settings.end - settings.days * DAY
    tastes = world.topics(rng)
    fresh = 0.3 if settings.structure == "full" else 0.0
    videos = world.make_videos(rng, settings.videos, tastes, start, settings.end, fresh=fresh)
    viewers = world.make_viewers(
        rng, settings.viewers, tastes, videos, start=start, end=settings.end
    )
    return rng, videos, viewers


def generate(settings: Settings) -> Dataset:
    """A data set; equal settings give equal data."""
    rng, videos, viewers = people(settings)
    choices = feed.watch(
        rng,
        videos,
        viewers,
        start=settings.end - settings.days * DAY,
        days=settings.days,
        choices=round(settings.events * _CHOICES),
        structured=settings.structure == "full",
    )
    table = _events(rng, choices, videos, viewers, settings.events)
    catalogue = sorted(videos.catalogue, key=lambda v: v.video_id)
    return Dataset(table, catalogue, viewers.profiles)


def _events(
    rng: np.random.Generator, c: Choices, videos: Videos, viewers: Viewers, total: int
) -> pa.Table:
    """Watches or skips, reactions, and clicks and impressions of as many requests as still fit."""
    n = len(c.viewer)
    request = rng.permutation(n)
    skipped = ~c.pleased & (rng.random(n) < 0.4)
    chance = rng.random((4, n))
    reactions = {
        "like": c.pleased & (chance[0] < 0.06),
        "comment": c.pleased & (chance[1] < 0.012),
        "share": c.pleased & (chance[2] < 0.012),
        "dislike": ~c.pleased & (chance[3] < 0.04),
    }
    parts = [
        _rows(c, request, np.flatnonzero(~skipped), "watch", watched=True),
        _rows(c, request, np.flatnonzero(skipped), "skip", watched=True),
        *(_rows(c, request, np.flatnonzero(m), t) for t, m in reactions.items()),
    ]
    left = total - sum(len(p["time"]) for p in parts)
    by_request = np.argsort(request)
    cost = (c.slate[by_request] >= 0).sum(1) + 1
    logged = by_request[: int(np.searchsorted(np.cumsum(cost), max(left, 0), side="right"))]
    parts.append(_rows(c, request, logged, "click"))
    parts.append(_impressions(c, request, logged))
    joined = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    order = np.lexsort((joined["video"], joined["type"], joined["request"], joined["time"]))
    return _table({name: column[order] for name, column in joined.items()}, videos, viewers)


def _rows(c: Choices, request: Any, at: Any, kind: str, *, watched: bool = False) -> dict[str, Any]:
    """One event of a kind for every choice in ``at``."""
    moment = {"click": 0.0, "watch": 1.0, "skip": 1.0}.get(kind, 0.7)
    nothing = np.full(len(at), np.nan)
    return {
        "type": np.full(len(at), events.TYPES.index(kind)),
        "viewer": c.viewer[at],
        "video": c.video[at],
        "time": c.shown_at[at] + moment * c.seconds[at],
        "seconds": c.seconds[at] if watched else nothing,
        "fraction": c.fraction[at] if watched else nothing,
        "device": c.device[at],
        "position": c.position[at],
        "request": request[at],
    }


def _impressions(c: Choices, request: Any, at: Any) -> dict[str, Any]:
    """One impression for every video on the slates of the choices in ``at``."""
    row, place = np.nonzero(c.slate[at] >= 0)
    shown = _rows(c, request, at[row], "impression")
    return {
        **shown,
        "video": c.slate[at[row], place],
        "time": c.shown_at[at[row]],
        "position": place,
    }


def _table(columns: dict[str, Any], videos: Videos, viewers: Viewers) -> pa.Table:
    n = len(columns["time"])
    countries = tuple(world.COUNTRIES)

    def taken(values: Any, codes: Any) -> pa.Array:
        return pa.array(list(values), pa.string()).take(pa.array(codes))

    rows = {
        "event_id": pa.array([f"e{j:08d}" for j in range(n)], pa.string()),
        "user_id": taken(viewers.ids, columns["viewer"]),
        "video_id": taken(videos.ids, columns["video"]),
        "type": taken(events.TYPES, columns["type"]),
        "timestamp": columns["time"].round(3),
        "watch_seconds": pa.array(columns["seconds"].round(1), from_pandas=True),
        "watch_fraction": pa.array(columns["fraction"].round(3), from_pandas=True),
        "device": taken(world.DEVICES, columns["device"]),
        "country": taken(countries, viewers.country[columns["viewer"]]),
        "position": pa.array(columns["position"]),
        # The lists are generated, not answers of Vireo (vireo.training.judging.duel).
        "request_id": pa.nulls(n, pa.string()),
        "slot": pa.array(["organic"] * n, pa.string()),
        "variant": pa.nulls(n, pa.string()),
        "rating": pa.nulls(n, pa.float64()),
        "sequence": np.arange(n),
    }
    return pa.table(rows).cast(events.SCHEMA)
