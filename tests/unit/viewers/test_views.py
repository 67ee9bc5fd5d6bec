"""A viewer counts once for a video in a window, however many events they send."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.streams import START, Died, deliver, one
from vireo.catalogue.counters import (
    BUCKET,
    FORM,
    HOT,
    PARTS,
    Reader,
    by_video,
    place,
    viewers,
)
from vireo.events.tracking import WINDOW, Tracking
from vireo.homes.clock import MovableClock
from vireo.homes.local import LocalHome
from vireo.homes.meter import LocalMeter
from vireo.keys import key_of
from vireo.ports import Arrival, Ports, Table
from vireo.projection import WINDOW as IDENTITIES
from vireo.recommender.hot import MANY, Hot
from vireo.viewers.rows import SETTLE
from vireo.viewers.views import VIEWED, Views


@pytest.fixture
def ports(tmp_path: Path) -> Ports:
    return LocalHome(tmp_path, clock=MovableClock(START), meter=LocalMeter()).open("default")


def watch(position: int, user: str, video_id: str = "hit", *, at: float = 0.0) -> Arrival:
    when = START + at + position * 1e-3
    event = one(position, user, video_id=video_id, timestamp=when, country="DE")
    return Arrival(event.key, event.payload, event.shard, position, when)


def hot(ports: Ports, now: float = START + 60) -> Hot:
    reader = Reader(ports.records)
    reader.poll(now)
    return Hot.read(reader, START, now)


def test_nobody_makes_a_video_hot_alone(ports: Ports) -> None:
    """Neither with a thousand events, nor with other videos between them."""
    tracking = Tracking(ports)
    events = [watch(j + 1, "anna") for j in range(1_000)]
    events += [watch(2_000 + j, "anna", f"v{j}") for j in range(2 * IDENTITIES)]
    events += [watch(9_000 + j, "anna") for j in range(1_000)]
    for start in range(0, len(events), 500):
        assert tracking.follow(events[start : start + 500]) is None
    for country in (None, "DE"):
        assert hot(ports).most_watched(country).tolist() == []
    hit = by_video(hot(ports).since)
    hit = hit[hit["video"] == key_of("hit")]
    assert viewers(hit).tolist() == [1]
    assert hit["watches"].tolist() == [2_000], "all of them are watches nevertheless"


def test_nobody_counts_twice_by_choosing_ids(ports: Ports) -> None:
    """The last 16 bits of the keys of these ids are the same."""
    assert key_of("e1121") % 2**16 == key_of("e3239") % 2**16
    for j, name in enumerate(("e1121", "e3239"), 1):
        event = one(j, "anna", video_id="hit", event_id=name, timestamp=START, country="DE")
        Tracking(ports).follow([event])
    assert viewers(by_video(hot(ports).since)).tolist() == [1]


def test_as_many_viewers_as_it_takes_do(ports: Ports) -> None:
    crowd = [watch(j + 1, f"u{j % MANY}") for j in range(10 * MANY)]
    tracking = Tracking(ports)
    tracking.follow([event for event in crowd if event.key != "u0"])
    assert hot(ports).most_watched("DE").tolist() == []
    tracking.follow([watch(1_000, "u0")])
    for country in (None, "DE"):
        assert hot(ports).most_watched(country).tolist() == [key_of("hit")]


def test_a_viewer_counts_again_when_the_window_is_over(ports: Ports) -> None:
    tracking = Tracking(ports)
    for position, day in enumerate(range(0, 22, 2), 1):
        tracking.follow([watch(position, "anna", at=day * 86_400.0)])
        # In any window there is one view, and there is one now.
        now = START + day * 86_400.0 + 1
        reader = Reader(ports.records)
        reader.poll(now)
        assert viewers(by_video(reader.total())).tolist() == [1]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("deaths", range(1, 8))
def test_what_is_a_view_is_told_again_after_a_crash(ports: Ports, when: str, deaths: int) -> None:
    """Deaths before and after every write: between the viewer's and the counters', too."""
    left = [deaths]

    def fate(moment: str, name: str) -> None:
        if moment == when and name in {"put", "write"}:
            left[0] -= 1
            if left[0] == 0:
                raise Died

    events = [watch(j + 1, f"u{j % 3}", f"v{j % 7}") for j in range(4 * SETTLE)]
    assert deliver(ports, events, 50, fate) == 1
    assert viewers(by_video(hot(ports).since)).tolist() == [3] * 7


def test_counters_of_another_form_are_left_out_and_begun_anew(
    ports: Ports, caplog: pytest.LogCaptureFixture
) -> None:
    """One of a later version, and one that is damaged; both with a metric, and in the log by name.

    Counters of the version before lie under another key, and touch nothing.
    """
    before = [("video", "<u8"), ("country", "S2"), *((f"n{j}", "<u4") for j in range(5))]
    table, bucket = Table.OVERLAY, int(START // BUCKET)
    old = {"counts": np.ones(3, before).tobytes(), "position": "5", "seen": b""}
    ports.records.put(table, f"counts#{bucket}", "shard-0#0", old)
    strange = {"form": FORM + 1, "counts": b"?", "position": "0", "seen": b""}
    damaged = {"form": FORM, "counts": b"?", "position": "0", "seen": b""}
    videos = {key_of(f"v{j}") % PARTS: f"v{j}" for j in range(50)}
    for part, item in ((1, strange), (2, damaged)):
        ports.records.put(*place(bucket, "shard-0", part), item)
    reader = Reader(ports.records)
    reader.poll(START)
    assert (len(reader.total()), reader.refused) == (0, 2)
    assert f"form {FORM + 1}, expected {FORM}" in caplog.text
    assert Tracking(ports).follow([watch(j, "anna", videos[j]) for j in (1, 2)]) is None
    meter = ports.meter
    assert isinstance(meter, LocalMeter)
    assert meter.total("CountersRefused") == 2
    assert meter.total("DeadLetters") == 0
    reader.poll(START)
    assert (viewers(reader.total()).tolist(), reader.refused) == ([1, 1], 2)


def test_views_of_a_viewer_are_bounded_and_do_not_make_room_for_repeats() -> None:
    views = Views(WINDOW)
    for turn in range(3):
        for video in range(2 * VIEWED):
            views.add(video, 9_999 * turn + video, 100)
            if video % SETTLE == 0:
                views = Views.of(WINDOW, views.settle(100), views.packed())
    assert len(views.settle(100)) == 10 * VIEWED
    assert views.has(VIEWED - 1, VIEWED - 1)
    assert not any(views.has(VIEWED, 9_999 * turn + VIEWED) for turn in range(3))
    # When the window is over there is room.
    views.add(VIEWED, 7, 100 + WINDOW)
    assert views.has(VIEWED, 7)
    assert len(views.settle(100 + WINDOW)) == 10


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.booleans()), max_size=60))
def test_views_are_those_of_a_plain_table(steps: list[tuple[int, int, bool]]) -> None:
    """Periods go on across the end of 16 bits; settling changes no answer."""
    views, last, period = Views(WINDOW), dict[int, tuple[int, int]](), 65_530
    for j, (video, later, settle) in enumerate(steps):
        period += 7 * later
        known = last.get(video)
        if known is None or period - known[0] >= WINDOW:
            last[video] = period, j
        views.add(video, j, period)
        if settle:
            views = Views.of(WINDOW, views.settle(period), views.packed())
        for key, (then, first) in last.items():
            if period - then < WINDOW:
                assert views.has(key, first)
        assert views.has(video, j) == (last[video][1] == j)


def test_the_window_is_that_of_the_counters() -> None:
    assert WINDOW * BUCKET == HOT
