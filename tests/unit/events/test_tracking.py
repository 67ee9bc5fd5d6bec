"""Viewers and counters follow a stream: nothing is lost and nothing counts twice, whoever dies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracles_events import assert_followed, payload, stored_viewers
from tests.streams import BAD, START, Died, Fragile, deliver, one, stored, stream
from vireo.catalogue import counters
from vireo.events.tracking import Tracking
from vireo.homes.clock import MovableClock
from vireo.homes.local import LocalHome
from vireo.homes.meter import LocalMeter
from vireo.keys import key_of
from vireo.letters import DeadLetters
from vireo.ports import Arrival, Ports, Table, Unavailable
from vireo.projection import WINDOW
from vireo.recommender.users import Viewers
from vireo.viewers.profile import Profile
from vireo.viewers.rows import SEEN, SETTLE
from vireo.viewers.viewer import Viewer


def arrivals(n: int, **more: Any) -> list[Arrival]:
    return [
        Arrival(key, data, "shard-0", 10 * j + 10, arrived)
        for j, (key, data, arrived) in enumerate(stream(n, **more))
    ]


@pytest.fixture
def home(tmp_path: Path) -> LocalHome:
    return LocalHome(tmp_path, clock=MovableClock(START + 3600), meter=LocalMeter())


@pytest.fixture
def ports(home: LocalHome) -> Ports:
    return home.open("default")


@pytest.mark.parametrize("size", [1, 7, 500])
def test_a_stream_leaves_what_its_distinct_good_events_say(ports: Ports, size: int) -> None:
    records = arrivals(1500 if size > 1 else 300, seed=size, poison=0.02)
    deliver(ports, records, size)
    good = assert_followed(ports.records, records)
    meter = ports.meter
    assert isinstance(meter, LocalMeter)
    assert meter.total("EventsFollowed") == good
    assert meter.total("EventsRepeated") > 0
    buried = {(a.position, a.payload) for _, a, _ in DeadLetters(ports.blobs).all()}
    assert buried == {(a.position, a.payload) for a in records if a.payload in BAD}


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 2**32), st.integers(2, 60), st.sampled_from([0.02, 0.1]))
def test_whatever_dies_or_fails_nothing_is_lost_or_twice(
    tmp_path_factory: pytest.TempPathFactory, seed: int, size: int, often: float
) -> None:
    ports = LocalHome(tmp_path_factory.mktemp("h"), clock=MovableClock(START)).open("default")
    records = arrivals(250, seed=seed, users=8, videos=12, repeats=0.3, poison=0.03)
    rng = np.random.default_rng(seed)

    def fate(when: str, name: str) -> None:
        if rng.uniform() < often / 4:
            # A store may have written and yet not be able to say so.
            raise Died if rng.uniform() < 0.5 else Unavailable(when)

    deliver(ports, records, size, fate)
    assert_followed(ports.records, records)
    assert len(list(DeadLetters(ports.blobs).all())) == sum(a.payload in BAD for a in records)


def test_two_consumers_of_one_shard(home: LocalHome) -> None:
    """One that was thought dead goes on beside the one that took its place, batch by batch."""
    records = arrivals(400, seed=3, users=5)
    first, second = Tracking(home.open("default")), Tracking(home.open("default"))
    for start in range(0, len(records), 50):
        batch = records[start : start + 50]
        for consumer in (first, second, first):
            assert consumer.follow(batch) is None
    assert_followed(home.open("default").records, records)


def test_writers_in_turns(home: LocalHome) -> None:
    """A profile that is written between a consumer's read and its write is lost by neither."""
    ports = home.open("default")
    writes = iter(range(3))

    def meanwhile(when: str, name: str) -> None:
        if (when, name) == ("after", "get") and next(writes, None) is not None:
            Viewers(ports).put_profile("anna", Profile(age=30))

    deliver(ports, [one(1), one(2)], 2, meanwhile)
    found = stored(ports)
    assert found.profile.age == 30
    assert found.watches == 2
    Viewers(ports).put_profile("anna", Profile(age=31))
    assert Tracking(ports).follow([one(1), one(2)]) is None
    assert stored(ports).watches == 2, "a profile does not make the consumer forget"
    Tracking(ports).follow([one(j + 1) for j in range(SETTLE - 1)])
    ages = iter([32])

    def while_settling(when: str, name: str) -> None:
        if (when, name) == ("before", "write") and (age := next(ages, None)):
            Viewers(ports).put_profile("anna", Profile(age=age))

    deliver(ports, [one(SETTLE)], 1, while_settling)
    assert next(ages, None) is None
    assert (stored(ports).profile.age, stored(ports).watches) == (32, SETTLE)


