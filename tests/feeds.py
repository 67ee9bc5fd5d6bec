"""Lists that generated viewers saw, in an order that is no merit, and what they clicked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from vireo.training import generator
from vireo.training.data.activity import Activity, counters
from vireo.training.data.event_table import TYPES
from vireo.training.data.places import Shown
from vireo.training.generator.audience import Audience

BIAS, SHOWN, VIDEOS, VIEWERS, REQUESTS = 0.6, 20, 120, 150, 2_500


@dataclass(frozen=True)
class Feed:
    activity: Activity
    kinds: NDArray[np.int64]
    merit: NDArray[np.float64]  #: how often a viewer who looks at a video clicks it

    def rates(self, activity: Activity) -> NDArray[np.float64]:
        return counters(activity, 1e18, kinds=self.kinds).click_rate

    def raw(self) -> NDArray[np.float64]:
        seen = counters(self.activity, 1e18)
        overall = seen.clicks.sum() / seen.impressions.sum()
        return np.asarray((seen.clicks + 20 * overall) / (seen.impressions + 20))


@cache
def feed(seed: int, *, personal: bool = False, bias: float = BIAS) -> Feed:
    """What generated viewers do with lists in an order that is no merit.

    A list is ordered by a made-up score of the videos and noise; ``personal``: also by what suits
    the viewer, as a recommender would.
    """
    rng, videos, viewers = generator.people(
        generator.Settings(viewers=VIEWERS, videos=VIDEOS, events=1, seed=seed)
    )
    audience = Audience(rng, videos, viewers, bias=bias)
    draw = np.random.default_rng(seed)
    favour = draw.normal(size=VIDEOS)
    pull = np.array([audience.attraction(v, videos.ids) for v in range(VIEWERS)])
    impression, click, watch = (TYPES.index(name) for name in ("impression", "click", "watch"))
    events: list[tuple[int, int, int, int]] = []  # viewer, video, type, place
    for _ in range(REQUESTS):
        viewer = int(draw.integers(VIEWERS))
        score = favour + draw.normal(size=VIDEOS) + (0.5 * pull[viewer] if personal else 0.0)
        rows = np.argsort(-score)[:SHOWN].tolist()
        events += [(viewer, row, impression, place) for place, row in enumerate(rows)]
        for choice in audience.choose(viewer, [videos.ids[row] for row in rows]):
            for kind in (click, watch):
                events.append((viewer, rows[choice.place], kind, choice.place))
    merit = (1 / (1 + np.exp(-0.8 * (pull - 4.0)))).mean(0)
    categories = [str(video.category) for video in videos.catalogue]
    user, video, kind_of, place_of = np.array(events, np.int32).T
    activity = Activity(
        user=user,
        video=video,
        type=kind_of.astype(np.int8),
        time=np.arange(len(events), dtype=np.float64),
        seconds=np.full(len(events), np.nan, np.float32),
        fraction=np.full(len(events), np.nan, np.float32),
        place=place_of,
        recommended=np.ones(len(events), bool),
        n_videos=VIDEOS,
    )
    return Feed(activity, np.unique(categories, return_inverse=True)[1], merit)


def of(activity: Activity, name: str, kinds: NDArray[np.int64]) -> Shown:
    at = np.flatnonzero(activity.type == TYPES.index(name))
    taste = activity.user[at] * (kinds.max() + 1) + kinds[activity.video[at]]
    return Shown(activity.video[at], activity.place[at], taste)
