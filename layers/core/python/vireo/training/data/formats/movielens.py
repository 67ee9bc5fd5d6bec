"""MovieLens in its 1M layout (``ratings.dat``) and in RecBole's of 100k (``*.inter``).

A rating of any value is a watch. Only the year of a film is known, and it is older than the
service, so ``published_at`` is empty and the year stays in the title. The first genre is the
category, and all genres are tags. Of a viewer's profile only the age is used (1M: the lower bound
of its range), not gender, occupation and zip code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from vireo.jobs.lines import Chunk, DatasetError, read_columns
from vireo.jobs.progress import Progress
from vireo.training.data.dataset import Collector, Dataset, OnError


def is_movielens(folder: Path) -> bool:
    """True if a folder holds either layout."""
    return _find(folder, "ratings.dat") is not None or bool(_inter(folder))


def read(folder: Path, on_error: OnError = "skip", progress: Progress | None = None) -> Dataset:
    """The data set in either layout. Raises `DatasetError` as `dataset.read` does."""
    collector = Collector(on_error, progress)
    if (ratings := _find(folder, "ratings.dat")) is not None:
        _read_1m(folder, ratings, collector)
    elif inter := _inter(folder):
        _read_100k(inter[0], collector)
    else:
        raise DatasetError(f"{folder}: neither ratings.dat nor a .inter file")
    return collector.dataset()


def _find(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


def _inter(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*.inter"), *folder.glob("*.inter.gz")])


def _read_1m(folder: Path, ratings: Path, collector: Collector) -> None:
    columns = ("user_id", "video_id", "rating", "timestamp")
    _ratings(
        read_columns(ratings, separator="::", names=columns, encoding="latin-1"), ratings, collector
    )
    for row, line, file in _rows(folder, "movies.dat", ("movie", "title", "genres"), collector):
        film = _film(row["movie"], row["title"], row["genres"].split("|"))
        collector.add_video(film, file, line)
    names = ("user", "gender", "age", "occupation", "zip")
    for row, line, file in _rows(folder, "users.dat", names, collector):
        collector.add_user({"user_id": row["user"], "age": row["age"]}, file, line)


def _read_100k(inter: Path, collector: Collector) -> None:
    renamed = {"item_id": "video_id"}
    _ratings(read_columns(inter, separator="\t"), inter, collector, renamed)
    stem = inter.name.split(".")[0]
    for row, line, file in _rows(inter.parent, f"{stem}.item", None, collector):
        year = row.get("release_year", "")
        title = f"{row['movie_title']} ({year})" if year else row["movie_title"]
        collector.add_video(_film(row["item_id"], title, row["class"].split(" ")), file, line)
    for row, line, file in _rows(inter.parent, f"{stem}.user", None, collector):
        collector.add_user({"user_id": row["user_id"], "age": row["age"] or None}, file, line)


def _ratings(
    chunks: Iterator[Chunk], path: Path, collector: Collector, renamed: dict[str, str] | None = None
) -> None:
    for chunk in chunks:
        names = [(renamed or {}).get(n, n) for n in chunk.columns.column_names]
        table, _ = collector.checked(path.name, chunk, chunk.columns.rename_columns(names))
        collector.events.append(table)


def _film(film: str, title: str, genres: Sequence[str]) -> dict[str, Any]:
    known = [g for g in genres if g and g not in ("unknown", "(no genres listed)")]
    fields = {"video_id": film, "title": title, "category": known[0] if known else None}
    return {**fields, "tags": known}


def _rows(
    folder: Path, name: str, columns: Sequence[str] | None, collector: Collector
) -> Iterator[tuple[dict[str, Any], int, str]]:
    """Rows of a file with their line numbers; none if there is no such file."""
    path = _find(folder, name)
    if path is None:
        return
    separator, encoding = ("\t", "utf-8-sig") if columns is None else ("::", "latin-1")
    for chunk in read_columns(path, separator=separator, names=columns, encoding=encoding):
        collector.reject(chunk.rejected)
        rows: pa.Table = chunk.columns
        for row, line in zip(rows.to_pylist(), chunk.lines.tolist(), strict=True):
            yield row, line, path.name
        collector.count(path.name, len(chunk.lines) + len(chunk.rejected))
