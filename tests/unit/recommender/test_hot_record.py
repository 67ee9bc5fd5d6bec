"""One process reads the hot counters and publishes what serving needs; the others read that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.worlds import NOW, bundle, catalogue
from vireo.catalogue.counters import BUCKET, CELLS, PAIRS, pack, place, rows
from vireo.homes.clock import MovableClock
from vireo.homes.items import pack as packed
from vireo.homes.local import LocalHome
from vireo.keys import key_of
from vireo.ports import Item, Ports, Record, Table
from vireo.recommender import hot as hotness
from vireo.recommender.hot import MANY, Hot
from vireo.recommender.hot_record import EVERY, TAKEN_OVER, HotRecord

BUNDLE = bundle(catalogue(60))
KEY = f"hot{Hot.FORM}#{BUNDLE.version}"


class Weighed:
    """Records that note the keys and the bytes of what is read."""

    def __init__(self, records: Any) -> None:
        self._records = records
        self.keys: list[str] = []
        self.bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    def query(self, table: Table, key: str, **named: Any) -> Any:
        page = self._records.query(table, key, **named)
        self.keys.append(key)
        self.bytes += sum(len(packed(record.item)) for record in page.records)
        return page


@pytest.fixture
def ports(tmp_path: Path) -> Ports:
    return LocalHome(tmp_path, clock=MovableClock(NOW)).open("default")


def process(ports: Ports) -> tuple[Weighed, HotRecord]:
    records = Weighed(ports.records)
    return records, HotRecord(records, BUNDLE)


def count(ports: Ports, views: dict[str, int], *, at: float = NOW, shard: str = "s0") -> None:
    """So many viewers of each video, in Germany."""
    views_at = CELLS.index(("views", 0))
    changes = {}
    for video, number in views.items():
        cells = [0] * len(CELLS)
        cells[views_at] = number
        changes[key_of(video), b"DE"] = cells
    ports.records.put(*place(int(at // BUCKET), shard, 0), pack(rows(changes)))


def same(one: Hot, other: Hot) -> bool:
    return one.since.tobytes() == other.since.tobytes() and (
        one.watched.tobytes() == other.watched.tobytes()
    )


def test_one_process_reads_the_counters_and_the_others_read_its_record(ports: Ports) -> None:
    count(ports, {"new": 9, "v3": 50, "few": MANY - 1})
    first, second = process(ports), process(ports)
    published = first[1].poll(NOW)
    assert any(key.startswith("counts") for key in first[0].keys)
    for later in (0.0, EVERY, TAKEN_OVER - 1):
        assert same(second[1].poll(NOW + later), published)
    assert set(second[0].keys) == {KEY}
    # Of the bundle's own videos no counts are needed, of whatever many watch the order is.
    assert sorted(published.since["video"]) == sorted([key_of("new"), key_of("few")])
    assert published.most_watched("DE").tolist() == [key_of("v3"), key_of("new")]
    assert published.most_watched(None).tolist() == [key_of("v3"), key_of("new")]


def test_who_published_goes_on_and_news_reach_the_others(ports: Ports) -> None:
    count(ports, {"new": 9})
    (_, first), (records, second) = process(ports), process(ports)
    first.poll(NOW)
    count(ports, {"new": 9, "newer": 11})
    assert len(second.poll(NOW + 10).since) == 1
    first.poll(NOW + EVERY)
    assert len(second.poll(NOW + EVERY + 10).since) == 2
    for turn in range(2, 8):  # for as long as it does, nobody else reads the counters
        first.poll(NOW + turn * EVERY)
        second.poll(NOW + turn * EVERY + 10)
    assert set(records.keys) == {KEY}


def test_another_takes_the_place_of_one_that_stopped_and_only_one_of_many(ports: Ports) -> None:
    count(ports, {"new": 9})
    process(ports)[1].poll(NOW)
    count(ports, {"new": 9, "newer": 11})
    others = [process(ports) for _ in range(5)]
    late = NOW + TAKEN_OVER
    seen = [record.poll(late) for _, record in others]
    assert [len(hot.since) for hot in seen] == [2] * 5
    assert sum(set(records.keys) != {KEY} for records, _ in others) == 1


def test_those_who_find_it_old_at_once_leave_it_to_the_one_who_said_so_first(ports: Ports) -> None:
    """A claim between the read and the write of another one."""
    count(ports, {"new": 9})
    process(ports)[1].poll(NOW)
    records, slow = process(ports)
    query = records.query
    changed: Any = records

    def overtaken(table: Table, key: str, **named: Any) -> Any:
        page = query(table, key, **named)
        if key == KEY:
            process(ports)[1].poll(NOW + TAKEN_OVER)
        return page

    changed.query = overtaken
    assert len(slow.poll(NOW + TAKEN_OVER).since) == 1
    assert set(records.keys) == {KEY}


@pytest.mark.parametrize(
    "damage",
    [{"hot": Hot.FORM + 1}, {"watched": b"?"}, {"counts": b"?"}, {"at": None}, {"form": 0}],
)
def test_a_record_that_cannot_be_read_is_published_anew(ports: Ports, damage: Item) -> None:
    count(ports, {"new": 9})
    good = process(ports)[1].poll(NOW)
    found = ports.records.get(Table.OVERLAY, KEY)
    assert isinstance(found, Record)
    ports.records.put(Table.OVERLAY, KEY, "", found.item | damage)
    _, record = process(ports)
    assert same(record.poll(NOW + 1), good)
    assert record.refused == 1
    assert same(process(ports)[1].poll(NOW + 2), good)


def test_a_publisher_whose_clock_was_ahead_does_not_stop_the_news(ports: Ports) -> None:
    count(ports, {"new": 9})
    process(ports)[1].poll(NOW + 86_400 / 2)
    count(ports, {"new": 9, "newer": 11})
    assert len(process(ports)[1].poll(NOW).since) == 2


def test_what_is_published_is_small_whatever_was_counted(ports: Ports) -> None:
    """Full counters of two shards and a day: 32 records of which each poll read eight."""
    rng = np.random.default_rng(1)
    countries = [bytes([65 + j // 26, 65 + j % 26]) for j in range(200)]
    for bucket in range(4):
        for shard in ("s0", "s1"):
            for part in range(4):
                drawn = rng.zipf(1.3, (PAIRS, len(CELLS))).clip(0, 5_000) - 1
                changes = {
                    (int(rng.integers(2**63)), countries[int(rng.integers(200))]): row
                    for row in drawn.tolist()
                }
                where = place(int(NOW // BUCKET) - bucket, shard, part)
                ports.records.put(*where, pack(rows(changes)))
    (publisher, first), (reader, second) = process(ports), process(ports)
    first.poll(NOW)
    publisher.bytes = 0
    first.poll(NOW + EVERY)
    hot = second.poll(NOW + EVERY + 1)
    assert (len(hot.since), len(hot.watched)) == (hotness.NEW, hotness.PAIRS)
    assert reader.bytes < 350_000, "a record of DynamoDB takes 400 KB"
    assert reader.bytes < publisher.bytes / 4
