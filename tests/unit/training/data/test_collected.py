"""What is put into a home is what preprocessing reads: once each, and without the erased."""

from __future__ import annotations

from dataclasses import fields
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vireo.catalogue import updates
from vireo.catalogue.store import Catalogue
from vireo.catalogue.updates import Mark, Updates
from vireo.homes.local import LocalHome
from vireo.homes.meter import LocalMeter
from vireo.jobs.lines import DatasetError
from vireo.keys import key_of
from vireo.ports import Ports, Table, walk
from vireo.recommender.users import Viewers
from vireo.training import generator
from vireo.training.data import collected, preprocess, window
from vireo.training.data import event_table as event_rows
from vireo.training.data.dataset import Dataset
from vireo.viewers import rows
from vireo.viewers.viewer import Event, EventType, Viewer, apply

SMALL = generator.Settings(viewers=40, videos=150, events=4000, days=12)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return generator.generate(SMALL)


@pytest.fixture
def ports(tmp_path: Path) -> Ports:
    return LocalHome(tmp_path, meter=LocalMeter()).open("default")


def applied(rows: pa.Table) -> dict[str, Viewer]:
    """Every event applied, one by one."""
    viewers: dict[str, Viewer] = {}
    for e in rows.to_pylist():
        seconds, fraction = e["watch_seconds"], e["watch_fraction"]
        viewers[e["user_id"]] = apply(
            viewers.get(e["user_id"], Viewer()),
            [
                Event(
                    EventType(e["type"]),
                    key_of(e["video_id"]),
                    e["timestamp"],
                    float("nan") if seconds is None else seconds,
                    float("nan") if fraction is None else fraction,
                )
            ],
        )
    return viewers


def random_rows(seed: int) -> pa.Table:
    """Repeats, dislikes before and after watches, and ties in time."""
    rng = np.random.default_rng(seed)
    n = 1500
    rows, _, _ = event_rows.check(
        pa.table(
            {
                "user_id": [f"u{j}" for j in rng.integers(0, 4, n)],
                "video_id": [f"v{j}" for j in rng.integers(0, 400, n)],
                "timestamp": rng.integers(0, 500, n).astype(float),
                "type": [event_rows.TYPES[j] for j in rng.integers(0, 8, n)],
                "watch_fraction": pa.array(rng.choice([0.1, 0.9, np.nan], n), from_pandas=True),
                "watch_seconds": pa.array(rng.choice([5.1, 50.3, np.nan], n), from_pandas=True),
                "event_id": [f"e{j}" for j in range(n)],
            }
        )
    )
    return event_rows.by_time(rows)


@pytest.mark.parametrize("seed", range(4))
def test_viewers_are_what_their_events_one_by_one_would_make_them(seed: int) -> None:
    rows = random_rows(seed)
    expected = applied(rows)
    got = dict(collected.viewers_of(rows, {}))
    assert got.keys() == expected.keys()
    assert max(len(v.keys) for v in got.values()) > 100
    for name, viewer in got.items():
        for field in fields(Viewer):
            a, b = getattr(viewer, field.name), getattr(expected[name], field.name)
            np.testing.assert_array_equal(a, b, err_msg=f"{name}.{field.name}")
        assert viewer.pack() == expected[name].pack()


def test_a_home_gives_the_log_that_the_data_set_gives(data: Dataset, ports: Ports) -> None:
    seen: list[tuple[float | None, str]] = []
    collected.into_home(data, ports, lambda *step: seen.append(step))
    assert {what.split(":")[0] for _, what in seen} == {"videos", "viewers", "events"}
    shares = [share for share, _ in seen if share is not None]
    assert shares == sorted(shares)
    assert len(shares) == len(seen)
    assert shares[-1] == pytest.approx(1.0)
    assert "videos: 150 of 150" in {what for _, what in seen}

    now = ports.clock.now()
    direct = preprocess.from_dataset(data, now=now)
    stored = collected.read_home(ports)
    for name in ("video", "time", "device", "weight", "text"):
        np.testing.assert_array_equal(getattr(stored.log, name), getattr(direct.log, name))
    # A home lists no viewers: those who never did anything are not in its log.
    np.testing.assert_array_equal(
        stored.log.people.ids[stored.log.user], direct.log.people.ids[direct.log.user]
    )
    for name in ("age", "country", "language"):
        known = np.isin(direct.log.people.ids, stored.log.people.ids)
        np.testing.assert_array_equal(
            getattr(stored.log.people, name), getattr(direct.log.people, name)[known]
        )
    assert stored.report.kept == direct.report.kept == data.events.num_rows


