"""The commands that make and import data: what they write, say and refuse."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts import import_dataset, seed
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