def test_late_events_find_their_place_in_time(ports: Ports) -> None:
    times = [30, 10, 20, -86_400, 5]
    batch = [one(j + 1, timestamp=START + t) for j, t in enumerate(times)]
    assert Tracking(ports).follow(batch) is None
    found = stored(ports)
    assert found.times.tolist() == sorted(START + t for t in times)
    assert found.keys.tolist() == [key_of(f"v{j}") for j in (4, 5, 2, 3, 1)]


def test_a_repeat_counts_once_within_the_window(ports: Ports) -> None:
    tracking = Tracking(ports)
    batch = [one(j, event_id=f"e{j % 400}", type="like") for j in range(1, 801)]
    for start in range(0, 800, 100):
        tracking.follow(batch[start : start + 100])
    assert stored(ports).likes == 400
    for start in range(0, 2 * WINDOW, 256):
        tracking.follow([one(1000 + start + j) for j in range(256)])
    kept = ports.records.get(Table.VIEWERS, "anna", SEEN)
    assert kept is not None
    assert len(kept.item["seen"]) == 16 * WINDOW
    # What lies further back is not known any more: a counter moves, history and watched do not.
    before = stored(ports)
    tracking.follow([one(10_000, event_id="e1", video_id="v1", type="like")])
    assert stored(ports).likes == before.likes + 1
    assert stored(ports).keys.tolist() == before.keys.tolist()


def test_a_batch_that_comes_long_after_its_window_changes_nothing(ports: Ports) -> None:
    tracking = Tracking(ports)
    old = [one(j) for j in range(1, 101)]
    tracking.follow(old)
    for start in range(0, 2000, 400):
        tracking.follow([one(1000 + start + j) for j in range(400)])
    before = stored(ports).pack()
    assert tracking.follow(old) is None
    assert stored(ports).pack() == before


def test_what_cannot_be_read_holds_up_nothing(ports: Ports) -> None:
    bad = [Arrival("anna", data, "shard-0", j + 1, START) for j, data in enumerate(BAD)]
    assert Tracking(ports).follow([*bad, one(100)]) is None
    assert stored(ports).watches == 1
    letters = {a.position: (a, reason) for _, a, reason in DeadLetters(ports.blobs).all()}
    assert [letters[a.position][0] for a in bad] == bad
    assert letters[1][1].startswith("not JSON")
    assert letters[5][1] == "user_id: Field required"
    assert letters[6][1] == "user_id: not the key that it was sent by"


def test_a_viewer_s_record_that_cannot_be_read_holds_up_nobody_else(ports: Ports) -> None:
    ports.records.put(Table.VIEWERS, "anna", "", {"viewer": b"of another version"})
    assert Tracking(ports).follow([one(1), one(2, "boris")]) is None
    assert stored(ports, "boris").watches == 1
    [(_, arrival, reason)] = DeadLetters(ports.blobs).all()
    assert arrival == one(1)
    assert "cannot be read" in reason