def test_a_second_import_counts_nothing_twice(data: Dataset, ports: Ports) -> None:
    collected.into_home(data, ports)
    names = list(ports.blobs.names(window.EVENTS))
    assert all(n.startswith("events/date=") and n.endswith(".parquet") for n in names)
    assert len({n.split("/")[1] for n in names}) == len(names) >= SMALL.days
    viewer = ports.records.get(Table.VIEWERS, "u00001")
    collected.into_home(data, ports)
    assert list(ports.blobs.names(window.EVENTS)) == names
    again = ports.records.get(Table.VIEWERS, "u00001")
    assert viewer is not None
    assert again is not None
    assert again.item == viewer.item


def test_repeated_ids_reach_a_viewer_once(data: Dataset, ports: Ports) -> None:
    twice = Dataset(pa.concat_tables([data.events, data.events]), data.videos, data.users)
    collected.into_home(twice, ports)
    once = dict(collected.viewers_of(event_rows.by_time(data.events), data.users))
    for name in list(once)[:10]:
        stored = rows.read(ports.records, name)
        assert stored is not None
        assert stored.pack() == once[name].pack()


def test_the_catalogue_is_sharded_and_in_the_overlay(data: Dataset, ports: Ports) -> None:
    collected.into_home(data, ports)
    listed = sorted(Catalogue(ports).all(), key=lambda v: v.video_id)
    assert listed == list(data.videos)
    one = data.videos[0]
    record = ports.records.get(Table.VIDEOS, f"s{key_of(one.video_id) % 64:02d}", one.video_id)
    assert record is not None
    head, *changes = walk(ports.records, Table.OVERLAY, updates.KEY)
    assert sorted(r.item["video_id"] for r in changes) == [v.video_id for v in data.videos]
    assert head.item["number"] == len(changes)


def test_what_is_put_in_is_what_serving_reads(data: Dataset, ports: Ports) -> None:
    collected.into_home(data, ports)
    viewers = dict(collected.viewers_of(event_rows.by_time(data.events), data.users))
    name = max(viewers, key=lambda n: len(viewers[n].keys))
    read = Viewers(ports).read(name)
    assert read is not None
    assert read.pack() == viewers[name].pack()
    assert read.profile == data.users[name]
    assert Catalogue(ports).get(data.videos[5].video_id) == data.videos[5]
    news = Updates(ports.records, Mark())
    news.poll(ports.clock.now())
    assert len(news.videos) == len(news.texts) == len(data.videos)


def test_what_an_erased_person_did_is_not_learned_from(data: Dataset, ports: Ports) -> None:
    collected.into_home(data, ports)
    counts = data.events.column("user_id").value_counts().to_pylist()
    name = max(counts, key=lambda c: c["counts"])["values"]
    Viewers(ports).erase(name)
    later = {"user_id": name, "video_id": data.videos[0].video_id, "event_id": "new"}
    moment = ports.clock.now() + 100
    table, _, _ = event_rows.check(pa.Table.from_pylist([{**later, "timestamp": moment}]))
    buffer = BytesIO()
    pq.write_table(table, buffer)
    ports.blobs.write("events/date=2026-01-01/new.parquet", buffer.getvalue())
    read = collected.read_home(ports)
    log, rows = read.log, np.flatnonzero(read.log.people.ids == name.encode())
    # Only what they did when they came back is there.
    assert log.time[np.isin(log.user, rows)].tolist() == [moment]
    assert read.report.read == data.events.num_rows + 1 - max(c["counts"] for c in counts)


def test_a_viewer_whose_row_cannot_be_read_costs_a_profile(data: Dataset, ports: Ports) -> None:
    collected.into_home(data, ports)
    whole = collected.read_home(ports)
    name = next(user for user in sorted(data.users) if data.users[user].age is not None)
    ports.records.put(Table.VIEWERS, name, "", {"viewer": b"of another version"})
    read = collected.read_home(ports)
    assert len(read.log) == len(whole.log)
    assert isinstance(ports.meter, LocalMeter)
    assert ports.meter.total("ViewerRefused") == 1


def test_nothing_collected_is_said_so(ports: Ports) -> None:
    with pytest.raises(DatasetError, match="no collected events"):
        collected.read_home(ports)


def test_a_damaged_file_is_named(data: Dataset, ports: Ports) -> None:
    collected.into_home(data, ports)
    ports.blobs.write("events/date=2026-01-01/broken.parquet", b"not parquet")
    with pytest.raises(DatasetError, match="broken"):
        collected.read_home(ports)
