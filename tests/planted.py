"""Small logs with a structure that a model has to find."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vireo.catalogue.columns import Vocabulary, encode
from vireo.catalogue.models import Video
from vireo.keys import keys_of
from vireo.recommender.candidates import Retrieval
from vireo.text import embed_all
from vireo.training.data.activity import Activity
from vireo.training.data.event_table import TYPES
from vireo.training.data.log import Log, People
from vireo.training.models import ranker as ranking
from vireo.training.models.item_to_item import NeighboursConfig
from vireo.training.models.recipe import RecipeConfig
from vireo.training.models.tower_model import TowerConfig

VOCABULARY = Vocabulary(
    categories=("a", "b", "c"),
    languages=("de", "en"),
    countries=("DE", "FR", "US"),
    devices=("phone", "tv"),
)
DAY = 86400.0


def log_of(
    user: NDArray[np.integer],
    video: NDArray[np.integer],
    time: NDArray[np.floating],
    *,
    n_users: int,
    n_videos: int,
    seed: int = 0,
) -> Log:
    """A log of events in any order, with made-up viewers and videos; category = video's id % 3."""
    rng = np.random.default_rng(seed)
    videos = [
        Video(
            video_id=f"v{j}",
            title=f"Video of kind {j % 3} number {j}",
            category="abc"[j % 3],
            language="en" if j % 2 else "de",
            duration_seconds=None if j % 5 == 0 else 10.0 + 40 * j,
        )
        for j in range(n_videos)
    ]
    columns = encode(videos, VOCABULARY)
    rows = columns.rows(keys_of(v.video_id for v in videos))
    order = np.lexsort((video, user, time))
    people = People(
        ids=np.array([f"u{j:06d}".encode() for j in range(n_users)]),
        age=rng.integers(-1, 80, n_users).astype(np.int16),
        country=rng.integers(0, 4, n_users).astype(np.int16),
        language=rng.integers(0, 3, n_users).astype(np.int16),
    )
    return Log(
        user=user[order].astype(np.int32),
        video=rows[video[order]],
        time=time[order].astype(np.float64),
        device=rng.integers(0, 3, len(order)).astype(np.int8),
        weight=np.ones(len(order), np.float32),
        place=np.full(len(order), -1, np.int32),
        people=people,
        videos=columns,
        text=embed_all(title.decode() for title in columns.titles),
        vocabulary=VOCABULARY,
    )


def ring_log(
    n_users: int = 150, n_videos: int = 120, events: int = 30, *, order: float = 0.8, seed: int = 0
) -> Log:
    """Viewers who step to the next video of a ring with probability `order`, else anywhere.

    All videos are equally popular, so that only who looks at the order can tell what comes next.
    """
    rng = np.random.default_rng(seed)
    user, video, time = [], [], []
    for u in range(n_users):
        at, now = int(rng.integers(n_videos)), float(rng.uniform(0, 5 * DAY))
        seen: set[int] = set()
        for _ in range(events):
            at = (at + 1) % n_videos if rng.random() < order else int(rng.integers(n_videos))
            while at in seen:
                at = (at + 1) % n_videos
            seen.add(at)
            now += float(rng.choice([5.0, 200.0, 2 * DAY], p=[0.5, 0.4, 0.1]))
            user.append(u)
            video.append(at)
            time.append(now)
    return log_of(
        np.array(user), np.array(video), np.array(time), n_users=n_users, n_videos=n_videos
    )


RETRIEVAL = Retrieval(tower=30, neighbours=20, openers=10, popularity=10, fresh=0)


QUICK = RecipeConfig(
    tower=TowerConfig(hidden=16, content_hidden=16, dimension=8, length=10, rows=8, epochs=2),
    neighbours=NeighboursConfig.for_log(ring_log(20, 30, 5)),
    ranker=ranking.RankerConfig(iterations=12, depth=3),
    retrieval=RETRIEVAL,
    requests=120,
)


def happenings(log: Log, seed: int = 0) -> Activity:
    """Impressions before some events, and the watches themselves."""
    rng = np.random.default_rng(seed)
    kind = rng.choice([TYPES.index(t) for t in ("watch", "impression", "click", "like")], len(log))
    return Activity(
        user=log.user,
        video=log.video,
        type=kind.astype(np.int8),
        time=log.time,
        seconds=rng.uniform(1, 300, len(log)).astype(np.float32),
        fraction=rng.random(len(log)).astype(np.float32),
        place=rng.integers(-1, 20, len(log)).astype(np.int32),
        recommended=np.zeros(len(log), bool),
        n_videos=log.n_videos,
    )