def test_a_store_that_is_down_for_one_viewer(ports: Ports) -> None:
    """Others go on; what comes again is what failed, and what came behind it counts once."""
    batch = [one(j, key) for j, key in enumerate(["anna", "boris", "anna", "clara"], 1)]
    down = True

    class One(Fragile):
        def __getattr__(self, name: str) -> Any:
            method = getattr(self._records, name)

            def call(table: Table, key: str, *given: Any, **named: Any) -> Any:
                if down and key == "boris":
                    raise Unavailable("slow")
                return method(table, key, *given, **named)

            return call

    tracking = Tracking(replace(ports, records=One(ports.records, lambda *_: None)))
    assert tracking.follow(batch) == 2
    assert stored_viewers(ports.records, ["anna", "boris", "clara"]).keys() == {"anna", "clara"}
    down = False
    assert tracking.follow(batch[1:]) is None
    assert_followed(ports.records, batch)


def test_a_dead_letter_that_cannot_be_kept_comes_again(ports: Ports) -> None:
    class Full:
        def write(self, name: str, data: bytes) -> None:
            raise Unavailable("no space")

    bad = Arrival("anna", b"{", "shard-0", 2, START)
    full: Any = Full()
    tracking = Tracking(replace(ports, blobs=full))
    assert tracking.follow([one(1), bad, one(3)]) == 2
    assert Tracking(ports).follow([bad, one(3)]) is None
    assert_followed(ports.records, [one(1), bad, one(3)])


def test_an_erased_person_stays_forgotten(home: LocalHome) -> None:
    ports = home.open("default")
    tracking = Tracking(ports)
    tracking.follow([one(1), Arrival("anna", b"{", "shard-0", 2, START)])
    Viewers(ports).erase("anna")
    erased = home.clock.now()
    assert list(DeadLetters(ports.blobs).all()) == []
    # What was under way, and what a phone sends later, of the time before.
    tracking.follow([one(1), one(5), one(6, timestamp=erased - 1)])
    assert stored(ports).pack() == Viewer().pack()
    tracking.follow([replace(one(7, timestamp=erased + 1), arrived=erased + 1)])
    tracking.follow([one(8, timestamp=erased - 2)])
    assert stored(ports).times.tolist() == [erased + 1]


def test_exposures_are_no_viewer_s_doing(ports: Ports) -> None:
    exposure = {
        "event_id": "r-1/exposure",
        "type": "exposure",
        "user_id": "anna",
        "timestamp": START,
        "request_id": "r-1",
        "model_version": "b1",
        "experiments": {"blend": "b"},
    }
    assert Tracking(ports).follow([Arrival("anna", payload(exposure), "s", 1, START)]) is None
    assert ports.records.get(Table.VIEWERS, "anna") is None
    assert list(ports.blobs.names("dead-letters/")) == []


def test_counters_are_bounded_and_keep_the_most_active() -> None:
    rng = np.random.default_rng(1)
    none = [0] * (len(counters.CELLS) - 1)
    changes = {(int(v), b""): [int(c), *none] for v, c in enumerate(rng.permutation(5000))}
    kept = counters.bounded(counters.rows(changes), 100)
    assert sorted(kept["watches"].tolist()) == list(range(4900, 5000))
    assert kept["video"].tolist() == sorted(kept["video"].tolist())


def test_a_reader_sees_what_the_consumer_counted(home: LocalHome) -> None:
    ports = home.open("default")
    tracking = Tracking(ports)
    reader = counters.Reader(ports.records)
    clock = home.clock
    assert isinstance(clock, MovableClock)
    for hour in range(0, 240, 8):
        at = START + 3600 * hour
        rows = [
            replace(one(hour * 10 + j, video_id="v1", timestamp=at, country="DE"), arrived=at)
            for j in range(3)
        ]
        tracking.follow(rows)
        reader.poll(at + 1)
        fresh = counters.Reader(ports.records)
        fresh.poll(at + 1)
        assert reader.total().tobytes() == fresh.total().tobytes()
    # Seven days of three watches every eight hours, the oldest bucket whole or not at all.
    [row] = counters.by_video(reader.total())
    assert 60 <= row["watches"] <= 63
    assert len(counters.by_video(reader.total(), "US")) == 0
