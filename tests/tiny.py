"""A world by hand, in which it is known what ordering costs."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests import worlds
from tests.worlds import NOW, VOCABULARY
from vireo.keys import keys_of
from vireo.recommender.contents import ModelBundle
from vireo.training.data.log import Log, People
from vireo.training.data.requests import Requests
from vireo.training.models.replay import Replay

#: Of 60 videos, the ten best are of one channel; every other one has a channel of its own.
CROWDED = worlds.catalogue(
    60,
    {j: {"channel_id": "crowd" if j < 10 else f"own{j}", "category": None} for j in range(60)},
)


def tiny(wanted: list[int], **arrays: Any) -> tuple[Replay, Requests]:
    """Viewers without a history who want one video each; video 0 has the best score, 59 the worst.

    All that scores is what sessions begin with.
    """
    made = worlds.bundle(CROWDED, without=("tower", "vectors", "neighbours", "successors"))
    columns = made.columns
    rows = columns.rows(keys_of(v.video_id for v in CROWDED))
    score = np.zeros(60, np.float32)
    score[rows] = -np.arange(60, dtype=np.float32)
    features = np.where(np.isnan(made.arrays["features"]), np.nan, 0).astype(np.float32)
    given = {"opener_score": score, "openers": rows.astype(np.int32), "features": features}
    bundle = ModelBundle(made.manifest, {**made.arrays, **given, **arrays}, made.index)
    n = len(wanted)
    nothing = np.zeros(n, np.int16)
    log = Log(
        user=np.zeros(0, np.int32),
        video=np.zeros(0, np.int32),
        time=np.zeros(0),
        device=np.zeros(0, np.int8),
        weight=np.zeros(0, np.float32),
        place=np.zeros(0, np.int32),
        people=People(
            np.array([f"u{j:04d}".encode() for j in range(n)]), nothing - 1, nothing, nothing
        ),
        videos=columns,
        text=np.zeros((60, 512), np.float32),
        vocabulary=VOCABULARY,
    )
    requests = Requests(
        user=np.arange(n, dtype=np.int32),
        time=np.full(n, NOW),
        pause=np.full(n, np.inf),
        start=np.zeros(n, np.int64),
        stop=np.zeros(n, np.int64),
        target_offsets=np.arange(n + 1),
        target=rows[wanted].astype(np.int32),
    )
    return Replay(bundle, log), requests
