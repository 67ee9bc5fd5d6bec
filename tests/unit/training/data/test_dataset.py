"""The documented format: bad rows are named by line and reason, good ones survive a round trip."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vireo.catalogue.models import Status, Video
from vireo.events.models import LATEST
from vireo.jobs.lines import DatasetError, Rejected
from vireo.training.data import dataset, event_table
from vireo.training.data.dataset import Dataset
from vireo.viewers.profile import Profile

HEADER = "user_id,video_id,timestamp,type,watch_fraction,position,country"
GOOD = "u1,v1,1700000000,watch,0.5,3,DE"

NO_MOMENT = "timestamp: neither unix seconds nor ISO 8601 with a time zone"
BAD_EVENTS = {
    ",v1,1700000000,,,,": "user_id: missing",
    "u 1,v1,1700000000,,,,": "user_id: not of its form",
    "u1,a/b,1700000000,,,,": "video_id: not of its form",
    "u1," + "v" * 129 + ",1700000000,,,,": "video_id: not of its form",
    "u1,v1,,,,,": "timestamp: missing",
    "u1,v1,yesterday,,,,": NO_MOMENT,
    "u1,v1,2024-01-01T10:00:00,,,,": NO_MOMENT,
    "u1,v1,2024-02-30T10:00:00Z,,,,": NO_MOMENT,
    "u1,v1,1700000000000,,,,": "timestamp: not between 1970 and 2100 in unix seconds",
    "u1,v1,-1,,,,": "timestamp: not between 1970 and 2100 in unix seconds",
    "u1,v1,inf,,,,": NO_MOMENT,
    "u1,v1,1700000000,stare,,,": "type: unknown",
    "u1,v1,1700000000,,1.5,,": "watch_fraction: not within 0 and 1",
    "u1,v1,1700000000,,nan,,": "watch_fraction: not a number",
    "u1,v1,1700000000,,half,,": "watch_fraction: not a number",
    "u1,v1,1700000000,,,1.5,": "position: not a whole number",
    "u1,v1,1700000000,,,-1,": "position: not within 0 and 1e+06",
    "u1,v1,1700000000,,,,Germany": "country: not of its form",
    "u1,v1,1700000000": "3 columns instead of 7",
    'u1,"v1,1700000000,,,,': "not a row: unexpected end of data",
}


def write_events(folder: Path, *rows: str, header: str = HEADER) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "events.csv"
    path.write_bytes(("\n".join([header, *rows]) + "\n").encode("utf-8", "surrogateescape"))
    return folder


def test_every_bad_event_is_named_by_line_and_reason(tmp_path: Path) -> None:
    rows = [row for bad in BAD_EVENTS for row in (GOOD, bad)]
    data = dataset.read(write_events(tmp_path, *rows))
    expected = [
        Rejected("events.csv", 3 + 2 * j, reason) for j, reason in enumerate(BAD_EVENTS.values())
    ]
    assert list(data.rejected) == expected
    assert data.events.num_rows == len(BAD_EVENTS)
    assert data.read == {"events.csv": 2 * len(BAD_EVENTS)}
    assert data.reasons()[0] == ("events.csv", NO_MOMENT, 4)


def test_stop_ends_at_the_first_bad_row(tmp_path: Path) -> None:
    folder = write_events(tmp_path, GOOD, "u1,v1,,,,,", "u1")
    with pytest.raises(DatasetError, match=r"^events.csv, line 3: timestamp: missing$"):
        dataset.read(folder, on_error="stop")


def test_lines_count_blank_ones_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    text = "\ufeffuser_id,video_id,timestamp\r\nu1,v1,5\r\n\r\nu\xff,v1,6\r\nu2,v1,7"
    (tmp_path / "events.csv").write_bytes(text.encode("utf-8"))
    data = dataset.read(tmp_path)
    assert data.rejected == [Rejected("events.csv", 4, "user_id: not of its form")]
    assert data.events.column("user_id").to_pylist() == ["u1", "u2"]
    raw = b"user_id,video_id,timestamp\nu\xe9,v1,5\nu1,v1,5\n"
    (tmp_path / "events.csv").write_bytes(raw)
    assert [r.line for r in dataset.read(tmp_path).rejected] == [2]


def test_chunks_keep_line_numbers_and_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vireo.jobs.lines.CHUNK", 3)
    rows = [f"u{j},v1,{'x' if j % 4 == 0 else 100 - j},,,," for j in range(20)]
    data = dataset.read(write_events(tmp_path, *rows))
    assert [r.line for r in data.rejected] == [2, 6, 10, 14, 18]
    assert data.events.column("sequence").to_pylist() == [j for j in range(20) if j % 4]


def test_defaults_and_moments(tmp_path: Path) -> None:
    folder = write_events(
        tmp_path,
        "u1,v1,1700000000.25",
        "u1,v1,2023-11-14T22:13:20.25Z",
        "u1,v1,2023-11-14 23:13:20.250+01:00",
        "u1,v1,1.7e9",
        header="user_id,video_id,timestamp",
    )
    rows = dataset.read(folder).events.to_pylist()
    assert [r["timestamp"] for r in rows] == [1700000000.25] * 3 + [1.7e9]
    assert {r["type"] for r in rows} == {"watch"}
    # The same viewer, video, type and moment is the same event, however it was written down.
    assert len({r["event_id"] for r in rows}) == 2
    assert rows[0]["watch_seconds"] is None


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("user_id,timestamp", "no column video_id"),
        ("user_id,video_id,timestamp,user_id", "must name every column once"),
    ],
)
def test_a_bad_header_ends_the_import(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        dataset.read(write_events(tmp_path, header=header))


def test_a_folder_without_or_with_two_event_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no events\.csv"):
        dataset.read(tmp_path)
    write_events(tmp_path, GOOD)
    (tmp_path / "events.csv.gz").write_bytes(gzip.compress(b"user_id\n"))
    with pytest.raises(DatasetError, match=r"both events\.csv and events\.csv\.gz"):
        dataset.read(tmp_path)


def test_a_cut_archive_is_no_short_data_set(tmp_path: Path) -> None:
    whole = gzip.compress("\n".join([HEADER, *[GOOD] * 5000]).encode())
    (tmp_path / "events.csv.gz").write_bytes(whole[:-20])
    with pytest.raises(DatasetError, match="cannot be read"):
        dataset.read(tmp_path)
    (tmp_path / "events.csv.gz").unlink()
    (tmp_path / "events.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(DatasetError, match="cannot be read"):
        dataset.read(tmp_path)


def test_bad_videos_and_users_are_named_by_line_and_reason(tmp_path: Path) -> None:
    write_events(tmp_path, GOOD)
    (tmp_path / "videos.csv").write_bytes(
        b"video_id,title,duration_seconds,tags,age_rating,countries_allowed,extra\n"
        b'v1,"two\nlines",10.5,a| b||c,,DE|AT,ignored\n'
        b"v2,,10,,,,\n"
        b"v3,three,-4,,,,\n"
        b"v1,again,,,,,\n"
        b"v4,short\n"
        b"v5,\xff,,,,,\n"
        b"v6,six,,,12,,\n"
    )
    (tmp_path / "users.csv").write_text("user_id,age,country\nu1,30,DE\nu2,300,DE\nu1,31,\n")
    data = dataset.read(tmp_path)
    found = [(r.file, r.line, r.reason.split(":")[0]) for r in data.rejected]
    assert found == [
        ("users.csv", 3, "age"),
        ("users.csv", 4, "user_id"),
        ("videos.csv", 4, "title"),
        ("videos.csv", 5, "duration_seconds"),
        ("videos.csv", 6, "video_id"),
        ("videos.csv", 7, "2 columns instead of 7"),
        ("videos.csv", 8, "title"),
    ]
    assert data.videos == [
        Video(
            video_id="v1",
            title="two\nlines",
            duration_seconds=10.5,
            tags=("a", "b", "c"),
            countries_allowed=("DE", "AT"),
        ),
        Video(video_id="v6", title="six", age_rating=12),
    ]
    assert data.users == {"u1": Profile(age=30, country="DE")}


def test_without_a_catalogue_videos_are_known_by_their_ids(tmp_path: Path) -> None:
    data = dataset.read(write_events(tmp_path, GOOD, GOOD.replace("v1", "v0")))
    assert [v.video_id for v in data.videos] == ["v0", "v1"]


def test_parquet_may_hold_numbers_timestamps_and_lists(tmp_path: Path) -> None:
    moment = datetime(2024, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    table = pa.table(
        {
            "user_id": pa.array([1, 2, None]),
            "video_id": pa.array(["v1", "v2", "v1"]).dictionary_encode(),
            "timestamp": pa.array([moment] * 3, pa.timestamp("ns", "+02:00")),
            "watch_fraction": pa.array([0.25, float("nan"), 0.5]),
            "position": pa.array([1, None, 2], pa.int8()),
        }
    )
    pq.write_table(table, tmp_path / "events.parquet")
    videos = [{"video_id": "v1", "title": "one", "tags": ["a", "b|c"], "published_at": moment}]
    pq.write_table(pa.Table.from_pylist(videos), tmp_path / "videos.parquet")
    data = dataset.read(tmp_path)
    assert data.rejected == [Rejected("events.parquet", 3, "user_id: missing")]
    assert data.events.column("user_id").to_pylist() == ["1", "2"]
    assert data.events.column("timestamp").to_pylist() == [moment.timestamp()] * 2
    assert data.events.column("watch_fraction").to_pylist() == [0.25, None]
    assert data.videos[0].tags == ("a", "b|c")
    assert data.videos[0].published_at == moment


def test_parquet_of_impossible_types_is_refused(tmp_path: Path) -> None:
    naive = pa.array([datetime(2024, 1, 1)], pa.timestamp("s"))
    for column, values in (("timestamp", naive), ("user_id", pa.array([1.5]))):
        columns = {"user_id": ["u"], "video_id": ["v"], "timestamp": [1.0], column: values}
        pq.write_table(pa.table(columns), tmp_path / "events.parquet")
        with pytest.raises(DatasetError, match=column):
            dataset.read(tmp_path)


IDS = st.text("ab1,\"'|-_.", min_size=1, max_size=6)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": IDS,
            "video_id": IDS,
            "type": st.sampled_from(event_table.TYPES),
            "timestamp": st.floats(0, 4e9),
            "watch_seconds": st.none() | st.floats(0, 1e5),
            "watch_fraction": st.none() | st.floats(0, 1),
            "device": st.none() | IDS,
            "position": st.none() | st.integers(0, 100),
        }
    ),
    min_size=1,
    max_size=20,
)
VIDEO = Video(
    video_id='v"1,',
    title="a title, “quoted”\nand more",
    category="News",
    channel_id="c1",
    language="pt-BR",
    duration_seconds=0.1,
    published_at=datetime(2024, 1, 1, 0, 0, 0, 250, tzinfo=UTC),
    tags=("one", "two words"),
    age_rating=18,
    status=Status.PRIVATE,
    countries_allowed=("AT", "DE"),
    countries_blocked=("CH",),
    available_from=datetime(2024, 1, 1, tzinfo=UTC),
    available_until=datetime(2024, 1, 2, tzinfo=UTC),
)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".csv.gz"])
@settings(max_examples=20, deadline=None)
@given(rows=ROWS)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, rows: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("data")
    checked, bad, _ = event_table.check(pa.Table.from_pylist(rows))
    assert not len(bad)
    users = {"u,1": Profile(age=7, country="DE", joined_at=datetime(2020, 1, 1, tzinfo=UTC))}
    data = Dataset(checked, [VIDEO, Video(video_id="w", title="w")], users)
    dataset.write(data, folder, suffix)
    again = dataset.read(folder, on_error="stop")
    assert again.events.equals(data.events)
    assert again.videos == data.videos
    assert again.users == data.users
    first = {p.name: p.read_bytes() for p in folder.iterdir()}
    dataset.write(again, folder, suffix)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == first


def test_csv_refuses_what_it_cannot_say(tmp_path: Path) -> None:
    empty = event_table.SCHEMA.empty_table()
    for video in (
        Video(video_id="v", title="t", tags=("a|b",)),
        Video(video_id="v", title="t", countries_allowed=()),
    ):
        with pytest.raises(DatasetError, match="use Parquet"):
            dataset.write(Dataset(empty, [video], {}), tmp_path, ".csv")
        dataset.write(Dataset(empty, [video], {}), tmp_path, ".parquet")
        assert dataset.read(tmp_path).videos == [video]


def acceptable(row: dict[str, str]) -> bool:
    """The rules for three columns, one value at a time."""
    user, moment, fraction = row["user_id"], row["timestamp"], row["watch_fraction"]
    if not 1 <= len(user) <= 128 or any(not "!" <= c <= "~" or c == "/" for c in user):
        return False
    try:
        seconds = float(moment)
    except ValueError:
        try:
            parsed = datetime.fromisoformat(moment)
        except ValueError:
            return False
        if parsed.tzinfo is None or "T" not in moment:
            return False
        seconds = parsed.timestamp()
    return 0 <= seconds < LATEST and (fraction == "" or 0 <= float(fraction) <= 1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "user_id": st.text("ab /é~", max_size=4),
                "video_id": st.just("v"),
                "timestamp": st.integers(-(10**11), 10**11).map(str)
                | st.floats(-1e10, 1e10).map(repr)
                | st.datetimes(
                    datetime(1950, 1, 1), datetime(2120, 1, 1), timezones=st.just(UTC)
                ).map(datetime.isoformat)
                | st.datetimes().map(datetime.isoformat)
                | st.sampled_from(["", "2024-13-01T00:00:00Z", "2024-01-01T25:00:00Z"]),
                "watch_fraction": st.just("") | st.floats(-1, 2).map(repr),
            }
        ),
        min_size=1,
        max_size=10,
    )
)
def test_many_rows_are_judged_as_each_alone(rows: list[dict[str, str]]) -> None:
    table, bad, reasons = event_table.check(pa.Table.from_pylist(rows))
    assert bad.tolist() == [j for j, row in enumerate(rows) if not acceptable(row)]
    assert len(reasons) == len(bad)
    assert all(reasons)
    assert table.num_rows == len(rows) - len(bad)


def test_rejected_rows_are_written_down(tmp_path: Path) -> None:
    dataset.write_rejected([Rejected("a.csv", 3, "title: too long, really")], tmp_path / "r.csv")
    text = (tmp_path / "r.csv").read_text()
    assert text == 'file,line,reason\na.csv,3,"title: too long, really"\n'
