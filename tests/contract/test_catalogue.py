"""Changes of the catalogue have numbers without gaps, in both homes, however many write at once."""

from __future__ import annotations

import threading

from tests.worlds import catalogue, video
from vireo.catalogue import updates
from vireo.catalogue.models import Status, VideoBody
from vireo.catalogue.store import Catalogue, UnknownVideo
from vireo.catalogue.updates import Mark, Updates
from vireo.ports import Home, Table, walk


def test_writers_at_once_leave_no_gap_and_one_order(home: Home) -> None:
    ports = home.open("writers")
    store, reader, failures = Catalogue(ports), Updates(ports.records, Mark()), []
    store.put_all(catalogue(60))

    def write(writer: int) -> None:
        try:
            for turn in range(6):
                name = f"v{(writer + turn) % 3}"
                if turn % 3 < 2:
                    store.put(name, VideoBody(title=f"{writer}, {turn}"))
                else:
                    remove(name)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the result
            failures.append(error)

    def remove(name: str) -> None:
        try:
            store.delete(name)
        except UnknownVideo:  # another one has removed it
            return

    threads = [threading.Thread(target=write, args=(j,)) for j in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        reader.poll(ports.clock.now())
    for thread in threads:
        thread.join()
    assert not failures
    reader.poll(ports.clock.now())
    left = {v.video_id: v for v in reader.videos.values() if v.status is not Status.DELETED}
    assert left == {v.video_id: v for v in store.all()}
    rows = [int(r.sort) for r in walk(ports.records, Table.OVERLAY, updates.KEY) if r.sort]
    assert rows == list(range(1, updates.latest(ports.records).number + 1))
    assert reader.news == len(rows)


def test_the_largest_videos_fit_into_one_transaction(home: Home) -> None:
    ports, large = home.open("large"), "\N{MUSICAL SYMBOL G CLEF}"
    fields = {
        "title": large * 500,
        "category": large * 64,
        "tags": [f"{j:02d}" + large * 62 for j in range(50)],
        "countries_blocked": [a + b for a in "ABCDEFGHIJ" for b in "ABCDEFGHIJKLMNOPQRSTUVWXY"],
    }
    videos = [video(j, **fields) for j in range(updates.TOGETHER + 1)]
    assert Catalogue(ports).put_all(videos) == len(videos)
    reader = Updates(ports.records, Mark())
    reader.poll(ports.clock.now())
    assert list(reader.videos.values()) == videos


def test_tenants_count_for_themselves(home: Home) -> None:
    one, other = home.open("one"), home.open("other")
    Catalogue(one).put_all(catalogue(3))
    Catalogue(other).put_all(catalogue(2))
    assert updates.latest(one.records).number == 3
    assert updates.latest(other.records).number == 2
