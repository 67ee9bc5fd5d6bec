"""The commands that make and import data: what they write, say and refuse."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts import first_ratings, import_dataset, seed
from vireo.catalogue.store import Catalogue
from vireo.homes.local import LocalHome
from vireo.training.data import collected, dataset

SMALL = ["--viewers", "30", "--videos", "80", "--events", "2000", "--days", "10"]


def test_seed_writes_the_format_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    end = ["--end", "2026-02-01T00:00:00+00:00", "--format", "csv.gz"]
    assert seed.main([*SMALL, *end, "--out", str(tmp_path)]) == 0
    data = dataset.read(tmp_path, on_error="stop")
    said = capsys.readouterr().out
    assert f"{data.events.num_rows:,} events, 80 videos, 30 viewers" in said
    last = max(data.events.column("timestamp").to_pylist())
    assert 1_769_904_000 - 86_400 < last < 1_769_904_000


def movielens(folder: Path) -> Path:
    folder.mkdir()
    (folder / "ratings.dat").write_text("1::1::5::978300760\n1::2::x::978300761\n2::1::4::5\n")
    (folder / "movies.dat").write_text("1::One (1999)::Drama\n2::Two (1998)::War\n")
    return folder


def test_import_writes_the_format_and_what_was_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = movielens(tmp_path / "ml"), tmp_path / "out"
    assert import_dataset.main([str(source), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "ratings.dat: 3 rows read" in said.out
    assert "kept 2 events, 2 videos, 0 users; rejected 1 rows" in said.out
    assert "1 × ratings.dat: rating: not a number" in said.out
    assert re.search(r"reading +ratings\.dat: 3 rows", said.err)
    rejected = (out / "rejected.csv").read_text()
    assert rejected == "file,line,reason\nratings.dat,2,rating: not a number\n"
    assert dataset.read(out, on_error="stop").events.num_rows == 2


def test_import_stops_as_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = movielens(tmp_path / "ml"), tmp_path / "out"
    assert import_dataset.main([str(source), "--out", str(out), "--on-error", "stop"]) == 1
    assert "ratings.dat, line 2: rating: not a number" in capsys.readouterr().err
    assert not out.exists()
    assert import_dataset.main([str(tmp_path), "--out", str(out)]) == 1
    assert "holds none of these formats" in capsys.readouterr().err


def test_import_into_a_home(tmp_path: Path) -> None:
    source, state = movielens(tmp_path / "ml"), tmp_path / "state"
    assert import_dataset.main([str(source), "--home", str(state), "--tenant", "acme"]) == 0
    home = LocalHome(state)
    ports = home.open("acme")
    assert {v.video_id for v in Catalogue(ports).all()} == {"1", "2"}
    prepared = collected.read_home(ports)
    assert len(prepared.log) == 2
    assert list(home.open("default").blobs.names()) == []
    home.close()


def test_import_needs_somewhere_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        import_dataset.main([str(tmp_path)])


def test_the_first_ratings_of_movielens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "ml-1m", tmp_path / "half"
    source.mkdir()
    ratings = "1::10::5::978300760\r\n2::11::3::978302109\r\n3::10::4::978301968\r\n"
    (source / "ratings.dat").write_bytes(ratings.encode())
    (source / "users.dat").write_bytes(b"1::F::1::10::48067\n")
    (source / "movies.dat").write_bytes("1::Misérables, Les::Drama\n".encode("latin-1"))
    first_ratings.main([str(source), str(out), "--ratings", "2"])
    assert capsys.readouterr().out == f"2 ratings of 2 users in {out}\n"
    assert (out / "ratings.dat").read_bytes() == ratings.encode()[:42]
    for name in ("users.dat", "movies.dat"):
        assert (out / name).read_bytes() == (source / name).read_bytes()
    with pytest.raises(SystemExit, match=r"There is no .*ratings\.dat"):
        first_ratings.main([str(tmp_path), str(out)])
