"""A viewer's record, and what an event does to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.streams import EVENTS
from vireo.viewers import viewer as module
from vireo.viewers.profile import Profile
from vireo.viewers.viewer import (
    HISTORY_CAP,
    WATCHED_CAP,
    Event,
    EventType,
    Viewer,
    apply,
    is_positive,
    merge_session,
)

PROFILES = st.builds(
    Profile,
    age=st.none() | st.integers(0, 120),
    country=st.none() | st.sampled_from(["DE", "US"]),
    language=st.none() | st.sampled_from(["en", "zho-Hant1234"]),
    joined_at=st.none()
    | st.datetimes(datetime(1971, 1, 1), datetime(2099, 1, 1)).map(
        lambda d: d.replace(microsecond=0, tzinfo=UTC)
    ),
)


def after(events: Sequence[Event], viewer: Viewer | None = None) -> Viewer:
    viewer = viewer or Viewer()
    for event in events:
        viewer = apply(viewer, [event])
    return viewer


def watch(video: int, time: float = 0.0, **more: float) -> Event:
    return Event(EventType.WATCH, video, time, **more)


def assert_same(ours: Viewer, theirs: Viewer) -> None:
    assert ours.pack() == theirs.pack()


@given(PROFILES, st.lists(EVENTS, max_size=30))
def test_unpacked_is_what_was_packed(profile: Profile, events: list[Event]) -> None:
    viewer = replace(after(events), profile=profile)
    back = Viewer.unpack(viewer.pack())
    assert_same(back, viewer)
    assert back.profile == profile
    np.testing.assert_array_equal(back.keys, viewer.keys)
    np.testing.assert_array_equal(back.times, viewer.times)
    np.testing.assert_array_equal(back.watched, viewer.watched)
    assert (back.watches, back.seconds, back.likes) == (
        viewer.watches,
        viewer.seconds,
        viewer.likes,
    )


def test_other_records_are_refused() -> None:
    record = after([watch(1), watch(2)]).pack()
    assert_same(Viewer.unpack(b"\x01" + record[1:]), Viewer.unpack(record))  # it had no more
    for wrong in (b"", record[:-1], record + b"\0", b"\x03" + record[1:]):
        with pytest.raises(ValueError, match="record"):
            Viewer.unpack(wrong)


@pytest.mark.parametrize(
    ("event", "in_history", "watched"),
    [
        (watch(7), True, True),
        (watch(7, seconds=30), True, True),
        (watch(7, seconds=29), False, False),
        (watch(7, seconds=5, fraction=0.3), True, True),
        (watch(7, fraction=0.29), False, False),
        (Event(EventType.LIKE, 7, 0), True, True),
        (Event(EventType.COMMENT, 7, 0), True, True),
        (Event(EventType.SHARE, 7, 0), True, True),
        (Event(EventType.DISLIKE, 7, 0), False, True),
        (Event(EventType.SKIP, 7, 0), False, False),
        (Event(EventType.IMPRESSION, 7, 0), False, False),
        (Event(EventType.CLICK, 7, 0), False, False),
    ],
)
def test_what_an_event_does(event: Event, in_history: bool, watched: bool) -> None:
    viewer = apply(Viewer(), [event])
    assert (viewer.keys.tolist() == [7]) == in_history
    assert (viewer.watched.tolist() == [7]) == watched


def test_counters() -> None:
    viewer = after(
        [
            watch(1, seconds=40),
            watch(1, seconds=2),
            watch(2),
            *(Event(kind, 3, 0) for kind in EventType if kind is not EventType.WATCH),
        ]
    )
    assert (viewer.watches, viewer.seconds) == (3, 42)
    assert (viewer.impressions, viewer.clicks, viewer.likes, viewer.skips) == (1, 1, 3, 2)


def test_a_video_enters_once_and_at_its_place_in_time() -> None:
    viewer = after([watch(1, 10), watch(2, 30), watch(3, 20), watch(1, 40)])
    assert viewer.keys.tolist() == [1, 3, 2]
    assert viewer.times.tolist() == [10, 20, 30]


def test_a_record_is_bounded_whatever_was_done() -> None:
    start = Viewer(
        keys=np.arange(HISTORY_CAP, dtype=np.uint64),
        times=np.arange(HISTORY_CAP, dtype=np.float64),
        watched=np.arange(WATCHED_CAP, dtype=np.uint64),
    )
    viewer = after([watch(10**6 + j, 1e6 + j) for j in range(50)], start)
    assert len(viewer.keys) == HISTORY_CAP
    assert viewer.keys[-1] == 10**6 + 49
    assert viewer.keys[0] == 50
    assert len(viewer.watched) == WATCHED_CAP
    assert viewer.watched[0] == 50
    assert len(viewer.pack()) < 200_000


def slowly(viewer: Viewer, event: Event, history_cap: int, watched_cap: int) -> Viewer:
    """What an event does to history and watched set, in the plainest way."""
    history, watched = list(zip(viewer.times, viewer.keys, strict=True)), list(viewer.watched)
    positive = is_positive(event)
    if positive or event.type is EventType.DISLIKE:
        earlier = [time for time, key in history if key == event.video]
        if event.video not in watched or (earlier and event.time < earlier[0]) or not positive:
            history = [(time, key) for time, key in history if key != event.video]
            if positive:
                history.append((event.time, event.video))
        history = sorted(history, key=lambda pair: pair[0])[-history_cap:]
        if event.video not in watched:
            watched = [*watched, event.video][-watched_cap:]
    return replace(
        viewer,
        times=np.array([time for time, _ in history], float),
        keys=np.array([key for _, key in history], np.uint64),
        watched=np.array(watched, np.uint64),
    )


TIED = st.builds(
    Event,
    st.sampled_from(list(EventType)),
    st.integers(0, 12),
    st.integers(0, 9).map(float),
    st.sampled_from([math.nan, 5.0, 50.0]),
)


@given(
    st.lists(TIED, max_size=60), st.integers(1, 6), st.integers(6, 9), st.lists(st.integers(0, 9))
)
def test_events_at_once_are_events_one_by_one(
    events: list[Event], history_cap: int, watched_cap: int, cuts: list[int]
) -> None:
    """However they are cut into calls, and full as history and watched set may be."""
    expected = Viewer()
    for event in events:
        expected = slowly(expected, event, history_cap, watched_cap)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "HISTORY_CAP", history_cap)
        patch.setattr(module, "WATCHED_CAP", watched_cap)
        patch.setattr(module, "_AT_ONCE", watched_cap)
        viewer, rest = Viewer(), events
        for size in cuts:
            viewer, rest = apply(viewer, rest[:size]), rest[size:]
        viewer = apply(viewer, rest)
    for name in ("keys", "times", "watched"):
        assert getattr(viewer, name).tolist() == getattr(expected, name).tolist(), name
    assert viewer.watches == sum(e.type is EventType.WATCH for e in events)
    assert viewer.likes == sum(e.type in {"like", "comment", "share"} for e in events)


@given(st.lists(EVENTS, max_size=12, unique_by=lambda e: (e.time, e.video)), st.randoms())
def test_a_session_may_come_in_any_order(events: list[Event], random: Random) -> None:
    mixed = events.copy()
    random.shuffle(mixed)
    assert_same(merge_session(Viewer(), events), merge_session(Viewer(), mixed))


def test_what_the_store_knows_already_counts_once() -> None:
    session = [watch(1, 10, seconds=50), watch(2, 20, seconds=60)]
    stored = after(session)
    assert_same(merge_session(stored, session), stored)
    assert_same(merge_session(after(session[:1]), session), stored)
    assert_same(merge_session(Viewer(), session), stored)
