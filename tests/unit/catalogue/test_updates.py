"""Readers learn every change of the catalogue, in the order in which it changed."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.worlds import NOW, catalogue, video
from vireo.catalogue import updates
from vireo.catalogue.earlier import HOUR, KEPT
from vireo.catalogue.models import Status, Video, VideoBody
from vireo.catalogue.store import Catalogue, UnknownVideo
from vireo.catalogue.updates import ChangesLost, Mark, Updates
from vireo.homes.clock import MovableClock
from vireo.homes.local import home
from vireo.homes.meter import LocalMeter
from vireo.ports import Conflict, Ports, Put, Table, Unavailable, walk

VIDEOS = catalogue(120)


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock(NOW)


@pytest.fixture
def ports(tmp_path: Path, clock: MovableClock) -> Ports:
    return home(tmp_path, clock=clock, meter=LocalMeter()).open("default")


def body(number: int, **fields: Any) -> VideoBody:
    return VideoBody.model_validate(video(number, **fields).model_dump(exclude={"video_id"}))


def seen(ports: Ports, since: Mark | None = Mark()) -> Updates:  # noqa: B008 - a tuple
    found = Updates(ports.records, since)
    found.poll(ports.clock.now())
    return found


def rows(ports: Ports) -> list[str]:
    return [r.item["video_id"] for r in walk(ports.records, Table.OVERLAY, "changes") if r.sort]


def forget(ports: Ports, *numbers: int) -> None:
    for number in numbers:
        ports.records.delete(Table.OVERLAY, updates.KEY, updates.row(number))


def test_a_batch_is_stored_whole(ports: Ports) -> None:
    store = Catalogue(ports)
    told: list[tuple[int, int]] = []
    assert store.put_all(VIDEOS, lambda done, total: told.append((done, total))) == 120
    assert told == [(49, 120), (98, 120), (120, 120)]
    assert [store.get(v.video_id) for v in VIDEOS] == VIDEOS
    found = seen(ports)
    assert found.videos == {v.video_id: v for v in VIDEOS}
    assert found.texts.keys() == found.videos.keys()
    assert updates.latest(ports.records) == Mark(120, NOW)


@pytest.mark.parametrize("many", [1, 120, 20_000])
def test_an_unchanged_video_is_no_news(ports: Ports, many: int) -> None:
    videos, store = catalogue(many), Catalogue(ports)
    store.put_all(videos)
    reader, before = seen(ports), updates.latest(ports.records)
    told: list[tuple[int, int]] = []
    store.put_all(videos, lambda done, total: told.append((done, total)))
    assert told[-1] == (many, many)
    store.put("v0", body(0))
    assert updates.latest(ports.records) == before
    reader.poll(NOW)
    assert reader.news == many
    store.put_all([*videos[:-1], video(many - 1, title="Another title")])
    reader.poll(NOW)
    assert reader.news == many + 1
    assert reader.videos[f"v{many - 1}"].title == "Another title"


def test_the_last_of_two_changes_at_one_moment_counts(ports: Ports) -> None:
    store, reader = Catalogue(ports), seen(ports)
    store.put("v1", body(1))
    reader.poll(NOW)
    store.delete("v1")  # the clock stands still
    reader.poll(NOW)
    assert reader.videos["v1"].status is Status.DELETED
    store.put_all([video(1, title="one"), video(1, title="two")])
    reader.poll(NOW)
    assert reader.videos["v1"].title == "two"
    assert store.get("v1").title == "two"


@pytest.mark.parametrize("wrong", [7200.0, -7200.0, 500 * 86_400.0, -500 * 86_400.0])
def test_a_writer_whose_clock_is_wrong_is_read_at_once(ports: Ports, wrong: float) -> None:
    astray = Catalogue(replace(ports, clock=MovableClock(NOW + wrong)))
    store, reader = Catalogue(ports), seen(ports)
    store.put_all(VIDEOS)
    reader.poll(NOW)
    astray.delete("v7")
    reader.poll(NOW + 10)
    assert reader.videos["v7"].status is Status.DELETED
    assert seen(ports).videos["v7"].status is Status.DELETED
    # What was written last counts, be it that its writer's clock says that it was long before.
    astray.put("v8", body(8, title="from the wrong clock"))
    store.delete("v8")
    store.delete("v9")
    astray.put("v9", body(9, title="from the wrong clock"))
    for found in (reader, seen(ports)):
        found.poll(NOW + 20)
        assert found.videos["v8"].status is Status.DELETED
        assert found.videos["v9"].title == "from the wrong clock"


def test_a_change_is_kept_for_as_long_as_nobody_removes_it(ports: Ports) -> None:
    Catalogue(ports).put_all(VIDEOS)
    Catalogue(ports).delete("v7")
    mark = updates.latest(ports.records)
    assert isinstance(ports.clock, MovableClock)
    ports.clock.advance(10 * 365 * 86_400)
    assert seen(ports).videos["v7"].status is Status.DELETED
    assert seen(ports, mark).news == 0


def test_writers_at_once_leave_no_gap_and_one_order(ports: Ports) -> None:
    store, failures = Catalogue(ports), []
    store.put_all(catalogue(4))

    def write(writer: int) -> None:
        try:
            for turn in range(12):
                number = (writer + turn) % 4
                store.put(f"v{number}", body(number, title=f"{writer}, {turn}"))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the result
            failures.append(error)

    threads = [threading.Thread(target=write, args=(j,)) for j in range(6)]
    for thread in threads:
        thread.start()
    reader = seen(ports)
    for thread in threads:
        thread.join()
    assert not failures
    reader.poll(NOW)
    assert reader.videos == {v.video_id: v for v in store.all()}
    assert reader.news == updates.latest(ports.records).number == len(rows(ports)) == 4 + 6 * 12


def test_who_never_gets_a_number_says_so(ports: Ports) -> None:
    class Taken:
        def __getattr__(self, name: str) -> Any:
            return getattr(ports.records, name)

        def write(self, writes: Any) -> None:
            raise Conflict("somebody else was faster")

    taken: Any = Taken()
    store = Catalogue(replace(ports, records=taken))
    with pytest.raises(Unavailable, match="changes too fast"):
        store.put("v1", body(1))
    with pytest.raises(UnknownVideo):
        store.get("v1")


def test_changes_that_are_gone_are_missed(ports: Ports) -> None:
    Catalogue(ports).put_all(VIDEOS)
    forget(ports, *range(1, 50))
    for number in (0, 1, 48):
        with pytest.raises(ChangesLost, match=r"changes \d+ to 49"):
            seen(ports, Mark(number, NOW))
    assert seen(ports, Mark(50, NOW)).news == 70
    forget(ports, 77)
    with pytest.raises(ChangesLost, match="77"):
        seen(ports, Mark(50, NOW))
    assert seen(ports, Mark(78, NOW)).news == 42


@pytest.mark.parametrize("again", [0, 3, 30])
def test_a_log_that_was_set_back_is_read_from_its_beginning(
    ports: Ports, clock: MovableClock, again: int
) -> None:
    """A power cut, or a table restored to an earlier moment: numbers are given a second time."""
    store = Catalogue(ports)
    store.put_all(VIDEOS)
    reader, mark = seen(ports), updates.latest(ports.records)
    forget(ports, *range(111, 121))
    ports.records.put(Table.OVERLAY, updates.KEY, updates.HEAD, {"number": 110, "at": NOW})
    clock.advance(60)
    store.delete("v7")
    for number in range(10, 10 + again):
        store.put(f"v{number}", body(number, title="changed"))
    fresh = Updates(ports.records, mark)
    for found in (reader, fresh):
        found.poll(clock.now())
        assert found.videos["v7"].status is Status.DELETED
    store.delete("v8")
    for found in (reader, fresh):
        found.poll(clock.now())
        assert found.videos["v8"].status is Status.DELETED


@pytest.mark.parametrize(
    "broken",
    [
        {"video": lambda sound: sound.replace(b'"age_rating":0', b'"age_rating":99')},
        {"video": lambda sound: sound.replace(b"T", b"?")},
        {"video": lambda sound: sound[:-2]},
        {"video": lambda sound: 7},
        {"text": "?"},
        {"text": b"?"},
    ],
    ids=range(6),
)
def test_a_change_that_cannot_be_read_hides_its_video_and_no_other(
    ports: Ports, broken: dict[str, Any]
) -> None:
    store = Catalogue(ports)
    store.put_all(VIDEOS)
    at = (Table.OVERLAY, updates.KEY, updates.row(8))
    found = ports.records.get(*at)
    assert found is not None
    if "video" in broken:
        broken = {"video": broken["video"](found.item["video"])}
    ports.records.put(*at, found.item | broken)
    reader = seen(ports)
    assert reader.refused == 1
    assert reader.videos.pop("v7").status is Status.DELETED
    assert reader.videos == {v.video_id: v for v in VIDEOS if v.video_id != "v7"}
    store.put("v7", body(7, title="Again"))
    reader.poll(NOW)
    assert reader.videos["v7"].title == "Again"


def test_a_change_of_nothing_is_left_out(ports: Ports) -> None:
    Catalogue(ports).put_all(VIDEOS)
    ports.records.put(Table.OVERLAY, updates.KEY, updates.row(8), {"at": NOW, "video_id": 7})
    reader = seen(ports)
    assert (reader.refused, reader.news) == (1, 119)


def test_a_stored_video_that_cannot_be_read_costs_itself(ports: Ports) -> None:
    store, meter = Catalogue(ports), ports.meter
    assert isinstance(meter, LocalMeter)
    store.put_all(VIDEOS)
    bad = video(7).model_dump(mode="json") | {"age_rating": 99}
    ports.records.put(Table.VIDEOS, updates.shard("v7"), "v7", bad)
    assert {v.video_id for v in store.all()} == {v.video_id for v in VIDEOS} - {"v7"}
    assert meter.total("VideoRefused") == 1
    with pytest.raises(UnknownVideo, match="cannot be read"):
        store.get("v7")
    assert meter.total("VideoRefused") == 2
    reader = seen(ports)
    store.delete("v7")
    reader.poll(NOW)
    assert reader.videos["v7"].status is Status.DELETED
    assert ports.records.get(Table.VIDEOS, updates.shard("v7"), "v7") is None


def note(change: Video, at: float) -> Put:
    """A change as version 0.1 wrote it."""
    sort = f"{int(at * 1000):013d}#{change.video_id}"
    item = change.model_dump(mode="json")
    return Put(Table.OVERLAY, str(int(at // HOUR)), sort, item, expires=at + KEPT)


def test_changes_of_before_there_were_numbers_are_read(ports: Ports, clock: MovableClock) -> None:
    gone = {"status": Status.DELETED}
    ports.records.write(
        [
            note(video(1, title="older"), NOW - 9 * HOUR),
            note(video(1, title="newer"), NOW - HOUR),
            note(video(2, **gone), NOW - 1),
            note(video(3, title="too old"), NOW - 11 * HOUR),
            note(video(4, **gone), NOW - 2),
        ]
    )
    reader = Updates(ports.records, None, NOW - 10 * HOUR)
    reader.poll(NOW)
    assert {v.video_id: (v.title, v.status) for v in reader.videos.values()} == {
        "v1": ("newer", Status.PUBLIC),
        "v2": ("Video number 2", Status.DELETED),
        "v4": ("Video number 4", Status.DELETED),
    }
    # An older version goes on writing while a release is shifted; what has a number is newer.
    Catalogue(ports).put("v4", body(4))
    clock.advance(20)
    ports.records.write([note(video(4, **gone), NOW - 1), note(video(5, **gone), NOW + 9)])
    for _ in range(2):
        reader.poll(clock.now())
        assert reader.videos["v4"].status is Status.PUBLIC
        assert reader.videos["v5"].status is Status.DELETED
    assert reader.news == 6
    ports.records.write([note(video(4, **gone), NOW + 19)])
    fresh = Updates(ports.records, None, NOW - 10 * HOUR)
    for found in (reader, fresh):
        found.poll(clock.now())
        assert found.videos["v4"].status is Status.DELETED


def test_a_bundle_without_numbers_is_let_go_of_before_its_changes_expire(
    ports: Ports, clock: MovableClock
) -> None:
    reader = Updates(ports.records, None, NOW)
    reader.poll(clock.now())
    Updates(ports.records, None, NOW - KEPT + 120).poll(NOW)
    with pytest.raises(ChangesLost, match="expired"):
        Updates(ports.records, None, NOW - KEPT).poll(NOW)
    with pytest.raises(ChangesLost, match="expired"):
        reader.poll(NOW + KEPT + 120)
