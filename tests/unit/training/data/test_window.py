"""Training reads what fits: the latest days, and when these are too many events, fewer viewers."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vireo.homes.local import LocalHome
from vireo.keys import key_of
from vireo.ports import Ports
from vireo.training import generator
from vireo.training.data import window
from vireo.training.data.collected import into_home, read_home
from vireo.training.data.dataset import Dataset
from vireo.training.data.window import EVENTS, Limits, Window

SMALL = generator.Settings(viewers=60, videos=150, events=4000, days=12)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return generator.generate(SMALL)


@pytest.fixture
def ports(tmp_path: Path, data: Dataset) -> Ports:
    opened = LocalHome(tmp_path).open("default")
    into_home(data, opened)
    return opened


def table_of(data: bytes, name: str) -> pa.Table:
    table = pq.read_table(BytesIO(data))
    return table.cast(pa.schema([f.with_nullable(True) for f in table.schema]))


def taken(ports: Ports, **limits: int) -> tuple[pa.Table, Window]:
    return window.read(ports.blobs, Limits(**limits), table_of)


def days_of(data: Dataset) -> list[str]:
    moments = data.events.column("timestamp").to_pylist()
    return sorted({datetime.fromtimestamp(t, UTC).date().isoformat() for t in moments})


def test_what_fits_is_read_whole(ports: Ports, data: Dataset) -> None:
    table, found = taken(ports)
    assert len(table) == len(data.events)
    assert found == Window(days_of(data)[0], len(days_of(data)), 0, 1)


def test_older_days_are_left_out_when_there_are_days_enough(ports: Ports, data: Dataset) -> None:
    table, found = taken(ports, events=2000, days=1)
    dates = days_of(data)
    assert 1 < found.days < len(dates)
    assert (found.since, found.days_left) == (dates[-found.days], len(dates) - found.days)
    assert found.one_in == 1
    assert len(table) <= 2000
    begins = datetime.fromisoformat(found.since).replace(tzinfo=UTC).timestamp()
    late = [t for t in data.events.column("timestamp").to_pylist() if t >= begins]
    assert sorted(table.column("timestamp").to_pylist()) == sorted(late), "the latest, all of them"


def test_viewers_are_left_out_before_the_days_are_few(ports: Ports, data: Dataset) -> None:
    table, found = taken(ports, events=1500, days=30)
    assert (found.days, found.days_left) == (len(days_of(data)), 0)
    assert found.one_in >= 4
    assert len(table) <= 1500
    users = data.events.column("user_id").to_pylist()
    chosen = {u for u in users if key_of(u) < 2**64 // found.one_in}
    assert set(table.column("user_id").to_pylist()) == chosen
    assert len(table) == sum(u in chosen for u in users), "their histories are whole"


def test_too_many_bytes_end_it_at_a_day(ports: Ports, data: Dataset) -> None:
    _, found = taken(ports, bytes=1)
    assert (found.since, found.days) == (days_of(data)[-1], 1), "the latest day, whatever it takes"


def test_a_day_that_does_not_fit_is_read_of_fewer_viewers(ports: Ports) -> None:
    table, found = taken(ports, events=100, days=1)
    assert found.days == 1
    assert found.one_in > 1
    assert 0 < len(table) <= 100


def test_the_order_of_rows_and_files_changes_nothing(
    ports: Ports, data: Dataset, tmp_path: Path
) -> None:
    other = LocalHome(tmp_path / "other").open("default")
    into_home(data, other)
    rng = np.random.default_rng(3)
    for name in list(other.blobs.names(EVENTS)):
        table = table_of(other.blobs.read(name), name)
        table = table.take(pa.array(rng.permutation(len(table))))
        buffer = BytesIO()
        pq.write_table(table, buffer)
        other.blobs.delete(name)
        folder, _, _ = name.rpartition("/")
        other.blobs.write(f"{folder}/{rng.integers(1 << 30)}.parquet", buffer.getvalue())
    limits = Limits(events=1500, days=5)
    one, two = (read_home(p, limits=limits) for p in (ports, other))
    assert one.report == two.report
    assert one.report.one_in > 1
    assert one.log.time.tobytes() == two.log.time.tobytes()
    assert one.log.user.tobytes() == two.log.user.tobytes()
    assert one.log.video.tobytes() == two.log.video.tobytes()


def test_what_was_read_is_in_the_report(ports: Ports) -> None:
    report = read_home(ports, limits=Limits(events=2000, days=2)).report
    assert report.read <= 2000
    assert report.days_left > 0
    assert report.since > ""


def test_rows_of_nobody_do_not_empty_the_window(ports: Ports, data: Dataset) -> None:
    nobody = {"user_id": pa.array([None] * 3000, pa.string())}
    rows = pa.table(
        {f.name: nobody.get(f.name, pa.nulls(3000, f.type)) for f in data.events.schema}
    )
    buffer = BytesIO()
    pq.write_table(rows, buffer)
    ports.blobs.write(f"{EVENTS}date={days_of(data)[-1]}/broken.parquet", buffer.getvalue())
    table, found = taken(ports, events=1000, days=1)
    assert len(table) > 100
    assert found.one_in <= 4
    assert None not in table.column("user_id").to_pylist()
