"""MovieLens and KuaiRand become our format, row by row."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from vireo.jobs.lines import DatasetError, Rejected
from vireo.training.data import formats, preprocess
from vireo.training.data.dataset import Dataset
from vireo.viewers.profile import Profile


def ratings(n: int, seed: int) -> list[tuple[str, str, str, str]]:
    """User, item, rating, second: with ties in time and repeated pairs, in no order."""
    rng = np.random.default_rng(seed)
    return [
        (str(rng.integers(1, 12)), str(rng.integers(1, 9)), str(rng.integers(1, 6)), str(t))
        for t in 978_300_000 + rng.integers(0, 30, n)
    ]


def peer_reading(path: Path, separator: str) -> list[tuple[str, str, float]]:
    """How the benchmark of facts reads a file: stable by time, first occurrence of each pair."""
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    rows = []
    for line in text.decode("latin-1").splitlines():
        user, item, _, time = line.split(separator)
        if time[0].isdigit():
            rows.append((user, item, float(time)))
    seen: set[tuple[str, str]] = set()
    kept = []
    for user, item, second in sorted(rows, key=lambda r: r[2]):
        if (user, item) not in seen:
            seen.add((user, item))
            kept.append((user, item, second))
    return kept


def sequence(data: Dataset) -> list[tuple[str, str, float]]:
    log = preprocess.from_dataset(data, now=2e9).log
    users, videos = log.people.ids[log.user].tolist(), log.videos.ids[log.video].tolist()
    return [
        (u.decode(), v.decode(), t)
        for u, v, t in zip(users, videos, log.time.tolist(), strict=True)
    ]


def write_1m(
    folder: Path, rows: list[tuple[str, str, str, str]], name: str = "ratings.dat"
) -> Path:
    text = "".join("::".join(row) + "\n" for row in rows).encode()
    path = folder / name
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    movies = [f"{j}::Film {j} ({1990 + j})::Drama|War" for j in range(1, 9)]
    (folder / "movies.dat").write_bytes(
        "\n".join(movies).replace("Film 3", "Amélie").encode("latin-1")
    )
    (folder / "users.dat").write_text("".join(f"{j}::F::25::4::0000{j}\n" for j in range(1, 12)))
    return path


def write_100k(folder: Path, rows: list[tuple[str, str, str, str]]) -> Path:
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    path = folder / "ml-100k.inter"
    path.write_text(header + "".join("\t".join(row) + "\n" for row in rows))
    items = "".join(f"{j}\tFilm {j}\t{1990 + j}\tDrama War\n" for j in range(1, 8))
    items += "8\tunnamed\t\tunknown\n"
    (folder / "ml-100k.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n" + items
    )
    (folder / "ml-100k.user").write_text(
        "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
        + "".join(f"{j}\t2{j % 10}\tM\twriter\t1\n" for j in range(1, 12))
    )
    return path


@pytest.mark.parametrize("seed", range(3))
def test_movielens_gives_the_sequence_that_the_benchmark_reads(tmp_path: Path, seed: int) -> None:
    rows = ratings(300, seed)
    for name, layout in (("1m", "::"), ("gz", "::"), ("100k", "\t")):
        folder = tmp_path / name
        folder.mkdir()
        path = (
            write_100k(folder, rows)
            if name == "100k"
            else write_1m(folder, rows, "ratings.dat.gz" if name == "gz" else "ratings.dat")
        )
        assert formats.detect(folder) == "movielens"
        assert sequence(formats.read(folder)) == peer_reading(path, layout)


def test_movielens_films_and_viewers(tmp_path: Path) -> None:
    for name, write in (("1m", write_1m), ("100k", write_100k)):
        (tmp_path / name).mkdir()
        write(tmp_path / name, ratings(50, 1))
        data = formats.read(tmp_path / name)
        films = {v.video_id: v for v in data.videos}
        assert films["1"].title == "Film 1 (1991)"
        assert films["1"].category == "Drama"
        assert films["1"].tags == ("Drama", "War")
        assert films["1"].published_at is None
        assert data.users["5"] == Profile(age=25)
        assert data.rejected == []
        assert data.events.column("rating").null_count == 0
    assert films["8"].title == "unnamed"
    assert films["8"].category is None
    assert {v.video_id: v for v in formats.read(tmp_path / "1m").videos}[
        "3"
    ].title == "Amélie (1993)"


def test_bad_ratings_are_named_by_line_and_reason(tmp_path: Path) -> None:
    path = write_1m(tmp_path, ratings(3, 1))
    path.write_text(path.read_text() + "1::2::5\n1::2::five::978300000\n1::::5::978300000\n")
    (tmp_path / "movies.dat").write_text("1::Film::Drama\n2::::Drama\n")
    data = formats.read(tmp_path)
    assert [(r.file, r.line) for r in data.rejected] == [
        ("movies.dat", 2),
        ("ratings.dat", 4),
        ("ratings.dat", 5),
        ("ratings.dat", 6),
    ]
    assert data.rejected[1].reason == "3 columns instead of 4"
    assert data.rejected[2].reason == "rating: not a number"
    assert data.rejected[3].reason == "video_id: missing"
    with pytest.raises(DatasetError, match="line 4: 3 columns"):
        formats.read(tmp_path, on_error="stop")


LOG = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,"
    "long_view,play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,"
    "is_rand,tab\n"
)


def write_kuairand(folder: Path) -> Path:
    data = folder / "data"
    data.mkdir(parents=True)
    (data / "log_standard_4_08_to_4_21_pure.csv").write_text(
        LOG + "3,10,20220408,1600,1649408076860,1,1,0,0,1,0,1,175045,87433,0,0,0,0,1\n"
        "3,11,20220408,1600,1649408070000,0,0,0,0,0,1,0,0,60000,0,0,0,0,1\n"
        "3,12,20220408,1600,soon,0,0,0,0,0,0,0,0,60000,0,0,0,0,1\n"
        "4,12,20220408,1600,1649408080000,0,0,0,1,0,0,0,15000,60000,0,0,0,0,1\n"
    )
    (data / "log_random_4_22_to_5_08_pure.csv").write_text(
        LOG + "4,10,20220425,1600,1650900000000,0,0,0,0,0,0,0,100,87433,0,0,0,1,1\n"
    )
    (data / "video_features_basic_pure.csv").write_text(
        "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,"
        "server_width,server_height,music_id,music_type,tag\n"
        '10,123,NORMAL,2022-04-07,LongImport,0.0,87433.0,720.0,1280.0,9155697141,9.0,"12,65"\n'
        "11,456,AD,2022-04-09,Web,0.0,,720.0,1280.0,1,9.0,39\n"
        "12,456,NORMAL,someday,Web,0.0,60000,720.0,1280.0,1,9.0,\n"
    )
    (data / "user_features_pure.csv").write_text(
        "user_id,user_active_degree,register_days\n3,full_active,100\n4,high_active,5\n"
    )
    return folder


def test_kuairand_rows_become_all_their_events(tmp_path: Path) -> None:
    data = formats.read(write_kuairand(tmp_path / "k"))
    assert formats.detect(tmp_path / "k") == "kuairand"
    got = [
        (e["user_id"], e["video_id"], e["type"], e["watch_seconds"], e["watch_fraction"])
        for e in data.events.to_pylist()
    ]
    assert got == [
        ("4", "10", "impression", None, None),
        ("4", "10", "watch", 0.1, pytest.approx(0.1 / 87.433)),
        ("3", "10", "impression", None, None),
        ("3", "10", "click", None, None),
        ("3", "10", "watch", 175.045, 1.0),
        ("3", "10", "like", None, None),
        ("3", "10", "share", None, None),
        ("3", "11", "impression", None, None),
        ("3", "11", "dislike", None, None),
        ("4", "12", "impression", None, None),
        ("4", "12", "watch", 15.0, 0.25),
        ("4", "12", "comment", None, None),
    ]
    assert data.events.column("timestamp")[2].as_py() == 1649408076.86
    ids = data.events.column("event_id").to_pylist()
    assert len(set(ids)) == len(ids)
    assert [(r.file, r.line) for r in data.rejected] == [
        ("log_standard_4_08_to_4_21_pure.csv", 4),
        ("video_features_basic_pure.csv", 4),
    ]
    assert data.rejected[0].reason.startswith("timestamp: neither")
    video = data.videos[0]
    assert (video.video_id, video.channel_id, video.category, video.tags) == (
        "10",
        "123",
        "12",
        ("12", "65"),
    )
    assert video.duration_seconds == 87.433
    assert video.published_at is not None
    assert video.published_at.isoformat() == "2022-04-06T16:00:00+00:00"
    # The watch of 0.1 s is no positive; the comment after the short watch is.
    assert [(u, v) for u, v, _ in sequence(data)] == [("3", "10")]
    assert sorted(data.users) == ["3", "4"]


def test_an_unknown_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds none of these formats: vireo, movielens"):
        formats.read(tmp_path)


def test_rejected_rows_sort_by_file_and_line() -> None:
    rows = [Rejected("b", 1, "x"), Rejected("a", 10, "x"), Rejected("a", 9, "x")]
    assert [(r.file, r.line) for r in sorted(rows)] == [("a", 9), ("a", 10), ("b", 1)]
