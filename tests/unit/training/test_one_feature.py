"""Counted features are the same whether training counts the events or the stream's consumer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.oracles_events import payload
from vireo.catalogue.counters import Reader
from vireo.catalogue.models import Video
from vireo.events.tracking import Tracking
from vireo.homes.clock import MovableClock
from vireo.homes.local import LocalHome
from vireo.keys import keys_of
from vireo.ports import Arrival
from vireo.recommender.hot import Hot
from vireo.recommender.loaded import Loaded
from vireo.recommender.overlay import Overlay
from vireo.recommender.snapshot import Snapshot
from vireo.recommender.video_features import VIDEO_FEATURES
from vireo.training.data import event_table
from vireo.training.data.dataset import Dataset
from vireo.training.data.preprocess import from_dataset
from vireo.training.models.assembly import without_models

START = 1_790_000_000.0
NAMES = ("log_views", "log_recent", "like_rate", "ctr")
VIDEOS = 6
Rows = list[dict[str, Any]]


class Diary:
    """Events, in the order in which they are noted."""

    def __init__(self) -> None:
        self.rows: Rows = []

    def note(self, who: tuple[int, int], time: float, place: int | None, *kinds: str) -> None:
        """What a viewer does with a video, a second after each other."""
        user, video = who
        for later, kind in enumerate(kinds):
            found = {
                "event_id": f"e{len(self.rows)}",
                "user_id": f"u{user}",
                "video_id": f"v{video}",
                "type": kind,
                "timestamp": time + later,
            }
            self.rows.append(found if place is None else found | {"position": place})


def alike(viewers: int, lists: int) -> Rows:
    """Viewers who all do the same, so that none has a taste of their own.

    The videos attract equally; each stands at a place of its own two times out of three. A place is
    looked at in every (place + 1)th list, and then every second video clicked. A watch follows a
    click, so videos are watched again and again; some are liked, some are found without a list.
    """
    diary = Diary()
    for at in range(lists):
        for user in range(viewers):
            time = START + 600.0 * at + user
            for place in range(VIDEOS):
                who = user, place if at % 3 else (place + at // 3) % VIDEOS
                watched = at % (2 * (place + 1)) == 0
                diary.note(who, time, place, "impression", *(("click", "watch") if watched else ()))
                if at % 7 == place:
                    diary.note(who, time + 3, place, "like")
                if at % 11 == place:
                    diary.note(who, time + 4, None, "watch")
    return diary.rows


def drawn(viewers: int, lists: int, seed: int) -> Rows:
    """Viewers who look at place p with probability 1 / (p + 1), and click a half of what they see.

    Every video stands most often at a place of its own; all attract equally.
    """
    rng = np.random.default_rng(seed)
    diary = Diary()
    for at in range(lists):
        user, time = int(rng.integers(viewers)), START + 60.0 * at
        order = np.argsort(np.arange(VIDEOS) + rng.normal(0, 1.0, VIDEOS)).tolist()
        for place, video in enumerate(order):
            watched = rng.random() < 0.5 / (place + 1)
            kinds = ("impression", "click", "watch") if watched else ("impression",)
            diary.note((user, video), time, place, *kinds)
    return diary.rows


def both(rows: Rows, folder: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The features of the videos by name: as training and as serving count them, and raw counts.

    For training the events are collected ones. For serving the videos are new, and the same events
    are on the stream.
    """
    rows = sorted(rows, key=lambda r: (r["timestamp"], r["event_id"]))
    end = rows[-1]["timestamp"] + 60
    videos = [Video(video_id=f"v{v}", title=f"Video {v}") for v in range(VIDEOS)]
    columns = [f.name for f in event_table.SCHEMA if f.name not in ("slot", "variant", "rating")]
    plain = [{n: r.get(n) for n in columns if n != "sequence"} for r in rows]
    good, bad, _ = event_table.check(pa.Table.from_pylist(plain))
    assert not len(bad)
    prepared = from_dataset(Dataset(good, videos, {}), now=end)
    trained = without_models(
        prepared.log, prepared.activity, version="b", now=end, watermark=START, config={}
    )
    assert len(prepared.log) < len([r for r in rows if r["type"] == "watch"]), "with repeats"

    home = LocalHome(folder, clock=MovableClock(end))
    ports = home.open("default")
    tracking = Tracking(ports)
    stream = [
        Arrival(r["user_id"], payload(r), "shard-0", n + 1, r["timestamp"])
        for n, r in enumerate(rows)
    ]
    for start in range(0, len(stream), 200):
        assert tracking.follow(stream[start : start + 200]) is None
    reader = Reader(ports.records)
    reader.poll(end)
    hot = Hot.read(reader, START, end)
    home.close()
    # The same scale, in a bundle that does not have the videos.
    other = Dataset(good.slice(0, 0), [Video(video_id="other", title="Other")], {})
    empty = from_dataset(other, now=end)
    older = without_models(
        empty.log, empty.activity, version="a", now=end, watermark=START, config={}
    )
    scale = {n: a for n, a in trained.arrays.items() if n.startswith("scale/")}
    loaded = Loaded(replace(older, arrays={**older.arrays, **scale}))
    view = Snapshot(loaded, Overlay.of(loaded, videos, {}), end, hot)
    keys = keys_of([v.video_id for v in videos])

    def named(features: Any) -> dict[str, Any]:
        return {name: features[:, VIDEO_FEATURES.index(name)] for name in NAMES}

    shown, clicked = (
        np.bincount([int(r["video_id"][1:]) for r in rows if r["type"] == kind])
        for kind in ("impression", "click")
    )
    return (
        named(trained.arrays["features"][trained.columns.rows(keys)]),
        named(view.features(view.rows(keys))),
        {"ctr": (clicked + 20 * clicked.sum() / shown.sum()) / (shown + 20)},
    )


def test_training_and_serving_count_the_same(tmp_path: Path) -> None:
    """Of viewers who are alike: places and repeats are all that there is to be told apart."""
    trained, served, raw = both(alike(viewers=20, lists=60), tmp_path)
    for name in NAMES:
        assert np.isfinite(trained[name]).all()
        np.testing.assert_allclose(served[name], trained[name], rtol=1e-4, err_msg=name)
    assert np.abs(raw["ctr"] - trained["ctr"]).max() > 0.1, "places matter here"
    assert np.exp(trained["log_views"]).max() < 60, "views are of 20 viewers, whatever they repeat"


@pytest.mark.parametrize("seed", range(4))
def test_videos_that_attract_equally_have_equal_click_rates_in_both(
    tmp_path: Path, seed: int
) -> None:
    """Viewers differ by chance, which training takes for their taste; serving cannot."""
    trained, served, raw = both(drawn(viewers=40, lists=1500, seed=seed), tmp_path)
    for name in NAMES[:3]:
        np.testing.assert_allclose(served[name], trained[name], rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(served["ctr"], trained["ctr"], rtol=0.01)
    for rates in (trained["ctr"], served["ctr"]):
        assert np.ptp(rates) < 0.35 * np.ptp(raw["ctr"])
